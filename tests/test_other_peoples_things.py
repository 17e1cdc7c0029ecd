"""A database that is shared: nothing of other people's is touched, and what they build stays."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial

import pytest
from conftest import BUILD, again_and_again, build_by_hand, load_file, run_dbt, set_limits
from made_up import made_up_month
from sqlalchemy.exc import DBAPIError

from flows.errors import PipelineError
from flows.models.state import relations
from flows.prepare import prepare_warehouse
from flows.settings import Settings
from flows.warehouse.connection import connect

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
MARTS = (
    *("yellow_taxi_trips", "trips_enriched", "rejected_trips", "trip_accounting"),
    *("daily_trips", "hourly_demand", "zone_pairs", "payment_mix"),
    *("taxi_zones", "vendors", "rate_codes", "payment_types", "store_and_fwd_flags"),
    "request_sources",
)


@pytest.fixture
def shop(warehouse, query):
    """A shop's database, with tables of its own under names that the models have."""
    query(
        "create schema raw; create schema staging;"
        "create table raw.yellow_tripdata_2021_01 (mine int);"
        "create table staging.time_spine (mine int);"
        "create table payment_types (mine int); insert into payment_types values (1);"
        "create table vendors (mine int); create view of_vendors as select * from vendors;"
        "create table trips_enriched (mine int)"
    )
    return warehouse


def tables(query) -> list[tuple]:
    return query(
        "select oid, relname, relfilenode from pg_class"
        " where relnamespace not in (select oid from pg_namespace where nspname ~ '^(pg_|inform)')"
        " order by 1"
    )


def test_all_conflicts_are_named_before_anything_is_written(shop, query):
    before = tables(query)
    with pytest.raises(PipelineError) as refusal:
        prepare_warehouse()
    message = str(refusal.value)
    for name in ("schema raw", "schema staging", "payment_types", "vendors", "trips_enriched"):
        assert name in message
    assert "staging.time_spine" in message
    assert "\n" not in message
    assert tables(query) == before


def test_a_schema_that_an_administrator_has_made_for_us_is_used(warehouse, query):
    query(
        "create schema raw; create schema staging; create schema trip_months;"
        "create schema bookkeeping"
    )
    prepare_warehouse()
    assert query("select count(*) from raw.loads") == [(0,)]


def test_a_partition_of_that_name_that_is_not_ours_is_refused(january, query):
    query("create table raw.yellow_tripdata_2021_02 (mine int)")
    with pytest.raises(PipelineError, match=r"raw\.yellow_tripdata_2021_02 is there already"):
        load_file(made_up_month(FEBRUARY, 100), FEBRUARY)
    assert query("select count(*) from raw.yellow_tripdata_2021_02") == [(0,)]


def test_dbt_alone_names_all_conflicts_as_well(january, query):
    query("comment on table vendors is null; comment on table daily_trips is 'mine'")
    is_done, output = run_dbt(january, "build")
    assert not is_done
    assert "daily_trips" in output
    assert "vendors" in output
    assert "not made by this project" in output


def test_every_relation_of_the_models_is_known_before_dbt_runs(january, query):
    made = query(
        "select relnamespace::regnamespace || '.' || relname from pg_class"
        " where relnamespace in ('public'::regnamespace, 'staging'::regnamespace)"
        " and relkind in ('r', 'p', 'v')"
    )
    assert sorted(name for (name,) in made) == sorted(relations())


@pytest.fixture
def views(january, query):
    """A view of an analyst's on each mart, and a materialized one."""
    for mart in MARTS:
        query(f"create view of_{mart} as select * from {mart}")
    query("create materialized view mine as select count(*) from trips_enriched")


@contextmanager
def readers(settings: Settings, relations: Sequence[str], *pauses: float) -> Iterator[list[str]]:
    """Readers who never stop: one for each pause, which is in seconds, at the end of a transaction.

    Yields what they have read. None of them may ever see an error.
    """
    reads = []

    def read(pause: float) -> None:
        with connect(settings) as connection, connection.begin():
            for name in relations:
                connection.exec_driver_sql(f"select count(*) from {name}")
                reads.append(name)
            time.sleep(pause)

    with again_and_again(*(partial(read, pause) for pause in pauses)):
        yield reads


