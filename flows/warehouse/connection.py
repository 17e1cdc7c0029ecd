"""The warehouse: where it is, the way to connect, and what PostgreSQL's errors mean."""

import errno
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg2
from psycopg2.extensions import connection as DriverConnection
from psycopg2.extensions import cursor as Cursor
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from flows import interrupt
from flows.environment import with_session
from flows.errors import PipelineError, TransientError, first_line
from flows.settings import Settings, read_settings

if TYPE_CHECKING:  # importing Prefect takes seconds, and `make psql` needs none of it
    from prefect_sqlalchemy import SqlAlchemyConnector  # type: ignore[import-untyped]

BLOCK_NAME = "postgres-connector"
OLDEST_VERSION = 16  # pg_input_is_valid(), which the casts in dbt rest on, came with 16

# The messages of a server that is there, but not ready at this moment. While connecting, messages
# are all there is: libpq hands no SQLSTATE on. dbt hands on nothing else at any time.
BUSY = (
    "too many clients",
    "too many connections",  # of a role, or to a database
    "reserved for",
    "starting up",
    "shutting down",
    "in recovery mode",
    "not yet accepting connections",  # after a crash, until its log is replayed
)
TRANSIENT_MESSAGES = (
    *BUSY,
    "onnection refused",
    "onnection reset",
    "connection already closed",
    "connection has been closed",
    "server closed the connection",
    "terminating connection",
    "timeout expired",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "No route to host",
    "lock timeout",
    "deadlock",
    "is locked by",
    "waits for the transaction of",
    # Of one of Citus's servers.
    "onnection to the remote node",
    "connection marked as essential",
    "prepared and not yet committed",
)
# The same as SQLSTATE, or the beginning of it: connections, locks, a server that goes or comes.
TRANSIENT_SQLSTATES = ("08", "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03")
# What does not pass, and is not a bug of ours: PostgreSQL's manual, appendix A.
PERMANENT_SQLSTATES = {
    "25006": "The server is read-only: point POSTGRES_HOST to one that can be written to",
    "25P04": "Let an administrator run: alter role … set transaction_timeout = 0",
    "2BP01": "",  # a view reads what would go
    "42501": "Let the role of POSTGRES_USER do this",
    "42P07": "",  # a table of another one's is in the way
    "53100": "Make room for PostgreSQL and run again",
    "53200": "Give PostgreSQL more memory (or max_locks_per_transaction) and run again",
    "53400": "Raise this limit of the server's for the role of POSTGRES_USER",
    "54011": "A table of PostgreSQL's has at most 1,600 columns",
    "57014": "Somebody cancelled the query: run again",
    "P0001": "A trigger in this database, perhaps an event trigger, says so: ask who made it",
    **dict.fromkeys(("25", "28", "3D", "53", "54", "55", "57", "58", "XX"), ""),
}
# Not all that asks the warehouse is a task that Prefect tries again: so connecting itself waits for
# a server that is not ready, for so many seconds, with so long pauses.
PATIENCE, PAUSE = 20.0, 0.5
CONNECT_ARGS = {"connect_timeout": 10, "application_name": "nyc-taxi-elt"}

logger = logging.getLogger("prefect.warehouse")


class Unreachable(TransientError):
    """No server answers at an address, or it is not ready."""


class Refused(PipelineError):
    """A server answers, and does not let us in."""


def current_url() -> URL:
    """Where the warehouse is: the settings say it, or the block that POSTGRES_BLOCK names."""
    settings = read_settings()
    return url_of(load_block(settings.block)) if settings.block else settings.url


def load_block(name: str) -> "SqlAlchemyConnector":
    """A Prefect block of the type SqlAlchemyConnector.

    Raises:
        PipelineError: Prefect has no such block.
    """
    from prefect_sqlalchemy import SqlAlchemyConnector

    try:
        return SqlAlchemyConnector.load(name, _sync=True)
    except ValueError as error:  # "Unable to find block document"
        raise PipelineError(
            f"POSTGRES_BLOCK is {name!r}: {first_line(error)}. Create it in Prefect's UI as a "
            "SqlAlchemyConnector, or take the setting out"
        ) from None


def url_of(block: "SqlAlchemyConnector") -> URL:
    """The URL of a block's database, whether a person filled it in by parts or as a whole.

    It has a port, and connect_args, such as sslmode, are in its query.
    """
    info = block.connection_info
    url: URL
    if hasattr(info, "create_url"):
        url = info.create_url()
    else:
        url = make_url(info.get_secret_value() if hasattr(info, "get_secret_value") else str(info))
    if url.get_backend_name() != "postgresql":
        raise PipelineError(f"the Prefect block is for {url.get_backend_name()}, not PostgreSQL")
    arguments = {name: str(value) for name, value in (block.connect_args or {}).items()}
    url = url.set(drivername="postgresql+psycopg2", port=url.port or 5432)
    return url.update_query_dict(arguments)


