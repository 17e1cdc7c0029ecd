"""The backfill: land many months on as many workers as there are, then build the models once.

    python -m flows.backfill --datasets all --months 2019-01..2020-12

Prefect's work pool distributes the months, so it needs a server and a worker: `make serve`.
"""

from flows import cli
from flows.parameters import (
    TABLE_NAME,
    Datasets,
    Limits,
    Months,
    Request,
    TableName,
    run_name,
    today,
)


def land_what_is_missing(
    months: Months,
    source: str | None = None,
    table_name: TableName = TABLE_NAME,
    force: bool = False,
    allow_fewer_rows: bool = False,
    limits: Limits = Limits(),
    datasets: Datasets | None = None,
) -> "Summary | State[Any]":
    """Land the months that are missing, each on a free worker, then build the models once.

    A month that fails does not stop the others: they are landed and built. The log and the
    artifact `failed-months` give the reason for each month that failed, and at the end the run
    fails and names them. Running it again does those.

    Args:
        months: The months to land, such as 2019-01..2020-12, or several ranges or months with
            blanks between them.
        source: URL or path of a file, as each worker sees it, CSV (packed with gzip or not) or
            Parquet; or a folder or a pattern, whose files are a month's parts. {month} in it
            stands for the month, and {dataset} for the dataset. Or sample, for real trips of a few
            months that come with this project. Default: wherever TLC's file of that month is.
        table_name: The name of the analysts' table of yellow-taxi trips.
        force: Fetch and load the months that are there as well.
        allow_fewer_rows: Load a month even if it has less than half the rows of the one there.
        limits: What a file may be like.
        datasets: Which of TLC's datasets, yellow, green, fhvhv or fhv, or several with blanks
            between them, or all. Default: the one in the source's name, or else yellow.

    Raises:
        PipelineError: a month has failed, or a model or a test; or workers can't be told.
    """
    request = Request.resolve(today(), datasets, months, source)
    refuse_without_deployments()
    prepare_warehouse()
    missing = months_missing(request, force)
    get_run_logger().info("%s of %s months are missing", len(missing), len(request.months))
    parameters = {
        "source": request.source.absolute,
        "force": force,
        "allow_fewer_rows": allow_fewer_rows,
        "limits": limits.model_dump(),
    }
    runs = land_on_a_worker.map(missing, unmapped(parameters))
    while wait([*runs], PATIENCE_SECONDS).not_done:
        if reason := why_none_begins():
            get_run_logger().warning("no month is being landed: %s", reason)
    runs.wait()  # fetches their states
    failures: dict[str, Exception] = {
        str(month): run.state.result(raise_on_failure=False)
        for month, run in zip(missing, runs, strict=True)
        if not run.state.is_completed()
    }
    for month, error in failures.items():
        get_run_logger().error("%s: %s", month, reason_of(error))
    if failures:
        save_failures(failures)
    built = build_if_needed()
    summary = sum_up([*request.months], built)
    if failures:
        raise error_of(failures, len(request.months))
    return summary


if __name__ == "__main__":  # here: to refuse a wrong word takes none of the imports below
    cli.run(land_what_is_missing, reads_files=False)

import re
import time
from itertools import count
from typing import Any
from uuid import UUID

from prefect import State, flow, get_run_logger, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.futures import wait
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.alerts import alert
from flows.build import build_if_needed
from flows.errors import RETRIES, PipelineError
from flows.interrupt import unfinished_parts
from flows.land import error_of, reason_of, save_failures
from flows.plan import new_or_changed, present_loads
from flows.prepare import prepare_warehouse
from flows.report.summary import Summary, sum_up
from flows.tlc.datasets import DatasetMonth

LAND = "land/land"
MOST_WAITED_FOR = 32  # months that are in the work pool at a time
PAUSES = RETRIES["retry_delay_seconds"]  # before a month whose worker was lost is tried again
POLL_SECONDS = 3
PATIENCE_SECONDS = 60  # until we say that no worker takes a month, and then each time


def refuse_without_deployments() -> None:
    """Raise a `PipelineError` if no deployment lands a month; a temporary server has none."""
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(LAND)
        except ObjectNotFound:
            raise PipelineError(
                f"workers land the months of a backfill, as runs of {LAND}, and this Prefect "
                "server has no such deployment: `make serve` starts one, with a worker"
            ) from None


def months_missing(request: Request, force: bool) -> list[DatasetMonth]:
    """Those that are not loaded, or only as a sample; all, if they are to be loaded again.

    With `latest` among the words, those that are new or have changed where they are published.
    """
    if request.is_open_ended:
        return new_or_changed(request, force)
    return [
        one
        for one, load in zip(request.months, present_loads(request.months), strict=True)
        if force or load is None or load.is_sample
    ]


def why_none_begins() -> str:
    """Why no worker lands a month of this backfill, and what to do; empty, if one does.

    A backfill takes a place of a worker itself: with a single place it would wait for ever.
    """
    with get_client(sync_client=True) as client:
        months = unfinished_parts(client, [flow_run.get_id() or ""])
        states = {run.state_type for run in months}
        if states != {StateType.SCHEDULED}:
            return ""
        pool = client.read_deployment_by_name(LAND).work_pool_name or ""
        workers = client.read_workers_for_work_pool(pool)
    if not any(worker.status == "ONLINE" for worker in workers):
        return f"the work pool {pool} has no worker. Start one with `make worker`"
    return (
        f"the workers of {pool} have no free place (this backfill takes one, if a worker runs it), "
        "or the pool is paused or at its limit. Start another with `make worker`"
    )


@task(
    name="land on a worker",
    task_run_name="land {wanted} on a worker",
    cache_policy=NO_CACHE,
    **RETRIES,
)
def land_on_a_worker(wanted: DatasetMonth, parameters: dict[str, object]) -> None:
    """Have a free worker land a month, and wait for it; if it is lost, another one.

    A task or a backfill that is tried again finds the run that it has made before, and waits for
    that.

    Raises:
        PipelineError: the month can't be landed, or its workers were lost.
    """
    lost = 0
    for attempt in count(1):
        run: Any = run_deployment(
            LAND,
            parameters={
                "month": wanted.month.isoformat(),
                "dataset": wanted.dataset.name,
                **parameters,
            },
            flow_run_name=f"land {wanted}",
            idempotency_key=f"{flow_run.get_id()} {wanted} {attempt}",
            timeout=0,
        )
        was_over = run.state.is_final()
        state = run.state if was_over else final_state(run.id)
        if state.is_completed():
            return
        if was_over:  # an earlier try's
            continue
        reason = re.sub(r"^Flow run encountered an exception: \w+: ", "", state.message or "")
        if not state.is_crashed():
            raise PipelineError(reason or state.name)
        if lost == len(PAUSES):
            raise PipelineError(f"its run has crashed {lost + 1} times: {reason}")
        get_run_logger().warning("%s: its run has crashed (%s). Trying again", wanted, reason)
        time.sleep(PAUSES[lost])
        lost += 1


def final_state(run: UUID) -> State[Any]:
    """Wait until a run is over; returns the state that it ends in."""
    with get_client(sync_client=True) as client:
        while not (state := client.read_flow_run(run).state) or not state.is_final():
            time.sleep(POLL_SECONDS)
    return state


backfill = flow(
    name="backfill",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=MOST_WAITED_FOR),  # type: ignore[arg-type]
    on_failure=[alert],
    on_crashed=[alert],
)(land_what_is_missing)
