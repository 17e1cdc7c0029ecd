"""Where the file of each month is: data, checked when it is read."""

import re
from datetime import date

import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from flows.backfill import backfill
from flows.elt import elt
from flows.errors import PipelineError, UsageError
from flows.land import land
from flows.parameters import Request
from flows.tlc.datasets import DATASETS, SOURCES, read_datasets
from flows.tlc.sample import sample_file
from flows.tlc.source import SAMPLE, Source

COPY = "https://github.com/DataTalksClub/nyc-tlc-data/releases/download/yellow"
TLC = "https://d37ci6vzurychx.cloudfront.net/trip-data"


YELLOW = DATASETS["yellow"]


@pytest.mark.parametrize(
    ("month", "url"),
    [
        (date(2009, 1, 1), f"{TLC}/yellow_tripdata_2009-01.parquet"),
        (date(2018, 12, 1), f"{TLC}/yellow_tripdata_2018-12.parquet"),
        (date(2019, 1, 1), f"{COPY}/yellow_tripdata_2019-01.csv.gz"),
        (date(2021, 7, 1), f"{COPY}/yellow_tripdata_2021-07.csv.gz"),
        (date(2021, 8, 1), f"{TLC}/yellow_tripdata_2021-08.parquet"),
        (date(2026, 8, 1), f"{TLC}/yellow_tripdata_2026-08.parquet"),
    ],
)
def test_yellow_months_are_csv_where_the_copy_has_them_and_tlcs_parquet_elsewhere(month, url):
    assert Source().locate(YELLOW, month) == url


def test_a_source_that_is_given_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    month = date(2024, 5, 1)
    url = Source("https://host/{month}.csv").locate(YELLOW, month)
    assert url == "https://host/2024-05.csv"
    file = Source("files/{month}.parquet").locate(YELLOW, month)
    assert file == f"{tmp_path}/files/2024-05.parquet"
    march = date(2020, 3, 1)
    assert Source(SAMPLE).locate(YELLOW, march) == str(sample_file("yellow", march))
    assert Source(SAMPLE).absolute == SAMPLE == "sample"


def test_a_setting_has_another_server_in_the_place_of_all(monkeypatch):
    monkeypatch.setenv("SOURCE_BASE_URL", "http://127.0.0.1:8000/mirror/")
    assert Source().locate(YELLOW, date(2021, 1, 1)) == (
        "http://127.0.0.1:8000/mirror/yellow_tripdata_2021-01.csv.gz"
    )
    assert Source().locate(YELLOW, date(2024, 1, 1)) == (
        "http://127.0.0.1:8000/mirror/yellow_tripdata_2024-01.parquet"
    )


def test_a_month_before_the_first_is_refused():
    with pytest.raises(UsageError, match="2008-12: TLC's yellow files begin with 2009-01"):
        Source().locate(YELLOW, date(2008, 12, 1))


def test_every_month_has_a_source():
    for dataset in DATASETS.values():
        for month in pd.period_range(dataset.first_month, "2030-12", freq="M"):
            assert str(month) in Source().locate(dataset, month.to_timestamp().date())


def test_the_columns_of_the_raw_table_are_those_that_dbt_describes():
    assert YELLOW.columns[:2] == ("vendorid", "tpep_pickup_datetime")
    assert "load_id" not in YELLOW.columns


@pytest.mark.parametrize("change", [{"urls": []}, {"first_month": "2009-13"}, {"table": None}])
def test_a_mistake_in_the_data_is_found_when_they_are_read(tmp_path, change):
    entry = {"title": "Red taxis", "table": "t", "first_month": "2009-01", "signs": ["rpep"]}
    entry |= {"sources": [{"url": "x"}], "pickup": [], "required": []}
    path = tmp_path / "datasets.yml"
    path.write_text(yaml.safe_dump({"red": entry | change}))
    with pytest.raises(ValidationError):
        read_datasets(path)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("other", DATASETS)
def test_a_file_of_another_dataset_is_told_by_its_columns(name, other):
    if name == other or (name, other) == ("fhvhv", "fhv"):  # these are told by their bases
        DATASETS[name].require_columns([*DATASETS[name].columns], "x, line 1")
    else:
        with pytest.raises(
            PipelineError, match=f"this is a file of TLC's {other} trips. .*: DATASET={other}$"
        ):
            DATASETS[name].require_columns([*DATASETS[other].columns], "x, line 1")


