"""Export: a table or a query as a file, Parquet or CSV, with the types that PostgreSQL has.

PostgreSQL writes CSV, and pyarrow reads it as it comes: neither the rows nor the file is ever in
memory as a whole.
"""

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psycopg2
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from psycopg2.extensions import connection as DriverConnection
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Composable, Identifier

from flows.errors import PipelineError, UsageError, first_line
from flows.warehouse.connection import connect, current_url, driver_of, explained

ENDINGS = (".parquet", ".csv")
BLOCK_BYTES = 32 << 20  # of CSV, which are a row group of Parquet
MOST_DIGITS = 76  # of a decimal in Arrow

NUMERIC = 1700
TYPES: dict[int, pa.DataType] = {  # by PostgreSQL's number of the type
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    700: pa.float32(),
    701: pa.float64(),
    1082: pa.date32(),
    1083: pa.time64("us"),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", "UTC"),
}
LISTS: dict[int, pa.DataType] = {
    1000: pa.bool_(),
    1005: pa.int16(),
    1007: pa.int32(),
    1009: pa.string(),
    1015: pa.string(),
    1016: pa.int64(),
    1022: pa.float64(),
}


@dataclass(frozen=True)
class Exported:
    """A file that is written."""

    file: Path
    rows: int
    bytes: int

    def __str__(self) -> str:
        """For the terminal."""
        return f"{self.file}: {self.rows:,} rows, {self.bytes / 1e6:,.1f} MB"


def export(
    table: str | None = None,
    /,
    *,
    to: Path,
    where: str | None = None,
    query: str | None = None,
) -> Exported:
    """Write a table or a query as a file; it appears under its name once it is complete.

    The types are PostgreSQL's: numeric(10, 2) is decimal(10, 2), a timestamp has no zone, an array
    is a list. A numeric without a scale has that of its longest value. Types that Parquet does not
    have, such as json and interval, are text, as PostgreSQL writes them.

    Args:
        table: The table or view, such as trips_enriched.
        to: The file, which ends with .parquet or .csv. One of this name is replaced.
        where: Which rows of the table: an SQL condition.
        query: A query, in place of a table.

    Raises:
        UsageError: neither a table nor a query is named, or both, or the file's ending is another.
        PipelineError: there is no such table, the query is wrong, or the file can't be written.
    """
    if to.suffix not in ENDINGS:
        raise UsageError(f"{to}: the file's name must end with {' or '.join(ENDINGS)}")
    if (table is None) == (query is None) or (query and where):
        raise UsageError("Name a table, with --where if you like, or a --query: one of them")
    with connect(current_url()) as connection:
        driver = driver_of(connection)
        driver.set_session(isolation_level="REPEATABLE READ", readonly=True)
        try:
            with driver, driver.cursor() as cursor, new_file(to) as file:
                selected = SQL(query.strip().rstrip(";")) if query else of_table(table or "", where)
                rows = write(driver, cursor, selected, file, to.suffix)
        except psycopg2.Error as error:
            failure = explained(error)
            if not isinstance(failure, PipelineError):
                failure = PipelineError(f"PostgreSQL: {first_line(error)}")
            raise failure from None
        except pa.ArrowInvalid as error:
            raise PipelineError(
                f"{to}: {first_line(error)}. Cast the column in a --query, or write .csv"
            ) from None
    return Exported(to, rows, to.stat().st_size)


