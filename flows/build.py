"""Build: `dbt build`, each model and each test as a task of its own in Prefect."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from flows.alerts import alert
from flows.errors import RETRIES, PipelineError, TransientError
from flows.models.state import relations
from flows.parameters import TABLE_NAME, TableName
from flows.progress import ONLY_LOG
from flows.settings import PROJECT, ROOT
from flows.tlc.datasets import DATASETS, raw_in_dbt
from flows.warehouse.connection import (
    PASSING,
    connect,
    current_url,
    warehouse_in_environment,
)

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult

    Dbt = Callable[..., list[NodeResult]]

TARGETS = ROOT / "data" / "dbt"  # what dbt compiles, in a folder for each database
LONGEST_MESSAGE = 500  # characters of what dbt says of one node
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
def build(table_name: TableName = TABLE_NAME, full_refresh: bool = False) -> Build:
    """Build and test the models of the months that were loaded since they were last built.

    Args:
        table_name: The name of the analysts' table of yellow-taxi trips.
        full_refresh: Build the models of all months, not only of those that have changed.

    Raises:
        PipelineError: a model or a test has failed; the message names it.
    """
    began = time.perf_counter()
    nodes = dbt_build(table_name, full_refresh)
    check_freshness()
    models = sum(node.node.resource_type in ("model", "seed") for node in nodes)
    built = Build(models, len(nodes) - models, time.perf_counter() - began)
    get_run_logger().info(
        "%s models are up to date, %s tests passed, %.1f s", models, built.tests, built.seconds
    )
    return built


def build_if_needed(table_name: str, full_refresh: bool = False) -> Build:
    """Build the models, unless they are built of these months with this project already.

    Raises:
        PipelineError: a model or a test has failed; the message names it.
    """
    began = time.perf_counter()
    if full_refresh or not is_up_to_date(table_name):
        return build(table_name, full_refresh)
    check_freshness()
    get_run_logger().info("The models are up to date, nothing to build")
    return Build(0, 0, time.perf_counter() - began)


def is_up_to_date(table_name: str) -> bool:
    """Whether a build would change nothing: the months, the project and the tables are the same.

    Then dbt is not even imported.
    """
    with connect() as connection:
        if not connection.exec_driver_sql(
            "select to_regclass('staging.built_projects') is not null"
        ).scalar():
            return False
        return bool(
            connection.exec_driver_sql(
                """
                select
                    exists (
                        select from staging.built_projects
                        where trips_table = %(table)s and project = %(project)s
                    )
                    and not exists (
                        select
                        from (
                            select dataset, source_month, max(load_id) as load_id
                            from raw.loads group by dataset, source_month
                        ) as loaded
                        full join (
                            select * from staging.built_months
                            where relation = any(%(trips)s)
                        ) as built using (dataset, source_month)
                        where loaded.load_id is distinct from built.load_id or not built.is_tested
                    )
                    and (
                        select bool_and(to_regclass(name) is not null)
                        from unnest(%(relations)s) as name
                    )
                """,
                {
                    "table": table_name,
                    "project": fingerprint(),
                    "relations": relations(table_name),
                    "trips": [
                        f"public.{one.table_called(table_name)}" for one in DATASETS.values()
                    ],
                },
            ).scalar()
        )


def remember_build(table_name: str, project: str) -> None:
    """Let later builds know with which project all models have been built and tested."""
    with connect() as connection, connection.begin():
        connection.exec_driver_sql(
            "insert into staging.built_projects (trips_table, project) values (%s, %s)"
            " on conflict (trips_table) do update set project = excluded.project",
            (table_name, project),
        )


def fingerprint() -> str:
    """A hash of dbt's project: of all files that dbt reads."""
    digest = hashlib.sha256()
    patterns = ("*.yml", "*/**/*.sql", "*/**/*.yml", "*/**/*.md", "seeds/*.csv")
    outputs = (PROJECT / "target", PROJECT / "logs")
    for path in sorted({path for pattern in patterns for path in PROJECT.glob(pattern)}):
        if not any(path.is_relative_to(output) for output in outputs):
            digest.update(f"{path.relative_to(PROJECT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


@task(name="dbt build", task_run_name="dbt build", cache_policy=NO_CACHE, **RETRIES)
def dbt_build(table_name: str, full_refresh: bool) -> "list[NodeResult]":
    """Run `dbt build`; a warning is logged, a failure raised.

    Not `dbt retry` where it is tried again: months that are built are not built twice anyway.

    Raises:
        TransientError: PostgreSQL went away, or another session kept a table locked.
        PipelineError: a model or a test has failed; the message names it.
    """
    project = fingerprint()  # before dbt reads it: an edit meanwhile is for the next build
    with dbt_on(current_url(), table_name) as dbt:
        # Unit tests are of the SQL, not of the months: `make test` and dbt alone run them.
        words = ("--exclude-resource-type", "unit_test", *["--full-refresh"] * full_refresh)
        nodes = dbt("build", *words)
    for node in nodes:
        if node.status == "warn":
            get_run_logger().warning(explain_node(node))
    failures = [explain_node(node) for node in nodes if node.status in FAILED]
    if failures:
        raise failure(f"dbt build: {'; '.join(failures)}")
    remember_build(table_name, project)
    return nodes


@task(name="freshness", task_run_name="freshness", cache_policy=NO_CACHE, **RETRIES)
def check_freshness() -> None:
    """Log how old the newest month is; as a warning, if `dbt source freshness` would warn."""
    warn_after = raw_in_dbt()["config"]["freshness"]["warn_after"]
    longest = timedelta(**{f"{warn_after['period']}s": warn_after["count"]})
    with connect() as connection:
        if connection.exec_driver_sql("select to_regclass('raw.loads')").scalar() is None:
            return
        newest, loaded_at = connection.exec_driver_sql(
            "select max(source_month), max(finished_at) from raw.loads"
        ).one()
    if newest is None:
        return
    days, age = (datetime.now(UTC).date() - newest).days, datetime.now(UTC) - loaded_at
    is_stale = age > longest
    get_run_logger().log(
        logging.WARNING if is_stale else logging.INFO,
        "freshness: the newest month is %s, which began %s days ago; the last load was %s ago%s",
        f"{newest:%Y-%m}",
        f"{days:,}",
        timedelta(seconds=round(age.total_seconds())),
        ", and that is too long" if is_stale else "",
        extra={} if is_stale else ONLY_LOG,
    )


@contextmanager
def dbt_on(warehouse: URL, table_name: str) -> Iterator["Dbt"]:
    """Yield dbt as a function of a command's words, which returns its nodes' results.

    One run at a time has it: they share the target folder, in which dbt finds what it parsed
    before, and a person the SQL that failed.
    """
    # Not at the top: importing dbt takes a second, and the first download need not wait for it.
    from flows.models.runner import dbt_runner

    variables = json.dumps({"trips_table": table_name})
    with one_build_at_a_time(), warehouse_in_environment(warehouse):
        target = TARGETS / str(warehouse.database)
        runner, parsed = dbt_runner(PROJECT, target), target / "partial_parse.msgpack"

        def dbt(*words: str) -> "list[NodeResult]":
            command = [*words, "--no-use-colors", "--vars", variables]
            try:
                try:
                    result = runner.invoke(command)
                except ValueError as error:
                    # Perhaps it was misled by what it parsed before, of other files.
                    if is_passing(str(error)) or not parsed.exists():
                        raise
                    parsed.unlink()
                    result = runner.invoke(command)
            except ValueError as error:  # "Failed to invoke dbt command '…': why"
                _, _, why = str(error).partition("': ")
                raise failure(f"dbt {words[0]}: {in_one_line(why)}") from None
            return list(result.result.results)  # type: ignore[union-attr]

        yield dbt


@contextmanager
def one_build_at_a_time() -> Iterator[None]:
    """Wait until no other run builds in the warehouse."""
    with connect() as connection:
        if connection.exec_driver_sql("select to_regclass('raw.locks')").scalar() is None:
            yield  # dbt says that no month has been loaded yet
            return
        try:
            connection.exec_driver_sql("set local lock_timeout = '200ms'")
            connection.exec_driver_sql("select raw.take_turns('build')")
        except DBAPIError:
            connection.rollback()
            get_run_logger().info("Another run is building the models; waiting for it")
            connection.exec_driver_sql("select raw.take_turns('build')")
        try:
            yield
        finally:
            with suppress(DBAPIError):  # the server may be gone, and the lock with it
                connection.rollback()


def explain_node(node: "NodeResult") -> str:
    """What is wrong with a model or a test, in one line, and where its SQL is."""
    kind, name = str(node.node.resource_type), node.node.name
    compiled: str | None = getattr(node.node, "compiled_code", None)
    if kind != "test" or not node.failures or not compiled:  # a unit test shows the difference
        return f"{kind} {name}: {in_one_line(node.message)}"
    path = Path(getattr(node.node, "compiled_path", ""))
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    rows = "1 row" if node.failures == 1 else f"{node.failures:,} rows"
    return (
        f"test {name}: {rows} of {months_of_failing_rows(compiled)}. "
        f'See them with: make psql ARGS="-f {shown}"'
    )


def months_of_failing_rows(query: str) -> str:
    """The months of the rows that a test's query finds; all that are tested, if they have none."""
    months = "select distinct to_char(source_month, 'YYYY-MM') from"
    tested = "staging.built_months where not is_tested"
    for rows in (f"({query}) as failing", tested):
        with connect() as connection, suppress(DBAPIError):
            as_it_is = connection.execution_options(no_parameters=True)  # it may have a %
            found = as_it_is.exec_driver_sql(f"{months} {rows} order by 1")
            return ", ".join(found.scalars()) or "all months"
    return "the months that are tested"


def failure(message: str) -> PipelineError:
    """What dbt reports, as an error that is worth a retry if PostgreSQL was away or locked."""
    return TransientError(message) if is_passing(message) else PipelineError(message)


def is_passing(message: str) -> bool:
    """Whether a message is of a server that may be back in a moment."""
    return any(word in message for word in PASSING)


def in_one_line(text: str | None) -> str:
    """What dbt reports, without its line breaks, and without the whole query of an error."""
    line = " ".join((text or "").split())
    line, _, path = line.partition(" compiled code at ")
    message, _, _ = line.partition(" QUERY: ")
    where = f", compiled code at {path}" if path else ""
    return f"{message[:LONGEST_MESSAGE]}{'…' * (len(message) > LONGEST_MESSAGE)}{where}"
