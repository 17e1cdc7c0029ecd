"""The first run on a warehouse of an earlier version upgrades it in place."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from conftest import build_by_hand, load_file, put_by, run_dbt, run_query, warehouse_to_build
from made_up import made_up_month

from flows.build import build
from flows.errors import PipelineError
from flows.models.state import is_up_to_date, relations
from flows.settings import Settings
from flows.warehouse.connection import connect, driver_of
from flows.warehouse.schema import MIGRATIONS, prepare

pytestmark = pytest.mark.any_postgres
HERE = Path(__file__).parent
FEBRUARY = date(2021, 2, 1)


JANUARY = "select xmin::text, source_row, fare_amount from raw.yellow_tripdata_2021_01 order by 2"


@pytest.fixture(scope="module")
def before(postgres):
    """A warehouse of version 0.1, with a view of an analyst's, and the raw rows of its month."""
    settings = warehouse_to_build()
    run_query(settings, (HERE / "version_0_1.sql").read_text())
    run_query(
        settings,
        "create view my_revenue as"
        " select source_month, sum(total_amount) as revenue from yellow_taxi_trips group by 1",
    )
    return settings, run_query(settings, JANUARY)


@pytest.fixture(scope="module")
def upgraded(before, prefect_server):
    """The same, in which February has been landed, and the models have been built."""
    settings, _ = before
    load_file(made_up_month(FEBRUARY, 1_000), FEBRUARY)
    build_by_hand(settings)
    return put_by(settings)


def test_raw_rows_are_neither_loaded_again_nor_written(before, upgraded):
    _, rows = before
    assert len(rows) == 3
    assert run_query(upgraded, JANUARY) == rows


def test_the_audit_and_the_malformed_lines_are_those_of_the_yellow_taxis(upgraded):
    audit = "select load_id, dataset, is_sample, row_count from raw.loads order by load_id limit 1"
    assert run_query(upgraded, audit) == [(1, "yellow", False, 3)]
    assert run_query(upgraded, "select dataset, line from raw.malformed_lines") == [
        ("yellow", "1,2")
    ]


def test_every_row_is_accounted_for(upgraded):
    accounting = (
        "select raw_rows, trips, zero_passenger_trips, rejected_trips, malformed_lines"
        " from trip_accounting where source_month = '2021-01-01'"
    )
    assert run_query(upgraded, accounting) == [(3, 1, 1, 1, 1)]


def test_the_trips_are_partitioned_by_month(upgraded):
    partitions = (
        "select inhrelid::regclass::text from pg_inherits"
        " where inhparent = 'yellow_taxi_trips'::regclass order by 1"
    )
    assert run_query(upgraded, partitions) == [
        ("trip_months.yellow_taxi_trips_2021_01",),
        ("trip_months.yellow_taxi_trips_2021_02",),
    ]


def test_a_view_of_an_analysts_reads_the_new_table(upgraded):
    revenue = "select revenue from my_revenue where source_month = '2021-01-01'"
    assert run_query(upgraded, revenue) == [(Decimal("11.8"),)]
    assert run_query(upgraded, "select count(*) from my_revenue") == [(2,)]


def test_a_second_build_has_nothing_to_do(upgraded):
    written = (
        "select xmin::text, relation, source_month from bookkeeping.built_months order by 2, 3"
    )
    before = run_query(upgraded, written)
    build_by_hand(upgraded)
    assert [row[1:] for row in run_query(upgraded, written)] == [row[1:] for row in before]


CATALOG = """
    with ours as (
        select oid from pg_class
        where
            relnamespace in ('raw'::regnamespace, 'bookkeeping'::regnamespace)
            and relkind in ('r', 'p') and not relispartition
    )
    select 'column', attrelid::regclass::text, attname, concat_ws(
        ' ', format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid)
    )
    from ours inner join pg_attribute on attrelid = ours.oid
    left join pg_attrdef on (adrelid, adnum) = (attrelid, attnum)
    where attnum > 0 and not attisdropped
    union all
    select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(pg_constraint.oid)
    from ours inner join pg_constraint on conrelid = ours.oid
    union all
    select 'index', indrelid::regclass::text, '', pg_get_indexdef(indexrelid)
    from ours inner join pg_index on indrelid = ours.oid
    union all
    select 'comment', oid::regclass::text, '', obj_description(oid, 'pg_class') from ours
    union all
    select 'function', oid::regprocedure::text, '', pg_get_functiondef(oid)
    from pg_proc where pronamespace in ('raw'::regnamespace, 'bookkeeping'::regnamespace)
    union all
    select 'migration', name, '', '' from raw.migrations
    union all
    select 'still in staging', relname, '', ''
    from pg_class where relnamespace = 'staging'::regnamespace and relname like 'built%%'
"""
BEFORE_MIGRATIONS = (HERE / "version_2_before_migrations.sql").read_text()


