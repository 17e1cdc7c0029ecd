"""Each command on the pages: it is run here, or it can be, or `NOT_RUN` says why it is not.

The suite runs elsewhere what `taxi`, `make` and dbt do. Here it is that the pages name no target,
command, option, variable, model or deployment that is not there; and their SQL is run.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from conftest import connect
from cyclopts import CycloptsError
from dbt.cli.main import cli as dbt
from prefect.flows import load_flow_from_entrypoint
from sqlalchemy import text

from flows import cli
from flows.errors import UsageError
from flows.program import COMMANDS, app_of, completion
from flows.server.deploy import HERE
from flows.settings import PROJECT, ROOT
from flows.warehouse import embedded

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += [*sorted((ROOT / "docs").glob("*.md")), PROJECT / "models" / "overview.md"]
# By their first words: what is on the pages and not run, and why.
NOT_RUN = {
    "cd": "the commands below it begin there",
    "cat >> .env": "test_serve.py and test_backfill.py set these variables for a worker",
    "ssh": "takes another machine",
    "docker": "the images can't be had; test_project.py runs the file's commands without them",
    "pg_dump": "takes another server; the page says that it was not run",
    "pg_dumpall": "the same",
    "createdb": "the same",
    "pg_restore": "the same",
    "export": "sets the address for what follows",
    "tests/on_other_versions.sh": "takes other versions of PostgreSQL, from npm",
    "mf query": "test_build.py asks the same metrics",
    "uv tool install": "test_wheel.py looks into what it installs",
    "pipx": "the same, and pre-commit from the network",
    "prefect gcl update": "Prefect's own",
    "prefect server start": "the notes'; test_serve.py has what takes its place",
}
OTHERS_SQL = {
    "install postgres;": "DuckDB's",
    "quantileExactInclusive": "ClickHouse's",
    "extension citus": "takes Citus; the page says where it was run",
    "citus_add_node": "the same",
}
# Options that are of no command of ours: psql's and pg_restore's, and one that dbt has not yet.
OTHERS_OPTIONS = {"--csv", "--no-owner", "--no-privileges", "--use-v2-parser"}


@pytest.fixture(autouse=True)
def words(monkeypatch):
    """Those of the command line, and what it calls itself, are as they were after each test."""
    monkeypatch.setattr(sys, "argv", ["taxi"])
    monkeypatch.setattr(cli, "called", None)


class Block(NamedTuple):
    """What a page shows between ``` and ```."""

    page: str
    line: int
    language: str
    content: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        content = page.read_text()
        for found in re.finditer(r"^```(\w+)\n(.*?)^```$", content, re.DOTALL | re.MULTILINE):
            line = content.count("\n", 0, found.start()) + 1
            yield Block(page.name, line, found[1], found[2])


def commands() -> Iterator[tuple[str, str]]:
    """Where each command stands, and its words: those of blocks, and those within sentences."""
    for block in blocks():
        if block.language == "console":
            joined = re.sub(r"<<'(\w+)'\n.*?^\1$", "", block.content, flags=re.DOTALL | re.M)
            lines, rest = [], ""
            for line in joined.splitlines():
                rest += line
                if rest.count('"') % 2 == 0:  # else the command goes on
                    lines.append(rest)
                    rest = ""
            yield from ((f"{block.page}:{block.line}", line) for line in lines)
    for page in PAGES:
        content = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for span in re.findall(r"`([^`\n]+)`", content):
            words = re.sub(r"^(?:\.\./)?\.venv/bin/", "", span)
            if words.split(" ")[0] in ("make", "taxi", "dbt", "prefect", "uv", "pipx"):
                yield page.name, words


COMMANDS_ON_PAGES = sorted(
    {(where, re.split(r"\s+#", words)[0].strip()) for where, words in commands()}
)


@pytest.mark.parametrize(("where", "command"), COMMANDS_ON_PAGES)
def test_a_page_names_no_command_or_option_that_is_not_there(where, command):
    command = re.sub(r"^(?:\.\./)?\.venv/bin/", "", command)
    if any(f"{command} ".startswith(f"{words} ") for words in (*NOT_RUN, "psql")):
        return  # what psql is to ask is run below
    program, *words = shlex.split(command)
    checks = {"make": check_make, "taxi": check_taxi, "dbt": check_dbt, "prefect": check_prefect}
    assert program in checks, "run it in a test, or say in NOT_RUN why not"
    checks[program](words)


def test_what_is_not_run_is_on_a_page():
    shown = {re.sub(r"^(?:\.\./)?\.venv/bin/", "", words) for _, words in COMMANDS_ON_PAGES}
    for words in NOT_RUN:
        assert any(f"{one} ".startswith(f"{words} ") for one in shown), words


def test_what_is_not_there_is_found():
    for check, words in (
        (check_make, ["rum"]),
        (check_make, ["run", "MONTHS=2021-01"]),
        (check_make, ["run", "ARGS=--nonsense"]),
        (check_taxi, ["rum"]),
        (check_taxi, ["export", "trips", "--format", "csv"]),
        (check_dbt, ["build", "--nonsense"]),
        (check_dbt, ["build", "--select", "no_model"]),
        (check_prefect, ["deployment", "run", "build/build", "-p", "months=2021-01"]),
    ):
        with pytest.raises((AssertionError, UsageError, CycloptsError)):
            check(words)


def check_make(words: list[str]) -> None:
    """The target exists, each variable is one of the Makefile's, and ARGS are options of `taxi`."""
    without = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT, env=without, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    target = next((word for word in words if "=" not in word), "")
    [*arguments] = [word[5:] for word in words if word.startswith("ARGS=")]
    if target in COMMANDS and target not in ("worker", "psql"):  # theirs are Prefect's and psql's
        check_taxi([target, *shlex.split(" ".join(arguments))])


