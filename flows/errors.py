"""Failures that a person can act on: one line each, in place of a traceback.

Nothing here imports Prefect when it is imported: the command line checks its words before that.
"""

import logging
import re
import shutil
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TextIO, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect import State, Task
    from prefect.client.schemas import TaskRun

WHOLE_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}  # of `wrap`
ONLY_LOG = {"only_log": True}  # `extra` of a log line that a person at the terminal can do without


class PipelineError(Exception):
    """What went wrong, where, and what to do about it, in one line.

    Raised for everything that is the input's or the surroundings' fault; any other exception
    that leaves a flow is a bug, and keeps its traceback.
    """


class UsageError(PipelineError):
    """A parameter that can't be right, whatever the surroundings."""


class TransientError(PipelineError):
    """May pass by itself: the network broke off, or PostgreSQL is being restarted."""

    most_retries = 3


def is_transient(task: "Task[..., Any]", run: "TaskRun", state: "State[Any]") -> bool:
    """Whether a task's failure is worth a retry; a wrong URL or a bad header stays wrong.

    Prefect asks only where a retry is left, so this is also where a person learns of it: once,
    before the first pause that is long. The log has each of them.
    """
    from prefect import get_run_logger

    error = state.result(raise_on_failure=False)
    if isinstance(error, TransientError):
        if run.run_count > error.most_retries:
            return False
    elif not is_prefect_away(error):
        return False
    extra = {} if run.run_count == FIRST_LONG_PAUSE else ONLY_LOG
    get_run_logger().warning("%s: %s. Trying again soon", task.name, explain(error), extra=extra)
    return True


def is_prefect_away(error: object) -> bool:
    """Whether an error says that Prefect's server does not answer, or not yet.

    Our own requests never end in httpx's errors: `fetch` makes `PipelineError`s of them.
    """
    import httpx
    from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError

    if isinstance(error, ConcurrencySlotAcquisitionError):
        error = error.__cause__
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
FIRST_LONG_PAUSE = 2  # the second of them


def first_line(error: BaseException) -> str:
    """An error's first line: libpq and PostgreSQL add hints and context below it."""
    return str(error).strip().partition("\n")[0]


# A URL as people write it, in whatever way malformed; and what follows a question mark in one.
URL_SCHEME = re.compile(r"(?is)(\s*(?:[a-z][a-z0-9+.-]+:[/\\]+|https?:))?(.*)")
QUERY = re.compile(r"(?is)(?:[?#&;]|%3f)[^/=]*=.*")


def is_url(source: str) -> bool:
    """Whether a source is meant as a URL and not as a path, even if it is malformed."""
    return bool(URL_SCHEME.match(source)[1])  # type: ignore[index]  # it matches anything


def without_secrets(source: str) -> str:
    """A source as it may be shown and stored: no user, no password, no query.

    It need not be a valid URL: a password with `/`, `?`, `#` or `@` in it makes it none, and so
    does a slash too few. Where it is not clear what is the host and what a secret, neither is
    shown. A path stays as it is, unless it looks like a URL whose scheme was forgotten.
    """
    scheme, rest = URL_SCHEME.match(source).groups()  # type: ignore[union-attr]
    if not scheme:  # a path, or user:password@host/..., or host/...?key=value
        return QUERY.sub("", re.sub(r"(?s)^.*:.*@", "", rest))
    scheme = f"{scheme.strip().partition(':')[0].lower()}://"
    place, after = re.match(r"(?s)([^?#]*)(.*)", rest).groups()  # type: ignore[union-attr]
    host, slash, path = place.rpartition("@")[2].partition("/")
    is_host = re.fullmatch(r"(\[[\w:.]*\]|[\w.-]*)(:\d*)?", host)
    # An at sign after a question mark: a password with the mark in it, or a query with the sign.
    if "@" in after or not is_host:
        return f"{scheme}..."
    return QUERY.sub("", f"{scheme}{host}{slash}{path}")


def shorten(text: str) -> str:
    """A user's text, fit for one of our lines: no secrets, and no more than 100 characters."""
    shown = " ".join(without_secrets(text).split())
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


def fill(text: str, stream: TextIO) -> str:
    """A text without a break inside a word, where it is shown on a terminal.

    In a file, a line stays a line.
    """
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join("\n".join(wrap(line, width, **WHOLE_WORDS)) for line in text.split("\n"))


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
