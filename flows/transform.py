"""Transform: `dbt build`, each model and each test as a task of its own in Prefect."""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from dbt_common.events.base_types import EventLevel
from prefect import flow, get_run_logger
from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings
from sqlalchemy import URL

from flows.errors import PipelineError
from flows.warehouse import ROOT, connect

PROJECT = ROOT / "dbt_project"


@flow(name="transform", flow_run_name="transform {table_name}")
def transform(table_name: str = "yellow_taxi_trips", full_refresh: bool = False) -> None:
    """Build and test the models of the months that were loaded since they were last built.

    With `full_refresh`, of all months.

    Raises:
        PipelineError: a model or a test has failed; the message names it.
    """
    arguments = ["build", "--no-use-colors", "--vars", json.dumps({"trips_table": table_name})]
    if full_refresh:
        arguments.append("--full-refresh")
    # A target folder of its own keeps builds that run at the same time apart.
    with (
        TemporaryDirectory(prefix="dbt-target-") as target,
        one_build_at_a_time() as warehouse,
        warehouse_in_environment(warehouse),
        waiting_for_node_tasks(),
    ):
        runner = PrefectDbtRunner(
            settings=PrefectDbtSettings(
                project_dir=PROJECT,
                profiles_dir=PROJECT,
                target_path=target,
                log_level=EventLevel.WARN,  # Prefect's tasks tell of the rest
            )
        )
        try:
            runner.invoke(arguments)
        except ValueError as error:
            # "Failures detected during invocation of dbt command '…':", then the failures
            _, _, failures = str(error).partition("':")
            failures = re.sub(r"compiled code at \S+", "", failures)
            raise PipelineError(f"dbt build: {' '.join(failures.split())}") from None


@contextmanager
def one_build_at_a_time() -> Iterator[URL]:
    """Wait until no other run builds in the warehouse; yields where the warehouse is."""
    with connect() as connection:
        lock = "(hashtext('dbt build'))"
        if not connection.exec_driver_sql(f"select pg_try_advisory_lock{lock}").scalar_one():
            get_run_logger().info("Another run is building the models; waiting for it")
            connection.exec_driver_sql(f"select pg_advisory_lock{lock}")
        connection.commit()
        yield connection.engine.url


@contextmanager
def warehouse_in_environment(url: URL) -> Iterator[None]:
    """Point `dbt_project/profiles.yml`, which reads POSTGRES_*, to the warehouse."""
    values = {
        "POSTGRES_HOST": url.host,
        "POSTGRES_PORT": str(url.port or 5432),
        "POSTGRES_USER": url.username,
        "POSTGRES_PASSWORD": url.password,
        "POSTGRES_DB": url.database,
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def waiting_for_node_tasks() -> Iterator[None]:
    """Let the tasks of dbt's nodes end before the flow does.

    prefect-dbt runs each in a thread (its function is `run_task`) and waits for none of them:
    the last states would be lost.
    """
    before = set(threading.enumerate())
    try:
        yield
    finally:
        for thread in set(threading.enumerate()) - before:
            if thread.name.endswith("(run_task)"):
                thread.join(timeout=60)
