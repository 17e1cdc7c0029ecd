"""What readers see is whole: the month as it was, or as it is to be, whatever their snapshot."""

import gzip
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from conftest import (
    again_and_again,
    build_by_hand,
    load_file,
    run_dbt,
    run_query,
    set_limits,
    wait_until,
)
from made_up import made_up_month
from sqlalchemy import Connection

from flows.errors import PipelineError
from flows.settings import ROOT, Settings
from flows.warehouse import embedded as embedded_postgres
from flows.warehouse.connection import connect, driver_of, libpq_of
from flows.warehouse.load import load

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
RAW, TRIPS = "raw.yellow_tripdata", "yellow_taxi_trips"
BUILD_TRIPS = f"run --select {TRIPS}"
APART = (
    "select relname::text from pg_class where relkind = 'r' and not relispartition"
    " and (relname ~ '^yellow_tripdata' or relnamespace = to_regnamespace('trip_months'))"
)


@pytest.fixture
def impatient(monkeypatch):
    """The same waiting, but not for long, and no retries."""
    set_limits(monkeypatch, attempt="100ms", pause="200ms", patience="500ms")
    monkeypatch.setattr(load, "retries", 0)


@contextmanager
def reading(settings: Settings, *statements: str, repeatable: bool = False) -> Iterator[Connection]:
    """A transaction that has executed some statements and goes on."""
    level = "REPEATABLE READ" if repeatable else "READ COMMITTED"
    with connect(settings) as connection:
        connection.execution_options(isolation_level=level)
        for statement in statements:
            connection.exec_driver_sql(statement)
        yield connection


def count(connection: Connection, table: str, month: date = JANUARY) -> int:
    return connection.exec_driver_sql(
        f"select count(*) from {table} where source_month = '{month}'"
    ).scalar_one()


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread, and wait for its end; what it raises is raised."""
    with ThreadPoolExecutor(1) as thread:
        working = thread.submit(work)
        yield
    working.result()


def reload(rows: int, month: date = JANUARY) -> None:
    load_file(made_up_month(month, rows), month, force=True, allow_fewer_rows=True)


# The server is that of all processes of the suite.
OF_OURS = "select from pg_stat_activity where datname = current_database()"


def wait_for_waiting(query, function: str) -> None:
    """Wait until a session of ours waits in a function of the raw schema."""
    asleep = f"{OF_OURS} and query ~ '{function}' and wait_event = 'PgSleep'"
    wait_until(lambda: query(asleep), 60)


class TestATransactionWithAnOldSnapshot:
    """As pg_dump and DuckDB read: REPEATABLE READ, with a snapshot from before the first look."""

    def test_sees_the_month_as_it_was_and_a_load_waits_for_it(self, january, query):
        with (
            reading(january, "select from vendors", repeatable=True) as reader,
            meanwhile(lambda: reload(3_000)),
        ):
            wait_for_waiting(query, "ask_for_month")
            assert count(reader, RAW) == 1_000
            reader.rollback()
        assert query(f"select count(*) from {RAW}") == [(3_000,)]

    def test_sees_the_trips_as_they_were_and_a_build_waits_for_it(self, january, query):
        [(before,)] = query(f"select count(*) from {TRIPS}")
        reload(3_000)
        with (
            reading(january, "select from vendors", repeatable=True) as reader,
            meanwhile(lambda: build_by_hand(january, BUILD_TRIPS)),
        ):
            wait_for_waiting(query, "ask_for_month")
            assert count(reader, TRIPS) == before
            reader.rollback()
        [(after,)] = query(f"select count(*) from {TRIPS}")
        assert after > 2 * before

    def test_that_begins_while_the_month_is_filled_is_waited_for(self, january, query):
        [(before,)] = query(f"select count(*) from {TRIPS}")
        fill(january, query)
        with (
            reading(january, "select from vendors", repeatable=True) as reader,
            meanwhile(lambda: query(SWAP)),
        ):
            wait_for_waiting(query, "swap_month")
            assert count(reader, TRIPS) == before
            reader.rollback()
        assert query(f"select count(*) from {TRIPS}") == [(7,)]

    def test_that_begins_after_that_sees_the_new_month(self, january, query):
        """The swap waits for a lock, and not for snapshots that see the new month's rows."""
        fill(january, query)
        with (
            reading(january, f"select from {TRIPS}") as other,
            meanwhile(lambda: query(SWAP)),
        ):
            wait_for_waiting(query, "swap_month")
            with reading(january, "select from vendors", repeatable=True) as reader:
                other.rollback()
                wait_until(lambda: query(f"select count(*) from {TRIPS}") == [(7,)], 30)
                assert count(reader, TRIPS) == 7

    @pytest.mark.usefixtures("impatient")
    def test_is_named_where_it_lasts_too_long_and_nothing_has_changed(self, january, query):
        with reading(january, "select from vendors", repeatable=True):
            with pytest.raises(
                PipelineError,
                match=r"2021-01 stays as it was: raw.yellow_tripdata waits for the transaction of"
                r" process \d+ \(taxi, nyc-taxi-elt, since .*End that session's",
            ):
                reload(3_000)
            assert query(f"select count(*) from {RAW}") == [(1_000,)]
            reload(2_000, FEBRUARY)  # a month that is not there yet need not wait
        assert query(f"select count(*) from {RAW}") == [(3_000,)]
        assert query(APART) == []


