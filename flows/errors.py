"""Failures that a person can act on: one line each, in place of a traceback.

Nothing here imports Prefect when it is imported: the command line checks its words before that.
"""

import logging
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect import State, Task
    from prefect.client.schemas import TaskRun


class PipelineError(Exception):
    """What went wrong, where, and what to do about it, in one line.

    Raised for everything that is the input's or the surroundings' fault; any other exception
    that leaves a flow is a bug, and keeps its traceback.
    """


class UsageError(PipelineError):
    """A parameter that can't be right, whatever the surroundings."""


class TransientError(PipelineError):
    """May pass by itself: the network broke off, or PostgreSQL is being restarted."""


def is_transient(task: "Task[..., Any]", _run: "TaskRun", state: "State[Any]") -> bool:
    """Whether a task's failure is worth a retry; a wrong URL or a bad header stays wrong.

    Prefect asks only where a retry is left, so this is also where a person learns of it.
    """
    from prefect import get_run_logger

    error = state.result(raise_on_failure=False)
    if not (isinstance(error, TransientError) or is_prefect_away(error)):
        return False
    get_run_logger().warning("%s: %s. Trying again soon", task.name, explain(error))
    return True


def is_prefect_away(error: object) -> bool:
    """Whether an error says that Prefect's server does not answer, or not yet.

    Our own requests never end in httpx's errors: `fetch` makes `PipelineError`s of them.
    """
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


def explain(error: object) -> str:
    """An error in one line, for people."""
    if is_prefect_away(error):
        return f"Prefect's server does not answer ({type(error).__name__})"
    return " ".join(str(error).split())


class Retries(TypedDict):
    """The options of Prefect's `task` about retries."""

    retries: int
    retry_delay_seconds: list[float]
    retry_jitter_factor: float
    retry_condition_fn: "Callable[[Task[..., Any], TaskRun, State[Any]], bool]"


# How every task is retried that a network or a server can make fail.
RETRIES = Retries(
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_jitter_factor=0.3,
    retry_condition_fn=is_transient,
)


def first_line(error: BaseException) -> str:
    """An error's first line: libpq and PostgreSQL add hints and context below it."""
    return str(error).strip().partition("\n")[0]


def without_secrets(source: str) -> str:
    """A URL as it may be shown and stored: no user and password, no signed query."""
    if "://" not in source:
        return source
    try:
        parts = urlsplit(source)
    except ValueError:  # such as a bracket without its twin
        return "the URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def shorten(text: str) -> str:
    """A user's text, fit for one of our lines: no secrets, and no more than 100 characters."""
    shown = " ".join(without_secrets(text).split())
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


def log_each_failure_once(record: logging.LogRecord) -> bool:
    """Keep a record of Prefect's engines, unless it repeats a failure; a filter for loggers.

    The engines log an exception with its traceback, and then once more in the state that the run
    ends in. Where the exception is a `PipelineError`, the state alone suffices.
    """
    error = record.exc_info[1] if record.exc_info else None
    is_dbt_node = type(error) is Exception and str(error).startswith("Node ")  # prefect-dbt's
    return not (isinstance(error, PipelineError) or is_dbt_node)


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(log_each_failure_once)
