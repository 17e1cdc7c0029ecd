"""Failures that a person can act on: one line each, in place of a traceback."""

import logging


class PipelineError(Exception):
    """What went wrong, where, and what to do about it, in one line.

    Raised for everything that is the input's or the surroundings' fault; any other exception
    that leaves a flow is a bug, and keeps its traceback.
    """


class _OneLine(logging.Filter):
    """Takes the traceback off a log record that reports a `PipelineError`."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], PipelineError):
            record.exc_info = None
        return True


# Prefect's engines log an exception of a run with these two loggers, and always with its traceback.
for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(_OneLine())
