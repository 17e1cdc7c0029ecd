"""The warehouse: its settings, the Prefect block that holds them, and the way to connect."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector, SyncDriver
from psycopg2.errors import InsufficientPrivilege
from psycopg2.sql import SQL, Identifier, Literal
from pydantic import SecretStr
from sqlalchemy import URL, Connection, NullPool, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from flows.errors import PipelineError, TransientError, first_line
from flows.settings import Settings, read_settings

BLOCK_NAME = "postgres-connector"
OLDEST_VERSION = 16  # pg_input_is_valid(), which the casts in dbt rest on, came with 16

ANALYST = "analyst"  # the role that may read the marts and nothing else
# What a server says that is there, and ours, but not at this moment.
BUSY = ("too many clients", "starting up", "shutting down", "in recovery mode", "reserved for")
# What libpq and PostgreSQL say when something has come between, and may be gone in a moment.
PASSING = (
    *(*BUSY, "onnection refused", "server closed the connection", "terminating connection"),
    *("connection already closed", "connection has been closed", "lock timeout", "deadlock"),
)
CONNECT_ARGS = {"connect_timeout": 10, "application_name": "nyc-taxi-elt"}


def load_block() -> SqlAlchemyConnector | None:
    """The Prefect block `postgres-connector`, or None where it does not exist yet."""
    try:
        return SqlAlchemyConnector.load(BLOCK_NAME)
    except ValueError:  # "Unable to find block document"
        return None


def save_block(settings: Settings) -> SqlAlchemyConnector:
    """Create the Prefect block `postgres-connector` from the settings, or replace what it says."""
    block = SqlAlchemyConnector(
        connection_info=ConnectionComponents(
            driver=SyncDriver.POSTGRESQL_PSYCOPG2,
            username=settings.user,
            password=settings.password,
            host=settings.host,
            port=settings.port,
            database=settings.db,
        )
    )
    block.save(BLOCK_NAME, overwrite=True)
    return block


def url_of(block: SqlAlchemyConnector) -> URL:
    """The URL that a block holds, whether a person filled it in by parts or as a whole."""
    info = block.connection_info
    if isinstance(info, ConnectionComponents):
        return info.create_url()
    return make_url(info.get_secret_value() if hasattr(info, "get_secret_value") else str(info))


def current_url() -> URL:
    """The warehouse that the Prefect block names, or the settings where there is no block."""
    block = load_block()
    return url_of(block) if block else read_settings().url


class Unreachable(TransientError):
    """No server answers at an address, or it does not let us in."""


@contextmanager
def connect(target: Settings | SqlAlchemyConnector | None = None) -> Iterator[Connection]:
    """Connect to the warehouse; without a target, to the one that the Prefect block names.

    Raises:
        Unreachable: no server answers there, or it does not accept these credentials.
        PipelineError: the server is older than PostgreSQL 16.
    """
    target = target or load_block() or read_settings()
    if isinstance(target, SqlAlchemyConnector):
        url, connect_args = url_of(target), target.connect_args or {}
    else:
        url, connect_args = target.url, {}
    engine = create_engine(
        url,
        connect_args=CONNECT_ARGS | connect_args,
        poolclass=NullPool,
        pool_reset_on_return=None,  # it is closed, and if it has died there is nothing to reset
    )
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise Unreachable(
            f"the warehouse {address(url)} can't be reached: {first_line(error.orig)}"
        ) from None
    with connection:
        major = connection.connection.driver_connection.server_version // 10_000
        if major < OLDEST_VERSION:
            raise PipelineError(
                f"{address(url)} is PostgreSQL {major}, and {OLDEST_VERSION} is the oldest that "
                "will do: point POSTGRES_HOST and POSTGRES_PORT at a newer server"
            )
        yield connection


def raw_assets(database: str) -> list[str]:
    """The keys of the raw tables as assets in Prefect: those that prefect-dbt gives its sources."""
    plain = re.sub(r"[^\w-]", "", database)
    tables = ("yellow_tripdata", "loads", "malformed_lines")
    return [f"postgres://{plain}/raw/{table}" for table in tables]


def ensure_analyst(connection: Connection, password: SecretStr) -> None:
    """See to it that the role `analyst` exists and has the password; what it may read is dbt's.

    Raises:
        PipelineError: the role does not exist, and we may not create it.
    """
    driver = connection.connection.driver_connection
    try:
        with driver, driver.cursor() as cursor:
            cursor.execute("select from pg_roles where rolname = %s", [ANALYST])
            exists = cursor.fetchone() is not None
            cursor.execute(
                SQL(
                    "alter role {} password {}" if exists else "create role {} login password {}"
                ).format(Identifier(ANALYST), Literal(password.get_secret_value()))
            )
    except InsufficientPrivilege as error:
        if not exists:
            raise PipelineError(
                f"{first_line(error)}. Let somebody who may run: create role {ANALYST} login"
            ) from None


def address(url: URL) -> str:
    """The warehouse's name for people: everything but the password."""
    return f"{url.username}@{url.host}:{url.port or 5432}/{url.database}"
