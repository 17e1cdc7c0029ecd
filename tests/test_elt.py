"""The whole run, as a person starts it."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import httpx
import pytest

from flows.elt import SOURCE, check_table_name, source_of_each_month
from flows.errors import PipelineError
from flows.sample import sample_month
from flows.warehouse import ROOT

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)


class TestSources:
    def test_the_default_is_the_month_of_the_notes(self):
        assert source_of_each_month(None, SOURCE) == {JANUARY: SOURCE.replace("{month}", "2021-01")}

    def test_several_months_share_a_pattern(self):
        sources = source_of_each_month(["2021-01", "2021-02"], "http://host/{month}.csv")
        assert sources == {
            JANUARY: "http://host/2021-01.csv",
            FEBRUARY: "http://host/2021-02.csv",
        }

    def test_a_file_says_its_month_itself(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        found = source_of_each_month(None, "2019-12/yellow_tripdata_2021-02_head.csv.gz")
        assert found == {FEBRUARY: f"{tmp_path}/2019-12/yellow_tripdata_2021-02_head.csv.gz"}

    def test_or_is_told(self):
        assert list(source_of_each_month(["2021-02"], "http://host/trips.csv")) == [FEBRUARY]

    def test_the_sample_is_made_up_on_the_spot(self):
        assert source_of_each_month(None, "sample") == {JANUARY: str(sample_month(JANUARY))}

    @pytest.mark.parametrize(
        ("months", "source", "said"),
        [
            (None, "trips.csv", "its name has no month in it"),
            (["2021-02"], "http://host/2021-01.csv", "its name says 2021-01, not 2021-02"),
            (["2021-13"], SOURCE, "'2021-13' is no month"),
            (["2021-01; drop table x"], SOURCE, "is no month"),
            (["2021-01", "2021-02"], "http://host/trips.csv", "one file for several months"),
        ],
    )
    def test_what_cannot_be_understood_is_one_clear_line(self, months, source, said):
        with pytest.raises(PipelineError, match=said):
            source_of_each_month(months, source)

    @pytest.mark.parametrize(
        "name",
        ["Trips", "a b", "", "x" * 64, '"; drop', "rejected_trips", "vendors", "user", "pg_x"],
    )
    def test_a_table_name_is_a_plain_name_that_is_not_taken(self, name):
        with pytest.raises(PipelineError, match="can't be the trips' table"):
            check_table_name(name)

    @pytest.mark.parametrize("name", ["yellow_taxi_trips", "trips_2", "_x"])
    def test_which_may_be_any(self, name):
        check_table_name(name)


def run(*arguments: str, module: str = "flows.elt") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture
def api(prefect_server):
    """Ask the Prefect server for the objects of one kind, newest first."""

    def ask(kind: str, **filters) -> list[dict]:
        return httpx.post(f"{prefect_server}/{kind}/filter", json=filters).json()

    return ask


def test_the_whole_run_twice(warehouse, query, api):
    first = run("--source", "sample")
    assert first.returncode == 0, first.stderr
    assert (
        "2021-01   50,000 49,056                  934             10               0"
        in first.stdout
    )
    assert "pre: missing passenger count: 934" in first.stderr
    assert "post: missing passenger count: 0" in first.stderr
    assert "Traceback" not in first.stderr
    before = query("select xmin::text, count(*) from yellow_taxi_trips group by 1")

    second = run("--source", "sample")
    assert second.returncode == 0, second.stderr
    assert "Finished in state Cached" in second.stderr
    assert "is loaded already, nothing to do" in second.stderr
    assert query("select xmin::text, count(*) from yellow_taxi_trips group by 1") == before

    # Each model and test of dbt is a task of its own, and none is left hanging.
    flow_runs = api("flow_runs", sort="START_TIME_DESC", limit=6)
    names = [flow_run["name"] for flow_run in flow_runs]
    assert names.count("load 2021-01") == names.count("transform yellow_taxi_trips") == 2
    ids = [flow_run["id"] for flow_run in flow_runs]
    tasks = api("task_runs", limit=200, flow_runs={"id": {"any_": ids}})
    assert {"model yellow_taxi_trips", "test assert_every_raw_row_is_accounted_for"} <= {
        task["name"] for task in tasks
    }
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    tables = [a for a in api("artifacts", sort="CREATED_DESC") if a["key"] == "trip-accounting"]
    assert '"raw_rows": 50000' in tables[0]["data"]

    # By hand, as an analyst does it.
    for command in ("run", "test", "build"):
        by_hand = subprocess.run(
            [Path(sys.executable).with_name("dbt"), command],
            cwd=ROOT / "dbt_project",
            capture_output=True,
            text=True,
        )
        assert by_hand.returncode == 0, by_hand.stdout

    # The password is in no log: of the terminal, of Prefect, of dbt.
    password = warehouse.password.get_secret_value()
    logs = [line["message"] for line in api("logs", limit=200)]
    dbt_log = (ROOT / "dbt_project" / "logs" / "dbt.log").read_text()
    for said in (first.stdout, first.stderr, second.stderr, dbt_log, *logs):
        assert password not in said


@pytest.mark.usefixtures("warehouse")
def test_a_cached_file_that_has_changed_is_read_again(query, tmp_path):
    path = tmp_path / "yellow_tripdata_2021-01.csv.gz"
    counts = []
    for rows in (1_000, 2_000):
        path.write_bytes(sample_month(JANUARY, rows).read_bytes())
        result = run("--source", str(path))
        assert result.returncode == 0, result.stderr
        counts.append(query("select raw_rows from trip_accounting"))
    assert counts == [[(1_000,)], [(2_000,)]]


@pytest.mark.usefixtures("warehouse")
def test_a_wrong_source_is_one_clear_line():
    result = run("--source", "no/such_2021-01.csv")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"error: {ROOT}/no/such_2021-01.csv: No such")
    assert "Traceback" not in result.stderr


def test_wrong_arguments_show_the_usage():
    result = run("--month", "2021-01", "--nonsense")
    assert result.returncode == 2
    assert "usage: python -m flows.elt" in result.stderr
