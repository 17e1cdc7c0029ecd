"""The whole run, as a person starts it."""

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import pytest
from conftest import point_to

from flows.build import build
from flows.elt import elt
from flows.land import asset_of, land
from flows.laptop.sample import sample_month
from flows.settings import ROOT

JANUARY = date(2021, 1, 1)
ENDED = {"state": {"type": {"any_": ["COMPLETED"]}}}


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "flows.elt", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=290,
    )


@pytest.mark.usefixtures("warehouse")
def test_the_whole_run_twice(query, api):
    first = run("--source", "sample")
    assert first.returncode == 0, first.stderr
    assert (
        "2021-01   50,000 49,056                  934             10               0"
        in first.stdout
    )
    assert "2021-01 is a sample of made-up trips: not New York's sums\n" in first.stdout
    assert re.fullmatch(
        r".*yellow_tripdata_2021-01\.csv\.gz: 1\.1 MB, 4\.6 MB of content\n"
        r"yellow 2021-01: loaded 50,000 rows, 0 malformed lines, \d+\.\d s\n"
        r"\d+ models are up to date, \d+ tests passed, \d+\.\d s\n"
        r"pre: missing passenger count: 934\n"
        r"post: missing passenger count: 0\n",
        first.stderr,
    )
    before = query("select xmin::text, count(*) from yellow_taxi_trips group by 1")

    second = run("--source", "sample", "--json")
    assert second.returncode == 0, second.stderr
    assert re.fullmatch(
        r".* is loaded already, nothing to do\nThe models are up to date, nothing to build\n",
        second.stderr,
    )
    assert query("select xmin::text, count(*) from yellow_taxi_trips group by 1") == before
    outcome = json.loads(second.stdout)
    assert outcome["accounting"][0] == {
        "month": "2021-01",
        "raw_rows": 50_000,
        "trips": 49_056,
        "zero_passenger_trips": 934,
        "rejected_trips": 10,
        "malformed_lines": 0,
        "is_sample": True,
    }
    assert [(stage["stage"], stage["rows"]) for stage in outcome["stages"]] == [
        ("fetch 2021-01", None),
        ("load 2021-01", 50_000),
        ("build", 49_056),
    ]

    # In the UI: names say the month, and each model and test of dbt is a task that has ended.
    flow_runs = api("flow_runs", sort="START_TIME_DESC", limit=5, flow_runs=ENDED)
    names = Counter(flow_run["name"] for flow_run in flow_runs)
    assert names == {"elt 2021-01": 2, "land 2021-01": 2, "build yellow_taxi_trips": 1}
    ids = {"any_": [flow_run["id"] for flow_run in flow_runs]}
    tasks = api("task_runs", limit=200, flow_runs={"id": ids})
    assert {"model yellow_taxi_trips", "test assert_every_raw_row_is_accounted_for"} <= {
        task["name"] for task in tasks
    }
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    artifacts = api("artifacts", sort="CREATED_DESC", flow_runs={"id": ids})
    data = {artifact["key"]: artifact["data"] for artifact in artifacts if artifact["key"]}
    assert '"raw_rows": 50000' in data["trip-accounting"]
    assert '"stage": "load 2021-01", "seconds": ' in data["stages"]
    assert data["report"].startswith("# Yellow-taxi trips")
    progress = [artifact["data"] for artifact in artifacts if artifact["type"] == "progress"]
    assert progress == [100.0]  # of the load; the sample needs no download, the second run no load

    # Logs without noise.
    lines = api("logs", limit=200, logs={"flow_run_id": ids})
    messages = Counter(
        (line["flow_run_id"], line["task_run_id"], line["message"]) for line in lines
    )
    assert max(messages.values()) == 1
    logged = [line["message"] for line in lines]
    assert any(text.startswith("freshness: the newest month is 2021-01") for text in logged)
    assert "Finished in state Completed()" in logged
    assert not any("\x1b[" in text or "Traceback" in text for text in logged)


def test_models_and_raw_tables_are_assets_with_a_lineage_from_the_source(new_database, api):
    """Prefect's open-source server keeps the lineage as events alone."""
    database = new_database()
    point_to(database)
    land(JANUARY, str(sample_month(JANUARY, 1_000)))
    build()
    found = api(
        "events",
        filter={
            "event": {"name": ["prefect.asset.materialization.succeeded"]},
            "resource": {"id_prefix": [f"postgres://{database.db}/"]},
        },
        limit=50,
    )["events"]
    upstream = defaultdict(set)
    for event in found:
        upstream[event["resource"]["prefect.resource.id"]] |= {
            related["prefect.resource.id"]
            for related in event["related"]
            if related["prefect.resource.role"] == "asset"
        }
    asset = f"postgres://{database.db}".__add__
    source = asset_of(str(sample_month(JANUARY, 1_000)))
    for table in ("yellow_tripdata", "loads", "malformed_lines"):
        assert upstream[asset(f"/raw/{table}")] >= {source}
    assert upstream[asset("/staging/stg_tlc__yellow_trips")] == {asset("/raw/yellow_tripdata")}
    assert asset("/staging/stg_tlc__yellow_trips") in upstream[asset("/public/yellow_taxi_trips")]


@pytest.mark.usefixtures("warehouse")
def test_a_cached_file_that_has_changed_is_read_again(query, tmp_path):
    path = tmp_path / "yellow_tripdata_2021-01.csv.gz"
    counts = []
    for rows in (1_000, 2_000):
        path.write_bytes(sample_month(JANUARY, rows).read_bytes())
        land(JANUARY, str(path))
        counts += query("select count(*) from raw.yellow_tripdata")
    assert counts == [(1_000,), (2_000,)]


@pytest.mark.usefixtures("warehouse")
def test_a_month_that_is_not_published_yet_is_skipped(tmp_path):
    state = elt("latest", str(tmp_path / "{month}.csv"), return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Skipped")
    assert state.message == "latest: nothing new, or changed"


@pytest.mark.usefixtures("warehouse")
def test_from_another_folder_a_path_is_meant_from_there_and_a_failure_is_one_line(tmp_path):
    result = run("--source", "no/such_2021-01.csv", folder=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {tmp_path}/no/such_2021-01.csv: No such file")
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("warehouse")
def test_verbose_shows_prefects_own_log(tmp_path):
    result = run("--source", "no/such_2021-01.csv", "--verbose")
    assert "Beginning flow run 'elt 2021-01'" in result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"error: {ROOT}/no/such_2021-01.csv: No such")