@pytest.mark.any_postgres
@pytest.mark.usefixtures("views", "models_alone")
def test_views_stay_and_readers_find_every_table_while_months_and_models_are_built(
    january, query, monkeypatch
):
    """Three readers, one of them in long transactions; a reload, then a full refresh."""
    set_limits(monkeypatch, attempt="300ms", pause="500ms")  # a quarter of the usual
    seen = [name for mart in MARTS for name in (mart, f"of_{mart}")]
    with readers(january, seen, 0.1, 0.1, 0.8) as reads:  # longer than an attempt and a pause
        for words in (f"{BUILD} --threads 4", f"{BUILD} --threads 4 --full-refresh"):
            load_file(made_up_month(JANUARY, 1_000 + len(reads)), JANUARY, allow_fewer_rows=True)
            build_by_hand(january, words)
    assert len(reads) > 2 * len(seen)
    views = "select count(*) from pg_class where relname ~ '^of_|^mine$' and relkind in ('v', 'm')"
    assert query(views) == [(len(MARTS) + 1,)]


def test_a_column_of_another_type_disturbs_no_reader_of_the_views_on_its_table(january, query):
    query(
        "do $$ declare own jsonb := raw.take_own_views('yellow_taxi_trips'); begin"
        " alter table yellow_taxi_trips alter total_amount type float8;"
        " perform raw.put_back_views(own); end $$"
    )
    query(
        "update bookkeeping.built_shapes set shape = 'old'"
        " where relation = 'public.yellow_taxi_trips'"
    )
    with readers(january, ["trips"], 0, 0, 0, 2) as reads:
        build_by_hand(january, "run --select yellow_taxi_trips")
    assert len(reads) > 4
    assert query("select pg_typeof(total_amount)::text from trips limit 1") == [("numeric",)]


@pytest.mark.usefixtures("views")
def test_what_has_not_changed_is_not_touched(january, query):
    written = (
        "select oid::regclass::text, xmin::text, relfilenode from pg_class"
        " where relkind in ('r', 'p', 'v')"
        " and relnamespace in ('public'::regnamespace, 'trip_months'::regnamespace) order by 1"
    )
    rows = "select xmin::text, count(*) from vendors group by 1"
    before = query(written), query(rows)
    for words in (BUILD, "seed --full-refresh"):
        build_by_hand(january, words)
    assert (query(written), query(rows)) == before


def test_a_grant_of_the_owners_stays(january, query):
    query("grant select on daily_trips to pg_monitor")
    build_by_hand(january, "run --select daily_trips --full-refresh")
    assert query("select has_table_privilege('pg_monitor', 'daily_trips', 'select')") == [(True,)]


def test_a_view_that_reads_a_column_that_goes_is_named_and_stays(january, query):
    query("alter table daily_trips add column average_fare numeric")
    query("update bookkeeping.built_shapes set shape = 'old' where relation = 'public.daily_trips'")
    query("create view fares as select average_fare from daily_trips")
    is_done, output = run_dbt(january, "run --select daily_trips")
    assert not is_done
    assert "daily_trips gets other columns, and view fares reads those that go" in output
    query("drop view fares")
    build_by_hand(january, "run --select daily_trips")
    columns = (
        "select count(*) from pg_attribute"
        " where attrelid = 'daily_trips'::regclass and attname = 'average_fare'"
    )
    assert query(columns) == [(0,)]


STATE_OF_VIEWS = (
    "select relname, relacl::text, reloptions, obj_description(oid, 'pg_class'),"
    " col_description(oid, 3), pg_get_viewdef(oid) from pg_class"
    " where relname in ('trips', 'trips_enriched') order by 1"
)


@pytest.mark.usefixtures("january")
def test_an_own_view_that_is_made_again_keeps_its_rights_options_and_comments(query):
    query(
        "grant select on trips_enriched to public; alter view trips set (security_invoker = true)"
    )
    before = query(STATE_OF_VIEWS)
    assert len(before) == 2
    query("select raw.put_back_views(raw.take_own_views('yellow_taxi_trips'))")
    assert query(STATE_OF_VIEWS) == before


@pytest.mark.usefixtures("january")
def test_only_own_views_that_read_the_columns_that_go_are_made_again(query):
    query("create view of_trips as select dataset, count(*) from trips group by 1")
    [(fee,)] = query(
        "select attnum from pg_attribute where attname = 'airport_fee'"
        " and attrelid = 'yellow_taxi_trips'::regclass"
    )
    [(taken,)] = query(f"select raw.take_own_views('yellow_taxi_trips', '{{{fee}}}')")
    views = {"trips_enriched", "trip_charges", "tlc_yellow_trips"}
    assert {view["name"] for view in taken} == views
    with pytest.raises(DBAPIError, match="trips has to be made again, and view of_trips reads it"):
        query("select raw.take_own_views('yellow_taxi_trips')")
