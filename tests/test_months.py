"""Months and sources as people write them, and as they must not."""

from datetime import date

import pytest

from flows.datasets import SOURCE, absolute, locate
from flows.errors import UsageError, shorten
from flows.laptop.sample import sample_month
from flows.months import latest_months, months_of

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


@pytest.mark.parametrize(
    ("months", "expected"),
    [
        ("2021-01", [JANUARY]),
        ("2021-01..2021-03", [JANUARY, FEBRUARY, MARCH]),
        ("2021-03 2021-01", [MARCH, JANUARY]),
        ("2021-01, 2021-01..2021-02", [JANUARY, FEBRUARY]),
        ("2020-12..2021-01", [date(2020, 12, 1), JANUARY]),
        ("latest", [date(2025, 10, 1), date(2025, 11, 1)]),
        (None, [JANUARY]),  # the month of the notes
    ],
)
def test_months_are_words_ranges_or_the_latest(months, expected):
    assert months_of(months, SOURCE, TODAY) == expected


@pytest.mark.parametrize(
    ("today", "newest"),
    [
        (date(2026, 1, 31), date(2025, 11, 1)),
        (date(2026, 2, 1), date(2025, 12, 1)),
        (date(2026, 12, 31), date(2026, 10, 1)),
    ],
)
def test_the_latest_month_ended_two_months_ago_or_nearly(today, newest):
    assert latest_months(today)[-1] == newest


def test_a_file_says_its_month_itself():
    assert months_of(None, "2019-12/yellow_tripdata_2021-02_head.csv.gz", TODAY) == [FEBRUARY]


def test_or_is_told():
    assert months_of("2021-02", "http://host/trips.csv", TODAY) == [FEBRUARY]


@pytest.mark.parametrize(
    ("months", "source", "said"),
    [
        (None, "trips.csv", "no month in its name"),
        ("2021-02", "http://host/2021-01.csv", "its name says 2021-01, not 2021-02"),
        ("2021-13", SOURCE, "'2021-13' is no month"),
        ("1999-12", SOURCE, "'1999-12' is no month"),
        ("2021-02..2021-01", SOURCE, "the range ends before it begins"),
        ("2021-01 2021-02", "http://host/trips.csv", "one file for several months"),
        *((text, SOURCE, "is no month") for text in HOSTILE),
    ],
)
def test_what_cannot_be_understood_is_one_clear_line(months, source, said):
    with pytest.raises(UsageError, match=said) as refusal:
        months_of(months, source, TODAY)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_a_source_is_located_for_a_month(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("trips/{month}.csv", JANUARY) == f"{tmp_path}/trips/2021-01.csv"
    assert locate("http://host/{month}.csv", JANUARY) == "http://host/2021-01.csv"
    assert locate("sample", JANUARY) == str(sample_month(JANUARY))
    assert absolute("sample") == "sample"


def test_what_is_shown_of_a_source_has_no_secrets():
    assert shorten("https://me:hunter2@host/x.csv?signature=s3cret") == "https://host/x.csv"
    assert shorten("https://me:hunter2@[host/x.csv") == "https://..."
