"""The backfill: land many months on as many workers as there are, then build the models once.

    python -m flows.backfill --months 2019-01..2020-12

Prefect's work pool hands the months out, so it needs a server and a worker: `make serve`.
"""

from flows import cli

if __name__ == "__main__":  # here, for what follows takes seconds to import
    cli.run("flows.backfill")

import re
from dataclasses import replace
from datetime import date

from prefect import flow, get_run_logger, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.deployments import run_deployment
from prefect.task_runners import ThreadPoolTaskRunner

from flows.build import build
from flows.datasets import absolute
from flows.errors import RETRIES, PipelineError, TransientError
from flows.laptop.postgres import ensure_warehouse
from flows.load import loaded_months
from flows.months import Months, months_of, run_name, today
from flows.parameters import SOURCE, TABLE_NAME, Limits, TableName
from flows.report import report
from flows.server.alerts import alert
from flows.summary import Summary, summarise

MOST_WAITED_FOR = 32  # months that are handed to the work pool at a time
POLL_SECONDS = 3


@flow(
    name="backfill",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=MOST_WAITED_FOR),
    on_failure=[alert],
    on_crashed=[alert],
)
def backfill(
    months: Months,
    source: str = SOURCE,
    table_name: TableName = TABLE_NAME,
    force: bool = False,
    limits: Limits = Limits(),
) -> Summary:
    """Land the months that are missing, shared out to the workers, then build the models once.

    A month that fails does not stop the others: they are landed and built, and at the end the
    run fails and says which are not there. Running it again does those.

    Args:
        months: The months to land, such as 2019-01..2020-12, or several ranges or months with
            blanks between them.
        source: URL or path of a CSV file, as each worker sees it, packed with gzip or not;
            {month} in it stands for the month. Or sample, which makes up small months.
        table_name: What the analysts' table of trips is called.
        force: Fetch and load also the months that are there.
        limits: What a file may be like.

    Raises:
        PipelineError: months are not there in the end, or a model or a test has failed.
    """
    asked = months_of(months, source, today())
    ensure_warehouse()
    there = set() if force else loaded_months()
    missing = [month for month in asked if month not in there]
    get_run_logger().info("%s of %s months are to be landed", len(missing), len(asked))
    parameters = {
        "source": absolute(source),
        "force": force,
        "limits": limits.model_dump(),
    }
    runs = land_on_a_worker.map(missing, unmapped(parameters))
    runs.wait()
    failures = [
        f"{month:%Y-%m}: {run.state.result(raise_on_failure=False)}"
        for month, run in zip(missing, runs, strict=True)
        if not run.state.is_completed()
    ]
    built = build(table_name)
    summary = replace(summarise(asked, table_name, built), report=report(table_name))
    if failures:
        raise PipelineError(
            f"{len(failures)} of {len(asked)} months are not there, the others are: "
            f"{'; '.join(failures)}"
        )
    return summary


@task(
    name="land on a worker",
    task_run_name="land {month:%Y-%m} on a worker",
    cache_policy=NO_CACHE,
    **RETRIES,
)
def land_on_a_worker(month: date, parameters: dict) -> None:
    """Have whichever worker is free land a month, and wait for it.

    Raises:
        TransientError: the worker was lost in the middle of it.
        PipelineError: the month can't be landed.
    """
    run = run_deployment(
        "land/land",
        parameters={"month": month.isoformat(), **parameters},
        flow_run_name=f"land {month:%Y-%m}",
        poll_interval=POLL_SECONDS,
    )
    said = re.sub(r"^Flow run encountered an exception: \w+: ", "", run.state.message or "")
    if run.state.is_crashed():
        raise TransientError(f"its worker was lost. {said}")
    if not run.state.is_completed():
        raise PipelineError(said or run.state.name)
