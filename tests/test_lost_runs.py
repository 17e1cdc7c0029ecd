"""Which runs the automations end and report, with a window of seconds, on a real worker."""

import json
import subprocess
import time
from datetime import timedelta
from types import SimpleNamespace

import psutil
import pytest
from conftest import one_at_a_time, wait_until, webhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Pending, State

from flows.server.deploy import save_automations

pytestmark = pytest.mark.timeout(600)

WITHIN = 30  # seconds; a busy machine takes 15 until a run has begun
POOL = "of-lost-runs"
FLOW = """
import time

from prefect import flow
from prefect.states import Completed

from flows.alerts import alert
from flows.errors import PipelineError


@flow(on_failure=[alert], on_crashed=[alert])
def watched(ends: str = "Completed", count: int = 1):
    time.sleep(600 if ends == "never" else 2)  # after a heartbeat
    if ends == "Failed":
        raise PipelineError("the file is damaged")
    return Completed(name=ends)
"""
# Of each run, by its name.
PARAMETERS = {
    "Completed": {},
    "Skipped": {"ends": "Skipped"},
    "Failed": {"ends": "Failed"},
    "of a wrong type": {"count": "many"},
    "misspelt": {"cuont": 1},
    "lost": {"ends": "never"},
}


@pytest.fixture(scope="module")
def seen(prefect_server, http, home, tmp_path_factory, make_httpserver):
    """How runs have ended, what was sent of each, and for which the automation has fired.

    They run on a worker, which is killed with the last of them; then another run is taken as by
    a worker that dies before the run begins.
    """
    folder = tmp_path_factory.mktemp("watched")
    (folder / "watched.py").write_text(FLOW)
    received = webhook(make_httpserver, "lost")
    with (
        one_at_a_time("deployments"),
        get_client(sync_client=True) as client,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("ALERT_BLOCK", "custom-webhook/lost")
        save_automations(client, timedelta(seconds=WITHIN))
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        watched, gone = (
            client.create_deployment(
                client.create_flow_from_name("watched"),
                name,
                entrypoint=f"{name}.py:watched",
                path=str(folder),
                enforce_parameter_schema=False,
                work_pool_name=POOL,
                job_variables={"stream_output": False},  # as in prefect.yaml
            )
            for name in ("watched", "gone")
        )
        runs = {}

        def create(name: str, deployment, **parameters) -> None:
            runs[name] = client.create_flow_run_from_deployment(
                deployment, parameters=parameters, name=name
            ).id

        def state(name: str) -> State:
            return client.read_flow_run(runs[name]).state

        create("without its file", gone)
        for name, parameters in PARAMETERS.items():
            create(name, watched, **parameters)
        command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        with (home / "worker.log").open("a") as log:
            worker = subprocess.Popen([*command, "--limit", "3"], stdout=log, stderr=log)
        try:
            others = [name for name in runs if name != "lost"]
            wait_until(lambda: all(state(name).is_final() for name in others), 240, pause=0.5)
            wait_until(lambda: state("lost").is_running(), 60, pause=0.5)
            time.sleep(3)  # it sends a heartbeat meanwhile
        finally:
            for process in (*psutil.Process(worker.pid).children(recursive=True), worker):
                process.kill()
            worker.wait()
        create("not begun", watched)
        client.set_flow_run_state(runs["not begun"], Pending())
        for name in ("lost", "not begun"):
            wait_until(lambda name=name: state(name).is_crashed(), 3 * WITHIN, pause=0.5)

        def of_ours() -> list[dict]:
            """What was sent of these runs; another test may lose a worker as well."""
            ids = [str(run) for run in runs.values()]
            return [one for one in received if any(run in one["text"] for run in ids)]

        wait_until(lambda: len(of_ours()) >= 6, 10)
        states = {name: state(name) for name in runs}
        client.delete_work_pool(POOL)
        patch.delenv("ALERT_BLOCK")
        save_automations(client)  # as other tests know them
    asked = {"filter": {"event": {"name": ["prefect.automation.triggered"]}}, "limit": 50}
    fired = http.post("/events/filter", json=asked).raise_for_status().json()["events"]
    theirs = {"logs": {"flow_run_id": {"any_": [str(run) for run in runs.values()]}}}
    by_run = {f"prefect.flow-run.{run}": name for name, run in runs.items()}
    labels = [event["payload"]["triggering_labels"] for event in fired]
    ended = [by_run.get(label.get("prefect.resource.id")) for label in labels]
    logs = http.post("/logs/filter", json=theirs).raise_for_status().json()
    lines = [json.loads(log["message"]) for log in logs if log["message"].startswith("{")]
    return SimpleNamespace(states=states, received=of_ours(), ended=ended, lines=lines)


def test_a_run_whose_worker_is_lost_is_ended(seen):
    for name in ("lost", "not begun"):
        assert seen.states[name].is_crashed()
        assert seen.states[name].message == "Its worker was lost"


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("Completed", "Completed"),
        ("Skipped", "Skipped"),
        ("Failed", "Failed"),
        ("of a wrong type", "Failed"),
        ("misspelt", "Crashed"),
        ("without its file", "Crashed"),
    ],
)
def test_a_run_that_is_over_is_not_taken_for_lost(seen, name, ends):
    assert seen.states[name].name == ends
    assert seen.states[name].message != "Its worker was lost"
    assert name not in seen.ended


def test_each_run_that_does_not_end_well_is_reported_once(seen):
    titles = sorted(one["title"] for one in seen.received)
    assert titles == [
        "Crashed: lost",
        "Crashed: misspelt",
        "Crashed: not begun",
        "Crashed: without its file",
        "Failed: Failed",
        "of a wrong type: Failed",
    ]
    texts = {one["title"]: one["text"] for one in seen.received}
    assert texts["Crashed: lost"].startswith("Its worker was lost http")
    assert texts["Crashed: misspelt"].startswith("Process exited with status code: 1.")
    assert "count: Input should be a valid integer" in texts["of a wrong type: Failed"]


def test_each_run_that_fails_itself_has_a_line_of_json_in_its_log(seen):
    """Whatever a run of a worker prints is thrown away."""
    names = sorted(line["flow_run"] for line in seen.lines)
    assert names == ["Failed", "misspelt", "of a wrong type"]