def check_taxi(words: list[str]) -> None:
    """The command exists, and takes these words; it is not run."""
    if words in (["--help"], []):
        return
    name, *rest = words
    rest = rest[: rest.index(">")] if ">" in rest else rest
    if name == "completion":
        completion(*rest)
        return
    assert name in COMMANDS
    if rest and not (rest[0] == "…" or name in ("backfill", "analyst")):
        app_of(name).parse_args(rest, exit_on_error=False, print_error=False)


def check_dbt(words: list[str]) -> None:
    """dbt has the command and its options, and the project the models that are selected."""
    command, options = dbt, set()
    for word in words:
        options |= {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        if word.startswith("--"):
            assert word in options
        elif word in getattr(command, "commands", {}):
            command = command.commands[word]
    if "--select" in words:
        selected = words[words.index("--select") + 1].strip("+")
        assert [*PROJECT.rglob(f"{selected}.sql")], selected


def check_prefect(words: list[str]) -> None:
    """The deployment is there, and its flow has these parameters."""
    assert words[:2] == ["deployment", "run"]
    flow, _, name = words[2].partition("/")
    described = yaml.safe_load((HERE / "prefect.yaml").read_text())["deployments"]
    [entrypoint] = [one["entrypoint"] for one in described if one["name"] == name]
    assert entrypoint.endswith(f":{flow}")
    parameters = load_flow_from_entrypoint(f"{ROOT}/{entrypoint}").parameters.properties
    assert {word.partition("=")[0] for word in words[4::2]} <= parameters.keys()


def test_an_option_within_a_sentence_is_one_of_a_command(capsys):
    for name in COMMANDS:
        app_of(name)(["--help"])
    known = OTHERS_OPTIONS | {"--help", *re.findall(r"--[a-z][\w.-]*", capsys.readouterr().out)}
    for command in (dbt, *dbt.commands.values()):
        known |= {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    named = {
        option
        for page in PAGES
        for span in re.findall(r"`(-[^`\n]+|ARGS=[^`\n]+)`", page.read_text())
        for option in re.findall(r"--[a-z][\w.-]*", span)
    }
    assert named - known == set()


def is_sql_of_the_warehouse(block: Block) -> bool:
    return not any(words in block.content for words in ("{{", *OTHERS_SQL))


@pytest.mark.parametrize(
    "block",
    [one for one in blocks() if one.language == "sql" and is_sql_of_the_warehouse(one)],
    ids=lambda block: f"{block.page}:{block.line}",
)
def test_the_sql_on_the_pages_runs(built, block):
    query = block.content
    if query.startswith("where "):
        query = f"select count(*) from trips {query}"
    if query.startswith("    ("):  # a column, to be added to trips_enriched
        query = f"select {query.strip().rstrip(',')} from trips_enriched as all_trips limit 1"
    with connect(built) as connection:
        connection.execute(text(query.replace(":", r"\:"))).all()


@pytest.mark.parametrize(
    "block",
    [one for one in blocks() if one.language == "console" and 'psql "$TAXI_URL"' in one.content],
    ids=lambda block: f"{block.page}:{block.line}",
)
def test_psqls_lines_on_the_pages_run(built, block):
    url = built.url.set(drivername="postgresql").render_as_string(hide_password=False)
    programs = f"{Path(sys.executable).parent}:{embedded.programs()}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-euc", block.content],
        env=os.environ | {"TAXI_URL": url.replace(" ", "%20"), "PATH": programs},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "borough | sum" in result.stdout


def test_pythons_blocks_on_the_pages_are_python_and_that_of_pandas_runs(built, monkeypatch):
    """The others' packages are no part of this project: they were run by hand."""
    url = built.url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("TAXI_URL", url)
    for block in blocks():
        if block.language == "python":
            code = compile(block.content, block.page, "exec")
            if "create_engine" in block.content:
                found: dict[str, object] = {}
                exec(code, found)
                assert [*found["days"].columns] == ["day", "fares"]
