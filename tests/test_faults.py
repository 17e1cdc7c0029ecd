"""Faults: whatever breaks, and whenever, a month is as it was or as it is to be."""

import gzip
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pytest
from conftest import build_by_hand, load_file, point_to, run_query, slow_site, wait_until
from made_up import made_up_month

from flows.errors import PipelineError
from flows.settings import ROOT
from flows.tlc.download import download
from flows.warehouse import embedded as embedded_postgres
from flows.warehouse import local_server
from flows.warehouse.connection import connect

JANUARY = date(2021, 1, 1)
OLD, NEW = 1_000, 5_000  # raw rows of January


@pytest.fixture(scope="module")
def slow_url():
    """Where the new January comes from, in ten pieces, in a second."""
    content = made_up_month(JANUARY, NEW).read_bytes()
    with slow_site(content, piece=len(content) // 9, pause=0.1) as url:
        yield url


def start_run(source: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.elt", "-v", "--source", source, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


MOMENTS = [  # a line of the log, and how many seconds after it at the most
    *[("Beginning subflow run 'land", 1.2)] * 2,  # while the file is downloaded
    *[("Task run 'fetch", 0.5)] * 2,  # while it is loaded
    ("Task run 'load yellow 2021-01' - Finished", 0.3),  # between load and dbt
    ("Beginning subflow run 'build", 4),  # in dbt
]


def test_a_run_that_is_killed_at_any_moment_leaves_the_old_or_the_new(january, query, slow_url):
    def trips_seen() -> set[int]:
        """How many trips each model has of the month, and the month's raw rows."""
        [found] = query(
            "select (select count(*) from raw.yellow_tripdata), accounting.raw_rows,"
            " (select count(*) from yellow_taxi_trips), accounting.trips,"
            " (select sum(trips)::int from daily_trips) from trip_accounting as accounting"
        )
        return set(found)

    seconds = random.Random(1)
    old, seen = trips_seen(), set()
    for line, at_most in MOMENTS:
        run = start_run(slow_url, "--force")
        assert any(line in said for said in run.stderr)
        time.sleep(seconds.uniform(0, at_most))
        run.kill()
        run.wait()
        seen |= trips_seen()

    run = start_run(slow_url)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    new = trips_seen()
    assert NEW in new
    assert len(new) == len(old) == 2  # raw rows, and trips
    assert seen <= old | new


def big_month(folder: Path, times: int) -> Path:
    """January with so many times 5,000 rows, not packed."""
    header, body = gzip.decompress(made_up_month(JANUARY, NEW).read_bytes()).split(b"\n", 1)
    path = folder / "yellow_tripdata_2021-01.csv"
    path.write_bytes(header + b"\n" + body * times)
    return path


def test_a_postgres_that_is_stopped_hard_during_copy_and_dbt_is_waited_for(
    own_server, prefect_server, tmp_path, monkeypatch
):
    local_server.ensure_server(own_server)
    point_to(own_server)
    monkeypatch.setenv("POSTGRES_PORT", str(own_server.port))
    monkeypatch.setenv("POSTGRES_DB", own_server.db)

    def stop_hard_during(activity: str) -> None:
        """And start again, as soon as the server does something."""
        wait_until(lambda: run_query(own_server, activity), 60)
        stop = ("pg_ctl", "stop", "-w", "-m", "immediate", "-D", embedded_postgres.DATA_DIR)
        embedded_postgres.run_as_owner(*stop)
        embedded_postgres.start(embedded_postgres.DATA_DIR, own_server.port, own_server.host)

    run = start_run(str(big_month(tmp_path, 120)))
    stop_hard_during("select from pg_stat_progress_copy where tuples_processed > 0")
    assert run_query(own_server, "select count(*) from raw.yellow_tripdata") == [(0,)]
    stop_hard_during(
        "select from pg_stat_activity where application_name = 'dbt' and state = 'active'"
        " and query ~ 'create +table'"
    )
    _, said = run.communicate(timeout=180)
    assert run.returncode == 0, said
    assert said.count("Retry 1/3 will start") == 2, said
    assert "Traceback" not in said
    assert run_query(own_server, "select raw_rows, rejected_trips from trip_accounting") == [
        (600_000, 120)
    ]


@pytest.fixture
def small_disk(home):
    """Make a folder on a disk of so many megabytes."""
    folders = []

    def make(megabytes: int) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="disk ", dir=home))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("this machine lets us make no small disk")
        folders.append(folder)
        return folder

    yield make
    for folder in folders:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.usefixtures("prefect_server")
def test_a_disk_that_is_full_for_a_download_is_one_clear_line(small_disk, slow_url, tmp_path):
    disk = small_disk(1)
    (disk / "filler").write_bytes(b"x" * (1_000_000))
    with pytest.raises(PipelineError, match=r"No space left on device\. Make room"):
        download(slow_url, disk)
    assert list(disk.rglob("*.csv.gz")) == []
    (disk / "filler").unlink()
    path, _ = download(slow_url, disk)
    assert path.read_bytes() == made_up_month(JANUARY, NEW).read_bytes()


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


def test_a_view_that_has_not_changed_is_not_touched_while_a_reader_holds_it(january):
    with connect(january) as reader, reader.begin():
        reader.exec_driver_sql("select count(*) from trips_enriched")
        build_by_hand(january, "run --select trips_enriched")
