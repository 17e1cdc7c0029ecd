"""Which months are meant, and where the file of each of them is."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from itertools import takewhile

from prefect import runtime

from flows.datasets import SAMPLE
from flows.errors import UsageError, shorten

FIRST_MONTH = "2021-01"
LATEST = "latest"
MONTHS_UNTIL_PUBLISHED = 2


def months_of(months: str | None, source: str, today: date) -> list[date]:
    """The first days of the months that are asked for, each once, in the order of asking.

    Args:
        months: Words, divided by blanks or commas: `2021-01` is a month, `2019-01..2020-12` a
            range, `latest` what `latest_months` says. None: the month in the source's name.
        source: URL or path of a file, `{month}` in it stands for the month; or `sample`.
        today: The day from which `latest` counts.

    Raises:
        UsageError: a word is no month, or the source says too little or too much.
    """
    found = re.search(r"20\d\d-(0[1-9]|1[0-2])(?!\d)", source.rpartition("/")[2])
    is_pattern = source == SAMPLE or "{month}" in source
    if not months:
        if not found and not is_pattern:
            raise UsageError(f"{shorten(source)}: no month in its name. Give the month: YYYY-MM")
        months = found[0] if found else FIRST_MONTH
    asked = dict.fromkeys(
        month for word in re.split(r"[\s,]+", months.strip()) for month in expand(word, today)
    )
    if found and list(asked) != [first_day(found[0])]:
        raise UsageError(f"{shorten(source)}: its name says {found[0]}, not {shorten(months)}")
    if len(asked) > 1 and not is_pattern:
        raise UsageError(
            f"{shorten(source)} is one file for several months: put {{month}} in its name"
        )
    return list(asked)


def today() -> date:
    """The day for which a flow run was scheduled: late or retried, it means the same months."""
    return runtime.flow_run.scheduled_start_time.date()


def run_name() -> str:
    """What a flow run with the parameters `months` and `source` is called."""
    flow, parameters = runtime.flow_run.flow_name, runtime.flow_run.parameters
    try:
        months = months_of(parameters["months"], parameters["source"], today())
    except UsageError:
        return flow
    span = dict.fromkeys(f"{month:%Y-%m}" for month in (months[0], months[-1]))
    return f"{flow} {'..'.join(span)}"


def expand(word: str, today: date) -> list[date]:
    """The months that a word stands for."""
    if word == LATEST:
        return latest_months(today)
    first, dots, last = word.partition("..")
    begin, end = first_day(first), first_day(last if dots else first)
    if begin > end:
        raise UsageError(f"{word}: the range ends before it begins")
    return list(takewhile(lambda month: month <= end, months_from(begin)))


def months_from(month: date) -> Iterator[date]:
    """A month and all that follow."""
    while True:
        yield month
        month = date(month.year + month.month // 12, month.month % 12 + 1, 1)


def latest_months(today: date) -> list[date]:
    """The month that should be published by now, and the one before it, in case it came late.

    TLC publishes a month about two months after its end.
    """
    newest = today.year * 12 + today.month - 1 - MONTHS_UNTIL_PUBLISHED
    return [date(number // 12, number % 12 + 1, 1) for number in (newest - 1, newest)]


def first_day(month: str) -> date:
    """A month written as YYYY-MM, as its first day."""
    if not re.fullmatch(r"20(09|[1-9]\d)-(0[1-9]|1[0-2])", month, re.ASCII):
        raise UsageError(
            f"{shorten(month)!r} is no month: write it as YYYY-MM, from 2009-01, TLC's first, on"
        )
    return datetime.strptime(month, "%Y-%m").date()
