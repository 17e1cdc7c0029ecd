"""Values: what TLC and copies of its files write is cast exactly; all else rejects its row."""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from types import SimpleNamespace

import pandas as pd
import psycopg2
import pytest
from conftest import build_by_hand, load_file, put_by, run_query, warehouse_to_build
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import HEADER

import flows.warehouse.staged
from flows.warehouse.connection import connect

JANUARY = date(2021, 1, 1)
GOOD = {
    "VendorID": "1",
    "tpep_pickup_datetime": "2021-01-05 10:00:00",
    "tpep_dropoff_datetime": "2021-01-05 10:15:00",
    "passenger_count": "1",
    "trip_distance": "3",
    "RatecodeID": "1",
    "store_and_fwd_flag": "N",
    "PULocationID": "142",
    "DOLocationID": "43",
    "payment_type": "1",
    "fare_amount": "10",
    "tip_amount": "2",
    "total_amount": "12",
}
LOOK_LIKE_NUMBERS = (
    *("Infinity", "-inf", "infinity", "0x10", "0b1", "0o7", "1_000", "1__0", "_1"),
    *("12,50", "1.000,50", "1 000", "$5", "(5)", "5%", "1..2", "--1", "+-1", "1-", "1e", "e5", "."),
    *("+", "1e400", "1e131071", "1e131072", "1e999999999", "1e-300", "1e-16383", "1e30"),
    *("1000000000", "-1e9", "9" * 100_000, "0." + "0" * 5_000 + "1", "1d0", "1f", "0x1p3", "١٢"),
    *("\uff15", "1\u00a0", "\u20131", "NaN1", "nanny", "-NA-", "true", "{}", "[1]", "1;drop"),
)
LOOK_LIKE_CODES = (
    *("1.5", "-1", "99999", "32768", "-32769", "0x1", "0b1", "0o1", "1_0", "1e9", "1e-1", "1,0"),
    *("٣", "1.0.0", "1 2", "2147483648", "1" * 50),
)
LOOK_LIKE_DATES = (
    *("12:00 today", "now", "today", "tomorrow", "yesterday 04:00", "infinity"),
    *("-infinity", "epoch"),
    *("allballs", "2021-02-30 00:00:00", "2021-13-01 00:00:00"),
    *("2021-00-01", "0000-01-01 00:00:00"),
    *("2021-01-01 25:61:00", "2021-01-01 24:00:00", "2021-01-01 23:59:60", "2021-01-01 00:60"),
    *("2021-01-01 10:00:00+05:30", "2021-01-01 10:00:00-0500", "2021-01-01T10:00:00+01"),
    *("2021-01-01 10:00:00 EST", "2021-01-01 10:00:00 America/New_York", "2021-01-01 10:00:00 PDT"),
    *("2021-01-01Z", "2021-01-01 10:00:00 ZZ", "2021-01-01 10:00:00+00:30", "2021-01-01 +00"),
    *("2021-01-02 +3:04:05", "2021-01-02 03:-4:05", "2021-01-02 03:04:-5", "2021-01-02 A3:04:05"),
    *("2021-01-02 03:04:0!", "2021-01-02 03:04:0Z", "2021-01-02 :3:04:05", "2021--1-02 03:04:05"),
    *(" 021-01-02 03:04:05", "202--01-02 03:04:05", "2-21-0 -02 03:04:05", "+0]1-01-02 03:04:05"),
    *("4713-01-01 BC", "2021-01-01 BC", "294276-12-31"),
    *("10000-01-01 00:00:00", "0001-01-01 00:00:00"),
    *("1899-12-31 23:59:59", "J2451187", "20210101", "20210101T000000", "1609459200", "44197.5"),
    *("1609459200000", "1609459200000000", "1609459200000000000", "1.6094592E9", "44197"),
    *("31/01/2021 0:30", "13/13/2021", "01/31/21 0:30", "1/2/2021 13:00 PM", "1/2/2021 0:30 AM"),
    *("0/1/2021", "2/30/2021 0:30", "01-31-2021 0:30", "01.02.2021 0:30", "01/02/2021, 13:30:00"),
    *("Jan 32 2021", "1 Janvier 2021", "Jan 1 21", "Fri Jan 1 2021", "1 Ja 2021", "Jan 2021"),
    *("2021 Jan 1 13:00 PM", "2021-1/1", "2021/Jan/1", "2021-01-01, 13:00", "2021-13-1"),
    *("2021-01-01 10:00:00.1234567", "2021-01-01 10:00:00,5", "2021-W01-1", "2021-001"),
    *("\uff12\uff10\uff12\uff11-01-01 00:00:00", "2021-01-01\u00a000:00:00"),
    *("2021-01-01 00:00:00 x", "Friday"),
    *("12:00", "2021", "2021-01", "x" * 100_000),
)
HOSTILE = [
    *(("fare_amount", text) for text in LOOK_LIKE_NUMBERS),
    *(("trip_distance", text) for text in LOOK_LIKE_NUMBERS),
    *(("passenger_count", text) for text in (*LOOK_LIKE_NUMBERS, *LOOK_LIKE_CODES, "two")),
    *(("PULocationID", text) for text in LOOK_LIKE_CODES),
    *(("payment_type", text) for text in LOOK_LIKE_CODES),
    *(("tpep_pickup_datetime", text) for text in LOOK_LIKE_DATES),
    *(("tpep_dropoff_datetime", text) for text in LOOK_LIKE_DATES),
]
UNKNOWN_WORDS = [
    ("VendorID", "ABC"),
    ("payment_type", "Barter"),
    ("store_and_fwd_flag", "*"),
    ("store_and_fwd_flag", "8"),
]
HALF_PAST = datetime(2021, 1, 2, 13, 30)
# What else writes half past one in the afternoon of 2 January 2021, or the day.
TIMES = {
    **dict.fromkeys(
        (
            *("2021-01-02T13:30:00Z", "2021-01-02 13:30:00Z", "2021-01-02t13:30z"),
            *("2021-01-02 13:30:00 UTC", "2021-01-02 13:30:00.000000 UTC", "2021-01-02 13:30 GMT"),
            *("2021-01-02 13:30:00+00:00", "2021-01-02T13:30:00.000+00:00"),
            *("2021-01-02 13:30:00+00", "2021-01-02 13:30:00+0000", "2021-01-02 13:30:00 +0000"),
            *("1/2/2021, 1:30:00 PM", "1/2/2021, 1:30:00\u202fPM", "01/02/2021, 01:30 PM"),
            *("2021-01-02, 1:30:00 p.m.", "2021-01-02 01:30:00 PM", "1/2/2021 13:30 UTC"),
            *("2021 Jan 02 01:30:00 PM", "2021 Jan 2 13:30:00", "2021-JAN-02 13:30"),
            *("02-Jan-2021 13:30:00", "2 January 2021 1:30 pm", "2 jan 2021 13:30:00Z"),
            *("Jan 2, 2021 1:30 PM", "January 2, 2021, 13:30", "jan 2 2021 13:30:00.000"),
            *("2021/01/02 13:30:00", "2021/1/2 13:30", "2021-1-2 13:30:00"),
            *('"2021-01-02 13:30:00"', "'2021-01-02T13:30:00Z'", "\\2021-01-02 13:30:00\\"),
            *('""2021-01-02 13:30""', '="2021-01-02 13:30:00"', ' "1/2/2021 13:30" '),
        ),
        HALF_PAST,
    ),
    **dict.fromkeys(
        ("2021/1/2", "2021-1-2", "2 Jan 2021", "Jan 2 2021", "2021 Jan 02", '"2021-01-02"'),
        datetime(2021, 1, 2),
    ),
}
NUMBERS = {'"7.5"': "7.5", "\\7.5\\": "7.5", '="7"': "7", "'-.5'": "-.5", ' "1e0"': "1"}
NOTHING = (
    *("NA", "na", "NULL", "null", "Null", "\\N", "nan", "NaN", "NAN", "None", "none", "N/A", "n/a"),
    *("<NA>", "-", "--", " NA ", '"NULL"', "'-'", "NaT", "#N/A", "(null)", "nil", "", " ", '""'),
    *('"', "\\\\", "\\NULL\\", '"\\N"', "undefined"),
)
ODD_NAMES = ["source", 'a"b', "select", "x y", "é", "a'b", "%s", "{{ 1/0 }}", "--", "$$", "raw_row"]


