"""Alerts: a run that fails is reported, and data that are overdue."""

import json
import logging
from datetime import date
from typing import Any

from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging import get_run_logger
from prefect.logging.loggers import flow_run_logger
from prefect.settings import get_current_settings

from flows.errors import UsageError
from flows.settings import read_settings

logger = logging.getLogger("prefect.alerts")  # of what goes wrong with the alerts themselves


def alert(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Write one line of JSON about a run that failed, and send it where `ALERT_BLOCK` says.

    `ALERT_BLOCK` names a notification block of Prefect's as `type/name`, such as
    `slack-webhook/on-call`. A run that is part of another one is reported by its parent. Wrong
    arguments are reported to whoever gave them on a command line, and to no one else; those of a
    schedule or a form, which nobody watches, are reported here. That a deployment's run has crashed
    is sent by an automation (`flows/server/lost_runs.yaml`), as the run may not be there to do so.
    """
    if flow_run.parent_task_run_id:
        return
    is_misused = isinstance(state.result(raise_on_failure=False), UsageError)
    if is_misused and not flow_run.deployment_id:
        return
    ui_url = get_current_settings().ui_url
    line = one_line(
        event="flow-run-failed",
        flow=flow.name,
        flow_run=flow_run.name,
        flow_run_id=str(flow_run.id),
        state=state.name,
        message=state.message,
        url=f"{ui_url}/runs/flow-run/{flow_run.id}" if ui_url else None,
    )
    # The run's own logger: nobody keeps what a worker's runs print.
    flow_run_logger(flow_run, flow).getChild("alerts").error(line)
    is_sent_by_the_server = state.is_crashed() and flow_run.deployment_id
    if not is_sent_by_the_server:
        send(line, f"{flow_run.name}: {state.name}")


def alert_of_stale_data(dataset: str, newest: date, message: str) -> None:
    """Write one line of JSON about a dataset whose next months are overdue, and send it likewise.

    Args:
        dataset: Its name.
        newest: The first day of its newest month.
        message: What to do about it.
    """
    line = one_line(
        event="data-stale", dataset=dataset, newest_month=f"{newest:%Y-%m}", message=message
    )
    get_run_logger().getChild("alerts").warning(line)  # type: ignore[union-attr]
    send(line, f"{dataset}: stale")


def one_line(**values: str | None) -> str:
    """One line of JSON."""
    return json.dumps(values, ensure_ascii=False)


def send(line: str, subject: str) -> None:
    """Send a line where `ALERT_BLOCK` says, if it does."""
    if block := read_settings().alert_block:
        try:
            webhook: Any = Block.load(block)  # a notification block, or an error below
            webhook.notify(line, subject=subject)
        except Exception as error:  # whatever it is, it must not hide the failure itself
            # Only its type: its message may hold the block's URL, which is often a secret.
            logger.error("ALERT_BLOCK %s can't be sent to: %s", block, type(error).__name__)
