"""The flow in a database that Citus spreads over several servers.

`TEST_CITUS_URL` names it on the coordinator, and what this project has there is dropped first: a
database for the tests alone, with `test` in its name. Else all is skipped.
Some tests kill a worker: for them, `TEST_CITUS_SUPERUSER_URL` is the same database as a superuser,
who logs in at the workers in the same way. All three servers come back by themselves.

    TEST_CITUS_URL=postgresql://elt:password@127.0.0.1:9700/elt_test \\
        TEST_CITUS_SUPERUSER_URL=postgresql://postgres:password@127.0.0.1:9700/elt_test \\
        pytest tests/test_citus.py
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

import pandas as pd
import psycopg2
import pytest
from conftest import (
    again_and_again,
    build_by_hand,
    free_port,
    load_era,
    load_file,
    point_to,
    run_outside_transaction,
    run_query,
    target,
    wait_until,
    warehouse_to_build,
)
from made_up import made_up_month
from pydantic import SecretStr
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import DBAPIError, ProgrammingError

from flows.archive import archive
from flows.ask import ask
from flows.build import build, dbt_build
from flows.elt import elt
from flows.errors import PipelineError, TransientError
from flows.report.facts import read_facts
from flows.settings import PROJECT, ROOT, Settings, read_settings
from flows.warehouse import archive as archives
from flows.warehouse.connection import connect
from flows.warehouse.load import load
from flows.warehouse.roles import add_login

URL = os.environ.get("TEST_CITUS_URL")
SUPERUSER_URL = os.environ.get("TEST_CITUS_SUPERUSER_URL")
JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
# Our tables and views that analysts read, with their columns but for the time of the load.
RELATIONS = """
select
    pg_class.oid::regclass::text,
    string_agg(quote_ident(attname), ', ' order by attname)
from pg_class inner join pg_attribute on attrelid = pg_class.oid
where
    relnamespace = 'public'::regnamespace and raw.is_ours(pg_class.oid) and not relispartition
    and attnum > 0 and not attisdropped and attname <> 'loaded_at'
group by 1
"""
# What is spread, each row beside its raw row.
SPREAD = """
select logicalrelid::text from pg_dist_partition
where
    partmethod = 'h' and not (select relispartition from pg_class where oid = logicalrelid)
    and colocationid = (
        select colocationid from pg_dist_partition
        where logicalrelid = 'raw.yellow_tripdata'::regclass
    )
"""
OURS = """
select format('drop schema %I cascade', nspname)
from pg_namespace
where nspname in ('raw', 'staging', 'trip_months', 'bookkeeping')
union all
select format('drop table if exists %s cascade', pg_class.oid::regclass)
from pg_class
where
    relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
    and obj_description(oid, 'pg_class') like '%(nyc-taxi-elt)'
