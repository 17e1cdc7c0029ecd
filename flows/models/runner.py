"""dbt on the warehouse: prefect-dbt's runner with three workarounds, and a line that counts nodes.

The workarounds rest on private parts of prefect-dbt, which is bound below 0.8 for that reason.
Each one has its cause beside it, and tests/test_build.py has a test that fails when prefect-dbt
no longer needs it.
"""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dbt_common.events.base_types import EventLevel
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.context import hydrated_context
from prefect.task_engine import run_task_sync
from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings  # type: ignore[import-untyped]
from prefect_dbt.core._tracker import NodeTaskTracker  # type: ignore[import-untyped]
from psycopg2.errors import LockNotAvailable
from rich.progress import BarColumn, TextColumn
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from flows.models.failures import failure, in_one_line, is_passing
from flows.models.state import trips_table
from flows.progress import bars
from flows.settings import DATA, PROJECT
from flows.warehouse.connection import connect, environment_of, in_environment

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult
    from dbt.cli.main import dbtRunnerResult
    from dbt_common.events.base_types import EventMsg
    from prefect import Task

    Dbt = Callable[..., list[NodeResult]]
    OnEvent = Callable[[EventMsg], None]

LEFT_OUT = "LEFT_OUT_MONTHS"  # what macros/months.sql reads
TARGETS = DATA / "dbt"  # what dbt compiles, in a folder for each database
# dbt reads the environment and has state of its own, of which a process has one: two threads that
# build, be it in two warehouses, take turns.
IN_THIS_PROCESS = threading.Lock()
WAITING = "Another run is building the models; waiting for it"
LONGEST_WAIT = 20  # seconds for the tasks of dbt's nodes to report to Prefect that they have ended
KINDS = {"model": "models", "seed": "models", "test": "tests", "unit_test": "tests"}


class Runner(PrefectDbtRunner):  # type: ignore[misc]
    """Runs dbt with a Prefect task for each node."""

    def invoke(self, args: list[str], **kwargs: Any) -> "dbtRunnerResult":
        """Run a dbt command; when it returns, the tasks of its nodes have ended."""
        self.context = copy_context()
        self.threads: list[threading.Thread] = []
        with without_node_log_lines(), counted_nodes() as self.count:
            try:
                result: dbtRunnerResult = super().invoke(args, **kwargs)
            finally:
                # Not for ever: a node that dbt gave up, as when PostgreSQL has died, never ends.
                ends_at = time.monotonic() + LONGEST_WAIT
                for thread in self.threads:
                    thread.join(max(0, ends_at - time.monotonic()))
        return result

    def _create_unified_callback(self, *args: Any, **kwargs: Any) -> "OnEvent":
        """Count nodes as well: `invoke` has no parameter for a callback of one's own."""
        of_prefect: OnEvent = super()._create_unified_callback(*args, **kwargs)
        logger = get_run_logger()

        def on_event(event: "EventMsg") -> None:
            self.count(event)
            if event.info.name == "JinjaLogInfo":  # what is built again, and why
                logger.info(event.data.msg)
            of_prefect(event)

        return on_event

    def _call_task(self, tracker: NodeTaskTracker, *args: Any, **kwargs: Any) -> None:
        """Start a node's task in a thread of ours."""
        tracker.run_task_in_thread = partial(self._run_task_in_thread, tracker)
        super()._call_task(tracker, *args, **kwargs)

    def _run_task_in_thread(
        self,
        tracker: NodeTaskTracker,
        node_id: str,
        task: "Task[..., Any]",
        task_run_id: UUID,
        parameters: dict[str, Any],
        context: dict[str, Any],
    ) -> None:
        """Run a node's task with the flow's settings and its client, and remember the thread.

        Cause: prefect-dbt's own threads each read and validate all settings again, and make three
        clients, each of which reads the certificates of all authorities: half of a build's time.
        And it joins none of them, so the last states would be lost. It can go when they copy the
        context of the thread that calls `invoke`, and when that waits for them.
        """

        def run() -> None:
            own = context | {"settings_context": None}
            with hydrated_context(own, client=get_client(sync_client=True)):
                before = map(tracker.get_task_result, tracker.get_node_dependencies(node_id))
                state = run_task_sync(
                    task,
                    task_run_id=task_run_id,
                    parameters=parameters,
                    wait_for=[state for state in before if state],
                    return_type="state",
                )
                tracker.set_task_result(node_id, state)

        thread = threading.Thread(target=self.context.copy().run, args=[run], daemon=True)
        self.threads.append(thread)
        thread.start()