@pytest.fixture(scope="module")
def hostile(prefect_server, tmp_path_factory):
    """A month with a hostile value in each row, odd column names; built twice."""
    path = tmp_path_factory.mktemp("hostile") / "trips.csv"
    names = HEADER.split(",")
    rows = [GOOD] * 4 + [GOOD | {name: text} for name, text in (*HOSTILE, *UNKNOWN_WORDS)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    warehouse = warehouse_to_build()
    load_file(path, JANUARY)
    for name in ODD_NAMES:  # of earlier versions, or made by hand: the loader refuses most of them
        quoted = name.replace('"', '""').replace("%", "%%")
        run_query(warehouse, f'alter table raw.yellow_tripdata add column "{quoted}" text')
    output = build_by_hand(warehouse)
    build_by_hand(warehouse, "test --select test_type:unit")  # with all those columns
    return SimpleNamespace(settings=put_by(warehouse), output=output)


@pytest.fixture
def ask_hostile(hostile):
    return lambda statement: run_query(hostile.settings, statement)


def test_each_hostile_value_rejects_its_row_with_a_reason_of_its_column(ask_hostile):
    reasons = dict(ask_hostile("select source_row, rejection_reasons from rejected_trips"))
    named = {number: reason.split(" ")[0] for number, reason in reasons.items()}
    assert named == {number: name.lower() for number, (name, _) in enumerate(HOSTILE, 5)}


def test_a_reason_is_short_and_in_one_line(ask_hostile):
    reasons = [reason for (reason,) in ask_hostile("select rejection_reasons from rejected_trips")]
    assert max(map(len, reasons)) < 130
    assert not any(character < " " for reason in reasons for character in reason)


def test_the_rejected_row_is_kept_as_it_is_in_the_file(ask_hostile):
    [(values,)] = ask_hostile("select raw_values from rejected_trips where source_row = 5")
    assert values["fare_amount"] == HOSTILE[0][1]
    assert values["vendorid"] == "1"


def test_no_hostile_value_is_in_a_sum(ask_hostile):
    good = 4 + len(UNKNOWN_WORDS)
    sums = "select count(*), sum(fare_amount), sum(trip_distance), sum(passenger_count)"
    assert ask_hostile(f"{sums} from yellow_taxi_trips") == [(good, 10 * good, 3 * good, good)]
    assert ask_hostile("select sum(trips), sum(fares) from daily_trips") == [(good, 10 * good)]
    accounting = "select raw_rows, trips, rejected_trips from trip_accounting"
    assert ask_hostile(accounting) == [(len(HOSTILE) + good, good, len(HOSTILE))]


def test_a_word_that_nobody_knows_is_null_and_a_warning_counts_it(hostile, ask_hostile):
    columns = "vendor_id, payment_type_id, store_and_fwd_flag"
    trips = f"select {columns} from yellow_taxi_trips order by source_row desc limit 4"
    assert ask_hostile(trips) == [
        (1, 1, None),
        (1, 1, None),
        (1, None, "N"),
        (None, 1, "N"),
    ]
    assert "in test known_spellings_stg_tlc__yellow_trips" in hostile.output
    assert "Got 4 results, configured to warn" in hostile.output


OTHER_SETTINGS = (
    *("datestyle = 'ISO, DMY'", "datestyle = 'ISO, YMD'", "datestyle = 'German'"),
    *("datestyle = 'SQL, DMY'", "datestyle = 'Postgres, MDY'", "timezone = 'Asia/Kolkata'"),
    *("timezone = 'America/New_York'", "lc_numeric = 'de_DE.utf8'", "lc_time = 'de_DE.utf8'"),
    *("intervalstyle = 'sql_standard'", "standard_conforming_strings = off"),
    *("extra_float_digits = -15", "search_path = pg_catalog", "jit = on"),
)


@pytest.mark.parametrize("setting", OTHER_SETTINGS)
def test_a_value_means_the_same_whatever_the_settings_of_the_server(hostile, setting):
    values = (
        "select source_row, vendor_id, passenger_count, trip_distance, is_rejected,"
        " extract(epoch from pickup_datetime), extract(epoch from dropoff_datetime),"
        " rejection_reasons from staging.stg_tlc__yellow_trips order by source_row"
    )
    forms = [form for form, time in TIMES.items() if time == HALF_PAST]
    forms += ["01/02/2021 13:30", "2021-01-02 13:30:00", "2021-01-02T13:30", "01/31/2021 0:30"]
    seconds = HALF_PAST.timestamp() - datetime(1970, 1, 1).timestamp()
    with raw_rows(hostile.settings, "tpep_pickup_datetime", forms) as cursor:
        cursor.execute(values)
        as_usual = cursor.fetchall()
        try:
            cursor.execute(f"set local {setting}")
        except psycopg2.errors.InvalidParameterValue:
            pytest.skip("this server does not have the locale")
        cursor.execute(values)
        assert cursor.fetchall() == as_usual
        assert {float(row[5]) for row in as_usual[:-1]} == {seconds}


@contextmanager
def raw_rows(warehouse, column: str, texts, dataset: str = "yellow") -> Iterator:
    """A cursor of a transaction in which a raw table has one row for each text, and no other."""
    with connect(warehouse) as connection:
        driver = connection.connection.driver_connection
        cursor = driver.cursor()
        lines = io.StringIO()
        csv.writer(lines, quoting=csv.QUOTE_ALL).writerows(
            (JANUARY, 1, number, text) for number, text in enumerate(texts)
        )
        lines.seek(0)
        table = f"raw.{dataset}_tripdata"
        cursor.execute(f"delete from {table}")
        cursor.execute(
            f"create table if not exists {table}_2021_01 partition of {table}"
            " for values in ('2021-01-01')"
        )
        cursor.copy_expert(
            f"copy {table} (source_month, load_id, source_row, {column}) from stdin (format csv)",
            lines,
        )
        yield cursor
        driver.rollback()


def staged(warehouse, raw_column: str, column: str, texts, dataset: str = "yellow") -> list:
    """What the staging model makes of each text."""
    with raw_rows(warehouse, raw_column, texts, dataset) as cursor:
        cursor.execute(
            f"select {column}, is_rejected from staging.stg_tlc__{dataset}_trips"
            " order by source_row"
        )
        return cursor.fetchall()


def test_a_time_is_read_in_each_way_in_which_other_tools_write_it(hostile):
    pickups = staged(hostile.settings, "tpep_pickup_datetime", "pickup_datetime", TIMES)
    assert dict(zip(TIMES, pickups, strict=True)) == {
        text: (time, False) for text, time in TIMES.items()
    }


def test_quotes_and_backslashes_around_a_value_do_not_count(hostile):
    amounts = staged(hostile.settings, "fare_amount", "fare_amount", NUMBERS)
    assert amounts == [(Decimal(text), False) for text in NUMBERS.values()]
    quoted = ['"2"', "\\2\\", "'2.0'"]
    assert (
        staged(hostile.settings, "pulocationid", "pickup_location_id", quoted) == [(2, False)] * 3
    )
    flags = staged(hostile.settings, "store_and_fwd_flag", "store_and_fwd_flag", ['"Y"', "\\N\\"])
    assert flags == [("Y", False), ("N", False)]
    bases = ['"B02764"', "\\b02764\\", " B02764 "]
    found = staged(hostile.settings, "dispatching_base_num", "dispatching_base_num", bases, "fhv")
    assert found == [("B02764", False)] * 3


@pytest.mark.parametrize(
    ("dataset", "raw_column", "column"),
    [
        *(("yellow", name, name) for name in ("passenger_count", "fare_amount")),
        *(("yellow", name, name) for name in ("store_and_fwd_flag", "request_source")),
        *(("yellow", f"tpep_{name}", name) for name in ("pickup_datetime", "dropoff_datetime")),
        ("yellow", "vendorid", "vendor_id"),
        ("yellow", "ratecodeid", "rate_code_id"),
        ("yellow", "pulocationid", "pickup_location_id"),
        ("yellow", "payment_type", "payment_type_id"),
        ("yellow", "pickup_longitude", "pickup_longitude"),
        ("green", "trip_type", "trip_type_id"),
        *(("fhv", name, name) for name in ("dispatching_base_num", "sr_flag")),
        *(("fhvhv", name, name) for name in ("hvfhs_license_num", "access_a_ride_flag")),
        ("fhvhv", "trip_time", "trip_seconds"),
    ],
)
def test_a_word_for_nothing_is_null_and_costs_no_trip(hostile, dataset, raw_column, column):
    columns = f"({column} is null and unknown_spellings is null)"
    found = staged(hostile.settings, raw_column, columns, NOTHING, dataset)
    assert dict(zip(NOTHING, found, strict=True)) == dict.fromkeys(NOTHING, (True, False))


@pytest.mark.parametrize(
    ("dataset", "raw_column", "column", "seed"),
    [
        ("yellow", "vendorid", "vendor_id", "vendors"),
        ("yellow", "ratecodeid", "rate_code_id", "rate_codes"),
        ("yellow", "payment_type", "payment_type_id", "payment_types"),
        ("yellow", "request_source", "request_source", "request_sources"),
        ("yellow", "store_and_fwd_flag", "store_and_fwd_flag", "store_and_fwd_flags"),
        ("green", "vendorid", "vendor_id", "vendors"),
        ("green", "ratecodeid", "rate_code_id", "rate_codes"),
        ("green", "payment_type", "payment_type_id", "payment_types"),
        ("green", "trip_type", "trip_type_id", "trip_types"),
        ("fhvhv", "hvfhs_license_num", "hvfhs_license_num", "high_volume_licenses"),
    ],
)
def test_each_word_of_the_dictionary_is_its_code(hostile, dataset, raw_column, column, seed):
    codes, words = zip(*run_query(hostile.settings, f"select * from {seed}"), strict=True)
    for forms in (words, map(str.upper, words), (f' "{word.lower()}"' for word in words)):
        found = staged(hostile.settings, raw_column, column, forms, dataset)
        assert found == [(code, False) for code in codes]


def test_words_of_earlier_dictionaries_are_codes_as_well(hostile):
    found = staged(hostile.settings, "vendorid", "vendor_id", ["VeriFone Inc.", "CMT", "vts"])
    assert found == [(2, False), (1, False), (2, False)]
    found = staged(hostile.settings, "trip_type", "trip_type_id", ["Street hail"], "green")
    assert found == [(1, False)]


@pytest.mark.parametrize("dataset", ["fhv", "fhvhv"])
def test_a_flag_of_shared_rides_may_be_a_letter(hostile, dataset):
    texts = ["Y", "N", "n", "1", "0", "1.0", "true"]
    flags = staged(hostile.settings, "sr_flag", "sr_flag", texts, dataset)
    assert flags == [(value, False) for value in (1, 0, 0, 1, 0, 1, 1)]


@pytest.mark.parametrize("word", ["Bitcoin", "Rate 7", "Crédit", "HV0003", "*", "Pay-Pal (2)"])
def test_an_unknown_word_costs_the_code_and_never_the_trip(hostile, word):
    codes = [
        *(("vendorid", "vendor_id"), ("ratecodeid", "rate_code_id")),
        ("payment_type", "payment_type_id"),
    ]
    for raw_column, column in codes:
        found = staged(hostile.settings, raw_column, f"{column}, unknown_spellings", [word, "1"])
        assert found == [(None, f"{column} '{word}'", False), (1, None, False)]
    found = staged(hostile.settings, "trip_type", "trip_type_id", [word], "green")
    assert found == [(None, False)]
    assert staged(hostile.settings, "sr_flag", "sr_flag", [word], "fhv") == [(None, False)]


def test_what_the_loader_looks_at_is_what_dbt_has_built(hostile):
    """It renders the staging model by itself."""
    rendered = flows.warehouse.staged.staged("stg_tlc__yellow_trips", "raw.yellow_tripdata")
    built = "select * from staging.stg_tlc__yellow_trips"
    counts = "select (select count(*) from ({0} except {1}) as a), count(*) from ({1}) as b"
    with connect(hostile.settings) as connection:
        cursor = connection.connection.driver_connection.cursor()
        cursor.execute(counts.format(f"select * from ({rendered}) as rendered", built))
        assert cursor.fetchall() == [(0, 4 + len(HOSTILE) + len(UNKNOWN_WORDS))]


FEW_EXAMPLES = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.large_base_example, HealthCheck.too_slow],
)
digits = st.text("0123456789", min_size=1, max_size=9)
blanks = st.sampled_from(["", " ", "\t", "  "])
numbers = st.builds(
    lambda before, sign, whole, part, exponent, after: (
        before + sign + whole + part + exponent + after
    ),
    blanks,
    st.sampled_from(["", "-", "+"]),
    digits,
    st.one_of(st.just(""), st.just("."), digits.map(lambda part: f".{part}")),
    st.sampled_from(["", "", "e0", "E-02", "e-7", "e+00", "e-29"]),
    blanks,
)
times = st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31, 23, 59, 59))
FORMS = (
    *("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d"),
    *("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f", "%m/%d/%Y %H:%M", "%m/%d/%Y"),
    *("%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p"),
)
written_times = st.tuples(times, st.sampled_from(FORMS)).map(
    lambda it: (it[0].strftime(it[1]), it[1])
)


