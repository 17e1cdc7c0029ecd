"""Months and sources as people write them, and as they must not."""

import re
from datetime import date

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from pydantic import TypeAdapter

from flows.errors import UsageError, shorten
from flows.land import land
from flows.parameters import Month, Request
from flows.tlc.sample import sample_months

TODAY = date(2026, 1, 20)
JANUARY, FEBRUARY, MARCH = date(2021, 1, 1), date(2021, 2, 1), date(2021, 3, 1)
HOSTILE = [
    "2021-01'; drop table raw.loads; --",
    "$(reboot)",
    "../../etc/passwd",
    "x" * 10_000,
    "2021-01..",
    "..2021-01",
    "2021-1",
    "\u0662\u0660\u0662\u0661-01",  # digits, but not ours
]


def months_of(
    months: str | None, source: str | None, look_back: int = 12, dataset: str = "yellow"
) -> list[date]:
    """The months of a dataset that a run with these words is about."""
    request = Request.resolve(TODAY, dataset, months, source, look_back)
    return [one.month for one in request.months]


@pytest.mark.parametrize(
    ("months", "expected"),
    [
        ("2021-01", [JANUARY]),
        ("2021-01..2021-03", [JANUARY, FEBRUARY, MARCH]),
        ("2021-03 2021-01", [MARCH, JANUARY]),
        ("2021-01, 2021-01..2021-02", [JANUARY, FEBRUARY]),
        ("2020-12..2021-01", [date(2020, 12, 1), JANUARY]),
        ("2025-11..latest", [date(2025, 11, 1), date(2025, 12, 1)]),
        (None, [JANUARY]),  # the month of the notes
    ],
)
def test_months_are_words_ranges_or_the_latest(months, expected):
    assert months_of(months, None) == expected


def test_the_latest_may_be_any_of_the_last_months_until_one_is_known_to_be_published():
    """TLC publishes a month one to three months after its end."""
    latest = months_of("latest", None, look_back=2)
    assert latest == [date(2025, month, 1) for month in range(8, 13)]


def test_of_the_sample_all_months_are_meant_or_those_that_are_named():
    assert months_of(None, "sample") == sample_months("yellow")
    assert months_of("2020-03", "sample") == [date(2020, 3, 1)]
    assert months_of("2020-02..2020-03", "sample") == sample_months("yellow")[1:3]


def test_a_file_says_its_month_itself():
    assert months_of(None, "2019-12/yellow_tripdata_2021-02_head.csv.gz") == [FEBRUARY]


def test_a_file_without_a_month_in_its_name_needs_one():
    assert months_of("2021-02", "http://host/trips.csv") == [FEBRUARY]


@pytest.mark.parametrize(
    ("months", "source", "said"),
    [
        (None, "trips.csv", "no month in its name"),
        ("2021-02", "http://host/2021-01.csv", "the month in its name is 2021-01, not 2021-02"),
        ("2021-13", None, "'2021-13' is not a month"),
        ("1999-12", None, "'1999-12' is not a month"),
        ("2021-01..2026-02", None, "2026-02 is in the future"),
        ("2021-02..2021-01", None, "the range ends before it begins"),
        ("2021-01 2021-02", "http://host/trips.csv", "one file for several months"),
        ("2021-01", "sample", "no sample of yellow trips of 2021-01: choose from 2020-01..2020-12"),
        ("2020-11..2021-02", "sample", "There is no sample of yellow trips of 2021-01"),
        ("latest", "sample", "There is no sample of yellow trips of 2024-10"),
        *((text, source, "is not a month") for text in HOSTILE for source in (None, "sample")),
    ],
)
def test_what_cannot_be_understood_is_one_clear_line(months, source, said):
    with pytest.raises(UsageError, match=said) as refusal:
        months_of(months, source)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_months_before_the_first_of_a_dataset_are_refused():
    with pytest.raises(UsageError, match=r"2013-07 is before 2013-08, the first month"):
        months_of("2013-07..2013-09", None, dataset="green")


MONTH = TypeAdapter(Month)


@pytest.mark.parametrize("value", ["2021-02", "2021-02-01", FEBRUARY])
def test_a_month_is_the_first_of_it(value):
    assert MONTH.validate_python(value) == FEBRUARY


@pytest.mark.parametrize(
    "value",
    [*("2021-02-15", date(2021, 2, 15), "2021-13", "2008-12", "", None, 202102), *HOSTILE],
    ids=str,
)
def test_another_day_or_text_is_not_a_month(value):
    with pytest.raises(UsageError, match="is not a month: write it as YYYY-MM"):
        MONTH.validate_python(value)


def test_a_month_in_the_future_is_refused():
    with pytest.raises(UsageError, match="2098-01 is in the future"):
        MONTH.validate_python("2098-01")


def test_prefects_form_knows_how_a_month_is_written():
    schema = land.parameters.properties["month"]
    assert schema["type"] == "string"
    matches = re.compile(schema["pattern"]).search
    assert matches("2021-02")
    assert matches("2021-02-01")
    assert not matches("2021-02-15")


def test_prefects_server_refuses_a_run_for_another_day(prefect_server):
    """Whoever asks for it: the form, `prefect deployment run land/land -p month=…`, the API."""
    deployment = land.to_deployment("any day").apply()
    with get_client(sync_client=True) as client:
        for month in ("2021-02", "2021-02-01"):
            client.create_flow_run_from_deployment(deployment, parameters={"month": month})
        with pytest.raises(PrefectHTTPStatusError, match="2021-02-15' does not match"):
            client.create_flow_run_from_deployment(deployment, parameters={"month": "2021-02-15"})
        client.delete_deployment(deployment)


def test_what_is_shown_of_a_source_has_no_secrets():
    assert shorten("https://me:hunter2@host/x.csv?signature=s3cret") == "https://host/x.csv"
    assert shorten("https://me:hunter2@[host/x.csv") == "https://..."