@contextmanager
def dbt_on(warehouse: URL) -> Iterator["Dbt"]:
    """Yield dbt as a function of a command's words; it returns its nodes' results.

    `left_out` are months, as `yellow 2021-01`, that stay as they were (macros/months.sql).

    One run at a time has it: they share the target folder, in which dbt finds what it parsed
    before, and a person the SQL that failed.
    """
    variables = json.dumps({"trips_table": trips_table()})
    with one_thread_at_a_time(), one_build_at_a_time(), in_environment(environment_of(warehouse)):
        target = TARGETS / str(warehouse.database)
        settings = PrefectDbtSettings(
            project_dir=PROJECT,
            profiles_dir=PROJECT,
            target_path=target,
            log_level=EventLevel.WARN,  # Prefect's tasks show the rest
        )
        runner = Runner(settings=settings, raise_on_failure=False)
        parsed = target / "partial_parse.msgpack"

        def dbt(*words: str, left_out: Iterable[str] = ()) -> "list[NodeResult]":
            log = ("--log-path", str(target), "--no-use-colors")
            command = [*words, *log, "--partial-parse", "--vars", variables]
            try:
                # No variable of dbt's: with another one it would parse the whole project again.
                with in_environment({LEFT_OUT: ",".join(left_out)}):
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
def one_thread_at_a_time() -> Iterator[None]:
    """Wait until no other thread of this process runs dbt."""
    if not IN_THIS_PROCESS.acquire(blocking=False):
        get_run_logger().info(WAITING)
        IN_THIS_PROCESS.acquire()
    try:
        yield
    finally:
        IN_THIS_PROCESS.release()


@contextmanager
def one_build_at_a_time() -> Iterator[None]:
    """Wait until no other run builds in the warehouse."""
    with connect() as connection:
        if connection.exec_driver_sql("select to_regclass('raw.locks')").scalar() is None:
            yield  # dbt says that no month has been loaded yet
            return
        for patience in chain(["200ms"], repeat("1min")):
            try:
                connection.exec_driver_sql(f"set local lock_timeout = '{patience}'")
                connection.exec_driver_sql("select raw.take_turns('build')")
                break
            except DBAPIError as error:
                if not isinstance(error.orig, LockNotAvailable):
                    raise
                connection.rollback()
                holder = connection.exec_driver_sql("select raw.whose_turn()").scalar()
                get_run_logger().info("%s: %s", WAITING, holder)
        try:
            yield
        finally:
            with suppress(DBAPIError):  # the server may be gone, and the lock with it
                connection.rollback()


@contextmanager
def counted_nodes() -> Iterator["OnEvent"]:
    """Show on the terminal how many models and tests are done; yields a callback for events."""
    done: Counter[str] = Counter()
    with bars(TextColumn("dbt"), BarColumn(), TextColumn("{task.description}")) as bar:
        job = bar.add_task("reading the project", total=None)

        def on_event(event: "EventMsg") -> None:
            if event.info.name == "LogStartLine":
                bar.update(job, total=event.data.total)
            elif event.info.name == "NodeFinished":
                kind = event.data.node_info.resource_type
                done[KINDS.get(kind, "others")] += 1
                shown = f"{done['models']} models, {done['tests']} tests"
                bar.update(job, completed=done.total(), description=shown)

        yield on_event


@contextmanager
def without_node_log_lines() -> Iterator[None]:
    """Keep dbt's own lines about its nodes out of the log: `build` logs each failure, with a name.

    Cause: prefect-dbt logs them for a task run called None, since nothing tells its tracker the
    names, and leaves Prefect's logger for all task runs at their level. It can go when the lines
    have the names of their task runs and the level is the tracker's own.
    """
    logger = logging.getLogger("prefect.task_runs")
    level = logger.level

    def has_task_run(record: logging.LogRecord) -> bool:
        return getattr(record, "task_run_name", "") is not None

    logger.addFilter(has_task_run)
    try:
        yield
    finally:
        logger.removeFilter(has_task_run)
        logger.setLevel(level)
