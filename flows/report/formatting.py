"""Months and numbers, as people write them."""

from datetime import date

import pandas as pd

from flows.tlc.months import month_after


def consecutive_ranges(months: list[date]) -> list[tuple[date, date]]:
    """The first and last month of each run of months, in order, without a gap."""
    runs: list[tuple[date, date]] = []
    for month in months:
        if runs and month_after(runs[-1][1]) == month:
            runs[-1] = (runs[-1][0], month)
        else:
            runs.append((month, month))
    return runs


def names_of(months: list[date]) -> str:
    """Months, such as `November 2020 to January 2021, March 2021`."""
    runs = [
        f"{first:%B %Y}" if first == last else f"{first:%B %Y} to {last:%B %Y}"
        for first, last in consecutive_ranges(months)
    ]
    return ", ".join(runs) or "no month yet"


def about_samples(rows: dict[str, int]) -> str:
    """What the sums of samples are not, by the months' names and numbers of rows; or nothing."""
    if not rows:
        return ""
    names = ", ".join(rows)
    sizes = [f"{size:,}" for size in sorted({min(rows.values()), max(rows.values())})]
    if len(rows) == 1:
        return f"{names} is a sample of {sizes[0]} trips: its sums are not the month's."
    return (
        f"{names} are samples of {' to '.join(sizes)} trips each: their sums are not the months', "
        "and can't be compared."
    )


def hour_of(hour: int) -> str:
    """An hour of the day, as its begin and end."""
    return f"{hour:02}:00 to {(hour + 1) % 24:02}:00"


def count(number: float) -> str:
    """A count."""
    return f"{number:,.0f}"


def dollars(amount: float | None, digits: int = 0) -> str:
    """An amount of money; `n/a` for none."""
    if amount is None or pd.isna(amount):
        return "n/a"
    return f"{'-' if amount < 0 else ''}${abs(amount):,.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share from 0 to 1; `n/a` for none."""
    return "n/a" if share is None or pd.isna(share) else f"{share:.{digits}%}"


def part(number: float, whole: float, digits: int = 1) -> str:
    """How much of a whole a number is; `n/a` if the whole is nothing."""
    return percent(number / whole if whole else None, digits)
