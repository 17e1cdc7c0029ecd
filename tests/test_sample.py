"""The sample: real trips, few enough to come with the project, and each row accounted for."""

import csv
import gzip
from datetime import date
from pathlib import Path

import pytest
from conftest import build_by_hand, load_file, put_by, run_query, warehouse_to_build
from made_up import made_up_month

from flows.errors import UsageError
from flows.land import land
from flows.parameters import Request
from flows.tlc.datasets import DATASETS
from flows.tlc.formats import open_trip_file
from flows.tlc.sample import FOLDER, sample_file, sample_months, sampled_one_in
from flows.tlc.source import SAMPLE

MARCH = date(2020, 3, 1)
SAMPLES = [(dataset, month) for dataset in DATASETS for month in sample_months(dataset)]
EACH = pytest.mark.parametrize(
    ("dataset", "month"),
    SAMPLES,
    ids=lambda part: part if isinstance(part, str) else f"{part:%Y-%m}",
)


def described() -> list[dict[str, str]]:
    """The rows of the list of what was drawn."""
    with (FOLDER / "samples.csv").open(newline="") as rows:
        return [*csv.DictReader(rows)]


def number_of_rows(path: Path) -> int:
    return gzip.decompress(path.read_bytes()).count(b"\n") - 1


def test_it_has_the_same_part_of_each_month_of_yellow_trips_of_2020():
    assert sample_months("yellow") == [date(2020, month, 1) for month in range(1, 13)]
    for row in described():
        if row["dataset"] == "yellow":
            rows = number_of_rows(sample_file("yellow", date.fromisoformat(f"{row['month']}-01")))
            assert rows * int(row["one_in"]) == pytest.approx(int(row["trips_in_month"]), rel=0.002)


def test_all_of_it_and_nothing_else_is_in_the_list_of_what_was_drawn():
    assert [(row["dataset"], row["month"]) for row in described()] == [
        (dataset, f"{month:%Y-%m}") for dataset in DATASETS for month in sample_months(dataset)
    ]


def test_it_is_small_enough_to_ship():
    assert 0 < sum(path.stat().st_size for path in FOLDER.iterdir()) <= 1_200_000


def test_each_of_its_files_is_described():
    described = (FOLDER / "README.md").read_text()
    assert [path.name for path in FOLDER.glob("*.gz") if path.name[:-10] not in described] == []


@EACH
def test_each_of_its_lines_is_a_row(dataset, month):
    aside = []
    with open_trip_file(sample_file(dataset, month), "sample") as trips:
        DATASETS[dataset].require_columns(trips.columns, "sample")
        assert len(b"".join(trips.good_chunks(lambda *line: aside.append(line)))) > 0
    assert aside == []


@pytest.fixture(scope="module")
def landed(prefect_server):
    """A warehouse with all of it."""
    settings = warehouse_to_build()
    for dataset, month in SAMPLES:
        load_file(
            *(sample_file(dataset, month), month, dataset),
            is_sample=True,
            sampled_one_in=sampled_one_in(dataset, month),
        )
    build_by_hand(settings)
    return put_by(settings)


@EACH
def test_each_of_its_rows_is_accounted_for_and_none_is_rejected(landed, dataset, month):
    lines = number_of_rows(sample_file(dataset, month))
    accounting = run_query(
        landed,
        "select raw_rows, trips + zero_passenger_trips, rejected_trips, malformed_lines, is_sample"
        f" from trip_accounting where dataset = '{dataset}' and source_month = '{month}'",
    )
    assert accounting == [(lines, lines, 0, 0, True)]


@pytest.mark.parametrize(
    "table",
    ["trips", "trip_accounting", "daily_trips", "hourly_demand", "zone_pairs", "payment_mix"],
)
def test_where_one_queries_a_sample_says_of_how_many_trips_it_has_one(landed, table):
    found = run_query(
        landed,
        f"select distinct dataset, to_char(source_month, 'YYYY-MM'), sampled_one_in from {table}",
    )
    said = [(row["dataset"], row["month"], row["one_in"]) for row in described()]
    assert {*found} == {(dataset, month, int(n) if n else None) for dataset, month, n in said}


def test_a_question_that_does_not_ask_for_it_does_not_read_it(landed):
    plan = "explain select {} from trips where dataset = 'yellow' and source_month = '2020-03-01'"
    for asked, is_read in (("count(*), avg(fare_amount)", False), ("sum(sampled_one_in)", True)):
        steps = run_query(landed, plan.format(asked))
        assert any("on loads" in step for (step,) in steps) == is_read


def test_it_shows_the_stop_of_march_2020_and_the_slow_return(landed):
    """As large a part of each month: then the sample's months compare as the months do."""
    months = run_query(
        landed,
        "select to_char(source_month, 'MM')::int, sum(raw_rows * sampled_one_in)::int"
        " from trip_accounting where dataset = 'yellow' group by 1",
    )
    real = {int(row["month"][5:]): row["trips_in_month"] for row in described()[:12]}
    for month, estimated in months:
        assert estimated == pytest.approx(int(real[month]), rel=0.002)


def test_nothing_of_it_is_warned_of(landed):
    assert run_query(landed, "select * from month_warnings") == []


def test_its_trips_are_real(landed):
    """In those years, the fare between JFK and Manhattan was 52 dollars, whatever the way."""
    usual = (
        "select mode() within group (order by fare_amount)::int from trips_enriched"
        " where pickup_zone = 'JFK Airport' and dropoff_borough = 'Manhattan'"
    )
    assert run_query(landed, usual) == [(52,)]


def test_without_months_all_of_a_dataset_or_of_all_of_them_are_meant():
    def meant(datasets: str) -> list[tuple[str, date]]:
        asked = Request.resolve(date.today(), datasets, None, SAMPLE).months
        return [(one.dataset.name, one.month) for one in asked]

    assert meant("all") == SAMPLES
    for dataset in DATASETS:
        assert meant(dataset) == [part for part in SAMPLES if part[0] == dataset]


def test_a_dataset_that_it_does_not_have_is_one_clear_line():
    with pytest.raises(UsageError, match=r"^There is no sample of boat trips$"):
        sample_months("boat")


def test_it_never_takes_the_place_of_a_month_that_is_there(warehouse, query):
    load_file(made_up_month(MARCH, 100), MARCH)
    kept = land(MARCH, SAMPLE, force=True).load
    assert (kept.rows, kept.is_sample) == (100, False)
    assert query("select row_count, is_sample from raw.loads") == [(100, False)]
