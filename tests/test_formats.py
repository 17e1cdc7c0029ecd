"""What is a header, what is a row, and what is neither: CSV, gzip and Parquet."""

import decimal
import gzip
import io
import os
import re
import zipfile
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up import HEADER

from flows.errors import PipelineError
from flows.tlc.datasets import DATASETS
from flows.tlc.download import NotPublished, verify
from flows.tlc.formats import (
    BATCH,
    column_names,
    open_trip_file,
    parse_header,
    surplus_of,
    why_malformed,
    without_surplus,
)

YELLOW = DATASETS["yellow"]
REAL = Path(os.environ.get("TLC_FILES", "none"))  # a folder with real files: eras/, parquet/


def header_of(line: str) -> list[str]:
    return column_names(parse_header(line.encode(), "trips.csv, line 1"), "trips.csv, line 1")


@pytest.fixture
def opened(tmp_path):
    """Open content as a file of trips."""

    @contextmanager
    def open_(content: bytes):
        path = tmp_path / "trips"
        path.write_bytes(content)
        with open_trip_file(path, "trips.csv") as trips:
            yield trips

    return open_


def sort_lines(trips) -> tuple[bytes, list[tuple]]:
    aside = []
    return b"".join(trips.good_chunks(lambda *line: aside.append(line))), aside


def parquet(columns: dict | pa.Table, **options) -> bytes:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


