"""Prefect's database: one of its own in the PostgreSQL that is there, and a role that owns it.

SQLite, Prefect's default, refuses a second writer with "database is locked" as soon as a few runs
report at once.
"""

import secrets

from psycopg2.errors import DuplicateObject, InsufficientPrivilege
from psycopg2.extensions import encrypt_password
from psycopg2.sql import SQL, Identifier, Literal
from pydantic import SecretStr

from flows.errors import PipelineError, first_line
from flows.settings import Settings, remember
from flows.warehouse import Unreachable, address, connect

NAME = "prefect"  # of the role and of its database
EXTENSION = "pg_trgm"  # Prefect's migrations create it and index names with it


def ensure_database(admin: Settings) -> dict[str, str]:
    """Make Prefect's role and database where they are missing; return Prefect's settings for them.

    Args:
        admin: A role that may create roles and databases. It is used only while the database is
            missing.

    Raises:
        PipelineError: the server lacks pg_trgm, has a role `prefect` that is not ours, or does not
            let us create one.
    """
    password = admin.prefect_password or SecretStr(secrets.token_urlsafe(24))
    prefect = admin.model_copy(update={"user": NAME, "password": password, "db": NAME})
    try:
        with connect(prefect):
            pass
    except Unreachable:
        create(admin, password.get_secret_value())
        remember(POSTGRES_PREFECT_PASSWORD=password.get_secret_value())
    return {
        "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
        "PREFECT_SERVER_DATABASE_HOST": prefect.host,
        "PREFECT_SERVER_DATABASE_PORT": str(prefect.port),
        "PREFECT_SERVER_DATABASE_USER": NAME,
        "PREFECT_SERVER_DATABASE_PASSWORD": password.get_secret_value(),
        "PREFECT_SERVER_DATABASE_NAME": NAME,
    }


def create(admin: Settings, password: str) -> None:
    """Create the role and the database; PostgreSQL sees, and logs, only the password's verifier."""
    role = Identifier(NAME)
    with connect(admin.model_copy(update={"db": "postgres"})) as connection:
        driver = connection.connection.driver_connection
        driver.autocommit = True  # a database can't be created in a transaction
        cursor = driver.cursor()
        cursor.execute("select from pg_available_extensions where name = %s", [EXTENSION])
        if cursor.fetchone() is None:
            raise PipelineError(
                f"{address(admin.url)} lacks PostgreSQL's extension {EXTENSION}, which Prefect's "
                "database needs: install PostgreSQL's contrib package there, or set "
                "PREFECT_SERVER_DATABASE_CONNECTION_URL to another database"
            )
        verifier = encrypt_password(password, NAME, driver, "scram-sha-256")
        try:
            cursor.execute(
                SQL("create role {} login password {}").format(role, Literal(verifier))
            )
            cursor.execute(SQL("grant {} to current_user").format(role))
            cursor.execute(SQL("create database {0} owner {0}").format(role))
            cursor.execute(SQL("revoke all on database {} from public").format(role))
            cursor.execute(SQL("revoke {} from current_user").format(role))
        except DuplicateObject:
            raise PipelineError(
                f"{address(admin.url)} has a role {NAME} with another password: put that into "
                "POSTGRES_PREFECT_PASSWORD, or set PREFECT_SERVER_DATABASE_CONNECTION_URL to "
                "another database for Prefect"
            ) from None
        except InsufficientPrivilege as error:
            raise PipelineError(
                f"Prefect's database can't be made on {address(admin.url)}: {first_line(error)}. "
                f"An administrator makes it by: create role {NAME} login password '…'; create "
                f"database {NAME} owner {NAME}; put the password into POSTGRES_PREFECT_PASSWORD"
            ) from None