"""
LAST_WORKER = """
select nodeid, nodename, nodeport from pg_dist_node
where groupid <> 0 order by nodeid desc limit 1
"""
KILL = "copy (select 1) to program 'kill -KILL $PPID'"
PREPARED = "select count(*) from pg_prepared_xacts where database = current_database()"
# Tables of months that have not found their place.
LEFT_OVER = """
select count(*) from pg_class
where relkind = 'r' and not relispartition and (relname ~ '_load_[0-9]+|^new_[0-9a-f]{8}_')
"""

pytestmark = [
    pytest.mark.skipif(not URL, reason="TEST_CITUS_URL names no coordinator of Citus"),
    pytest.mark.timeout(1_800),
]


@pytest.fixture(scope="module")
def emptied(prefect_server) -> Settings:
    """The database that Citus spreads, without what a run before has left there."""
    settings = settings_of(URL)
    run_outside_transaction(settings, *[drop for (drop,) in run_query(settings, escaped(OURS))])
    return settings


def settings_of(address: str) -> Settings:
    """The settings of a database, by its URL."""
    url = make_url(address)
    assert "test" in (url.database or "")
    return read_settings().model_copy(
        update={
            "host": url.host,
            "port": url.port or 5432,
            "user": url.username,
            "password": SecretStr(url.password or ""),
            "db": url.database,
        }
    )


def escaped(statement: str) -> str:
    return statement.replace("%", "%%")


def odd_january(folder: Path) -> Path:
    """January with an additional column, and a line that is no row."""
    lines = gzip.decompress(made_up_month(JANUARY, 1_000).read_bytes()).decode().splitlines()
    lines = [f"{line},{'colour' if number == 0 else 'blue'}" for number, line in enumerate(lines)]
    lines[500] = "not a row"
    path = folder / "yellow_tripdata_2021-01.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run_everything(folder: Path) -> None:
    """Sample months, and after a build another one, three datasets, both formats, and again."""
    elt(months="2020-03..2020-04", source="sample")
    january = odd_january(folder)
    load_file(january, JANUARY, max_malformed_share=0.01)
    load_era("green 2020 CSV", folder)
    load_era("fhvhv 2024 Parquet", folder)
    build()
    load_file(january, JANUARY, max_malformed_share=0.01, force=True)
    build()
    build(full_refresh=True)


def checksums(settings: Settings) -> dict[str, str]:
    """The hash of each relation's rows, whatever their order."""
    return {
        relation: run_query(
            settings,
            "select md5(string_agg(row_hash, '' order by row_hash)) from"
            f" (select md5(rows::text) as row_hash from (select {columns} from {relation}) as rows)"
            " as hashed",
        )[0][0]
        for relation, columns in run_query(settings, RELATIONS)
    }


def analyses(settings: Settings) -> dict[str, list[list]]:
    """The rows of each analysis."""
    build_by_hand(settings, "compile --select path:analyses")
    return {
        file.stem: [
            [value for value in row if not isinstance(value, datetime | UUID)]  # of the load
            for row in run_query(settings, escaped(file.read_text()))
        ]
        for file in (target(settings) / "compiled" / "nyc_taxi" / "analyses").glob("*.sql")
    }


