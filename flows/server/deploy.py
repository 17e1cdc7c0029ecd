"""Deploy: what a Prefect server needs to know of this project, however often it is told.

python -m flows.server.deploy
"""

import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from prefect.automations import Automation
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from flows.errors import PipelineError, first_line
from flows.load import LIMIT
from flows.settings import ROOT, read_settings
from flows.warehouse import ensure_warehouse

WORK_POOL = "nyc-taxi"
LOADS_AT_ONCE = 4  # each keeps a core of PostgreSQL's busy
LOST_RUNS = "nyc-taxi: runs whose worker was lost"
HEARTBEAT = timedelta(seconds=30)  # as pyproject.toml has it under tool.prefect.flows


def deploy() -> None:
    """Make the block, the work pool, the limit on loads, the deployments and the automation.

    What exists already and can be edited in Prefect's UI is left as it is, but for the
    deployments, which are those of `prefect.yaml`, and the automation.

    Raises:
        PipelineError: there is no warehouse, or Prefect refuses a deployment.
    """
    ensure_warehouse()
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
        try:
            client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            client.upsert_global_concurrency_limit_by_name(LIMIT, LOADS_AT_ONCE)
    save_automation(end_lost_runs())
    result = subprocess.run(
        [
            Path(sys.executable).with_name("prefect"),
            "--no-prompt",
            "deploy",
            "--all",
            "--prefect-file",
            "flows/server/prefect.yaml",
        ],
        cwd=ROOT,
        # Where the project is on this machine is not what the workers are to be told.
        env={name: value for name, value in os.environ.items() if name != "TAXI_PROJECT"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise PipelineError(f"prefect deploy --all: {result.stdout.strip().splitlines()[-1]}")


def end_lost_runs() -> Automation:
    """An automation: a run that is not heard of for three heartbeats has crashed, and is told of.

    A worker's machine that dies takes its runs along, and nobody is left there to say so. From
    Prefect's documentation, "How to detect and respond to zombie flows"; here also for those that
    a worker had taken but not begun.
    """
    heartbeat, taken = "prefect.flow-run.heartbeat", "prefect.flow-run.Pending"
    goes_on = ("Running", "AwaitingConcurrencySlot", "Completed", "Failed", "Cancelled", "Crashed")
    actions = [ChangeFlowRunState(state=StateType.CRASHED, message="Its worker was lost")]
    if block := read_settings().alert_block:
        try:
            document_id = Block.load(block)._block_document_id
        except ValueError as error:  # there is none of that name, or it is no name
            raise PipelineError(
                f"ALERT_BLOCK is {block!r}: {first_line(error)}. Write it as type/name, such as "
                "slack-webhook/on-call, and create it in Prefect's UI first"
            ) from None
        actions.append(
            SendNotification(
                block_document_id=document_id,
                subject="Crashed: {{ flow_run.name }}",
                body="The worker of the flow run {{ flow_run.name }} was lost",
            )
        )
    return Automation(
        name=LOST_RUNS,
        description="Flow runs that send no heartbeat any more are set to Crashed",
        trigger=EventTrigger(
            after={heartbeat, taken},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in goes_on)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=3 * HEARTBEAT,
        ),
        actions=actions,
    )


def save_automation(automation: Automation) -> None:
    """Create an automation, or replace the one of its name."""
    try:
        automation.id = Automation.read(name=automation.name).id
    except ValueError:  # "Automation with name '…' not found"
        automation.create()
    else:
        automation.update()


if __name__ == "__main__":
    try:
        deploy()
    except PipelineError as error:
        sys.exit(f"error: {error}")
