"""What a file holds: its header, its rows, and the lines that are neither.

The only place that knows formats; they are told by the first bytes, never by the name.
"""

import csv
import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flows.errors import PipelineError

# TLC's data dictionary for yellow taxis, with the names of the files since July 2016.
COLUMNS = (
    "vendorid",
    "tpep_pickup_datetime",
    "tpep_dropoff_datetime",
    "passenger_count",
    "trip_distance",
    "ratecodeid",
    "store_and_fwd_flag",
    "pulocationid",
    "dolocationid",
    "payment_type",
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "total_amount",
    "congestion_surcharge",
)
OPTIONAL = {"improvement_surcharge", "congestion_surcharge"}  # charged since 2015 and since 2019
RESERVED = {  # the loader's own columns, and those that every PostgreSQL table has
    *("source_month", "source_row", "load_id"),
    *("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"),
}
LONGEST_NAME = 63  # bytes; PostgreSQL cuts longer identifiers short
LONGEST_HEADER = 100_000  # bytes
LONGEST_LINE = 1_000_000  # bytes
CHUNK = 1 << 20


def refuse_web_page(source: str, beginning: bytes) -> None:
    """Servers answer with a page, and status 200, where a log-in or a captcha is asked for."""
    if beginning.lstrip().startswith(b"<"):
        raise PipelineError(
            f"{source} is a web page, not a CSV file. Open it in a browser and look for "
            "the address of the file itself"
        )


def open_csv(path: Path) -> BinaryIO:
    """Open a CSV file for reading its unpacked bytes, told by gzip's magic number, not the name."""
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if is_packed else path.open("rb")


def read_header(file: BinaryIO, source: str) -> list[str]:
    """Read the first line; return its column names, trimmed and in lower case.

    Raises:
        PipelineError: a required column is missing, or a name can't be a column's.
    """
    try:
        text = file.readline(LONGEST_HEADER).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise PipelineError(f"{source}, line 1: not text in UTF-8. Is it a CSV file?") from None
    if not text:
        raise PipelineError(f"{source}, line 1: no header. Get the file anew")
    try:
        names = [name.strip().lower() for name in next(csv.reader([text]))]
    except csv.Error as error:
        raise PipelineError(f"{source}, line 1: {error}. Is it a CSV file?") from None
    required = [name for name in COLUMNS if name not in OPTIONAL]
    wrong = [
        *(f"no column {name!r}" for name in required if name not in names),
        *(f"column {position} has no name" for position, name in enumerate(names, 1) if not name),
        *(f"two columns {name!r}" for name in dict.fromkeys(names) if names.count(name) > 1),
        *(f"{name!r} is a name that is taken" for name in names if name in RESERVED),
        *(f"{name[:20]!r}… is too long" for name in names if len(name.encode()) > LONGEST_NAME),
    ]
    if wrong:
        raise PipelineError(
            f"{source}, line 1: {'; '.join(wrong[:5])}. The header must be that of TLC's "
            "yellow-taxi files since July 2016; additional columns are welcome"
        )
    return names


def whole_lines(file: BinaryIO, source: str) -> Iterator[bytes]:
    """The rest of a file, in pieces of about a megabyte that end where a line ends.

    Raises:
        PipelineError: a line is too long to be one.
    """
    while chunk := file.read(CHUNK):
        rest = file.readline(LONGEST_LINE)
        if len(rest) == LONGEST_LINE:
            raise PipelineError(f"{source}: a line has more than 1 MB. Is it a CSV file?")
        yield chunk + rest


def good_lines(
    chunks: Iterator[bytes], width: int, put_aside: Callable[[int, str, str], None]
) -> Iterator[bytes]:
    """Pass on the lines that are rows of `width` fields, byte for byte; put the others aside.

    `put_aside` is called with the line's number in the file (the header is 1), its text, and
    the reason why it is no row.
    """
    number = 1
    for chunk in chunks:
        good = []
        for line in chunk.removesuffix(b"\n").split(b"\n"):
            number += 1
            line = line.removesuffix(b"\r")
            if reason := why_malformed(line, width):
                text = line.decode(errors="backslashreplace").replace("\0", r"\x00")
                put_aside(number, text, reason)
            else:
                good.append(line)
        if good:
            yield b"\n".join(good) + b"\n"


def why_malformed(line: bytes, width: int) -> str | None:
    """Why COPY would not take a line as a row of `width` fields; None where it would.

    The rules are those of COPY's CSV format (PostgreSQL's manual, "COPY"): a quote opens or
    closes a quotation wherever it stands, and only commas outside of one separate fields.
    pandas' and Python's readers take quotes in the middle of a field as text, and pandas fills
    up short lines without a word, so neither can stand in for it.
    """
    if not line.strip():
        return "blank line"
    parts = line.split(b'"')  # every second one is inside of a quotation
    if len(parts) % 2 == 0:
        return "a quotation is not closed"
    fields = 1 + sum(part.count(b",") for part in parts[::2])
    if fields != width:
        return f"{fields} fields in place of {width}"
    if any(b"\r" in part for part in parts[::2]):
        return "a carriage return within the line"
    if b"\0" in line:
        return "a NUL byte"
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is 0x{line[error.start]:02x}, which is not UTF-8"
    return None


class TripFile:
    """A file's columns and rows."""

    rows = None
    surplus = 0

    def __init__(self, path, source):
        self.path, self.source = path, source
        self.bytes = path.stat().st_size
        with open_csv(path) as file:
            self.columns = read_header(file, source)

    def lines(self):
        import hashlib

        digest = hashlib.sha256()
        with open_csv(self.path) as file:
            digest.update(file.readline())
            for chunk in whole_lines(file, self.source):
                digest.update(chunk)
                yield chunk
        self.sha256 = digest.hexdigest()

    def chunks(self):
        return self.lines()

    def good_chunks(self, put_aside):
        return good_lines(self.lines(), len(self.columns), put_aside)


@contextmanager
def open_trip_file(path, source):
    yield TripFile(path, source)
