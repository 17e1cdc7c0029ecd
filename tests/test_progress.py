"""Telling Prefect how far the work is never stops the work."""

import os
import subprocess
import sys
import time
from datetime import date

import pytest
from conftest import HOME, prefect_environment, start_service, wait_until
from made_up import made_up_month
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.progress import progress, reporting
from flows.server import serve
from flows.settings import ROOT
from flows.warehouse.connection import connect

WAITING = (
    "select from pg_locks where not granted"
    " and database = (select oid from pg_database where datname = current_database())"
)
JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)


def test_a_job_is_shown_in_prefects_ui_as_it_goes(api, prefect_server):
    @flow
    def work() -> None:
        with progress("a job of the test", 100) as advance:
            advance(50, 1_000)

    work()
    recent = api("artifacts", sort="CREATED_DESC", limit=200)
    [artifact] = [a for a in recent if a["description"] == "a job of the test"]
    assert (artifact["type"], artifact["data"]) == ("progress", 100.0)


def test_a_server_that_is_away_is_one_line_and_no_more(unused_port, caplog):
    away = {PREFECT_API_URL: f"http://127.0.0.1:{unused_port}/api"}
    with temporary_settings(away), progress("job", 100) as advance:
        for done in range(100):
            advance(done)
    lines = [r.getMessage() for r in caplog.records if "can't be told" in r.getMessage()]
    assert lines == [
        "Prefect can't be told how the run goes, which goes on: "
        "Prefect's server does not answer (ConnectError)"
    ]


@pytest.mark.usefixtures("prefect_server")
def test_an_error_of_the_work_itself_is_not_hidden():
    @flow
    def work() -> None:
        with progress("job", 100):
            raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        work()


@pytest.mark.usefixtures("prefect_server")
def test_what_only_reports_may_fail():
    @flow
    def work() -> int:
        with reporting():
            raise RuntimeError("no artifact")
        return 1

    assert work() == 1


@pytest.fixture
def own_prefect(prefect_server, unused_port):
    """A Prefect server that can be stopped and started; yields its URL, `stop` and `start`.

    Its database is the suite's, in which all tables are made already.
    """
    servers, port = [], str(unused_port)

    def start() -> None:
        servers.append(
            start_service("prefect", **prefect_environment(), PREFECT_SERVER_API_PORT=port)
        )
        wait_until(lambda: serve.answers(url), 180, pause=0.2)

    def stop() -> None:
        servers[-1].kill()
        servers[-1].wait()

    url = f"http://127.0.0.1:{unused_port}/api"
    start()
    yield url, stop, start
    stop()


@pytest.mark.timeout(600)
def test_a_load_outlives_prefects_server(own_prefect, warehouse, land, query):
    """It waits for a lock, goes on while the server is away, and ends when it is back."""
    url, stop, start = own_prefect
    land(FEBRUARY, 1_000)
    path = made_up_month(JANUARY, 5_000)
    with connect(warehouse) as reader:
        reader.exec_driver_sql("lock table raw.yellow_tripdata in access exclusive mode")
        run = subprocess.Popen(
            [sys.executable, "-c", f"from flows.land import land; land('2021-01', {str(path)!r})"],
            cwd=ROOT,
            env=os.environ | {"PREFECT_API_URL": url},
            stderr=(HOME / "outlives.log").open("w"),
        )
        wait_until(lambda: query(WAITING), 180)
        stop()
        time.sleep(3)  # the bar and the logs find it away
        reader.rollback()
    wait_until(lambda: (JANUARY,) in query("select source_month from raw.loads"), 60)
    assert run.poll() is None  # what is left is to tell Prefect
    start()
    assert run.wait(180) == 0, (HOME / "outlives.log").read_text()
