"""prefect-dbt's runner, as this project uses it: what it does well, without what it does not."""

import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunnerResult
from dbt.contracts.graph.manifest import ManifestNode
from dbt_common.events.base_types import EventLevel
from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings
from prefect_dbt.core._tracker import NodeTaskTracker

from flows.settings import ROOT

FOLDER = ROOT / "data"


class Runner(PrefectDbtRunner):
    """Makes a task of each node without reading all of Prefect's settings anew for it.

    In a thread of the same process they are there anyway. Reading them takes 0.2 s of CPU for
    each node, which was half of a build's time.
    """

    def invoke(self, args: list[str], **kwargs: Any) -> dbtRunnerResult:
        """Run a dbt command, without prefect-dbt's own lines about its nodes."""
        with without_loose_lines():
            return super().invoke(args, **kwargs)

    def _call_task(
        self,
        task_state: NodeTaskTracker,
        manifest_node: ManifestNode,
        context: dict[str, Any],
        enable_assets: bool,
    ) -> None:
        context = context | {"settings_context": None}
        super()._call_task(task_state, manifest_node, context, enable_assets)


@contextmanager
def dbt_runner(project: Path, target: Path) -> Iterator[PrefectDbtRunner]:
    """Yield a runner for a project; when the block is left, the tasks of its nodes have ended."""
    settings = PrefectDbtSettings(
        project_dir=project,
        profiles_dir=project,
        target_path=target,
        log_level=EventLevel.WARN,  # Prefect's tasks tell of the rest
    )
    with parsed_before(target), waiting_for_node_tasks():
        yield Runner(settings=settings, raise_on_failure=False)


@contextmanager
def parsed_before(target: Path) -> Iterator[None]:
    """Let dbt parse only what has changed since the last run: 3 s less.

    dbt looks for what it has parsed in its target folder, which here is a new one each time, and
    finds out itself whether that is still good for anything.
    """
    name = "partial_parse.msgpack"
    kept, used = FOLDER / name, target / name
    if kept.exists():
        shutil.copy(kept, used)
    yield
    if used.exists():
        FOLDER.mkdir(exist_ok=True)
        unfinished = FOLDER / f"{name}.{os.getpid()}"
        shutil.copy(used, unfinished)
        unfinished.replace(kept)


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


@contextmanager
def without_loose_lines() -> Iterator[None]:
    """Keep dbt's own lines about its nodes out of the log: `build` says each once, with its name.

    prefect-dbt logs them under a task called None, and leaves Prefect's logger at their level.
    """
    logger = logging.getLogger("prefect.task_runs")
    level = logger.level

    def is_of_a_task(record: logging.LogRecord) -> bool:
        return getattr(record, "task_run_name", "") is not None

    logger.addFilter(is_of_a_task)
    try:
        yield
    finally:
        logger.removeFilter(is_of_a_task)
        logger.setLevel(level)
