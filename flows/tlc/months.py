"""Which months are meant: a month is a date, the first of the month, everywhere in this project.

Plain dates and no pandas periods: the command line reads this before anything else, and importing
pandas takes longer than all its other checks.
"""

import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from flows.errors import UsageError, shorten
from flows.parameters import SAMPLE
from flows.tlc.sample import sample_file, sample_months

FIRST_MONTH = date(2009, 1, 1)  # TLC has published nothing about the time before
DEFAULT_MONTH = "2021-01"  # that of the classic notes
LATEST = "latest"
LOOK_BACK = 12  # months that `latest` looks at: TLC publishes old months again without a word
LATEST_BY = 4  # TLC publishes a month one to three months after its end; by then it is there
WRITTEN = r"20(?:09|[1-9][0-9])-(?:0[1-9]|1[0-2])"
RANGE = rf"(?:{LATEST}|{WRITTEN}(?:\.\.(?:{WRITTEN}|{LATEST}))?)"


def months_of(
    months: str | None,
    source: str | None,
    today: date,
    look_back: int = LOOK_BACK,
    since: date = FIRST_MONTH,
    dataset: str = "yellow",
) -> list[date]:
    """The months that are asked for, each once, in the order of asking.

    Args:
        months: Words, divided by blanks or commas: `2021-01` is a month, `2019-01..2020-12` a
            range; `2021-01..latest` ends with last month, and `latest` is so many months up to
            that as may have `look_back` published ones. Which are published is for `flows.plan`
            to find out. None: the month in the source's name; of the sample, all of them.
        source: URL or path of a file, `{month}` in it stands for the month; or `sample`; or None,
            for TLC's own files.
        today: The day from which `latest` counts; later months have no trips yet.
        look_back: How many published months `latest` means.
        since: The first month that is published.
        dataset: Whose sample is meant, if the source is that.

    Raises:
        UsageError: a word is not a month, or the source says too little or too much.
    """
    if source == SAMPLE:
        asked = expand(months, today, look_back, since) if months else sample_months(dataset)
        for month in asked:
            sample_file(dataset, month)  # or a UsageError
        return asked
    is_pattern = source is None or "{month}" in source
    source = source or "TLC's files"
    found = re.search(rf"{WRITTEN}(?!\d)", source.rstrip("/").rpartition("/")[2])
    if not months:
        if not found and not is_pattern:
            raise UsageError(f"{shorten(source)}: no month in its name. Give the month: YYYY-MM")
        months = found[0] if found else DEFAULT_MONTH
    asked = expand(months, today, look_back, since)
    if found and asked != [read_month(found[0])]:
        raise UsageError(
            f"{shorten(source)}: the month in its name is {found[0]}, not {shorten(months)}"
        )
    if len(asked) > 1 and not is_pattern:
        raise UsageError(
            f"{shorten(source)} is one file for several months: put {{month}} in its name. If it "
            "holds them all, ask for one of them: the answer says how to split it"
        )
    return asked


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
        raise UsageError(f"{begin:%Y-%m} is before {since:%Y-%m}, the first month that there is")
    if end > today:
        raise UsageError(f"{end:%Y-%m} is in the future")
    return list(months_between(begin, end))


def months_between(begin: date, end: date) -> Iterator[date]:
    """Two months and all between them."""
    while begin <= end:
        yield begin
        begin = date(begin.year + begin.month // 12, begin.month % 12 + 1, 1)


def months_before(day: date, count: int) -> date:
    """The month so many before a day's."""
    number = day.year * 12 + day.month - 1 - count
    return date(number // 12, number % 12 + 1, 1)


def is_open_ended(months: str | None) -> bool:
    """Whether it depends on what is published which months are meant."""
    return LATEST in (months or "")


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


def check_month(value: object) -> date:
    """A month from a parameter, which Prefect stores as text.

    Raises:
        UsageError: it is another day of the month, or not a month, or in the future.
    """
    [month] = expand(f"{read_month(str(value)):%Y-%m}", date.today())
    return month


def check_months(months: str) -> str:
    """Return words that stand for months.

    Raises:
        UsageError: one of them does not.
    """
    expand(months, date.today())
    return months


Month = Annotated[
    date,
    BeforeValidator(check_month),
    WithJsonSchema({"type": "string", "pattern": f"^{WRITTEN}(-01)?$", "examples": ["2021-01"]}),
]
Months = Annotated[
    str,
    AfterValidator(check_months),
    Field(json_schema_extra={"pattern": rf"^\s*{RANGE}([\s,]+{RANGE})*\s*$"}),
]


def today() -> date:
    """The day for which a flow run was scheduled: late or retried, it means the same months."""
    from prefect import runtime

    scheduled: date = runtime.flow_run.scheduled_start_time.date()
    return scheduled
