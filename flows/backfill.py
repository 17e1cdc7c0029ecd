"""The backfill: land many months on as many workers as there are, then build the models once.

python -m flows.backfill --months 2019-01..2020-12

Prefect's work pool distributes the months, so it needs a server and a worker: `make serve`.
"""

import re
from dataclasses import replace
from datetime import date

from prefect import flow, get_run_logger, task, unmapped
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.deployments import run_deployment
from prefect.task_runners import ThreadPoolTaskRunner

from flows import cli
from flows.build import TABLE_NAME, build, check_table_name
from flows.datasets import SOURCE, absolute
from flows.errors import RETRIES, PipelineError, TransientError, shorten
from flows.fetch import MAX_CSV_GIGABYTES
from flows.load import MAX_MALFORMED_SHARE, loaded_months
from flows.months import months_of, run_name, today
from flows.report import report
from flows.server.alerts import alert
from flows.summary import Summary, summarise
from flows.warehouse import ensure_warehouse

MOST_WAITED_FOR = 32  # months that are in the work pool at a time
POLL_SECONDS = 3


@flow(
    name="backfill",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=MOST_WAITED_FOR),
    on_failure=[alert],
    on_crashed=[alert],
)
def backfill(
    months: str,
    source: str = SOURCE,
    table_name: str = TABLE_NAME,
    force: bool = False,
    max_malformed_share: float = MAX_MALFORMED_SHARE,
    max_csv_gigabytes: float = MAX_CSV_GIGABYTES,
) -> Summary:
    """Land the months that are missing, each on a free worker, then build the models once.

    A month that fails does not stop the others: they are landed and built. The log and the
    artifact `failed-months` give the reason for each month that failed, and at the end the run
    fails and names them. Running it again does those.

    Args:
        months: The months to land, such as 2019-01..2020-12, or several ranges or months with
            blanks between them.
        source: URL or path of a CSV file, as each worker sees it, packed with gzip or not;
            {month} in it stands for the month. Or sample, which makes up small months.
        table_name: What the analysts' table of trips is called.
        force: Fetch and load the months that are there as well.
        max_malformed_share: The share of a file's lines that may be no rows, from 0 to 1.
        max_csv_gigabytes: How large a file may be when unpacked.

    Raises:
        PipelineError: a month has failed, or a model or a test.
    """
    check_table_name(table_name)
    asked = months_of(months, source, today())
    ensure_warehouse()
    there = set() if force else loaded_months()
    missing = [month for month in asked if month not in there]
    get_run_logger().info("%s of %s months are missing", len(missing), len(asked))
    parameters = {
        "source": absolute(source),
        "force": force,
        "max_malformed_share": max_malformed_share,
        "max_csv_gigabytes": max_csv_gigabytes,
    }
    runs = land_on_a_worker.map(missing, unmapped(parameters))
    runs.wait()
    failures = {
        f"{month:%Y-%m}": str(run.state.result(raise_on_failure=False))
        for month, run in zip(missing, runs, strict=True)
        if not run.state.is_completed()
    }
    if failures:
        report_failures(failures)
    built = build(table_name)
    summary = replace(summarise(asked, table_name, built), report=report(table_name))
    if failures:
        raise PipelineError(
            f"{len(failures)} of {len(asked)} months failed (the rest are loaded): "
            f"{shorten(' '.join(failures))}. The log has the reasons"
        )
    return summary


def report_failures(failures: dict[str, str]) -> None:
    """Give each month's reason, in the log and as an artifact."""
    for month, reason in failures.items():
        get_run_logger().error("%s: %s", month, reason)
    create_table_artifact(
        [{"month": month, "reason": reason} for month, reason in failures.items()],
        key="failed-months",
        description="Months that the backfill could not land",
    )


@task(
    name="land on a worker",
    task_run_name="land {month:%Y-%m} on a worker",
    cache_policy=NO_CACHE,
    **RETRIES,
)
def land_on_a_worker(month: date, parameters: dict[str, object]) -> None:
    """Have a free worker land a month, and wait for it.

    Raises:
        TransientError: the worker was lost before it had finished.
        PipelineError: the month can't be landed.
    """
    run = run_deployment(
        "land/land",
        parameters={"month": month.isoformat(), **parameters},
        flow_run_name=f"land {month:%Y-%m}",
        poll_interval=POLL_SECONDS,
    )
    reason = re.sub(r"^Flow run encountered an exception: \w+: ", "", run.state.message or "")
    if run.state.is_crashed():
        raise TransientError(f"its worker was lost. {reason}")
    if not run.state.is_completed():
        raise PipelineError(reason or run.state.name)


if __name__ == "__main__":
    cli.run(backfill, "flows.backfill")
