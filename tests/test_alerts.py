"""A run that fails is reported once, whatever happens to the report."""

import json
import logging
import os
import subprocess
import sys

import pytest
from conftest import save_webhook, webhook
from prefect import flow
from prefect.client.orchestration import get_client

from flows.alerts import alert
from flows.elt import elt
from flows.errors import PipelineError, UsageError
from flows.settings import ROOT

BLOCK = "custom-webhook/on-call"


@pytest.fixture
def received(prefect_server, monkeypatch, httpserver):
    """What arrives at the webhook that `ALERT_BLOCK` names."""
    monkeypatch.setenv("ALERT_BLOCK", BLOCK)
    return webhook(httpserver, "on-call")


@flow(name="failing", flow_run_name="failing 2021-01", on_failure=[alert])
def failing() -> None:
    raise PipelineError("trips.csv, line 1: no header")


def lines_of(caplog) -> list[dict]:
    return [json.loads(r.message) for r in caplog.records if r.name == "prefect.flow_runs.alerts"]


def test_a_failed_run_is_one_structured_line_and_one_notification(received, caplog):
    state = failing(return_state=True)
    [line] = lines_of(caplog)
    run_id = str(state.state_details.flow_run_id)
    assert line.pop("url").endswith(f"/runs/flow-run/{run_id}")
    assert line == {
        "event": "flow-run-failed",
        "flow": "failing",
        "flow_run": "failing 2021-01",
        "flow_run_id": run_id,
        "state": "Failed",
        "message": "Flow run encountered an exception: PipelineError: trips.csv, line 1: no header",
    }
    [notification] = received
    assert notification["title"] == "failing 2021-01: Failed"
    assert json.loads(notification["text"])["flow_run_id"] == run_id


def test_a_run_within_a_run_is_reported_by_the_outer_one(received, caplog):
    @flow(on_failure=[alert])
    def outer() -> None:
        failing()

    outer(return_state=True)
    assert [line["flow"] for line in lines_of(caplog)] == ["outer"]
    assert len(received) == 1


@pytest.fixture
def run_deployed(prefect_server):
    """Have a deployment of `elt` run with some parameters, as a worker does; returns its log."""

    def run(**parameters) -> str:
        with get_client(sync_client=True) as client:
            deployment = client.create_deployment(
                client.create_flow(elt),
                "of-the-tests",
                entrypoint="flows/elt.py:elt",
                path=str(ROOT),
                enforce_parameter_schema=False,
            )
            flow_run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
            result = subprocess.run(
                [sys.executable, "-m", "prefect.engine"],
                cwd=ROOT,
                env=os.environ | {"PREFECT__FLOW_RUN_ID": str(flow_run.id)},
                capture_output=True,
                text=True,
            )
            client.delete_deployment(deployment)
        return result.stdout + result.stderr

    return run


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"months": "2021-13"}, "'2021-13' is not a month"),
        ({"months": "2021-01", "look_back": "many"}, "look_back"),
        ({"months": "2021-01", "source": "sample"}, "There is no sample of yellow trips"),
    ],
    ids=["value", "type", "together"],
)
def test_wrong_parameters_of_a_schedule_or_a_form_are_reported(
    received, run_deployed, parameters, reason
):
    said = run_deployed(**parameters)
    lines = [line for line in said.splitlines() if '"event": "flow-run-failed"' in line]
    assert len(lines) == 1, said
    assert reason in lines[0]
    [notification] = received
    assert reason in notification["text"]


def test_wrong_arguments_on_a_command_line_are_not_reported(received, caplog):
    @flow(on_failure=[alert])
    def misused() -> None:
        raise UsageError("2021-13 is not a month")

    assert misused(return_state=True).is_failed()
    assert lines_of(caplog) == []
    assert received == []


@pytest.mark.usefixtures("prefect_server")
def test_without_a_block_there_is_the_line_alone(monkeypatch, caplog):
    monkeypatch.delenv("ALERT_BLOCK", raising=False)
    failing(return_state=True)
    assert len(lines_of(caplog)) == 1
    assert "ALERT_BLOCK" not in caplog.text


@pytest.mark.parametrize("block", [BLOCK, "slack-webhook/none", "no block"])
def test_a_notification_that_fails_hides_nothing(
    prefect_server, monkeypatch, caplog, unused_port, block
):
    save_webhook("on-call", unused_port)
    monkeypatch.setenv("ALERT_BLOCK", block)
    with pytest.raises(PipelineError, match="no header"), caplog.at_level(logging.ERROR):
        failing()
    assert f"ALERT_BLOCK {block} can't be sent to" in caplog.text
    assert "secret-path" not in caplog.text
