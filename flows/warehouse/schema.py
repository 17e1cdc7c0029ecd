"""The tables and functions that the flows and dbt share: made, and upgraded from earlier versions.

Tables are made and changed by the numbered files in `migrations/`, each of which runs once in a
warehouse; a change is a new file. A few lines do it, and neither Alembic nor yoyo: it all has to be
in one transaction of ours, after what is in the way has been named. Alembic's files are Python,
and yoyo opens connections of its own and keeps a lock that outlives a run that is killed.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import psycopg2
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Composable, Identifier, Literal

from flows.errors import PipelineError, TransientError
from flows.tlc.datasets import DATASETS, Dataset
from flows.warehouse.connection import value_of

MIGRATIONS = {
    path.stem: path.read_text() for path in sorted(Path(__file__).parent.glob("migrations/*.sql"))
}
CLAIM_VERSION_0_1 = Path(__file__).with_name("version_0_1.sql").read_text()
FUNCTIONS = Path(__file__).with_name("schema.sql").read_text()
COLUMNS = {dataset.raw_table: dataset.columns for dataset in DATASETS.values()}
VERSION = hashlib.sha256(repr((MIGRATIONS, FUNCTIONS, COLUMNS)).encode()).hexdigest()[:12]
MARK = "(nyc-taxi-elt)"  # ends the comment of each table and view that is ours
SCHEMAS = ("raw", "staging", "trip_months", "bookkeeping")
OWN_COLUMNS = {"source_month": "date", "source_row": "bigint", "load_id": "bigint"}
# How many of the migrations are what version 0.1 made, which marked nothing as ours, and what
# version 2 made before it remembered them.
OF_VERSION_0_1, UNNUMBERED = 1, 3
# A lock that anybody who may connect can hold: so it is not waited for without a limit.
PREPARING = "select pg_advisory_xact_lock(hashtext('nyc-taxi-elt raw'))"


def prepare(cursor: Cursor, models: Iterable[str] = ()) -> None:
    """Make or upgrade what the flows and dbt share, in the caller's transaction.

    Args:
        cursor: Of a transaction that is about to do this alone.
        models: The relations that dbt makes, as `schema.name`.

    Raises:
        PipelineError: something is there already under a name of ours, and is not ours; or a newer
            version of this project has made the warehouse, or it was made before Citus was there.
        TransientError: another session keeps the lock under which this is done.
    """
    cursor.execute(
        "select bool_and(to_regclass('raw.' || name) is not null),"
        " exists (select from pg_extension where extname = 'citus') from unnest(%s) as name",
        [[*COLUMNS]],
    )
    [(are_there, is_on_several_servers)] = cursor.fetchall()
    end = f"{' on several servers' * is_on_several_servers} {MARK}"
    current = f"version {VERSION}{end}"
    # Not asked where nothing is: PostgreSQL would remember that until the transaction's end, though
    # another one has made it all while this one waits for the lock.
    comment = comment_on_migrations(cursor) if are_there else ""
    if comment.endswith(current):
        refuse_what_is_not_ours(cursor, models)
        cursor.execute("select raw.wait_for_commits()")
        return
    if comment.endswith(MARK) and not comment.endswith(end):
        raise PipelineError(
            "this warehouse was made on one server, before the extension citus was in its "
            "database: use a new one (POSTGRES_DB) and load the months there, or drop the extension"
        )
    try:
        cursor.execute("set local lock_timeout = '20s'")
        cursor.execute(PREPARING)
    except psycopg2.errors.LockNotAvailable:
        raise TransientError(
            "another session holds the lock under which the raw schema is made. Run again later"
        ) from None
    done = migrations_done(cursor)
    if len(done) == OF_VERSION_0_1:
        cursor.execute(CLAIM_VERSION_0_1)
    refuse_what_is_not_ours(cursor, models)
    for schema in SCHEMAS:
        # Not `create schema if not exists`: that asks for a right even where the schema exists.
        if value_of(cursor, "select to_regnamespace(%s) is null", [schema]):
            cursor.execute(SQL("create schema {}").format(Identifier(schema)))
    migrate(cursor, done)
    cursor.execute(FUNCTIONS)
    for dataset in DATASETS.values():
        create_raw_table(cursor, dataset)
    about = f"The migrations that this warehouse has had; {current}"
    cursor.execute(SQL("comment on table raw.migrations is {}").format(Literal(about)))


def comment_on_migrations(cursor: Cursor) -> str:
    """The comment on the table of migrations, which ends with the version of all that is made."""
    cursor.execute("select obj_description(to_regclass('raw.migrations'), 'pg_class')")
    [(comment,)] = cursor.fetchall()
    return comment or ""


def migrations_done(cursor: Cursor) -> list[str]:
    """The names of the migrations that the warehouse has had, in their order.

    Raises:
        PipelineError: one of them is not known here: the warehouse is a newer version's.
    """
    if comment_on_migrations(cursor).endswith(MARK):
        cursor.execute("select name from raw.migrations order by name")
        done = [name for (name,) in cursor]
        if newer := [name for name in done if name not in MIGRATIONS]:
            raise PipelineError(
                f"a newer version of this project made this warehouse ({', '.join(newer)}): "
                "update this one, or use another database: POSTGRES_DB"
            )
        return done
    loads = columns_of(cursor, "raw.loads")
    if not {"load_id", "source_month", "sha256", "flow_run_id"} <= set(loads):
        return []
    return [*MIGRATIONS][: UNNUMBERED if "dataset" in loads else OF_VERSION_0_1]


def migrate(cursor: Cursor, done: list[str]) -> None:
    """Run the migrations that the warehouse has not had, and remember all of them."""
    cursor.execute(
        "create table if not exists raw.migrations"
        " (name text primary key, remembered_at timestamptz not null default now())"
    )
    for name, statements in MIGRATIONS.items():
        if name not in done:
            cursor.execute(statements)
        cursor.execute(
            "insert into raw.migrations (name) values (%s) on conflict do nothing", [name]
        )


def create_raw_table(cursor: Cursor, dataset: Dataset) -> None:
    """Make a dataset's raw table, or add the columns that it lacks; all of them are text."""
    table = Identifier("raw", dataset.raw_table)
    columns: list[Composable] = [
        SQL("{} text").format(Identifier(name)) for name in dataset.columns
    ]
    columns += [SQL(f"{name} {kind} not null") for name, kind in OWN_COLUMNS.items()]
    # That a month is a first day is for raw.swap_month() to see to, once for all of its rows.
    cursor.execute(
        SQL(
            "create table if not exists {} ({}) partition by list (source_month);"
            " alter table {} drop constraint if exists source_month_is_a_month"
        ).format(table, SQL(", ").join(columns), table)
    )
    there = columns_of(cursor, f"raw.{dataset.raw_table}")
    for name in dataset.columns:
        if name not in there:
            cursor.execute(SQL("alter table {} add column {} text").format(table, Identifier(name)))
    cursor.execute("select raw.spread(%s)", [f"raw.{dataset.raw_table}"])
    about = f"Rows of TLC's {dataset.name} files, one partition per month {MARK}"
    cursor.execute(SQL("comment on table {} is {}").format(table, Literal(about)))


