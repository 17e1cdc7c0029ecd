"""The program `taxi`: one command for each thing that this project does.

    taxi run yellow green --months 2021-01

`COMMANDS` says which function, or which module's own command line, does it. None is imported
before it is needed: Prefect alone takes two seconds.
"""

import runpy
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Literal, NamedTuple, NoReturn

from cyclopts import App

from flows import cli
from flows.errors import UsageError

NAME = "taxi"
ABOUT = """New York's taxi, Uber and Lyft trips in PostgreSQL. `taxi COMMAND --help` explains
a command.

Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 and 143 interrupted. With --json, a command's
result is JSON on standard output; logs and errors are on standard error."""


class Command(NamedTuple):
    """What does a command: a function, `module:function`, or a flow's module."""

    where: str
    about: str
    words: tuple[str, ...] = ()  # the first ones of the flow's command line


COMMANDS = {
    "run": Command("flows.elt", "Load months of trips and build the tables."),
    "plan": Command("flows.elt", "Show what a run would load, and load nothing.", ("--plan",)),
    "build": Command("flows.build", "Build the tables of the months that are loaded."),
    "backfill": Command("flows.backfill", "Load years of months on several workers."),
    "status": Command("flows.status:status", "Show what is up, loaded, failed and scheduled."),
    "ask": Command("flows.ask:ask", "Answer one of the questions in dbt_project/analyses."),
    "export": Command("flows.export:export", "Write a table or a query as Parquet or CSV."),
    "report": Command("flows.report.alone:draw", "Draw the report of what is loaded."),
    "psql": Command("flows.warehouse.local_server:psql", "Open psql on the warehouse."),
    "analyst": Command("flows.warehouse.roles:analyst", "Make a login that reads the tables."),
    "up": Command("flows.warehouse.local_server:up", "Start PostgreSQL, if none answers."),
    "serve": Command("flows.server.serve:start", "Start Prefect's server, schedule and worker."),
    "worker": Command("flows.server.worker:work", "Start one more worker, in the foreground."),
    "down": Command("flows.server.serve:down", "Stop what `up`, `run` and `serve` started."),
    "archive": Command("flows.archive", "Let raw months go, each to a Parquet file."),
    "backup": Command("flows.warehouse.backup:run_backup", "Back up the embedded PostgreSQL."),
    "restore": Command("flows.warehouse.backup:run_restore", "Restore a backup, and verify it."),
    "docs": Command("flows.models.docs:show", "Show the documentation of the tables."),
    "delete-data": Command("flows.warehouse.local_server:delete", "Delete the loaded months."),
}
# But for --help. Prefect's server takes seconds to import, and a shell may ask for the completion
# when it starts.
WITHOUT_OPTIONS = ("serve", "down")
Shell = Literal["bash", "zsh", "fish"]


def main() -> NoReturn:
    """Do what the words of the command line say, and exit; see `ABOUT` for the exit codes."""
    words = sys.argv[1:] or ["--help"]
    name, *rest = words
    if name not in (*COMMANDS, "completion", "--help"):
        close = get_close_matches(name, COMMANDS, 1)
        maybe = f" Did you mean {close[0]}?" if close else ""
        cli.fail(UsageError(f"{NAME} has no command {name!r}.{maybe} See {NAME} --help"))
    command = COMMANDS.get(name)
    if command and ":" not in command.where:
        run_module(name, rest)
    app = cli.new_app(NAME, help=ABOUT)
    for number, one in enumerate(COMMANDS):
        # Not imported, but for the command that is asked for.
        added = app_of(one) if one == name else cli.new_app(one, help=COMMANDS[one].about)
        added.sort_key = number
        app.command(added)
    app.command(cli.with_json(completion), name="completion", sort_key=len(COMMANDS))
    cli.call(app, words)


def app_of(name: str) -> App:
    """The command line of a command, with its options."""
    module, _, function = COMMANDS[name].where.partition(":")
    if function:
        app = cli.new_app(name)
        app.default(cli.with_json(getattr(import_module(module), function)))
        return app
    try:
        run_module(name, [cli.DESCRIBE])
    except cli.Described as described:
        return cli.app_of(described.function, name)


def run_module(name: str, words: list[str]) -> NoReturn:
    """Run a flow's module as a program, which refuses wrong words before it imports Prefect."""
    where, _, first = COMMANDS[name]
    cli.called = f"{NAME} {name}"
    sys.argv[1:] = words if words == [cli.DESCRIBE] else [*first, *words]
    runpy.run_module(where, run_name="__main__", alter_sys=True)
    raise AssertionError(f"{where} has no command line")


def completion(shell: Shell, /) -> None:
    """Print the completion of this program's words for a shell, to be kept where it looks.

    Args:
        shell: Which one. bash looks in ~/.local/share/bash-completion/completions/taxi, fish in
            ~/.config/fish/completions/taxi.fish, zsh for _taxi in the folders of $fpath.
    """
    app = cli.new_app(NAME, help=ABOUT)
    for name, command in COMMANDS.items():
        is_alone = name in WITHOUT_OPTIONS
        app.command(cli.new_app(name, help=command.about) if is_alone else app_of(name))
    app.command(completion)
    print(app.generate_completion(shell=shell))


if __name__ == "__main__":
    main()
