"""Each kind of file that TLC has ever published: rows = rows, value = value.

24 months of yellow trips, of each era one or two, are built with the others' at once.
"""

import re
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
from conftest import (
    assert_trips_are,
    build_by_hand,
    load_file,
    put_by,
    run_query,
    warehouse_to_build,
)
from made_up import ERAS, JANUARY_AS_CSV, JANUARY_AS_PARQUET, OTHER_ERAS, trips_of, write
from prefect import flow
from sqlalchemy import text

from flows.build import Build
from flows.report.summary import summarise
from flows.tlc.datasets import DATASETS, DatasetMonth
from flows.warehouse.connection import connect

LATER = {
    f"{name}, a month later": replace(era, month=(era.month + timedelta(31)).replace(day=1))
    for name, era in islice(ERAS.items(), 10)
}
YELLOW = ERAS | LATER
MONTHS = YELLOW | OTHER_ERAS
ROWS = {name: 100 + 10 * number for number, name in enumerate(MONTHS)}


def trips_in(name: str) -> pd.DataFrame:
    """All of the file's."""
    return trips_of(MONTHS[name], ROWS[name])


@flow
def summed_up() -> pd.DataFrame:
    """What a run that was about these months says became of their rows."""
    asked = [DatasetMonth(DATASETS[era.dataset], era.month) for era in MONTHS.values()]
    return summarise(asked, Build(0, 0, 0)).accounting


@pytest.fixture(scope="module")
def run(prefect_server, tmp_path_factory):
    """A warehouse with all months, and what became of their rows."""
    folder: Path = tmp_path_factory.mktemp("eras")
    settings = warehouse_to_build()
    for name, era in MONTHS.items():
        file = write(era, trips_in(name), folder)
        neutral = file.rename(folder / f"{era.dataset} {era.month:%Y-%m}")  # tells no format
        load_file(neutral, era.month, era.dataset)
    build_by_hand(settings)
    accounting = summed_up()
    return put_by(settings), accounting


@pytest.fixture(scope="module")
def eras(run):
    """The warehouse."""
    return run[0]


@pytest.mark.parametrize("name", MONTHS)
def test_trips_are_those_of_the_file(eras, name):
    era = MONTHS[name]
    expected = trips_in(name).drop(columns="nothing", errors="ignore")
    if "passenger_count" in expected:
        expected = expected[(expected["passenger_count"] != 0).fillna(True)].reset_index(drop=True)
    table = DATASETS[era.dataset].table
    with connect(eras) as connection:
        trips = pd.read_sql(
            text(f"select * from {table} where source_month = :month order by source_row"),
            connection,
            params={"month": era.month},
        )
    assert_trips_are(trips, expected)


def test_every_row_of_every_month_is_accounted_for(run):
    _, accounting = run
    expected = []
    for name, era in sorted(MONTHS.items(), key=lambda item: (item[1].dataset, item[1].month)):
        rows, trips = ROWS[name], trips_in(name)
        zero = int((trips["passenger_count"] == 0).sum()) if "passenger_count" in trips else 0
        counts = (rows, rows - zero, zero, 0, 0, 0, False, 1)
        expected.append((era.dataset, f"{era.month:%Y-%m}", *counts))
    assert len(YELLOW) == 24
    assert [*accounting.itertuples(index=False, name=None)] == expected


@pytest.mark.parametrize("mart", ["daily_trips", "hourly_demand", "zone_pairs", "payment_mix"])
def test_the_marts_have_the_trips_of_every_month(eras, mart):
    of_the_mart = (
        "select dataset, source_month, sum(trips + coalesce(refunds, 0))::int"
        f" from {mart} group by 1, 2"
    )
    of_the_months = "select dataset, source_month, trips::int from trip_accounting"
    assert {*run_query(eras, of_the_mart)} == {*run_query(eras, of_the_months)}


@pytest.mark.parametrize("view", ["trips", "trips_enriched"])
def test_every_trip_is_enriched_with_the_company_that_drove(eras, view):
    of_the_view = run_query(
        eras, f"select dataset, count(*), count(company) from {view} group by 1"
    )
    of_the_tables = run_query(
        eras, "select dataset, sum(trips)::int, sum(trips)::int from trip_accounting group by 1"
    )
    assert {*of_the_view} == {*of_the_tables}
    companies = "select dataset, string_agg(distinct company, '; ' order by company)"
    assert dict(run_query(eras, f"{companies} from {view} group by 1")) == {
        "yellow": "Lyft; Uber; Yellow taxi",
        "green": "Green taxi; Lyft; Uber",
        "fhv": "FAST OPERATING CORP; FOREVER BLUE CAR SERVICE INC.; LOVE CORPORATE CAR INC",
        "fhvhv": "Lyft; Uber",
    }


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_view_has_tlcs_own_names_and_each_column_of_the_trips_says_them(eras, dataset):
    """TLC's names as its Parquet files have them, in lower case."""
    table = DATASETS[dataset].table
    columns = (
        "select attname, col_description(attrelid, attnum) from pg_attribute"
        " where attrelid = '{}'::regclass and attnum > 0 and not attisdropped order by attnum"
    )
    named = [name for name, _ in run_query(eras, columns.format(f"tlc_{dataset}_trips"))]
    assert set(named) - {"trip_id", "source_month"} <= set(DATASETS[dataset].columns)
    described = dict(run_query(eras, columns.format(table)))
    for name in named:
        assert name in described or any(
            re.search(rf"TLC: [^)]*\b{name}\b", comment, re.IGNORECASE)
            for comment in described.values()
        )
    pickup = next(name for name in DATASETS[dataset].pickup if name in named)
    sums = "select count(*), min({}), sum({}) from {}"
    assert run_query(
        eras, sums.format(pickup, "PULocationID", f"tlc_{dataset}_trips")
    ) == run_query(eras, sums.format("pickup_datetime", "pickup_location_id", table))


