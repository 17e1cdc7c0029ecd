"""The models: nothing is lost, nothing is made up, and only what has changed is built."""

import inspect
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pandas as pd
import pytest
import yaml
from conftest import (
    BUILD,
    assert_trips_are,
    build_by_hand,
    create_anew,
    land_made_up,
    load_file,
    put_by,
    run_dbt,
    run_query,
    start_dbt,
    wait_until,
    warehouse_to_build,
)
from made_up import OTHER_ERAS, made_up_month, trips_of, write
from prefect import flow
from prefect.context import SettingsContext, hydrated_context, serialize_context
from prefect_dbt import PrefectDbtRunner
from prefect_dbt.core._tracker import NodeTaskTracker
from prefect_dbt.core.runner import execute_dbt_node
from sqlalchemy.exc import ProgrammingError

from flows.build import build, dbt_build
from flows.errors import PipelineError, UsageError, log_each_failure_once
from flows.models.docs import hide_tests
from flows.models.failures import months_of_failing_rows, names_of
from flows.models.runner import TARGETS, one_build_at_a_time
from flows.models.state import is_up_to_date
from flows.parameters import check_table_name
from flows.settings import PROJECT, ROOT
from flows.warehouse.connection import connect

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
UNTESTED = (
    "select count(*) from bookkeeping.tested_months where build_id <"
    " (select min(build_id) from bookkeeping.built_months)"
)
ROWS = 20_000  # of January in the built warehouse; February has 4,000
ZONES = ROOT.parent / "shared" / "data" / "taxi_zone_lookup.csv"
RENAMED = {
    "VendorID": "vendor_id",
    "RatecodeID": "rate_code_id",
    "PULocationID": "pickup_location_id",
    "DOLocationID": "dropoff_location_id",
    "payment_type": "payment_type_id",
    "tpep_pickup_datetime": "pickup_datetime",
    "tpep_dropoff_datetime": "dropoff_datetime",
}


@pytest.mark.parametrize(
    "name",
    [
        "Trips",
        "a b",
        "",
        "x" * 10_000,
        '"; drop',
        "../x",
        "$(x)",
        "rejected_trips",
        "vendors",
        "user",
        "pg_x",
    ],
)
def test_a_table_name_is_a_plain_name_that_is_not_taken(name):
    with pytest.raises(UsageError, match="can't be the name of the trips' table"):
        check_table_name(name)


@pytest.mark.parametrize("name", ["yellow_taxi_trips", "trips_2", "_x"])
def test_a_table_name_may_be_any_other(name):
    check_table_name(name)


@pytest.fixture(scope="module")
def compiled(built, tmp_path_factory) -> Path:
    """The project compiled against the built warehouse, with its documentation."""
    target = tmp_path_factory.mktemp("target")
    command = ("--show-all-deprecations", "docs", "generate", "--static")
    with (target / "output").open("w") as output:
        subprocess.run(
            [Path(sys.executable).with_name("dbt"), *command, "--target-path", target],
            cwd=PROJECT,
            env=os.environ | {"POSTGRES_DB": built.db},
            check=True,
            stdout=output,
        )
    return target / "compiled" / "nyc_taxi"


def as_pandas_has_it(path) -> pd.DataFrame:
    """What the notes did in Python: read, cast, filter. Rows that can't be cast are left out."""
    raw = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    trips = raw.copy()
    for column in raw:
        if column.endswith("datetime"):
            trips[column] = pd.to_datetime(raw[column], errors="coerce")
        elif column != "store_and_fwd_flag":
            trips[column] = pd.to_numeric(raw[column], errors="coerce")
    castable = (trips.notna() | raw.isna()).all(axis=1)
    trips = trips[castable & (trips["passenger_count"] != 0)]
    return trips.rename(columns=RENAMED).reset_index(drop=True)


@pytest.mark.parametrize(("month", "rows"), [(JANUARY, ROWS), (FEBRUARY, 4_000)])
def test_trips_equal_row_for_row_what_pandas_gives(ask, month, rows):
    expected = as_pandas_has_it(made_up_month(month, rows))
    trips = ask(
        f"select * from yellow_taxi_trips where source_month = '{month}' order by source_row"
    )
    assert_trips_are(trips, expected)
    assert len(trips) > 0.9 * rows