@FEW_EXAMPLES
@given(st.lists(numbers, min_size=200, max_size=200))
def test_an_amount_is_what_the_file_says_to_four_decimals(hostile, texts):
    amounts = staged(hostile.settings, "fare_amount", "fare_amount", texts)
    with localcontext(prec=100, rounding=ROUND_HALF_UP):  # as PostgreSQL rounds
        expected = [Decimal(text.strip()).quantize(Decimal("0.0001")) for text in texts]
    assert amounts == [(amount, False) for amount in expected]


@FEW_EXAMPLES
@given(st.lists(st.integers(0, 32767), min_size=200, max_size=200))
def test_a_whole_number_may_be_written_as_pandas_writes_it(hostile, counts):
    for texts in (map(str, counts), map(str, map(float, counts)), (f"{n:e}" for n in counts)):
        texts = list(texts)
        passengers = staged(hostile.settings, "passenger_count", "passenger_count", texts)
        assert [count for count, _ in passengers] == list(pd.to_numeric(pd.Series(texts)))


@FEW_EXAMPLES
@given(st.lists(written_times, min_size=200, max_size=200))
def test_mixed_forms_of_dates_are_cast_each_by_its_own(hostile, written):
    texts, forms = zip(*written, strict=True)
    pickups = staged(hostile.settings, "tpep_pickup_datetime", "pickup_datetime", texts)
    assert pickups == [
        (datetime.strptime(text, form), False) for text, form in zip(texts, forms, strict=True)
    ]


