"""What is said to be up to date is: each month is of the load and the code that are there now."""

import shutil
from datetime import date

import pytest
from conftest import BUILD, build_by_hand, create_anew, run_dbt, target

from flows.build import build, build_if_needed
from flows.models.state import is_up_to_date
from flows.settings import PROJECT

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
TRIPS = "yellow_taxi_trips"
AGAIN = "is built again for months that are:"
ADDS_UP = "from bookkeeping.tested_months where position('marts_add_up' in test) > 0"
WRITTEN = "select dataset, source_month, load_id, build_id from bookkeeping.built_months"


@pytest.fixture
def edit(monkeypatch, tmp_path, warehouse):
    """Edit a file of a copy of dbt's project, which is built from then on."""
    parsed, before = target(warehouse) / "partial_parse.msgpack", tmp_path / "parsed"
    if parsed.exists():
        shutil.copy2(parsed, before)
    project = tmp_path / "project"
    outputs = shutil.ignore_patterns("logs", "target")
    shutil.copytree(PROJECT, project, ignore=outputs)
    for module in ("conftest", "flows.models.state", "flows.models.runner"):
        monkeypatch.setattr(f"{module}.PROJECT", project)

    def edit(path: str, old: str, new: str) -> None:
        text = (project / path).read_text()
        assert old in text
        (project / path).write_text(text.replace(old, new, 1))
        if path.startswith("macros") or path.endswith(".yml"):
            parsed.unlink(missing_ok=True)  # dbt_project.yml says why

    yield edit
    if before.exists():
        shutil.copy2(before, parsed)
    else:
        parsed.unlink(missing_ok=True)


@pytest.fixture
def months_of(query):
    """The build's number of each month of a relation."""

    def ask(relation: str) -> dict:
        found = query(f"{WRITTEN} where relation = 'public.{relation}'")
        return {month: build_id for _, month, _, build_id in found}

    return ask


class TestEditedCode:
    """Each month is built again, once, and a run says how many and why."""

    def test_of_a_macro(self, january, land, query, edit, months_of):
        land(FEBRUARY, 100)
        build_by_hand(january, f"run --select +{TRIPS}")
        before = months_of(TRIPS)
        longest = (
            "select count(*) from yellow_taxi_trips"
            " where faults && array['implausibly_long', 'dropoff_a_day_late']"
        )
        edit(
            "macros/trip_measures.sql",
            "{%- macro longest_hours() -%} 6",
            "{%- macro longest_hours() -%} 0",
        )
        said = build_by_hand(january, f"run --select {TRIPS}")
        assert (
            "public.yellow_taxi_trips is built again for months that are: 2 built by other code"
            in said
        )
        lasting = "select count(*) from yellow_taxi_trips where dropoff_datetime > pickup_datetime"
        assert query(longest) == query(lasting)
        after = months_of(TRIPS)
        assert all(after[month] > before[month] for month in (JANUARY, FEBRUARY))
        assert "is built again" not in build_by_hand(january, f"run --select {TRIPS}")
        assert months_of(TRIPS) == after

    def test_of_the_trips_is_that_of_the_marts(self, january, edit, months_of):
        before = months_of("daily_trips")
        edit(f"models/marts/trips/{TRIPS}.sql", "not is_rejected", "not is_rejected and true")
        said = build_by_hand(january, "run --select +daily_trips")
        assert f"public.daily_trips {AGAIN} 1 built by other code" in said
        assert months_of("daily_trips")[JANUARY] > before[JANUARY]

    def test_of_a_seed(self, january, query, edit):
        edit("seeds/taxi_zones.csv", "JFK Airport", "Idlewild")
        said = build_by_hand(
            january,
            "build --select taxi_zones trips zone_pairs --exclude-resource-type test unit_test",
        )
        assert f"public.zone_pairs {AGAIN} 1 built by other code" in said
        old = "select count(*) from zone_pairs where 'JFK Airport' in (pickup_zone, dropoff_zone)"
        assert query(old) == [(0,)]
        assert query(old.replace("JFK Airport", "Idlewild")) > [(0,)]

    def test_is_not_that_of_a_copy_under_another_name(self, built_january, new_database):
        copy = new_database()
        create_anew(copy, template=built_january.db)
        assert "is built again" not in build_by_hand(copy, "run --select +daily_trips")

    def test_of_a_metric(self, january, query, edit):
        edit("models/marts/trips/trips.yml", "else total_amount end", "else total_amount * 2 end")
        revenue = "select sum(revenue) from daily_trips"
        [(before,)] = query(revenue)
        build_by_hand(january, "run --select daily_trips")
        assert query(revenue) == [(2 * before,)]

    def test_is_not_that_of_a_comment_or_of_the_layout(self, january, edit, query):
        before = query(f"{WRITTEN} order by 1, 2, 3, 4")
        edit("models/marts/trips/yellow_taxi_trips.sql", "select\n", "-- A comment.\nselect\n\n")
        edit("models/intermediate/int_tlc__rows_unioned.sql", "select", "-- Another one.\nselect")
        assert "is built again" not in build_by_hand(january, f"run --select +{TRIPS} +daily_trips")
        assert query(f"{WRITTEN} order by 1, 2, 3, 4") == before

    def test_of_a_test_has_it_see_all_months_once(self, january, query, edit):
        tested = f"select count(*), min(code) {ADDS_UP}"
        [(months, code)] = query(tested)
        assert months == 1
        query("update daily_trips set trips = trips + 1")
        unseen = "build --select test_type:singular"
        build_by_hand(january, unseen)  # the month has passed, and is not read again
        edit(
            "tests/assert_marts_add_up_to_the_trips.sql",
            "marts.mart,",
            "marts.mart,\n        1 as one,",
        )
        is_done, said = run_dbt(january, unseen)
        assert not is_done
        assert "in test assert_marts_add_up_to_the_trips (" in said
        assert query(tested) == [(1, code)]
        query("update daily_trips set trips = trips - 1")
        build_by_hand(january, unseen)
        [(months, new_code)] = query(tested)
        assert (months, new_code != code) == (1, True)


