"""What is a header, what is a row, and what is neither."""

from datetime import date
from io import BytesIO

import pytest

from flows.errors import PipelineError
from flows.formats import COLUMNS, good_lines, read_header, whole_lines, why_malformed
from flows.laptop.sample import HEADER


def header_of(line: str) -> list[str]:
    return read_header(BytesIO(line.encode()), "trips.csv")


def sort_lines(content: bytes, width: int = 3) -> tuple[bytes, list[tuple]]:
    aside = []
    chunks = good_lines(
        whole_lines(BytesIO(content), "trips.csv"), width, lambda *line: aside.append(line)
    )
    return b"".join(chunks), aside


def test_header_names_are_lower_case_in_the_order_of_the_file():
    assert tuple(header_of(HEADER + "\n")) == COLUMNS


@pytest.mark.parametrize(
    "line", [f"\ufeff{HEADER}", HEADER.replace(",", " , "), f"{HEADER}\r\n", HEADER.upper()]
)
def test_header_may_have_a_byte_order_mark_blanks_crlf_or_capitals(line):
    assert tuple(header_of(line)) == COLUMNS


def test_additional_columns_are_kept():
    assert header_of(f"{HEADER},Airport_fee")[-1] == "airport_fee"


def test_surcharges_that_older_files_do_not_have_are_not_required():
    old = HEADER.removesuffix(",congestion_surcharge").replace(",improvement_surcharge", "")
    assert len(header_of(old)) == 16


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (HEADER.replace("passenger_count", "passengers"), "no column 'passenger_count'"),
        (f"{HEADER},Extra", "two columns 'extra'"),
        (f",{HEADER}", "column 1 has no name"),
        (f"{HEADER},source_row", "'source_row' is a name that is taken"),
        (f"{HEADER},ctid", "'ctid' is a name that is taken"),
        (HEADER + "\r1,2\r", "Is it a CSV file?"),
        (f"{HEADER},{'x' * 10_000}", "'xxxxxxxxxxxxxxxxxxxx'… is too long"),
        ("", "no header"),
        ("\n1,2\n", "no header"),
    ],
)
def test_a_header_that_will_not_do_is_refused_in_one_line(line, said):
    with pytest.raises(PipelineError, match=r"^trips\.csv, line 1: ") as refusal:
        header_of(line)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_bytes_that_are_no_text_are_no_header():
    with pytest.raises(PipelineError, match="line 1: not text in UTF-8"):
        read_header(BytesIO(b"\x89PNG\r\n"), "trips.csv")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,2", "2 fields in place of 3"),
        (b"1,2,3,", "4 fields in place of 3"),
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
def test_a_line_that_is_no_row_has_a_reason(line, reason):
    assert why_malformed(line, 3) == reason


@pytest.mark.parametrize(
    "line", [b"1,2,3", b",,", b'"1,5",2,3', b'"a ""b""",2,3', "é,2,3".encode(), b'a"b"c,2,3']
)
def test_a_row_has_none(line):
    assert why_malformed(line, 3) is None


def test_good_lines_pass_byte_for_byte_and_the_others_are_put_aside_with_their_numbers():
    passed, aside = sort_lines(b'1,2,3\n4,5\n"6,x",7,8\n\n9,\xff,0\n')
    assert passed == b'1,2,3\n"6,x",7,8\n'
    assert aside == [
        (3, "4,5", "2 fields in place of 3"),
        (5, "", "blank line"),
        (6, r"9,\xff,0", "byte 3 is 0xff, which is not UTF-8"),
    ]


def test_a_last_line_without_an_end_is_a_line():
    assert sort_lines(b"1,2,3\r\n4,5,6") == (b"1,2,3\n4,5,6\n", [])


def test_no_line_is_lost_between_pieces(monkeypatch):
    monkeypatch.setattr("flows.formats.CHUNK", 7)
    lines = [f"{i},{i}" + ",x" * (i % 3 == 0) for i in range(100)]
    passed, aside = sort_lines("\n".join(lines).encode(), width=2)
    assert len(passed.splitlines()) + len(aside) == 100
    assert [number for number, *_ in aside] == [i + 2 for i in range(100) if i % 3 == 0]


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory():
    with pytest.raises(PipelineError, match=r"^trips\.csv: a line has more than 1 MB"):
        sort_lines(b"1,2,3\n" + b"x" * 3_000_000)


def test_the_sample_is_a_month_of_well_formed_rows():
    from flows.laptop.sample import sample_lines

    header, *rows = sample_lines(date(2021, 1, 1), 6_000)
    assert tuple(header_of(header)) == COLUMNS
    assert {why_malformed(row.rstrip("\n").encode(), 18) for row in rows} == {None}
