"""Whatever a file consists of: each of its lines is a row or malformed, or the file is refused.

Hypothesis makes up the files; a real PostgreSQL loads them.
"""

import gzip
from datetime import date, datetime
from itertools import dropwhile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import load_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import HEADER
from prefect import flow

from flows.errors import PipelineError
from flows.parameters import Limits
from flows.tlc.datasets import DATASETS
from flows.tlc.download import verify
from flows.warehouse.load import Load, load

MONTH = date(2021, 1, 1)
ROW = b"1,2021-01-01 00:30:10,2021-01-01 00:36:12,1,2.10,1,N,142,43,2,8,3,0.5,0,0,0.3,11.8,2.5"

THE_SAME_EACH_TIME = settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

FIELDS = st.sampled_from(
    [
        *(b"1", b"", b"1.0", b".20", b"1e2", b"01/31/2021 0:30", b'"a"', b'"a,b"', b'"a""b"'),
        *(b'"', b'""', b"\xe9", b"\xc3\xa9", b"\0", b"\\.", b"\\N", b"\r", b"\xef\xbb\xbf", b" "),
    ]
)
LINES = st.one_of(
    st.just(ROW),
    st.lists(FIELDS, min_size=18, max_size=18).map(b",".join),
    st.lists(FIELDS, max_size=20).map(b",".join),
    st.just(ROW + b",,"),  # trailing commas, as in the second half of 2016
    st.sampled_from([b"\\." + ROW[1:], b"\\.x" + ROW[1:], ROW + b"\n\\.", b"\\." + b"," * 17]),
    st.integers(0, len(ROW)).map(lambda end: ROW[:end]),  # an interrupted copy
    st.just(b'1,"a,b"' + b"," * 16 + b',""'),  # a surplus that is quoted
    st.sampled_from([b"", b"\\.", b'"', HEADER.encode()]),
    st.binary(max_size=30),
)
ENDS = st.sampled_from([b"\n", b"\r\n"])
HEADERS = st.sampled_from(
    [
        HEADER,
        f"\ufeff{HEADER}",
        HEADER.replace(",", " , "),  # padded with blanks, as from 2010 to 2014
        HEADER.upper(),
        ",".join(reversed(HEADER.split(","))),
        f"{HEADER},{HEADER}",
        f",{HEADER}",  # an index column
        f"{HEADER}\r\n",  # a blank line follows
        f"{HEADER},airport_fee",
        HEADER[:50],
        '"' + HEADER,
        "",
    ]
)


def load_whatever(path: Path) -> Load:
    """Load what can be loaded of a file; without Prefect, since there are hundreds."""
    return load.fn(
        verify(str(path), path),
        DATASETS["yellow"],
        MONTH,
        force=True,
        limits=Limits(malformed_share=1, rejected_share=1),
        allow_fewer_rows=True,
    )


LINES_OF_ROWS = """
select (raw.place_of_row(loads, raw_rows.source_row)).line_number
from raw.yellow_tripdata as raw_rows inner join raw.loads using (load_id)
order by raw_rows.source_row
"""


@st.composite
def files(draw) -> bytes:
    """A header and up to 20 lines, with or without an end of the last one."""
    lines = [draw(HEADERS).encode(), *draw(st.lists(LINES, max_size=20))]
    content = draw(ENDS).join(lines)
    return content + draw(st.sampled_from([b"", b"\n"]))


def test_every_line_is_a_row_or_malformed_or_the_file_is_refused_in_one_line(
    warehouse, query, tmp_path
):
    path = tmp_path / "trips.csv"
    refused, taken = [], []

    @settings(THE_SAME_EACH_TIME, max_examples=70)
    @given(files())
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            loaded = load_whatever(path)
        except PipelineError as refusal:
            said = str(refusal)
            refused.append(said)
            assert said.startswith(str(path))
            assert "\n" not in said
            assert len(said) < 1_000
        else:
            taken.append(loaded)
            lines = content.removesuffix(b"\n").split(b"\n")[1:]
            lines = list(dropwhile(lambda line: not line.strip(), lines))
            assert loaded.rows + loaded.malformed_lines == len(lines)
            [(rows,)] = query("select count(*) from raw.yellow_tripdata")
            [(malformed,)] = query("select count(*) from raw.malformed_lines")
            assert (rows, malformed) == (loaded.rows, loaded.malformed_lines)
            last = content.removesuffix(b"\n").count(b"\n") + 1
            known = query(LINES_OF_ROWS)
            aside = {number for (number,) in query("select line_number from raw.malformed_lines")}
            of_rows = set(range(last - len(lines) + 1, last + 1)) - aside
            assert [number for (number,) in known] == sorted(of_rows)

    @flow
    def check_all() -> None:
        check()

    check_all()
    assert len(taken) >= 5
    assert len(refused) >= 5


