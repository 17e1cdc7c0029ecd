"""The first run on a warehouse of version 0.1 upgrades it in place."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from conftest import build_by_hand, load_file, put_by, run_query, warehouse_to_build
from made_up import made_up_month

from flows.prepare import prepare_warehouse

FEBRUARY = date(2021, 2, 1)


JANUARY = "select xmin::text, source_row, fare_amount from raw.yellow_tripdata_2021_01 order by 2"


@pytest.fixture(scope="module")
def before(postgres):
    """A warehouse of version 0.1, with a view of an analyst's, and the raw rows of its month."""
    settings = warehouse_to_build()
    run_query(settings, (Path(__file__).parent / "version_0_1.sql").read_text())
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


def test_what_an_earlier_version_kept_in_staging_is_kept_apart(warehouse, query, land):
    land(FEBRUARY, 100)
    query(
        "alter table bookkeeping.built_months set schema staging;"
        "insert into staging.built_months values ('public.x', 'yellow', '2021-02-01', 1);"
        "drop table bookkeeping.built_shapes, bookkeeping.built_projects;"
        "drop schema bookkeeping; comment on table raw.locks is 'version 2 (nyc-taxi-elt)'"
    )
    prepare_warehouse()
    assert query("select relation from bookkeeping.built_months") == [("public.x",)]
    assert query("select to_regclass('staging.built_months')") == [(None,)]