class TestSomeOfTheRows:
    """Months that hold some of their rows are never written down as built."""

    @pytest.mark.parametrize(
        "command",
        [
            *("run --empty", "build --empty", "run --empty --full-refresh", "seed --empty"),
            *(
                "build --empty --select trip_faults",
                "build --event-time-start 2021-01-01 --event-time-end 2021-02-01",
            ),
        ],
    )
    def test_are_refused_before_anything_is_touched(self, january, query, command):
        flags = "select 'flags', date '2021-01-01', count(*), 0 from trip_faults"
        state = f"{WRITTEN} union all {flags} order by 1, 2, 3, 4"
        before = query(state)
        is_done, said = run_dbt(january, command)
        assert not is_done
        assert "would leave tables with some of their rows, for everybody who reads them" in said
        assert query(state) == before
        assert query("select count(*) > 200 from taxi_zones") == [(True,)]

    def test_are_refused_from_the_environment_as_well(self, january, monkeypatch):
        monkeypatch.setenv("DBT_SAMPLE", "1 day")
        is_done, said = run_dbt(january, "run --select trip_faults")
        assert not is_done
        assert "--sample would leave tables with some of their rows" in said

    def test_nor_is_a_view_cloned_onto_itself(self, january, query):
        build()  # writes the state, which another process may have built January without
        before = query("select count(*) from trips")
        words = f"clone --full-refresh --state {target(january)} --select trips"
        is_done, said = run_dbt(january, words)
        assert not is_done
        assert "of this warehouse out of themselves. For tables of your own, build into" in said
        assert query("select count(*) from trips") == before


class TestWhatWasTakenByHand:
    """What is written down as built is compared with what is there."""

    @pytest.mark.parametrize(
        "statement",
        [
            "drop table trip_months.yellow_taxi_trips_2021_01",
            "truncate yellow_taxi_trips",
            "delete from yellow_taxi_trips",
            "delete from daily_trips",
            "truncate hourly_demand",
        ],
    )
    def test_is_built_again(self, january, query, statement):
        counts = (
            "select (select count(*) from yellow_taxi_trips), (select count(*) from daily_trips)"
        )
        before = query(counts)
        assert is_up_to_date()
        query(statement)
        assert not is_up_to_date()
        said = build_by_hand(january, f"run --select {TRIPS} daily_trips hourly_demand")
        assert "1 not in the table any more" in said
        assert query(counts) == before


@pytest.mark.parametrize("taken", ["drop table", "truncate"])
@pytest.mark.parametrize("relation", [TRIPS, "rejected_trips", "zero_passengers"])
def test_a_month_without_raw_rows_is_not_built_again_of_nothing(january, query, taken, relation):
    before = query(f"select * from {relation} order by 1, 2, 3")
    query(f"{taken} raw.yellow_tripdata_2021_01")
    is_done, said = run_dbt(january, f"run --full-refresh --select {relation}")
    assert not is_done
    assert (
        f"yellow 2021-01: no raw rows are left to build public.{relation} of, which stays as it"
        " was. Load again what is gone, as with make run DATASET=yellow MONTH=2021-01"
    ) in said
    assert query(f"select * from {relation} order by 1, 2, 3") == before


