"""What a Prefect server knows of this project, and what its UI shows of it."""

import tomllib

import pytest
from conftest import one_at_a_time, point_to, wait_until
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client

from flows.archive import archive
from flows.backfill import backfill
from flows.build import build
from flows.elt import elt
from flows.errors import PipelineError
from flows.land import land
from flows.server import deploy as module
from flows.server.deploy import deploy
from flows.settings import ROOT

LOADS = "/v2/concurrency_limits/warehouse-loads"
FLOWS = {
    "elt/monthly": elt,
    "backfill/backfill": backfill,
    "archive/archive": archive,
    "land/land": land,
    "build/build": build,
}


@pytest.fixture(scope="module")
def deployed(new_database, api, http):
    """The deployments by name, after `flows.server.deploy` has been run twice.

    Meanwhile the limit of loads was edited.
    """
    with one_at_a_time("deployments"):
        point_to(new_database())
        deploy()
        http.patch(LOADS, json={"limit": 2}).raise_for_status()
        deploy()
        flows = {found["id"]: found["name"] for found in api("flows")}
        named = {
            f"{flows[found['flow_id']]}/{found['name']}": found for found in api("deployments")
        }
        yield {name: named[name] for name in FLOWS}


@pytest.mark.parametrize("name", FLOWS)
def test_a_deployment_says_what_it_does_and_what_each_parameter_means(deployed, name):
    deployment = deployed[name]
    assert deployment["description"]
    assert deployment["tags"]
    properties = deployment["parameter_openapi_schema"]["properties"]
    in_order = sorted(properties, key=lambda name: properties[name]["position"])
    assert in_order == list(FLOWS[name].parameters.properties)
    assert all(parameter["description"] for parameter in properties.values())


def test_the_monthly_run_asks_for_the_latest_month_on_its_schedule(deployed):
    monthly = deployed["elt/monthly"]
    assert monthly["parameters"] == {"months": "latest", "datasets": "yellow"}
    [schedule] = monthly["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "0 6 * * 1"
    assert schedule["schedule"]["timezone"] == "America/New_York"


@pytest.mark.usefixtures("deployed")
def test_the_monthly_run_is_scheduled(api, home):
    """SQLAlchemy 2.1 made Prefect's scheduler fail each minute, so that no run ever began."""
    of_elt = {"flows": {"name": {"any_": ["elt"]}}, "deployments": {"name": {"any_": ["monthly"]}}}
    waiting = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    wait_until(lambda: api("flow_runs", **of_elt, **waiting), 60, pause=0.2)
    run = api("flow_runs", **of_elt, **waiting)[0]
    assert run["auto_scheduled"]
    assert run["parameters"] == {"months": "latest", "datasets": "yellow"}
    assert "Can't evaluate bulk DML" not in (home / "prefect.log").read_text()


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"gigabites": 1}, "'gigabites' was unexpected"),
        ({"gigabytes": "all"}, "'all' is not of type 'number'"),
        ({"gigabytes": 0}, "0 is less than or equal to the minimum of 0"),
        ({"rejected_share": 2}, "2 is greater than the maximum of 1"),
    ],
)
def test_a_misspelt_limit_is_refused_before_a_run_begins(deployed, http, limits, why):
    path = f"/deployments/{deployed['elt/monthly']['id']}/create_flow_run"
    answer = http.post(path, json={"parameters": {"limits": limits}})
    assert answer.status_code == 409
    assert why in answer.json()["detail"]


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"months": "2021-13"},
        {"months": "January"},
        {"month": "2021-01-02"},
        {"datasets": "yellow red"},
        {"dataset": "all"},
        {"look_back": 0},
        {"table_name": "My Trips"},
        {"full_refresh": "perhaps"},
    ],
    ids=str,
)
def test_a_form_with_a_wrong_value_is_refused_before_a_run_begins(deployed, http, name, wrong):
    [parameter] = wrong
    if parameter not in FLOWS[name].parameters.properties:
        return  # the form has no such field
    given = {"months": {"months": "2021-01"}, "month": {"month": "2021-01"}}
    required = {k: v for field in FLOWS[name].parameters.required for k, v in given[field].items()}
    path = f"/deployments/{deployed[name]['id']}/create_flow_run"
    answer = http.post(path, json={"parameters": required | wrong})
    assert answer.status_code == 409, answer.text


def test_each_worker_says_where_the_project_is_on_its_machine(deployed):
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