def test_the_table_is_found_without_naming_its_schema(ask):
    assert ask("select count(*) from yellow_taxi_trips")["count"].item() > 20_000


def test_types_are_those_that_an_analyst_expects(ask):
    types = ask(
        "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
        " where attrelid = 'yellow_taxi_trips'::regclass and attnum > 0"
    ).set_index("attname")["type"]
    assert types["pickup_datetime"] == types["dropoff_datetime"] == "timestamp without time zone"
    assert types["passenger_count"] == types["payment_type_id"] == "smallint"
    assert types["total_amount"] == types["trip_distance"] == "numeric(14,4)"
    assert types["pickup_longitude"] == "numeric(16,6)"
    assert types["faults"] == "text[]"


def test_each_number_has_its_scale_declared_in_all_that_analysts_read(ask):
    bare = ask(
        "select table_name, column_name from information_schema.columns"
        " where table_schema = 'public' and data_type = 'numeric' and numeric_scale is null"
    )
    assert bare.empty


def test_no_trip_has_zero_passengers_and_trips_without_a_count_stay(ask):
    counts = ask("select passenger_count, count(*) from yellow_taxi_trips group by 1")
    assert 0 not in set(counts["passenger_count"])
    missing = counts[counts["passenger_count"].isna()]["count"].item()
    assert missing == (ROWS + 4_000) * 7 // 100 - 1  # one of them is rejected


def test_what_cannot_be_cast_is_kept_with_its_reason(ask):
    rejected = ask("select * from rejected_trips order by source_row")
    assert list(rejected["rejection_reasons"]) == [
        "passenger_count 'two' is not a whole number from 0 to 32767",
        "tpep_pickup_datetime '2021-02-30 25:61:00' is not a date and time from 1900 to 9999",
        "fare_amount '12,50' is not a number of up to 9 digits before the point",
        "trip_distance 'far' is not a number of up to 9 digits before the point",
    ]
    assert rejected["raw_values"][2]["fare_amount"] == "12,50"
    assert set(rejected["raw_values"][0]) >= {"vendorid", "pulocationid", "total_amount"}


def test_every_raw_row_is_accounted_for(ask):
    accounting = ask("select * from trip_accounting where dataset = 'yellow' order by source_month")
    assert list(accounting["raw_rows"]) == [ROWS, 4_000]
    assert list(accounting["rejected_trips"]) == [4, 0]
    accounted = accounting[["trips", "zero_passenger_trips", "rejected_trips"]].sum(axis=1)
    assert list(accounted) == [ROWS, 4_000]


def test_every_column_of_every_table_is_described(ask):
    columns = ask(
        "select table_name, column_name from information_schema.columns"
        " where table_schema in ('raw', 'staging', 'public', 'bookkeeping')"
        " and table_name not in ('locks', 'migrations')"
        " and table_name !~ '_tripdata_\\d'"
    )
    described = set()
    for path in [*PROJECT.glob("models/**/*.yml"), *PROJECT.glob("seeds/_*.yml")]:
        content = yaml.safe_load(path.read_text())
        for source in content.get("sources", []):
            content.setdefault("models", []).extend(source["tables"])
        for table in [*content.get("models", []), *content.get("seeds", [])]:
            assert table["description"]
            described |= {(table["name"], c["name"]) for c in table["columns"] if c["description"]}
    assert set(columns.itertuples(index=False, name=None)) == described


@pytest.mark.skipif(not ZONES.exists(), reason="TLC's own file of zones is not here")
def test_the_zones_are_tlcs(ask):
    """But for two, for which TLC has had other words since 2024-02-22."""
    expected = pd.read_csv(ZONES, keep_default_na=False).to_numpy().tolist()
    expected[263:] = [
        [264, "Unknown", "N/A", "N/A"],
        [265, "N/A", "Outside of NYC", "N/A"],
    ]
    zones = ask("select * from taxi_zones order by location_id")
    assert zones.to_numpy().tolist() == expected