def columns_of(cursor: Cursor, table: str) -> list[str]:
    """The names of a table's columns, read without locking it; none where there is none."""
    cursor.execute(
        "select attname from pg_attribute where attrelid = to_regclass(%s)"
        " and attnum > 0 and not attisdropped order by attnum",
        [table],
    )
    return [name for (name,) in cursor]


def refuse_what_is_not_ours(cursor: Cursor, models: Iterable[str]) -> None:
    """Raise a `PipelineError` that names all that is in the way, before anything is written.

    What is ours says so in its comment; a partition is its table's. A schema is ours if it has
    something of ours in it, or nothing, as an administrator makes it for us.
    """
    tables = [f"raw.{dataset.raw_table}" for dataset in DATASETS.values()]
    tables += ["raw.loads", "raw.malformed_lines", "raw.locks", "raw.migrations", "raw.archives"]
    tables += [f"bookkeeping.built_{what}" for what in ("months", "shapes", "code", "projects")]
    tables += ["bookkeeping.tested_months"]
    cursor.execute(
        """
        select format('schema %%s', nspname)
        from pg_namespace
        inner join pg_class on pg_class.relnamespace = pg_namespace.oid
        where nspname = any(%(schemas)s) and relkind in ('r', 'p', 'v', 'm')
        group by nspname
        having
            not bool_or(coalesce(
                obj_description(coalesce(pg_partition_root(pg_class.oid), pg_class.oid), 'pg_class')
                like '%%' || %(mark)s, false
            ))
        union all
        select format('function %%s', oid::regprocedure)
        from pg_proc
        where
            proname = 'trip_origin' and pronamespace = 'public'::regnamespace
            and coalesce(obj_description(oid, 'pg_proc') not like '%%' || %(mark)s, true)
        union all
        select format('%%s %%s', case relkind when 'v' then 'view' when 'm' then 'materialized view'
            when 'S' then 'sequence' when 'i' then 'index' else 'table' end, pg_class.oid::regclass)
        from unnest(%(relations)s) as name
        inner join pg_class on pg_class.oid = to_regclass(name)
        where coalesce(obj_description(pg_class.oid, 'pg_class') not like '%%' || %(mark)s, true)
        """,
        {"schemas": list(SCHEMAS), "relations": sorted({*tables, *models}), "mark": MARK},
    )
    if found := [name for (name,) in cursor]:
        raise PipelineError(
            f"{', '.join(found)} in this database: not made by this project, which needs the "
            f"name{'s' * (len(found) > 1)}. Rename or move, or use another database: POSTGRES_DB"
        )