def prepare_database(settings: Settings) -> None:
    with connect(settings) as connection:
        driver = driver_of(connection)
        with driver, driver.cursor() as cursor:
            prepare(cursor, relations())


@pytest.mark.parametrize("version", ["version_0_1", "version_2_before_migrations"])
def test_an_upgrade_ends_where_an_empty_database_does(new_database, version):
    empty, old = new_database(), new_database()
    run_query(old, (HERE / f"{version}.sql").read_text())
    for settings in (empty, old):
        prepare_database(settings)
    expected = run_query(empty, CATALOG)
    assert len(expected) > 100
    assert set(run_query(old, CATALOG)) ^ set(expected) == set()


def test_an_upgrade_forgets_nothing_that_has_been_loaded_or_built(new_database):
    database = new_database()
    run_query(database, BEFORE_MIGRATIONS)
    prepare_database(database)
    assert run_query(database, "select dataset, sha256 from raw.loads") == [("yellow", "abc")]
    for table, rows in (
        ("built_months", [("public.daily_trips", "yellow", date(2021, 1, 1), 1, None, False, 1)]),
        ("built_shapes", [("public.daily_trips", "abc")]),
        ("built_projects", [("yellow_taxi_trips", "abc")]),
    ):
        assert run_query(database, f"select * from bookkeeping.{table}") == rows


NAMES = """
    select named.relname, pg_relation_filenode(indexrelid)
    from pg_index inner join pg_class as named on indexrelid = named.oid
    where indrelid = any(array['fhv_trips', 'trip_months.fhv_trips_2021_01']::regclass[])
    order by 1
"""


def test_indexes_with_names_that_say_nothing_get_others_without_being_written(new_database):
    """As dbt and the months' tables called them before, beside one of somebody else's."""
    database = new_database()
    prepare_database(database)
    run_query(
        database,
        """
        create table fhv_trips (
            trip_id bigint, source_month date, primary key (trip_id, source_month)
        ) partition by list (source_month);
        comment on table fhv_trips is '(nyc-taxi-elt)';
        create index "56d0617b61488449765b30c66d539c0b" on fhv_trips using brin (trip_id);
        create table trip_months.new_9ebe51c2_4 (like fhv_trips including all);
        alter table trip_months.new_9ebe51c2_4 rename to fhv_trips_2021_01;
        alter table fhv_trips
        attach partition trip_months.fhv_trips_2021_01 for values in ('2021-01-01');
        create index my_index on trip_months.fhv_trips_2021_01 (source_month);
        comment on table raw.migrations is 'version 9 (nyc-taxi-elt)'
        """,
    )
    before = dict(run_query(database, NAMES))
    assert {"new_9ebe51c2_4_pkey", "new_9ebe51c2_4_trip_id_idx", "my_index"} <= before.keys()
    prepare_database(database)
    after = dict(run_query(database, NAMES))
    assert sorted(after) == [
        "fhv_trips_2021_01_pkey",
        "fhv_trips_2021_01_trip_id_idx",
        "fhv_trips_pkey",
        "fhv_trips_trip_id_idx",
        "my_index",
    ]
    assert sorted(map(str, after.values())) == sorted(map(str, before.values()))


@pytest.mark.parametrize("begin", ["", BEFORE_MIGRATIONS], ids=["empty", "version 2"])
def test_of_runs_that_begin_at_once_one_does_the_migrations(new_database, begin):
    database = new_database()
    if begin:
        run_query(database, begin)
    with ThreadPoolExecutor() as pool:
        list(pool.map(prepare_database, [database] * 4))
    assert run_query(database, "select name from raw.migrations order by 1") == [
        (name,) for name in MIGRATIONS
    ]


def test_the_warehouse_of_a_newer_version_is_left_as_it_is(new_database):
    database = new_database()
    prepare_database(database)
    run_query(database, "insert into raw.migrations values ('9999_later')")
    run_query(database, "comment on table raw.migrations is 'version 9 (nyc-taxi-elt)'")
    with pytest.raises(PipelineError, match=r"a newer version .*9999_later.* update this one"):
        prepare_database(database)


def test_migrations_are_numbered_without_gaps():
    numbers = [int(name.split("_")[0]) for name in MIGRATIONS]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.usefixtures("models_alone")
def test_a_build_alone_upgrades_the_warehouse_first_and_dbt_alone_says_what_does(january, query):
    query("drop function raw.describe")
    query("comment on table raw.migrations is 'version 0 (nyc-taxi-elt)'")
    is_done, said = run_dbt(january, "run --select trips")
    assert not is_done
    assert "an earlier version made this warehouse: `make run` upgrades it" in said
    build()
    assert is_up_to_date()
