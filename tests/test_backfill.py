"""A backfill over two workers, one of which is killed, with a month whose file is broken."""

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from types import SimpleNamespace

import psutil
import pytest
from conftest import (
    free_port,
    one_at_a_time,
    put_by,
    run_query,
    start_service,
    wait_until,
    warehouse_to_build,
)
from made_up import made_up_month
from prefect import flow
from prefect.futures import wait

from flows.backfill import backfill, land_on_a_worker, why_none_begins
from flows.settings import ROOT
from flows.tlc.datasets import DATASETS, DatasetMonth

pytestmark = pytest.mark.timeout(600)  # two workers and ten runs
MONTHS = [date(2020, month, 1) for month in range(1, 5)]
BROKEN = MONTHS[3]
ROWS = 1_000


@pytest.fixture(scope="module")
def backfilled(prefect_server, api, tmp_path_factory):
    """What there is after two backfills of the same months.

    In the first one, the file of April is broken, and one of two workers is killed in the middle
    and started again. In the second one, April is mended.
    """
    database = warehouse_to_build()
    folder = tmp_path_factory.mktemp("trips")
    for month in MONTHS:
        content = made_up_month(month, ROWS).read_bytes()
        (folder / f"{month:%Y-%m}.csv.gz").write_bytes(
            content[:1_000] if month == BROKEN else content
        )

    here = {
        "PREFECT_API_URL": prefect_server,
        "POSTGRES_HOST": database.host,
        "POSTGRES_DB": database.db,
    }

    def start_worker() -> subprocess.Popen:
        """One that can't take all the runs, whatever the other one does."""
        return start_service(
            "worker",
            "--limit=2",
            **here,
            PREFECT_WORKER_WEBSERVER_PORT=str(free_port()),
            PREFECT_WORKER_QUERY_SECONDS="1",
        )

    def start_backfill() -> subprocess.Popen:
        """As a person does from another terminal."""
        parameters = ["-p", "months=2020-01..2020-04", "-p", f"source={folder}/{{month}}.csv.gz"]
        command = ["prefect", "deployment", "run", "backfill/backfill", "--watch", *parameters]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def runs_of(flow: str) -> list[dict]:
        of_deployments = {"deployment_id": {"is_null_": False}, "name": {"like_": "2020-0"}}
        asked = {"flows": {"name": {"any_": [flow]}}, "flow_runs": of_deployments}
        return api("flow_runs", **asked, sort="START_TIME_ASC")

    def is_in_the_middle() -> bool:
        states = [run["state_type"] for run in runs_of("land")]
        return "COMPLETED" in states and "PENDING" not in states

    with one_at_a_time("deployments"):  # other automations would take these runs for lost
        assert start_service("deploy", **here).wait(240) == 0
        workers = [start_worker(), start_worker()]
        try:
            first = start_backfill()
            wait_until(is_in_the_middle, 400, pause=0.1)
            workers[0].kill()
            workers.append(start_worker())
            exit_code = first.wait(600)
            lands = runs_of("land")
            after_first = run_query(database, "select source_month, raw_rows from trip_accounting")
            mended = made_up_month(BROKEN, ROWS)
            (folder / f"{BROKEN:%Y-%m}.csv.gz").write_bytes(mended.read_bytes())
            second = backfill("2020-01..2020-04", f"{folder}/{{month}}.csv.gz", return_state=True)
        finally:
            for worker in workers:
                if worker.poll() is None:  # its runs would outlive it
                    for process in psutil.Process(worker.pid).children(recursive=True):
                        process.kill()
                worker.kill()
                worker.wait()
    return SimpleNamespace(
        database=put_by(database),
        exit_code=exit_code,
        first=runs_of("backfill")[0],
        second=second,
        after_first=dict(after_first),
        lands=lands,
        later_lands=runs_of("land")[len(lands) :],
    )


def test_a_month_that_fails_does_not_stop_the_others(backfilled):
    assert backfilled.after_first == {month: ROWS for month in MONTHS if month != BROKEN}


def test_the_end_names_the_months_that_failed(backfilled):
    assert backfilled.exit_code == 1
    first = backfilled.first
    assert first["name"] == "backfill yellow 2020-01..2020-04"
    assert first["state_type"] == "FAILED"
    message = first["state"]["message"].partition("PipelineError: ")[2]
    assert message.startswith(
        "1 of 4 months failed (the rest are loaded and built): yellow 2020-04: "
    )
    assert "the gzip file is damaged" in message


def test_the_reason_of_each_failed_month_is_a_line_of_the_log_and_of_an_artifact(backfilled, api):
    of_the_run = {"flow_run_id": {"any_": [backfilled.first["id"]]}}
    lines = [line["message"] for line in api("logs", logs=of_the_run)]
    [reason] = [line for line in lines if line.startswith("yellow 2020-04: ")]
    assert "the gzip file is damaged" in reason
    [artifact] = api("artifacts", artifacts={**of_the_run, "key": {"any_": ["failed-months"]}})
    assert json.loads(artifact["data"]) == [
        {"month": "yellow 2020-04", "reason": reason.removeprefix("yellow 2020-04: ")}
    ]


