"""Each kind of file that TLC has ever published of yellow trips: rows = rows, value = value."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import build_by_hand, put_by, run_query, warehouse_to_build
from made_up import ERAS, trips_of, write
from sqlalchemy import text

from flows.land import land
from flows.warehouse import connect

ROWS = 200


@pytest.fixture(scope="module")
def eras(prefect_server, tmp_path_factory):
    """A warehouse with a month of each era, built once."""
    folder: Path = tmp_path_factory.mktemp("eras")
    settings = warehouse_to_build()
    for era in ERAS.values():
        land(era.month, str(write(era, trips_of(era, ROWS), folder)))
    build_by_hand(settings)
    return put_by(settings)


@pytest.mark.parametrize("name", ERAS)
def test_trips_are_those_of_the_file(eras, name):
    era = ERAS[name]
    expected = trips_of(era, ROWS)
    expected = expected[(expected["passenger_count"] != 0).fillna(True)].reset_index(drop=True)
    with connect(eras) as connection:
        trips = pd.read_sql(
            text("select * from yellow_taxi_trips where source_month = :month order by source_row"),
            connection,
            params={"month": era.month},
        )
    pd.testing.assert_frame_equal(
        trips[list(expected)].astype(object).where(trips[list(expected)].notna(), None),
        expected.astype(object).where(expected.notna(), None),
        check_dtype=False,
    )


def test_every_row_of_every_era_is_accounted_for(eras):
    accounting = run_query(
        eras, "select source_month, raw_rows, rejected_trips from trip_accounting order by 1"
    )
    months = sorted(era.month for era in ERAS.values())
    assert accounting == [(month, ROWS, 0) for month in months]


@pytest.mark.parametrize("mart", ["daily_trips", "hourly_demand", "zone_pairs", "payment_mix"])
def test_the_marts_have_the_trips_of_every_era(eras, mart):
    of_the_mart = f"select source_month, sum(trips)::int from {mart} group by 1 order by 1"
    of_the_months = "select source_month, trips::int from trip_accounting order by 1"
    assert run_query(eras, of_the_mart) == run_query(eras, of_the_months)


def test_every_trip_is_enriched(eras):
    counts = (
        "select (select count(*) from trips_enriched) - (select count(*) from yellow_taxi_trips)"
    )
    assert run_query(eras, counts) == [(0,)]
