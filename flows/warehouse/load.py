"""Load: a file becomes its month's partition of the raw table, whole or not at all.

The raw table keeps every column as text, as it is in the file; typing and filtering are dbt's.
"""

import csv
import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from tempfile import TemporaryFile

import psycopg2
from prefect import get_run_logger, runtime
from prefect.assets import materialize
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency
from psycopg2.extensions import connection as DriverConnection
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Composable, Identifier, Literal

from flows.errors import ONLY_LOG, RETRIES, PipelineError, first_line, is_url
from flows.interrupt import hidden_signal
from flows.parameters import Limits
from flows.progress import Advance, progress, reporting
from flows.tlc.datasets import DATASETS, Dataset
from flows.tlc.download import SourceFile, refuse_size
from flows.tlc.formats import TripFile, open_trip_file
from flows.warehouse.connection import connect, driver_of, explained, value_of
from flows.warehouse.guards import (
    refuse_odd_values,
    refuse_other_columns,
    refuse_other_datasets,
    run,
)
from flows.warehouse.schema import OWN_COLUMNS, prepare

LIMIT = "warehouse-loads"  # Prefect's global concurrency limit on loads
ROWS_BETWEEN_REPORTS = 500_000


@dataclass(frozen=True)
class Load:
    """What a load put into the raw table; the audit, raw.loads, has a row of each."""

    dataset: str
    month: date
    rows: int
    malformed_lines: int
    sha256: str
    is_sample: bool
    bytes: int  # of the file
    etag: str | None = None
    last_modified: str | None = None
    source: str = ""
    seconds: float = 0.0  # none where there was nothing to do
    remark: str | None = None  # what a person should know of it

    @property
    def is_new(self) -> bool:
        """Whether it has just been loaded; else the same content was there already."""
        return self.seconds > 0


@dataclass(frozen=True)
class Landed:
    """A month in the raw table, and what it took."""

    load: Load
    fetch_seconds: float


class CopyRefused(PipelineError):
    """PostgreSQL rejects the file as it is: some of its lines are not rows."""


# Without a month of which somebody has dropped or emptied the partition, and which is not in the
# archive.
LATEST_LOADS = """
select dataset, source_month, row_count, malformed_lines, sha256, is_sample, bytes, etag,
    last_modified, source
from (
    select distinct on (source_month) *
    from raw.loads
    where dataset = %s and source_month = any(%s::date[]) is not false
    order by source_month, load_id desc
) as latest
where
    raw.has_rows('raw.{}', source_month)
    or exists (select from raw.archives where archives.load_id = latest.load_id)
order by source_month
"""


def latest_loads(dataset: str) -> dict[date, Load]:
    """The load that each month of a dataset is of.

    Raises:
        PipelineError: an earlier version made the warehouse, and no run has upgraded it yet.
    """
    with connect() as connection:
        if connection.exec_driver_sql("select to_regclass('raw.loads')").scalar() is None:
            return {}
        is_upgraded = (
            "select to_regproc('raw.has_rows') is not null"
            " and to_regclass('raw.archives') is not null"
        )
        if not connection.exec_driver_sql(is_upgraded).scalar():
            raise PipelineError("an earlier version made this warehouse: `make run` upgrades it")
        query = LATEST_LOADS.format(DATASETS[dataset].raw_table)
        found = connection.exec_driver_sql(query, (dataset, None))
        loads = [Load(*row) for row in found]
    return {load.month: load for load in loads}


def loaded_datasets() -> set[str]:
    """The names of the datasets of which there is a month to build models of."""
    with connect() as connection:
        return {*connection.exec_driver_sql("select distinct dataset from raw.loads").scalars()}


