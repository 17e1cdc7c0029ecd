"""What a Prefect server is told of this project, and what its UI shows of it."""

import httpx
import pytest
from conftest import point_to

from flows.backfill import backfill
from flows.build import build
from flows.elt import elt
from flows.errors import PipelineError
from flows.land import land
from flows.server.deploy import LOST_RUNS, deploy

FLOWS = {
    "elt/monthly": elt,
    "backfill/backfill": backfill,
    "land/land": land,
    "build/build": build,
}


@pytest.fixture(scope="module")
def deployed(new_database, api):
    """The deployments by name, after `flows.server.deploy` has been run twice."""
    point_to(new_database())
    deploy()
    deploy()
    flows = {found["id"]: found["name"] for found in api("flows")}
    return {f"{flows[found['flow_id']]}/{found['name']}": found for found in api("deployments")}


@pytest.mark.parametrize("name", FLOWS)
def test_a_deployment_says_what_it_does_and_what_each_parameter_means(deployed, name):
    deployment = deployed[name]
    assert deployment["description"]
    assert deployment["tags"]
    properties = deployment["parameter_openapi_schema"]["properties"]
    assert list(properties) == list(FLOWS[name].parameters.properties)
    assert all(parameter["description"] for parameter in properties.values())


def test_the_monthly_run_asks_for_the_latest_month_on_its_schedule(deployed):
    monthly = deployed["elt/monthly"]
    assert monthly["parameters"] == {"months": "latest"}
    [schedule] = monthly["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "0 6 * * 1"
    assert schedule["schedule"]["timezone"] == "America/New_York"


def test_where_the_project_is_is_the_workers_to_say(deployed):
    for deployment in deployed.values():
        assert deployment["pull_steps"] == [
            {
                "prefect.deployments.steps.set_working_directory": {
                    "directory": "{{ $TAXI_PROJECT }}"
                }
            }
        ]


def test_one_backfill_runs_at_a_time_and_the_others_wait(deployed):
    limit = deployed["backfill/backfill"]["global_concurrency_limit"]
    assert limit["limit"] == 1
    options = deployed["backfill/backfill"]["concurrency_options"]
    assert options["collision_strategy"] == "ENQUEUE"


@pytest.mark.usefixtures("deployed")
def test_nothing_is_there_twice(api):
    assert [automation["name"] for automation in api("automations")] == [LOST_RUNS]
    limits = [limit["name"] for limit in api("v2/concurrency_limits")]
    assert limits.count("warehouse-loads") == 1
    assert [(pool["name"], pool["type"]) for pool in api("work_pools")] == [("nyc-taxi", "process")]


@pytest.mark.usefixtures("deployed")
def test_a_limit_that_somebody_has_changed_stays(prefect_server):
    url = f"{prefect_server}/v2/concurrency_limits/warehouse-loads"
    httpx.patch(url, json={"limit": 2}).raise_for_status()
    deploy()
    assert httpx.get(url).json()["limit"] == 2


@pytest.mark.usefixtures("deployed")
def test_an_alert_block_that_does_not_exist_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("ALERT_BLOCK", "slack-webhook/none")
    with pytest.raises(PipelineError, match="ALERT_BLOCK is 'slack-webhook/none': Unable to find"):
        deploy()