def fingerprint(query, table: str) -> str:
    """A hash of a table's rows, in whatever order they stand."""
    return query(f"select md5(string_agg(t::text, '/' order by t::text)) from {table} t")[0][0]


INCREMENTAL = (
    *("yellow_taxi_trips", "rejected_trips", "trip_accounting"),
    *("daily_trips", "hourly_demand", "zone_pairs", "payment_mix", "trip_faults"),
)


@pytest.fixture
def dbt(warehouse):
    """Run dbt on the test's warehouse, without the tests of the models."""
    return lambda command="run": build_by_hand(warehouse, command)


@pytest.mark.usefixtures("january")
def test_only_months_that_have_changed_are_built(query, land, dbt):
    these = f"--select {' '.join((*INCREMENTAL, 'zero_passengers'))}"
    land(FEBRUARY, 6_000)
    dbt(f"run {these}")
    writers = {
        table: f"select distinct source_month, xmin::text from {table} order by 1"
        for table in INCREMENTAL
    }
    before = {table: dict(query(statement)) for table, statement in writers.items()}

    dbt(f"run {these}")
    assert {table: dict(query(statement)) for table, statement in writers.items()} == before

    land(FEBRUARY, 7_000)
    dbt(f"run {these}")
    for table, statement in writers.items():
        after = dict(query(statement))
        assert after.get(JANUARY) == before[table].get(JANUARY)
        assert after[FEBRUARY] != before[table][FEBRUARY]
    raw_rows = "select raw_rows from trip_accounting order by source_month"
    assert query(raw_rows) == [(1_000,), (7_000,)]

    incremental = [fingerprint(query, table) for table in INCREMENTAL]
    dbt(f"run --full-refresh {these}")
    assert [fingerprint(query, table) for table in INCREMENTAL] == incremental


@pytest.mark.usefixtures("january")
def test_dbt_runs_from_the_repositorys_root_as_well():
    inherited = {name: value for name, value in os.environ.items() if name != "DBT_PROFILES_DIR"}
    command = ["dbt", "build", "--project-dir", "dbt_project", "--select", "vendors"]
    result = subprocess.run(command, cwd=ROOT, env=inherited, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.fixture
def copied_project(monkeypatch, tmp_path):
    """A copy of dbt's project that a test may change; `dbt` and `run_dbt` run it."""
    copy = tmp_path / "project"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns("logs", "target"))
    monkeypatch.setattr("conftest.PROJECT", copy)
    monkeypatch.setattr("conftest.target", lambda settings: tmp_path / "target")
    return copy


@pytest.mark.usefixtures("january")
def test_the_sql_of_a_model_or_a_test_may_end_with_a_comment(copied_project, query, dbt):
    models = ("trips_enriched", "daily_trips", "yellow_taxi_trips")
    for path in copied_project.glob("models/**/*.sql"):
        if path.stem in models:
            path.write_text(f"{path.read_text().rstrip()} -- the end")
    incremental = [fingerprint(query, table) for table in INCREMENTAL]
    dbt(f"run --full-refresh --select {' '.join(models)}")
    assert [fingerprint(query, table) for table in INCREMENTAL] == incremental
    failing = "select date '2021-03-01' as source_month -- the end"
    assert months_of_failing_rows(failing) == "2021-03"


def test_years_of_months_that_fail_are_named_by_their_first_and_last():
    months = [f"{year}-{month:02}" for year in (2019, 2020) for month in range(1, 13)]
    assert names_of(months) == "24 months from 2019-01 to 2020-12"
    assert names_of(months[:2]) == "2019-01, 2019-02"


def test_the_build_of_a_month_reads_no_other_one(january, query):
    """Neither its models nor its tests: of years of months, each build would take hours."""
    rows_read = (
        "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_user_tables"
        " where schemaname in ('raw', 'trip_months') and relname ~ '_2021_01$'"
    )
    land_made_up(date(2021, 2, 1), 100)
    [(before,)] = query(rows_read)
    build_by_hand(january)
    [(after,)] = query(rows_read)
    assert after - before <= 2  # whether the month is still there


