"""The whole run, as a person starts it."""

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import put_by, run_query, wait_until, warehouse_to_build
from made_up import made_up_month

from flows.elt import elt
from flows.land import asset_of, land
from flows.report import page
from flows.settings import ROOT
from flows.tlc.sample import sample_file, sample_months

JANUARY = date(2021, 1, 1)
SAMPLE = ("--source", "sample", "--months", "2020-02..2020-04")
SAMPLES = ("yellow 2020-02", "yellow 2020-03", "yellow 2020-04")
ENDED = {"state": {"type": {"any_": ["COMPLETED"]}}}


def run(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "flows.elt", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=290,
    )


@pytest.fixture(scope="module")
def twice(prefect_server):
    """The run of three months of the sample, twice; the second one has written nothing."""
    settings, began = warehouse_to_build(), datetime.now(UTC)
    written = "select xmin::text, count(*) from yellow_taxi_trips group by 1"
    first = run(*SAMPLE)
    assert first.returncode == 0, first.stderr
    before = run_query(settings, written)
    second = run(*SAMPLE, "--json")
    assert second.returncode == 0, second.stderr
    assert run_query(settings, written) == before
    put_by(settings)
    return SimpleNamespace(first=first, second=second, began=began, database=settings.db)


@pytest.mark.any_postgres
def test_the_whole_run_says_what_it_does_and_the_second_one_does_nothing(twice):
    first, second = twice.first, twice.second
    assert first.stdout.startswith(
        """
dataset   month raw rows trips zero passenger rejected malformed warnings
 yellow 2020-02    9,835 9,664            171        0         0        0
 yellow 2020-03    4,695 4,606             89        0         0        0
 yellow 2020-04      372   363              9        0         0        0
yellow 2020-02..2020-04: a sample, one trip in 640, drawn at random: days, months and shares can \
be compared, and its sums are not those of the months
"""
    )
    assert re.fullmatch(
        r"(yellow 2020-0\d: loaded [\d,]+ rows, 0 malformed lines, \d+\.\d s\n){3}"
        r"\d\d models built, \d+ tests passed, \d+\.\d s\n"
        r"pre: missing passenger count: 269 \(trips with a count of 0, which are left out\)\n"
        r"post: missing passenger count: 0\n",
        first.stderr,
    )
    assert re.fullmatch(
        r"(.* is loaded already, nothing to do\n){3}The models are up to date, nothing to build\n",
        second.stderr,
    )
    outcome = json.loads(second.stdout)
    assert outcome["accounting"][0] == {
        "dataset": "yellow",
        "month": "2020-02",
        "raw_rows": 9_835,
        "trips": 9_664,
        "zero_passenger_trips": 171,
        "rejected_trips": 0,
        "malformed_lines": 0,
        "warnings": 0,
        "is_sample": True,
        "sampled_one_in": 640,
    }
    assert [(stage["stage"], stage["rows"]) for stage in outcome["stages"]] == [
        *(
            stage
            for month, rows in zip(SAMPLES, (9_835, 4_695, 372), strict=True)
            for stage in ((f"fetch {month}", None), (f"load {month}", rows))
        ),
        ("build", 14_633),
    ]


@pytest.fixture
def flow_runs(twice, api) -> list[dict]:
    """Prefect's, of both."""
    named = {"name": {"any_": ["elt yellow 2020-02..2020-04"]}, **ENDED}
    since = {"start_time": {"after_": twice.began.isoformat()}}
    outer = api("flow_runs", flow_runs=named | since)
    parents = {"any_": [flow_run["id"] for flow_run in outer]}
    return outer + api("flow_runs", flow_runs={"parent_flow_run_id": parents})