@materialize(
    "postgres://warehouse/raw",  # land() names the tables of the warehouse that it is
    name="load",
    task_run_name="load {dataset.name} {month:%Y-%m}",
    cache_policy=NO_CACHE,
    **RETRIES,
)
def load(
    file: SourceFile,
    dataset: Dataset,
    month: date,
    force: bool = False,
    limits: Limits = Limits(),
    allow_fewer_rows: bool = False,
    is_sample: bool = False,
    sampled_one_in: int | None = None,
) -> Load:
    """Replace a month's partition with the file's rows: one transaction fills, a short one swaps.

    Readers see the month as it was until all of the new one is there, and a load that is killed
    changes nothing that they see; what it has filled is dropped by the next run. Nothing is done
    where the same content is there already, nor where a sample would take the place of a real
    month. Where another file's rows are replaced, the load's remark says so. Of a sample that was
    drawn at random, `sampled_one_in` is how many trips of the month each one stands for.

    Raises:
        TransientError: the warehouse went away, or another session kept the raw table locked.
        PipelineError: the file is not a month of the dataset, more of its lines are malformed or
            its rows rejected than `limits` allow, or the month that is there has more than twice
            its rows (`allow_fewer_rows` loads it all the same). Whatever is raised, nothing has
            changed.
    """
    where = f"{dataset.name} {month:%Y-%m}"
    with open_trip_file(file.path, file.source) as trips, slot(), connect() as warehouse:
        refuse_other_columns(dataset, trips)
        connection = driver_of(warehouse)
        try:
            with connection, connection.cursor() as cursor:
                prepare(cursor)
            with connection, connection.cursor() as cursor:
                wait_for_turn(cursor, where)
                cursor.execute("select raw.drop_leftovers()")
                present = latest_load(cursor, dataset, month)
                if present and (reason := why_nothing_to_do(present, file, force, is_sample)):
                    if present.sha256 == file.sha256:
                        remember_version(cursor, dataset, month, file, sampled_one_in)
                    get_run_logger().info("%s %s", where, reason)
                    return present
            # Apart from what has looked at the table: two that ask would wait for each other.
            with connection, connection.cursor() as cursor:
                ask_for_month(cursor, dataset, month)
            with connection, connection.cursor() as cursor:
                began, started_at = time.perf_counter(), datetime.now(UTC)
                load_id = next_load_id(cursor)
                fresh, rows, malformed = copy(cursor, dataset, month, load_id, file, trips, limits)
                if trips.sha256 != file.sha256:
                    raise PipelineError(
                        f"{file.source} has changed while it was loaded, and {where} stays as it "
                        "was. Run again when nothing writes to the file any more"
                    )
                refuse_other_datasets(cursor, dataset, month, file, fresh, trips.columns)
                rejected_share = refuse_odd_values(
                    cursor, dataset, month, file, fresh, trips, limits
                )
                if present and not (present.is_sample or allow_fewer_rows):
                    refuse_fewer_rows(file, where, present.rows, rows)
                set_apart(cursor, dataset, month, fresh, where)
            with dropped_on_failure(connection), connection, connection.cursor() as cursor:
                swap(cursor, dataset, month, load_id, fresh, malformed)
                cursor.execute(
                    "insert into raw.loads (load_id, dataset, source_month, source, is_sample,"
                    " sampled_one_in, sha256, bytes, etag, last_modified, row_count,"
                    " malformed_lines, rejected_share, is_plain, files, started_at, finished_at,"
                    " flow_run_id) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
                    " %s, %s, %s, %s)",
                    (
                        *(load_id, dataset.name, month, file.source, is_sample),
                        *(sampled_one_in, trips.sha256),
                        *(file.bytes, file.etag, file.last_modified, rows, malformed),
                        *(rejected_share, trips.is_plain),
                        json.dumps([asdict(part) for part in trips.parts]),
                        *(started_at, datetime.now(UTC)),
                        runtime.flow_run.root_flow_run_id,
                    ),
                )
        except psycopg2.Error as error:
            raise hidden_signal(error) or explained(error, f"{where} stays as it was") from None
    seconds = time.perf_counter() - began
    counts = (where, f"{rows:,}", f"{malformed:,}", seconds)
    get_run_logger().info("%s: loaded %s rows, %s malformed lines, %.1f s", *counts)
    remark = about_another_file(file, where, present, rows)
    if remark:
        get_run_logger().warning("%s", remark)
    return Load(
        *(dataset.name, month, rows, malformed, trips.sha256, is_sample),
        *(file.bytes, file.etag, file.last_modified, file.source, seconds, remark),
    )


@contextmanager
def slot() -> Iterator[None]:
    """A slot under Prefect's concurrency limit; a run without a deployment loads one at a time."""
    with ExitStack() as held:
        if runtime.deployment.id:
            held.enter_context(concurrency(LIMIT, lease_duration=60))
        try:
            yield
        finally:
            # Prefect's server may be away; the lease ends all the same, and so must the load.
            with reporting():
                held.close()


