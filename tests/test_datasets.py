"""Where the file of each month is: data, checked when it is read."""

from datetime import date

import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from flows.datasets import DATASETS, read_datasets
from flows.errors import PipelineError, UsageError
from flows.laptop.sample import sample_file
from flows.parameters import SAMPLE

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
    assert YELLOW.locate(month) == url


def test_a_source_that_is_given_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    month = date(2024, 5, 1)
    assert YELLOW.locate(month, "https://host/{month}.csv") == "https://host/2024-05.csv"
    assert YELLOW.locate(month, "files/{month}.parquet") == f"{tmp_path}/files/2024-05.parquet"
    assert YELLOW.locate(date(2020, 3, 1), SAMPLE) == str(sample_file("yellow", date(2020, 3, 1)))


def test_a_setting_has_another_server_in_the_place_of_all(monkeypatch):
    monkeypatch.setenv("SOURCE_BASE_URL", "http://127.0.0.1:8000/mirror/")
    assert YELLOW.locate(date(2021, 1, 1)) == (
        "http://127.0.0.1:8000/mirror/yellow_tripdata_2021-01.csv.gz"
    )
    assert YELLOW.locate(date(2024, 1, 1)) == (
        "http://127.0.0.1:8000/mirror/yellow_tripdata_2024-01.parquet"
    )


def test_a_month_before_the_first_is_refused():
    with pytest.raises(UsageError, match="2008-12: TLC's yellow files begin with 2009-01"):
        YELLOW.locate(date(2008, 12, 1))


def test_every_month_has_a_source():
    for dataset in DATASETS.values():
        for month in pd.period_range(dataset.first_month, "2030-12", freq="M"):
            assert str(month) in dataset.locate(month.to_timestamp().date())


def test_the_columns_of_the_raw_table_are_those_that_dbt_describes():
    assert YELLOW.columns[:2] == ("vendorid", "tpep_pickup_datetime")
    assert "load_id" not in YELLOW.columns


@pytest.mark.parametrize("change", [{"urls": []}, {"first_month": "2009-13"}, {"table": None}])
def test_a_mistake_in_the_data_is_found_when_they_are_read(tmp_path, change):
    entry = {"table": "t", "first_month": "2009-01", "sources": [{"url": "x"}]}
    entry |= {"pickup": [], "required": []}
    path = tmp_path / "datasets.yml"
    path.write_text(yaml.safe_dump({"red": entry | change}))
    with pytest.raises(ValidationError):
        read_datasets(path)


def test_a_file_of_another_dataset_is_told_by_its_columns():
    with pytest.raises(PipelineError, match="x, line 1: this is a green file of TLC's"):
        YELLOW.require_columns(["vendorid", "lpep_pickup_datetime"], "x, line 1")


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