def test_a_file_with_the_columns_of_two_datasets_is_refused_with_their_names():
    with pytest.raises(
        PipelineError,
        match=r"x: the columns of several datasets: 'tpep_pickup_datetime' of yellow, "
        r"'lpep_pickup_datetime' of green\. Give a file of one dataset's trips",
    ):
        YELLOW.require_columns([*YELLOW.columns[:20], "lpep_pickup_datetime"], "x")


def test_a_file_without_any_sign_is_told_by_what_it_lacks():
    with pytest.raises(PipelineError, match="no column 'dispatching_base_num'"):
        DATASETS["fhvhv"].require_columns(["pickup_datetime", "dropoff_datetime"], "x")


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_names_are_the_same_wherever_they_are_listed(dataset):
    """What a file must have, what the raw table has, and what the staging model reads."""
    staging = (SOURCES.parent / f"stg_tlc__{dataset.name}_trips.sql").read_text()
    lists = re.findall(
        r"'(?:smallint|numeric\(\d+, \d+\)|timestamp|text|code)',\s*\[(.*?)\]", staging, re.S
    )
    read = [set(re.findall(r"'(\w+)'", names)) for names in lists]
    assert set().union(*read) == set(dataset.columns)
    for required in (dataset.pickup, *dataset.required):
        assert any(set(required) & names for names in read)
        places = ("longitude", "lon")  # instead of a zone
        zones = {name for name in required if not name.endswith(places)}
        assert any(zones == names for names in read), zones


def test_what_a_file_lacks_is_listed():
    with pytest.raises(PipelineError, match="no column 'trip_distance', 'ratecodeid'"):
        YELLOW.require_columns(
            [
                *YELLOW.pickup,
                "vendorid",
                "passenger_count",
                *sorted({names[0] for names in YELLOW.required} - {"trip_distance", "ratecodeid"}),
                "tpep_dropoff_datetime",
            ],
            "x",
        )


TODAY = date(2026, 1, 20)


def asked_for(datasets: str | None, months: str | None, source: str | None = None) -> list[str]:
    request = Request.resolve(TODAY, datasets, months, source)
    return [str(one) for one in request.months]


@pytest.mark.parametrize(
    ("datasets", "source", "expected"),
    [
        (None, None, ["yellow"]),
        ("green", None, ["green"]),
        ("all", None, ["yellow", "green", "fhvhv", "fhv"]),
        (None, "my/fhvhv_tripdata_2021-01.parquet", ["fhvhv"]),
        (None, "https://host/green_tripdata/fhv_tripdata_{month}.csv", ["fhv"]),
        ("green", "my/yellow_tripdata_2021-01.csv", ["green"]),
        ("green yellow", None, ["green", "yellow"]),
        ("fhv, green,fhv", None, ["fhv", "green"]),
        ("yellow all", None, ["yellow", "green", "fhvhv", "fhv"]),
    ],
)
def test_a_dataset_is_chosen_or_named_by_the_source(datasets, source, expected):
    asked = asked_for(datasets, "2021-01", source)
    assert asked == [f"{name} 2021-01" for name in expected]


@pytest.mark.parametrize("flow", [elt, backfill], ids=["elt", "backfill"])
def test_prefects_form_takes_one_dataset_or_several_and_no_other_word(flow):
    [words, none] = flow.parameters.properties["datasets"]["anyOf"]
    for right in (*DATASETS, "all", "yellow green", "fhv, fhvhv"):
        assert re.search(words["pattern"], right)
    for wrong in ("", "red", "yellow red", "yellowgreen"):
        assert not re.search(words["pattern"], wrong)
    assert none == {"type": "null"}
    assert land.parameters.properties["dataset"]["enum"] == [*DATASETS]


def test_of_all_datasets_each_has_the_months_of_its_time():
    assert asked_for("all", "2013-08 2015-01 2019-02") == [
        *("yellow 2013-08", "yellow 2015-01", "yellow 2019-02"),
        *("green 2013-08", "green 2015-01", "green 2019-02"),
        *("fhvhv 2019-02", "fhv 2015-01", "fhv 2019-02"),
    ]


def test_a_source_for_several_datasets_says_where_their_names_are():
    with pytest.raises(UsageError, match=r"put \{dataset\} in it"):
        asked_for("all", "2021-01", "https://host/{month}.csv")
    request = Request.resolve(TODAY, "all", "2021-01", "https://host/{dataset}/{month}.csv")
    assert [request.source.locate(*one) for one in request.months[:2]] == [
        "https://host/yellow/2021-01.csv",
        "https://host/green/2021-01.csv",
    ]