def wait_for_turn(cursor: Cursor, where: str) -> None:
    """Let one session at a time load a month; the second one waits for the end of the first."""
    if not value_of(cursor, "select raw.keep_turn(%s, waits => false)", [where]):
        get_run_logger().info("Another run is loading %s; waiting for it", where)
        cursor.execute("select raw.keep_turn(%s)", [where])


def ask_for_month(cursor: Cursor, dataset: Dataset, month: date) -> None:
    """Wait until the month can be replaced: where it can't be, a COPY would be in vain."""
    parent = f"raw.{dataset.raw_table}"
    log_who_is_in_the_way(cursor, parent, month)
    cursor.execute("select raw.ask_for_month(%s, %s)", [parent, month])


def log_who_is_in_the_way(cursor: Cursor, parent: str, month: date) -> None:
    """Log whom a swap of the month waits for, if it is not for a moment."""
    if sessions := value_of(cursor, "select raw.in_the_way_of(%s, %s)", [parent, month]):
        get_run_logger().info("%s is in use by %s; waiting for it", parent, sessions)


def set_apart(cursor: Cursor, dataset: Dataset, month: date, fresh: Identifier, where: str) -> None:
    """Give the filled table all that a partition has, and mark it as what it is until the swap."""
    run(
        cursor,
        "alter table {} alter source_month drop default, alter source_row drop identity if exists,"
        " alter load_id drop default",
        fresh,
    )
    name = fresh.as_string(cursor)
    parent = f"raw.{dataset.raw_table}"
    cursor.execute("select raw.constrain_month(%s, %s, %s)", [parent, month, name])
    cursor.execute("select raw.spread(%s)", [name])
    cursor.execute("select raw.mark_as_apart(%s, %s)", [name, where])


@contextmanager
def dropped_on_failure(connection: DriverConnection) -> Iterator[None]:
    """Drop the filled table if it can't be swapped in; where we are killed, the next run does."""
    try:
        yield
    except BaseException:
        with suppress(psycopg2.Error), connection, connection.cursor() as cursor:
            cursor.execute("select raw.drop_leftovers()")
        raise


def latest_load(cursor: Cursor, dataset: Dataset, month: date) -> Load | None:
    """The load that the month is of, where it is loaded."""
    cursor.execute(LATEST_LOADS.format(dataset.raw_table), [dataset.name, [month]])
    found = cursor.fetchone()
    return Load(*found) if found else None


def why_nothing_to_do(present: Load, file: SourceFile, force: bool, is_sample: bool) -> str | None:
    """Why the month stays as it is; None where the file is to be loaded."""
    if is_sample and not present.is_sample:
        return f"is there, with {present.rows:,} rows: a sample does not take its place"
    if present.sha256 == file.sha256 and not force:
        return "is loaded already, nothing to do"
    return None


def remember_version(
    cursor: Cursor, dataset: Dataset, month: date, file: SourceFile, sampled_one_in: int | None
) -> None:
    """Note in the audit what the source says of the content that is loaded already.

    Else it would count as changed, and be fetched by each run that looks for changes.
    """
    version = (file.bytes, file.etag, file.last_modified, sampled_one_in)
    cursor.execute(
        "update raw.loads set bytes = %s, etag = %s, last_modified = %s, sampled_one_in = %s"
        " where load_id = (select max(load_id) from raw.loads"
        " where dataset = %s and source_month = %s)"
        " and (bytes, etag, last_modified, sampled_one_in) is distinct from (%s, %s, %s, %s)",
        [*version, dataset.name, month, *version],
    )


def refuse_fewer_rows(file: SourceFile, where: str, before: int, rows: int) -> None:
    """Raise a `PipelineError` if most of a month would go, as with a file that is cut off."""
    if rows * 2 < before:
        raise PipelineError(
            f"{file.source}: {rows:,} rows, where {where} has {before:,}. It stays as it was. "
            "If the file is right, allow it with allow_fewer_rows"
        )


def about_another_file(file: SourceFile, where: str, present: Load | None, rows: int) -> str | None:
    """What to say where the rows of a file take the place of another file's; None where not."""
    if present is None or present.is_sample or present.source == file.source:
        return None
    said = f"{where}: {file.source} replaces {present.rows:,} rows of another file, "
    if pattern := pattern_of(file.source, present.source):
        advice = f". If both are parts of the month, give them together: SOURCE='{pattern}'"
    else:
        advice = ""
    return f"{said}{present.source}, by {rows:,}{advice}"


