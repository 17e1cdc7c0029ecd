"""Ctrl-C at any moment: one line, nothing left running, and the month as it was."""

import gzip
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import date

import psutil
import pytest
from conftest import is_alive, run_query, slow_site, wait_until
from made_up import made_up_month

from flows.interrupt import MESSAGE
from flows.settings import DATA, ROOT
from flows.warehouse.connection import connect

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
SERVER = "flows.temporary_server"  # the module that the temporary server's process runs
SECONDS = 6  # three, and as many for a machine that is busy with other tests


@pytest.fixture
def start(tmp_path):
    """Start a run as a terminal does: in a process group of its own."""
    processes = []

    def start_run(*words: str, **environment: str) -> subprocess.Popen:
        output = tmp_path / "output"
        processes.append(
            subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=output.open("w"),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )
        processes[-1].output = output
        return processes[-1]

    yield start_run
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait()


def elt(*words: str) -> tuple[str, ...]:
    return ("-m", "flows.elt", *words)


def interrupt(run: subprocess.Popen, number: int = signal.SIGINT, *, alone: bool = False) -> str:
    """Send a signal to the run's group or to the process alone; return what it printed then."""
    before = len(run.output.read_text())
    children = psutil.Process(run.pid).children(recursive=True)
    os.kill(run.pid, number) if alone else os.killpg(run.pid, number)
    assert run.wait(SECONDS) == 128 + number
    wait_until(lambda: not any(is_alive(child) for child in children), SECONDS)
    return run.output.read_text()[before:]


@pytest.fixture
def slow_url():
    """Where the beginning of January comes from, byte by byte."""
    with slow_site(made_up_month(JANUARY, 5_000).read_bytes(), piece=1, pause=0.01) as url:
        yield url


def has_child(run: subprocess.Popen, word: str) -> bool:
    with suppress(psutil.Error):
        return any(word in child.cmdline() for child in psutil.Process(run.pid).children())
    return False


@pytest.fixture(scope="module")
def big_month(tmp_path_factory):
    """January with 400,000 rows: a second of COPY, in which it is seen."""
    path = tmp_path_factory.mktemp("big") / "yellow_tripdata_2021-01.csv"
    header, body = gzip.decompress(made_up_month(JANUARY, 5_000).read_bytes()).split(b"\n", 1)
    path.write_bytes(header + b"\n" + body * 80)
    return path


COPYING = (
    "select from pg_stat_progress_copy where datname = current_database() and tuples_processed > 0"
)


def in_transaction(settings) -> list[tuple]:
    """The queries of sessions with an open transaction in the test's database."""
    return run_query(
        settings,
        "select query from pg_stat_activity where datname = current_database()"
        " and xact_start is not null and pid <> pg_backend_pid()",
    )


