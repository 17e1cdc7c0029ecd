"""Alerts: a run that fails is reported."""

import json
import logging
from typing import Any

from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.settings import get_current_settings

from flows.errors import UsageError
from flows.settings import read_settings

logger = logging.getLogger("prefect.alerts")


def alert(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Write one line of JSON about a run that failed, and send it where `ALERT_BLOCK` says.

    `ALERT_BLOCK` names a notification block of Prefect's as `type/name`, such as
    `slack-webhook/on-call`. A run that is part of another one is reported by its parent. Wrong
    arguments are reported to whoever gave them on a command line, and to no one else; those of a
    schedule or a form, which nobody watches, are reported here.
    """
    if flow_run.parent_task_run_id:
        return
    is_misused = isinstance(state.result(raise_on_failure=False), UsageError)
    if is_misused and not flow_run.deployment_id:
        return
    ui_url = get_current_settings().ui_url
    line = json.dumps(
        {
            "event": "flow-run-failed",
            "flow": flow.name,
            "flow_run": flow_run.name,
            "flow_run_id": str(flow_run.id),
            "state": state.name,
            "message": state.message,
            "url": f"{ui_url}/runs/flow-run/{flow_run.id}" if ui_url else None,
        },
        ensure_ascii=False,
    )
    logger.error(line)
    if block := read_settings().alert_block:
        try:
            webhook: Any = Block.load(block)  # a notification block, or an error below
            webhook.notify(line, subject=f"{flow_run.name}: {state.name}")
        except Exception as error:  # whatever it is, it must not hide the failure itself
            # Only its type: its message may hold the block's URL, which is often a secret.
            logger.error("ALERT_BLOCK %s can't be sent to: %s", block, type(error).__name__)