def fill(settings: Settings, query) -> None:
    """Fill a January of seven trips apart."""
    query(
        f"create table trip_months.seven as select * from {TRIPS} order by trip_id limit 7;"
        f"select raw.constrain_month('{TRIPS}', '{JANUARY}', 'trip_months.seven')"
    )


SWAP = f"select raw.swap_month('{TRIPS}', '{JANUARY}', 'trip_months.seven')"


class TestWhoIsWaitedFor:
    """`raw.snapshots()`: the sessions that may not see the rows of a table that is new."""

    def pids(self, query) -> set[int]:
        return {pid for (pid,) in query("select pid from raw.snapshots()")}

    @staticmethod
    def pid(connection: Connection) -> int:
        return driver_of(connection).info.backend_pid

    def test_a_transaction_without_a_snapshot_is_not(self, january, query):
        with reading(january, "select from vendors") as idle:
            assert self.pid(idle) not in self.pids(query)

    def test_a_repeatable_read_transaction_is(self, january, query):
        with reading(january, "select from vendors", repeatable=True) as reader:
            assert self.pid(reader) in self.pids(query)

    def test_a_session_that_takes_turns_is_not(self, january, query):
        with reading(january, "select raw.keep_turn('x')", repeatable=True) as own:
            assert self.pid(own) not in self.pids(query)
        with reading(january, "select raw.take_turns('x')", repeatable=True) as own:
            assert self.pid(own) not in self.pids(query)

    def test_one_in_another_database_is_not(self, january, superuser, query):
        with reading(superuser, "select from pg_class", repeatable=True) as elsewhere:
            assert self.pid(elsewhere) not in self.pids(query)

    def test_of_others_each_transaction_is_where_their_snapshots_are_hidden(
        self, january, superuser, query
    ):
        others = superuser.model_copy(update={"db": january.db})
        with reading(others, "select from vendors") as idle:
            assert self.pid(idle) not in self.pids(query)
            run_query(superuser, f"revoke pg_read_all_stats from {january.user}")
            try:
                assert self.pid(idle) in self.pids(query)
            finally:
                run_query(superuser, f"grant pg_read_all_stats to {january.user}")


def test_months_of_one_build_come_one_by_one_and_one_that_is_locked_keeps_no_reader_waiting(
    january, query, monkeypatch
):
    set_limits(monkeypatch, attempt="300ms", pause="300ms", patience="60s")
    reload(1_000, FEBRUARY)
    build_by_hand(january, BUILD_TRIPS)
    [(before,)] = query(f"select count(*) from {TRIPS}")
    for month in (JANUARY, FEBRUARY):
        reload(3_000, month)
    waits = []

    def is_january_new() -> bool:
        began = time.monotonic()
        [(trips,)] = query(f"select count(*) from {TRIPS}")
        waits.append(time.monotonic() - began)
        return trips > before

    with (
        reading(january, f"select from trip_months.{TRIPS}_2021_02") as slow,
        meanwhile(lambda: build_by_hand(january, BUILD_TRIPS)),
    ):
        wait_until(is_january_new, 60)
        wait_for_waiting(query, "ask_for_month")
        for _ in range(20):
            is_january_new()
        assert count(slow, TRIPS, FEBRUARY) < 1_001
        slow.rollback()
    assert max(waits) < 2  # of which a try for the lock is 0.3; February is locked for longer
    [(january_trips, february_trips)] = query(
        f"select count(*) filter (where source_month = '{JANUARY}'),"
        f" count(*) filter (where source_month = '{FEBRUARY}') from {TRIPS}"
    )
    assert min(january_trips, february_trips) > before


