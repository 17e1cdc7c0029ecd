"""Whatever a file consists of: each of its lines is a row or malformed, or the file is refused.

Hypothesis makes up the files; a real PostgreSQL loads them.
"""

from datetime import date

import pytest
from conftest import load_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect import flow

from flows.datasets import DATASETS
from flows.errors import PipelineError
from flows.fetch import verify
from flows.laptop.sample import HEADER
from flows.load import load
from flows.parameters import Limits

MONTH = date(2021, 1, 1)
ROW = b"1,2021-01-01 00:30:10,2021-01-01 00:36:12,1,2.10,1,N,142,43,2,8,3,0.5,0,0,0.3,11.8,2.5"

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
    st.integers(0, len(ROW)).map(lambda end: ROW[:end]),  # an interrupted copy
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
        f",{HEADER}",  # shifted by an index column
        f"{HEADER},airport_fee",
        HEADER[:50],
        '"' + HEADER,
        "",
    ]
)


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

    @settings(
        max_examples=70,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(files())
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            loaded = load.fn(
                verify(str(path), path),
                DATASETS["yellow"],
                MONTH,
                force=True,
                limits=Limits(malformed_share=1),
                allow_fewer_rows=True,
            )
        except PipelineError as refusal:
            said = str(refusal)
            refused.append(said)
            assert said.startswith(str(path))
            assert "\n" not in said
            assert len(said) < 1_000
        else:
            taken.append(loaded)
            lines = content.count(b"\n") + (not content.endswith(b"\n"))
            assert loaded.rows + loaded.malformed_lines == lines - 1
            [(rows,)] = query("select count(*) from raw.yellow_tripdata")
            [(malformed,)] = query("select count(*) from raw.malformed_lines")
            assert (rows, malformed) == (loaded.rows, loaded.malformed_lines)

    @flow
    def check_all() -> None:
        check()

    check_all()
    assert len(taken) >= 5
    assert len(refused) >= 5


@pytest.mark.parametrize("content", ["", "\n", HEADER, f"{HEADER}\n", f"{HEADER}\r\n"])
def test_a_file_without_rows_is_refused_by_name_and_line(warehouse, tmp_path, content):
    path = tmp_path / "trips.csv"
    path.write_text(content)
    with pytest.raises(PipelineError, match=r"trips\.csv, line [12]: no (header|rows)\. Get the"):
        load_file(path, MONTH, max_malformed_share=0.01, allow_fewer_rows=True)
