"""Progress: how far a job is, on the terminal and in Prefect's UI."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a job of `total` bytes is: a bar on a terminal, an artifact in Prefect's UI.

    Yields a function that takes the bytes done so far.
    """
    artifact = create_progress_artifact(0.0, description=what)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown = 0.0
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True) as bar:
        job = bar.add_task(what, total=total or None)

        def advance(done: int) -> None:
            nonlocal shown
            bar.update(job, completed=done)
            if total and time.monotonic() - shown > 1:  # an artifact costs a request
                shown = time.monotonic()
                update_progress_artifact(artifact, min(100.0, 100 * done / total))

        yield advance
    update_progress_artifact(artifact, 100.0)


def megabytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e6:,.1f} MB"
