"""The sample: real trips of a few months, which come with the project (see samples/README.md)."""

import csv
from datetime import date
from pathlib import Path

from flows.errors import UsageError
from flows.tlc.months import spans_of

FOLDER = Path(__file__).parent / "samples"


def sample_months(dataset: str) -> list[date]:
    """The months of a dataset of which there is a sample.

    Raises:
        UsageError: there is none.
    """
    stems = (path.name.partition(".")[0] for path in FOLDER.glob(f"{dataset}_tripdata_*.csv.gz"))
    months = sorted(date.fromisoformat(f"{stem[-7:]}-01") for stem in stems)
    if not months:
        raise UsageError(f"There is no sample of {dataset} trips")
    return months


def sample_file(dataset: str, month: date) -> Path:
    """The file with the sample of a month.

    Raises:
        UsageError: there is none.
    """
    months = sample_months(dataset)
    if month not in months:
        there_are = ", ".join(spans_of(months))
        raise UsageError(
            f"There is no sample of {dataset} trips of {month:%Y-%m}: choose from {there_are}"
        )
    return FOLDER / f"{dataset}_tripdata_{month:%Y-%m}.csv.gz"


def sampled_one_in(dataset: str, month: date) -> int | None:
    """How many trips of the month each trip of its sample stands for.

    None of a sample that was not drawn at random, of which nothing follows for its month.
    """
    with (FOLDER / "samples.csv").open(newline="") as lines:
        drawn = {(row["dataset"], row["month"]): row["one_in"] for row in csv.DictReader(lines)}
    return int(drawn.get((dataset, f"{month:%Y-%m}")) or 0) or None
