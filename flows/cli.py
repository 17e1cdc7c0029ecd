"""The command line of a flow: its parameters, as Prefect's form shows them, are the options."""

import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import date
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import cyclopts
from cyclopts import App, Parameter
from pydantic import ValidationError

from flows import interrupt
from flows.errors import PipelineError, UsageError, is_prefect_away
from flows.parameters import Request
from flows.tlc.contact import refuse_absent

if TYPE_CHECKING:
    from prefect import Flow, State


class Command(NamedTuple):
    """What the words of a command line ask for."""

    parameters: dict[str, Any]
    request: Request
    as_json: bool
    verbose: bool
    is_plan: bool = False


def run(function: Callable[..., Any], reads_files: bool = True) -> NoReturn:
    """Run a flow with the options of the command line, and exit.

    The exit code is 0 if it is done, 1 if it failed, 2 if it was misused, and that of the signal
    if it was interrupted. The result goes to standard output, for a person or, with `--json`, for
    a script; how it goes, to standard error.

    Args:
        function: What the flow does; the result has `as_dict()`. The flow has its module's name.
        reads_files: Whether the flow reads the months' files itself, and not workers elsewhere.
    """
    interrupt.end_on_signals()
    try:
        command = parse(function, sys.argv[1:])
        if command is None:  # the help text
            sys.exit()
        if command.is_plan or reads_files:
            request = command.request
            places = [request.source.locate(*one) for one in request.months]
            refuse_absent(places, request.is_open_ended)
        if command.is_plan:
            shown, unanswered = show_plan(command)
            print(shown)
            sys.exit(1 if unanswered else 0)
        state = run_flow(module_of(function), command)
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
    from flows.settings import ROOT

    parameters = dict(command.parameters)
    if "source" in parameters:
        parameters["source"] = command.request.source.absolute
    os.chdir(ROOT)  # Prefect reads the settings in pyproject.toml from the folder that it starts in
    os.environ.setdefault("DO_NOT_TRACK", "1")  # as pyproject.toml has it for Prefect's server
    if not command.verbose:
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
        os.environ["PREFECT_SERVER_LOGGING_LEVEL"] = "CRITICAL"  # of the temporary one
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
    api_url = get_current_settings().api.url
    observed: Any = flow.with_options(on_running=[interrupt.remember_run])
    try:
        if not api_url:
            interrupt.start_temporary_server()
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
            raise PipelineError(
                "Prefect's temporary server does not start: --verbose shows why"
            ) from None
        raise
    return state


def show_plan(command: Command) -> tuple[str, int]:
    """What a run would land, as a table or as JSON, and for how many months there is no answer.

    Raises:
        PipelineError: the source answers for no month, or the warehouse can't be asked.
    """
    if not command.verbose:
        os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    from flows.plan import show

    return show(command.request, command.as_json)


def parse(function: Callable[..., Any], words: Sequence[str]) -> Command | None:
    """Read the words of a command line; None if they ask for the help text, which is printed.

    Raises:
        UsageError: something is wrong with them.
    """
    app = App(
        f"python -m {module_of(function)}",
        help=sys.modules[function.__module__].__doc__,
        help_format="markdown",
        help_formatter="plain",
        version_flags=[],
        default_parameter=Parameter(negative=()),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
    )
    app.default(options_of(function))

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
        if parameters is None:  # the help text
            return None
        # The flow resolves it again, on the day for which it is scheduled.
        request = Request.of(parameters, date.today())
        return Command(parameters, request, as_json, verbose, plan)

    try:
        found: Command | None = app.meta(words)
    except cyclopts.CycloptsError as error:
        raise UsageError(shorten_error(error)) from None
    return found


def module_of(function: Callable[..., Any]) -> str:
    """The name of a function's module, which may be running as a program."""
    spec = sys.modules[function.__module__].__spec__
    return spec.name if spec else function.__module__


def shorten_error(error: cyclopts.CycloptsError) -> str:
    """What is wrong with a word, in one line."""
    if isinstance(error.__cause__, ValidationError):
        first = error.__cause__.errors()[0]
        name = ".".join(str(part) for part in first["loc"]).replace("_", "-")
        where = f"{error.argument.name}.{name}" if error.argument else name
        return f"{where} is {first['input']!r}: {first['msg']}"
    return f"{' '.join(str(error).split())} See --help"


def options_of(function: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """A function with the same parameters, as options alone, which returns those that are given."""

    def read(**given: Any) -> dict[str, Any]:
        return given

    signature = inspect.signature(function)
    options = [one.replace(kind=one.KEYWORD_ONLY) for one in signature.parameters.values()]
    read.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    read.__doc__ = function.__doc__
    return read
