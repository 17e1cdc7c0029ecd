"""Faults: whatever breaks, and whenever, a month is as it was or as it is to be."""

import gzip
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

import pytest
from conftest import (
    StuckSite,
    build_by_hand,
    load_file,
    point_to,
    run_query,
    slow_site,
    stuck_site,
    wait_until,
)
from made_up import made_up_month
from prefect.concurrency.sync import concurrency
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.errors import PipelineError, is_prefect_away
from flows.settings import DATA, ROOT, Settings
from flows.tlc.download import download
from flows.warehouse import embedded as embedded_postgres
from flows.warehouse import local_server
from flows.warehouse.connection import connect

JANUARY = date(2021, 1, 1)
OLD, NEW = 1_000, 5_000  # raw rows of January
OTHERS_IN_A_TRANSACTION = (
    "select query from pg_stat_activity where datname = current_database()"
    " and xact_start is not null and pid <> pg_backend_pid()"
)


def start_run(source: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.elt", "-v", "--source", source, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def a_download_that_does_not_end(site: StuckSite) -> Iterator[Callable[[], bool]]:
    began = time.time()
    parts = (DATA / "downloads").rglob
    yield lambda: any(part.stat().st_mtime > began for part in parts("*.part"))
    site.go_on.set()


@contextmanager
def held(database: Settings, lock: str, waiting: str) -> Iterator[Callable[[], bool]]:
    """A lock that a run has to wait for; yields whether it waits."""
    waits = (
        "select from pg_stat_activity where datname = current_database()"
        f" and wait_event_type = 'Lock' and {waiting}"
    )
    with connect(database) as other, other.begin():
        other.exec_driver_sql(lock)
        yield lambda: bool(run_query(database, waits))


@pytest.mark.usefixtures("models_alone")
def test_a_run_that_is_killed_anywhere_leaves_the_old_or_the_new(january, query):
    """Each run is killed at a place where it can't go on: what it holds is rolled back."""

    def seen() -> tuple[int, ...]:
        """The month's raw rows, and how many trips two models have of it."""
        [counts] = query(
            "select (select count(*) from raw.yellow_tripdata)::int,"
            " (select count(*) from yellow_taxi_trips)::int,"
            " (select sum(trips + refunds) from daily_trips)::int"
        )
        return counts

    old = seen()
    assert old[0] == OLD
    with stuck_site(made_up_month(JANUARY, NEW).read_bytes()) as site:
        places = {
            "fetch": a_download_that_does_not_end(site),
            "load": held(january, "lock table raw.yellow_tripdata in access share mode", "true"),
            "between load and build": held(
                january, "select raw.take_turns('build')", "query ~ 'take_turns'"
            ),
            "build": held(
                january, "lock table daily_trips in share mode", "application_name = 'dbt'"
            ),
        }
        after = {}
        for place, holding in places.items():
            with holding as is_there:
                run = start_run(site.url, "--force")
                wait_until(is_there, 240)
                run.kill()
                run.wait()
            wait_until(lambda: query(OTHERS_IN_A_TRANSACTION) == [], 60)
            after[place] = seen()
        run = start_run(site.url)
        _, said = run.communicate(timeout=280)
    assert run.returncode == 0, said
    new = seen()
    assert new[0] == NEW
    assert new[1] == new[2] > old[1] == old[2]
    assert after == {
        "fetch": old,
        "load": old,
        "between load and build": (new[0], old[1], old[2]),
        "build": (new[0], new[1], old[2]),
    }


def big_month(folder: Path, times: int) -> Path:
    """January with so many times 5,000 rows, not packed."""
    header, body = gzip.decompress(made_up_month(JANUARY, NEW).read_bytes()).split(b"\n", 1)
    path = folder / "yellow_tripdata_2021-01.csv"
    path.write_bytes(header + b"\n" + body * times)
    return path


@pytest.mark.usefixtures("models_alone")
def test_a_postgres_that_is_stopped_hard_during_copy_and_dbt_is_waited_for(
    own_server, prefect_server, tmp_path, monkeypatch
):
    local_server.ensure_server(own_server)
    point_to(own_server)
    monkeypatch.setenv("POSTGRES_PORT", str(own_server.port))
    monkeypatch.setenv("POSTGRES_DB", own_server.db)

    def stop_hard_during(activity: str) -> None:
        """And start again, as soon as the server does something."""
        wait_until(lambda: run_query(own_server, activity), 240)
        stop = ("pg_ctl", "stop", "-w", "-m", "immediate", "-D", embedded_postgres.DATA_DIR)
        embedded_postgres.run_as_owner(*stop)
        embedded_postgres.start(embedded_postgres.DATA_DIR, own_server.port, own_server.host)

    run = start_run(str(big_month(tmp_path, 30)))
    stop_hard_during("select from pg_stat_progress_copy where tuples_processed > 0")
    assert run_query(own_server, "select count(*) from raw.yellow_tripdata") == [(0,)]
    stop_hard_during(
        "select from pg_stat_activity where application_name = 'dbt' and state = 'active'"
        " and query ~ 'create +table'"
    )
    _, said = run.communicate(timeout=280)
    assert run.returncode == 0, said
    assert said.count("Retry 1/3 will start") == 2, said
    assert "Traceback" not in said
    assert run_query(own_server, "select raw_rows, rejected_trips from trip_accounting") == [
        (150_000, 30)
    ]


@pytest.mark.usefixtures("prefect_server")
def test_a_disk_that_is_full_for_a_download_is_one_clear_line(small_disk):
    disk, content = small_disk(1), made_up_month(JANUARY, NEW).read_bytes()
    (disk / "filler").write_bytes(b"x" * (1_000_000))
    with slow_site(content, piece=len(content), pause=0) as url:
        with pytest.raises(PipelineError, match=r"No space left on device\. Make room"):
            download(url, None, folder=disk)
        assert list(disk.rglob("*.csv.gz")) == []
        (disk / "filler").unlink()
        path = download(url, None, folder=disk)
    assert path.read_bytes() == content


def test_a_disk_that_is_full_for_postgres_is_one_clear_line_and_changes_nothing(
    small_disk, own_server, prefect_server, tmp_path, monkeypatch
):
    disk = small_disk(150)
    monkeypatch.setattr(embedded_postgres, "DATA_DIR", disk / "postgres")
    local_server.ensure_server(own_server)
    try:
        point_to(own_server)
        small = made_up_month(JANUARY, OLD)
        load_file(small, JANUARY)
        big = big_month(tmp_path, 200)
        with pytest.raises(
            PipelineError, match=r"2021-01 stays as it was: .*No space left.*\. Make room"
        ):
            load_file(big, JANUARY)
        assert run_query(own_server, "select count(*) from raw.yellow_tripdata") == [(OLD,)]
        load_file(small, JANUARY, force=True, allow_fewer_rows=True)
    finally:
        embedded_postgres.stop(disk / "postgres")


def test_a_disk_that_is_full_when_postgres_starts_is_one_clear_line(
    small_disk, own_server, monkeypatch
):
    disk = small_disk(150)
    data_dir = disk / "postgres"
    monkeypatch.setattr(embedded_postgres, "DATA_DIR", data_dir)
    no_space = rf"No space left on device.*\. Make room on the disk of {re.escape(str(data_dir))}"

    def refused() -> None:
        with pytest.raises(PipelineError, match=no_space):
            local_server.ensure_server(own_server)

    (disk / "filler").write_bytes(b"x" * 130_000_000)
    refused()  # to make the data folder
    (disk / "filler").unlink()
    try:
        local_server.ensure_server(own_server)
        assert embedded_postgres.stop(data_dir)
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        refused()
        (disk / "filler").unlink()
        local_server.ensure_server(own_server)
    finally:
        embedded_postgres.stop(data_dir)


def test_a_view_that_has_not_changed_is_not_touched_while_a_reader_holds_it(january):
    with connect(january) as reader, reader.begin():
        reader.exec_driver_sql("select count(*) from trips_enriched")
        build_by_hand(january, "run --select trips_enriched")


def test_a_prefect_server_that_is_away_while_a_load_asks_for_its_slot_is_waited_for(unused_port):
    """Prefect's client tries again only on a connection that it has had before."""
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{unused_port}/api"}),
        pytest.raises(Exception, match="Unable to acquire concurrency slots") as refused,
        concurrency("of nobody"),
    ):
        pass
    assert is_prefect_away(refused.value)
