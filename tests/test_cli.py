"""The command line: what is wrong with it is one line, at once; what is right is the flow's own."""

import os
import re
import subprocess
import sys

import pytest
from prefect import Flow

from flows.backfill import backfill
from flows.cli import parse
from flows.elt import elt
from flows.errors import UsageError
from flows.parameters import Limits
from flows.settings import ROOT

FLOWS = [elt, backfill]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_the_help_text_says_what_each_parameter_means(flow: Flow, capsys):
    assert parse(flow.fn, ["--help"]) is None
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(f"Usage: python -m flows.{flow.name} ")
    limits = {f"limits.{name}": field.description for name, field in Limits.model_fields.items()}
    parameters = {
        name: schema["description"]
        for name, schema in flow.parameters.properties.items()
        if name != "limits"
    }
    for name, description in (parameters | limits).items():
        assert f"--{name.replace('_', '-')}" in shown
        assert " ".join(description.split()) in shown


def test_words_become_the_values_that_the_flow_takes():
    command = parse(
        elt.fn,
        ["--months", "2021-01", "--force", "--limits.malformed-share=0.5", "--json", "-v"],
    )
    assert command.parameters == {
        "months": "2021-01",
        "force": True,
        "limits": Limits(malformed_share=0.5),
    }
    assert (command.as_json, command.verbose) == (True, True)


@pytest.mark.parametrize(
    "words",
    [
        ["green", "yellow"],
        ["--datasets", "green", "yellow"],
        ["--datasets", "green", "--datasets", "yellow"],
        ["--datasets=green yellow"],
    ],
)
def test_several_datasets_are_one_run(words):
    command = parse(elt.fn, [*words, "--months", "2021-01"])
    assert command.parameters == {"datasets": "green yellow", "months": "2021-01"}
    assert str(command.request) == "green yellow 2021-01"


WRONG = [
    (["--nonsense"], "Unknown option: --nonsense. See --help"),
    (["--month", "2021-01"], "Unknown option: --month. Did you mean --months? See --help"),
    (["--months"], "Parameter --months requires an argument. See --help"),
    (
        ["2021-01"],
        "'2021-01' is not a dataset: choose from yellow, green, fhvhv, fhv, all. "
        "Months come after --months",
    ),
    (
        ["--months", "2021-13"],
        "'2021-13' is not a month: write it as YYYY-MM, from 2009-01 on",
    ),
    (
        ["--months", "2008-12"],
        "'2008-12' is not a month: write it as YYYY-MM, from 2009-01 on",
    ),
    (["--months", "2021-01..2098-02"], "2098-02 is in the future"),
    (
        ["--datasets", "red"],
        "'red' is not a dataset: choose from yellow, green, fhvhv, fhv, all",
    ),
    (
        ["--datasets", "green", "--months", "2013-07"],
        "2013-07 is before 2013-08, the first month published",
    ),
    (
        ["--datasets", "all", "--source", "{month}.csv"],
        "{month}.csv is for several datasets: put {dataset} in it",
    ),
    (
        ["--source", "trips.csv"],
        "trips.csv: no month in its name. Give the month: YYYY-MM",
    ),
    (
        ["--source", "2021-02.csv", "--months", "2021-01"],
        "2021-02.csv: the month in its name is 2021-02, not 2021-01",
    ),
    (
        ["--source", "sample", "--months", "2021-01"],
        "There is no sample of yellow trips of 2021-01: choose from 2020-01..2020-12",
    ),
    (
        ["--limits.malformed-share", "7"],
        "--limits.malformed-share is '7': Input should be less than or equal to 1",
    ),
    (
        ["--limits.gigabytes=-1"],
        "--limits.gigabytes is '-1': Input should be greater than 0",
    ),
    (
        ["--limits.gigabytes", "inf"],
        "--limits.gigabytes is 'inf': Input should be a finite number",
    ),
    (
        ["--table-name", "select"],
        "'select' can't be the name of the trips' table: use up to 55 lower-case letters, digits "
        "and underscores, not an SQL keyword or another model's name",
    ),
]


