"""What TLC publishes, and where the file of each month is."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from flows.formats import COLUMNS
from flows.laptop.sample import sample_month
from flows.parameters import SAMPLE


@dataclass(frozen=True)
class Dataset:
    name: str
    columns: tuple[str, ...]


DATASETS = {"yellow": Dataset("yellow", COLUMNS)}


def absolute(source: str) -> str:
    """A source that means the same from whatever folder it is read."""
    is_elsewhere = source == SAMPLE or "://" in source
    return source if is_elsewhere else str(Path(source).expanduser().resolve())


def locate(source: str, month: date) -> str:
    """The URL or path of a month's file; a sample month is written first."""
    if source == SAMPLE:
        return str(sample_month(month))
    return absolute(source).replace("{month}", f"{month:%Y-%m}")
