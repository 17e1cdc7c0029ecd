"""Months and numbers, as people write them."""

from datetime import date

import pandas as pd

from flows.tlc.months import consecutive_ranges


def names_of(months: list[date]) -> str:
    """Months, such as `November 2020 to January 2021, March 2021`."""
    runs = [
        f"{last:%B %Y}"
        if first == last
        else f"{first:{'%B' if first.year == last.year else '%B %Y'}} to {last:%B %Y}"
        for first, last in consecutive_ranges(months)
    ]
    return ", ".join(runs) or "no month yet"


def about_sample(sampled_one_in: int | None, rows: int) -> str:
    """What can be said of a sample of so many rows, and what can't."""
    if sampled_one_in is None:
        return (
            f"a sample of {rows:,} rows that was not drawn at random: nothing follows from it for "
            "days, hours, zones or shares"
        )
    return (
        f"a sample, one trip in {sampled_one_in}, drawn at random: days, months and shares can be "
        "compared, and its sums are not those of the months"
    )


def hour_of(hour: int) -> str:
    """An hour of the day, as its begin and end."""
    return f"{hour:02}:00 to {(hour + 1) % 24:02}:00"


def short(number: float) -> str:
    """A round number, such as 1.5k or 20M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(number) >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def few(number: float) -> str:
    """An average, with as many digits as a small one needs."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


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
