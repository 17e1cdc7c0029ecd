"""Deploy: register this project with Prefect's server; safe to repeat.

python -m flows.server.deploy
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from flows.errors import PipelineError
from flows.prepare import ensure_warehouse
from flows.server.worker import WORK_POOL
from flows.settings import ROOT, read_settings
from flows.warehouse.load import LIMIT

HERE = Path(__file__).parent
LOADS_AT_ONCE = 4  # each keeps a core of PostgreSQL's busy


def deploy() -> None:
    """Make the block, the work pool, the limit on loads, the deployments and the automation.

    What exists already and can be edited in Prefect's UI is left as it is, except for the
    deployments, which are those of `prefect.yaml`, and the automation.

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
        save_automation(client, lost_runs(client))
    save_deployments()


def save_deployments() -> None:
    """Create the deployments of `prefect.yaml`, or replace them; only the command line reads it.

    Raises:
        PipelineError: Prefect refuses one; the message has its output, in one line.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    result = subprocess.run(
        [*command, "--prefect-file", HERE / "prefect.yaml"],
        cwd=ROOT,
        # Each worker fills in where the project is on its machine; ours must not be written down.
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


def lost_runs(client: SyncPrefectClient) -> AutomationCore:
    """The automation that ends lost runs; with `ALERT_BLOCK`, it also sends an alert.

    Raises:
        PipelineError: `ALERT_BLOCK` does not name a block that exists.
    """
    content = yaml.safe_load((HERE / "lost_runs.yaml").read_text())
    automation = AutomationCore.model_validate(content)
    if block := read_settings().alert_block:
        kind, _, name = block.partition("/")
        try:
            document = client.read_block_document_by_name(name, kind)
        except ObjectNotFound:
            raise PipelineError(
                f"ALERT_BLOCK is {block!r}, and Prefect has no such block. Write it as type/name, "
                "such as slack-webhook/on-call, and create it in Prefect's UI first"
            ) from None
        automation.actions.append(
            SendNotification(
                block_document_id=document.id,
                subject="Crashed: {{ flow_run.name }}",
                body="The worker of the flow run {{ flow_run.name }} was lost",
            )
        )
    return automation


def save_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Create an automation, or replace the one of its name."""
    existing = client.read_automations_by_name(automation.name)
    if existing:
        client.update_automation(existing[0].id, automation)
    else:
        client.create_automation(automation)


if __name__ == "__main__":
    try:
        deploy()
    except PipelineError as error:
        sys.exit(f"error: {error}")
