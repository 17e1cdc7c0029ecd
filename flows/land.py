"""Land: a month's file, from where it is published to the raw table."""

import re
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from prefect import flow

from flows.datasets import SOURCE, locate
from flows.errors import without_secrets
from flows.fetch import MAX_CSV_GIGABYTES, fetch
from flows.load import MAX_MALFORMED_SHARE, Load, load
from flows.warehouse import current_url, raw_assets


@dataclass(frozen=True)
class Landed:
    """A month in the raw table, and what it took."""

    load: Load
    fetch_seconds: float


@flow(name="land", flow_run_name="land {month:%Y-%m}")
def land(
    month: date,
    source: str = SOURCE,
    force: bool = False,
    max_malformed_share: float = MAX_MALFORMED_SHARE,
    max_csv_gigabytes: float = MAX_CSV_GIGABYTES,
) -> Landed:
    """Get a month's file and load it into the raw table; the models are not built.

    Args:
        month: The first day of the month.
        source: URL or path of a file, CSV (packed with gzip or not) or Parquet; `{month}` in
            it stands for the month. `sample` makes up a small month.
        force: Fetch and load the month even if the same content is there.
        max_malformed_share: The share of lines that may be no rows, from 0 to 1.
        max_csv_gigabytes: How large the file may be when unpacked.

    Raises:
        PipelineError: anything that is not a bug, in one line.
    """
    began = time.perf_counter()
    url = locate(source, month)
    file = fetch.with_options(refresh_cache=force)(url, max_csv_gigabytes=max_csv_gigabytes)
    fetch_seconds = time.perf_counter() - began
    load_as_assets = load.with_options(
        assets=raw_assets(current_url().database), asset_deps=[asset_of(url)]
    )
    loaded = load_as_assets(file, month, force, max_malformed_share)
    return Landed(loaded, fetch_seconds)


def asset_of(url: str) -> str:
    """The key of a source's file as an asset in Prefect, which takes no special characters."""
    shown = without_secrets(url)
    shown = shown if "://" in shown else Path(shown).as_uri()
    return re.sub(r"[^\w:/.-]", "_", shown)[:500]
