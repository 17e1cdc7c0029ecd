"""The command line of a flow: its parameters, as Prefect's form shows them, are the options."""

import ast
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import cyclopts
from cyclopts import App, Parameter
from pydantic import ValidationError

from flows import interrupt
from flows.errors import PipelineError, UsageError, is_prefect_away
from flows.parameters import Request

if TYPE_CHECKING:
    from prefect import Flow, State


class Command(NamedTuple):
    """What the words of a command line ask for."""

    parameters: dict[str, Any]
    request: Request
    as_json: bool
    verbose: bool
    is_plan: bool = False


def run(module: str) -> NoReturn:
    """Run a module's flow with the options of the command line, and exit.

    The exit code is 0 if it is done, 1 if it failed, 2 if it was misused, and that of the signal
    if it was interrupted. The result goes to standard output, for a person or, with `--json`, for
    a script; how it goes, to standard error.

    Args:
        module: `flows.elt` has the flow `elt`, whose result has `as_dict()`.
    """
    interrupt.end_on_signals()
    try:
        command = parse(module, sys.argv[1:])
        if command is None:  # the help text
            sys.exit()
        if command.is_plan:
            print(show_plan(command))
            sys.exit()
        state = run_flow(module, command)
        if not state.is_completed():
            raise state.result(raise_on_failure=False)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    result = state.result()
    if command.as_json:
        outcome = {"state": state.name, "message": state.message}
        print(json.dumps(outcome | (result.as_dict() if result else {})))
    else:
        print(result or state.message)
    sys.exit()


def run_flow(module: str, command: Command) -> "State[Any]":
    """Run a module's flow; returns the state that it ends in.

    Raises:
        PipelineError: Prefect's server does not answer.
    """
    from flows.settings import DATA, ROOT

    parameters = command.parameters | {"source": command.request.source.absolute}
    os.chdir(ROOT)  # Prefect reads the settings in pyproject.toml from the folder that it starts in
    os.environ.setdefault("DO_NOT_TRACK", "1")  # as pyproject.toml has it for Prefect's server
    if not command.verbose:
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    flow: Flow[..., Any] = getattr(import_module(module), module.rpartition(".")[2])
    # Not at the top, nor is the flow: with Prefect, they take seconds to import.
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        get_current_settings,
        temporary_settings,
    )

    from flows.progress import show_own_log

    if not command.verbose:
        show_own_log()
    log = DATA / "temporary-prefect-server.log"
    if not (api_url := get_current_settings().api.url):
        interrupt.start_temporary_server_apart(log)
    observed: Any = flow.with_options(on_running=[interrupt.remember_run])
    try:
        # With heartbeats, each flow would last until they have slept a whole second. Whoever
        # starts a run here sees it end; a worker's runs send them.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            state: State[Any] = observed(**parameters, return_state=True)
    except Exception as error:
        if is_prefect_away(error) or "Failed to reach API" in str(error):
            raise PipelineError(
                f"Prefect's server at {api_url} does not answer. Start it, or take "
                "PREFECT_API_URL out of your settings"
            ) from None
        if "ephemeral Prefect API server" in str(error):
            raise PipelineError(f"Prefect's temporary server does not start: see {log}") from None
        raise
    return state


def show_plan(command: Command) -> str:
    """What a run would land, as a table or as JSON.

    Raises:
        PipelineError: the warehouse can't be asked what is loaded.
    """
    if not command.verbose:
        os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    from flows.plan import show

    return show(command.request, command.as_json)


def parse(module: str, words: Sequence[str]) -> Command | None:
    """Read the words of a command line; None if they ask for the help text, which is printed.

    Raises:
        UsageError: something is wrong with them.
    """
    app = App(
        f"python -m {module}",
        help=read_docstring(module),
        help_format="markdown",
        help_formatter="plain",
        version_flags=[],
        default_parameter=Parameter(negative=()),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
    )
    app.default(signature_of(module))

    @app.meta.default
    def read(
        *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        as_json: Annotated[bool, Parameter("--json")] = False,
        verbose: Annotated[bool, Parameter(("--verbose", "-v"))] = False,
        plan: bool = False,
    ) -> Command | None:
        """Read all of them.

        Args:
            words: Those of the flow's parameters.
            as_json: Print the result as JSON.
            verbose: Show all of Prefect's log.
            plan: Land nothing: show which months there are, new or changed, and how large.
        """
        parameters = app(words)
        if parameters is None:
            return None
        # The flow resolves it again, on the day for which it is scheduled.
        request = Request.of(parameters, date.today())
        return Command(parameters, request, as_json, verbose, plan)

    try:
        found: Command | None = app.meta(words)
    except cyclopts.CycloptsError as error:
        raise UsageError(shorten_error(error)) from None
    return found


def shorten_error(error: cyclopts.CycloptsError) -> str:
    """What is wrong with a word, in one line."""
    if isinstance(error.__cause__, ValidationError):
        first = error.__cause__.errors()[0]
        name = ".".join(str(part) for part in first["loc"]).replace("_", "-")
        where = f"{error.argument.name}.{name}" if error.argument else name
        return f"{where} is {first['input']!r}: {first['msg']}"
    return f"{' '.join(str(error).split())} See --help"


def read_docstring(module: str) -> str | None:
    """A module's docstring, without importing the module."""
    return ast.get_docstring(parsed(module))


def signature_of(module: str) -> Callable[..., dict[str, Any]]:
    """A function with the parameters and the docstring of a module's flow, which returns them.

    It is made from the flow's source, with those imports alone that its signature needs: importing
    the module would import Prefect as well, and a mistyped word would take seconds to be refused.
    """
    tree = parsed(module)
    name = module.rpartition(".")[2]
    [function] = [node for node in tree.body if getattr(node, "name", None) == name]
    assert isinstance(function, ast.FunctionDef)  # noqa: S101 (for the type checker)
    named = {node.id for node in ast.walk(function.args) if isinstance(node, ast.Name)}
    imports: list[ast.stmt] = [
        ast.ImportFrom(node.module, wanted, node.level)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        and (wanted := [alias for alias in node.names if alias.name in named])
    ]
    words = function.args  # options only: no word counts by its place
    words.kw_defaults = [*[None] * (len(words.args) - len(words.defaults)), *words.defaults]
    words.kwonlyargs, words.args, words.defaults = words.args, [], []
    function.decorator_list, function.returns = [], None
    function.body = [function.body[0], *ast.parse("return locals()").body]
    code = ast.fix_missing_locations(ast.Module([*imports, function], []))
    scope: dict[str, Any] = {}
    exec(compile(code, module, "exec"), scope)  # noqa: S102 (it is this project's own code)
    made: Callable[..., dict[str, Any]] = scope[name]
    return made


def parsed(module: str) -> ast.Module:
    """A module's source as a tree."""
    spec = find_spec(module)
    assert spec  # noqa: S101 (for the type checker)
    assert spec.origin  # noqa: S101
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
