"""Failures that a person can act on: one line each, in place of a traceback."""

import logging


class PipelineError(Exception):
    """What went wrong, where, and what to do about it, in one line.

    Raised for everything that is the input's or the surroundings' fault; any other exception
    that leaves a flow is a bug, and keeps its traceback.
    """


class _OneLine(logging.Filter):
    """Takes the traceback off a log record where it would tell a person nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        is_dbt_node = type(error) is Exception and str(error).startswith("Node ")  # prefect-dbt's
        if isinstance(error, PipelineError) or is_dbt_node:
            record.exc_info = None
        return True


# Prefect's engines log an exception of a run with these two loggers, and always with its traceback.
for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(_OneLine())