TEXT = st.one_of(
    st.none(),
    st.sampled_from(
        ["", "N", "a,b", 'say "x"', "two\nlines", "\r\n", "\\.", "\n\\.\n", "a\0b", "é"]
    ),
    st.text(max_size=5),
)
VALUES = st.one_of(
    st.lists(TEXT, min_size=20, max_size=20).map(lambda values: pa.array(values, pa.string())),
    st.lists(st.none() | st.floats(width=64), min_size=20, max_size=20).map(
        lambda values: pa.array(values, pa.float64())
    ),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=20, max_size=20).map(
        lambda values: pa.array(values, pa.int64())
    ),
    st.lists(st.none() | st.datetimes(datetime(1900, 1, 1)), min_size=20, max_size=20).map(
        lambda values: pa.array(values, pa.timestamp("us"))
    ),
    st.just(pa.nulls(20)),
)


def test_every_value_of_a_parquet_file_comes_back_from_the_raw_table(warehouse, query, tmp_path):
    path = tmp_path / "trips.parquet"

    @settings(THE_SAME_EACH_TIME, max_examples=40)
    @given(st.lists(VALUES, min_size=1, max_size=3))
    def check(columns: list[pa.Array]) -> None:
        names = HEADER.split(",")
        table = pa.table(
            {name: pa.nulls(20) for name in names}
            | dict(zip(names[3:], columns, strict=False))
            | {"n": range(20)}
        )
        pq.write_table(table, path)
        loaded = load_whatever(path)
        bad = [any(map(cannot_be_copied, row.values())) for row in table.to_pylist()]
        assert (loaded.rows, loaded.malformed_lines) == (20 - sum(bad), sum(bad))
        picked = names[3 : 3 + len(columns)]
        rows = query(f"select n, {', '.join(picked)} from raw.yellow_tripdata order by n::int")
        expected = [row for row, is_bad in zip(table.to_pylist(), bad, strict=True) if not is_bad]
        for row, values in zip(rows, expected, strict=True):
            assert row[0] == str(values["n"])
            for text, value in zip(row[1:], [values[name] for name in picked], strict=True):
                assert is_same(text, value), (text, value)

    @flow
    def check_all() -> None:
        check()

    check_all()


def cannot_be_copied(value: object) -> bool:
    """Whether PostgreSQL could not hold a value as text."""
    return "\0" in str(value)


def is_same(text: str | None, value: object) -> bool:
    """Whether a raw text means what the file's value is."""
    match value:
        case None | str():
            return text == value
        case float():
            return repr(float(text)) == repr(value)
        case datetime():
            return datetime.fromisoformat(text) == value
        case _:
            return text == str(value)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_a_file_that_changes_after_it_was_verified_changes_nothing(
    warehouse, query, tmp_path, kind
):
    path = tmp_path / f"trips.{kind}"

    def write(rows: int) -> None:
        lines = b"".join([HEADER.encode(), *[b"\n" + ROW] * rows])
        if kind == "parquet":
            columns = dict(zip(HEADER.split(","), ROW.decode().split(","), strict=True))
            pq.write_table(
                pa.table({name: [value] * rows for name, value in columns.items()}), path
            )
        else:
            path.write_bytes(gzip.compress(lines) if kind == "csv.gz" else lines)

    write(10)
    file = verify(str(path), path)
    write(6)
    with pytest.raises(
        PipelineError, match="changed while it was loaded, and yellow 2021-01 stays"
    ):
        load(file, DATASETS["yellow"], MONTH)
    assert query("select count(*) from raw.loads") == [(0,)]
    assert query("select count(*) from raw.yellow_tripdata") == [(0,)]
    assert load_file(path, MONTH).rows == 6


@pytest.mark.parametrize("content", ["", "\n", HEADER, f"{HEADER}\n", f"{HEADER}\r\n"])
def test_a_file_without_rows_is_refused_by_name_and_line(warehouse, tmp_path, content):
    path = tmp_path / "trips.csv"
    path.write_text(content)
    with pytest.raises(PipelineError, match=r"trips\.csv, line [12]: no (header|rows)\. Get the"):
        load_file(path, MONTH, max_malformed_share=0.01, allow_fewer_rows=True)