class TestHeader:
    def test_names_are_in_lower_case_in_the_order_of_the_file(self):
        assert tuple(header_of(HEADER + "\n")) == tuple(HEADER.lower().split(","))

    @pytest.mark.parametrize(
        "line",
        [
            f"\ufeff{HEADER}",
            HEADER.replace(",", " , "),
            HEADER.replace(",", ", "),
            f"{HEADER}\r\n",
            HEADER.upper(),
            '"' + HEADER.replace(",", '","') + '"',
            '"' + HEADER.replace(",", '", "') + '"',
        ],
    )
    def test_may_have_a_byte_order_mark_blanks_crlf_capitals_or_quotes(self, line):
        assert tuple(header_of(line)) == tuple(HEADER.lower().split(","))

    def test_additional_columns_are_kept(self):
        assert header_of(f"{HEADER},Airport_fee,__index_level_0__")[-2:] == [
            "airport_fee",
            "__index_level_0__",
        ]

    @pytest.mark.parametrize("name", ["", " ", "Unnamed: 0", '""'])
    def test_an_index_column_without_a_name_gets_the_one_that_pandas_gives_it(self, name):
        assert header_of(f"{name},{HEADER}")[0] == "unnamed_0"

    @pytest.mark.parametrize(
        ("name", "kept"),
        [("Trip Distance", "trip_distance"), ("2nd", "_2nd"), ("fare-amt.", "fare_amt_")],
    )
    def test_a_name_that_sql_would_want_in_quotes_gets_underscores(self, name, kept):
        assert header_of(f"a,{name}") == ["a", kept]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (f"{HEADER},Extra", "two columns 'extra'"),
            (f"{HEADER},source_row", "'source_row' is a reserved column name"),
            (f"{HEADER},source", "'source' is a reserved column name"),
            (f"{HEADER},ctid", "'ctid' is a reserved column name"),
            (f'{HEADER},"a""b"', "column 19 is 'a\"b', which has a quotation mark"),
            (
                f"{HEADER},a\0b",
                "column 19 is 'a\\x00b', which has a quotation mark or an invisible",
            ),
            (f"{HEADER},a\x1bb", "invisible character"),
            (f"{HEADER},a\u200bb", "invisible character"),
            (HEADER + "\r1,2\r", "its lines end with a carriage return alone. Convert it: tr"),
            (HEADER.replace(",", ";"), "its fields are separated by semicolons"),
            ("\ufeff" + HEADER.replace(",", ";"), "its fields are separated by semicolons"),
            (HEADER.replace(",", "\t"), "its fields are separated by tabs"),
            (f"{HEADER},{'x' * 10_000}", "'xxxxxxxxxxxxxxxxxxxx'… is too long"),
            (f'{HEADER},"a', "a quotation is not closed"),
            ("1,2021-01-01 00:30:10,1.5", "is '2021-01-01 00:30:10', a value: the header is"),
            (
                ",".join(f"c{i}" for i in range(1_601)),
                "1,601 columns, where a table can have 1,597",
            ),
            ("a," * 700_000, "it has more than 1 MB"),
            ("", "no header"),
            ("\n1,2\n", "no header"),
            ("B02764,6/1/2021 0:02", "column 2 is '6/1/2021 0:02', a value: the header is missing"),
            ("sep=;\nVendorID;x", "it is for Excel alone. Take the line away: tail -n +2"),
        ],
    )
    def test_one_that_can_not_be_a_tables_is_refused_in_one_line(self, opened, line, reason):
        with (
            pytest.raises(PipelineError, match=r"^trips\.csv, line 1: ") as refusal,
            opened(line.encode()),
        ):
            pass
        assert reason in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 600

    def test_what_lacks_of_a_dataset_is_listed(self):
        names = header_of(HEADER.replace("VendorID,", "").replace("passenger_count", "people"))
        with pytest.raises(PipelineError, match="no column 'vendorid', 'passenger_count'"):
            YELLOW.require_columns(names, "trips.csv")

    def test_surcharges_that_older_files_do_not_have_are_not_required(self):
        old = HEADER.removesuffix(",congestion_surcharge").replace(",improvement_surcharge", "")
        YELLOW.require_columns(header_of(old), "trips.csv")

    @pytest.mark.parametrize(
        "header",
        [
            "vendor_name,Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Passenger_Count,Trip_Distance,"
            "Start_Lon,Start_Lat,Rate_Code,store_and_forward,End_Lon,End_Lat,Payment_Type,Fare_Amt,"
            "surcharge,mta_tax,Tip_Amt,Tolls_Amt,Total_Amt",
            "vendor_id, pickup_datetime, dropoff_datetime, passenger_count, trip_distance, "
            "pickup_longitude, pickup_latitude, rate_code, store_and_fwd_flag, dropoff_longitude, "
            "dropoff_latitude, payment_type, fare_amount, surcharge, mta_tax, tip_amount, "
            "tolls_amount, total_amount",
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,"
            "pickup_longitude,pickup_latitude,RateCodeID,store_and_fwd_flag,dropoff_longitude,"
            "dropoff_latitude,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
            "improvement_surcharge,total_amount",
        ],
        ids=["2009", "2014", "2015"],
    )
    def test_the_columns_of_every_era_are_known_by_their_names_of_then(self, header):
        YELLOW.require_columns(header_of(header), "trips.csv")


class TestRow:
    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"1,2", "2 fields in place of 3"),
            (b"1,2,3,4", "4 fields in place of 3"),
            (b"", "blank line"),
            (b"  ", "blank line"),
            (b"\\.", "1 fields in place of 3"),
            (b'1,"2,3', "a quotation is not closed"),
            (b"1,\xe9,3", "byte 3 is 0xe9, which is not UTF-8"),
            (b"1,\0,3", "a NUL byte"),
            (b"1,2\r,3", "a carriage return within the line"),
            (b'x",y",z', "2 fields in place of 3"),  # a comma between quotes, as COPY sees it
        ],
    )
    def test_a_line_that_is_not_one_has_a_reason(self, line, reason):
        assert why_malformed(line, 3) == reason

    @pytest.mark.parametrize(
        "line",
        [b"1,2,3", b",,", b'"1,5",2,3', b'"a ""b""",2,3', "é,2,3".encode(), b'a"b"c,2,3'],
    )
    def test_a_line_that_is_one_has_no_reason(self, line):
        assert why_malformed(line, 3) is None

    @pytest.mark.parametrize(
        ("line", "surplus"),
        [
            *((b"1,2,3", 0), (b"1,2,3,,", 2), (b",,,,", 2), (b'1,2,3,"",', 2), (b"1,2", 0)),
            *((b"1,2,3,4", 0), (b"1,2,3,4,", 0), (b"1,2,3, ", 0), (b'1,2,"3,,', 0)),
            (b'1,2,"3,"",', 0),  # not closed
            (b'1,2,"3,",', 1),
        ],
    )
    def test_empty_fields_too_many_are_a_surplus(self, line, surplus):
        assert surplus_of(line, 3) == surplus
        if surplus:
            assert why_malformed(without_surplus(line, surplus), 3) is None


