"""Each kind of file that TLC has ever published of yellow trips: rows = rows, value = value.

One run lands them all: 24 months, of each era one or two.
"""

from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
from conftest import put_by, run_dbt, run_query, warehouse_to_build
from made_up import ERAS, JANUARY_AS_CSV, JANUARY_AS_PARQUET, trips_of, write
from sqlalchemy import text

from flows.elt import elt
from flows.land import land
from flows.warehouse import connect

LATER = {
    f"{name}, a month later": replace(era, month=(era.month + timedelta(31)).replace(day=1))
    for name, era in islice(ERAS.items(), 10)
}
MONTHS = ERAS | LATER
ROWS = {name: 100 + 10 * number for number, name in enumerate(MONTHS)}


def trips_in(name: str) -> pd.DataFrame:
    """All of the file's."""
    return trips_of(MONTHS[name], ROWS[name])


@pytest.fixture(scope="module")
def run(prefect_server, tmp_path_factory):
    """A warehouse and the summary of the run that has filled it."""
    folder: Path = tmp_path_factory.mktemp("eras")
    settings = warehouse_to_build()
    for name, era in MONTHS.items():
        # Under names that do not tell the format.
        write(era, trips_in(name), folder).rename(folder / f"{era.month:%Y-%m}")
    months = " ".join(f"{era.month:%Y-%m}" for era in MONTHS.values())
    summary = elt(months, f"{folder}/{{month}}")
    return put_by(settings), summary


@pytest.fixture(scope="module")
def eras(run):
    """The warehouse."""
    return run[0]


@pytest.mark.parametrize("name", MONTHS)
def test_trips_are_those_of_the_file(eras, name):
    era = MONTHS[name]
    expected = trips_in(name)
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


def test_every_row_of_every_month_is_accounted_for(run):
    _, summary = run
    expected = []
    for name, era in sorted(MONTHS.items(), key=lambda item: item[1].month):
        rows, zero = ROWS[name], int((trips_in(name)["passenger_count"] == 0).sum())
        expected.append((f"{era.month:%Y-%m}", rows, rows - zero, zero, 0, 0, False))
    assert len(expected) == 24
    assert [*summary.accounting.itertuples(index=False, name=None)] == expected


@pytest.mark.parametrize("mart", ["daily_trips", "hourly_demand", "zone_pairs", "payment_mix"])
def test_the_marts_have_the_trips_of_every_month(eras, mart):
    of_the_mart = f"select source_month, sum(trips)::int from {mart} group by 1 order by 1"
    of_the_months = "select source_month, trips::int from trip_accounting order by 1"
    assert run_query(eras, of_the_mart) == run_query(eras, of_the_months)


def test_every_trip_is_enriched(eras):
    counts = (
        "select (select count(*) from trips_enriched) - (select count(*) from yellow_taxi_trips)"
    )
    assert run_query(eras, counts) == [(0,)]


@pytest.mark.usefixtures("warehouse")
def test_a_month_is_the_same_as_csv_and_as_parquet(database, tmp_path):
    trips = trips_of(JANUARY_AS_CSV)
    trips.loc[:2, "trip_distance"] = [0.1 + 0.2, 1e-05, 2.6299999999999999]
    with_the_fee = trips.assign(airport_fee=None)  # which the CSV does not have
    found = []
    for era, content in ((JANUARY_AS_CSV, trips), (JANUARY_AS_PARQUET, with_the_fee)):
        land(era.month, str(write(era, content, tmp_path)))
        is_done, said = run_dbt(database, "run --select +yellow_taxi_trips")
        assert is_done, said
        with connect(database) as connection:
            found.append(
                pd.read_sql("select * from yellow_taxi_trips order by trip_id", connection)
            )
    as_csv, as_parquet = found
    assert as_csv.pop("load_id").max() < as_parquet.pop("load_id").min()  # it was built again
    pd.testing.assert_frame_equal(as_csv, as_parquet, check_exact=True)