def environment_of(url: URL) -> dict[str, str]:
    """What leads dbt to a warehouse: POSTGRES_* for its profile, PG* for libpq below it.

    libpq calls its settings in the environment like those of a URL's query, with two exceptions.
    """
    exceptions = {"connect_timeout": "PGCONNECT_TIMEOUT", "application_name": "PGAPPNAME"}
    values = {
        exceptions.get(name, f"PG{name.replace('_', '').upper()}"): last_value(url.query, name)
        for name in url.query
    } | {
        "POSTGRES_HOST": url.host,
        "POSTGRES_PORT": str(url.port),
        "POSTGRES_USER": url.username,
        "POSTGRES_PASSWORD": url.password,
        "POSTGRES_DB": url.database,
        "POSTGRES_BLOCK": "",  # the profile refuses to run where a block decides, and it has
        "PGOPTIONS": with_session(last_value(url.query, "options") or os.environ.get("PGOPTIONS")),
    }
    return {name: value for name, value in values.items() if value is not None}


def libpq_of(url: URL) -> dict[str, str]:
    """What leads one of PostgreSQL's own programs to a database."""
    return {
        "PGHOST": url.host or "",
        "PGPORT": str(url.port),
        "PGUSER": url.username or "",
        "PGPASSWORD": str(url.password or ""),
        "PGDATABASE": url.database or "",
    }


@contextmanager
def in_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, and put back what they were."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def connect(target: Settings | URL | None = None) -> Iterator[Connection]:
    """Connect to the warehouse; without a target, to the one that the settings name.

    The session's settings are those of `flows.environment`, whatever the server's defaults. A
    server that is not ready is waited for, and so is one that has just been there: without a
    target, `ensure_server` has found it.

    Raises:
        Unreachable: no server answers there, or it is not ready.
        Refused: it does not let us in.
        PipelineError: it can't be a warehouse; the message says why.
        TransientError: it went away later, or a lock of another session's was in the way.
    """
    url = target.url if isinstance(target, Settings) else target or current_url()
    options = with_session(last_value(url.query, "options") or os.environ.get("PGOPTIONS"))
    engine = create_engine(
        url.difference_update_query(["options"]),
        connect_args=CONNECT_ARGS | {"options": options, "client_encoding": "UTF8"},
        poolclass=NullPool,
        use_native_hstore=False,  # it would ask for the type's number each time
        pool_reset_on_return=None,  # it is closed, and if it has died there is nothing to reset
    )
    with patiently(engine, url, (*BUSY, *["onnection refused"] * (target is None))) as connection:
        interrupt.connections.add(driver_of(connection))
        check_server(connection, url)
        try:
            yield connection
        except DBAPIError as error:
            lost = explained(error.orig) if isinstance(error.orig, psycopg2.Error) else error
            if not isinstance(lost, TransientError):
                raise
            raise lost from None


def patiently(engine: Engine, url: URL, passing: Sequence[str]) -> Connection:
    """Connect, as soon as the server's answer has none of these words any more."""
    gives_up_at = time.monotonic() + PATIENCE
    is_told = False
    while True:
        try:
            return engine.connect()
        except DBAPIError as error:
            failure = connection_error(error.orig or error, url)
            if time.monotonic() > gives_up_at or not any(word in str(failure) for word in passing):
                raise failure from None
        if not is_told:
            logger.info("%s. Waiting for it", failure)
            is_told = True
        time.sleep(PAUSE)


def last_value(query: Mapping[str, str | tuple[str, ...]], name: str) -> str | None:
    """The value of a URL's query; the last one, where it is given several times."""
    value = query.get(name)
    return value[-1] if isinstance(value, tuple) else value


