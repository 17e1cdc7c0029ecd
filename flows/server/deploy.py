"""Deploy: register this project with Prefect's server; safe to repeat.

python -m flows.server.deploy
"""

import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import load_flow_from_entrypoint

from flows.errors import PipelineError
from flows.prepare import ensure_warehouse
from flows.server.worker import WORK_POOL
from flows.settings import ROOT, read_settings
from flows.warehouse.load import LIMIT

HERE = Path(__file__).parent
LOADS_AT_ONCE = 4  # each keeps a core of PostgreSQL's busy


def deploy() -> None:
    """Make the block, the work pool, the limit on loads, the deployments and the automations.

    What people have set in Prefect's pages stays, except for how the automations work.

    Raises:
        PipelineError: the warehouse can't be reached, or Prefect refuses a deployment.
    """
    ensure_warehouse()
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
        try:
            client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            client.upsert_global_concurrency_limit_by_name(LIMIT, LOADS_AT_ONCE)
        save_automations(client)
        save_deployments(client)


def save_deployments(client: SyncPrefectClient) -> None:
    """Create the deployments of `prefect.yaml`, or update them; only the command line reads it.

    What people have set in the pages stays: the schedules, the parameters and whether a deployment
    is paused. A line says so where it differs from the file.

    Raises:
        PipelineError: Prefect refuses one; the message has its output, in one line.
    """
    content = yaml.safe_load((HERE / "prefect.yaml").read_text())
    for wanted in content["deployments"]:
        keep_what_was_set(client, wanted)
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(content, file)
        file.flush()
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        result = subprocess.run(
            [*command, "--prefect-file", file.name],
            cwd=ROOT,
            # Each worker fills in where the project is on its machine; ours must not be written
            # down.
            env={name: value for name, value in os.environ.items() if name != "TAXI_PROJECT"},
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        # It is the first lines that name the reason; the logs are on standard error.
        output = " ".join((result.stdout or result.stderr).split())
        reason = output[:500] or f"exit code {result.returncode}"
        raise PipelineError(f"prefect deploy --all failed: {reason}")


def keep_what_was_set(client: SyncPrefectClient, wanted: dict[str, Any]) -> None:
    """Put what was set in the pages into a deployment of the file, if it is there already."""
    flow = wanted.get("entrypoint", "").rpartition(":")[2]
    try:
        found = client.read_deployment_by_name(f"{flow}/{wanted['name']}")
    except ObjectNotFound:
        return
    known = load_flow_from_entrypoint(f"{ROOT}/{wanted['entrypoint']}").parameters.properties
    kept: dict[str, Any] = {
        "paused": found.paused,
        "parameters": {name: found.parameters[name] for name in found.parameters if name in known},
    }
    differs = [name for name in kept if kept[name] != (wanted.get(name) or type(kept[name])())]
    # Without any in the file, Prefect leaves those that are there.
    schedules = wanted.pop("schedules", [])
    fields = ("cron", "timezone")
    if [[getattr(one.schedule, field, None) for field in fields] for one in found.schedules] != [
        [one[field] for field in fields] for one in schedules
    ] or not all(one.active for one in found.schedules):
        differs.append("schedules")
    wanted |= kept
    if differs:
        where = f"{flow}/{found.name} keeps what was set in Prefect, unlike prefect.yaml"
        print(f"{where}: {', '.join(differs)}")


def save_automations(client: SyncPrefectClient, within: timedelta | None = None) -> None:
    """Save the automation that ends lost runs, and the one that sends alerts of crashed ones.

    Args:
        client: Of Prefect's server.
        within: After how much time without a heartbeat a run is lost; default: the file's.

    Raises:
        PipelineError: `ALERT_BLOCK` does not name a block that exists.
    """
    ending, reporting = (
        AutomationCore.model_validate(content)
        for content in yaml.safe_load_all((HERE / "lost_runs.yaml").read_text())
    )
    if within:
        ending.trigger.within = within  # type: ignore[union-attr]  # it is an EventTrigger
    if block := read_settings().alert_block:
        kind, _, name = block.partition("/")
        try:
            document = client.read_block_document_by_name(name, kind)
        except ObjectNotFound:
            raise PipelineError(
                f"ALERT_BLOCK is {block!r}, and Prefect has no such block. Write it as type/name, "
                "such as slack-webhook/on-call, and create it in Prefect's UI first"
            ) from None
        reporting.actions = [
            SendNotification(
                block_document_id=document.id,
                subject="Crashed: {{ flow_run.name }}",
                body="{{ flow_run.state.message }} {{ flow_run|ui_url }}",
            )
        ]
    save_automation(client, ending)
    save_automation(client, reporting)


def save_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Create an automation, or replace the one of its name; one that is off stays off."""
    existing = client.read_automations_by_name(automation.name)
    if existing:
        automation.enabled = existing[0].enabled
        client.update_automation(existing[0].id, automation)
    else:
        client.create_automation(automation)


if __name__ == "__main__":
    try:
        deploy()
    except PipelineError as error:
        sys.exit(f"error: {error}")
