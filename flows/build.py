"""Build: `dbt build`, each model and each test as a task of its own in Prefect."""

from flows import cli
from flows.parameters import TABLE_NAME, TableName


def build_models(table_name: TableName = TABLE_NAME, full_refresh: bool = False) -> "Build":
    """Build and test the models of the months that were loaded since they were last built.

    Args:
        table_name: The name of the analysts' table of yellow-taxi trips.
        full_refresh: Build the models of all months, not only of those that have changed.

    Raises:
        PipelineError: a model or a test has failed; the message names it.
    """
    began = time.perf_counter()
    if not runtime.flow_run.parent_flow_run_id:  # else that has seen to it
        prepare_warehouse()
    nodes = dbt_build(full_refresh)
    check_freshness()
    made = [node.node for node in nodes if node.node.resource_type in ("model", "seed")]
    # The tables of trips of other datasets are there, and empty.
    of_the_months = {None, *loaded_datasets()}
    models = sum(node.config.meta.get("dataset") in of_the_months for node in made)
    tests = sum(node.node.resource_type.value == "test" for node in nodes)
    built = Build(models, tests, time.perf_counter() - began)
    get_run_logger().info(
        "%s models built, %s tests passed, %.1f s", models, built.tests, built.seconds
    )
    return built


if __name__ == "__main__":  # here: to refuse a wrong word takes none of the imports below
    cli.run(build_models, reads_files=False)

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from jinja2 import Template
from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from sqlalchemy.exc import DBAPIError

from flows.alerts import alert, alert_of_stale_data
from flows.errors import ONLY_LOG, RETRIES, PipelineError, TransientError, first_line
from flows.models.failures import explain_node, failure
from flows.models.state import (
    Build,
    fingerprint,
    is_of_months_alone,
    is_up_to_date,
    remember_build,
    trips_table,
)
from flows.prepare import prepare_warehouse
from flows.tlc.datasets import DATASETS, raw_in_dbt
from flows.tlc.months import read_month
from flows.warehouse.archive import archived_months, land_again
from flows.warehouse.connection import connect, current_url
from flows.warehouse.load import loaded_datasets

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult

FAILED = ("error", "fail", "runtime error")
# All but views and seeds, which a new month does not change, and each test: also those that look at
# one of these.
WHAT_MONTHS_CHANGE = (
    *("--select", "resource_type:model", "resource_type:test"),
    *("--exclude", "config.materialized:replaced_view", "--indirect-selection", "empty"),
)

build = flow(
    name="build",
    flow_run_name="build {table_name}",
    on_failure=[alert],
    on_crashed=[alert],
)(build_models)


def build_if_needed(full_refresh: bool = False) -> Build:
    """Build the models, unless they are built of these months with this project already.

    Raises:
        PipelineError: a model or a test has failed; the message names it.
    """
    began = time.perf_counter()
    if not loaded_datasets():
        return Build(0, 0, time.perf_counter() - began)
    if full_refresh or not is_up_to_date():
        return build(trips_table(), full_refresh)
    check_freshness()
    get_run_logger().info("The models are up to date, nothing to build")
    return Build(0, 0, time.perf_counter() - began)


@task(name="dbt build", task_run_name="dbt build", cache_policy=NO_CACHE, **RETRIES)
def dbt_build(full_refresh: bool) -> "list[NodeResult]":
    """Run `dbt build`; a warning is logged, a failure raised.

    Archived months whose raw rows are needed are landed again first: all of them for a full
    refresh, and else those that dbt asks for. One that can't be landed stays as it was built, and
    the rest is built. Not `dbt retry` where it is tried again: months that are built are not built
    twice anyway.

    Raises:
        TransientError: PostgreSQL went away, or another session kept a table locked.
        PipelineError: a model or a test has failed, or an archived month can't be landed; the
            message names it.
    """
    # Not at the top: importing dbt takes a second, and the first download need not wait for it.
    from flows.models.runner import dbt_on

    project = fingerprint()  # before dbt reads it: an edit meanwhile is for the next build
    missing: dict[str, str] = {}
    with dbt_on(current_url()) as dbt:
        # Unit tests are of the SQL, not of the months: `make test` and dbt alone run them.
        words = ["--exclude-resource-type", "unit_test"]
        if full_refresh:
            words.append("--full-refresh")
            missing |= land_archived(f"{name} {month:%Y-%m}" for name, month in archived_months())
        elif is_of_months_alone():
            words += WHAT_MONTHS_CHANGE
        nodes = dbt("build", *words, left_out=missing)
        while needed := months_to_land(nodes) - missing.keys():
            missing |= land_archived(needed)
            nodes = dbt("build", *words, left_out=missing)
    for node in nodes:
        if node.status == "warn":
            get_run_logger().warning(explain_node(node))
    failures = [*missing.values()]
    failures += [
        # Only then does a model still ask for a month that it was told to leave out.
        f"{node.node.name} stays as it was: it gets other columns, and so needs all of its months"
        if months_to_land([node])
        else explain_node(node)
        for node in nodes
        if node.status in FAILED
    ]
    if failures:
        raise failure(f"dbt build: {'; '.join(failures)}")
    remember_build(project)
    return nodes


def months_to_land(nodes: "list[NodeResult]") -> set[str]:
    """The archived months without which models could not be built, as `yellow 2021-01`."""
    found = [
        re.search(r"((?:, )?\w+ \d{4}-\d\d)+(?=: archived, )", node.message or "") for node in nodes
    ]
    return {month for names in found if names for month in names[0].split(", ")}


def land_archived(months: Iterable[str]) -> dict[str, str]:
    """Land months again from the archive; returns why, of those that can't be."""
    missing = {}
    for one in sorted(months):
        name, _, month = one.partition(" ")
        try:
            land_again(DATASETS[name], read_month(month))
        except TransientError:
            raise
        except PipelineError as error:
            missing[one] = str(error)
    return missing


@task(name="freshness", task_run_name="freshness", cache_policy=NO_CACHE)
def check_freshness() -> None:
    """Log how old each dataset's data are; as a warning and an alert, where dbt would warn.

    It asks as dbt does, with the query and the limit of the sources' file, without importing dbt.
    A query that fails is a warning, and fails no run.
    """
    described = raw_in_dbt()
    freshness = described["config"]["freshness"]
    query = Template(described["config"]["loaded_at_query"])
    limit = timedelta(**{f"{freshness['warn_after']['period']}s": freshness["warn_after"]["count"]})
    try:
        with connect() as connection:
            months = connection.exec_driver_sql(
                "select dataset, max(source_month) from raw.loads group by dataset order by dataset"
            ).all()
            for name, newest in months:
                table = {"identifier": DATASETS[name].raw_table}
                given = {"this": table, "source_node": {"freshness": freshness}}
                as_of = connection.exec_driver_sql(query.render(given)).scalar_one()
                is_stale = datetime.now(UTC) - as_of > limit
                message = f"the newest month of {name} is {newest:%Y-%m}" + (
                    ", and the next ones are overdue: see what there is with "
                    f"make plan DATASET={name} MONTH=latest" * is_stale
                )
                if is_stale:
                    get_run_logger().warning("freshness: %s", message)
                    alert_of_stale_data(name, newest, message)
                else:
                    get_run_logger().info("freshness: %s", message, extra=ONLY_LOG)
    except (DBAPIError, PipelineError) as error:
        get_run_logger().warning("freshness can't be told: %s", first_line(error))