@pytest.mark.usefixtures("january")
def test_a_month_of_another_dataset_changes_nothing_that_is_there(query, dbt, tmp_path):
    green = OTHER_ERAS["green 2020 CSV"]
    path = write(green, trips_of(replace(green, month=JANUARY)), tmp_path)
    tables = {name: "dataset = 'yellow'" for name in INCREMENTAL if name != "yellow_taxi_trips"}
    tables |= {"yellow_taxi_trips": "true", "raw.yellow_tripdata": "true"}
    tables |= {"raw.loads": "dataset = 'yellow'", "bookkeeping.built_months": "dataset = 'yellow'"}
    state = " union all ".join(
        f"select '{name}', xmin::text, count(*), md5(string_agg(t::text, '/' order by t::text))"
        f" from {name} t where {condition} group by 2"
        for name, condition in tables.items()
    )
    before = set(query(state))
    load_file(path, JANUARY, "green")
    dbt()
    assert set(query(state)) == before
    counts = "select dataset, source_month, count(*) > 100 from trips group by 1, 2 order by 1"
    assert query(counts) == [("green", JANUARY, True), ("yellow", JANUARY, True)]
    assert query("select dataset, raw_rows::int from trip_accounting order by 1") == [
        ("green", 200),
        ("yellow", 1_000),
    ]


@pytest.mark.usefixtures("january")
def test_a_month_may_lose_all_its_trips(query, dbt, tmp_path):
    """Months are replaced even if nothing of the new file gets into the table."""
    path = tmp_path / "zero.csv"
    trips = pd.read_csv(made_up_month(JANUARY, 1_000), dtype=str).assign(passenger_count="0")
    trips.to_csv(path, index=False)
    load_file(path, JANUARY)
    dbt("run --select yellow_taxi_trips zero_passengers rejected_trips trip_accounting")
    assert query("select count(*) from yellow_taxi_trips") == [(0,)]
    assert query("select trips, zero_passenger_trips from trip_accounting") == [(0, 1_000)]


@pytest.mark.usefixtures("january")
def test_the_trips_table_may_have_another_name(query, land, dbt):
    land(FEBRUARY, 1_000)
    for words in ('--vars {"trips_table":"my_trips"}', ""):
        dbt(f"run --select yellow_taxi_trips {words}")
    assert fingerprint(query, "my_trips") == fingerprint(query, "yellow_taxi_trips")


@pytest.mark.usefixtures("january")
def test_two_builds_at_once_add_a_month_once(warehouse, query, land, tmp_path):
    land(FEBRUARY, 30_000)
    command = "run --select yellow_taxi_trips"
    builds = [start_dbt(warehouse, command, tmp_path / name) for name in "ab"]
    assert [build.wait() for build in builds] == [0, 0]
    twice = "select trip_id from yellow_taxi_trips group by 1 having count(*) > 1"
    assert query(twice) == []


@pytest.mark.usefixtures("january")
def test_only_a_lock_that_is_held_means_that_another_run_is_building(query, caplog):
    query("alter function raw.take_turns rename to of_another_version")
    with pytest.raises(ProgrammingError, match="take_turns"), one_build_at_a_time():
        pass
    assert "Another run" not in caplog.text


def test_a_build_that_waits_names_whom_it_waits_for(january, caplog):
    @flow
    def wait() -> None:
        with one_build_at_a_time():
            pass

    with connect(january) as other, ThreadPoolExecutor(1) as thread:
        other.exec_driver_sql("select raw.take_turns('build')")
        holder = other.exec_driver_sql("select pg_backend_pid()").scalar()
        waiting = thread.submit(wait)
        wait_until(lambda: f"waiting for it: process {holder} (taxi, " in caplog.text, 30)
        other.rollback()
        waiting.result()


@pytest.mark.usefixtures("models_alone")
def test_two_builds_in_threads_of_one_process_take_turns(january, query, caplog):
    query("delete from daily_trips")
    both = (("yellow_taxi_trips", False), ("yellow_taxi_trips", True))
    with ThreadPoolExecutor(len(both)) as threads:
        builds = [*threads.map(lambda words: build(*words), both)]
    assert builds[1].models > 20 > builds[0].models > 5  # of months alone, and all
    assert caplog.text.count("Another run is building the models; waiting for it") == 1
    assert os.environ["POSTGRES_DB"] == january.db
    assert is_up_to_date()