class TestCsv:
    def test_gzip_is_told_by_the_content_not_by_the_name(self, opened):
        for content in (b"a,b\n1,2\n", gzip.compress(b"a,b\n1,2\n")):
            with opened(content) as trips:
                assert b"".join(trips.chunks()) == b"1,2\n"
                assert trips.sha256 == sha256(b"a,b\n1,2\n").hexdigest()
                assert (trips.rows_read, trips.bytes_read, trips.rows) == (1, 8, None)

    def test_good_lines_pass_byte_for_byte_and_the_others_are_put_aside_by_number(self, opened):
        with opened(b'a,b,c\n1,2,3\n4,5\n"6,x",7,8\n\n9,\xff,0\n') as trips:
            passed, aside = sort_lines(trips)
        assert passed == b'1,2,3\n"6,x",7,8\n'
        assert aside == [
            (3, "4,5", "2 fields in place of 3"),
            (5, "", "blank line"),
            (6, r"9,\xff,0", "byte 3 is 0xff, which is not UTF-8"),
        ]
        assert trips.rows_read == 2

    def test_a_last_line_without_an_end_is_a_line(self, opened):
        with opened(b"a,b,c\r\n1,2,3\r\n4,5,6") as trips:
            assert sort_lines(trips) == (b"1,2,3\n4,5,6\n", [])
            assert b"".join(trips.chunks()) == b"1,2,3\r\n4,5,6"
            assert trips.rows_read == 2

    @pytest.mark.parametrize("blank", [b"\r\n", b"\n", b"\r\n\r\n", b" \n"])
    def test_blank_lines_after_the_header_are_skipped_and_keep_their_numbers(self, opened, blank):
        content = b"a,b\n" + blank + b"1,2\r\n3\r\n"
        with opened(content) as trips:
            assert b"".join(trips.chunks()) == b"1,2\r\n3\r\n"
            assert trips.sha256 == sha256(content).hexdigest()
            assert trips.bytes_read == len(content)
            number = 3 + blank.count(b"\n")
            assert sort_lines(trips) == (b"1,2\n", [(number, "3", "1 fields in place of 2")])

    def test_rows_with_two_empty_fields_too_many_are_rows(self, opened):
        with opened(b"a,b\r\n1,2,,\r\n3,4,,\r\n") as trips:
            assert b"".join(trips.chunks()) == b"1,2\r\n3,4\r\n"
            assert sort_lines(trips) == (b"1,2\n3,4\n", [])

    def test_so_are_those_among_others(self, opened):
        with opened(b'a,b\n1,2\n3,4,,\n5,6,"",x\n7,,\n') as trips:
            passed, aside = sort_lines(trips)
        assert passed == b"1,2\n3,4\n7,\n"
        assert aside == [(4, '5,6,"",x', "4 fields in place of 2")]

    def test_no_line_is_lost_between_pieces(self, opened, monkeypatch):
        monkeypatch.setattr("flows.tlc.formats.CHUNK", 7)
        lines = [f"{i},{i}" + ",x" * (i % 3 == 0) for i in range(100)]
        with opened("\n".join(["a,b", *lines]).encode()) as trips:
            passed, aside = sort_lines(trips)
            assert b"".join(trips.chunks()) == "\n".join(lines).encode()
            assert trips.rows_read == 100
        assert len(passed.splitlines()) + len(aside) == 100
        assert [number for number, *_ in aside] == [i + 2 for i in range(100) if i % 3 == 0]

    def test_a_reading_that_is_left_does_not_disturb_the_next(self, opened, monkeypatch):
        monkeypatch.setattr("flows.tlc.formats.CHUNK", 100)
        lines = b"".join(b"%d,x\n" % i for i in range(1_000))
        with opened(gzip.compress(b"a,b\n" + lines)) as trips:
            left = [trips.chunks() for _ in range(3)]
            assert [next(chunks)[:4] for chunks in left[2:]] == [b"0,x\n"]
            assert sort_lines(trips) == (lines, [])

    def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(self, opened):
        content = b"a,b,c\n1,2,3\n" + b"x" * 3_000_000
        with opened(content) as trips, pytest.raises(PipelineError, match="more than 1 MB"):
            list(trips.chunks())

    def test_a_gzip_file_that_is_cut_off_is_one_clear_line(self, opened):
        packed = gzip.compress(b"a,b\n" + b"".join(b"%d,x\n" % i for i in range(100_000)))
        with (
            opened(packed[:-1_000]) as trips,
            pytest.raises(PipelineError, match=r"^trips.csv: the gzip file is damaged"),
        ):
            list(trips.chunks())


