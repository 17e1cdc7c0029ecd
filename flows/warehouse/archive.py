"""Archive: a raw month becomes a Parquet file, and the month's partition again; or is packed there.

The file has the partition's rows in their order, every value as the text that it is. Its content is
compared as PostgreSQL writes it for `COPY … (format csv, force_quote *)`: the hash of that is taken
while the month is written, once more of what the file reads as, and again when it is landed.
"""

import hashlib
import io
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import psycopg2
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from prefect import get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Identifier

from flows.errors import RETRIES, PipelineError, TransientError
from flows.settings import DATA
from flows.tlc.datasets import Dataset
from flows.warehouse.connection import connect, driver_of, in_one_line, value_of
from flows.warehouse.load import (
    ask_for_month,
    create_partition,
    dropped_on_failure,
    set_apart,
    wait_for_turn,
)
from flows.warehouse.schema import OWN_COLUMNS, columns_of

ARCHIVE = DATA / "archive"
BATCH_BYTES = 8_000_000  # of CSV, which become a row group
BATCH_ROWS = 20_000
NUMBERS = ("source_row", "load_id")  # of the columns; the others are text

LATEST = """
select load_id, row_count, sha256, source
from raw.loads where dataset = %s and source_month = %s
order by load_id desc limit 1
"""
# The models' tables that a month of the dataset is built in, whose builds keep a turn each.
BUILT_IN = """
select relation, load_id from bookkeeping.built_months where dataset = %s and source_month = %s
"""
OF_THE_PARTITION = """
select part::text, amname = 'columnar', raw.size_of(part)
from raw.partition_of(%s, %s) as part
inner join pg_class on pg_class.oid = part
inner join pg_am on relam = pg_am.oid
"""
REMEMBER = """
insert into raw.archives (
    load_id, dataset, source_month, file, sha256, bytes, row_count, column_count, content_sha256,
    archived_at, flow_run_id
)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (load_id) do update set
    file = excluded.file, sha256 = excluded.sha256, bytes = excluded.bytes,
    row_count = excluded.row_count, column_count = excluded.column_count,
    content_sha256 = excluded.content_sha256, archived_at = excluded.archived_at,
    flow_run_id = excluded.flow_run_id
"""


@dataclass(frozen=True)
class Archived:
    """A raw month that is a file now."""

    dataset: str
    month: date
    file: str
    rows: int
    bytes: int  # of the file
    raw_bytes: int  # of the partition that it was; none where it had been archived before


class ArchivedLoad(NamedTuple):
    """A load's file in the archive."""

    file: str
    sha256: str
    bytes: int
    rows: int
    content: str  # the hash of the rows


@task(
    name="archive",
    task_run_name="archive {dataset.name} {month:%Y-%m}",
    cache_policy=NO_CACHE,
    **RETRIES,
)
def archive_month(dataset: Dataset, month: date) -> Archived:
    """Write a raw month to a file, read that back, and drop the month's partition.

    Raises:
        TransientError: the month is being loaded or built, or its partition is in use.
        PipelineError: it is not loaded or not built, or the file can't be written, or does not read
            as what was written. Whatever is raised, the month is in raw as before.
    """
    where, parent = f"{dataset.name} {month:%Y-%m}", f"raw.{dataset.raw_table}"
    with (
        connect() as warehouse,
        in_one_line(f"{where} stays in raw"),
        driver_of(warehouse) as connection,
        connection.cursor() as cursor,
    ):
        take_turns(cursor, dataset, month, where)
        cursor.execute(LATEST, [dataset.name, month])
        [(load_id, loaded, sha256, source)] = cursor.fetchall() or [(None, 0, "", "")]
        part = value_of(cursor, "select raw.partition_of(%s, %s)::text", [parent, month])
        if part is None:
            found = archived_load(cursor, load_id)
            if found is None:
                raise PipelineError("no rows of it are there")
            get_run_logger().info("%s is in the archive already, nothing to do", where)
            return Archived(dataset.name, month, found.file, found.rows, found.bytes, raw_bytes=0)
        refuse_what_is_not_built(cursor, dataset, month, load_id)
        ask_for_month(cursor, dataset, month)
        cursor.execute(SQL("lock table only {} in share mode").format(SQL(part)))
        raw_bytes = value_of(cursor, "select raw.size_of(%s)", [part])
        name = f"{dataset.raw_table}_{month:%Y-%m}_load_{load_id}_{sha256[:8]}.parquet"
        about = {"dataset": dataset.name, "month": f"{month:%Y-%m}", "source": source}
        ARCHIVE.mkdir(parents=True, exist_ok=True)
        partial = ARCHIVE / f".{name}.partial"
        try:
            columns, rows, content = write_month(cursor, part, partial, about)
            if rows != loaded:
                raise PipelineError(
                    f"raw has {rows:,} rows, where its load had {loaded:,}: somebody wrote there"
                )
            if (rows, content) != content_of(partial):
                raise PipelineError(f"{partial} does not read as what was written. Run again")
            size = partial.stat().st_size
            cursor.execute("select raw.swap_month(%s, %s, null)", [parent, month])
            cursor.execute(
                REMEMBER,
                (
                    *(load_id, dataset.name, month, name, sha256_of(partial), size, rows, columns),
                    *(content, datetime.now(UTC), runtime.flow_run.root_flow_run_id),
                ),
            )
            partial.replace(ARCHIVE / name)
            sync(ARCHIVE)
        finally:
            partial.unlink(missing_ok=True)
    sizes = (f"{rows:,}", raw_bytes / 1e6, size / 1e6, name)
    get_run_logger().info("%s: archived %s rows, %.1f MB in raw, %.1f MB in %s", where, *sizes)
    return Archived(dataset.name, month, name, rows, size, raw_bytes)


