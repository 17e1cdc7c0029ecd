"""A month is loaded whole or not at all, and no line is lost."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from unittest.mock import ANY

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import again_and_again, load_file
from made_up import HEADER, made_up_month
from prefect import flow
from sqlalchemy.exc import IntegrityError

from flows.errors import PipelineError
from flows.land import land as land_month
from flows.parameters import Limits
from flows.tlc.datasets import DATASETS
from flows.tlc.download import probe, verify
from flows.warehouse.connection import connect
from flows.warehouse.load import Load, latest_loads, load

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
ROW = "1,2021-01-01 00:30:10,2021-01-01 00:36:12,1,2.10,1,N,142,43,2,8,3,0.5,0,0,0.3,11.8,2.5"


@pytest.fixture
def land(warehouse, tmp_path):
    """Load a file of the given lines; the header is added."""

    def run(lines, month=JANUARY, header=HEADER, max_share=0.01, **options) -> Load:
        path = tmp_path / "trips.csv"
        content = "\n".join([header, *lines]) + "\n"
        path.write_bytes(content.encode(errors="surrogateescape"))
        return load_file(path, month, max_malformed_share=max_share, **options)

    return run


@pytest.mark.any_postgres
def test_every_value_is_kept_as_the_text_that_it_was(land, query):
    land([ROW.replace("2.10", " .20 ")])
    assert query(
        "select trip_distance, fare_amount, store_and_fwd_flag from raw.yellow_tripdata"
    ) == [(" .20 ", "8", "N")]


def test_rows_know_their_month_their_place_in_the_file_and_their_load(land, query):
    land([ROW, ROW, ROW], FEBRUARY)
    rows = query("select source_month, source_row, load_id from raw.yellow_tripdata")
    assert rows == [(FEBRUARY, 1, 1), (FEBRUARY, 2, 1), (FEBRUARY, 3, 1)]


@pytest.mark.any_postgres
def test_a_month_is_replaced_and_no_other(land, query):
    land([ROW] * 2, JANUARY)
    land([ROW] * 3, FEBRUARY)
    land([ROW] * 5, JANUARY)
    counts = "select source_month, count(*) from raw.yellow_tripdata group by 1 order by 1"
    assert query(counts) == [(JANUARY, 5), (FEBRUARY, 3)]


def test_the_same_content_is_not_loaded_twice(land, query):
    assert land([ROW]) == replace(land([ROW]), seconds=ANY)
    assert query("select count(*) from raw.loads") == [(1,)]


def test_the_same_content_is_loaded_again_where_it_is_forced(land, query):
    land([ROW])
    land([ROW], force=True)
    assert query("select load_id from raw.yellow_tripdata") == [(2,)]


def test_the_audit_has_a_row_a_load(warehouse, query, tmp_path):
    path = tmp_path / "trips.csv"
    path.write_text("\n".join([HEADER, ROW, ROW, "1,2"]))

    @flow
    def parent() -> None:
        load_file(path, JANUARY, max_malformed_share=0.5)

    root = parent(return_state=True).state_details.flow_run_id
    [audit] = query(
        "select source_month, source, sha256, bytes, row_count, malformed_lines, flow_run_id,"
        " started_at < finished_at from raw.loads"
    )
    expected = verify(str(path), path)
    assert audit == (*(JANUARY, str(path), expected.sha256, path.stat().st_size, 2, 1, root, True),)


@pytest.mark.any_postgres
def test_lines_that_are_no_rows_are_put_aside_and_the_rest_is_loaded(land, query):
    result = land([*[ROW] * 300, "1,2", ROW, f"{ROW},x", ROW.replace("N", "\udcff")])
    assert (result.rows, result.malformed_lines) == (301, 3)
    assert query("select line_number, line, reason from raw.malformed_lines order by 1") == [
        (302, "1,2", "2 fields in place of 18"),
        (304, f"{ROW},x", "19 fields in place of 18"),
        (305, ROW.replace("N", r"\xff"), "byte 52 is 0xff, which is not UTF-8"),
    ]


def test_a_blank_line_after_the_header_is_skipped(land):
    result = land(["\r", *[ROW] * 200])
    assert (result.rows, result.malformed_lines) == (200, 0)


def test_rows_that_are_wider_than_the_header_by_empty_fields_are_rows(land, query):
    result = land([f"{ROW},,", f'{ROW},"",'])
    assert (result.rows, result.malformed_lines) == (2, 0)
    result = land([*[f"{ROW},,"] * 200, f"{ROW},x,", ROW, f"{ROW},"])
    assert (result.rows, result.malformed_lines) == (202, 1)
    assert query("select line_number, reason from raw.malformed_lines") == [
        (202, "20 fields in place of 18")
    ]
    assert query("select distinct total_amount from raw.yellow_tripdata") == [("11.8",)]


def test_missing_last_values_are_no_surplus_where_other_rows_have_one(land, query):
    incomplete = ROW.rpartition(",")[0].rpartition(",")[0] + ",,"
    result = land([*[f"{ROW},,"] * 200, incomplete])
    assert (result.rows, result.malformed_lines) == (201, 0)
    counts = "select count(total_amount), count(tolls_amount) from raw.yellow_tripdata"
    assert query(counts) == [(200, 201)]


@pytest.mark.any_postgres  # before version 18 it ends a COPY
def test_an_end_of_copy_marker_ends_nothing(land):
    result = land([*[ROW] * 100, "\\.", *[ROW] * 100])
    assert (result.rows, result.malformed_lines) == (200, 1)


@pytest.mark.any_postgres
@pytest.mark.parametrize("first", [r"\.", r"\.x", r'"\."', r"\N"])
@pytest.mark.parametrize("beside", ["", "1,2"])
def test_a_row_that_begins_as_the_end_of_copy_marker_does_is_a_row(land, query, first, beside):
    row = first + ROW.removeprefix("1")
    result = land([ROW, row, *[beside] * bool(beside), row], max_share=1)
    assert (result.rows, result.malformed_lines) == (3, int(bool(beside)))
    assert query("select count(*) from raw.yellow_tripdata where vendorid = '1'") == [(1,)]


def test_an_empty_value_is_null_and_an_empty_text_in_quotes_stays_one(land, query):
    land([ROW.replace(",N,", ",,"), ROW.replace(",N,", ',"",')])
    assert query("select store_and_fwd_flag from raw.yellow_tripdata order by source_row") == [
        (None,),
        ("",),
    ]


def test_malformed_lines_are_those_of_the_months_latest_load(land, query):
    land(["1,2", *[ROW] * 200])
    land([*[ROW] * 200, "1,2,3"])
    assert query("select load_id, line from raw.malformed_lines") == [(2, "1,2,3")]


@pytest.mark.any_postgres
def test_too_many_malformed_lines_change_nothing(land, query):
    land([ROW])
    with pytest.raises(
        PipelineError, match=r"line 3: 2 fields in place of 18; 1 of 50 lines .* 2.0%"
    ):
        land([ROW, "1,2", *[ROW] * 48])
    assert query("select count(*) from raw.yellow_tripdata") == [(1,)]
    assert query("select count(*) from raw.malformed_lines") == [(0,)]


def test_a_file_without_rows_does_not_empty_the_month(land, query):
    land([ROW])
    with pytest.raises(PipelineError, match="no rows"):
        land([])
    assert query("select count(*) from raw.yellow_tripdata") == [(1,)]


def test_a_header_without_a_required_column_is_refused(land):
    with pytest.raises(PipelineError, match="line 1: no column 'passenger_count'"):
        land([ROW], header=HEADER.replace("passenger_count", "riders"))


def test_an_additional_column_is_kept(land, query):
    land([ROW], JANUARY)
    land([f"{ROW},1.25"], FEBRUARY, header=f"{HEADER},Airport_fee")
    land([ROW, ROW], JANUARY)
    fees = "select airport_fee, count(*) from raw.yellow_tripdata group by 1 order by 1"
    assert query(fees) == [("1.25", 1), (None, 2)]


def test_header_names_are_no_sql(land, query):
    land([f"{ROW},1"], header=f"{HEADER},x'; drop table raw.loads; --")
    assert query("select count(*) from raw.loads") == [(1,)]
    with pytest.raises(PipelineError, match="which has a quotation mark"):
        land([f"{ROW},1"], header=f'{HEADER},"x""; drop table raw.loads; --"')


def test_columns_may_stand_in_another_order(land, query):
    columns, values = HEADER.split(","), ROW.split(",")
    land([",".join(values[::-1])], header=",".join(columns[::-1]))
    assert query("select vendorid, total_amount from raw.yellow_tripdata") == [("1", "11.8")]


@pytest.mark.any_postgres
def test_readers_see_the_old_month_until_the_new_one_is_there(warehouse):
    """A reader counts all the time while a month is replaced: it sees 1,000 rows or 2,000."""
    small, large = (made_up_month(JANUARY, rows) for rows in (1_000, 2_000))
    load_file(small, JANUARY)
    with connect(warehouse) as connection:

        def count() -> int:
            with connection.begin():
                rows = connection.exec_driver_sql("select count(*) from raw.yellow_tripdata")
                return rows.scalar_one()

        with again_and_again(count) as seen:
            for file in (large, small, large, small):
                load_file(file, JANUARY, force=True)
    assert set(seen) == {1_000, 2_000}


def test_a_load_that_breaks_off_leaves_what_was_there(land, query, monkeypatch):
    land([ROW])

    def break_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.warehouse.load.swap", break_off)
    with pytest.raises(KeyboardInterrupt):
        land([ROW, ROW])
    assert query("select count(*) from raw.yellow_tripdata") == [(1,)]
    tables = (
        "select relname::text from pg_class where relname ~ '^yellow_tripdata' and relkind = 'r'"
    )
    assert query(tables) == [("yellow_tripdata_2021_01",)]


@pytest.fixture
def impatient(monkeypatch):
    """The same waiting for a lock, but not for long."""
    limits = {"lock_attempt": "100ms", "lock_pause": "300ms", "lock_patience": "500ms"}
    options = " ".join(f"-c nyc_taxi.{name}={value}" for name, value in limits.items())
    monkeypatch.setenv("PGOPTIONS", options)
    monkeypatch.setattr(load, "retry_delay_seconds", [0.5, 0.5, 0.5])


def test_a_lock_that_somebody_holds_is_named_and_waited_for_only_so_long(
    land, warehouse, impatient, monkeypatch
):
    land([ROW])
    monkeypatch.setattr(load, "retries", 0)
    with connect(warehouse) as reader, reader.begin():
        reader.exec_driver_sql("select * from raw.yellow_tripdata")
        with pytest.raises(
            PipelineError, match=r"locked by process \d+ \(taxi, nyc-taxi-elt, since .*End that"
        ):
            land([ROW, ROW])


@pytest.mark.usefixtures("impatient")
def test_while_a_load_waits_for_a_reader_other_readers_go_on_and_it_gets_its_turn(
    land, warehouse, query
):
    land([ROW])
    waits = []
    with connect(warehouse) as slow, slow.begin():
        slow.exec_driver_sql("select * from raw.yellow_tripdata")
        loader = threading.Thread(target=land, args=([ROW, ROW],))
        loader.start()
        for _ in range(10):
            began = time.monotonic()
            assert query("select count(*) from raw.yellow_tripdata") == [(1,)]
            waits.append(time.monotonic() - began)
            time.sleep(0.1)
    loader.join()
    assert max(waits) < 1  # ours is a tenth of that at most; a queue would last until the end
    assert query("select count(*) from raw.yellow_tripdata") == [(2,)]


@pytest.mark.any_postgres
def test_a_new_month_need_not_wait_for_a_reader(land, warehouse, query):
    land([ROW])
    with connect(warehouse) as reader, reader.begin():
        reader.exec_driver_sql("select * from raw.yellow_tripdata")
        land([ROW, ROW], FEBRUARY)
    assert query("select count(*) from raw.yellow_tripdata") == [(3,)]


def load_at_once(*files_and_months) -> None:
    load_by_force = partial(load_file, force=True, allow_fewer_rows=True)
    with ThreadPoolExecutor(len(files_and_months)) as threads:
        list(threads.map(load_by_force, *zip(*files_and_months, strict=True)))


def test_two_loads_of_one_month_come_one_after_the_other(warehouse, query):
    small, large = (made_up_month(JANUARY, rows) for rows in (1_000, 20_000))
    load_at_once((large, JANUARY), (small, JANUARY))
    [(rows,)] = query("select count(*) from raw.yellow_tripdata")
    latest = "select row_count from raw.loads order by finished_at desc limit 1"
    assert query(latest) == [(rows,)]
    assert query("select count(*) from raw.loads") == [(2,)]


@pytest.mark.any_postgres
def test_two_months_are_replaced_at_once_and_neither_waits_for_the_other_in_vain(
    warehouse, query, caplog
):
    file = made_up_month(JANUARY, 20_000)
    for month in (JANUARY, FEBRUARY):
        load_file(file, month)
    for _ in range(5):
        load_at_once((file, JANUARY), (file, FEBRUARY))
    assert "is locked by" not in caplog.text
    assert query("select count(*) from raw.loads") == [(12,)]
    assert query("select count(*), count(distinct load_id) from raw.yellow_tripdata") == [
        (40_000, 2)
    ]


class TestAMonthInManyFiles:
    @pytest.fixture
    def folder(self, warehouse, tmp_path):
        """Three parts of a month, of two, one and no rows."""
        folder = tmp_path / "2021-01"
        folder.mkdir()
        for number, rows in enumerate(([ROW, ROW.replace("2.10", "3")], [ROW], [])):
            (folder / f"part-{number}.csv").write_text("\n".join([HEADER, *rows]))
        (folder / "_SUCCESS").touch()
        return folder

    def test_is_one_load_of_all_their_rows(self, folder, query):
        loaded = load_file(folder, JANUARY)
        assert (loaded.rows, loaded.malformed_lines) == (3, 0)
        assert query("select source_row, trip_distance from raw.yellow_tripdata") == [
            (1, "2.10"),
            (2, "3"),
            (3, "2.10"),
        ]
        sizes = sum(path.stat().st_size for path in folder.glob("part-*"))
        audit = "select source, bytes, row_count from raw.loads"
        assert query(audit) == [(str(folder), sizes, 3)]

    def test_is_not_loaded_twice_unless_a_part_has_changed(self, folder, query):
        load_file(folder, JANUARY)
        assert load_file(folder / "part-*.csv", JANUARY).rows == 3
        assert query("select count(*) from raw.loads") == [(1,)]
        with (folder / "part-2.csv").open("a") as part:
            part.write(f"\n{ROW}\n")
        assert load_file(folder, JANUARY).rows == 4

    def test_lines_that_are_no_rows_are_known_by_their_part(self, folder, query):
        (folder / "part-1.csv").write_text("\n".join([HEADER, ROW, "1,2", ROW]))
        assert load_file(folder, JANUARY, max_malformed_share=0.5).rows == 4
        assert query("select line_number, reason from raw.malformed_lines") == [
            (3, "2 fields in place of 18 (in part-1.csv)")
        ]

    def test_a_copy_of_a_part_changes_nothing(self, folder, query):
        load_file(folder, JANUARY)
        (folder / "part-1 (1).csv").write_text((folder / "part-1.csv").read_text())
        with pytest.raises(PipelineError, match=r"part-1\.csv is a copy of part-1 \(1\)\.csv"):
            load_file(folder, JANUARY)
        assert query("select count(*) from raw.yellow_tripdata") == [(3,)]

    def test_a_part_in_the_place_of_another_is_said(self, folder, query, caplog):
        first = load_file(folder / "part-0.csv", JANUARY)
        assert first.remark is None
        second = load_file(folder / "part-1.csv", JANUARY, allow_fewer_rows=True)
        assert second.remark == (
            f"yellow 2021-01: {folder}/part-1.csv replaces 2 rows of another file, "
            f"{folder}/part-0.csv, by 1. If both are parts of the month, give them together: "
            f"SOURCE='{folder}/part-*.csv'"
        )
        assert second.remark in caplog.messages
        (folder / "part-1.csv").write_text("\n".join([HEADER, ROW, ROW, ROW]))
        assert load_file(folder / "part-1.csv", JANUARY).remark is None
        whole = load_file(folder, JANUARY)
        assert whole.remark == (
            f"yellow 2021-01: {folder} replaces 3 rows of another file, {folder}/part-1.csv, by 5"
        )

    @pytest.mark.parametrize("given", ["{month}/", "{month}/part-*.csv"])
    def test_is_landed_with_its_parts_of_now(self, folder, given):
        source = f"{folder.parent}/{given}"
        assert land_month(JANUARY, source).load.rows == 3
        for rows, part in ((4, "part-1.csv"), (6, "part-3.csv")):
            content = "\n".join([HEADER, ROW, ROW.replace("142", f"{rows}")])
            (folder / part).write_text(content)
            assert land_month(JANUARY, source).load.rows == rows

    def test_has_the_size_of_all_parts_for_the_plan(self, folder):
        sizes = [path.stat().st_size for path in folder.glob("part-*")]
        assert probe(str(folder)).bytes == probe(f"{folder}/*.csv").bytes == sum(sizes)
        assert probe(f"{folder}/*.parquet") is None


class TestAMonthThatIsThere:
    def test_is_not_replaced_by_a_sample(self, land, query):
        land([ROW])
        kept = load_file(made_up_month(JANUARY, 1_000), JANUARY, force=True, is_sample=True)
        assert (kept.rows, kept.is_sample) == (1, False)
        assert query("select count(*) from raw.loads") == [(1,)]

    def test_takes_the_place_of_a_sample_with_however_few_rows(self, land, query):
        load_file(made_up_month(JANUARY, 1_000), JANUARY, is_sample=True)
        land([ROW])
        assert query("select count(*) from raw.yellow_tripdata") == [(1,)]

    def test_is_not_replaced_by_less_than_half_of_it_even_by_force(self, land, query):
        land([ROW] * 100)
        with pytest.raises(PipelineError, match=r"49 rows, where yellow 2021-01 has 100"):
            land([ROW] * 49, force=True)
        assert query("select count(*) from raw.yellow_tripdata") == [(100,)]
        land([ROW] * 50)
        assert query("select count(*) from raw.yellow_tripdata") == [(50,)]

    def test_is_replaced_by_less_where_that_is_allowed(self, land, query):
        land([ROW] * 100)
        land([ROW], allow_fewer_rows=True)
        assert query("select count(*) from raw.yellow_tripdata") == [(1,)]


@pytest.mark.parametrize("table", ["raw.loads", "raw.yellow_tripdata"])
def test_the_database_refuses_a_day_that_is_not_the_first_of_a_month(land, query, table):
    land([ROW])
    with pytest.raises(IntegrityError, match=r"source_month_is_a_month|no partition"):
        query(f"update {table} set source_month = '2021-01-15'")
    with pytest.raises(IntegrityError, match="2021-01-15 is not the first day of a month"):
        query("select raw.swap_month('raw.yellow_tripdata', '2021-01-15', null)")


def test_another_dataset_of_the_same_month_changes_nothing_of_this_one(land, query):
    land([ROW])
    query(
        "insert into raw.loads (dataset, source_month, source, sha256, bytes, row_count,"
        " malformed_lines, started_at, finished_at)"
        " select 'green', source_month, source, sha256, bytes, row_count, 0, now(), now()"
        " from raw.loads"
    )
    assert land([ROW]).sha256
    assert query("select dataset, count(*) from raw.loads group by 1 order by 1") == [
        ("green", 1),
        ("yellow", 1),
    ]


def test_a_view_on_one_months_part_is_one_clear_line_and_nothing_changes(land, query):
    land([ROW])
    query("create view mine as select * from raw.yellow_tripdata_2021_01")
    with pytest.raises(
        PipelineError,
        match=r"yellow 2021-01 stays as it was: view mine reads raw\.yellow_tripdata_2021_01",
    ):
        land([ROW, ROW])
    assert query("select count(*) from mine") == [(1,)]


def test_a_view_on_the_raw_table_stays(land, query):
    land([ROW])
    query("create view mine as select * from raw.yellow_tripdata")
    land([ROW, ROW])
    land([ROW, ROW], FEBRUARY)
    assert query("select count(*) from mine") == [(4,)]


@pytest.mark.parametrize(
    "statement",
    [
        "drop table raw.yellow_tripdata_2021_01",
        "truncate raw.yellow_tripdata_2021_01",
        "delete from raw.yellow_tripdata",
    ],
)
def test_a_month_that_was_dropped_or_emptied_by_hand_is_loaded_again(warehouse, query, statement):
    path = made_up_month(JANUARY, 100)
    load_file(path, JANUARY)
    query(statement)
    assert latest_loads("yellow") == {}
    load_file(path, JANUARY)
    assert query("select count(*) from raw.yellow_tripdata") == [(100,)]


class TestAFileOfAnotherMonth:
    """A few trips outside of it are in each of TLC's months; most of them are in none."""

    def load(self, path, month, **limits) -> None:
        load(verify(str(path), path), DATASETS["yellow"], month, limits=Limits(**limits))

    def test_is_refused_with_the_months_that_it_has(self, warehouse, query):
        file = made_up_month(FEBRUARY, 1_000)
        with pytest.raises(
            PipelineError, match=r"is not the file of 2021-01: its trips begin in 2021-02: 100%"
        ):
            self.load(file, JANUARY)
        assert query("select count(*) from raw.loads") == [(0,)]

    def test_is_refused_if_it_is_a_whole_year_in_whatever_form_of_date(self, warehouse, tmp_path):
        path = tmp_path / "year.csv"
        rows = [
            ROW.replace("2021-01-01 00:30:10", f"{month}/1/2021 0:30") for month in range(1, 13)
        ]
        path.write_text("\n".join([HEADER, *rows * 10]))
        with pytest.raises(PipelineError, match=r"2021-01: 8%, 2021-02: 8%, .*2021-12: 8%\. Spl"):
            self.load(path, JANUARY)

    @pytest.mark.parametrize(
        ("pickup", "month"),
        [
            ("2021-{month:02}-05 10:00:00", "left(tpep_pickup_datetime::text, 7)"),
            (
                "{month}/5/2021 10:00:00 AM",
                "strftime(try_strptime(split_part(tpep_pickup_datetime, ' ', 1), '%m/%d/%Y'),"
                " '%Y-%m')",
            ),
        ],
    )
    def test_of_several_months_the_advice_is_how_to_split_it(
        self, warehouse, tmp_path, pickup, month
    ):
        path = tmp_path / "half a year.csv"
        pickups = [pickup.format(month=1 + i % 2) for i in range(100)]
        rows = [ROW.replace("2021-01-01 00:30:10", each) for each in pickups]
        path.write_text("\n".join([HEADER, *rows]))
        with pytest.raises(PipelineError) as refusal:
            self.load(path, JANUARY)
        assert str(refusal.value) == (
            f"{path} is not the file of 2021-01: its trips begin in 2021-01: 50%, 2021-02: 50%. "
            f'Split it, for example by duckdb -c "copy (select *, {month} as month from '
            f"read_csv('{path}', all_varchar=true)) to 'months' (format parquet, "
            "partition_by (month))\", and give SOURCE='months/month={month}', or take it all the "
            "same with limits.other_months_share=1"
        )

    def test_a_head_of_few_rows_is_taken_whatever_its_months_with_a_warning(
        self, warehouse, query, tmp_path, caplog
    ):
        path = tmp_path / "head.csv"
        path.write_text("\n".join([HEADER, *[ROW.replace("2021-01-01", "2020-11-28")] * 8]))
        self.load(path, JANUARY)
        assert query("select count(*) from raw.yellow_tripdata") == [(8,)]
        assert f"{path}: its trips begin in 2020-11: 100%" in caplog.messages

    def test_may_have_as_large_a_share_of_them_as_is_allowed(self, warehouse, query, tmp_path):
        path = tmp_path / "seventy of a hundred.csv"
        elsewhere = ROW.replace("2021-01-01", "2021-02-01")
        path.write_text("\n".join([HEADER, *[ROW] * 70, *[elsewhere] * 30]))
        with pytest.raises(PipelineError, match="2021-01: 70%, 2021-02: 30%"):
            self.load(path, JANUARY, other_months_share=0.29)
        self.load(path, JANUARY, other_months_share=0.3)  # 1 - 0.7 is more
        assert query("select count(*) from raw.yellow_tripdata") == [(100,)]

    def test_is_taken_if_one_says_so(self, warehouse, query):
        self.load(made_up_month(FEBRUARY, 1_000), JANUARY, other_months_share=1)
        assert query("select count(*) from raw.yellow_tripdata") == [(1_000,)]

    def test_is_what_it_is_known_by_and_not_its_dates_that_are_none(
        self, warehouse, query, tmp_path
    ):
        path = tmp_path / "odd.csv"
        path.write_text("\n".join([HEADER, *[ROW.replace("2021-01-01 00:30:10", "no date")] * 100]))
        self.load(path, JANUARY, rejected_share=1)
        assert query("select count(*) from raw.yellow_tripdata") == [(100,)]


