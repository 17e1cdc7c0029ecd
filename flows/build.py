"""Build: `dbt build`, each model and each test as a task of its own in Prefect."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from flows.errors import RETRIES, PipelineError, TransientError, UsageError, shorten
from flows.load import loaded_months
from flows.server.alerts import alert
from flows.settings import ROOT
from flows.warehouse import PASSING, connect, current_url, warehouse_in_environment

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult

    Dbt = Callable[..., list[NodeResult]]

PROJECT = ROOT / "dbt_project"
TABLE_NAME = "yellow_taxi_trips"
FAILED = ("error", "fail", "runtime error")


@dataclass(frozen=True)
class Build:
    """What a build did."""

    models: int
    tests: int
    seconds: float


@flow(
    name="build",
    flow_run_name="build {table_name}",
    on_failure=[alert],
    on_crashed=[alert],
)
def build(table_name: str = TABLE_NAME, full_refresh: bool = False) -> Build:
    """Build and test the models of the months that were loaded since they were last built.

    Args:
        table_name: What the analysts' table of trips is called.
        full_refresh: Build the models of all months, not only of those that have changed.

    Raises:
        PipelineError: a model or a test has failed; the message names it.
    """
    check_table_name(table_name)
    began = time.perf_counter()
    with dbt_on(current_url(), table_name) as dbt:
        nodes = dbt_build(dbt, full_refresh)
        check_freshness(dbt)
    models = sum(node.node.resource_type in ("model", "seed") for node in nodes)
    return Build(models, len(nodes) - models, time.perf_counter() - began)


def warn_if_stale() -> None:
    """Say how old the newest month is, where there is nothing to build."""
    if loaded_months("yellow"):
        with dbt_on(current_url(), TABLE_NAME) as dbt:
            check_freshness(dbt)


def check_table_name(table_name: str) -> None:
    """Raise a `UsageError` if a table can't be called so without quotes, or another one is."""
    models = {
        path.stem
        for pattern in ("models/**/*.sql", "seeds/*.csv")
        for path in PROJECT.glob(pattern)
    }
    taken = models - {TABLE_NAME}
    is_plain = re.fullmatch(r"(?!pg_)[a-z_][a-z0-9_]{0,62}", table_name)
    if not is_plain or table_name in taken | RESERVED_WORDS:
        raise UsageError(
            f"{shorten(table_name)!r} can't be the trips' table: use up to 63 lower-case letters, "
            "digits and underscores, no word of SQL's and no other model's name"
        )


@task(name="dbt build", task_run_name="dbt build", cache_policy=NO_CACHE, **RETRIES)
def dbt_build(dbt: "Dbt", full_refresh: bool) -> "list[NodeResult]":
    """Run `dbt build`; a warning is logged, a failure raised.

    Not `dbt retry` where it is tried again: months that are built are not built anew anyway.

    Raises:
        TransientError: PostgreSQL went away, or somebody kept a table locked.
        PipelineError: a model or a test has failed; the message names it.
    """
    with one_build_at_a_time():
        nodes = dbt("build", *["--full-refresh"] * full_refresh)
    for node in nodes:
        if node.status == "warn":
            get_run_logger().warning("%s: %s", node.node.name, in_one_line(node.message))
    failures = [
        f"{node.node.resource_type} {node.node.name}: {in_one_line(node.message)}"
        for node in nodes
        if node.status in FAILED
    ]
    if failures:
        raise failure(f"dbt build: {'; '.join(failures)}")
    return nodes


@task(name="freshness", task_run_name="freshness", cache_policy=NO_CACHE)
def check_freshness(dbt: "Dbt") -> None:
    """Run `dbt source freshness`, and say how old the newest month is; as a warning if stale."""
    is_stale = any(node.status in ("warn", "error") for node in dbt("source", "freshness"))
    with connect() as connection:
        newest, loaded_at = connection.exec_driver_sql(
            "select max(source_month), max(finished_at) from raw.loads"
        ).one()
    days = (datetime.now(UTC).date() - newest).days
    get_run_logger().log(
        logging.WARNING if is_stale else logging.INFO,
        "freshness: the newest month is %s, which began %s days ago; the last load was %s ago%s",
        f"{newest:%Y-%m}",
        f"{days:,}",
        timedelta(seconds=round((datetime.now(UTC) - loaded_at).total_seconds())),
        ", and that is too long" if is_stale else "",
    )


@contextmanager
def one_build_at_a_time() -> Iterator[None]:
    """Wait until no other run builds in the warehouse."""
    with connect() as connection:
        lock = "(hashtext('dbt build'))"
        if not connection.exec_driver_sql(f"select pg_try_advisory_lock{lock}").scalar_one():
            get_run_logger().info("Another run is building the models; waiting for it")
            connection.exec_driver_sql(f"select pg_advisory_lock{lock}")
        connection.commit()
        yield


@contextmanager
def dbt_on(warehouse: URL, table_name: str) -> Iterator["Dbt"]:
    """Yield dbt as a function of a command's words, which returns its nodes' results.

    A target folder of its own keeps builds that run at the same time apart.
    """
    # Not at the top: importing dbt takes a second, and the first download need not wait for it.
    from flows.dbt_runner import dbt_runner

    variables = json.dumps({"trips_table": table_name})
    with (
        TemporaryDirectory(prefix="dbt-target-") as target,
        warehouse_in_environment(warehouse),
        dbt_runner(PROJECT, Path(target)) as runner,
    ):

        def dbt(*words: str) -> "list[NodeResult]":
            try:
                result = runner.invoke([*words, "--no-use-colors", "--vars", variables])
            except ValueError as error:  # "Failed to invoke dbt command '…': why"
                _, _, why = str(error).partition("': ")
                raise failure(f"dbt {words[0]}: {in_one_line(why)}") from None
            return list(result.result.results)

        yield dbt


def failure(said: str) -> PipelineError:
    """What dbt said, as an error that is worth a retry if PostgreSQL was away or locked."""
    return TransientError(said) if any(word in said for word in PASSING) else PipelineError(said)


def in_one_line(text: str) -> str:
    """What dbt says, without its line breaks and the paths of a folder that will be gone."""
    return " ".join(re.sub(r"compiled code at \S+", "", text or "").split())