@task(
    name="pack",
    task_run_name="pack {dataset.name} {month:%Y-%m}",
    cache_policy=NO_CACHE,
    **RETRIES,
)
def pack_month(dataset: Dataset, month: date) -> Archived:
    """Write a raw month anew by columns, and put that in the place of its partition.

    It takes the access method `columnar`, as Citus's extension citus_columnar brings it. The rows
    are the same, and read as before; a load of the month writes it by rows again.

    Raises:
        TransientError: the month is being loaded or built, or its partition is in use.
        PipelineError: the server has no such method, raw does not have the month, or it does not
            read as what was written. Whatever is raised, the month is in raw as before.
    """
    where, parent = f"{dataset.name} {month:%Y-%m}", f"raw.{dataset.raw_table}"
    with connect() as warehouse, in_one_line(f"{where} is not packed"):
        connection = driver_of(warehouse)
        with connection, connection.cursor() as cursor:
            if not value_of(cursor, "select exists (select from pg_am where amname = 'columnar')"):
                raise PipelineError(
                    "this server stores nothing by columns: that takes Citus's extension "
                    "citus_columnar. `make archive` without --pack writes the month to a file"
                )
            take_turns(cursor, dataset, month, where)
            cursor.execute("select raw.drop_leftovers()")
            cursor.execute(OF_THE_PARTITION, [parent, month])
            [(part, is_packed, raw_bytes)] = cursor.fetchall() or [(None, False, 0)]
            if part is None:
                raise PipelineError("no rows of it are in raw")
            cursor.execute(LATEST, [dataset.name, month])
            [(load_id, *_)] = cursor.fetchall()
            if is_packed:
                get_run_logger().info("%s is packed already, nothing to do", where)
                return Archived(dataset.name, month, part, 0, raw_bytes, raw_bytes)
            ask_for_month(cursor, dataset, month)
            fresh = Identifier("raw", f"{dataset.raw_table}_load_{load_id}")
            name = fresh.as_string(cursor)
            cursor.execute(SQL("create table {} (like {}) using columnar").format(fresh, SQL(part)))
            cursor.execute(
                SQL("insert into {} select * from {} order by source_row").format(fresh, SQL(part))
            )
            rows = cursor.rowcount
            if content_of_table(cursor, name) != content_of_table(cursor, part):
                raise PipelineError("it does not read as what was written. Run again")
            set_apart(cursor, dataset, month, fresh, where)
        with dropped_on_failure(connection), connection, connection.cursor() as cursor:
            cursor.execute("select raw.swap_month(%s, %s, %s)", [parent, month, name])
        with connection, connection.cursor() as cursor:  # Citus has no sizes before a commit
            cursor.execute(OF_THE_PARTITION, [parent, month])
            [(part, _, size)] = cursor.fetchall()
    sizes = (f"{rows:,}", raw_bytes / 1e6, size / 1e6)
    get_run_logger().info("%s: packed %s rows, %.1f MB before, %.1f MB now", where, *sizes)
    return Archived(dataset.name, month, part, rows, size, raw_bytes)