def driver_of(connection: Connection) -> DriverConnection:
    """psycopg2's own connection below one of SQLAlchemy's."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, DriverConnection)  # noqa: S101 (for the type checker)
    return driver


def value_of(cursor: Cursor, statement: str, parameters: Sequence[object] | None = None) -> Any:
    """The one value that a query finds."""
    cursor.execute(statement, parameters)
    [(value,)] = cursor.fetchall()
    return value


def connection_error(error: BaseException, url: URL) -> PipelineError:
    """A failure to connect, in one line.

    For a name with several addresses, libpq has a line for each, and a server's own begins FATAL.
    """
    lines = str(error).strip().splitlines()
    reason = next((line for line in lines if "FATAL" in line), lines[0])
    if "unsupported startup parameter" in reason:
        return Refused(no_poolers(url, reason))
    is_passing = any(word in reason for word in TRANSIENT_MESSAGES)
    return (Unreachable if is_passing else Refused)(
        f"the warehouse {address(url)} can't be reached: {reason}"
    )


def no_poolers(url: URL, reason: str) -> str:
    """What to do about a pooler that would lend each transaction another session."""
    return (
        f"{address(url)} is a connection pooler, such as PgBouncer, which does not keep a "
        f"session's settings ({reason}): point POSTGRES_HOST and POSTGRES_PORT to PostgreSQL itself"
    )


def check_server(connection: Connection, url: URL) -> None:
    """Raise a `PipelineError` if a server can't be the warehouse's, whoever asks.

    But for the last one, PostgreSQL has told these things when it let us in: no question is asked.
    """
    driver = driver_of(connection)
    major = driver.server_version // 10_000
    if major < OLDEST_VERSION:
        raise PipelineError(
            f"{address(url)} is PostgreSQL {major}, and {OLDEST_VERSION} is the oldest that "
            "will do: point POSTGRES_HOST and POSTGRES_PORT to a newer server"
        )
    encoding = driver.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        raise PipelineError(
            f"{address(url)} is a database in {encoding}, and the warehouse must be in UTF8: name "
            "another one in POSTGRES_DB, made by: create database … encoding 'UTF8' "
            "template template0"
        )
    if driver.get_parameter_status("in_hot_standby") == "on":
        raise PipelineError(
            f"{address(url)} is a standby, which can only be read: point POSTGRES_HOST and "
            "POSTGRES_PORT to the primary server"
        )
    with driver, driver.cursor() as cursor:
        cursor.execute("select current_setting('nyc_taxi.session', true)")
        if cursor.fetchone() != ("pinned",):
            raise PipelineError(no_poolers(url, "options are ignored"))


def explained(error: psycopg2.Error, what: str = "PostgreSQL") -> Exception:
    """What PostgreSQL raised, as a line that says what to do; a bug of ours stays what it is.

    Args:
        error: As psycopg2 raises it, with its SQLSTATE.
        what: What the line begins with.
    """
    line = f"{what}: {first_line(error)}{server_of(error.diag.context)}"
    code = error.pgcode or ""
    # Of what a COPY meets on another server, Citus hands on no more than the words.
    if code == "XX000" and os.strerror(errno.ENOSPC) in line:
        code, line = "53100", f"{line} (on another server)"
    is_connection = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    # Citus has no SQLSTATE for some ways of losing a server.
    is_lost = code == "XX000" and any(word in line for word in TRANSIENT_MESSAGES)
    if code.startswith(TRANSIENT_SQLSTATES) or (not code and is_connection) or is_lost:
        return TransientError(f"{line}. Run again")
    advice = next(
        (PERMANENT_SQLSTATES[key] for key in (code, code[:2]) if key in PERMANENT_SQLSTATES), None
    )
    return error if advice is None else PipelineError(f"{line}. {advice}".removesuffix(". "))


def server_of(context: str | None) -> str:
    """Which of Citus's servers an error is of, in brackets; nothing where it is this one's."""
    server = re.search(r"while executing command on (\S+)", context or "")
    return f" (on {server[1]})" if server else ""


@contextmanager
def in_one_line(outcome: str) -> Iterator[None]:
    """Have each error begin with what became of the job; a full disk says what to do."""
    try:
        yield
    except PipelineError as error:
        raise type(error)(f"{outcome}: {error}") from None
    except psycopg2.Error as error:
        raise explained(error, outcome) from None
    except OSError as error:
        # pyarrow's errors have the words alone.
        full = error.errno == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error)
        advice = ". Make room and run again" if full else ""
        raise PipelineError(f"{outcome}: {error}{advice}") from None


def raw_assets(database: str, raw_table: str) -> list[str]:
    """What a load writes to, as assets in Prefect: their keys, as prefect-dbt gives its sources."""
    plain = re.sub(r"[^\w-]", "", database)
    tables = (raw_table, "loads", "malformed_lines")
    return [f"postgres://{plain}/raw/{table}" for table in tables]


def psql_command(url: URL) -> str:
    """How a person connects to the warehouse; psql asks for the password."""
    return f"psql -h {url.host} -p {url.port} -U {url.username} {url.database}"


def address(url: URL) -> str:
    """The warehouse's name for people: everything but the password."""
    return f"{url.username}@{url.host}:{url.port}/{url.database}"
