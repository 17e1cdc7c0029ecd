"""Plain months: casting their values as they are gives the same rows as a look at each value."""

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime

import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import load_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import ERAS, HEADER, OTHER_ERAS, trips_of, write
from psycopg2.extensions import connection as Connection
from psycopg2.extras import execute_values
from psycopg2.sql import SQL, Identifier

from flows.build import build
from flows.tlc.datasets import DATASETS
from flows.tlc.formats import open_trip_file
from flows.tlc.plain import Plainness
from flows.warehouse.connection import connect, driver_of
from flows.warehouse.schema import OWN_COLUMNS, prepare
from flows.warehouse.staged import staged

JANUARY = date(2021, 1, 1)
ROW = "1,2021-01-01 00:30:10,2021-01-01 00:36:12,1,2.10,1,N,142,43,2,8,3,0.5,0,0,0.3,11.8,2.5"
# All but those with words in the place of codes.
PLAIN = [name for name, era in (ERAS | OTHER_ERAS).items() if not era.words]
FHV = (
    "dispatching_base_num,pickup_datetime,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag,"
    "Affiliated_base_number",
    "B00013,2021-01-01 00:30:10,2021-01-01 00:36:12,142,43,,B00013",
)


class TestWhatIsPlain:
    @pytest.fixture
    def is_plain(self, tmp_path):
        def ask(*rows: str, header: str = HEADER) -> bool:
            path = tmp_path / "trips.csv"
            path.write_text("\n".join([header, *rows]) + "\n")
            with open_trip_file(path, str(path)) as trips:
                assert not trips.is_plain
                list(trips.chunks())
                return trips.is_plain

        return ask

    @pytest.mark.parametrize(
        "row",
        [
            ROW,
            ROW.replace("2.10", "-123456789.123456789012345"),
            ROW.replace("2.10", ".5").replace(",N,", ",,"),
            ",".join(f'"{field}"' for field in ROW.split(",")),
        ],
    )
    def test_what_tlc_writes_is_plain(self, is_plain, row):
        assert is_plain(ROW, row)

    def test_numbers_of_bases_are_plain(self, is_plain):
        assert is_plain(FHV[1], header=FHV[0])
        assert is_plain(FHV[1].replace("B00013", "b00013" + " " * 9), header=FHV[0])
        for number in ("0B110", "0b1"):
            assert not is_plain(FHV[1].replace("142", number), header=FHV[0])

    @pytest.mark.parametrize(
        "row",
        [
            *(ROW.replace("2.10", text) for text in ("1e-17", "0x10", "1_0", "NaN", "1234567890")),
            *(ROW.replace("2.10", text) for text in ("0." + "1" * 30, " " * 21 + "2", "+3", "NAN")),
            *(ROW.replace("00:36:12", text) for text in ("24:00:00", "00:36:60", "0:36:12", "")),
            *(ROW.replace("2021-01-01 00:36:12", text) for text in ("", "1/1/2021 00:36", "now")),
            *(ROW.replace(",N,", text) for text in (",no,", ",é,")),
        ],
    )
    def test_all_else_is_not(self, is_plain, row):
        assert not is_plain(ROW, row)

    def test_a_parquet_file_may_lack_times(self, tmp_path):
        times = [datetime(2021, 1, 1, 0, 30), None]
        path = tmp_path / "trips.parquet"
        for column, is_plain in [
            (pa.array(times, pa.timestamp("us")), True),
            (pa.array(["2021-01-01 00:30:00", None]), True),
            (pa.array(["1/1/2021 00:30", None]), False),
            (pa.array(times, pa.timestamp("us", "UTC")), False),
            (pa.array(times, pa.date32()), False),
        ]:
            pq.write_table(pa.table({"pickup_datetime": column, "trip_miles": [1.5, 2]}), path)
            with open_trip_file(path, str(path)) as trips:
                list(trips.chunks())
                assert trips.is_plain == is_plain, column.type

    def test_each_part_of_a_month_counts(self, tmp_path):
        (tmp_path / "1.csv").write_text(f"{HEADER}\n{ROW}\n")
        for last, is_plain in [(ROW, True), (ROW.replace("2.10", "1e1"), False)]:
            (tmp_path / "2.csv").write_text(f"{HEADER}\n{ROW}\n{last}")
            with open_trip_file(tmp_path, str(tmp_path)) as trips:
                list(trips.chunks())
                assert trips.is_plain == is_plain

    def test_a_file_with_malformed_lines_is_not(self, tmp_path):
        path = tmp_path / "trips.csv"
        path.write_text(f"{HEADER}\n{ROW}\n{ROW},9\n")
        with open_trip_file(path, str(path)) as trips:
            list(trips.chunks())
            list(trips.good_chunks(lambda *_: None))
            assert not trips.is_plain


