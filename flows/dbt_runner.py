"""prefect-dbt's runner with three workarounds, and a line on the terminal that counts its nodes.

The workarounds rest on private parts of prefect-dbt, which is bound below 0.8 for that reason.
Each one has its cause beside it, and tests/test_build.py has a test that fails when prefect-dbt
no longer needs it.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt_common.events.base_types import EventLevel
from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings  # type: ignore[import-untyped]
from rich.progress import BarColumn, TextColumn

from flows.progress import bars

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt_common.events.base_types import EventMsg

    OnEvent = Callable[[EventMsg], None]

KINDS = {"model": "models", "seed": "models", "test": "tests", "unit_test": "tests"}


class Runner(PrefectDbtRunner):  # type: ignore[misc]
    """Runs dbt with a Prefect task for each node."""

    def invoke(self, args: list[str], **kwargs: Any) -> "dbtRunnerResult":
        """Run a dbt command; when it returns, the tasks of its nodes have ended."""
        with without_node_log_lines(), waiting_for_node_tasks(), counted_nodes() as self.count:
            result: dbtRunnerResult = super().invoke(args, **kwargs)
        return result

    def _create_unified_callback(self, *args: Any, **kwargs: Any) -> "OnEvent":
        """Count nodes as well: `invoke` has no parameter for a callback of one's own."""
        of_prefect: OnEvent = super()._create_unified_callback(*args, **kwargs)

        def on_event(event: "EventMsg") -> None:
            self.count(event)
            of_prefect(event)

        return on_event

    def _call_task(self, *args: Any, **kwargs: Any) -> None:
        """Start a node's task without reading all of Prefect's settings again.

        Cause: the thread of each task enters `hydrated_context`, which validates the settings
        that are in force anyway. That is 0.2 s of CPU per node, half of a build's time. It can go
        when prefect-dbt's threads copy the context of the thread that starts them.
        """
        task_state, node, context, enable_assets = args
        super()._call_task(
            task_state, node, context | {"settings_context": None}, enable_assets, **kwargs
        )


def dbt_runner(project: Path, target: Path) -> Runner:
    """A runner for a project, which writes what it compiles into `target`."""
    settings = PrefectDbtSettings(
        project_dir=project,
        profiles_dir=project,
        target_path=target,
        log_level=EventLevel.WARN,  # Prefect's tasks show the rest
    )
    return Runner(settings=settings, raise_on_failure=False)


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
def waiting_for_node_tasks() -> Iterator[None]:
    """Let the tasks of dbt's nodes end before the flow does.

    Cause: prefect-dbt runs each of them in a daemon thread (its function is `run_task`) and joins
    none, so the last states would be lost. It can go when `invoke` waits for them.
    """
    before = set(threading.enumerate())
    try:
        yield
    finally:
        for thread in set(threading.enumerate()) - before:
            if thread.name.endswith("(run_task)"):
                thread.join(timeout=60)


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