class TestAllTrips:
    """The view `trips`, of what all datasets have in common."""

    def test_it_has_every_trip_once(self, eras):
        [(trips, of_the_tables, ids)] = run_query(
            eras,
            "select (select count(*) from trips), (select sum(trips)::int from trip_accounting),"
            " (select count(distinct (dataset, trip_id)) from trips)",
        )
        assert trips == of_the_tables == ids

    def plan(self, eras, query: str) -> str:
        """How PostgreSQL reads it, if the months were large, without what it never gets to."""
        settings = (
            "set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0;"
            " set parallel_tuple_cost = 0; "
        )
        how = "analyze, costs off, timing off, summary off, buffers off"
        rows = run_query(eras, f"{settings} explain ({how}) {query}")
        return "\n".join(row for (row,) in rows if "never executed" not in row)

    @pytest.mark.parametrize("view", ["trips", "trips_enriched"])
    def test_a_month_is_read_alone(self, eras, view):
        where = "where dataset = 'green' and source_month = '2024-05-01'"
        plan = self.plan(eras, f"select count(*), sum(total_amount) from {view} {where}")
        assert re.findall(r"Seq Scan on (\w+)", plan) == ["green_taxi_trips_2024_05"]

    @pytest.mark.parametrize(
        "relation", ["trips", "trips_enriched", "staging.int_tlc__rows_unioned"]
    )
    def test_a_question_about_a_month_of_a_dataset_locks_no_other_month(self, eras, relation):
        with connect(eras) as connection, connection.begin():
            connection.exec_driver_sql(
                f"select count(*) from {relation}"
                " where dataset = 'green' and source_month = '2024-05-01'"
            )
            locked = connection.exec_driver_sql(
                "select relname from pg_locks inner join pg_class on relation = pg_class.oid"
                " where pid = pg_backend_pid() and relkind = 'r' and relispartition"
            ).scalars()
            months = {name[-len("2024_05") :] for name in locked}
        assert months == {"2024_05"}

    def test_a_month_of_all_datasets_is_read_alone(self, eras):
        plan = self.plan(eras, "select count(*) from trips where source_month = '2024-05-01'")
        parts = ["yellow_taxi_trips", "green_taxi_trips", "fhv_trips", "fhvhv_trips"]
        assert {*re.findall(r"Scan on (\w+_\d{4}_\d\d)", plan)} == {
            f"{part}_2024_05" for part in parts
        }

    def test_all_months_are_read_in_parallel(self, eras):
        month = "date_trunc('month', pickup_datetime)"
        plan = self.plan(eras, f"select dataset, {month}, count(*) from trips group by 1, 2")
        assert "Parallel Append" in plan
        assert len(re.findall(r"Parallel Seq Scan on \w+_trips_\d{4}_\d\d", plan)) == len(MONTHS)
        assert "taxi_zones" not in plan  # whose words are not asked for


@pytest.mark.usefixtures("warehouse")
def test_a_month_is_the_same_as_csv_and_as_parquet(database, tmp_path):
    trips = trips_of(JANUARY_AS_CSV)
    trips.loc[:2, "trip_distance"] = [0.1 + 0.2, 1e-05, 2.6299999999999999]
    with_the_fee = trips.assign(airport_fee=None)  # which the CSV does not have
    found = []
    for era, content in ((JANUARY_AS_CSV, trips), (JANUARY_AS_PARQUET, with_the_fee)):
        load_file(write(era, content, tmp_path), era.month)
        without_tests = "--exclude-resource-type test --exclude-resource-type unit_test"
        build_by_hand(database, f"build --select +yellow_taxi_trips {without_tests}")
        with connect(database) as connection:
            found.append(
                pd.read_sql("select * from yellow_taxi_trips order by trip_id", connection)
            )
    as_csv, as_parquet = found
    assert as_csv.pop("load_id").max() < as_parquet.pop("load_id").min()  # it was built again
    pd.testing.assert_frame_equal(as_csv, as_parquet, check_exact=True)
