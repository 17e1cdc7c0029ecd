"""What TLC publishes, and where the file of each month is."""

from datetime import date
from pathlib import Path

from flows.laptop.sample import sample_month
from flows.parameters import SAMPLE


def absolute(source: str) -> str:
    """A source that means the same from whatever folder it is read."""
    is_elsewhere = source == SAMPLE or "://" in source
    return source if is_elsewhere else str(Path(source).expanduser().resolve())


def locate(source: str, month: date) -> str:
    """The URL or path of a month's file; a sample month is written first."""
    if source == SAMPLE:
        return str(sample_month(month))
    return absolute(source).replace("{month}", f"{month:%Y-%m}")