def test_a_table_of_somebody_elses_is_not_replaced(warehouse, query, land):
    land(JANUARY, 1_000)
    query("create table yellow_taxi_trips as select 1 as mine")
    _, output = run_dbt(warehouse, f"{BUILD} --full-refresh")
    refusal = "public.yellow_taxi_trips in this database: not made by this project, which needs the"
    assert f"{refusal} name. Rename or move, or use another database: POSTGRES_DB" in output
    assert query("select mine from yellow_taxi_trips") == [(1,)]


def test_before_the_first_build_dbt_says_what_else_is_needed(warehouse, query, land):
    land(JANUARY, 1_000)
    is_done, said = run_dbt(warehouse, "run")
    assert not is_done
    assert "public.rate_codes, public.request_sources" in said
    assert "not there yet. `dbt build` makes all; `dbt run` needs `dbt seed` before" in said
    assert query("select to_regclass('staging.time_spine')::text") == [(None,)]
    build_by_hand(warehouse, "seed")
    is_done, said = run_dbt(warehouse, "run --select trips")
    assert not is_done
    assert "public.fhv_trips, public.fhvhv_trips, public.green_taxi_trips" in said
    build_by_hand(warehouse, "run --select +trips")


def test_before_the_first_load_dbt_says_what_to_do(warehouse):
    _, output = run_dbt(warehouse, "build")
    assert "no month has been loaded yet: `make run` loads one" in output


@pytest.mark.usefixtures("january")
class TestWhatIsTested:
    """A build tests the months that have been built since all tests last passed."""

    def test_after_a_build_that_passes_nothing_is_left_to_test(self, query):
        assert query(UNTESTED) == [(0,)]

    def test_a_month_that_fails_is_tested_again(self, warehouse, query):
        query("update bookkeeping.built_months set build_id = default")
        query("update daily_trips set trips = trips + 1")
        for _ in range(2):
            _, output = run_dbt(warehouse, BUILD)
            assert "in test assert_marts_add_up_to_the_trips (" in output
            assert "Got 1 result, configured to fail" in output
            assert query(UNTESTED) == [(1,)]  # the other tests have passed on the new builds

    def test_dbt_test_reads_all_months(self, warehouse, query):
        query("update daily_trips set trips = trips + 1")
        _, output = run_dbt(warehouse, "test --select daily_trips")
        assert "Got 1 result, configured to fail" in output


@pytest.mark.usefixtures("january")
class TestIsUpToDate:
    """Where months, project and tables are the same, a run does not even import dbt."""

    def test_not_for_another_name_of_the_table(self):
        @flow
        def run(table_name: str) -> bool:
            return is_up_to_date()

        assert run("yellow_taxi_trips")
        assert not run("my_trips")

    def test_not_after_a_month_was_loaded(self, land):
        land(FEBRUARY, 100)
        assert not is_up_to_date()

    def test_not_if_a_table_is_gone(self, query):
        query("drop view trips_enriched")
        assert not is_up_to_date()

    def test_not_after_dbt_was_run_by_hand_perhaps_with_another_project(self, dbt):
        dbt("run --select trips_enriched")
        assert not is_up_to_date()

    def test_not_if_the_project_is_another(self, monkeypatch, tmp_path):
        shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("logs"))
        monkeypatch.setattr("flows.models.state.PROJECT", tmp_path / "project")
        assert is_up_to_date()
        with (tmp_path / "project" / "macros" / "metric.sql").open("a") as file:
            file.write("\n")
        assert not is_up_to_date()


@pytest.mark.usefixtures("january")
def test_a_build_of_a_new_month_makes_views_and_seeds_only_if_one_is_gone(land, query):
    def nodes() -> dict[str, set[str]]:
        kinds: dict[str, set[str]] = defaultdict(set)
        for node in (result.node for result in dbt_build(full_refresh=False)):
            if node.resource_type in ("model", "seed", "test"):
                kinds[node.config.materialized].add(node.name)
        assert is_up_to_date()
        return kinds

    land(FEBRUARY, 100)
    of_months = nodes()
    assert set(of_months) == {"partitioned_by_month", "incremental_by_month", "test"}
    land(date(2021, 3, 1), 100)
    query("drop view trips_enriched")
    whole = nodes()
    assert set(whole) == {*of_months, "replaced_view", "seed"}
    assert {kind: whole[kind] for kind in of_months} == of_months


