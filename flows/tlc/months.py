"""Which months are meant: a month is a date, the first of the month, everywhere in this project.

Plain dates and no pandas periods: the command line reads this before anything else, and importing
pandas takes longer than all its other checks.
"""

import re
from collections.abc import Iterator
from datetime import date, timedelta

from flows.errors import UsageError, shorten

FIRST_MONTH = date(2009, 1, 1)  # TLC has published nothing about the time before
LATEST = "latest"
LOOK_BACK = 12  # months that `latest` looks at: TLC publishes old months again without a word
LATEST_BY = 4  # TLC publishes a month one to three months after its end; by then it is there
WRITTEN = r"20(?:09|[1-9][0-9])-(?:0[1-9]|1[0-2])"


def expand(
    months: str, today: date, look_back: int = LOOK_BACK, since: date = FIRST_MONTH
) -> list[date]:
    """The months that words stand for, each once.

    Raises:
        UsageError: a word is not a month or a range, or not one that can have been published.
    """
    words = re.split(r"[\s,]+", months.strip())
    expanded = (expand_word(word, today, look_back, since) for word in words)
    return list(dict.fromkeys(month for months in expanded for month in months))


def expand_word(word: str, today: date, look_back: int, since: date) -> list[date]:
    """The months that one word stands for."""
    last_month = months_before(today, 1)
    if word == LATEST:
        return list(months_between(months_before(today, look_back + LATEST_BY - 1), last_month))
    first, dots, last = word.partition("..")
    begin = read_month(first)
    end = last_month if last == LATEST else read_month(last if dots else first)
    if begin > end:
        raise UsageError(f"{word}: the range ends before it begins")
    if begin < since:
        raise UsageError(f"{begin:%Y-%m} is before {since:%Y-%m}, the first month published")
    if end > today:
        raise UsageError(f"{end:%Y-%m} is in the future")
    return list(months_between(begin, end))


def months_between(begin: date, end: date) -> Iterator[date]:
    """Two months and all between them."""
    while begin <= end:
        yield begin
        begin = month_after(begin)


def month_after(month: date) -> date:
    """The month after one."""
    return (month + timedelta(days=31)).replace(day=1)


def months_before(day: date, count: int) -> date:
    """The month so many before a day's."""
    number = day.year * 12 + day.month - 1 - count
    return date(number // 12, number % 12 + 1, 1)


def read_month(text: str) -> date:
    """Read a month that is written as YYYY-MM, or as its first day.

    Raises:
        UsageError: it is not a month, or one before `FIRST_MONTH`.
    """
    if not re.fullmatch(rf"{WRITTEN}(?:-01)?", text):
        raise UsageError(
            f"{shorten(text)!r} is not a month: write it as YYYY-MM, from {FIRST_MONTH:%Y-%m} on"
        )
    return date.fromisoformat(f"{text[:7]}-01")


def consecutive_ranges(months: list[date]) -> list[tuple[date, date]]:
    """The first and last month of each run of months, in order, without a gap."""
    runs: list[tuple[date, date]] = []
    for month in months:
        if runs and month_after(runs[-1][1]) == month:
            runs[-1] = (runs[-1][0], month)
        else:
            runs.append((month, month))
    return runs


def spans_of(months: list[date]) -> list[str]:
    """Months in their order, those that follow each other as one: `2020-01..2020-03`, `2020-05`."""
    return [
        f"{first:%Y-%m}" if first == last else f"{first:%Y-%m}..{last:%Y-%m}"
        for first, last in consecutive_ranges(months)
    ]