def of_table(name: str, where: str | None) -> Composable:
    """The query of a table's rows; the name may have a schema before it."""
    table = SQL("select * from {}").format(Identifier(*name.split(".")))
    return SQL("{} where {}").format(table, SQL(where)) if where else table


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that is to be written, and has its name only once it is complete.

    Raises:
        PipelineError: it can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        advice = ". Make room and export again" if error.errno == errno.ENOSPC else ""
        why = error.strerror or str(error)
        raise PipelineError(f"{path} can't be written: {why}{advice}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write(
    driver: DriverConnection, cursor: Cursor, query: Composable, file: BinaryIO, ending: str
) -> int:
    """Write a query's rows into a file; returns how many there are."""
    rows = SQL("from (\n{}\n) as rows").format(query)
    if ending == ".csv":
        copy = SQL("copy (select rows.* {}) to stdout (format csv, header)").format(rows)
        cursor.copy_expert(copy, file)
        return cursor.rowcount
    cursor.execute(SQL("select rows.* {} limit 0").format(rows))
    described = cursor.description or ()
    names = [column.name for column in described]
    if twice := {name for name in names if names.count(name) > 1}:
        raise PipelineError(f"several columns are called {', '.join(twice)}: name them apart")
    types = {
        column.name: decimal_of(cursor, column, rows)
        if column.type_code == NUMERIC
        else TYPES.get(column.type_code, pa.string())
        for column in described
    }
    lists = {
        column.name: pa.list_(LISTS[column.type_code])
        for column in described
        if column.type_code in LISTS
    }
    columns = SQL(", ").join(
        SQL("to_json(rows.{0}) as {0}" if name in lists else "rows.{0}").format(Identifier(name))
        for name in names
    )
    copy = SQL("copy (select {} {}) to stdout (format csv, header)").format(columns, rows)
    schema = pa.schema([(name, lists.get(name, types[name])) for name in names])
    count = 0
    with (
        copied(driver, cursor, copy) as source,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
        pa_csv.open_csv(
            source,
            read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=types,
                null_values=[""],
                quoted_strings_can_be_null=False,  # "" in quotes is an empty text
                strings_can_be_null=True,
                true_values=["t"],
                false_values=["f"],
            ),
        ) as reader,
    ):
        for batch in reader:
            values = [
                pa.array([text and json.loads(text) for text in column.to_pylist()], lists[name])
                if name in lists
                else column
                for name, column in zip(names, batch.columns, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(values, schema=schema))
            count += batch.num_rows
    return count


def decimal_of(cursor: Cursor, column: Any, rows: Composable) -> pa.DataType:
    """The type of a column's numbers: as declared, or else as long as the longest of them.

    Raises:
        PipelineError: one of them has more digits than a decimal can have.
    """
    precision, scale = column.precision, column.scale
    if precision is None or scale is None or precision == 65_535:
        asked = SQL(
            "select max(scale({0})), max(length(trunc(abs({0}))::text)) {1}"
            " where {0} not in ('NaN', 'Infinity', '-Infinity')"
        )
        cursor.execute(asked.format(SQL("rows.{}").format(Identifier(column.name)), rows))
        [(scale, whole)] = cursor.fetchall()
        scale = scale or 0
        precision = (whole or 1) + scale
    if precision > MOST_DIGITS:
        raise PipelineError(
            f"the column {column.name} has numbers of {precision} digits, and {MOST_DIGITS} is the "
            "most that Parquet has here: cast it in a --query, or write .csv"
        )
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


@contextmanager
def copied(driver: DriverConnection, cursor: Cursor, statement: Composable) -> Iterator[BinaryIO]:
    """Yield what a COPY writes, as it comes.

    Raises:
        psycopg2.Error: PostgreSQL's, once all has been read that came before.
    """
    receiver, sender = os.pipe()
    failures: list[BaseException] = []

    def copy() -> None:
        with open(sender, "wb") as pipe:  # noqa: PTH123 (a descriptor)
            try:
                cursor.copy_expert(statement, pipe, size=1 << 20)
            except BaseException as error:  # of this thread, for the other one
                failures.append(error)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    try:
        with open(receiver, "rb") as source:  # noqa: PTH123 (a descriptor)
            yield source
    except BaseException:
        driver.cancel()
        thread.join()
        raise_first(failures)
        raise
    thread.join()
    raise_first(failures)


def raise_first(failures: list[BaseException]) -> None:
    """Raise PostgreSQL's own failure, and not what follows from it: a pipe that is closed."""
    for failure in failures:
        if isinstance(failure, psycopg2.Error) and failure.pgcode not in (None, "57014"):
            raise failure