def test_a_mart_of_the_trips_alone_needs_no_raw_rows(january, query):
    before = query("select * from daily_trips order by 1, 2, 3, 4, 5")
    query("truncate raw.yellow_tripdata_2021_01")
    build_by_hand(january, "run --full-refresh --select daily_trips")
    assert query("select * from daily_trips order by 1, 2, 3, 4, 5") == before


def test_a_retried_test_leaves_the_months_untested_that_it_has_not_seen(january, query):
    query("update daily_trips set trips = trips + 1")
    query("update bookkeeping.built_months set build_id = default")
    seen = f"select max(build_id) {ADDS_UP}"
    before = query(seen)
    assert not run_dbt(january, BUILD)[0]
    run_dbt(january, "retry")
    assert query(seen) == before


def test_a_table_whose_model_is_gone_is_named(january, query, edit):
    query("create table old_mart (x int); comment on table old_mart is 'a mart (nyc-taxi-elt)'")
    said = build_by_hand(january, "run --select trip_faults")
    assert "old_mart is no model's any more, and stays as it was last built. Drop it" in said
    assert query("select to_regclass('old_mart')::text") == [("old_mart",)]


@pytest.mark.parametrize(
    ("model", "was", "becomes"),
    [
        (f"trips/{TRIPS}", "v", "partitioned_by_month"),
        (f"trips/{TRIPS}", "r", "partitioned_by_month"),
        ("audit/trip_faults", "v", "incremental_by_month"),
        ("audit/trip_faults", "p", "incremental_by_month"),
        ("audit/trip_faults", "v", "replaced_table"),
        ("audit/trip_faults", "p", "replaced_table"),
    ],
)
def test_a_model_that_was_made_in_another_way_is_built_with_what_reads_it(
    january, query, edit, model, was, becomes
):
    name = model.rpartition("/")[2]
    if becomes == "replaced_table":  # which no model has: it is for those that people add
        edit(
            f"models/marts/{model}.sql", "-- A", "{{ config(materialized='replaced_table') }}\n-- A"
        )
    rows = f"select count(*), count(distinct {name}::text) from {name}"
    before = query(rows)
    [(columns,)] = query(
        "select string_agg(format('%%I %%s', attname, format_type(atttypid, atttypmod)), ', ')"
        f" from pg_attribute where attrelid = '{name}'::regclass and attnum > 0"
    )
    make = {
        "v": f"view trip_months.{name} as table kept",
        "r": f"table trip_months.{name} as table kept",
        "p": f"table trip_months.{name} ({columns}) partition by list (source_month)",
    }
    kind = "view" if was == "v" else "table"
    query(
        f"create table kept as table {name}; create {make[was]};"
        f"comment on {kind} trip_months.{name} is 'once (nyc-taxi-elt)';"
        f"select raw.replace_table('{name}', 'trip_months.{name}')"
    )
    build_by_hand(january, f"run --select {name}")
    query("drop table kept")
    assert query(f"select relkind::text from pg_class where oid = '{name}'::regclass") == [
        ("p" if becomes == "partitioned_by_month" else "r",)
    ]
    assert query(rows) == before
    assert query("select count(*) from trips") == query(f"select count(*) from {TRIPS}")
    query(f"delete from {name}")
    build_by_hand(january, f"run --select {name}")
    assert query(rows) == before


def test_a_materialization_that_drops_what_people_have_built_is_refused(january, query, edit):
    query("create view mine as select * from trip_faults")
    edit(
        "models/marts/audit/trip_faults.sql", "select", "{{ config(materialized='table') }}\nselect"
    )
    is_done, said = run_dbt(january, "run --select trip_faults")
    assert not is_done
    assert "trip_faults.sql: materialized='table' drops what people have built on" in said
    assert "materialized='replaced_table'" in said
    query("select * from mine")


@pytest.mark.usefixtures("january")
def test_a_flow_says_what_it_builds_again_and_why(query, caplog):
    query("delete from daily_trips")
    build_if_needed()
    assert (
        "public.daily_trips is built again for months that are: 1 not in the table any"
        in caplog.text
    )
    assert is_up_to_date()