@pytest.mark.usefixtures("impatient")
class TestAMonthThatIsLocked:
    """It is asked for before hours of work go into the new one."""

    def test_is_asked_for_before_its_file_is_copied(self, january, query):
        loads = "select last_value from raw.loads_load_id_seq"
        before = query(loads)
        with (
            reading(january, f"select from {RAW}"),
            pytest.raises(PipelineError, match=r"raw\.yellow_tripdata is locked by process"),
        ):
            reload(3_000)
        assert query(loads) == before

    def test_is_asked_for_before_it_is_filled(self, january):
        """dbt's log has each query that it runs."""
        reload(3_000)
        with reading(january, f"select from {TRIPS}"):
            is_done, said = run_dbt(january, BUILD_TRIPS)
        assert not is_done
        assert "raw.ask_for_month(" in said
        assert "raw.fill_month(" not in said
        assert f"{TRIPS} is locked by process" in said


def test_a_month_whose_swap_fails_is_not_remembered_as_built(january, superuser, query):
    """The memory of what is built is written in the swap's own transaction."""
    memory = f"select load_id from bookkeeping.built_months where relation = 'public.{TRIPS}'"
    before = query(memory)
    reload(3_000)
    admin = superuser.model_copy(update={"db": january.db})
    run_query(
        admin,
        "create function fail() returns event_trigger language plpgsql as $$ begin"
        " if position('raw.swap_month' in current_query()) > 0 then raise 'no swap today'; end if;"
        " end $$; create event trigger no_swap on ddl_command_start execute function fail()",
    )
    try:
        is_done, said = run_dbt(january, BUILD_TRIPS)
    finally:
        run_query(admin, "drop event trigger no_swap; drop function fail()")
    assert not is_done
    assert "no swap today" in said
    assert query(memory) == before
    build_by_hand(january, BUILD_TRIPS)
    assert query(memory) > before