def test_the_server_deletes_old_events_and_runs(http):
    """Of each run there are some two megabytes while its events are there."""
    services = http.get("/admin/settings").raise_for_status().json()["server"]["services"]
    assert set(services["db_vacuum"]["enabled"]) == {"events", "flow_runs"}
    assert services["db_vacuum"]["retention_period"] == "P90D"


@pytest.mark.usefixtures("deployed")
def test_nothing_is_there_twice(api):
    assert sorted(automation["name"] for automation in api("automations")) == [
        "nyc-taxi: alerts of crashed runs",
        "nyc-taxi: runs whose worker was lost",
    ]
    limits = [limit["name"] for limit in api("v2/concurrency_limits")]
    assert limits.count("warehouse-loads") == 1
    assert [(pool["name"], pool["type"]) for pool in api("work_pools")] == [("nyc-taxi", "process")]


@pytest.mark.usefixtures("deployed")
def test_a_limit_that_was_edited_stays_as_it_is(http):
    assert http.get(LOADS).json()["limit"] == 2


@pytest.mark.usefixtures("deployed")
def test_a_crashed_run_is_alerted_through_the_block_that_the_settings_name(api, http, monkeypatch):
    webhook = CustomWebhookNotificationBlock(name="lost", url="http://127.0.0.1:9/")
    document = str(webhook.save("lost-runs", overwrite=True))
    monkeypatch.setenv("ALERT_BLOCK", "custom-webhook/lost-runs")
    deploy()
    reporting, ending = sorted(api("automations"), key=lambda automation: automation["name"])
    [action] = reporting["actions"]
    assert action["type"] == "send-notification"
    assert action["block_document_id"] == document
    assert [action["type"] for action in ending["actions"]] == ["change-flow-run-state"]
    assert ending["trigger"]["within"] == 3 * heartbeat_seconds()


def heartbeat_seconds() -> int:
    """Of a worker's runs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return project["tool"]["prefect"]["flows"]["heartbeat_frequency"]


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("block", ["slack-webhook/none", "no block"])
def test_an_alert_block_that_does_not_exist_is_one_clear_line(monkeypatch, block):
    monkeypatch.setenv("ALERT_BLOCK", block)
    line = f"ALERT_BLOCK is '{block}', and Prefect has no such block. Write it as type/name, "
    with pytest.raises(PipelineError, match=line):
        deploy()


@pytest.mark.usefixtures("deployed")
def test_a_deployment_that_prefect_refuses_is_one_clear_line(monkeypatch, tmp_path):
    (tmp_path / "prefect.yaml").write_text("deployments: [{name: x}]")
    monkeypatch.setattr(module, "HERE", tmp_path)
    line = "^prefect deploy --all failed: .*An entrypoint must be provided.*$"
    with get_client(sync_client=True) as client, pytest.raises(PipelineError, match=line):
        module.save_deployments(client)


def test_what_was_set_in_the_pages_stays_and_a_line_says_so(deployed, http, capsys):
    path = f"/deployments/{deployed['elt/monthly']['id']}"
    before = http.get(path).json()
    [schedule] = before["schedules"]
    deploy()
    assert capsys.readouterr().out == ""

    daily = {"schedule": {"cron": "0 7 * * *", "timezone": "UTC"}, "active": False}
    parameters = {"months": "latest", "datasets": "all", "look_back": 24, "gone": 1}
    forced = {"parameters": parameters, "paused": True, "enforce_parameter_schema": False}
    try:
        http.patch(f"{path}/schedules/{schedule['id']}", json=daily).raise_for_status()
        http.patch(path, json=forced).raise_for_status()
        deploy()
        said, after = capsys.readouterr().out, http.get(path).json()
        [kept] = after["schedules"]
        del parameters["gone"]  # the flow has no such parameter any more
        assert after["parameters"] == parameters
        assert after["paused"]
        assert (kept["schedule"]["cron"], kept["active"]) == ("0 7 * * *", False)
        assert said == (
            "elt/monthly keeps what was set in Prefect, unlike prefect.yaml: paused, parameters, "
            "schedules\n"
        )
    finally:
        given = {
            name: before[name] for name in ("parameters", "paused", "enforce_parameter_schema")
        }
        http.patch(path, json=given).raise_for_status()
        weekly = {"schedule": schedule["schedule"], "active": True}
        http.patch(f"{path}/schedules/{kept['id']}", json=weekly).raise_for_status()