@pytest.mark.parametrize(("words", "line"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_is_wrong_with_a_word_is_one_line(words, line):
    with pytest.raises(UsageError) as refusal:
        parse(elt.fn, words)
    assert str(refusal.value) == line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--months", "2021-13"], "'2021-13' is not a month: write it as YYYY-MM, from 2009-01 on"),
        (
            ["--months", "2021-01", "--source", "sample"],
            "There is no sample of yellow trips of 2021-01: choose from 2020-01..2020-12",
        ),
    ],
)
def test_a_wrong_word_is_refused_before_prefect_is_imported(words, line):
    """Prefect takes two seconds to import; and without it, no server starts, no alert is sent."""
    program = (
        f"import atexit, sys; sys.argv[1:] = {words};"
        "atexit.register(lambda: print({'prefect', 'sqlalchemy', 'pandas'} & {*sys.modules}));"
        "import runpy; runpy.run_module('flows.elt', run_name='__main__', alter_sys=True)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (2, "set()\n")
    assert result.stderr == f"error: {line}\n"


def test_a_prefect_server_that_does_not_answer_is_one_line(unused_port):
    url = f"http://127.0.0.1:{unused_port}/api"
    result = subprocess.run(
        [sys.executable, "-m", "flows.elt", "--source", "sample"],
        cwd=ROOT,
        env=os.environ | {"PREFECT_API_URL": url},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr == (
        f"error: Prefect's server at {url} does not answer. Start it, or take "
        "PREFECT_API_URL out of your settings\n"
    )


def make(*words: str, folder=ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run make as from a terminal, though this may be run by `make test ARGS=…`."""
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "ARGS"))
    }
    return subprocess.run(
        ["make", "--no-print-directory", "-C", ROOT, *words],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
    )


HOSTILE = """$(shell>x)$(>x)`>x`';>x;'";>x;"-v"""  # each part would make a file, if it were run


@pytest.mark.parametrize("variable", ["MONTH", "SOURCE"])
@pytest.mark.parametrize("is_in_environment", [True, False])
def test_make_hands_a_variable_on_as_it_is(variable, is_in_environment):
    words = [] if is_in_environment else [f"{variable}={HOSTILE}"]
    result = make("run", *words, **({variable: HOSTILE} if is_in_environment else {}))
    assert f"error: {repr(HOSTILE) if variable == 'MONTH' else HOSTILE}" in result.stderr
    assert result.returncode == 2
    assert not (ROOT / "x").exists()


@pytest.mark.parametrize("word", ["MONTHS=2021-01", "month=2021-01", "Source=sample"])
def test_make_names_a_variable_that_it_does_not_know(word):
    result = make("run", word)
    name = word.partition("=")[0]
    assert f"{name} is not a variable of this Makefile" in result.stderr
    assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("--months 2021-01", "yellow_tripdata_2021-01"),
        ("--months=2021-01", "yellow_tripdata_2021-01"),
        ("--source 2021-01.csv", "/2021-01.csv: No such file"),
    ],
)
def test_make_runs_the_sample_only_where_its_args_ask_for_nothing_else(asked, named, unused_port):
    mirror = f"http://127.0.0.1:{unused_port}"  # nobody answers there
    result = make("run", f"ARGS={asked}", SOURCE_BASE_URL=mirror)
    assert named in result.stderr


def test_a_plan_is_printed_and_nothing_else_and_needs_no_prefect_server(warehouse, unused_port):
    result = subprocess.run(
        [sys.executable, "-m", "flows.elt", "--plan", "--months", "2020-03", "--source", "sample"],
        cwd=ROOT,
        env=os.environ | {"PREFECT_API_URL": f"http://127.0.0.1:{unused_port}/api"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(r"2020-03 +new +0\.1 MB +\[1\]\n", result.stdout)
    assert "/{dataset}_tripdata_{month}.csv.gz\n" in result.stdout
    assert result.stdout.endswith("To fetch: 1 of 1 months, 0.1 MB, in about 1 minute\n")