def test_both_workers_have_their_share(backfilled, api):
    ids = [run["id"] for run in backfilled.lands]
    lines = api("logs", logs={"flow_run_id": {"any_": ids}})
    submitted = r"Worker '(.+)' submitting flow run"
    workers = {m[1] for line in lines if (m := re.match(submitted, line["message"]))}
    assert len(workers) >= 2


def test_each_of_their_runs_sends_heartbeats(backfilled, http):
    """Or nobody would know that it is lost. One that its worker had only taken never begins."""
    began = [run for run in backfilled.lands if run["start_time"]]
    assert {run["name"] for run in began} == {f"land yellow {month:%Y-%m}" for month in MONTHS}
    for run in began:
        of_the_run = {"id": [f"prefect.flow-run.{run['id']}"]}
        asked = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": of_the_run}
        heard = http.post("/events/filter", json={"filter": asked}).raise_for_status().json()
        assert heard["events"]


def test_running_it_again_does_only_what_is_missing(backfilled):
    assert backfilled.second.is_completed()
    assert [run["name"] for run in backfilled.later_lands] == ["land yellow 2020-04"]


def test_every_month_is_there_once_although_a_worker_was_killed(backfilled):
    accounting = run_query(
        backfilled.database, "select source_month, raw_rows from trip_accounting order by 1"
    )
    assert accounting == [(month, ROWS) for month in MONTHS]
    twice = "select source_month from raw.loads group by 1 having count(*) > 1"
    assert run_query(backfilled.database, twice) == []


JANUARY = DatasetMonth(DATASETS["yellow"], MONTHS[0])


@flow
def land_january(times: int = 1) -> list[str]:
    """As a backfill does; returns why no worker takes it."""
    runs = [land_on_a_worker.submit(JANUARY, {"source": "sample"}) for _ in range(times)]
    reasons = []
    while wait(runs, 1).not_done:
        reasons.append(why_none_begins())
    for run in runs:
        run.result()
    return reasons


@pytest.fixture
def answer(backfilled, api, http):
    """Have runs of January end, of which no worker is there to take one; notes them."""
    noted = []

    def end(state: str) -> None:
        waiting = {
            "name": {"any_": ["land yellow 2020-01"]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
        }
        wait_until(lambda: api("flow_runs", flow_runs=waiting), 30, pause=0.2)
        time.sleep(3)
        for run in api("flow_runs", flow_runs=waiting):
            forced = {"state": {"type": state}, "force": True}
            http.post(f"/flow_runs/{run['id']}/set_state", json=forced).raise_for_status()
            noted.append(run["id"])

    end.noted = noted
    return end


@pytest.fixture
def in_background():
    """Start a function in a thread; returns what waits for its result."""
    with ThreadPoolExecutor() as pool:
        yield lambda *call: pool.submit(*call).result


def test_a_month_whose_run_is_lost_is_tried_again(answer, in_background):
    """The run is set to Crashed as the automation does it."""
    result = in_background(land_january)
    answer("CRASHED")
    answer("COMPLETED")
    result(60)
    assert len(set(answer.noted)) == 2


def test_a_task_that_is_tried_again_waits_for_the_run_that_it_has_made(answer, in_background):
    """As when Prefect's server is away in the middle, or a backfill is retried in the pages."""
    result = in_background(land_january, 2)
    answer("COMPLETED")
    result(60)
    assert len(answer.noted) == 1


@pytest.mark.parametrize(
    ("workers", "reason"),
    [
        ([], "the work pool nyc-taxi has no worker. Start one with `make worker`"),
        (["busy"], "the workers of nyc-taxi have no free place (this backfill takes one, if a"),
    ],
)
def test_a_backfill_whose_months_no_worker_takes_says_why(
    answer, in_background, http, workers, reason
):
    pool = "/work_pools/nyc-taxi/workers"
    for worker in http.post(f"{pool}/filter", json={}).json():
        http.delete(f"{pool}/{worker['name']}").raise_for_status()
    for worker in workers:
        http.post(f"{pool}/heartbeat", json={"name": worker}).raise_for_status()
    result = in_background(land_january)
    answer("COMPLETED")
    said = [line for line in result(60) if line]
    assert said
    assert all(line.startswith(reason) for line in said)


@pytest.mark.usefixtures("prefect_server")
def test_a_backfill_without_deployments_is_one_clear_line(tmp_path):
    """As from a command line where nothing is served: Prefect's server is a temporary one."""
    command = [sys.executable, "-m", "flows.backfill", "--months", "2020-02", "--source", "sample"]
    alone = {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path)}
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | alone, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: workers land the months of a backfill, as runs of land")
    assert result.stderr.count("\n") == 1