def land_again(dataset: Dataset, month: date) -> None:
    """Land an archived month in raw again, row by row as it was, unless it is there.

    It is the same load as before, so that no model is built again for it. The file stays.

    Raises:
        TransientError: the warehouse went away.
        PipelineError: the month is not in the archive, or its file is missing or has changed.
    """
    where, parent = f"{dataset.name} {month:%Y-%m}", f"raw.{dataset.raw_table}"
    with connect() as warehouse, in_one_line(f"{where} can't be landed again"):
        connection = driver_of(warehouse)
        with connection, connection.cursor() as cursor:
            wait_for_turn(cursor, where)
            cursor.execute("select raw.drop_leftovers()")
            if value_of(cursor, "select raw.has_rows(%s, %s)", [parent, month]):
                return
        # Apart from the look at the table, whose lock would last until the COPY ends: a load that
        # replaces another month would wait for that.
        with connection, connection.cursor() as cursor:
            cursor.execute(LATEST, [dataset.name, month])
            [(load_id, *_)] = cursor.fetchall() or [(None,)]
            found = archived_load(cursor, load_id)
            if found is None:
                raise PipelineError("it is not in the archive")
            path = ARCHIVE / found.file
            if sha256_of(path) != found.sha256:
                raise PipelineError(f"{path} has changed since it was written. Put it back")
            names = pq.read_schema(path).names
            fresh = create_partition(
                cursor, dataset, month, load_id, [one for one in names if one not in OWN_COLUMNS]
            )
            stream = Reader(path)
            columns = SQL(", ").join(map(Identifier, names))
            cursor.copy_expert(
                SQL("copy {} ({}) from stdin with (format csv, freeze)").format(fresh, columns),
                stream,  # type: ignore[arg-type]  # it reads, no more
            )
            if (cursor.rowcount, stream.hash.hexdigest()) != (found.rows, found.content):
                raise PipelineError(f"{path} does not read as what was archived")
            set_apart(cursor, dataset, month, fresh, where)
        with dropped_on_failure(connection), connection, connection.cursor() as cursor:
            name = fresh.as_string(cursor)
            cursor.execute("select raw.swap_month(%s, %s, %s)", [parent, month, name])
    get_run_logger().info("%s: landed %s rows again from %s", where, f"{found.rows:,}", path)


def archived_months() -> list[tuple[str, date]]:
    """The months that are in the archive and not in raw, each with its dataset's name."""
    with connect() as connection:
        if connection.exec_driver_sql("select to_regclass('raw.archives')").scalar() is None:
            return []
        found = connection.exec_driver_sql(
            "select dataset, source_month from raw.archives"
            " where load_id in (select max(load_id) from raw.loads group by dataset, source_month)"
            " and raw.partition_of(format('raw.%%I', dataset || '_tripdata')::regclass,"
            " source_month) is null order by dataset, source_month"
        )
        return [(name, month) for name, month in found]


def take_turns(cursor: Cursor, dataset: Dataset, month: date, where: str) -> None:
    """Take the month's turn of loads, and those of the builds that read it.

    Raises:
        TransientError: another session has one of them.
    """
    if not value_of(cursor, "select raw.keep_turn(%s, waits => false)", [where]):
        raise TransientError("another run is loading it. Run again when it has ended")
    cursor.execute("set local lock_timeout = '1s'")
    try:
        cursor.execute("select raw.take_turns('build')")
    except psycopg2.errors.LockNotAvailable:
        raise TransientError("another run is building. Run again when it has ended") from None
    cursor.execute("set local lock_timeout = 0")
    cursor.execute(BUILT_IN, [dataset.name, month])
    for relation, _ in cursor.fetchall():
        if not value_of(cursor, "select raw.keep_turn(%s, waits => false)", [relation]):
            raise TransientError(f"{relation} is being built. Run again when it is")


def refuse_what_is_not_built(cursor: Cursor, dataset: Dataset, month: date, load_id: int) -> None:
    """Raise a `PipelineError` if a model is still to be built of the month's rows."""
    cursor.execute(BUILT_IN, [dataset.name, month])
    built = cursor.fetchall()
    late = [relation for relation, of_load in built if of_load != load_id]
    if late or not built:
        raise PipelineError("its trips are not built yet: `make run` builds them")