@pytest.fixture(scope="module")
def failure(built_january) -> SimpleNamespace:
    """What a build says in which a test and a model fail, and the SQL of both."""
    settings = warehouse_to_build()
    create_anew(settings, template=built_january.db)
    for statement in (
        "update trip_accounting set rejected_trips = rejected_trips - 1",
        "drop view trips_enriched",
        "create table trips_enriched (x int); create view mine as select x from trips_enriched",
        "comment on table trips_enriched is 'of another model (nyc-taxi-elt)'",
        "delete from bookkeeping.built_projects",  # as if the project had changed
    ):
        run_query(settings, statement)
    with pytest.raises(PipelineError) as failure:
        build()
    said = str(failure.value)
    [test] = re.findall(r'make psql ARGS="-f (\S+)"', said)
    model = PROJECT / re.search(r"compiled code at (.+?trips_enriched\.sql)", said)[1]
    assert model.is_relative_to(TARGETS / settings.db)
    return SimpleNamespace(
        said=said, rows=run_query(settings, (ROOT / test).read_text()), model=model.read_text()
    )


def test_a_failing_test_and_a_failing_model_are_named_in_one_line(failure):
    assert failure.said.startswith("dbt build: ")
    assert "test assert_every_raw_row_is_accounted_for: 1 row of 2021-01. See them" in failure.said
    assert "model trips_enriched: Database Error" in failure.said
    assert "\n" not in failure.said


def test_a_failure_names_the_sql_that_failed(failure):
    [row] = failure.rows
    assert date(2021, 1, 1) in row
    assert "select" in failure.model


@pytest.mark.parametrize("path", sorted(PROJECT.glob("analyses/*.sql")), ids=lambda path: path.stem)
def test_a_question_has_an_answer(ask, compiled, path):
    answer = ask((compiled / "analyses" / path.name).read_text())
    assert len(answer) > 0
    assert path.read_text().startswith("-- ")  # the question, in words


def test_a_newcomer_finds_the_pair_of_zones_that_earns_most_on_friday_nights(ask):
    """With trips_enriched alone, in one query."""
    best = ask(
        "select pickup_zone, dropoff_zone, sum(total_amount) as revenue from trips_enriched"
        " where to_char(pickup_datetime, 'dy') = 'fri' and pickup_datetime::time >= '20:00'"
        " group by 1, 2 order by revenue desc limit 1"
    )
    assert best["revenue"].item() > 0


