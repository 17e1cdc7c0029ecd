"""Land: a month's file, from where it is published to the raw table."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from flows.alerts import alert
from flows.errors import ONLY_LOG, PipelineError, explain, without_secrets
from flows.parameters import DatasetName, Limits, Month
from flows.progress import reporting
from flows.tlc.datasets import DATASETS, DEFAULT, DatasetMonth
from flows.tlc.download import Silent, get_file
from flows.tlc.source import Source
from flows.warehouse.connection import Unreachable, current_url, raw_assets
from flows.warehouse.load import Landed, load


@flow(
    name="land",
    flow_run_name="land {dataset} {month:%Y-%m}",
    on_failure=[alert],
    on_crashed=[alert],
)
def land(
    month: Month,
    source: str | None = None,
    dataset: DatasetName = DEFAULT,
    force: bool = False,
    allow_fewer_rows: bool = False,
    limits: Limits = Limits(),
) -> Landed:
    """Get a month's file and load it into the raw table; the models are not built.

    Args:
        month: The month, as 2021-01 or as its first day.
        source: URL or path of a file, CSV (packed with gzip or not) or Parquet; or a folder or a
            pattern, whose files are a month's parts. `{month}` in it stands for the month, and
            `{dataset}` for the dataset. Or `sample`, for real trips of a few months that come with
            this project. Default: wherever the dataset's file of that month is.
        dataset: Which of TLC's datasets the month is of.
        force: Fetch and load the month even if the same content is there.
        allow_fewer_rows: Load the month even if it has less than half the rows of the one there.
        limits: What the file may be like.

    Raises:
        PipelineError: anything that is not a bug, in one line.
    """
    began = time.perf_counter()
    published, origin = DATASETS[dataset], Source(source)
    url = origin.locate(published, month)
    file = get_file(url, limits.gigabytes, force)
    fetch_seconds = time.perf_counter() - began
    load_as_assets = load.with_options(
        assets=raw_assets(current_url().database or "", published.raw_table),
        asset_deps=[asset_of(url)],
    )
    loaded = load_as_assets(
        file,
        published,
        month,
        force,
        limits,
        allow_fewer_rows,
        is_sample=origin.is_sample,
        sampled_one_in=origin.sampled_one_in(published, month),
    )
    return Landed(loaded, fetch_seconds)


def land_all(
    asked: Sequence[DatasetMonth],
    source: Source,
    force: bool,
    allow_fewer_rows: bool,
    limits: Limits,
) -> tuple[list[Landed], dict[str, Exception]]:
    """Land one month after the other; returns what is landed, and the failures by month.

    A month that fails does not stop the others, but a host that is silent is asked no more.

    Raises:
        Unreachable: the warehouse went away.
    """
    landed: list[Landed] = []
    failures: dict[str, Exception] = {}
    silent = Silent()
    for one in asked:
        url = source.locate(one.dataset, one.month)
        if silent.is_given_up(url):
            failures[str(one)] = PipelineError(f"not tried any more: {silent.refusal}")
            continue
        options = (source.given, one.dataset.name, force, allow_fewer_rows, limits)
        state = land(one.month, *options, return_state=True)
        outcome: Any = state.result(raise_on_failure=False)
        if state.is_completed():
            landed.append(outcome)
            silent.note(url)
            continue
        if isinstance(outcome, Unreachable):
            raise outcome
        failures[str(one)] = outcome
        silent.note(url, outcome)
        extra = ONLY_LOG if len(asked) == 1 else {}  # then the run ends with it
        get_run_logger().error("%s: %s", one, reason_of(outcome), extra=extra)
    if failures:
        save_failures(failures)
    return landed, failures


def save_failures(failures: dict[str, Exception]) -> None:
    """Show in Prefect's pages which months could not be landed, and why."""
    with reporting():
        create_table_artifact(
            [{"month": month, "reason": reason_of(error)} for month, error in failures.items()],
            key="failed-months",
            description="Months that could not be landed",
        )


def error_of(failures: dict[str, Exception], count: int) -> Exception:
    """What a run ends with that was asked for so many months, of which these have failed."""
    error, *others = failures.values()
    if count == 1:
        return error
    reasons = ". The log has the reasons" if others else f": {reason_of(error)}"
    return PipelineError(
        f"{len(failures)} of {count} months failed (the rest are loaded and built): "
        f"{', '.join(failures)}{reasons}"
    )


def reason_of(error: Exception) -> str:
    """Why a month could not be landed, in one line; a bug with the name of its class."""
    kind = "" if isinstance(error, PipelineError) else f"{type(error).__name__}: "
    return f"{kind}{explain(error)}"


def asset_of(url: str) -> str:
    """The key of a source's file as an asset in Prefect, which takes no special characters."""
    shown = without_secrets(url)
    shown = shown if "://" in shown else Path(shown).as_uri()
    return re.sub(r"[^\w:/.-]", "_", shown)[:500]
