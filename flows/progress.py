"""Progress: how far a job is, on the terminal and in Prefect's UI."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from flows.errors import explain

FLOWS = str(Path(__file__).parent)
SECONDS_BETWEEN_REPORTS = 1.0
REPORT_TIMEOUT = 5.0  # seconds that a finished job waits for Prefect to learn of it

logger = logging.getLogger("prefect.progress")
terminal = Console(stderr=True, highlight=False)


class Advance(Protocol):
    """Reports how far a job is."""

    def __call__(self, done: int, rows: int | None = None) -> None:
        """Take the bytes that are done so far, and the rows where they are counted."""


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Show how far a job of `total` bytes is: a bar on a terminal, an artifact in Prefect's UI.

    Prefect learns of it from a thread: a server that is slow or away does not hold up the job.
    """
    # Not at the top: `taxi status` and the completion take nothing of Prefect, which takes seconds.
    from prefect.artifacts import create_progress_artifact, update_progress_artifact

    share, is_over = 0.0, threading.Event()

    def report() -> None:
        with reporting():
            artifact: Any = create_progress_artifact(0.0, description=what)
            while not is_over.wait(SECONDS_BETWEEN_REPORTS):
                update_progress_artifact(artifact, share)
            update_progress_artifact(artifact, share)

    reporter = threading.Thread(target=copy_context().run, args=(report,), daemon=True)
    reporter.start()
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()),
        TextColumn("{task.fields[rows]}"),
    )
    try:
        with bars(*columns) as bar:
            job = bar.add_task(what, total=total or None, rows="")

            def advance(done: int, rows: int | None = None) -> None:
                nonlocal share
                bar.update(job, completed=done, rows="" if rows is None else f"{rows:,} rows")
                share = min(100.0, 100 * done / total) if total else 0.0

            yield advance
        share = 100.0
    finally:
        is_over.set()
        reporter.join(REPORT_TIMEOUT)


def bars(*columns: TextColumn | BarColumn | DownloadColumn | TransferSpeedColumn) -> Progress:
    """Progress bars on the terminal, if it is one; they leave no trace."""
    is_shown = terminal.is_terminal and not terminal.quiet
    return Progress(*columns, console=terminal, transient=True, disable=not is_shown)


@contextmanager
def reporting() -> Iterator[None]:
    """Go on, with a warning, if Prefect's server can't be reached.

    Reporting must never make a run fail.
    """
    try:
        yield
    except Exception as error:  # whatever it is
        logger.warning("Prefect can't be told how the run goes, which goes on: %s", explain(error))


def show_own_log() -> None:
    """Show on the terminal what this project logs, and nothing that Prefect logs about itself."""

    class OnTerminal(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
            # In a file, a line stays one; on a terminal none breaks inside a word.
            soft_wrap = not terminal.is_terminal
            terminal.print(f"{prefix}{record.getMessage()}", markup=False, soft_wrap=soft_wrap)

    def is_for_people(record: logging.LogRecord) -> bool:
        is_ours = record.pathname.startswith(FLOWS) and not hasattr(record, "only_log")
        return is_ours and not record.getMessage().startswith("{")  # an alert is for programs

    handler = OnTerminal(logging.INFO)
    handler.addFilter(is_for_people)
    logging.getLogger("prefect").addHandler(handler)


def megabytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e6:,.1f} MB"
