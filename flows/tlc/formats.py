"""What a file of trips holds: its columns, its rows as CSV that COPY takes, and what is not a row.

The only place that knows formats. They are told by a file's first bytes, never by its name. A month
may be in many files: a folder or a pattern stands for all of them.
"""

import csv
import errno
import glob
import gzip
import hashlib
import os
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from operator import add
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from flows.errors import PipelineError
from flows.tlc.datasets import RESERVED
from flows.tlc.months import WRITTEN
from flows.tlc.plain import Plainness

MOST_COLUMNS = 1_600 - 3  # PostgreSQL's limit for a table, less the loader's own columns
LONGEST_NAME = 63  # bytes; PostgreSQL cuts longer identifiers short
LONGEST_LINE = 1_000_000  # bytes
CHUNK = 1 << 20  # bytes of CSV
BATCH = 8_192  # rows of Parquet, about as much
BEGINNING = 1 << 16  # bytes; some error pages begin with many blank lines

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
# First bytes of what is often taken for a file of trips: what it is, and what to do.
OTHER_KINDS = (
    (GZIP, "packed with gzip twice", "Unpack it once: gunzip"),
    (PARQUET, "Parquet that is packed with gzip", "Unpack it: gunzip"),
    (b"\xfd7zXZ", "packed with xz", "Unpack it: xz -d"),
    (b"BZh", "packed with bzip2", "Unpack it: bunzip2"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "Unpack it: zstd -d"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "Unpack it: 7z x"),
    (b"\xff\xfe", "text in UTF-16", "Convert it: iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "Convert it: iconv -f UTF-16 -t UTF-8"),
    (b"PARE", "an encrypted Parquet file", "Decrypt it"),
    (b"ARROW1", "an Arrow file", "Save it as Parquet or CSV"),
    (b"ORC", "an ORC file", "Save it as Parquet or CSV"),
    (b"Obj\x01", "an Avro file", "Save it as Parquet or CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "Save it as CSV"),
    (b"%PDF", "a PDF document", "Look for the address of the data file itself"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file", "Get the file: git lfs pull"),
)
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# What a folder has beside the files of trips, if these are not all of its rows, or more than that.
NOT_THE_ROWS = {
    "_delta_log": "is a Delta table, which may hold files of rows that are no longer its own. "
    "Write its rows to a folder of plain Parquet",
    ".hoodie": "is a Hudi table, which may hold files of rows that are no longer its own. "
    "Write its rows to a folder of plain Parquet",
    "_temporary": "is not complete: Spark is writing it, or has failed. Write it again",
}

# Called with a line's number in the file (the header is 1), its text, and why it is not a row.
PutAside = Callable[[int, str, str], None]
Read = TypeVar("Read")


@dataclass(frozen=True)
class Part:
    """One of the files that a month is read from, in the order in which they are read.

    With the lines that were put aside it says where in its file each row is.

    Attributes:
        file: Its path or URL.
        kind: What it is.
        sha256: The hash of its content.
        rows: How many rows of it were passed on.
        first_line: The number of its first row's line, if the header is line 1. Parquet has no
            lines; its rows are numbered as if they were lines of a CSV.
    """

    file: str
    kind: str
    sha256: str
    rows: int
    first_line: int


class TripFile(ABC):
    """An open file of trips, whatever its format.

    Each call of `chunks` or `good_chunks` reads the file from its beginning. Once their last
    piece is out, `rows_read`, `bytes_read`, `sha256` and `parts` are of all that was passed on, so
    that the audit can hold what was loaded, and not what the file was some time before.

    Attributes:
        header: Where the names of the columns are, for messages.
        columns: Names in the order of the file: in lower case, trimmed, fit for a table.
        kind: What it is, for messages.
        rows: How many rows there are, where the file says so (Parquet does).
        text_bytes: The least that its rows take as CSV, in bytes, where the file says so.
        rows_read: Rows that the pieces so far should make.
        bytes_read: How much of the content they have taken.
        times_due: How many times they should hold, if each is plain.
        are_times_typed: Whether the file itself says that its times are times.
        part_number: Which of its files is being read, from 1.
    """

    header: str
    columns: list[str]
    kind: str
    rows: int | None = None
    text_bytes = 0
    rows_read = 0
    bytes_read = 0
    times_due = 0
    are_times_typed = False
    part_number = 1

    def __init__(self, source: str) -> None:
        self.source = self.header = source
        self.digest = hashlib.sha256()
        self.reading: Generator[bytes, None, None] | None = None
        self.plainness: Plainness | None = None

    @property
    def is_plain(self) -> bool:
        """Whether all that `chunks` has passed on is written plainly (flows/tlc/plain.py)."""
        seen = self.plainness
        if seen is None or not seen.is_plain:
            return False
        return self.are_times_typed or seen.times == self.times_due

    @property
    def sha256(self) -> str:
        """Of the content: the unpacked CSV, so that packing does not count, or the Parquet file."""
        return self.digest.hexdigest()

    @property
    @abstractmethod
    def parts(self) -> list[Part]:
        """The files that the rows were read from, in their order."""

    @abstractmethod
    def read_through(self) -> Iterator[int]:
        """Read the content to its end, and no row of it; each step is the bytes read so far."""

    def chunks(self) -> Generator[bytes, None, None]:
        """The rows as CSV for COPY, in pieces of about a megabyte that end where a line ends.

        They come without a check of their own: where COPY refuses them, take `good_chunks`.

        Raises:
            PipelineError: the file can't be read to its end.
        """
        self.stop()
        self.plainness = Plainness(self.are_times_typed)
        self.reading = ahead(map(self.plainness.see, self.pieces()))
        return self.reading

    def stop(self) -> None:
        """End the reading that was begun last: its thread would be in the next one's way."""
        if self.reading:
            self.reading.close()
        self.plainness = None

    @abstractmethod
    def pieces(self) -> Iterator[bytes]:
        """What `chunks` passes on."""

    @abstractmethod
    def good_chunks(self, put_aside: PutAside) -> Iterator[bytes]:
        """Pass on the rows that COPY takes, without surplus; put everything else aside."""


class OneFile(TripFile):
    """A file that is a month's only one, or one of its parts."""

    lines_before = 1  # the header's, and blank lines that follow it

    def __init__(self, file: BinaryIO, source: str) -> None:
        super().__init__(source)
        self.file = file

    @property
    def parts(self) -> list[Part]:
        """The file itself."""
        return [Part(self.source, self.kind, self.sha256, self.rows_read, self.lines_before + 1)]

    def read_through(self) -> Iterator[int]:
        """Read the content to its end, and no row of it; each step is the bytes read so far."""
        with readable(self.source):
            self.file.seek(0)
            self.digest, self.bytes_read = hashlib.sha256(), 0
            while chunk := self.file.read(CHUNK):
                self.digest.update(chunk)
                self.bytes_read += len(chunk)
                yield self.bytes_read


class CsvFile(OneFile):
    """CSV with a header. Blank lines that follow the header are not counted as lines."""

    def __init__(self, file: BinaryIO, source: str) -> None:
        super().__init__(file, source)
        self.kind = "CSV packed with gzip" if isinstance(file, gzip.GzipFile) else "CSV"
        self.header = f"{source}, line 1"
        with readable(source):
            header = self.rewind()
        self.columns = column_names(parse_header(header, self.header), self.header)

    def rewind(self) -> bytes:
        """Go to the first row; return the header."""
        self.file.seek(0)
        header = line = self.file.readline(LONGEST_LINE)
        beginning, self.lines_before = [header], 1
        while (line := self.file.readline(LONGEST_LINE)) and not line.strip():
            beginning.append(line)
            self.lines_before += 1
        self.first_row = line
        self.digest = hashlib.sha256(b"".join(beginning))
        self.bytes_read, self.rows_read = sum(map(len, beginning)), 0
        return header

    def whole_lines(self) -> Iterator[bytes]:
        """The lines after the header, in pieces that end where a line ends."""
        with readable(self.source):
            self.rewind()
            piece = self.first_row + self.file.read(CHUNK)
            while piece:
                if not piece.endswith(b"\n"):
                    rest = self.file.readline(LONGEST_LINE)
                    if len(rest) == LONGEST_LINE:
                        raise PipelineError(
                            f"{self.source}: a line has more than 1 MB. Is it a CSV file?"
                        )
                    piece += rest
                self.digest.update(piece)
                self.bytes_read += len(piece)
                yield piece
                piece = self.file.read(CHUNK)

    def pieces(self) -> Iterator[bytes]:
        """What `chunks` passes on: the lines as they are, without the surplus of the first one.

        Some of TLC's files have two empty fields more in each row than in the header. If a row
        has other ones, or none where its last values are missing, COPY refuses what is left of it.
        """
        line = self.first_row.rstrip(b"\r\n")
        end = self.first_row[len(line) :] or b"\n"
        row = without_surplus(line, surplus_of(line, len(self.columns)))
        surplus = line[len(row) :]
        for piece in self.whole_lines():
            self.rows_read += piece.count(b"\n") + (not piece.endswith(b"\n"))
            self.times_due = self.rows_read * sum(map(is_of_times, self.columns))
            yield piece.replace(surplus + end, end) if surplus else piece

    def good_chunks(self, put_aside: PutAside) -> Iterator[bytes]:
        """Pass on the lines that are rows, byte for byte but for line ends and surplus."""
        self.stop()
        number, width = 0, len(self.columns)
        for piece in self.whole_lines():
            number = number or self.lines_before
            good = []
            for line in piece.removesuffix(b"\n").split(b"\n"):
                number += 1
                line = line.removesuffix(b"\r")
                reason = why_malformed(line, width)
                if reason and (surplus := surplus_of(line, width)):
                    line = without_surplus(line, surplus)
                    reason = why_malformed(line, width)
                if reason:
                    put_aside(number, as_text(line), reason)
                else:
                    good.append(line)
            self.rows_read += len(good)
            if good:
                yield b"\n".join(good) + b"\n"


class ParquetFile(OneFile):
    """Parquet, read in small batches whatever the size of its row groups."""

    kind = "Parquet"

    def __init__(self, file: BinaryIO, source: str) -> None:
        super().__init__(file, source)
        self.size = os.fstat(file.fileno()).st_size
        with readable(source):
            self.parquet = pq.ParquetFile(
                file,
                # Pages as they are needed: else a whole row group is held in memory.
                pre_buffer=False,
                buffer_size=CHUNK,
                coerce_int96_timestamp_unit="us",  # nanoseconds end in the year 2262
            )
        schema = self.parquet.schema_arrow
        self.columns = column_names(schema.names, self.header)
        metadata = self.parquet.metadata
        self.rows = metadata.num_rows
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        # Each value takes a byte at least: a thousand million nulls are a few bytes of Parquet.
        self.text_bytes = max(
            sum(group.total_byte_size for group in groups), self.rows * len(self.columns)
        )
        self.are_times_typed = all(
            pa.types.is_timestamp(field.type) and field.type.tz is None
            for name, field in zip(self.columns, schema, strict=True)
            if is_of_times(name)
        )
        for field in schema:
            try:
                csv_column(pa.nulls(0, field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise PipelineError(
                    f"{source}: column {field.name!r} is of type {field.type}, "
                    "which can't be text. Leave it out when you write the file"
                ) from None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows; at their end it is clear what was read."""
        rows = self.rows or 0
        self.rows_read = self.bytes_read = self.times_due = 0
        with readable(self.source):
            # One thread decodes as fast as COPY takes it; more would take the server's cores.
            for batch in self.parquet.iter_batches(BATCH, use_threads=False):
                self.rows_read += batch.num_rows
                self.times_due += sum(
                    len(column) - column.null_count
                    for name, column in zip(self.columns, batch.columns, strict=True)
                    if is_of_times(name)
                )
                self.bytes_read = self.size * self.rows_read // max(rows, 1)
                yield batch
        for _ in self.read_through():
            pass
        if self.rows_read != rows:
            raise PipelineError(
                f"{self.source}: {self.rows_read:,} rows where its footer says {rows:,}. "
                "Get the file again"
            )

    def pieces(self) -> Iterator[bytes]:
        """What `chunks` passes on: each batch as CSV."""
        return map(csv_rows, self.batches())

    def good_chunks(self, put_aside: PutAside) -> Iterator[bytes]:
        """Pass on the rows that PostgreSQL can hold; a row's number counts as a line's in a CSV."""
        number, malformed = 2, 0

        def sort(batch: pa.RecordBatch) -> Iterator[bytes]:
            nonlocal number, malformed
            rows = csv_rows(batch)
            reason = why_not_text(rows)
            if reason and batch.num_rows > 1:
                half = batch.num_rows // 2
                yield from sort(batch[:half])
                yield from sort(batch[half:])
                return
            if reason:
                put_aside(number, as_text(rows.removesuffix(b"\n")), reason)
                malformed += 1
            else:
                yield rows
            number += batch.num_rows

        self.stop()
        for batch in self.batches():
            yield from sort(batch)
        self.rows_read -= malformed


class ManyFiles(TripFile):
    """A month in many files, read one after the other in the order of their names as if one.

    They are of one kind, and have the same columns in the same order.
    """

    def __init__(self, paths: list[Path], source: str) -> None:
        super().__init__(source)
        self.paths = paths
        self.parts_read: list[Part] = []
        self.are_times_typed = True  # where each part's are
        for path in paths:
            with open_one_file(path, str(path)) as part:
                if path == paths[0]:
                    self.header, self.columns, self.kind = part.header, part.columns, part.kind
                self.are_times_typed &= part.are_times_typed
                self.refuse_another(part, path)
                self.text_bytes += part.text_bytes

    def refuse_another(self, part: TripFile, path: Path) -> None:
        """Raise a `PipelineError` for a file that is not as the first one is."""
        first = self.paths[0].name
        if part.kind != self.kind:
            raise PipelineError(
                f"{self.source}: {first} is {self.kind}, and {path.name} is {part.kind}. Give "
                f"files of one kind, such as SOURCE='{path.with_name('*' + path.suffix)}'"
            )
        if part.columns != self.columns:
            differences = [
                *(f"it lacks {name!r}" for name in self.columns if name not in part.columns),
                *(f"it has {name!r}" for name in part.columns if name not in self.columns),
            ]
            raise PipelineError(
                f"{part.header}: its columns are not those of {first}: "
                f"{', '.join(differences[:5]) or 'they are in another order'}. "
                "Give the files of one export"
            )

    @property
    def sha256(self) -> str:
        """Of the hashes of all files' contents."""
        return hashlib.sha256("".join(part.sha256 for part in self.parts_read).encode()).hexdigest()

    @property
    def parts(self) -> list[Part]:
        """The files that have been read to their end."""
        return self.parts_read

    def each(self, read: Callable[[TripFile], Iterator[Read]]) -> Iterator[Read]:
        """What is read of each file in turn, while what has been read of all is added up."""
        self.rows_read = self.bytes_read = self.times_due = 0
        self.parts_read = []
        for path in self.paths:
            self.part_number = len(self.parts_read) + 1
            before = self.rows_read, self.bytes_read, self.times_due
            with open_one_file(path, str(path)) as part:
                for piece in chain(read(part), [None]):
                    counted = part.rows_read, part.bytes_read, part.times_due
                    self.rows_read, self.bytes_read, self.times_due = map(add, before, counted)
                    if piece is not None:
                        yield piece
                for twin, read_before in zip(self.paths, self.parts_read, strict=False):
                    if part.rows_read and part.sha256 == read_before.sha256:
                        raise PipelineError(f"{path} is a copy of {twin.name}. Delete one of them")
                self.parts_read += part.parts

    def read_through(self) -> Iterator[int]:
        """Read the contents to their end, and no row; each step is the bytes read so far."""
        return (self.bytes_read for _ in self.each(lambda part: part.read_through()))

    def pieces(self) -> Iterator[bytes]:
        """What `chunks` passes on: the pieces of each file, of which the last may lack its end."""
        end = b"\n"
        for piece in self.each(lambda part: part.pieces()):
            yield piece if end == b"\n" else b"\n" + piece
            end = piece[-1:]

    def good_chunks(self, put_aside: PutAside) -> Iterator[bytes]:
        """Pass on the rows that COPY takes; a line that is put aside has its file in its reason."""

        def sort(part: TripFile) -> Iterator[bytes]:
            name = Path(part.source).name
            return part.good_chunks(
                lambda number, line, reason: put_aside(number, line, f"{reason} (in {name})")
            )

        self.stop()
        yield from self.each(sort)


@contextmanager
def open_trip_file(path: Path, source: str) -> Iterator[TripFile]:
    """Open a file of trips: CSV, CSV packed with gzip, or Parquet. `source` is what messages say.

    A folder or a pattern (`part-*.csv`) is one file, which its files are parts of.

    Raises:
        PipelineError: it is none of these, or its columns can't be a table's.
    """
    paths = parts_of(path, source)
    if len(paths) == 1:
        with open_one_file(paths[0], source if paths == [path] else str(paths[0])) as trips:
            yield trips
    else:
        parts = ManyFiles(paths, source)
        try:
            yield parts
        finally:
            parts.stop()


def files_of(path: Path) -> list[Path]:
    """The files that a path stands for: itself, or those of a folder or a pattern, by name.

    Hidden files are none of them, nor are those that Spark writes beside its own (`_SUCCESS`).
    """
    if path.is_dir():
        found = {*path.iterdir()}
    elif re.search(r"[*?[]", str(path)) and not path.exists():
        matches = (Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207
        found = {match for match in matches if not match.is_dir()}
    else:
        return [path]
    return sorted(each for each in found if not each.name.startswith((".", "_")))


def parts_of(path: Path, source: str) -> list[Path]:
    """The files that a path stands for, if they can be those of one month.

    Raises:
        FileNotFoundError: there are none.
        PipelineError: they are not all of the month's rows, or more than these.
    """
    paths = files_of(path)
    if not paths:
        reason = "there are no files in it" if path.is_dir() else "no file has such a name"
        raise FileNotFoundError(errno.ENOENT, reason)
    if paths == [path]:
        if path.exists() and not path.is_file():
            raise PipelineError(f"{source} is not a file. Give an http(s) URL or a file's path")
        return paths
    for sign, problem in NOT_THE_ROWS.items():
        if folder := next((one.parent for one in paths if (one.parent / sign).exists()), None):
            raise PipelineError(f"{folder} {problem}")
    if folders := [one.name for one in paths if one.is_dir()]:
        raise PipelineError(
            f"{source}: it has folders in it, such as {folders[0]}. Name the files that are the "
            f"month's, such as SOURCE='{path}/**/*.csv'"
        )
    name = re.compile(rf"(.*?)(?<![0-9A-Za-z])({WRITTEN})(?![0-9A-Za-z])")
    named = [match for one in paths if (match := name.match(one.name))]
    if len(months := sorted({match[2] for match in named})) > 1:
        pattern = paths[0].parent / f"{named[0][1]}{{month}}*"
        raise PipelineError(
            f"{source}: its files are of several months, {months[0]} to {months[-1]}. Name those "
            f"of one: SOURCE='{pattern}'"
        )
    return paths


@contextmanager
def open_one_file(path: Path, source: str) -> Iterator[TripFile]:
    """Open a file that is whole, as `open_trip_file` does."""
    with open_content(path) as content:
        with readable(source):
            beginning = content.read(BEGINNING)
            content.seek(0)
        is_parquet = beginning.startswith(PARQUET) and not isinstance(content, gzip.GzipFile)
        if not is_parquet:
            refuse_other_kinds(source, beginning, path)
        trips = (ParquetFile if is_parquet else CsvFile)(content, source)
        try:
            yield trips
        finally:
            trips.stop()


def open_content(path: Path) -> BinaryIO:
    """Open what a file holds for reading: unpacked, where gzip has packed it."""
    file = path.open("rb")
    if file.read(len(GZIP)) != GZIP:
        file.seek(0)
        return file
    file.close()
    return cast(BinaryIO, gzip.open(path))


@contextmanager
def readable(source: str) -> Iterator[None]:
    """Put what reading a damaged file raises into one line."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise PipelineError(
            f"{source}: the gzip file is damaged ({error}). Get the file again"
        ) from None
    except (pa.ArrowException, OSError) as error:
        # An OSError of the system has a number; Arrow raises it without one for what it reads.
        if isinstance(error, OSError) and error.errno:
            raise
        reason = " ".join(str(error).split())[:200]
        raise PipelineError(
            f"{source}: the Parquet file is damaged or cut off ({reason}). Get the file again"
        ) from None


def ahead(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The same pieces, each made in a thread while the one before it is in use."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = thread.submit(next, pieces, None)
            yield piece


def refuse_other_kinds(source: str, beginning: bytes, path: Path) -> None:
    """Raise a `PipelineError` for what can't be CSV, by its first bytes."""
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<") and b"<Error>" in text:
        code = re.search(rb"<Code>(\w{1,50})</Code>", text)
        raise PipelineError(
            f"{source} is an error message of its server ({code[1].decode() if code else 'XML'}), "
            "not a file of trips. The month is not published, or there were too many requests: "
            "try again later"
        )
    if text.startswith(b"<"):
        raise PipelineError(
            f"{source} is a web page, not a file of trips. Open it in a browser and look for the "
            "address of the file itself"
        )
    if text.startswith((b"{", b"[")):
        raise PipelineError(f"{source} is JSON, not a file of trips. Give the address of a CSV")
    if beginning.startswith(b"PK\x03\x04"):
        raise PipelineError(f"{source} is a zip file. {how_to_unzip(path)}")
    if beginning[257:262] == b"ustar":
        raise PipelineError(f"{source} is a tar archive. Unpack it: tar -x")
    for first_bytes, kind, advice in OTHER_KINDS:
        if beginning.startswith(first_bytes):
            raise PipelineError(f"{source} is {kind}. {advice}")


def how_to_unzip(path: Path) -> str:
    """What to do with a zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return "Get the file again, it is damaged, then unpack it"
    if "xl/workbook.xml" in names:
        return "It is an Excel workbook: save it as CSV"
    files = [name for name in names if name.lower().endswith((".csv", ".parquet"))]
    if len(files) == 1 and files[0].isprintable():
        name = files[0].rpartition("/")[2][-100:]
        return f"Unpack the one file in it (unzip -p FILE.zip > {name}) and give that file's path"
    return f"It has {len(names)} files: unpack it, and give the path of one month's file"


def parse_header(line: bytes, where: str) -> list[str]:
    """The names in a CSV's first line.

    Raises:
        PipelineError: the line is not the header of a CSV file.
    """
    if len(line) == LONGEST_LINE and b"\r" not in line:
        raise PipelineError(f"{where}: it has more than 1 MB. Is it a CSV file?")
    if b"\r" in line.rstrip(b"\r\n"):
        raise PipelineError(
            f"{where}: its lines end with a carriage return alone. Convert it: tr '\\r' '\\n'"
        )
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise PipelineError(f"{where}: not text in UTF-8. Is it a CSV file?") from None
    if not text:
        raise PipelineError(f"{where}: no header. Get the file again")
    if text.lower().startswith("sep="):
        raise PipelineError(
            f"{where}: it is for Excel alone. Take the line away: tail -n +2 FILE > trips.csv"
        )
    if text.count('"') % 2:
        raise PipelineError(f"{where}: a quotation is not closed. Is it a CSV file?")
    for separator, name in SEPARATORS.items():
        if separator in text and "," not in text:
            raise PipelineError(
                f"{where}: its fields are separated by {name}. Save it with commas between the "
                "fields and points in the numbers"
            )
    try:
        return next(csv.reader([text], skipinitialspace=True))
    except csv.Error as error:
        raise PipelineError(f"{where}: {error}. Is it a CSV file?") from None


def column_names(names: Iterable[str], where: str) -> list[str]:
    """The names of a file's columns, as the raw table has them.

    In lower case and trimmed. Whatever is neither letter, digit nor underscore becomes an
    underscore, so that a name needs no quotes in SQL; and a column without a name gets the one
    that pandas would give it: `unnamed_0`.

    Raises:
        PipelineError: a name can't be a column's.
    """
    given = [name.strip().lower() for name in names]
    columns = [
        re.sub(r"^(?=\d)", "_", re.sub(r"\W+", "_", name)) if name else f"unnamed_{position}"
        for position, name in enumerate(given)
    ]
    for position, name in enumerate(given, 1):
        if re.match(r"\d{4}-\d\d-\d\d|\d\d?/\d\d?/\d{4}", name):
            raise PipelineError(
                f"{where}: column {position} is {name[:30]!r}, a value: the header is missing. "
                "Write the file with the names of its columns"
            )
    wrong = [
        *(
            f"column {position} is {name[:30]!r}, which has a quotation mark or an invisible "
            "character in it"
            for position, name in enumerate(given, 1)
            if '"' in name or not name.isprintable()
        ),
        *(f"two columns {name!r}" for name in dict.fromkeys(columns) if columns.count(name) > 1),
        *(f"{name!r} is a reserved column name" for name in columns if name in RESERVED),
        *(f"{name[:20]!r}… is too long" for name in columns if len(name.encode()) > LONGEST_NAME),
    ]
    if len(columns) > MOST_COLUMNS:
        wrong = [f"{len(columns):,} columns, where a table can have {MOST_COLUMNS:,} of a file's"]
    if wrong:
        raise PipelineError(f"{where}: {'; '.join(wrong[:5])}. Rename or remove such columns")
    return columns


def is_of_times(column: str) -> bool:
    """Whether a column holds times, by its name: `pickup_datetime`, `pickup_date`."""
    return "date" in column


def why_malformed(line: bytes, width: int) -> str | None:
    """Why COPY would not take a line as a row of `width` fields; None where it would.

    The rules are those of COPY's CSV format (PostgreSQL's manual, "COPY"): a quote opens or
    closes a quotation wherever it stands, and only commas outside of one separate fields.
    pandas' and Python's readers take quotes in the middle of a field as text, and pandas fills
    up short lines without a word, so neither can be used in its place.
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
    return why_not_text(line)


def why_not_text(line: bytes) -> str | None:
    """Why PostgreSQL could not hold some bytes as text."""
    if b"\0" in line:
        return "a NUL byte"
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is 0x{line[error.start]:02x}, which is not UTF-8"
    return None


def surplus_of(line: bytes, width: int) -> int:
    """How many fields a line has more than `width`, if they are all empty; else 0."""
    parts = line.split(b'"')
    surplus = 1 + sum(part.count(b",") for part in parts[::2]) - width
    is_open = len(parts) % 2 == 0
    if surplus <= 0 or is_open or without_surplus(line, surplus) == line:
        return 0
    return surplus


def without_surplus(line: bytes, surplus: int) -> bytes:
    """A line without so many empty fields at its end, or as it is where they are not empty."""
    return re.sub(rb'(?:,(?:"")?){%d}\Z' % surplus, b"", line)


def as_text(line: bytes) -> str:
    """Bytes that may be no text, so that a table can hold them."""
    return line.decode(errors="backslashreplace").replace("\0", r"\x00")


def csv_rows(batch: pa.RecordBatch) -> bytes:
    """Rows as CSV: missing values are empty, empty strings are quoted, all else only if need be.

    To COPY the first are null and the second are empty strings, as they are in a CSV file.
    """
    columns = [csv_column(column) for column in batch.columns]
    table = pa.record_batch(columns, names=[str(number) for number in range(len(columns))])
    has_empty = any(
        pc.min(pc.binary_length(text)).as_py() == 0
        for text, column in zip(columns, batch.columns, strict=True)
        if is_string(text.type) and not pa.types.is_primitive(column.type)
    )
    for quotes in ("needed",) if has_empty else ("none", "needed"):
        rows = pa.BufferOutputStream()
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style=quotes)
        try:
            pyarrow.csv.write_csv(table, rows, options)
        except pa.ArrowInvalid:  # a comma, a quote or a line end in a string
            continue
        return cast(bytes, rows.getvalue().to_pybytes())
    raise AssertionError("quoted strings can always be written")


def csv_column(column: pa.Array) -> pa.Array:
    """A column of any type as strings or timestamps, which Arrow writes as PostgreSQL reads them.

    Numbers have few different values, as trips do: each of these is put into words once, which
    halves the time. 1.0 becomes `1`; doubles keep all their digits, and decimals their zeros.

    Raises:
        ArrowNotImplementedError: the type has no text, as that of lists.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return csv_column(column.storage)
    if pa.types.is_dictionary(kind):
        return csv_column(column.dictionary_decode())
    if is_string(kind) or pa.types.is_null(kind):
        return column
    if pa.types.is_timestamp(kind):
        try:
            return column.cast(pa.timestamp("s", kind.tz))
        except pa.ArrowInvalid:  # some of them have a fraction
            text = column.cast(pa.string())
            return pc.replace_substring_regex(text, r"\.0+(Z|[+-]\d+)?$", r"\1")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        encoded = column.dictionary_encode()
        if 2 * len(encoded.dictionary) < len(column):
            return encoded.dictionary.cast(pa.string()).take(encoded.indices)
    # Bytes need not be UTF-8: that is for `good_chunks` to find.
    return column.cast(pa.string(), safe=False)


def is_string(kind: pa.DataType) -> bool:
    """Whether Arrow's CSV writer takes a type as strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
