"""Another dataset is an entry in datasets.yml, source columns and models: no line of Python."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import HOME, ROOT, create_anew, run_query, start_postgres

ENTRY = {
    "title": "Red taxis",
    "table": "red_taxi_trips",
    "first_month": "2022-01",
    "signs": ["rpep_pickup_datetime"],
    "sources": [{"url": "https://host/red_tripdata_{month}.parquet"}],
    "pickup": ["rpep_pickup_datetime"],
    "required": [["rpep_dropoff_datetime"], ["zone"]],
}
COLUMNS = ["rpep_pickup_datetime", "rpep_dropoff_datetime", "zone"]
LOADER_COLUMNS = ["source_month", "source_row", "load_id"]
STAGING = """
{%- set typed_columns = [
    ('pickup_datetime', 'timestamp', ['rpep_pickup_datetime']),
    ('dropoff_datetime', 'timestamp', ['rpep_dropoff_datetime']),
    ('pickup_location_id', 'smallint', ['zone']),
] -%}
{{ typed_rows('red', source('tlc', 'red_tripdata'), typed_columns) }}
"""
TRIPS = """
{{ config(materialized='partitioned_by_month', meta={'dataset': 'red'}) }}
select
    (source_month - date '2000-01-01')::bigint * 100000000 + source_row as trip_id,
    pickup_datetime, dropoff_datetime, pickup_location_id,
    source_month, source_row, load_id
from {{ ref('stg_tlc__red_trips') }}
where not is_rejected
"""
ROWS = """
select
    dataset, source_month, source_row, load_id, null::smallint as vendor_id,
    null::smallint as passenger_count,
    is_rejected, rejection_reasons, raw_values
from {{ ref('stg_tlc__red_trips') }}
"""
IN_TRIPS = """
select
    'red' as dataset, trip_id, source_month, source_row, pickup_datetime, dropoff_datetime,
    pickup_location_id, null::smallint as dropoff_location_id,
    null as pickup_zone_from, null as dropoff_zone_from,
    null::numeric(14, 2) as duration_minutes, null::numeric(14, 4) as trip_distance,
    null::numeric(20, 1) as speed_mph, null::smallint as passenger_count,
    null::numeric(14, 4) as fare_amount, null::numeric(14, 4) as tip_amount,
    null::numeric(18, 4) as tip_share, null::numeric(14, 4) as total_amount,
    null::smallint as payment_type_id,
    null as hvfhs_license_num, null as dispatching_base_num, null::smallint as vendor_id,
    'Red taxi' as taxi, null::text[] as faults, null::timestamp as pickup_hour_in_file_order
from {{ ref('red_taxi_trips') }}
"""
TYPES = {
    "trip_id": "bigint",
    "pickup_datetime": "timestamp",
    "dropoff_datetime": "timestamp",
    "pickup_location_id": "smallint",
    "source_month": "date",
    "source_row": "bigint",
    "load_id": "bigint",
}


@pytest.fixture(scope="module")
def project() -> Path:
    """A copy of the project that knows red taxis: data and models are added, nothing else."""
    folder = HOME / "a copy with red taxis"
    for part in ("flows", "dbt_project"):
        ignored = shutil.ignore_patterns("logs", "target", "__pycache__")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    (folder / ".venv").symlink_to(sys.prefix)

    datasets = folder / "flows" / "tlc" / "datasets.yml"
    datasets.write_text(datasets.read_text() + yaml.safe_dump({"red": ENTRY}))
    models = folder / "dbt_project" / "models"
    sources = models / "staging" / "tlc" / "_tlc__sources.yml"
    described = yaml.safe_load(sources.read_text())
    columns = [{"name": name} for name in (*COLUMNS, *LOADER_COLUMNS)]
    described["sources"][0]["tables"].append({"name": "red_tripdata", "columns": columns})
    sources.write_text(yaml.safe_dump(described))
    (models / "staging" / "tlc" / "stg_tlc__red_trips.sql").write_text(STAGING)
    (models / "marts" / "trips" / "red_taxi_trips.sql").write_text(TRIPS)
    contract = [{"name": name, "data_type": kind} for name, kind in TYPES.items()]
    model = {"name": "red_taxi_trips", "columns": contract}
    (models / "marts" / "trips" / "red_taxi_trips.yml").write_text(
        yaml.safe_dump({"models": [model]})
    )
    rows = models / "intermediate" / "int_tlc__rows_unioned.sql"
    rows.write_text(f"{ROWS} union all {rows.read_text()}")
    trips = models / "marts" / "trips" / "trips.sql"
    begin = "all_trips as ("
    trips.write_text(trips.read_text().replace(begin, f"{begin}{IN_TRIPS} union all"))
    return folder


@pytest.fixture(scope="module")
def outcome(project, prefect_server, tmp_path_factory) -> tuple[dict, object]:
    """A month of red taxis, landed and built by the copy; the run's result, and its warehouse."""
    file = tmp_path_factory.mktemp("red") / "red_tripdata_2022-02.csv"
    rows = [f"2022-02-0{day} 10:00:00,2022-02-0{day} 10:20:00,{day}" for day in range(1, 9)]
    file.write_text("\n".join([",".join(COLUMNS), *rows, "2022-02-09 10:00:00,yesterday,9"]))
    settings = start_postgres().model_copy(update={"db": "red_warehouse"})
    create_anew(settings)
    result = subprocess.run(
        [
            *(".venv/bin/python", "-m", "flows.elt", "--json"),
            *("--datasets", "red", "--source", str(file)),
        ],
        cwd=project,
        env=os.environ | {"POSTGRES_DB": settings.db},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), settings


def test_its_month_is_landed_and_accounted_for(outcome):
    result, _ = outcome
    [month] = result["accounting"]
    assert (month["dataset"], month["month"]) == ("red", "2022-02")
    assert (month["raw_rows"], month["trips"], month["rejected_trips"]) == (9, 8, 1)


def test_its_trips_are_among_all_trips_and_in_the_marts(outcome):
    _, settings = outcome
    trips = "select pickup_location_id::int from trips where dataset = 'red' order by trip_id"
    assert run_query(settings, trips) == [(zone,) for zone in range(1, 9)]
    for mart in ("daily_trips", "hourly_demand", "zone_pairs", "payment_mix"):
        assert run_query(settings, f"select dataset, sum(trips)::int from {mart} group by 1") == [
            ("red", 8)
        ]


def test_the_report_shows_it(outcome):
    result, _ = outcome
    page = Path(result["report"]).read_text()
    assert "<title>Red taxis, February 2022</title>" in page
    assert "Not in these files: totals, fares, ways of payment, distances." in page