def pattern_of(one: str, other: str) -> str | None:
    """The pattern of two paths that differ in one number, as those of a month's parts do."""
    pieces, others = (re.split(r"(\d+)", path) for path in (one, other))
    if is_url(one) or len(pieces) != len(others):
        return None
    different = [i for i, (ours, its) in enumerate(zip(pieces, others, strict=True)) if ours != its]
    if len(different) != 1 or not pieces[different[0]].isdigit():
        return None
    pieces[different[0]] = "*"
    return "".join(pieces)


def next_load_id(cursor: Cursor) -> int:
    """The number of a load, in the order in which loads begin."""
    return int(value_of(cursor, "select nextval(pg_get_serial_sequence('raw.loads', 'load_id'))"))


def create_partition(
    cursor: Cursor, dataset: Dataset, month: date, load_id: int, columns: list[str]
) -> Identifier:
    """Make the table that is to become the month's partition, with defaults for what COPY lacks.

    An identity numbers the rows, which is faster than a sequence that is a default; set_apart()
    takes it away, since PostgreSQL 17 and later attach no table that has one. The constraint tells
    PostgreSQL that all rows are the month's, which it would otherwise read them for.
    """
    fresh = Identifier("raw", f"{dataset.raw_table}_load_{load_id}")
    # The file's columns alone: raw.swap_month() adds those that other files have, at no cost, where
    # COPY would write a null into each row. Ours are first, since PostgreSQL finds them the faster.
    definitions: list[Composable] = [SQL(f"{name} {kind}") for name, kind in OWN_COLUMNS.items()]
    definitions += [SQL("{} text").format(Identifier(name)) for name in columns]
    run(cursor, "create table {} ({})", fresh, SQL(", ").join(definitions))
    run(
        cursor,
        "alter table {} alter source_month set default {}, alter load_id set default {},"
        " alter source_month set not null, alter load_id set not null,"
        " alter source_row set not null,"
        " alter source_row add generated always as identity (cache 10000),"
        " add constraint is_of_month check (source_month = {})",
        *(fresh, Literal(month), Literal(load_id), Literal(month)),
    )
    return fresh


def copy(
    cursor: Cursor,
    dataset: Dataset,
    month: date,
    load_id: int,
    file: SourceFile,
    trips: TripFile,
    limits: Limits,
) -> tuple[Identifier, int, int]:
    """Copy a file's rows into a new table; return it, and the numbers of rows and malformed lines.

    Raises:
        PipelineError: it has no rows, or more of its lines are malformed than `limits` allow.
    """
    cursor.execute("savepoint before_copy")
    try:
        fresh = create_partition(cursor, dataset, month, load_id, trips.columns)
        rows, malformed = copy_chunks(cursor, fresh, file, trips, trips.chunks(), limits), 0
    except CopyRefused as refusal:
        get_run_logger().warning("%s. Setting malformed lines aside", refusal)
        cursor.execute("rollback to savepoint before_copy")
        fresh = create_partition(cursor, dataset, month, load_id, trips.columns)
        rows, malformed = copy_good_lines(
            cursor, fresh, file, trips, (load_id, dataset.name, month), limits
        )
        refuse_malformed(cursor, trips.source, load_id, malformed, rows, limits)
    if rows == 0:
        raise PipelineError(f"{trips.source}, line 2: no rows. Get the file again")
    return fresh, rows, malformed


def copy_good_lines(
    cursor: Cursor,
    fresh: Identifier,
    file: SourceFile,
    trips: TripFile,
    key: tuple[int, str, date],
    limits: Limits,
) -> tuple[int, int]:
    """Copy a file's rows into its partition, and its other lines into a temporary table.

    That is this session's, until the swap takes its lines to `raw.malformed_lines`. `key` is the
    load, dataset and month of those lines. Returns the numbers of both.
    """
    # Malformed lines wait in a file, not in memory: there may be as many as the file has lines.
    with TemporaryFile("w+", encoding="utf-8", newline="") as aside:
        writer = csv.writer(aside, quoting=csv.QUOTE_ALL)
        chunks = trips.good_chunks(
            lambda *malformed: writer.writerow((*key, trips.part_number, *malformed))
        )
        rows = copy_chunks(cursor, fresh, file, trips, chunks, limits)
        aside.seek(0)
        cursor.execute("create temporary table malformed_lines (like raw.malformed_lines)")
        cursor.copy_expert(
            "copy pg_temp.malformed_lines"
            " (load_id, dataset, source_month, file_number, line_number, line, reason)"
            " from stdin with (format csv)",
            aside,
        )
        return rows, cursor.rowcount


