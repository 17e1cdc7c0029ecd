"""The program `taxi`: its commands, and that each does what it says."""

import csv
import fcntl
import io
import json
import os
import pty
import re
import resource
import struct
import subprocess
import sys
import termios
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import build_by_hand, land_made_up, point_to, run_query, target

from flows import ask, cli, program, status
from flows.cli import parse
from flows.elt import elt
from flows.errors import PipelineError, UsageError
from flows.export import export
from flows.program import COMMANDS, app_of
from flows.settings import ROOT
from flows.warehouse import embedded
from flows.warehouse.connection import libpq_of

TAXI = Path(sys.executable).with_name("taxi")
QUICK = 2.0  # seconds, of which a wrong word may take no more


def taxi(*words: str | Path, **environment: str) -> subprocess.CompletedProcess:
    """The program, as if another process had started it."""
    return subprocess.run(
        [sys.executable, "-m", "flows.program", *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def seconds_of_children() -> float:
    """How long the processes of this one have kept a processor: others may keep it busy as well."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def words(monkeypatch):
    """The words of this process, which a command's description replaces."""
    monkeypatch.setattr(sys, "argv", ["taxi"])
    monkeypatch.setattr(cli, "called", None)


class TestHelp:
    def test_names_each_command_and_imports_none(self):
        program = (
            "import atexit, runpy, sys; sys.argv[1:] = ['--help'];"
            "atexit.register(lambda: print({'prefect', 'sqlalchemy', 'pandas'} & {*sys.modules}));"
            "runpy.run_module('flows.program', run_name='__main__', alter_sys=True)"
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, "")
        for name, command in COMMANDS.items():
            assert f"\n  {name}: {command.about}\n" in result.stdout
        assert result.stdout.endswith("set()\n")

    @pytest.mark.parametrize("name", COMMANDS)
    def test_of_a_command_fits_a_terminal(self, name, words, monkeypatch, capsys):
        monkeypatch.setenv("COLUMNS", "80")
        app_of(name)(["--help"])
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= 80
        assert "Usage: " in shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["rum"], "taxi has no command 'rum'. Did you mean run? See taxi --help"),
        (["run", "--nonsense"], "Unknown option: --nonsense. See --help"),
        (["build", "--nonsense"], "Unknown option: --nonsense. See --help"),
        (["run", "yelow"], "'yelow' is not a dataset: choose from yellow, green, fhvhv, fhv, all"),
        (["ask", "nothing"], "'nothing' is not a question. `taxi ask` lists them"),
        (
            ["export", "trips", "--to", "trips.xls"],
            "trips.xls: the file's name must end with .parquet or .csv",
        ),
        (["analyst"], 'Command "analyst" parameter NAME requires an argument. See --help'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_is_one_line_and_exit_code_2_at_once(words, line):
    began = seconds_of_children()
    result = taxi(*words)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"error: {line}\n")
    assert seconds_of_children() - began < QUICK


def test_on_a_terminal_no_line_of_an_error_breaks_inside_a_word(tmp_path):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    source = "/nowhere/yellow_tripdata_2021-01.csv"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "flows.program", "run", "--source", source]
    subprocess.run(command, env=environment, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    shown = os.read(leader, 10_000).decode().splitlines()
    assert len(shown) == 2
    assert max(map(len, shown)) <= 80
    assert " ".join(shown).endswith(
        f"{source}: No such file or directory. Give an http(s) URL or a file's path"
    )


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_path_that_does_not_exist_is_one_line_at_once(command):
    began = seconds_of_children()
    result = taxi(command, "--source", "/nowhere/yellow_tripdata_2021-01.csv")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "error: /nowhere/yellow_tripdata_2021-01.csv: No such file or directory. "
        "Give an http(s) URL or a file's path\n"
    )
    assert seconds_of_children() - began < QUICK


def test_run_alone_is_the_sample_and_with_months_or_a_source_it_is_not(words, monkeypatch):
    monkeypatch.setattr(cli, "called", "taxi run")
    assert parse(elt.fn, ["green"]).parameters == {"datasets": "green", "source": "sample"}
    assert parse(elt.fn, ["--months", "2021-01"]).parameters == {"months": "2021-01"}
    monkeypatch.setattr(cli, "called", None)
    assert parse(elt.fn, []).parameters == {}


