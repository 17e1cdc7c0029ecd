"""The sample: real trips of a few months, which come with the project (see samples/README.md)."""

from datetime import date
from pathlib import Path

from flows.errors import UsageError

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
        there_are = ", ".join(f"{there_is:%Y-%m}" for there_is in months)
        raise UsageError(
            f"There is no sample of {dataset} trips of {month:%Y-%m}: choose of {there_are}"
        )
    return FOLDER / f"{dataset}_tripdata_{month:%Y-%m}.csv.gz"
