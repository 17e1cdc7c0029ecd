"""The raw schema: made once, upgraded from the version before, and never in another one's place."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import psycopg2
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Composable, Identifier, Literal

from flows.errors import PipelineError, TransientError
from flows.tlc.datasets import DATASETS, Dataset

DEFINITIONS = Path(__file__).with_name("schema.sql").read_text()
COLUMNS = {dataset.raw_table: dataset.columns for dataset in DATASETS.values()}
VERSION = hashlib.sha256((DEFINITIONS + repr(COLUMNS)).encode()).hexdigest()[:12]
MARK = "(nyc-taxi-elt)"  # ends the comment of each table and view that is ours
SCHEMAS = ("raw", "staging", "trip_months", "bookkeeping")
OWN_COLUMNS = {"source_month": "date", "source_row": "bigint", "load_id": "bigint"}
# A lock that anybody who may connect can hold: so it is not waited for without a limit.
PREPARING = "select pg_advisory_xact_lock(hashtext('nyc-taxi-elt raw'))"


def prepare(cursor: Cursor, models: Iterable[str] = ()) -> None:
    """Make or upgrade the raw schema, in the caller's transaction.

    Args:
        cursor: Of a transaction that is about to do this alone.
        models: The relations that dbt makes, as `schema.name`.

    Raises:
        PipelineError: something is there already under a name of ours, and is not ours.
        TransientError: another session keeps the lock under which this is done.
    """
    cursor.execute(
        "select obj_description(to_regclass('raw.locks'), 'pg_class'),"
        " (select bool_and(to_regclass('raw.' || name) is not null) from unnest(%s) as name)",
        [[*COLUMNS]],
    )
    [(comment, is_complete)] = cursor.fetchall()
    if is_complete and (comment or "").endswith(f"{VERSION} {MARK}"):
        refuse_what_is_not_ours(cursor, models)
        return
    try:
        cursor.execute("set local lock_timeout = '20s'")
        cursor.execute(PREPARING)
    except psycopg2.errors.LockNotAvailable:
        raise TransientError(
            "another session holds the lock under which the raw schema is made. Run again later"
        ) from None
    is_upgrade = is_first_version(cursor)
    if is_upgrade:
        claim_first_version(cursor)
    refuse_what_is_not_ours(cursor, models)
    if is_upgrade:
        upgrade_first_version(cursor)
    for schema in SCHEMAS:
        # Not `create schema if not exists`: that asks for a right even where the schema exists.
        cursor.execute("select to_regnamespace(%s) is null", [schema])
        if cursor.fetchall() == [(True,)]:
            cursor.execute(SQL("create schema {}").format(Identifier(schema)))
    cursor.execute(DEFINITIONS)
    for dataset in DATASETS.values():
        create_raw_table(cursor, dataset)
    about = f"What two runs must not do at once; version {VERSION} {MARK}"
    cursor.execute(SQL("comment on table raw.locks is {}").format(Literal(about)))


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
    there = columns_of(cursor, dataset.raw_table)
    for name in dataset.columns:
        if name not in there:
            cursor.execute(SQL("alter table {} add column {} text").format(table, Identifier(name)))
    about = f"Rows of TLC's {dataset.name} files, one partition per month {MARK}"
    cursor.execute(SQL("comment on table {} is {}").format(table, Literal(about)))


def columns_of(cursor: Cursor, table: str) -> list[str]:
    """The names of a raw table's columns, read without locking it; none where there is none."""
    cursor.execute(
        "select attname from pg_attribute where attrelid = to_regclass(%s)"
        " and attnum > 0 and not attisdropped order by attnum",
        [f"raw.{table}"],
    )
    return [name for (name,) in cursor]


def refuse_what_is_not_ours(cursor: Cursor, models: Iterable[str]) -> None:
    """Raise a `PipelineError` that names all that is in the way, before anything is written.

    What is ours says so in its comment; a partition is its table's. A schema is ours if it has
    something of ours in it, or nothing, as an administrator makes it for us.
    """
    tables = [f"raw.{dataset.raw_table}" for dataset in DATASETS.values()]
    tables += ["raw.loads", "raw.malformed_lines", "raw.locks"]
    tables += [f"bookkeeping.built_{what}" for what in ("months", "shapes", "projects")]
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


def is_first_version(cursor: Cursor) -> bool:
    """Whether the raw schema is as version 0.1 of this project made it, by month alone."""
    loads = columns_of(cursor, "loads")
    return {"load_id", "source_month", "sha256", "flow_run_id"} <= set(loads) and (
        "dataset" not in loads
    )


def claim_first_version(cursor: Cursor) -> None:
    """Mark what version 0.1 has made, which knew no marks, as ours."""
    cursor.execute("select to_regclass('staging.built_months') is not null")
    built: list[str] = []
    if cursor.fetchall() == [(True,)]:
        cursor.execute("select distinct relation from staging.built_months")
        built = [relation for (relation,) in cursor]
    staging = ("stg_tlc__loads", "stg_tlc__yellow_trips", "time_spine", "built_months")
    seeds = ("taxi_zones", "vendors", "rate_codes", "payment_types", "store_and_fwd_flags")
    names = [
        *(f"raw.{name}" for name in ("loads", "malformed_lines", "yellow_tripdata")),
        *(f"staging.{name}" for name in staging),
        *(f"public.{name}" for name in (*seeds, "trips_enriched")),
        *built,
    ]
    cursor.execute(
        "select case relkind when 'v' then 'view' else 'table' end, pg_class.oid::regclass::text,"
        " obj_description(pg_class.oid, 'pg_class')"
        " from unnest(%s) as name inner join pg_class on pg_class.oid = to_regclass(name)",
        [names],
    )
    for kind, name, about in cursor.fetchall():
        mark = Literal(f"{about or ''} {MARK}".strip())
        cursor.execute(SQL("comment on {} {} is {}").format(SQL(kind), SQL(name), mark))


def upgrade_first_version(cursor: Cursor) -> None:
    """Give the tables of version 0.1, which knew the yellow taxis alone, their dataset.

    Nothing is loaded again; the models are built once, since nothing remembers what they are of.
    """
    cursor.execute(
        """
        alter table raw.loads
            add column dataset text not null default 'yellow',
            add column is_sample boolean not null default false,
            add column etag text,
            add column last_modified text,
            add constraint source_month_is_a_month
                check (extract(day from source_month) = 1) not valid;
        alter table raw.loads alter dataset drop default;
        update raw.loads set is_sample = true where source ~ '/data/samples/[0-9]+_rows/';
        alter table raw.malformed_lines
            add column dataset text not null default 'yellow',
            add constraint source_month_is_a_month
                check (extract(day from source_month) = 1) not valid;
        alter table raw.malformed_lines alter dataset drop default;
        drop table if exists staging.built_months;
        """
    )
