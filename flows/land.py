"""Land: a month's file, from where it is published to the raw table."""

import re
import time
from pathlib import Path

from prefect import flow

from flows.errors import without_secrets
from flows.parameters import DatasetName, Limits, Month
from flows.tlc.datasets import DATASETS, DEFAULT
from flows.tlc.download import fetch
from flows.tlc.source import Source
from flows.warehouse.connection import current_url, raw_assets
from flows.warehouse.load import Landed, load


@flow(name="land", flow_run_name="land {dataset} {month:%Y-%m}")
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
    file = fetch.with_options(refresh_cache=force)(url, max_gigabytes=limits.gigabytes)
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
    )
    return Landed(loaded, fetch_seconds)


def asset_of(url: str) -> str:
    """The key of a source's file as an asset in Prefect, which takes no special characters."""
    shown = without_secrets(url)
    shown = shown if "://" in shown else Path(shown).as_uri()
    return re.sub(r"[^\w:/.-]", "_", shown)[:500]