def archived_load(cursor: Cursor, load_id: int | None) -> ArchivedLoad | None:
    """What the audit has of a load's file in the archive; None where it has none."""
    cursor.execute(
        "select file, sha256, bytes, row_count, content_sha256 from raw.archives"
        " where load_id = %s",
        [load_id],
    )
    found = cursor.fetchone()
    return ArchivedLoad(*found) if found else None


def write_month(
    cursor: Cursor, part: str, path: Path, about: dict[str, str]
) -> tuple[int, int, str]:
    """Write a partition's rows to a file.

    Returns the numbers of columns and rows, and the hash of the rows.

    Raises:
        OSError: the disk is full, or the folder can't be written to.
    """
    names = columns_of(cursor, part)
    kinds = {name: pa.int64() if name in NUMBERS else pa.string() for name in names}
    with path.open("wb") as file:
        with pq.ParquetWriter(file, pa.schema(kinds, about), compression="zstd") as parquet:
            writer = Writer(parquet, kinds)
            copy_out(cursor, part, names, writer)
            writer.end()
        os.fsync(file.fileno())
    return len(names), cursor.rowcount, writer.hash.hexdigest()


def copy_out(cursor: Cursor, part: str, names: list[str], writer: "Writer | Hash") -> None:
    """Have these columns of a table's rows written, in the rows' order."""
    cursor.copy_expert(
        SQL(
            "copy (select {} from {} order by source_row) to stdout"
            " with (format csv, force_quote *)"
        ).format(SQL(", ").join(map(Identifier, names)), SQL(part)),
        writer,  # type: ignore[arg-type]  # it writes, no more
    )


def content_of_table(cursor: Cursor, part: str) -> str:
    """The hash of a table's rows."""
    writer = Hash()
    copy_out(cursor, part, columns_of(cursor, part), writer)
    return writer.hash.hexdigest()


class Hash:
    """What `copy_expert` writes a month to, where nothing but its hash is wanted."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, row: bytes) -> None:
        """Take a row."""
        self.hash.update(row)


class Writer:
    """The file that `copy_expert` writes a month to, a row at a time: CSV that becomes Parquet."""

    def __init__(self, parquet: pq.ParquetWriter, kinds: dict[str, pa.DataType]) -> None:
        self.parquet = parquet
        self.kinds = kinds
        self.hash = hashlib.sha256()
        self.rows = io.BytesIO()
        self.error: Exception | None = None

    def write(self, row: bytes) -> None:
        """Take a row. After an error no more: COPY can't be ended halfway."""
        if self.error is None:
            self.rows.write(row)
            if self.rows.tell() >= BATCH_BYTES:
                self.flush()

    def flush(self) -> None:
        """Write the rows that are in hand."""
        rows = self.rows.getvalue()
        self.rows = io.BytesIO()
        self.hash.update(rows)
        try:
            self.parquet.write_table(
                pc.read_csv(
                    io.BytesIO(rows),
                    pc.ReadOptions(column_names=[*self.kinds], block_size=len(rows)),
                    pc.ParseOptions(newlines_in_values=True),
                    pc.ConvertOptions(
                        column_types=self.kinds,
                        null_values=[""],
                        strings_can_be_null=True,
                        quoted_strings_can_be_null=False,
                    ),
                )
            )
        except (OSError, pa.ArrowException) as error:
            self.error = error

    def end(self) -> None:
        """Write the last rows; raise what has gone wrong."""
        if self.error is None and self.rows.tell():
            self.flush()
        if self.error is not None:
            raise self.error


class Reader:
    """A month's file as the CSV that it was written from, for `copy_expert`."""

    def __init__(self, path: Path) -> None:
        self.batches = pq.ParquetFile(path).iter_batches(BATCH_ROWS)
        self.hash = hashlib.sha256()
        self.rows = 0

    def read(self, _size: int = -1) -> bytes:
        """The next rows, as many as they are; nothing at the end."""
        batch = next(self.batches, None)
        if batch is None:
            return b""
        self.rows += batch.num_rows
        text = pa.BufferOutputStream()
        pc.write_csv(batch, text, pc.WriteOptions(include_header=False, quoting_style="all_valid"))
        content: bytes = text.getvalue().to_pybytes()
        self.hash.update(content)
        return content


def content_of(path: Path) -> tuple[int, str]:
    """How many rows a month's file has, and their hash."""
    reader = Reader(path)
    while reader.read():
        pass
    return reader.rows, reader.hash.hexdigest()


def sha256_of(path: Path) -> str:
    """A file's hash."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(folder: Path) -> None:
    """Have a file's new name outlive a power cut."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
