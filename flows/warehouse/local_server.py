"""The warehouse's server on this machine: which one it is, whose password, psql, and its end.

A server that answers is used; else the embedded one starts. It outlives the run that started it,
so that psql, pgAdmin and dbt can use it, until `make down`.

The role of the settings owns its database and nothing more. The superuser makes it, and whatever
else only a superuser can; its password is in the data folder, where only the server's user can
read it.
"""

import errno
import logging
import os
import secrets
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import encrypt_password
from psycopg2.sql import SQL, Composable, Identifier, Literal
from pydantic import SecretStr
from sqlalchemy import URL

from flows import settings as project
from flows.errors import PipelineError, first_line
from flows.settings import Settings, read_settings, remember
from flows.warehouse import embedded
from flows.warehouse.connection import (
    BUSY,
    Refused,
    Unreachable,
    address,
    connect,
    current_url,
    driver_of,
    environment_of,
    libpq_of,
)

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
BACKUPS = project.DATA / "backups"  # flows/warehouse/backup.py makes them; a folder for each

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

logger = logging.getLogger("prefect.local_server")


@dataclass(frozen=True)
class Answering:
    """A server that answers: who we are there, its address and the database."""

    postgresql: str

    def __str__(self) -> str:
        """For the terminal."""
        return f"PostgreSQL answers: {self.postgresql}"


def ensure_server(settings: Settings) -> Settings:
    """Ensure that a server answers to the settings; return those under which it does.

    A server that answers is used. If nothing listens at the address, and that is on this machine,
    the embedded one is started there. If another program does, and nobody has named this address,
    the embedded one takes the next free port. What it has chosen, it writes into `.env`.

    Raises:
        PipelineError: no server lets us in and none can be started there.
    """
    port = embedded.running_port(embedded.DATA_DIR)
    is_ours = port == settings.port and settings.host in LOCAL_HOSTS
    try:
        with connect(settings):
            pass
    except (Unreachable, Refused) as error:
        if settings.host not in LOCAL_HOSTS or any(word in str(error) for word in BUSY):
            raise
        reason = str(error)
    else:
        if not is_ours or embedded.superuser_file(embedded.DATA_DIR).exists():
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
    if embedded.running_port(embedded.DATA_DIR) is None:
        embedded.start(embedded.DATA_DIR, moved.port, moved.host)
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
    if not embedded.superuser_file(embedded.DATA_DIR).exists():
        take_over(embedded.DATA_DIR, settings)
    if "password" not in settings.model_fields_set:
        password = secrets.token_urlsafe(24)
        settings = settings.model_copy(update={"password": SecretStr(password)})
        prepare(embedded.DATA_DIR, settings)
        remember(POSTGRES_PASSWORD=password)
    else:
        prepare(embedded.DATA_DIR, settings)
    return settings


def prepare(data_dir: Path, settings: Settings) -> None:
    """Make the role and the database of the settings in a running embedded server, and `analyst`.

    See `database.sql`, which can be run again.
    """
    admin = embedded.superuser(data_dir, settings)
    environment = libpq_of(admin.url) | {
        "ROLE": settings.user,
        "PASSWORD": verifier_of(admin, settings.user, settings.password.get_secret_value()),
        "DATABASE": settings.db,
    }
    embedded.run_as_owner(
        *("psql", "--no-psqlrc", "--quiet", "--file", Path(__file__).with_name("database.sql")),
        environment=environment,
    )


def take_over(data_dir: Path, settings: Settings) -> None:
    """Turn the role of the settings, the superuser of the first version's servers, into an owner.

    The role that initdb has made stays a superuser whatever one does. So it gets another name, and
    a new role its old name and all that is not PostgreSQL's own.
    """
    password = secrets.token_urlsafe(24)
    old = settings.model_copy(update={"db": "postgres"})
    helper = old.model_copy(update={"user": f"{embedded.SUPERUSER}_for_a_moment"})
    helper.password = SecretStr(password)
    names = {
        "old": Identifier(old.user),
        "helper": Identifier(helper.user),
        "superuser": Identifier(embedded.SUPERUSER),
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
            Literal(verifier_of(helper, embedded.SUPERUSER, password)), **names
        ),
        SQL("create role {old}").format(**names),
    )
    embedded.write_superuser_password(data_dir, password)
    admin = embedded.superuser(data_dir, settings)
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


def administrator(url: URL) -> URL:
    """Who may make roles and databases at the warehouse: the superuser where the server is ours.

    Elsewhere it is the role of the settings, if anyone.
    """
    is_ours = url.host in LOCAL_HOSTS and embedded.running_port(embedded.DATA_DIR) == url.port
    if not is_ours or not embedded.superuser_file(embedded.DATA_DIR).exists():
        return url
    password = embedded.superuser_file(embedded.DATA_DIR).read_text()
    return url.set(username=embedded.SUPERUSER, password=password)


def is_free(settings: Settings) -> bool:
    """Whether nobody listens on the port, at any address that the host's name stands for."""
    found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, place in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(place)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:  # a machine without IPv6
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


def up() -> Answering:
    """Start PostgreSQL, if none answers at the address that the settings name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return Answering(address(ensure_server(read_settings()).url))


def psql(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Become psql, connected to the warehouse.

    The machine's own psql edits lines and speaks TLS, which the embedded one does not.

    Args:
        arguments: Those of psql, such as -c "select 1".
    """
    url = current_url()
    os.environ.update(environment_of(url) | libpq_of(url))
    program = shutil.which("psql") or embedded.programs() / "psql"
    os.execv(program, ["psql", *arguments])  # noqa: S606 (no shell is what we want)


def delete(*, yes: bool = False) -> None:
    """Delete the embedded server's data, all months of it, once someone has said yes.

    Args:
        yes: Do not ask.

    Raises:
        PipelineError: nobody has.
    """
    if not embedded.DATA_DIR.exists():
        print(f"There is no data in {embedded.DATA_DIR}")
        return
    backup = newest_backup()
    print(
        f"The newest backup is {backup}"
        if backup
        else "There is no backup: `make backup` makes one"
    )
    question = f"Delete the warehouse in {embedded.DATA_DIR}, with all its months? [y/N] "
    if not yes and not (sys.stdin.isatty() and input(question).strip() in ("y", "yes")):
        raise PipelineError(f"{embedded.DATA_DIR} is kept. `make delete-data YES=1` deletes it")
    embedded.stop(embedded.DATA_DIR)
    shutil.rmtree(embedded.DATA_DIR)
    if embedded.DATA_DIR.is_relative_to(embedded.STATE):
        embedded.DATA_DIR.parent.rmdir()
    print(f"Deleted {embedded.DATA_DIR}")


def newest_backup() -> Path | None:
    """The folder of the newest backup that is complete; None where there is none."""
    manifests = BACKUPS.glob("[0-9]*/manifest.json")
    return max((path.parent for path in manifests), default=None)