def both_ways(connection, staging: str) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The rows of a staging model with a look at each value, and with casts; None if one fails."""
    found = []
    for setting in ("", "yes"):
        with connection.cursor() as cursor:
            cursor.execute("savepoint before")
            cursor.execute(
                "select set_config('nyc_taxi_elt.values_are_plain', %s, true)", [setting]
            )
            try:
                cursor.execute(f"select * from ({staging}) as staged order by source_row")
                rows = cursor.fetchall()
                columns = [column.name for column in cursor.description]
                found.append(pd.DataFrame(rows, columns=columns, dtype=object))
            except psycopg2.DataError:
                found.append(None)
            cursor.execute("rollback to savepoint before")
    return tuple(found)


def raw_rows(cursor, dataset: str, header: list[str], rows: Iterable[list[str | None]]) -> str:
    """Put rows into a table as the loader does; returns a query for it with all raw columns."""
    known = DATASETS[dataset].columns
    cursor.execute("drop table if exists pg_temp.given")
    columns = [SQL(f"{name} {kind}") for name, kind in OWN_COLUMNS.items()]
    columns += [SQL("{} text").format(Identifier(name)) for name in known]
    cursor.execute(SQL("create temporary table given ({})").format(SQL(", ").join(columns)))
    execute_values(
        cursor,
        SQL("insert into given (source_month, load_id, source_row, {}) values %s").format(
            SQL(", ").join(map(Identifier, header))
        ),
        [(JANUARY, 1, number, *row) for number, row in enumerate(rows)],
    )
    return "(select * from pg_temp.given)"


# What a caster takes and a reader does not, and the other way round, of nothing but plain marks.
ODD = st.one_of(
    st.sampled_from(
        [
            *("", " ", "-", "-0", "00", "007", " 7", "7 ", ".5", "5.", "-.5", ".", "1.0", "1.5"),
            *("32768", "99999", "999999999", "999999999.5", "-999999999.999", "0.10", "-1", "1-"),
            *("2021-01-02 03:04:05", "1899-12-31 23:59:59", "0001-01-01 00:00:00"),
            *("2021-02-30 00:00:00", "2021-01-02 03:04:05.5", "2021-01-02 3:04:05", "2021-01-02"),
            *("2021-01-02 03:04:05 ", " 2021-01-02 03:04:05"),
            *("2021-01-02 03:04", "20210102 030405"),
            *("2021-01-02 03:04:05-05", "12021-01-02 03:04:05", "2021-13-01 00:00:00", "N", "Y"),
            *("NY", "8", "1", "0", "0.0", "B02512", "b02512", "HV0003", "B02512 ", "B1", "HV", "V"),
            *("A", "0B1", "NAN"),
        ]
    ),
    st.text(alphabet="0123456789.,:- NYABHVb", max_size=24),
    st.decimals(-1_000, 1_000, places=3).map(str),
)


@pytest.mark.parametrize(
    ("dataset", "header", "row"),
    [("yellow", HEADER, ROW), ("fhv", *FHV)],
    ids=["yellow", "fhv"],
)
def test_what_is_plain_is_the_same_either_way(database, dataset, header, row):
    names, good = header.lower().split(","), row.split(",")
    same, refused = [], []

    @settings(
        max_examples=250,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.dictionaries(st.integers(0, len(good) - 1), ODD, max_size=3))
    def check(odd: dict[int, str]) -> None:
        fields = [odd.get(number, field) for number, field in enumerate(good)]
        line = ",".join(f'"{field}"' if field else "" for field in fields) + "\n"
        seen = Plainness()
        seen.see(line.encode())
        if not (seen.is_plain and seen.times == sum("date" in name for name in names)):
            return
        with driver.cursor() as cursor:
            given = raw_rows(cursor, dataset, names, [[field or None for field in fields]])
        looked_at, cast = both_ways(driver, staged(f"stg_tlc__{dataset}_trips", given))
        if cast is None:
            refused.append(fields)
        else:
            same.append(fields)
            pd.testing.assert_frame_equal(looked_at, cast)

    with prepared(database) as driver:
        check()
    assert len(same) > 20
    assert len(refused) > 5


@pytest.mark.parametrize("name", [*ERAS, *OTHER_ERAS])
def test_every_era_is_the_same_either_way(database, tmp_path, name):
    era = (ERAS | OTHER_ERAS)[name]
    path = write(era, trips_of(era, 60), tmp_path)
    with open_trip_file(path, str(path)) as trips:
        lines = b"".join(trips.chunks()).decode().splitlines()
        rows = [[field or None for field in row] for row in csv.reader(lines)]
        is_plain, columns = trips.is_plain, trips.columns
    with prepared(database) as driver:
        with driver.cursor() as cursor:
            given = raw_rows(cursor, era.dataset, columns, rows)
        looked_at, cast = both_ways(driver, staged(f"stg_tlc__{era.dataset}_trips", given))
    assert is_plain == (name in PLAIN)
    if is_plain:
        pd.testing.assert_frame_equal(looked_at, cast)


@contextmanager
def prepared(database) -> Iterator[Connection]:
    """A connection to a database that has the loader's functions; nothing that it does stays."""
    with connect(database) as connection:
        driver = driver_of(connection)
        with driver.cursor() as cursor:
            prepare(cursor)
        yield driver
        driver.rollback()


@pytest.mark.usefixtures("models_alone")
def test_a_month_that_only_seemed_plain_is_looked_at(january, query, tmp_path, caplog):
    path = tmp_path / "february.csv"
    rows = [ROW.replace("2021-01-01", "2021-02-01")] * 150
    rows += [rows[0].replace("2021-02-01 00:36", "2021-02-30 00:36")]
    path.write_text("\n".join([HEADER, *rows]))
    load_file(path, date(2021, 2, 1))
    assert query("select is_plain from raw.loads order by load_id") == [(True,), (True,)]
    build()
    assert (
        "2021-02: each value is looked at, since date/time field value out of range" in caplog.text
    )
    counts = "select trips, rejected_trips from trip_accounting where source_month = '2021-02-01'"
    assert query(counts) == [(150, 1)]