def refuse_malformed(
    cursor: Cursor, source: str, load_id: int, malformed: int, rows: int, limits: Limits
) -> None:
    """Raise a `PipelineError` if too many lines are malformed, with the first as an example."""
    share = malformed / (malformed + rows) if malformed else 0.0
    if share > limits.malformed_share:
        cursor.execute(
            "select line_number, reason from pg_temp.malformed_lines"
            " where load_id = %s order by line_number limit 1",
            [load_id],
        )
        [(number, reason)] = cursor.fetchall()
        raise PipelineError(
            f"{source}, line {number}: {reason}; {malformed:,} of {malformed + rows:,} lines "
            f"are malformed, {share:.1%} where {limits.malformed_share:.1%} may be. Get the "
            "file again, or allow more with limits.malformed_share"
        )


def copy_chunks(
    cursor: Cursor,
    fresh: Identifier,
    file: SourceFile,
    trips: TripFile,
    chunks: Iterator[bytes],
    limits: Limits,
) -> int:
    """Stream rows into a table that was made in this transaction; return their number.

    Raises:
        CopyRefused: some of the lines are not rows.
        PipelineError: the file can't be read to its end, or is larger than `limits` allow.
    """
    # FREEZE spares readers the work of marking each row as committed.
    statement = SQL("copy {} ({}) from stdin with (format csv, freeze)").format(
        fresh, SQL(", ").join(map(Identifier, trips.columns))
    )
    with progress(f"load {file.path.name}", file.content_bytes) as advance:
        stream = Stream(chunks, trips, advance, limits.gigabytes)
        try:
            cursor.copy_expert(statement, stream)  # type: ignore[arg-type]  # it reads, no more
        except psycopg2.DataError as error:
            raise CopyRefused(f"{trips.source}: {first_line(error)}") from None
        except psycopg2.errors.QueryCanceled as error:
            raise stream.error or error from None
    if cursor.rowcount != trips.rows_read:
        # A quotation goes on in the next line; or a line is `\.`, the end before PostgreSQL 18.
        raise CopyRefused(f"{trips.source}: {cursor.rowcount:,} rows in {trips.rows_read:,} lines")
    return int(cursor.rowcount)


class Stream:
    """An iterator of bytes as the file that `copy_expert` reads, which reports how far it is."""

    def __init__(
        self, chunks: Iterator[bytes], trips: TripFile, advance: Advance, max_gigabytes: float
    ) -> None:
        self.chunks = chunks
        self.trips = trips
        self.advance = advance
        self.max_gigabytes = max_gigabytes
        self.bytes = 0
        self.rows = 0  # when the log was last told
        self.error: Exception | None = None
        self.logger = get_run_logger()
        self.began = time.perf_counter()

    def read(self, _size: int) -> bytes:
        """The next piece, of whatever size; it ends where a line ends."""
        try:
            chunk = next(self.chunks, b"")
            self.bytes += len(chunk)
            refuse_size(self.trips.source, self.bytes, self.max_gigabytes)
        except Exception as error:  # psycopg2 shows it as a cancelled query only
            self.error = error
            raise
        self.advance(self.trips.bytes_read, self.trips.rows_read)
        if self.trips.rows_read - self.rows >= ROWS_BETWEEN_REPORTS:
            self.rows, seconds = self.trips.rows_read, time.perf_counter() - self.began
            self.logger.info("%s rows in %.1f s", f"{self.rows:,}", seconds, extra=ONLY_LOG)
        return chunk


def swap(
    cursor: Cursor, dataset: Dataset, month: date, load_id: int, fresh: Identifier, malformed: int
) -> None:
    """Put the filled table in the place of the month's partition, with its malformed lines.

    What can wait for another session comes before the swap, which locks readers out.
    """
    cursor.execute("lock table raw.loads in row exclusive mode")
    cursor.execute(
        "delete from raw.malformed_lines where dataset = %s and source_month = %s",
        [dataset.name, month],
    )
    if malformed:
        cursor.execute("insert into raw.malformed_lines select * from pg_temp.malformed_lines")
    parent = f"raw.{dataset.raw_table}"
    log_who_is_in_the_way(cursor, parent, month)
    cursor.execute("select raw.swap_month(%s, %s, %s)", [parent, month, fresh.as_string(cursor)])
