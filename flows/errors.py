"""Failures that a person can act on: one line each, in place of a traceback."""

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:  # importing Prefect takes seconds, and `make psql` needs none of it
    from prefect.client.schemas import TaskRun
    from prefect.states import State
    from prefect.tasks import Task


class PipelineError(Exception):
    """What went wrong, where, and what to do about it, in one line.

    Raised for everything that is the input's or the surroundings' fault; any other exception
    that leaves a flow is a bug, and keeps its traceback.
    """


class UsageError(PipelineError):
    """A parameter that can't be right, whatever the surroundings."""


class TransientError(PipelineError):
    """May pass by itself: the network broke off, or PostgreSQL is being restarted."""


def is_transient(_task: "Task", _run: "TaskRun", state: "State") -> bool:
    """Whether a task's failure is worth a retry; a wrong URL or a bad header stays wrong."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


# How every task is retried that a network or a server can make fail.
RETRIES = {
    "retries": 3,
    "retry_delay_seconds": [2, 10, 30],
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": is_transient,
}


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
    """Somebody's text, fit for a line of ours: no secrets, and no more than 100 characters."""
    shown = " ".join(without_secrets(text).split())
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


def say_each_failure_once(record: logging.LogRecord) -> bool:
    """Keep a record of Prefect's engines, unless it repeats a failure; a filter for loggers.

    The engines log an exception with its traceback, and then once more in the state that the run
    ends in. Where the exception is a `PipelineError`, the state says it all.
    """
    error = record.exc_info[1] if record.exc_info else None
    is_dbt_node = type(error) is Exception and str(error).startswith("Node ")  # prefect-dbt's
    return not (isinstance(error, PipelineError) or is_dbt_node)


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(say_each_failure_once)