class TestManyFiles:
    """A folder, or a pattern, is one month's file."""

    @pytest.fixture
    def folder(self, tmp_path):
        """A folder of files with this content."""

        def make(files: dict[str, bytes]) -> Path:
            folder = tmp_path / "export"
            for name, content in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            return folder

        return make

    def rows_of(self, path: Path) -> bytes:
        with open_trip_file(path, str(path)) as trips:
            rows = b"".join(trips.chunks())
            assert sort_lines(trips) == (rows, [])
            assert trips.rows_read == rows.count(b"\n")
            return rows

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_its_files_are_read_as_one_in_the_order_of_their_names(self, folder, pack):
        names = ("part-00002.csv", "part-00000.csv", "part-00001.csv")
        path = folder({name: pack(b"a,b\n%s,x\n" % name[9:10].encode()) for name in names})
        for given in (path, path / "part-*.csv", path / "part-0000[0-2].csv", path / "**" / "*"):
            assert self.rows_of(given) == b"0,x\n1,x\n2,x\n"

    def test_so_are_files_of_parquet(self, folder):
        parts = {f"part-{i}.snappy.parquet": parquet({"a": [i], "b": ["x"]}) for i in (1, 0)}
        assert self.rows_of(folder(parts)) == b"0,x\n1,x\n"

    def test_a_last_line_without_an_end_is_not_the_beginning_of_the_next_files_first(self, folder):
        path = folder({"1.csv": b"a,b\n1,x", "2.csv": b"a,b\n2,x\n"})
        assert self.rows_of(path) == b"1,x\n2,x\n"

    def test_a_file_without_rows_is_one_of_them(self, folder):
        path = folder({"0": b"a,b\n", "1": b"a,b\n", "2": b"a,b\n2,x\n", "3": b"a,b"})
        assert self.rows_of(path) == b"2,x\n"

    def test_what_is_hidden_or_sparks_own_is_none_of_them(self, folder):
        others = dict.fromkeys(("_SUCCESS", ".part-0.csv.crc", ".DS_Store", "_metadata"), b"?")
        path = folder({"part-0.csv": b"a,b\n1,x\n", **others})
        assert self.rows_of(path) == self.rows_of(path / "*") == b"1,x\n"

    def test_what_is_read_is_all_counted_and_hashed(self, folder):
        files = {"1.csv": b"a,b\n1,x\n", "2.csv": b"a,b\n2,x\n3,x\n"}
        path = folder(files)
        seen = set()
        for change in (b"", b"", b"4,x\n"):
            (path / "2.csv").write_bytes(files["2.csv"] + change)
            with open_trip_file(path, "export") as trips:
                assert [*trips.read_through()][-1] == trips.bytes_read == 20 + len(change)
                seen.add(trips.sha256)
                list(trips.chunks())
                assert (trips.rows_read, trips.bytes_read) == (3 + bool(change), 20 + len(change))
                seen.add(trips.sha256)
        assert len(seen) == 2

    def test_one_file_in_a_folder_is_the_file_itself(self, folder):
        content = b"a,b\n1,x\n"
        with open_trip_file(folder({"part-0.csv": content}), "export") as trips:
            list(trips.chunks())
            assert trips.sha256 == sha256(content).hexdigest()
            assert trips.header.endswith("part-0.csv, line 1")

    def test_a_file_whose_name_looks_like_a_pattern_is_a_file(self, folder):
        path = folder({"trips[1].csv": b"a,b\n1,x\n", "trips1.csv": b"a,b\n2,x\n"})
        assert self.rows_of(path / "trips[1].csv") == b"1,x\n"

    def test_a_line_that_is_put_aside_has_its_file_in_its_reason(self, folder):
        path = folder({"1.csv": b"a,b\n1,x\n", "2.csv": b"a,b\n2,x\n3\n", "3.csv": b"a,b\n4,x"})
        with open_trip_file(path, "export") as trips:
            rows, aside = sort_lines(trips)
            assert trips.rows_read == 3
        assert rows == b"1,x\n2,x\n4,x\n"
        assert aside == [(3, "3", "1 fields in place of 2 (in 2.csv)")]

    @pytest.mark.parametrize(
        ("files", "reason"),
        [
            (
                {"1.csv": b"a,b\n", "1.csv.gz": gzip.compress(b"a,b\n")},
                "1.csv is CSV, and 1.csv.gz",
            ),
            ({"1.csv": b"a,b\n", "2.parquet": parquet({"a": [1], "b": [1]})}, "is CSV, and 2.parq"),
            (
                {"1.csv": b"a,b\n", "2.csv": b"a,c\n"},
                "2.csv, line 1: its columns are not those of 1",
            ),
            ({"1.csv": b"a,b\n", "2.csv": b"a,c\n"}, "it lacks 'b', it has 'c'. Give the files of"),
            (
                {"1.csv": b"a,b\n", "2.csv": b"b,a\n"},
                "not those of 1.csv: they are in another order",
            ),
            ({"1.csv": b"a,b\n", "2.csv": b"1,2021-06-01\n"}, "2.csv, line 1: column 2 is '2021-"),
            ({"1.csv": b"a,b\n", "2.csv": b""}, "2.csv, line 1: no header"),
            ({"1.csv": b"a,b\n", "notes.html": b"<html>"}, "notes.html is a web page"),
            ({"1.csv": b"a,b\n1,x\n", "2.csv": b"a,b\n1,x\n"}, "2.csv is a copy of 1.csv. Delete"),
            (
                {"1.csv": b"a,b\n", "day=2/1.csv": b"a,b\n"},
                "folders in it, such as day=2. Name the",
            ),
            (
                {"1.csv": b"a,b\n", "_temporary/1.csv": b"a,b\n"},
                "is not complete: Spark is writing",
            ),
            ({"1.csv": b"a,b\n", "_delta_log/0.json": b"{}"}, "is a Delta table, which may hold"),
            (
                {"y_2021-05.csv": b"a,b\n", "y_2021-06.csv": b"a,b\n"},
                "its files are of several months, 2021-05 to 2021-06. Name those of one: SOURCE='",
            ),
        ],
    )
    def test_what_can_not_be_one_months_files_is_one_clear_line(self, folder, files, reason):
        path = folder(files)
        with (
            pytest.raises(PipelineError, match=re.escape(reason)) as refusal,
            open_trip_file(path, str(path)) as trips,
        ):
            list(trips.chunks())
        assert str(path) in str(refusal.value)
        assert "\n" not in str(refusal.value)

    def test_days_of_one_month_are_one_months_files(self, folder):
        names = (f"trips-2021-06-{day:02}-7d1f2021-06ab.csv" for day in range(1, 31))
        path = folder({name: b"a,b\n%s,x\n" % name[14:16].encode() for name in names})
        assert self.rows_of(path).count(b"\n") == 30

    @pytest.mark.parametrize("given", ["export", "export/*.parquet"])
    def test_a_folder_or_pattern_without_files_is_not_there(self, folder, tmp_path, given):
        folder({"_SUCCESS": b"", ".x.csv": b""})
        with pytest.raises(NotPublished, match=r"export.*: (there are no files in it|no file has)"):
            verify(str(tmp_path / given), tmp_path / given)