def metrics(settings: Settings, folder: Path) -> str:
    """The answer of MetricFlow to the question in the documentation, as lines in order."""
    project, csv = folder / "project", folder / "metrics.csv"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    [query] = re.findall(r"/mf query (.+)", (ROOT / "docs" / "tables.md").read_text())
    environment = os.environ | {"DBT_TARGET_PATH": str(project / "target")}  # mf reads no other
    for command in (["dbt", "parse"], ["mf", "query", *query.split(), "--csv", str(csv)]):
        program = Path(sys.executable).with_name(command[0])
        result = subprocess.run(
            [program, *command[1:]], cwd=project, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout
    return "\n".join(sorted(csv.read_text().splitlines()))


def report_of(settings: Settings) -> list[list[str]]:
    """All that the report shows, as CSV: figure by figure, of each dataset."""
    with connect(settings) as connection:
        found = read_facts(connection)
    return [
        [facts.title, str(facts.unknown_pairs), *map(as_csv, vars(facts).values())]
        for facts in found
    ]


def as_csv(figure: object) -> str:
    """A figure's numbers, without the time of the load."""
    if isinstance(figure, pd.DataFrame):
        return figure.drop(columns="loaded_at", errors="ignore").to_csv()
    return figure.to_csv() if isinstance(figure, pd.Series) else str(figure)


@dataclass(frozen=True)
class Said:
    """What a warehouse says when it is asked."""

    tables: dict[str, str]  # checksums
    analyses: dict[str, list[list]]
    metrics: str
    report: list[list[str]]


@pytest.fixture(scope="module")
def compared(emptied, tmp_path_factory) -> list[Said]:
    """What is said on one server and on several."""
    folder = tmp_path_factory.mktemp("files")
    found = []
    for settings in (warehouse_to_build(), emptied):
        point_to(settings)
        run_everything(folder)
        found.append(
            Said(
                checksums(settings),
                analyses(settings),
                metrics(settings, tmp_path_factory.mktemp("metrics")),
                report_of(settings),
            )
        )
    return found


@pytest.fixture
def citus(emptied, compared) -> Settings:
    """The settings in the environment name the database that Citus spreads."""
    point_to(emptied)
    return emptied


def test_all_tables_are_as_on_one_server(compared):
    one_server, several = compared
    assert len(one_server.tables) > 30
    assert several.tables == one_server.tables


def test_each_analysis_gives_the_same_rows(compared):
    one_server, several = compared
    assert len(one_server.analyses) > 10
    assert several.analyses == one_server.analyses


def test_the_metrics_and_the_report_have_the_same_numbers(compared):
    one_server, several = compared
    assert one_server.metrics.count("\n") > 5
    assert several.metrics == one_server.metrics
    assert len(one_server.report) > 3
    assert several.report == one_server.report


def test_raw_rows_and_trips_are_spread_and_nothing_is_left_half_done(citus):
    raw = [f"raw.{name}_tripdata" for name in ("fhv", "fhvhv", "green", "yellow")]
    trips = ["fhv_trips", "fhvhv_trips", "green_taxi_trips", "yellow_taxi_trips"]
    assert {name for (name,) in run_query(citus, SPREAD)} == {*raw, *trips, "rejected_trips"}
    assert run_query(citus, "select count(*) from pg_prepared_xacts") == [(0,)]
    malformed = "select line_number, line from raw.malformed_lines"
    assert run_query(citus, malformed) == [(501, "not a row")]


def test_a_question_with_a_month_reads_it_alone_and_on_the_servers(citus):
    plan = run_query(
        citus,
        "explain select count(*) from trips"
        " where dataset = 'yellow' and source_month = '2021-01-01'",
    )
    steps = "\n".join(step for (step,) in plan)
    assert "yellow_taxi_trips_2021_01" in steps
    assert "yellow_taxi_trips_2020_03" not in steps
    assert "green_taxi_trips" not in steps
    assert steps.count("Distributed Subplan") == 1  # the loads, which say what was sampled


def test_a_month_is_archived_and_landed_again_as_it_was(citus, monkeypatch, tmp_path):
    monkeypatch.setattr(archives, "ARCHIVE", tmp_path)
    raw = "select t::text from raw.yellow_tripdata as t order by source_month, source_row"
    trips = "select t::text from yellow_taxi_trips as t order by 1"
    before, built = run_query(citus, raw), run_query(citus, trips)
    assert len(archive(months="2021-01").archived) == 1
    assert len(run_query(citus, raw)) == len(before) - 999
    archive(months="2021-01", land_again=True)
    assert run_query(citus, raw) == before
    assert run_query(citus, trips) == built


def test_a_month_is_packed_by_columns_and_reads_and_builds_the_same(citus):
    raw = "select t::text from raw.yellow_tripdata as t order by source_month, source_row"
    before, tables = run_query(citus, raw), checksums(citus)
    outcome = archive(months="2021-01", pack=True)
    assert [packed.rows for packed in outcome.archived] == [999]
    method = (
        "select amname::text from pg_class inner join pg_am on relam = pg_am.oid"
        " where pg_class.oid = 'raw.yellow_tripdata_2021_01'::regclass"
    )
    assert run_query(citus, method) == [("columnar",)]
    assert run_query(citus, raw) == before
    build(full_refresh=True)
    assert checksums(citus) == tables
    [(trip,)] = run_query(
        citus, "select max(trip_id) from yellow_taxi_trips where source_month = '2021-01-01'"
    )
    [(values,)] = run_query(citus, f"select raw_values from trip_origin({trip})")
    assert values["colour"] == "blue"
    assert archive(months="2021-01", pack=True).archived[0].rows == 0


@pytest.fixture
def anna(superuser) -> Iterator[Settings]:
    """A person's login, made by what `taxi analyst` tells an administrator to run."""
    known = "select from pg_roles where rolname = 'anna_of_tests'"

    def drop() -> None:
        if run_query(superuser, known):
            owned = "drop owned by anna_of_tests; drop schema if exists anna_of_tests cascade"
            run_outside_transaction(superuser, *owned.split("; "), "drop role anna_of_tests")

    drop()
    with pytest.raises(PipelineError, match="Let an administrator run") as told:
        add_login("anna_of_tests")
    commands = str(told.value).splitlines()[1:-1]
    run_outside_transaction(
        superuser,
        *[one for one in commands if not re.match("(create|comment on) role analyst", one)],
        "alter role anna_of_tests password 'anna'",
    )
    login = {"user": "anna_of_tests", "password": SecretStr("anna")}
    yield settings_of(URL).model_copy(update=login)
    drop()


def test_an_analyst_reads_the_tables_and_nothing_else(citus, anna):
    for table in ("trips", "yellow_taxi_trips", "trips_enriched", "daily_trips", "vendors"):
        question = f"select count(*) from {table}"
        assert run_query(anna, question) == run_query(citus, question)
    with connect(anna) as connection, connection.begin():
        connection.exec_driver_sql(
            "create temporary table longest as"
            " select * from trips where source_month = '2021-01-01' order by trip_id limit 5"
        )
        connection.exec_driver_sql("create table anna_of_tests.kept as select * from vendors")
        connection.rollback()
    for refused in (
        "select count(*) from raw.yellow_tripdata",
        "delete from raw.yellow_tripdata",
        "delete from yellow_taxi_trips",
        "drop table daily_trips",
    ):
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            run_query(anna, refused)


COUNTS = {
    "raw": "select count(*) from raw.yellow_tripdata where source_month = '2021-02-01'",
    "trips": "select count(*) from yellow_taxi_trips where source_month = '2021-02-01'",
    "all trips": "select count(*) from trips where dataset = 'yellow' and"
    " source_month = '2021-02-01'",
    "rejected": "select count(*) from rejected_trips where dataset = 'yellow' and"
    " source_month = '2021-02-01'",
    "mart": "select sum(trips) from daily_trips where dataset = 'yellow' and"
    " source_month = '2021-02-01'",
}


@contextmanager
def counting(settings: Settings):
    """Count in a loop; yields the counts that were seen, and how often."""
    seen = {name: Counter() for name in COUNTS}

    def count(connection: Connection) -> None:
        for name, question in COUNTS.items():
            with connection.begin():
                seen[name][connection.exec_driver_sql(question).scalar_one()] += 1

    with (
        connect(settings) as one,
        connect(settings) as other,
        again_and_again(partial(count, one), partial(count, other)),
    ):
        yield seen


def with_rejected_rows(rows: int, folder: Path) -> Path:
    """February with so many rows, of which each tenth is no trip."""
    header, *lines = gzip.decompress(made_up_month(FEBRUARY, rows).read_bytes()).splitlines()
    place = header.split(b",").index(b"trip_distance")
    for number, line in enumerate(lines[::10]):
        values = line.split(b",")
        values[place] = b"far"
        lines[number * 10] = b",".join(values)
    path = folder / f"yellow_tripdata_2021-02.{rows}.csv"
    path.write_bytes(b"\n".join([header, *lines, b""]))
    return path


def test_readers_beside_twenty_reloads_count_whole_months_alone(citus, tmp_path):
    whole = {name: set() for name in COUNTS}
    files = {rows: with_rejected_rows(rows, tmp_path) for rows in (1_000, 2_000)}

    def reload(rows: int) -> None:
        load_file(files[rows], FEBRUARY)
        build_by_hand(citus, "run --select yellow_taxi_trips daily_trips rejected_trips")
        for name, question in COUNTS.items():
            whole[name] |= {run_query(citus, question)[0][0]}

    reload(2_000)
    with counting(citus) as seen:
        for number in range(20):
            reload(1_000 if number % 2 == 0 else 2_000)
    assert {name: set(counts) for name, counts in seen.items()} == whole
    assert all(len(counts) == 2 and min(counts.values()) > 20 for counts in seen.values())


@pytest.fixture
def superuser(citus, monkeypatch) -> Settings:
    """The coordinator's superuser; and nothing that fails is tried again."""
    if not SUPERUSER_URL:
        pytest.skip("TEST_CITUS_SUPERUSER_URL names no superuser, who may kill a server")
    monkeypatch.setattr(load, "retries", 0)
    monkeypatch.setattr(dbt_build, "retries", 0)
    return settings_of(SUPERUSER_URL)


@pytest.fixture
def worker(superuser) -> Settings:
    """The superuser on one of the workers."""
    [(_, host, port)] = run_query(superuser, LAST_WORKER)
    return superuser.model_copy(update={"host": host, "port": port})


def kill(server: Settings) -> None:
    """Kill one of a server's processes: it ends all sessions, and recovers as from a crash."""
    with suppress(DBAPIError, psycopg2.Error):
        run_outside_transaction(server, KILL)


@contextmanager
def killed_at(server: Settings, statement: str):
    """Have a server killed at the end of each such statement, as `CREATE TABLE`."""
    alone = "set citus.enable_ddl_propagation = off"
    drop = [alone, "drop event trigger if exists kill", "drop function if exists public.kill()"]
    run_outside_transaction(
        server,
        *drop,
        "create function public.kill() returns event_trigger language plpgsql security definer"
        f" as $body$ begin {KILL}; end $body$",
        f"create event trigger kill on ddl_command_end when tag in ('{statement}')"
        " execute function public.kill()",
    )
    try:
        yield
    finally:
        wait_until(lambda: is_up(server), 60)
        run_outside_transaction(server, *drop)


def is_up(server: Settings) -> bool:
    with suppress(PipelineError):
        return bool(run_query(server, "select true"))
    return False


@contextmanager
def killed_in_commit(superuser: Settings, worker: Settings, number: int):
    """Have a worker killed that has prepared a commit, the so manyth, and not made it yet.

    The coordinator's commits wait for a standby that is not there: that is between the two. Soon
    after, Citus has the worker make the commit.
    """
    waiting = (
        "select pid, xact_start::text from pg_stat_activity where wait_event = 'SyncRep'"
        " and datname = current_database() and usename <> current_user"
    )
    is_over = threading.Event()
    prepared, killed = set(), []

    def change(*changes: str) -> None:
        systems = [f"alter system {one}" for one in changes]
        run_outside_transaction(superuser, *systems, "select pg_reload_conf(), pg_sleep(0.5)")

    def wait_and_kill() -> None:
        try:
            while not is_over.is_set():
                for session in run_query(superuser, waiting):
                    if run_query(worker, PREPARED) != [(0,)]:
                        prepared.add(session)
                    if len(prepared) == number:
                        kill(worker)
                        killed.append(session)
                        return
                    run_query(superuser, f"select pg_cancel_backend({session[0]})")  # it commits
                is_over.wait(0.02)
        finally:
            change("reset synchronous_standby_names")

    change("set synchronous_standby_names = 'nobody'", "set citus.recover_2pc_interval = '5s'")
    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PGOPTIONS", "-c synchronous_commit=on")
            yield
    finally:
        is_over.set()
        thread.join()
    assert killed
    wait_until(lambda: is_up(worker), 60)
    run_query(superuser, "select raw.wait_for_commits()")
    change("reset citus.recover_2pc_interval")


def is_settled(superuser: Settings) -> bool:
    """Whether no server has anything left that is half done."""
    servers = run_query(superuser, "select nodename, nodeport from pg_dist_node")
    found = [
        run_query(superuser.model_copy(update={"host": host, "port": port}), question)
        for host, port in servers
        for question in (PREPARED, LEFT_OVER)
    ]
    return found == [[(0,)], [(0,)]] * len(servers)


@pytest.mark.parametrize("statement", ["CREATE TABLE", "ALTER TABLE"])
def test_a_load_whose_worker_is_killed_leaves_the_month_as_it_was(
    citus, superuser, worker, statement
):
    before = run_query(citus, COUNTS["raw"])
    with (
        killed_at(worker, statement),
        pytest.raises(TransientError, match=f"2021-02 stays as it was: .*:{worker.port}"),
    ):
        load_file(made_up_month(FEBRUARY, 1_700), FEBRUARY, force=True)
    assert run_query(citus, COUNTS["raw"]) == before
    load_file(made_up_month(FEBRUARY, 1_700), FEBRUARY, force=True)
    assert run_query(citus, COUNTS["raw"]) == [(1_700,)]
    assert is_settled(superuser)


@pytest.mark.parametrize(
    ("number", "said"), [(1, pytest.raises(TransientError)), (2, nullcontext())]
)
def test_a_load_whose_worker_is_killed_amid_a_commit_is_made_or_not(
    citus, superuser, worker, number, said
):
    """The first commit is of the month as it is filled, the second one puts it in its place."""
    load_file(made_up_month(FEBRUARY, 1_700), FEBRUARY)
    with killed_in_commit(superuser, worker, number), said as error:
        load_file(made_up_month(FEBRUARY, 1_800), FEBRUARY)
    assert error is None or f"127.0.0.1:{worker.port}" in str(error.value)
    assert run_query(citus, COUNTS["raw"]) == [(1_700 if error else 1_800,)]
    load_file(made_up_month(FEBRUARY, 1_900), FEBRUARY)
    assert run_query(citus, COUNTS["raw"]) == [(1_900,)]
    assert is_settled(superuser)


def build_trips(settings: Settings, rows: int) -> list[list[tuple]]:
    """Load and build February with so many rows; returns what is counted then."""
    load_file(made_up_month(FEBRUARY, rows), FEBRUARY)
    build_by_hand(settings, "run --select yellow_taxi_trips daily_trips rejected_trips")
    return counted(settings)


def counted(settings: Settings) -> list[list[tuple]]:
    return [run_query(settings, question) for question in COUNTS.values()]


@pytest.mark.parametrize("statement", ["CREATE TABLE", "ALTER TABLE"])
def test_a_build_whose_worker_is_killed_leaves_the_trips_as_they_were(
    citus, superuser, worker, statement
):
    new, old = build_trips(citus, 1_900), build_trips(citus, 1_700)
    load_file(made_up_month(FEBRUARY, 1_900), FEBRUARY)
    with (
        killed_at(worker, statement),
        pytest.raises(TransientError, match=f"yellow_taxi_trips: .*:{worker.port}"),
    ):
        build()
    assert counted(citus) == [new[0], *old[1:]]
    build()
    assert counted(citus) == new
    assert is_settled(superuser)


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, pytest.raises(TransientError, match="yellow_taxi_trips: ")), (2, nullcontext())],
)
def test_a_build_whose_worker_is_killed_amid_a_commit_is_made_or_not(
    citus, superuser, worker, number, said
):
    new, old = build_trips(citus, 1_900), build_trips(citus, 1_700)
    load_file(made_up_month(FEBRUARY, 1_900), FEBRUARY)
    with killed_in_commit(superuser, worker, number), said as error:
        build()
    assert error is None or f"127.0.0.1:{worker.port}" in str(error.value)
    assert counted(citus) == ([new[0], *old[1:]] if error else new)
    build()
    assert counted(citus) == new
    assert is_settled(superuser)


def test_a_server_that_is_down_is_named_in_one_line_and_nothing_changes(citus, superuser):
    port, before = free_port(), run_query(citus, COUNTS["raw"])
    [(node, host, its_port)] = run_query(superuser, LAST_WORKER)
    move = "select citus_update_node({}, '{}', {})"
    run_query(superuser, move.format(node, host, port))
    try:
        with pytest.raises(TransientError, match=f"2021-02 stays as it was: .*{host}:{port}"):
            load_file(made_up_month(FEBRUARY, 500), FEBRUARY)
        with pytest.raises(TransientError, match=f"{host}:{port} failed"):
            build()
        with pytest.raises(TransientError, match=f"{host}:{port} failed"):
            ask("airport_trips")
    finally:
        run_query(superuser, move.format(node, host, its_port))
    assert run_query(citus, COUNTS["raw"]) == before