def test_metrics_are_the_same_in_a_mart_and_in_metricflow(ask, built, compiled, tmp_path):
    expected = ask(
        "select dataset, borough, sum(trips) as trips, sum(revenue) as revenue,"
        " sum(card_tips) / nullif(sum(card_fares), 0) as tip_rate from daily_trips"
        " group by 1, 2 order by 1, 2"
    )
    csv, project = tmp_path / "metrics.csv", tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copytree(compiled.parents[1], project / "target")  # mf reads no other folder
    [query] = re.findall(r"/mf query (.+)", (ROOT / "docs" / "tables.md").read_text())
    result = subprocess.run(
        [Path(sys.executable).with_name("mf"), "query", *query.split(), "--csv", csv],
        cwd=project,
        env=os.environ | {"POSTGRES_DB": built.db},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    answer = pd.read_csv(csv, keep_default_na=False, na_values=[""]).rename(
        columns={"trip__dataset": "dataset", "trip__pickup_borough": "borough"}
    )
    answer["borough"] = answer["borough"].fillna("Not recorded")
    answer = answer.sort_values(["dataset", "borough"], ignore_index=True)
    pd.testing.assert_frame_equal(answer[expected.columns], expected, check_dtype=False, rtol=1e-6)


def test_dbt_finds_nothing_in_the_project_that_is_deprecated_or_that_it_warns_of(compiled):
    output = (compiled.parents[1] / "output").read_text()
    assert "Catalog written" in output
    assert "WARNING" not in output


def test_a_model_whose_table_gets_another_name_counts_as_modified(compiled, built):
    listing = f"ls --resource-type model --select state:modified --state {compiled.parents[1]}"
    for name, modified in (("yellow_taxi_trips", []), ("my_trips", ["yellow_taxi_trips"])):
        said = build_by_hand(built, f'{listing} --vars {{"trips_table":"{name}"}}')
        assert re.findall(r"^nyc_taxi\.\S+\.(\w+)$", said, re.MULTILINE) == modified


NEW_BASES = ["b09998 ", "B09999", "B00013", ""]


@pytest.fixture(scope="module")
def odd_trips(prefect_server, tmp_path_factory):
    """A built warehouse with trips that are valid, but odd, and what dbt said of them."""
    settings = warehouse_to_build()
    path = tmp_path_factory.mktemp("odd") / "trips.csv"
    trips = pd.read_csv(made_up_month(JANUARY, 1_000), dtype=str).head(12)
    trips["VendorID"] = trips["passenger_count"] = trips["payment_type"] = "1"
    trips["fare_amount"] = trips["total_amount"] = "10"
    trips["tip_amount"] = "2"
    trips["trip_distance"] = "3"
    trips["tpep_pickup_datetime"] = "2021-01-05 10:00:00"
    trips["tpep_dropoff_datetime"] = "2021-01-05 10:15:00"
    trips.loc[1, "tpep_dropoff_datetime"] = "2021-01-05 09:00:00"
    trips.loc[2, "trip_distance"] = "0"
    trips.loc[3, ["fare_amount", "total_amount"]] = "-10"
    trips.loc[4, ["tpep_pickup_datetime", "tpep_dropoff_datetime"]] = "2009-01-01 00:00:00"
    trips.loc[5, "tpep_pickup_datetime"] = "01/31/2021 0:30"
    trips.loc[6:, "payment_type"] = "9"
    trips.to_csv(path, index=False)
    load_file(path, JANUARY)
    of_bases = path.with_name("fhv.csv")
    lines = (f"{base},2021-01-05 10:00:00,2021-01-05 10:15:00,1,1,," for base in NEW_BASES)
    names = (
        "dispatching_base_num,pickup_datetime,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag"
    )
    of_bases.write_text("\n".join([f"{names},Affiliated_base_number", *lines]))
    load_file(of_bases, JANUARY, "fhv")
    said = build_by_hand(settings)
    return SimpleNamespace(settings=put_by(settings), said=said)


def test_faults_name_what_is_odd_about_a_trip_and_drop_none(odd_trips):
    assert run_query(
        odd_trips.settings,
        "select duration_minutes::float, speed_mph::float, tip_share::float, faults"
        " from yellow_taxi_trips where source_row <= 5 order by trip_id",
    ) == [
        (15.0, 12.0, 0.2, None),
        (-60.0, None, 0.2, ["dropoff_before_pickup"]),
        (15.0, 0.0, 0.2, ["fare_without_distance"]),
        (15.0, 12.0, None, ["refund"]),
        (0.0, None, 0.2, ["outside_source_month"]),
    ]


def test_dates_may_be_as_people_write_them_in_new_york(odd_trips):
    sixth = "select pickup_datetime from yellow_taxi_trips where source_row = 6"
    assert run_query(odd_trips.settings, sixth) == [(datetime(2021, 1, 31, 0, 30),)]


def test_a_code_that_the_dictionary_lacks_is_a_warning(odd_trips):
    unknown = "select count(*) from yellow_taxi_trips where payment_type_id = 9"
    assert run_query(odd_trips.settings, unknown) == [(6,)]
    assert "in test codes_are_in_the_dictionary_yellow_taxi_trips" in odd_trips.said
    assert "Got 1 result, configured to warn" in odd_trips.said


def test_a_month_most_of_whose_trips_are_of_new_bases_is_a_warning(odd_trips):
    assert "in test most_bases_are_known_fhv_trips" in odd_trips.said
    companies = "select company from trips where dataset = 'fhv' order by trip_id"
    assert run_query(odd_trips.settings, companies) == [
        ("B09998",),
        ("B09999",),
        ("LOVE CORPORATE CAR INC",),
        ("Not recorded",),
    ]


def test_the_documentation_site_knows_every_model(compiled):
    catalog = json.loads((compiled.parents[1] / "catalog.json").read_text())
    manifest = json.loads((compiled.parents[1] / "manifest.json").read_text())
    models = {name for name in manifest["nodes"] if name.startswith(("model.", "seed."))}
    assert models <= set(catalog["nodes"])
    assert set(manifest["exposures"]) == {"exposure.nyc_taxi.report"}
    groups = {manifest["nodes"][name]["group"] for name in models}
    assert groups == {"trips", "demand", "audit", "staging", "dictionary"}


def test_the_documentation_sites_lineage_begins_without_the_tests(compiled, tmp_path):
    page = tmp_path / "index.html"
    shutil.copy(compiled.parents[1] / "index.html", page)
    hide_tests(page)
    selected, *_ = re.findall(r"tags:\[null\],resource_types:(\[[^]]*\])", page.read_text())
    assert {"model", "seed", "source", "exposure"} <= {*json.loads(selected)}
    assert {"test", "unit_test"}.isdisjoint(json.loads(selected))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_documentation_site_opens_in_a_browser(compiled, tmp_path):
    page = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--disable-background-networking", "--no-first-run", "--virtual-time-budget=20000"),
            f"--user-data-dir={tmp_path}",
            f"file://{compiled.parents[1]}/static_index.html#!/overview",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    assert "Every raw row is a trip, a trip without passengers, or rejected" in page


class TestPatches:
    """If one of these fails, prefect-dbt has changed: a patch in models/runner.py can go."""

    def test_a_nodes_thread_still_reads_all_settings_again(self):
        before = SettingsContext.get()
        with hydrated_context(serialize_context()):
            assert SettingsContext.get() is not before

    def test_threads_of_nodes_still_begin_without_a_context_and_nobody_waits_for_them(
        self, monkeypatch
    ):
        has_context, seen, go_on = ContextVar("has_context", default=False), [], threading.Event()
        has_context.set(True)

        def task_of_a_node(*_, **__) -> None:
            go_on.wait(60)
            seen.append(has_context.get())

        monkeypatch.setattr("prefect_dbt.core._tracker.run_task_sync", task_of_a_node)
        NodeTaskTracker().run_task_in_thread("a node", None, uuid4(), {}, {})
        assert seen == []
        go_on.set()
        wait_until(lambda: seen, 60)
        assert seen == [False]

    def test_lines_of_a_node_still_lack_the_name_of_its_task_run(self):
        assert NodeTaskTracker().get_task_logger("a node").extra["task_run_name"] is None

    def test_the_level_of_prefects_logger_is_still_left_changed(self):
        assert "logger.setLevel(log_level" in inspect.getsource(PrefectDbtRunner)

    def test_invoke_still_takes_no_callback(self):
        assert "dbtRunner(callbacks=callbacks)" in inspect.getsource(PrefectDbtRunner.invoke)

    def test_a_failed_node_is_still_a_bare_exception_whose_traceback_we_hide(self):
        tracker = NodeTaskTracker()
        tracker.set_node_status("a", {"node_info": {"node_status": "fail"}}, "")
        tracker._node_complete["a"] = True
        with pytest.raises(Exception, match="Node a finished with status fail") as failure:
            execute_dbt_node(tracker, "a", None)
        record = logging.makeLogRecord({"exc_info": (None, failure.value, None)})
        assert not log_each_failure_once(record)


def test_fresh_months_and_their_table_have_statistics(january, land, query):
    land(FEBRUARY, 100)
    build()
    tables = "select tablename from pg_stats where attname = 'trip_id' order by tablename"
    months = ["yellow_taxi_trips_2021_01", "yellow_taxi_trips_2021_02"]
    has_only = query("select current_setting('server_version_num')::int >= 180000") == [(True,)]
    assert [name for (name,) in query(tables)] == ["yellow_taxi_trips"] * has_only + months