def test_in_prefects_pages_names_say_the_month_and_each_model_and_test_is_a_task(flow_runs, api):
    names = Counter(flow_run["name"] for flow_run in flow_runs)
    lands = {f"land {month}": 2 for month in SAMPLES}
    assert names == {"elt yellow 2020-02..2020-04": 2, "build yellow_taxi_trips": 1, **lands}
    ids = {"any_": [flow_run["id"] for flow_run in flow_runs]}

    def ended() -> bool:
        """Prefect's server writes the last states down within a second."""
        tasks = api("task_runs", limit=200, flow_runs={"id": ids})
        return {task["state_type"] for task in tasks} == {"COMPLETED"}

    wait_until(ended, 10)
    tasks = api("task_runs", limit=200, flow_runs={"id": ids})
    assert {"model yellow_taxi_trips", "test assert_every_raw_row_is_accounted_for"} <= {
        task["name"] for task in tasks
    }
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    artifacts = api("artifacts", sort="CREATED_DESC", flow_runs={"id": ids})
    data = {artifact["key"]: artifact["data"] for artifact in artifacts if artifact["key"]}
    assert '"raw_rows": 9835' in data["trip-accounting"]
    [about] = {a["description"] for a in artifacts if a["key"] == "trip-accounting"}
    assert "yellow 2020-02..2020-04: a sample, one trip in 640, drawn at random" in about
    assert '"stage": "load yellow 2020-03", "seconds": ' in data["stages"]
    assert data["report"].startswith("# Yellow taxis, February to April 2020, one trip in 640\n")
    [summary, _] = [artifact for artifact in artifacts if artifact["key"] == "summary"]
    assert summary["task_run_id"] is None  # a run's page shows its own before those of its tasks
    assert re.search(r"\| yellow +\| 2020-03 +\| +4,695 \| +4,606 \| +89 \| +0 \|", summary["data"])
    page, rows, *_ = summary["data"].split("\n\n")
    # A link, if the suite's server has this process's data; test_serve.py follows one.
    assert page.startswith(("[The page with the charts](/report)", "The page with the charts is `"))
    assert rows == "## What became of the rows"
    assert "## Health\n\nNo warning: " in summary["data"]
    progress = [artifact["data"] for artifact in artifacts if artifact["type"] == "progress"]
    assert progress == [100.0] * 3  # of loads; samples need no download, the second run no load


def test_their_logs_are_without_noise(flow_runs, api):
    ids = {"any_": [flow_run["id"] for flow_run in flow_runs]}
    lines = api("logs", limit=200, logs={"flow_run_id": ids})
    messages = Counter(
        (line["flow_run_id"], line["task_run_id"], line["message"]) for line in lines
    )
    assert max(messages.values()) == 1
    logged = [line["message"] for line in lines]
    assert "freshness: the newest month of yellow is 2020-04" in logged
    assert "Finished in state Completed()" in logged
    assert not any("\x1b[" in text or "Traceback" in text for text in logged)