nearly_numbers = st.text("0123456789.+-eE_xob Naif\t,٣", min_size=1, max_size=12)
nearly_times = st.builds(
    lambda text, place, character: text[:place] + character + text[place + 1 :],
    written_times.map(lambda it: it[0]),
    st.integers(0, 25),
    st.sampled_from(list("0123456789 +-:./TZtzAPaBCM!\t٣")),
)


@FEW_EXAMPLES
@given(st.lists(nearly_numbers, min_size=300, max_size=300))
def test_nearly_a_number_is_rejected_or_what_python_reads(hostile, texts):
    for text, (amount, is_rejected) in zip(
        texts, staged(hostile.settings, "fare_amount", "fare_amount", texts), strict=True
    ):
        if amount is not None:
            assert amount == Decimal(text.strip()), text
            assert text.isascii(), text
            assert "_" not in text, text
        else:
            is_nothing = re.fullmatch(r"[ \t]*(-*|na|nan)[ \t]*", text, re.IGNORECASE)
            assert is_rejected == (is_nothing is None), text


@FEW_EXAMPLES
@given(st.lists(nearly_times, min_size=300, max_size=300))
def test_nearly_a_date_is_rejected_or_what_python_reads(hostile, texts):
    pickups = staged(hostile.settings, "tpep_pickup_datetime", "pickup_datetime", texts)
    for text, (pickup, is_rejected) in zip(texts, pickups, strict=True):
        assert is_rejected == (pickup is None), text
        if pickup is not None:
            assert pickup in python_reads(text), text


def python_reads(text: str) -> list[datetime]:
    """What a text is in any of the forms."""
    read = []
    for form in FORMS:
        for written in (text, re.sub(r" ?(?:[zZ]|[+-]00(?::?00)?)$", "", text.rstrip(" \t"))):
            try:
                read.append(datetime.strptime(written.strip(" \t"), form))
            except ValueError:
                continue
    return read