class TestATableThatIsFilledApart:
    @pytest.fixture
    def leftover(self, january, query) -> str:
        name = "trip_months.left_over"
        query(f"create table {name} as select 1 as x; select raw.mark_as_apart('{name}', 'mine')")
        return name

    def is_there(self, query, name: str) -> bool:
        [(is_there,)] = query(f"select to_regclass('{name}') is not null")
        return is_there

    def test_is_dropped_by_the_next_load(self, query, leftover):
        reload(2_000)
        assert not self.is_there(query, leftover)

    def test_is_dropped_by_the_next_build(self, january, query, leftover):
        build_by_hand(january, BUILD_TRIPS)
        assert not self.is_there(query, leftover)

    def test_stays_as_long_as_the_session_that_has_filled_it(self, january, query, leftover):
        with reading(january, "select raw.keep_turn('mine')") as maker:
            maker.commit()
            query("select raw.drop_leftovers()")
            assert self.is_there(query, leftover)
        query("select raw.drop_leftovers()")
        assert not self.is_there(query, leftover)

    def test_is_left_to_the_next_run_where_somebody_reads_it(self, january, query, leftover):
        with reading(january, f"select from {leftover}"):
            reload(2_000)
            assert self.is_there(query, leftover)
        reload(1_000)
        assert not self.is_there(query, leftover)

    def test_is_all_that_a_run_leaves_that_is_killed_before_the_swap(
        self, january, query, tmp_path
    ):
        big = tmp_path / "yellow_tripdata_2021-01.csv"
        header, body = gzip.decompress(made_up_month(JANUARY, 5_000).read_bytes()).split(b"\n", 1)
        big.write_bytes(header + b"\n" + body * 100)
        run = subprocess.Popen(
            [sys.executable, "-m", "flows.elt", "--source", str(big)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        copying = OF_OURS.replace("activity", "progress_copy") + " and tuples_processed > 0"
        wait_until(lambda: query(copying), 60)
        with reading(january, f"select from {RAW}"):
            wait_for_waiting(query, "swap_month")
            run.kill()
            run.wait()
            [apart] = query(APART)
        wait_until(lambda: not query(f"{OF_OURS} and query ~ '^select raw.swap'"), 60)
        assert query(APART) == [apart]
        assert query(f"select count(*), min(load_id) from {RAW}") == [(1_000, 1)]
        assert query("select count(*) from raw.loads") == [(1,)]
        load_file(big, JANUARY)
        assert query(APART) == []
        assert query(f"select count(*) from {RAW}") == [(500_000,)]


def test_what_a_person_adds_to_a_table_new_months_have_as_well(january, query):
    for table in (RAW, TRIPS):
        query(
            f'create unique index "one of a kind on {table}" on {table} (source_row, source_month);'
            f"create index on {table} (load_id) where load_id > 5;"
            f"alter table {table} alter load_id set statistics 500"
        )
    reload(2_000)
    reload(2_000, FEBRUARY)
    build_by_hand(january, BUILD_TRIPS)
    of_months = (
        "select count(*) filter (where indisunique and not indisprimary),"
        " count(*) filter (where pg_get_expr(indpred, indrelid) = '(load_id > 5)'),"
        " (select attstattarget::int from pg_attribute"
        " where attrelid = indrelid and attname = 'load_id')"
        " from pg_index inner join pg_inherits on indrelid = inhrelid"
        " where inhparent in ('{}'::regclass, '{}'::regclass) group by indrelid"
    )
    assert query(of_months.format(RAW, TRIPS)) == [(1, 1, 500)] * 4
    assert query(
        "select bool_and(indisvalid) from pg_index where indrelid in"
        f" ('{RAW}'::regclass, '{TRIPS}'::regclass)"
    ) == [(True,)]


@pytest.mark.usefixtures("models_alone")
def test_a_publication_for_all_tables_stops_neither_loads_nor_builds(
    january, superuser, query, tmp_path
):
    run_query(
        superuser.model_copy(update={"db": january.db}), "create publication p for all tables"
    )
    file = tmp_path / "yellow_tripdata_2021-01.csv"
    file.write_bytes(gzip.decompress(made_up_month(JANUARY, 1_000).read_bytes()) + b"1,2\n")
    for _ in range(2):
        load_file(file, JANUARY, force=True, max_malformed_share=0.5)
        build_by_hand(january)
    assert query("select count(*) from raw.malformed_lines") == [(1,)]


def dumped(settings: Settings, folder: Path) -> tuple[str, int, int] | str:
    """How many of January's raw rows and trips pg_dump writes; or what its error is."""
    path = folder / "dump.sql"
    result = subprocess.run(
        [embedded_postgres.programs() / "pg_dump", "--no-password", "--file", path],
        env=os.environ | libpq_of(settings.url),
        capture_output=True,
        text=True,
    )
    if result.returncode:
        return result.stderr
    rows = {RAW: 0, TRIPS: 0}
    for name, body in re.findall(r"(?ms)^COPY \w+\.(\w+) .*?;\n(.*?)^\\\.$", path.read_text()):
        for table in rows:
            if re.fullmatch(rf"{table.rpartition('.')[2]}_2021_01", name):
                rows[table] += body.count("\n")
    return ("pg_dump", rows[RAW], rows[TRIPS])


def test_dumps_and_repeatable_readers_beside_twenty_reloads_find_no_month_empty(
    january, query, tmp_path
):
    """Each month has one of two sizes, and each of its trips' numbers belongs to one of them."""
    few, many = 1_000, 2_000

    def repeatable_read() -> tuple[str, int, int]:
        with reading(january, "select from vendors", repeatable=True) as reader:
            time.sleep(0.6)  # longer than a month is filled: the snapshot is older than all of it
            return ("repeatable read", count(reader, RAW), count(reader, TRIPS))

    def copy() -> tuple[str, int, int]:
        """Its snapshot is older than its locks."""
        rows = []
        with connect(january) as connection, driver_of(connection).cursor() as cursor:
            for table in (RAW, "trips"):
                out = BytesIO()
                month = f"select 1 from {table} where source_month = '{JANUARY}'"
                cursor.copy_expert(f"copy ({month}) to stdout", out)
                rows.append(len(out.getvalue().splitlines()))
        return ("copy", *rows)

    trips_of = {1_000: query(f"select count(*) from {TRIPS}")[0][0]}
    dump = partial(dumped, january, tmp_path)
    # With pauses: what loads and builds needs the processor as well.
    kinds = (repeatable_read, repeatable_read, copy, dump)
    with again_and_again(*kinds, pause=0.1) as seen:
        for number in range(20):
            reload(few if number % 2 else many)
            if number % 3 == 0:  # many trips, few, many ...
                build_by_hand(january, BUILD_TRIPS)
                [(trips_of[few if number % 2 else many],)] = query(f"select count(*) from {TRIPS}")
    errors = [each for each in seen if isinstance(each, str)]
    reads = [each for each in seen if not isinstance(each, str)]
    assert {raw for _, raw, _ in reads} == {few, many}
    assert {trips for _, _, trips in reads} == {*trips_of.values()}
    for kind in ("repeatable read", "copy", "pg_dump"):
        assert sum(each[0] == kind for each in reads) > 20
    # A dump whose list of tables is older than a swap may end with an error, and says of which.
    assert all("yellow_t" in error for error in errors)
    assert len(errors) < 10
