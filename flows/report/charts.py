"""The charts of the report's page, as what its template draws: bars as paths, and ticks.

They are drawn to the width that there is, so all places are shares of it; text is not part of them.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from math import floor, log10

import pandas as pd

from flows.report.facts import Facts
from flows.report.formatting import short
from flows.tlc.months import consecutive_ranges, month_after

WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
HEIGHT = 1_000  # of a chart, in its own units
MOST_TICKS = 6  # of an axis, few enough for a phone


@dataclass(frozen=True)
class Bars:
    """One bar per day. Each is a line of the path, at its day's number and a half."""

    title: str
    path: str
    ticks: list[tuple[float, str]]  # where from the top, as a share of the height; the number


@dataclass(frozen=True)
class Days:
    """Bars by day, one chart above the other. Days of months that are not loaded take no room."""

    days: list[date]  # in their order: the place of each
    charts: list[Bars]
    ticks: list[tuple[float, date]]  # where from the left, as a share of the width
    gaps: list[int]  # the days before which months are left out


@dataclass(frozen=True)
class HeatMap:
    """Trips by weekday and hour."""

    rows: list[tuple[str, list[float]]]  # the weekday; the trips of its 24 hours
    most: float


def days_chart(facts: Facts) -> Days:
    """Trips above revenue, where there is any."""
    ranges = consecutive_ranges(facts.months)
    days = [
        first + timedelta(days=number)
        for first, last in ranges
        for number in range((month_after(last) - first).days)
    ]
    place = {day: number for number, day in enumerate(days)}
    shown = ["trips"] if "totals" in facts.missing else ["trips", "revenue"]
    return Days(
        days,
        [bars(name, facts.days, place) for name in shown],
        [(place[day] / len(days), day) for day in marked_days(facts.months)],
        [place[after[0]] for _, after in pairwise(ranges)],
    )


def bars(name: str, rows: pd.DataFrame, place: dict[date, int]) -> Bars:
    """A bar for each day that has a number."""
    numbers = {
        place[day]: float(number)
        for day, number in zip(rows["day"], rows[name], strict=True)
        if not pd.isna(number)
    }
    marks = tick_marks(min([0.0, *numbers.values()]), max([0.0, *numbers.values()]))
    low, high = marks[0], marks[-1]

    def from_top(number: float) -> float:
        return (high - number) / (high - low)

    zero = round(HEIGHT * from_top(0))
    return Bars(
        name.capitalize(),
        "".join(f"M{at} {zero}V{round(HEIGHT * from_top(n))}" for at, n in numbers.items()),
        [(from_top(mark), ("$" if name == "revenue" else "") + short(mark)) for mark in marks],
    )


def tick_marks(low: float, high: float) -> list[float]:
    """Round numbers, a few of them, between which all numbers from `low` to `high` are."""
    wanted = (high - low) / (MOST_TICKS - 2) or 1
    power = 10 ** floor(log10(wanted))
    step = next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= wanted)
    first, last = floor(low / step), -floor(-high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def marked_days(months: list[date]) -> list[date]:
    """The days that are named below the chart: few enough for a phone."""
    if len(months) <= 2:
        return [month.replace(day=day) for month in months for day in (1, 15)]
    return months[:: -(-len(months) // MOST_TICKS)]


def heat_map(facts: Facts) -> HeatMap:
    """One row per weekday, one column per hour."""
    trips = {
        (int(weekday), int(hour)): float(number)
        for weekday, hour, number in facts.hours.itertuples(index=False)
    }
    rows = [
        (name, [trips.get((weekday, hour), 0.0) for hour in range(24)])
        for weekday, name in enumerate(WEEKDAYS, start=1)
    ]
    return HeatMap(rows, max(trips.values(), default=0.0))