def zip_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "a,b\n1,2\n")
    return file.getvalue()


ACCESS_DENIED = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


# Without the time: a test is called by its size, and packed twice that depends on the time.
packed = partial(gzip.compress, mtime=0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (ACCESS_DENIED, "is an error message of its server (AccessDenied)"),
        (packed(ACCESS_DENIED), "is an error message of its server (AccessDenied)"),
        (b"\n" * 5_000 + b"<!DOCTYPE html><title>Sign in</title>", "is a web page"),
        (b"\xef\xbb\xbf \r\n<html>", "is a web page"),
        (b'{"message": "Not Found"}', "is JSON"),
        (LFS_POINTER, "is a Git LFS pointer, not the file. Get the file: git lfs pull"),
        (packed(packed(b"a,b\n1,2\n")), "is packed with gzip twice"),
        (packed(parquet({"a": [1]})), "is Parquet that is packed with gzip"),
        (zip_of("x/trips.csv"), "is a zip file. Unpack the one file in it (unzip -p FILE.zip > tr"),
        (zip_of("a.csv", "b.csv"), "is a zip file. It has 2 files: unpack it"),
        (zip_of("xl/workbook.xml"), "It is an Excel workbook: save it as CSV"),
        (zip_of("a.csv")[:40], "Get the file again, it is damaged"),
        (b"\xfd7zXZ\0", "is packed with xz"),
        (b"BZh91AY", "is packed with bzip2"),
        (b"\x28\xb5\x2f\xfd\0", "is packed with zstd"),
        ("a,b\n".encode("utf-16"), "is text in UTF-16"),
        (b"\x89PNG\r\n", "line 1: not text in UTF-8"),
        (parquet({"a": [1]})[:-10], "the Parquet file is damaged or cut off"),
        (b"PAR1", "the Parquet file is damaged or cut off"),
    ],
)
def test_what_is_not_a_file_of_trips_is_one_clear_line_that_says_what_to_do(
    opened, content, reason
):
    with pytest.raises(PipelineError, match=r"^trips\.csv") as refusal, opened(content):
        pass
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600