@pytest.mark.skipif(not TAXI.exists(), reason="`make` has not made this environment")
def test_it_runs_from_any_folder_and_by_a_link(tmp_path):
    link = tmp_path / "my taxi"
    link.symlink_to(TAXI)
    result = subprocess.run([link, "ask"], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "What does a taxi to each airport cost" in result.stdout


class TestCompletion:
    @pytest.fixture
    def script(self, words, capsys) -> dict[str, str]:
        scripts = {}
        for shell in ("bash", "zsh", "fish"):
            program.completion(shell)
            scripts[shell] = capsys.readouterr().out
        return scripts

    def test_takes_nothing_of_prefect_which_takes_seconds(self):
        asked = "import sys; from flows import program; program.completion('bash')"
        result = subprocess.run(
            [sys.executable, "-c", f"{asked}; print({{*sys.modules}}, file=sys.stderr)"],
            capture_output=True,
            text=True,
        )
        assert "complete -" in result.stdout
        assert "'sqlalchemy'" in result.stderr
        assert "'prefect'" not in result.stderr
        assert "'pandas'" not in result.stderr

    @pytest.mark.parametrize("name", program.WITHOUT_OPTIONS)
    def test_leaves_out_no_option(self, name, monkeypatch, capsys):
        app_of(name)(["--help"])
        assert set(re.findall(r"--[a-z]+", capsys.readouterr().out)) <= {"--help"}

    def test_knows_each_command_and_its_options(self, script):
        for shell, text in script.items():
            for word in (*COMMANDS, "completion"):
                assert re.search(rf"\b{word}\b", text), (shell, word)
            for option in ("months", "full-refresh", "new-password", "where"):
                assert option in text, (shell, option)

    def test_completes_in_bash(self, script):
        [function] = re.findall(r"^complete .*-F (\w+) taxi$", script["bash"], re.MULTILINE)
        tried = (
            f"{script['bash']}\n"
            f"COMP_WORDS=(taxi st) COMP_CWORD=1; {function}; echo ${{COMPREPLY[@]}}\n"
            f"COMP_WORDS=(taxi analyst --new) COMP_CWORD=2; {function}; echo ${{COMPREPLY[@]}}\n"
        )
        result = subprocess.run(["bash", "-c", tried], capture_output=True, text=True)
        assert [line.strip() for line in result.stdout.splitlines()] == ["status", "--new-password"]


class TestInstalled:
    """What pipx and uv install; the wheel's folder is as a clone's."""

    def test_keeps_its_data_and_settings_in_the_users_folder(self, tmp_path):
        site = tmp_path / "site-packages"
        package = site / "nyc_taxi_elt"
        package.mkdir(parents=True)
        (site / "nyc_taxi_elt.pth").write_text((ROOT / "flows" / "installed.pth").read_text())
        (package / "flows").mkdir()
        for name in ("__init__.py", "environment.py"):
            (package / "flows" / name).write_text((ROOT / "flows" / name).read_text())
        show = (
            f"import sys; sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}];"
            "[sys.modules.pop(m) for m in list(sys.modules) if m.startswith('flows')];"
            f"import site; site.addsitedir({str(site)!r});"
            "from flows import environment as e; print(e.ENV_FILE, e.data_folder(), sep='\\n')"
        )
        environment = os.environ | {"XDG_DATA_HOME": str(tmp_path / "kept")}
        environment.pop("TAXI_DATA")
        result = subprocess.run(
            [sys.executable, "-c", show], cwd="/", env=environment, capture_output=True, text=True
        )
        kept = tmp_path / "kept" / "nyc-taxi-elt"
        assert result.stdout.splitlines() == [str(kept / ".env"), str(kept / "data")], result.stderr


class TestStatus:
    def test_says_what_is_loaded_and_what_is_missing_or_not_built(self, january, query):
        land_made_up(date(2021, 4, 1), 100)
        query("update raw.loads set is_sample = false where source_month = '2021-01-01'")
        found = status.status()
        [yellow] = found.loaded
        assert yellow.months == ["2021-01", "2021-04"]
        assert yellow.gaps == ["2021-02..2021-03"]
        assert yellow.samples == yellow.to_be_built == ["2021-04"]
        assert yellow.rows == 1_100
        assert found.is_postgresql_up
        assert found.is_prefect_up
        assert (found.database_bytes or 0) > 1_000_000

    def test_names_months_with_warnings_of_their_health(self, built):
        point_to(built)
        warned = run_query(
            built,
            "select to_char(source_month, 'YYYY-MM'), count(*) from month_warnings"
            " where dataset = 'yellow' group by 1",
        )
        yellow = next(one for one in status.status().loaded if one.dataset == "yellow")
        assert yellow.warnings == dict(warned)

    def test_fits_a_terminal_and_is_ten_lines_or_so(self, built, monkeypatch):
        point_to(built)
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.delenv("PREFECT_API_URL")  # where other tests' runs have failed, at any length
        lines = str(status.status()).splitlines()
        assert len(lines) <= 14
        assert max(map(len, lines)) <= 80

    def test_of_a_password_that_is_wrong_says_so_and_not_that_it_is_down(self, built, monkeypatch):
        point_to(built)
        monkeypatch.setenv("POSTGRES_PASSWORD", "wrong")
        found = status.status()
        assert not found.is_postgresql_up
        assert "password authentication failed" in found.postgresql_says
        assert "taxi up" not in found.postgresql_says

    def test_knows_the_last_failure_and_the_next_run_of_prefects_server(
        self, built, http, monkeypatch
    ):
        point_to(built)
        flow = http.post("/flows/", json={"name": "elt"}).json()["id"]
        made = {"flow_id": flow, "name": "a made-up run"}
        run = http.post("/flow_runs/", json=made).json()["id"]
        for kind, message in (("RUNNING", None), ("FAILED", "PipelineError: no\nsuch  file")):
            state = {"state": {"type": kind, "message": message}, "force": True}
            http.post(f"/flow_runs/{run}/set_state", json=state).raise_for_status()
        when = "2020-01-01T10:00:00Z"
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": when}}
        coming = http.post("/flow_runs/", json=made | {"name": "to come", "state": state}).json()
        try:
            found = status.status()
        finally:
            for one in (run, coming["id"]):
                http.delete(f"/flow_runs/{one}")
        assert found.last_failure
        assert (found.last_failure.run, found.last_failure.why) == (
            "a made-up run",
            "no such file",
        )
        assert found.next_run
        assert found.next_run.deployment == "to come"
        assert found.next_run.at == datetime.fromisoformat(when)

    def test_works_when_nothing_is_up_and_starts_nothing(self, unused_port, tmp_path):
        result = taxi(
            "status",
            POSTGRES_HOST="localhost",
            POSTGRES_PORT=str(unused_port),
            PREFECT_API_URL=f"http://127.0.0.1:{unused_port}/api",
            TAXI_DATA=str(tmp_path / "none"),
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert "is not up" in " ".join(result.stdout.split())
        assert "does not answer" in " ".join(result.stdout.split())
        assert not (tmp_path / "none" / "postgres").exists()

    @pytest.mark.slow
    def test_knows_the_last_failure_of_a_run_without_a_server(self, database, tmp_path):
        """Prefect's temporary server keeps its runs in a file."""
        file = tmp_path / "2021-01.csv"
        file.write_text("no,such,columns\n1,2,3\n")
        home = {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": ""}
        run = taxi("run", "--source", file, **home)
        assert run.returncode == 1
        result = taxi("status", **home)
        shown = " ".join(result.stdout.split())
        assert re.search(r"Last failure elt yellow 2021-01, \S+ \S+ \S+ .*2021-01\.csv", shown)


def test_build_builds_what_is_loaded_and_says_so_in_json(january):
    land_made_up(date(2021, 2, 1), 100)
    result = taxi("build", "--json")
    assert result.returncode == 0, result.stderr
    built = json.loads(result.stdout)
    assert built["state"] == "Completed"
    assert built["models"] >= 10  # the trips and the marts, of the month alone
    assert built["tests"] > 10
    months = "select count(distinct source_month) from yellow_taxi_trips"
    assert run_query(january, months) == [(2,)]


def test_report_draws_the_page_of_what_is_built(january):
    result = taxi("report", "--json")
    assert result.returncode == 0, result.stderr
    page = Path(json.loads(result.stdout)["report"])
    assert "January 2021" in page.read_text(encoding="utf-8")


class TestAsk:
    @pytest.fixture(autouse=True)
    def at_built(self, built):
        point_to(built)

    @pytest.fixture(scope="class")
    @staticmethod
    def compiled(built) -> Path:
        build_by_hand(built, "compile --select path:analyses")
        return target(built) / "compiled" / "nyc_taxi" / "analyses"

    @pytest.mark.parametrize("path", sorted(ask.QUESTIONS.glob("*.sql")), ids=lambda one: one.stem)
    def test_a_question_is_the_sql_that_dbt_compiles_and_is_answered(self, path, compiled, built):
        theirs = (compiled / path.name).read_text().replace(f'"{built.db}".', "").replace('"', "")
        ours = ask.rendered(path.read_text())
        assert [line.split() for line in ours.split("\n") if line.strip()] == [
            line.split() for line in theirs.split("\n") if line.strip()
        ]
        found = ask.ask(path.stem)
        assert found.question.endswith(("?", "."))
        assert len(found.rows) == len(run_query(built, theirs.replace("%", "%%")))

    @pytest.mark.parametrize("name", ["airport_trips", "cash_or_card", "known_faults"])
    def test_an_answer_looks_as_in_psql(self, name, built):
        theirs = subprocess.run(
            [embedded.programs() / "psql", "-X", "-c", ask.rendered(question(name))],
            env=os.environ | libpq_of(built.url),
            capture_output=True,
            text=True,
        )
        lines = [line.rstrip() for line in theirs.stdout.rstrip().splitlines()]
        assert str(ask.ask(name)).splitlines() == lines

    def test_an_answer_as_csv_and_as_json_is_the_same(self):
        answer = ask.ask("tips_by_dataset", as_csv=True)
        rows = [*csv.DictReader(io.StringIO(str(answer)))]
        assert [Decimal(row["tip_rate"]) for row in rows] == [
            Decimal(str(row["tip_rate"])) for row in answer.as_dict()["rows"]
        ]
        assert rows

    def test_before_anything_is_built_it_says_what_to_do(self, database):
        point_to(database)
        with pytest.raises(PipelineError, match="nothing is built yet"):
            ask.ask("airport_trips")


def question(name: str) -> str:
    return (ask.QUESTIONS / f"{name}.sql").read_text()


EXACT = """
select
    g as id,
    g::smallint as small,
    g::bigint * 10000000000 as big,
    (g * 1.01)::numeric(10, 4) as money,
    (g * 1.01)::numeric as long_money,
    (g::real / 3)::real as single,
    g::float8 / 3 as double,
    'a "quoted", value' || chr(10) || g as words,
    '' as empty,
    null::text as nothing,
    g % 2 = 0 as even,
    date '1999-12-31' + g as day,
    timestamp '2021-01-01 00:00:00.123456' + g * interval '1 hour' as at_local,
    timestamptz '2021-01-01 00:00:00+02' + g * interval '1 hour' as at,
    time '23:59:59.5' as clock,
    case when g > 3 then array['a,b', '{c}', null, 'NULL', '"'] end as texts,
    array[g, null] as numbers
from generate_series(1, 5) as g
"""


class TestExport:
    @pytest.fixture(autouse=True)
    def at_built(self, built):
        point_to(built)

    def test_a_tables_rows_and_types_are_those_of_postgresql(self, built, tmp_path):
        exported = export("trips", to=tmp_path / "t.parquet", where="dataset = 'yellow'")
        read = pq.read_table(tmp_path / "t.parquet")
        expected = run_query(built, "select * from trips where dataset = 'yellow' order by trip_id")
        rows = sorted(read.to_pylist(), key=lambda row: row["trip_id"])
        assert [tuple(row.values()) for row in rows] == expected
        assert exported.rows == len(expected) > 20_000
        declared = dict(
            run_query(
                built,
                "select attname, format_type(atttypid, atttypmod) from pg_attribute"
                " where attrelid = 'trips'::regclass and attnum > 0",
            )
        )
        as_in_arrow = {
            "text": "string",
            "text[]": "list<element: string>",
            "bigint": "int64",
            "integer": "int32",
            "smallint": "int16",
            "date": "date32[day]",
            "timestamp without time zone": "timestamp[us]",
        }
        for field in read.schema:
            kind = declared[field.name]
            numeric = re.fullmatch(r"numeric\((\d+),(\d+)\)", kind)
            expected_type = f"decimal128({numeric[1]}, {numeric[2]})" if numeric else None
            assert str(field.type) == (expected_type or as_in_arrow[kind]), field.name

    def test_a_querys_values_are_exact_whatever_their_types(self, built, tmp_path):
        export(to=tmp_path / "q.parquet", query=f"{EXACT};")
        read = pq.read_table(tmp_path / "q.parquet")
        expected = run_query(built, EXACT.replace("%", "%%"))
        found = [tuple(row.values()) for row in read.to_pylist()]
        single = read.column_names.index("single")
        for mine, theirs in zip(found, expected, strict=True):
            assert mine[single] == pytest.approx(theirs[single], rel=1e-6)
            assert (*mine[:single], *mine[single + 1 :]) == (
                *theirs[:single],
                *theirs[single + 1 :],
            )
        assert read.schema.field("money").type == pa.decimal128(10, 4)
        assert read.schema.field("long_money").type == pa.decimal128(3, 2)
        assert read.schema.field("at").type == pa.timestamp("us", "UTC")

    def test_csv_is_what_postgresql_writes(self, built, tmp_path):
        export(to=tmp_path / "q.csv", query=EXACT)
        rows = [*csv.reader((tmp_path / "q.csv").open(newline=""))]
        expected = run_query(built, EXACT.replace("%", "%%"))
        assert len(rows) == 1 + len(expected)
        assert rows[1][:4] == ["1", "1", "10000000000", "1.0100"]

    def test_no_rows_are_a_file_too(self, tmp_path):
        export("trips", to=tmp_path / "none.parquet", where="false")
        read = pq.read_table(tmp_path / "none.parquet")
        assert read.num_rows == 0
        assert "trip_id" in read.column_names

    @pytest.mark.slow
    def test_a_years_rows_are_never_in_memory_at_once(self, tmp_path):
        big = "select g, md5(g::text) as a, md5(g::text) as b from generate_series(1, {}) as g"
        peaks = []
        for rows in (1_000_000, 3_000_000):  # 75 and 225 MB of CSV
            show = (
                "import resource; from pathlib import Path; from flows.export import export;"
                f"export(to=Path({str(tmp_path / 'b.parquet')!r}), query={big.format(rows)!r});"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
            )
            result = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True)
            peaks.append(int(result.stdout) / 1024)
        assert peaks[1] < peaks[0] + 100, peaks

    @pytest.mark.parametrize(
        ("given", "line"),
        [
            ({"table": "nothing"}, 'PostgreSQL: relation "nothing" does not exist'),
            ({"table": "trips", "where": "x"}, 'PostgreSQL: column "x" does not exist'),
            ({"query": "select 1 as a, 2 as a"}, "several columns are called a: name them apart"),
            ({"query": "delete from vendors"}, "PostgreSQL: "),
            ({"query": "select 'NaN'::numeric as a"}, "Cast the column"),
            ({"query": "select 1e100::numeric as a"}, "numbers of 101 digits"),
            ({"query": "select 1/(g-3) as a from generate_series(1,9) g"}, "division by zero"),
        ],
        ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
    )
    def test_what_is_wrong_is_one_line_and_leaves_no_file(self, given, line, tmp_path):
        with pytest.raises(PipelineError) as refusal:
            export(
                given.get("table"),
                to=tmp_path / "x.parquet",
                **{k: v for k, v in given.items() if k != "table"},
            )
        assert line in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert [*tmp_path.iterdir()] == []

    @pytest.mark.parametrize(
        "given", [{}, {"table": "trips", "query": "select 1"}, {"query": "select 1", "where": "x"}]
    )
    def test_a_table_or_a_query_is_to_be_named(self, given, tmp_path):
        with pytest.raises(UsageError, match="one of them"):
            export(given.pop("table", None), to=tmp_path / "x.csv", **given)

    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_a_disk_that_is_full_is_one_line_and_the_old_file_stays(self, ending, tmp_path):
        path = tmp_path / f"old.{ending}"
        path.write_text("old")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            with pytest.raises(PipelineError, match=r"can't be written: File too large"):
                export(to=path, query="select md5(g::text) from generate_series(1, 100000) as g")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_text() == "old"
        assert [*tmp_path.iterdir()] == [path]

    def test_a_file_is_replaced_once_the_new_one_is_complete(self, tmp_path):
        path = tmp_path / "x.csv"
        path.write_text("old")
        export(to=path, query="select 1 as a")
        assert path.read_text() == "a\n1\n"
