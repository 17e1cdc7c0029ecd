"""Prefect's database: one of its own in the PostgreSQL that is there, and a role that owns it.

SQLite, Prefect's default, refuses a second writer with "database is locked" as soon as a few runs
report at once.
"""

import secrets

from psycopg2.errors import DuplicateObject, InsufficientPrivilege
from psycopg2.sql import SQL, Identifier, Literal
from pydantic import SecretStr

from flows.errors import PipelineError, first_line
from flows.settings import Settings, remember
from flows.warehouse.connection import Refused, address, connect, driver_of
from flows.warehouse.local_server import administrator, verifier_of

NAME = "prefect"  # of the role and of its database
EXTENSION = "pg_trgm"  # Prefect's migrations create it and index names with it
ELSEWHERE = "set PREFECT_SERVER_DATABASE_CONNECTION_URL to another database for Prefect"


def ensure_database(settings: Settings) -> dict[str, str]:
    """Make Prefect's role and database where they are missing; return Prefect's settings for them.

    Raises:
        PipelineError: the server lacks pg_trgm, has a role `prefect` that is not ours, or does not
            let us create one.
    """
    password = settings.prefect_password or SecretStr(secrets.token_urlsafe(24))
    prefect = settings.model_copy(update={"user": NAME, "password": password, "db": NAME})
    try:
        with connect(prefect):
            pass
    except Refused:
        create(settings, password.get_secret_value())
        remember(POSTGRES_PREFECT_PASSWORD=password.get_secret_value())
    return {
        "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
        "PREFECT_SERVER_DATABASE_HOST": prefect.host,
        "PREFECT_SERVER_DATABASE_PORT": str(prefect.port),
        "PREFECT_SERVER_DATABASE_USER": NAME,
        "PREFECT_SERVER_DATABASE_PASSWORD": password.get_secret_value(),
        "PREFECT_SERVER_DATABASE_NAME": NAME,
    }


def create(settings: Settings, password: str) -> None:
    """Create the role and the database."""
    admin = administrator(settings.url).set(database="postgres")
    role = Identifier(NAME)
    verifier = Literal(verifier_of(settings, NAME, password))
    with connect(admin) as connection:
        driver = driver_of(connection)
        driver.autocommit = True  # a database can't be created in a transaction
        cursor = driver.cursor()
        cursor.execute("select from pg_available_extensions where name = %s", [EXTENSION])
        if cursor.fetchone() is None:
            raise PipelineError(
                f"{address(admin)} lacks PostgreSQL's extension {EXTENSION}, which Prefect's "
                f"database needs: install PostgreSQL's contrib package there, or {ELSEWHERE}"
            )
        try:
            cursor.execute(SQL("create role {} login password {}").format(role, verifier))
            cursor.execute(SQL("grant {} to current_user").format(role))
            cursor.execute(SQL("create database {0} owner {0}").format(role))
            cursor.execute(SQL("revoke all on database {} from public").format(role))
            cursor.execute(SQL("revoke {} from current_user").format(role))
        except DuplicateObject:
            raise PipelineError(
                f"{address(admin)} has a role {NAME} with another password: put that into "
                f"POSTGRES_PREFECT_PASSWORD, or {ELSEWHERE}"
            ) from None
        except InsufficientPrivilege as error:
            raise PipelineError(
                f"Prefect's database can't be made on {address(admin)}: {first_line(error)}. Let "
                f"an administrator run: create role {NAME} login password '…'; create database "
                f"{NAME} owner {NAME}; and put the password into POSTGRES_PREFECT_PASSWORD, or "
                f"{ELSEWHERE}"
            ) from None