class TestParquet:
    def text_of(self, opened, columns, **options) -> str:
        with opened(parquet(columns, **options)) as trips:
            text = b"".join(trips.chunks()).decode()
            assert trips.rows_read == trips.rows
            return text

    @pytest.mark.parametrize(
        ("values", "text"),
        [
            (pa.array([1.0, 2.5, 0.1 + 0.2, None]), "1 2.5 0.30000000000000004 NULL"),
            (pa.array([1, None], pa.int32()), "1 NULL"),
            (pa.array([2**63 - 1], pa.int64()), "9223372036854775807"),
            (pa.nulls(2), "NULL NULL"),
            (pa.array(["N", None, ""]), '"N" NULL ""'),
            (pa.array(["N", None]), "N NULL"),
            (pa.array(["N"], pa.large_string()), "N"),
            *(
                (pa.array(["N", None, ""]).cast(kind), '"N" NULL ""')
                for kind in (pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary())
            ),
            (pa.array(["N", None, ""]).dictionary_encode(), '"N" NULL ""'),
            (pa.array(["N", "Y", "N"]).dictionary_encode(), "N Y N"),
            (pa.array([True, None]), "true NULL"),
            (pa.array([decimal.Decimal("2.50")], pa.decimal128(9, 2)), "2.50"),
            (pa.array([1.5], pa.float32()), "1.5"),
            (pa.array([b"N"]), "N"),
            (pa.array([date(2021, 1, 31)]), "2021-01-31"),
            (pa.array(["2009-01-01 00:00:00"]), "2009-01-01 00:00:00"),
        ],
    )
    def test_every_type_that_a_column_has_had_is_written_as_text(self, opened, values, text):
        lines = self.text_of(opened, {"a": values, "b": [7] * len(values)}).splitlines()
        expected = [value.replace("NULL", "") for value in text.split(" ")]
        if "2009" in text:
            expected = [text]
        assert [line.removesuffix(",7").removesuffix(',"7"') for line in lines] == expected

    @pytest.mark.parametrize("unit", ["s", "ms", "us"])
    def test_a_time_without_a_fraction_is_written_without_one_even_in_the_year_3019(
        self, opened, unit
    ):
        times = pa.array([datetime(2021, 1, 1, 0, 30, 10), datetime(3019, 2, 3), None])
        text = self.text_of(opened, {"a": times.cast(pa.timestamp(unit)), "b": [1, 2, 3]})
        assert text == "2021-01-01 00:30:10,1\n3019-02-03 00:00:00,2\n,3\n"

    def test_also_where_sparks_old_format_has_it(self, opened):
        times = pa.array([datetime(3019, 2, 3)])
        text = self.text_of(opened, {"a": times}, use_deprecated_int96_timestamps=True)
        assert text == "3019-02-03 00:00:00\n"

    def test_of_mixed_times_those_with_a_fraction_keep_it(self, opened):
        times = pa.array([datetime(2021, 1, 1), datetime(2021, 1, 1, 0, 0, 0, 250_000)])
        assert (
            self.text_of(opened, {"a": times})
            == "2021-01-01 00:00:00\n2021-01-01 00:00:00.250000\n"
        )

    def test_a_time_zone_is_kept_in_the_text(self, opened):
        times = pa.array([datetime(2021, 1, 1)], pa.timestamp("us", tz="UTC"))
        assert self.text_of(opened, {"a": times}) == "2021-01-01 00:00:00Z\n"

    def test_commas_quotes_and_line_ends_in_a_string_are_quoted(self, opened):
        values = ["a,b", 'say "x"', "two\nlines", "carriage\r", "\\."]
        text = self.text_of(opened, {"a": values, "b": [1] * 5})
        assert pd.read_csv(io.StringIO(text), header=None, lineterminator="\n")[0].tolist()[:2] == [
            "a,b",
            'say "x"',
        ]
        assert text.replace('"1"', "1") == (
            '"a,b",1\n"say ""x""",1\n"two\nlines",1\n"carriage\r",1\n"\\.",1\n'
        )

    @pytest.mark.parametrize("compression", ["gzip", "snappy", "zstd", "none"])
    def test_its_rows_are_all_there_whatever_the_row_groups_and_the_packing(
        self, opened, compression
    ):
        count = 2 * BATCH + 10
        for size in (1_000, count):
            text = self.text_of(
                opened,
                {"a": range(count), "b": ["x"] * count},
                row_group_size=size,
                compression=compression,
            )
            assert text == "".join(f"{i},x\n" for i in range(count))

    def test_the_least_that_it_takes_as_text_is_known_from_its_footer(self, opened):
        nulls = pa.nulls(1_000_000, pa.string())
        with opened(content := parquet({"a": nulls, "b": nulls})) as trips:
            assert len(content) < 10_000
            assert 2_000_000 <= trips.text_bytes <= len(b"".join(trips.chunks()))

    def test_its_names_are_those_of_the_raw_table(self, opened):
        with opened(
            parquet({"VendorID": [1], "Airport_fee": [1], "__index_level_0__": [0]})
        ) as trips:
            assert trips.columns == ["vendorid", "airport_fee", "__index_level_0__"]

    @pytest.mark.parametrize(
        ("columns", "reason"),
        [
            ({"a": [[1]]}, "column 'a' is of type list<"),
            ({"a": [{"b": 1}]}, "column 'a' is of type struct<"),
            ({"source_month": [1]}, "'source_month' is a reserved column name"),
            ({"a": [1], "A": [2]}, "two columns 'a'"),
        ],
    )
    def test_columns_that_can_not_be_a_tables_are_refused(self, opened, columns, reason):
        with (
            pytest.raises(PipelineError, match=r"^trips\.csv: ") as refusal,
            opened(parquet(columns)),
        ):
            pass
        assert reason in str(refusal.value)

    def test_rows_that_postgresql_can_not_hold_are_put_aside_by_number(self, opened):
        values = [f"{i}" for i in range(1_000)]
        values[10] = "a\0b"
        table = pa.table({"a": pa.array(values), "n": range(1_000)})
        invalid = pa.array([b"x"] * 500 + [b"\xff"] + [b"x"] * 499)
        with opened(parquet(table.append_column("c", invalid))) as trips:
            passed, aside = sort_lines(trips)
            assert trips.rows_read == 998
        assert passed.count(b"\n") == 998
        assert aside == [
            (12, r"a\x00b,10,x", "a NUL byte"),
            (502, r"500,500,\xff", "byte 9 is 0xff, which is not UTF-8"),
        ]

    def test_the_audits_hash_is_that_of_the_file_when_its_last_row_has_been_read(
        self, opened, tmp_path
    ):
        content = parquet({"a": range(10)})
        with opened(content) as trips:
            list(trips.chunks())
            assert trips.sha256 == sha256(content).hexdigest()
            assert trips.bytes_read == len(content)
            (tmp_path / "trips").write_bytes(content + b" ")
            list(trips.chunks())
            assert trips.sha256 != sha256(content).hexdigest()

    def test_pages_that_are_damaged_are_one_clear_line(self, opened):
        content = bytearray(parquet({"a": [f"{i}" for i in range(50_000)]}, compression="gzip"))
        content[1_000:9_000] = b"x" * 8_000
        with (
            opened(bytes(content)) as trips,
            pytest.raises(
                PipelineError, match=r"^trips\.csv: the Parquet file is damaged"
            ) as refusal,
        ):
            list(trips.chunks())
        assert "\n" not in str(refusal.value)