class TestAFileOfAnotherDataset:
    """The columns may be those of the one that was meant, and the rows another's."""

    FHV = (
        "dispatching_base_num,pickup_datetime,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag,"
        "Affiliated_base_number"
    )

    @pytest.mark.parametrize(
        ("columns", "values", "reason"),
        [
            ("color", ["yellow", "green"], "by its column 'color' (green, yellow) not all of its"),
            (
                "Taxi Type",
                ["Y", "G"],
                "by its column 'taxi_type' (g, y) not all of its trips are y",
            ),
            ("cab_type_id", ["1", "2"], "by its column 'cab_type_id' (1, 2) not all of its trips"),
            ("service_type", ["Green", "Green"], "by its column 'service_type' (green) not all of"),
            (
                "filename",
                ["x/green_tripdata_2021-01.csv"] * 2,
                "by its column 'filename' (x/green_",
            ),
            (
                "trip_type",
                ["", "1"],
                "1 of 2 rows have a value in 'trip_type', which only TLC's gr",
            ),
            ("ehail_fee,trip_type", [",", ",2"], "in 'trip_type', which only TLC's green trips"),
            (
                "lpep_pickup_datetime",
                ["", ""],
                "columns of several datasets: 'tpep_pickup_datetime'",
            ),
            ("hvfhs_license_num", ["HV0003", ""], "which only TLC's fhvhv trips have"),
        ],
    )
    def test_or_of_two_is_refused_in_one_line(self, land, query, columns, values, reason):
        land([ROW])
        with pytest.raises(PipelineError) as refusal:
            land([f"{ROW},{value}" for value in values], header=f"{HEADER},{columns}")
        assert reason in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert query("select count(*) from raw.yellow_tripdata") == [(1,)]

    @pytest.mark.parametrize(
        ("columns", "values"),
        [
            ("color", ["yellow", "Yellow "]),
            ("taxi_type", ["yellow", ""]),
            ("filename", ["x/yellow_tripdata_2021-01.csv", "x/yellow_tripdata_2021-01.csv"]),
            ("pickup_zone", ["Green-Wood Cemetery", "Yellow Zone"]),
            ("trip_type,ehail_fee", [",", "0,NaN"]),  # a table of both, of which this is one's part
            ("trip_type,ehail_fee", ["NaT,--", '"""NULL""",undefined']),
            ("vehicle_type", ["sedan", "suv"]),
            ("service", ["Creative", "VeriFone"]),
            ("color", ["yellow", "'Yellow'"]),
            ("cash_or_card", ["cash", "card"]),
        ],
    )
    def test_is_not_one_whose_additional_columns_say_nothing_of_the_kind(
        self, land, columns, values
    ):
        rows = [f"{ROW},{value}" for value in values]
        assert land(rows, header=f"{HEADER},{columns}").rows == 2

    def trips_of(self, bases: list[str], folder: Path) -> Path:
        path = folder / "trips.csv"
        rows = [f"{base},2021-06-01 00:02:41,2021-06-01 00:07:46,174,18,N," for base in bases]
        path.write_text("\n".join([self.FHV, *rows]))
        return path

    def test_high_volume_trips_in_the_columns_of_fhv_are_told_by_their_bases(
        self, warehouse, query, tmp_path
    ):
        month = date(2021, 6, 1)
        load_file(self.trips_of(["B00013"] * 9 + ["B02764"], tmp_path), month, "fhv")
        apps = self.trips_of(["B02764", "b02510 ", "B02872"], tmp_path)
        with pytest.raises(
            PipelineError,
            match=r"trips\.csv: 100% of its rows are of the bases of High-volume services \(Uber, "
            r"Lyft, Via, Juno\): this is a file of TLC's fhvhv trips\. .*: DATASET=fhvhv$",
        ):
            load_file(apps, month, "fhv", allow_fewer_rows=True)
        assert query("select count(*) from raw.fhv_tripdata") == [(10,)]
        load_file(apps, month, "fhvhv")
        assert query("select count(*), count(hvfhs_license_num) from raw.fhvhv_tripdata") == [
            (3, 0)
        ]

    def test_high_volume_trips_in_those_columns_are_never_called_fhv_trips(
        self, warehouse, tmp_path
    ):
        apps = self.trips_of(["B02764", '"""B02510"""', "B00013"], tmp_path)
        for dataset in ("yellow", "green"):
            with pytest.raises(PipelineError, match=r"file of TLC's fhvhv trips.*=fhvhv$"):
                load_file(apps, date(2021, 6, 1), dataset)
        others = self.trips_of(["B02764", "B00014", "B00013"], tmp_path)
        with pytest.raises(PipelineError, match=r"file of TLC's fhv trips.*=fhv$"):
            load_file(others, date(2021, 6, 1), "yellow")

    def test_quoted_numbers_of_bases_are_known(self, warehouse, tmp_path):
        apps = self.trips_of(['"""B02764"""', "'B02510'"], tmp_path)
        assert load_file(apps, date(2021, 6, 1), "fhvhv").rows == 2

    def test_and_so_are_those_of_other_bases_and_of_both(self, warehouse, query, tmp_path):
        month = date(2021, 6, 1)
        with pytest.raises(PipelineError, match=r"0% of its rows are .*: DATASET=fhv$"):
            load_file(self.trips_of(["B00013"], tmp_path), month, "fhvhv")
        for dataset in ("fhv", "fhvhv"):
            with pytest.raises(
                PipelineError, match=r"50% of its rows .*, and the others are not\. "
            ):
                load_file(self.trips_of(["B00013", "B02764"], tmp_path), month, dataset)
        assert query("select count(*) from raw.loads") == [(0,)]

    def test_until_january_2019_the_apps_trips_are_fhv_trips(self, warehouse, tmp_path):
        path = self.trips_of(["B02764"] * 3, tmp_path)
        assert load_file(path, date(2019, 1, 1), "fhv").rows == 3


class TestAFileThatIsTooLarge:
    """A few kilobytes of Parquet can be thousands of millions of rows."""

    def test_is_refused_by_its_footer_before_it_is_read(self, tmp_path):
        path = tmp_path / "trips.parquet"
        names = HEADER.split(",")
        pq.write_table(pa.table({name: pa.nulls(100_000) for name in names}), path)
        assert path.stat().st_size < 100_000
        with pytest.raises(PipelineError, match=r"more than 0\.001 GB\. .* limits\.gigabytes"):
            verify(str(path), path, 0.001)

    def test_is_refused_while_its_text_is_copied(self, warehouse, query, tmp_path):
        path = tmp_path / "trips.parquet"
        row = dict(zip(HEADER.split(","), ROW.split(","), strict=True)) | {"extra": "x" * 1_000}
        pq.write_table(pa.table({name: [value] * 9_000 for name, value in row.items()}), path)
        file = verify(str(path), path, 0.001)
        with pytest.raises(PipelineError, match=r"more than 0\.001 GB\. .* limits\.gigabytes"):
            load(file, DATASETS["yellow"], JANUARY, limits=Limits(gigabytes=0.001))
        assert query("select count(*) from raw.loads") == [(0,)]