def wait_for(settings, activity: str) -> None:
    wait_until(
        lambda: run_query(
            settings,
            "select from pg_stat_activity where datname = current_database()"
            f" and pid <> pg_backend_pid() and {activity}",
        ),
        240,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_while_prefect_is_imported(start, number):
    run = start(*elt("--source", "sample"))
    wait_until(lambda: psutil.Process(run.pid).num_threads() > 1, 20)  # the one for signals
    assert interrupt(run, number, alone=True) == f"{MESSAGE}\n"


def test_while_the_temporary_prefect_server_starts(start, tmp_path):
    run = start(*elt("--source", "sample"), PREFECT_API_URL="", PREFECT_HOME=str(tmp_path))
    wait_until(lambda: has_child(run, SERVER), 60)
    assert interrupt(run) == f"{MESSAGE}\n"


def test_the_temporary_server_of_a_killed_run_ends_by_itself(start, slow_url, tmp_path):
    run = start(*elt("--source", slow_url), PREFECT_API_URL="", PREFECT_HOME=str(tmp_path))
    wait_until(lambda: has_child(run, SERVER), 60)
    [server] = [c for c in psutil.Process(run.pid).children() if SERVER in c.cmdline()]
    wait_until(lambda: any(c.status == "LISTEN" for c in server.net_connections()), 120)
    run.kill()
    run.wait()
    wait_until(lambda: not is_alive(server), 20)


def test_while_a_file_is_downloaded(warehouse, start, slow_url, api):
    run = start(*elt("--source", slow_url))
    unfinished = DATA / "downloads"
    began = time.time()
    wait_until(
        lambda: any(part.stat().st_mtime > began for part in unfinished.rglob("*.part")), 120
    )
    assert interrupt(run) == f"{MESSAGE}\n"
    recent = api("flow_runs", sort="START_TIME_DESC", limit=100)
    of_this_url = [run for run in recent if run["parameters"].get("source") == slow_url]
    assert {(run["name"], run["state_type"]) for run in of_this_url} == {
        ("elt yellow 2021-01", "CANCELLED"),
        ("land yellow 2021-01", "CANCELLED"),
    }


@pytest.mark.parametrize(("number", "alone"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_while_a_month_is_loaded(warehouse, start, big_month, query, number, alone):
    run = start(*elt("--source", str(big_month)))
    wait_until(lambda: query(COPYING), 120)
    assert interrupt(run, number, alone=alone) == f"{MESSAGE}\n"
    wait_until(lambda: in_transaction(warehouse) == [], SECONDS)
    assert query("select count(*) from raw.yellow_tripdata") == [(0,)]


def test_while_a_load_waits_for_a_lock(warehouse, start, land, query):
    land(FEBRUARY, 1_000)
    with connect(warehouse) as reader, reader.begin():
        reader.exec_driver_sql("lock table raw.yellow_tripdata in access exclusive mode")
        run = start(*elt("--source", "sample"))
        wait_for(warehouse, "wait_event_type = 'Lock'")
        assert interrupt(run) == f"{MESSAGE}\n"
    wait_until(lambda: in_transaction(warehouse) == [], SECONDS)
    assert query("select distinct source_month from raw.yellow_tripdata") == [(FEBRUARY,)]


def test_while_dbt_builds_the_models(warehouse, start, land, query):
    """It waits for a table that was locked when the load had ended, and before dbt began."""
    land(FEBRUARY, 1_000)
    with connect(warehouse) as reader, reader.begin():
        with connect(warehouse) as other, other.begin():
            other.exec_driver_sql("select raw.take_turns('build')")
            run = start(*elt("--source", str(made_up_month(JANUARY, 1_000))))
            wait_for(warehouse, "wait_event_type = 'Lock' and query ~ 'take_turns'")
            reader.exec_driver_sql("lock table raw.yellow_tripdata in access exclusive mode")
        wait_for(warehouse, "application_name = 'dbt' and wait_event_type = 'Lock'")
        assert interrupt(run) == f"{MESSAGE}\n"
    wait_until(lambda: in_transaction(warehouse) == [], SECONDS)
    assert query("select count(*) from raw.yellow_tripdata") == [(2_000,)]


def test_while_the_documentation_is_made(start):
    run = start("-m", "flows.program", "docs")
    wait_until(lambda: psutil.Process(run.pid).num_threads() > 1, 20)
    assert interrupt(run) == "stopped\n"


def test_with_nohup_a_hangup_is_nothing(start):
    """What is ignored when the run begins stays ignored."""
    ignored = "import signal, runpy, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    ended = "import os; os.kill(os.getpid(), signal.SIGHUP); print('lived')"
    run = start("-c", f"{ignored}from flows import interrupt; interrupt.end_on_signals(); {ended}")
    assert run.wait(30) == 0
    assert run.output.read_text() == "lived\n"


def test_a_cancelled_run_on_a_worker_does_not_replace_its_month(warehouse, start, big_month, query):
    """A worker ends a run that is cancelled by SIGTERM, which Prefect raises in the main thread."""
    call = f"from flows.land import land; land('2021-01', {str(big_month)!r})"
    run = start("-c", call)
    wait_until(lambda: query(COPYING), 120)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) != 0
    assert "Trying again" not in run.output.read_text()
    assert query("select count(*) from raw.yellow_tripdata") == [(0,)]