@pytest.mark.skipif(not REAL.exists(), reason="TLC_FILES names no folder")
class TestRealFiles:
    @pytest.mark.parametrize("path", sorted(REAL.glob("eras/*.csv")), ids=lambda path: path.stem)
    def test_every_line_of_every_era_is_a_row_but_the_last_which_is_cut_off(self, path):
        lines = path.read_bytes().decode().split("\n")
        filled = [line for line in lines if line.strip()]
        with open_trip_file(path, path.name) as trips:
            passed, aside = sort_lines(trips)
            list(trips.chunks())
            assert trips.rows_read == len(filled) - 1
        assert len(passed.splitlines()) + len(aside) == len(filled) - 1
        assert [number for number, *_ in aside] in ([], [len(lines)])
        if path.stem.startswith("yellow"):
            YELLOW.require_columns(trips.columns, path.name)

    @pytest.mark.parametrize("path", sorted(REAL.glob("parquet/*")), ids=lambda path: path.stem)
    def test_the_rows_of_parquet_are_what_pandas_reads(self, path):
        with open_trip_file(path, path.name) as trips:
            text = b"".join(trips.chunks()).decode()
        ours = pd.read_csv(io.StringIO(text), names=trips.columns, dtype=str, keep_default_na=False)
        theirs = pq.read_table(path).to_pandas()
        assert len(ours) == len(theirs) == trips.rows
        for name, column in zip(trips.columns, theirs, strict=True):
            values = theirs[column]
            if pd.api.types.is_numeric_dtype(values):
                assert (pd.to_numeric(ours[name]).to_numpy() == values.to_numpy()).sum() == (
                    values.notna().sum()
                )
            else:
                assert ours[name].tolist() == values.astype(str).where(values.notna(), "").tolist()
