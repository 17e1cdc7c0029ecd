"""Prepare: a warehouse that may be written to, with its server, rights, block and raw schema."""

import logging

import psycopg2
from prefect_sqlalchemy import (  # type: ignore[import-untyped]
    ConnectionComponents,
    SqlAlchemyConnector,
    SyncDriver,
)
from sqlalchemy import Connection

from flows.errors import PipelineError
from flows.models.state import relations
from flows.settings import Settings, read_settings
from flows.warehouse import schema
from flows.warehouse.connection import (
    BLOCK_NAME,
    address,
    connect,
    current_url,
    driver_of,
    explained,
    load_block,
    url_of,
)
from flows.warehouse.local_server import ensure_server
from flows.warehouse.roles import ensure_analyst

SCHEMAS = (*schema.SCHEMAS, "public")  # what the flows and dbt write into

# What is missing of the rights that the project needs, as the statements that give them.
MISSING_RIGHTS = """
with schemas as (
    select name, to_regnamespace(name) as id from unnest(%s) as name
)
select
    format(
        'grant %%s on database %%I to %%I',
        string_agg(privilege, ', '), current_database(), current_user
    )
from (values ('create'), ('temporary')) as needed (privilege)
where
    not has_database_privilege(current_database(), privilege)
    and (privilege <> 'create' or exists (select from schemas where id is null))
having count(*) > 0
union all
select format('grant usage, create on schema %%I to %%I', name, current_user)
from schemas
where
    id is not null
    and not (has_schema_privilege(id, 'usage') and has_schema_privilege(id, 'create'))
"""

# The locks that a question about all months of all trips takes, one for each month's table and each
# of its indexes, and how many locks the server has room for.
LOCKS = """
select
    (
        select count(*)
        from pg_class
        where relnamespace = to_regnamespace('trip_months') and relkind in ('r', 'i')
    ) as needed,
    current_setting('max_locks_per_transaction')::int as per_session,
    current_setting('max_connections')::int
    + current_setting('max_prepared_transactions')::int as sessions
"""
QUESTIONS_AT_ONCE = 4  # two of a build, and two of analysts

logger = logging.getLogger("prefect.prepare")


def prepare_warehouse() -> None:
    """Ensure a warehouse that may be written to, and in which nothing is in the models' way.

    Raises:
        PipelineError: there is none, or something in it is in the way; nothing has been written.
    """
    ensure_warehouse()
    with connect() as connection:
        driver = driver_of(connection)
        try:
            with driver, driver.cursor() as cursor:
                schema.prepare(cursor, relations())
        except psycopg2.Error as error:
            raise explained(error, "the raw schema can't be made") from None
        if advice := advice_on_locks(*connection.exec_driver_sql(LOCKS).one()):
            logger.warning(advice)


def advice_on_locks(needed: int, per_session: int, sessions: int) -> str | None:
    """What to set before questions about years of months fail with "out of shared memory".

    None where the server has room for some of them at once.

    Args:
        needed: The locks that one of them takes.
        per_session: The server's `max_locks_per_transaction`.
        sessions: For how many sessions it keeps so many.
    """
    if needed * QUESTIONS_AT_ONCE <= per_session * sessions:
        return None
    enough = 2 * needed * QUESTIONS_AT_ONCE / sessions  # for as many months again
    return (
        f"a question about all months takes {needed:,} locks, and the server has room for "
        f"{per_session * sessions:,}: set max_locks_per_transaction = {-(-enough // 64) * 64:.0f} "
        "there, and restart it"
    )


def ensure_warehouse() -> None:
    """Ensure that a warehouse answers which the flows may write to; the first step of a run.

    The settings decide which one it is, and Prefect's block `postgres-connector` is written from
    them, for flows of other projects; where POSTGRES_BLOCK names a block, that one decides.

    Raises:
        PipelineError: no warehouse answers and none can be started, or it lacks what is needed.
    """
    settings = read_settings()
    database = current_url().database or ""
    if not {"'", '"'}.isdisjoint(database):
        raise PipelineError(
            f"the database {database} has a quotation mark in its name, which dbt can't work with: "
            "use another one (POSTGRES_DB)"
        )
    if settings.block is None:
        save_block(ensure_server(settings))
    with connect() as connection:
        check_rights(connection)
        ensure_analyst(connection)


def check_rights(connection: Connection) -> None:
    """Raise a `PipelineError` if the role may not write where the flows and dbt do.

    Asked before anything is written. The message has the statements that give what is missing.
    """
    owners = connection.exec_driver_sql(
        "select pg_get_userbyid(relowner) from pg_class"
        " where relname = 'loads' and relnamespace = to_regnamespace('raw')"
        " and position(%s in obj_description(oid, 'pg_class')) > 0"
        " and not pg_has_role(relowner, 'usage')",
        (schema.MARK,),
    ).scalars()
    for owner in owners:
        raise PipelineError(
            f"{address(connection.engine.url)} is the warehouse of {owner}, who alone may load and "
            f"build: log in as {owner} (POSTGRES_USER). To read it, `make analyst` makes logins"
        )
    missing = connection.exec_driver_sql(MISSING_RIGHTS, (list(SCHEMAS),)).scalars().all()
    connection.rollback()
    if missing:
        raise PipelineError(
            f"{address(connection.engine.url)} lacks rights that the project needs. "
            f"Let an administrator run: {'; '.join(missing)}"
        )


def save_block(settings: Settings) -> None:
    """Write the Prefect block `postgres-connector`, unless it says the same already."""
    try:
        if url_of(load_block(BLOCK_NAME)) == settings.url:
            return
    except PipelineError:  # it does not exist, or is not PostgreSQL's
        pass
    block_of(settings).save(BLOCK_NAME, overwrite=True, _sync=True)


def block_of(settings: Settings) -> SqlAlchemyConnector:
    """The settings as a block, which has them part by part."""
    return SqlAlchemyConnector(
        connection_info=ConnectionComponents(
            driver=SyncDriver.POSTGRESQL_PSYCOPG2,
            username=settings.user,
            password=settings.password,
            host=settings.host,
            port=settings.port,
            database=settings.db,
        )
    )