def test_models_and_raw_tables_are_assets_with_a_lineage_from_the_source(twice, api):
    """Prefect's open-source server keeps the lineage as events alone."""
    found = api(
        "events",
        filter={
            "event": {"name": ["prefect.asset.materialization.succeeded"]},
            "resource": {"id_prefix": [f"postgres://{twice.database}/"]},
            "occurred": {"since": twice.began.isoformat()},
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
    asset = f"postgres://{twice.database}".__add__
    sources = {
        asset_of(str(sample_file("yellow", month))) for month in sample_months("yellow")[1:4]
    }
    for table in ("yellow_tripdata", "loads", "malformed_lines"):
        assert upstream[asset(f"/raw/{table}")] >= sources
    assert upstream[asset("/staging/stg_tlc__yellow_trips")] == {
        asset("/raw/yellow_tripdata"),
        asset("/staging/stg_tlc__words"),
    }
    assert asset("/staging/stg_tlc__yellow_trips") in upstream[asset("/public/yellow_taxi_trips")]


@pytest.mark.usefixtures("warehouse")
def test_a_cached_file_that_has_changed_is_read_again(query, tmp_path):
    path = tmp_path / "yellow_tripdata_2021-01.csv.gz"
    counts = []
    for rows in (1_000, 2_000):
        path.write_bytes(made_up_month(JANUARY, rows).read_bytes())
        land(JANUARY, str(path))
        counts += query("select count(*) from raw.yellow_tripdata")
    assert counts == [(1_000,), (2_000,)]


@pytest.mark.usefixtures("warehouse")
def test_a_month_that_is_not_published_yet_is_skipped(tmp_path):
    state = elt("latest", str(tmp_path / "{month}.csv"), return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Skipped")
    assert state.message == "latest: nothing new, or changed"


@pytest.mark.usefixtures("january", "models_alone")
class TestFailures:
    """What fails is said at the end, and does not stop the rest."""

    def run_months(self, folder: Path, months: str, missing: str, broken: str = "none"):
        """Run several months, of which one has no file and one a broken one."""
        for month in range(1, 5):
            path = folder / f"2021-0{month}.csv.gz"
            content = made_up_month(date(2021, month, 1), 1_000).read_bytes()
            path.write_bytes(content[:1_000] if path.name.startswith(broken) else content)
        (folder / f"{missing}.csv.gz").unlink()
        return elt(months, f"{folder}/{{month}}.csv.gz", return_state=True)

    def test_a_month_that_fails_does_not_stop_the_others(self, query, tmp_path, api):
        state = self.run_months(tmp_path, "2021-01..2021-03", missing="2021-02")
        assert state.is_failed()
        assert state.message.partition("PipelineError: ")[2] == (
            "1 of 3 months failed (the rest are loaded and built): yellow 2021-02: "
            f"{tmp_path}/2021-02.csv.gz: No such file or directory. "
            "Give an http(s) URL or a file's path"
        )
        built = query("select source_month from trip_accounting order by 1")
        assert built == [(JANUARY,), (date(2021, 3, 1),)]
        of_the_run = {"flow_run_id": {"any_": [str(state.state_details.flow_run_id)]}}
        [artifact] = api("artifacts", artifacts={**of_the_run, "key": {"any_": ["failed-months"]}})
        assert [one["month"] for one in json.loads(artifact["data"])] == ["yellow 2021-02"]

    def test_the_end_names_all_that_have_failed(self, tmp_path, caplog):
        state = self.run_months(tmp_path, "2021-01 2021-02 2021-03", "2021-02", broken="2021-03")
        assert state.message.partition("PipelineError: ")[2] == (
            "2 of 3 months failed (the rest are loaded and built): yellow 2021-02, yellow 2021-03. "
            "The log has the reasons"
        )
        reasons = [r.message for r in caplog.records if r.message.startswith("yellow 2021-0")]
        assert any(": No such file or directory" in reason for reason in reasons)
        assert any(": the gzip file is damaged" in reason for reason in reasons)

    def test_a_report_that_fails_is_a_warning(self, tmp_path, monkeypatch, caplog):
        (tmp_path / "data").write_text("no folder")
        monkeypatch.setattr(page, "PAGE", tmp_path / "data" / "report.html")
        state = elt("2021-01", str(made_up_month(JANUARY, 1_000)), return_state=True)
        assert state.name == "Completed"
        message = "The months are loaded and built, but the report failed: "
        assert state.message.startswith(message)
        assert "File exists" in state.message
        assert state.result().report is None
        [warning] = [r for r in caplog.records if r.message.startswith(message)]
        assert warning.levelname == "WARNING"

    def test_so_is_a_summary(self, query, caplog):
        query("alter view trips rename passenger_count to elsewhere")
        state = elt("2021-01", str(made_up_month(JANUARY, 1_000)), return_state=True)
        assert state.name == "Completed"
        assert 'but the summary failed: (psycopg2.errors.UndefinedColumn) column "passenger_c' in (
            state.message
        )
        assert "\n" not in state.message


@pytest.mark.usefixtures("warehouse")
def test_from_another_folder_a_path_is_meant_from_there_and_a_failure_is_one_line(tmp_path):
    result = run("--source", "no/such_2021-01.csv", folder=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {tmp_path}/no/such_2021-01.csv: No such file")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--source", "no/such_2021-01.csv"], "/no/such_2021-01.csv: No such file or directory"),
        (["--source", "http://127.0.0.1:9/2021-01.csv"], "http://127.0.0.1:9/2021-01.csv: [Errno"),
        (["--source", "http://127.0.0.1:9/{month}.csv", "--months", "latest"], "refused"),
        (["--source", "http://no-such.invalid/2021-01.csv"], "Name or service not known"),
    ],
)
@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_a_source_that_is_not_there_is_refused_before_anything_is_started(
    words, plan, reason, unused_port
):
    """Neither a server of Prefect's nor one of PostgreSQL's is looked for."""
    nowhere = {"POSTGRES_PORT": str(unused_port), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    result = run(*words, *plan, **nowhere)
    assert (result.returncode, result.stdout) == (1, "")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


def test_with_latest_there_need_not_be_a_file(tmp_path, unused_port):
    nowhere = f"http://127.0.0.1:{unused_port}/api"
    source = f"{tmp_path}/{{month}}.csv"
    result = run("--source", source, "--months", "latest", PREFECT_API_URL=nowhere)
    assert f"Prefect's server at {nowhere} does not answer" in result.stderr


@pytest.mark.usefixtures("warehouse")
def test_verbose_shows_prefects_own_log(tmp_path):
    path = tmp_path / "2021-01.csv"
    path.write_text("<html>")
    result = run("--source", str(path), "--verbose")
    assert "Beginning flow run 'elt yellow 2021-01'" in result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"error: {path} is a web page")
