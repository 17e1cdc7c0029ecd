"""The command line of a flow: its parameters, as Prefect's form shows them, are the options."""

import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from importlib import import_module
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import cyclopts
from cyclopts import App, Parameter
from cyclopts.help import PlainFormatter
from pydantic import ValidationError
from rich.console import Console

from flows import interrupt, temporary_server
from flows.errors import WHOLE_WORDS, PipelineError, UsageError, fill, is_prefect_away
from flows.parameters import Request, check_datasets
from flows.tlc.contact import refuse_absent
from flows.tlc.source import SAMPLE

if TYPE_CHECKING:
    from prefect import Flow, State


class Command(NamedTuple):
    """What the words of a command line ask for."""

    parameters: dict[str, Any]
    request: Request
    as_json: bool
    verbose: bool
    is_plan: bool = False


class Described(Exception):
    """What a flow does, for whoever wants to know its options and run nothing."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


DESCRIBE = "--describe-this-command-line"  # the only word of such a command line
# What the program `taxi` calls the flow that it runs; None where `python -m` runs its module.
called: str | None = None


def run(function: Callable[..., Any], reads_files: bool = True) -> NoReturn:
    """Run a flow with the options of the command line, and exit.

    The exit code is 0 if it is done, 1 if it failed, 2 if it was misused, and that of the signal
    if it was interrupted. The result goes to standard output, for a person or, with `--json`, for
    a script; how it goes, to standard error.

    Args:
        function: What the flow does; the result is a dataclass, or has `as_dict()`. The flow has
            its module's name.
        reads_files: Whether the flow reads the months' files itself, and not workers elsewhere.
    """
    if sys.argv[1:] == [DESCRIBE]:
        raise Described(function)
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
        fail(error)
    result = state.result()
    if command.as_json:
        outcome = {"state": state.name, "message": state.message}
        print(json.dumps(outcome | (as_dict(result) if result else {})))
    else:
        print(state.message if result is None else result)
    sys.exit()


def call(app: App, words: Sequence[str]) -> NoReturn:
    """Have a command's function do what the words say, show what it returns, and exit.

    The exit codes are those of `run`.
    """
    try:
        result, as_json = app(words) or (None, False)
        if as_json:
            print(json.dumps(as_dict(result), default=in_json))
        elif result is not None:
            print(result)
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        fail(UsageError(shorten_error(error)))
    except PipelineError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # by `head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    sys.exit()


def fail(error: PipelineError) -> NoReturn:
    """Say what went wrong, and exit."""
    print(fill(f"error: {error}", sys.stderr), file=sys.stderr)
    sys.exit(2 if isinstance(error, UsageError) else 1)


def in_json(value: object) -> object:
    """A value of a type that JSON does not have."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def as_dict(result: Any) -> dict[str, Any]:
    """A command's result in types that JSON has, or nearly."""
    return dict(result.as_dict() if hasattr(result, "as_dict") else asdict(result))


def run_flow(module: str, command: Command) -> "State[Any]":
    """Run a module's flow; returns the state that it ends in.

    Raises:
        PipelineError: Prefect's server does not answer.
    """
    from flows.settings import ROOT

    parameters = command.parameters
    if "source" in parameters:
        parameters = parameters | {"source": command.request.source.absolute}
    os.chdir(ROOT)  # Prefect reads the settings in pyproject.toml from the folder that it starts in
    os.environ.setdefault("DO_NOT_TRACK", "1")  # as pyproject.toml has it for Prefect's server
    if not command.verbose:
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
        os.environ["PREFECT_SERVER_LOGGING_LEVEL"] = "CRITICAL"  # of the temporary one
    # Not at the top, nor is the flow: with Prefect, they take seconds to import.
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        get_current_settings,
        temporary_settings,
    )

    api_url = get_current_settings().api.url
    if not api_url:
        temporary_server.start()
    flow: Flow[..., Any] = getattr(import_module(module), module.rpartition(".")[2])
    from flows.progress import show_own_log

    if not command.verbose:
        show_own_log()
    observed: Any = flow.with_options(on_running=[interrupt.remember_run])
    if not api_url:
        temporary_server.wait()
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
    try:
        given: dict[str, Any] | None = app_of(function)(words)
    except cyclopts.CycloptsError as error:
        raise UsageError(shorten_error(error)) from None
    if given is None:  # the help text
        return None
    own = [given.pop(name, False) for name in ("as_json", "verbose", "plan")]
    # A flow without parameters lands a whole month; a person has a look first.
    if called == "taxi run" and given.keys().isdisjoint({"months", "source"}):
        given["source"] = SAMPLE
    # The flow resolves it again, on the day for which it is scheduled.
    return Command(given, Request.of(given, date.today()), *own)


def app_of(function: Callable[..., Any], name: str | None = None) -> App:
    """The command line of a flow; called with words, it returns the options that they give."""
    app = new_app(
        name or called or f"python -m {module_of(function)}",
        help=function.__doc__ if called else function.__globals__["__doc__"],
    )
    app.default(options_of(function))
    return app


def with_json(function: Callable[..., Any]) -> Callable[..., tuple[Any, bool]]:
    """A command's function, with the option `--json` if it returns anything that could be shown.

    It returns its result, and whether that is to be JSON.
    """

    def read(*words: Any, **given: Any) -> tuple[Any, bool]:
        as_json = given.pop("as_json", False)
        return function(*words, **given), as_json

    signature = inspect.signature(function, eval_str=True)
    own = [*inspect.signature(own_options).parameters.values()][:1]
    parameters = [*signature.parameters.values(), *(own if signature.return_annotation else [])]
    read.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    read.__doc__ = function.__doc__
    return read


def new_app(name: str, **options: Any) -> App:
    """A command line as all of this project's are: options on their own lines, errors raised."""
    return App(
        name,
        help_format="plaintext",
        help_formatter=Plain(),
        help_flags="--help",
        version_flags=[],
        default_parameter=Parameter(negative=()),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        **options,
    )


class Plain(PlainFormatter):
    """The help text, an option after the other, without a break inside a word."""

    def __call__(self, console: Any, options: Any, panel: Any) -> None:
        """Show one of its lists."""
        entries = [one for one in panel.entries if "--help" not in one.names]
        if not entries:
            return
        lines = [f"{panel.title}:"]
        unwrapped = Console(width=10_000, no_color=True, highlight=False)
        for entry in entries:
            with unwrapped.capture() as said:
                unwrapped.print(entry.description)
            text = f"{', '.join(entry.display_labels_with_metavar)}: {said.get()}"
            if entry.default not in (None, "False", "()"):
                text += f" [default: {entry.default}]"
            line = f"  {' '.join(text.split())}"
            lines += wrap(line, console.width, subsequent_indent=" " * 6, **WHOLE_WORDS)
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True, end="\n\n")

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        """Show what the command is for: commands in it stay as they are, paragraphs are filled."""
        for part in str(description.primary_renderable).strip().split("\n\n"):
            is_short = all(len(line) <= console.width for line in part.splitlines())
            filled = part if is_short else "\n".join(wrap(part, console.width, **WHOLE_WORDS))
            console.print(filled, highlight=False, markup=False, soft_wrap=True, end="\n\n")


def module_of(function: Callable[..., Any]) -> str:
    """The name of a function's module, which may be running as a program."""
    spec = function.__globals__["__spec__"]
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
    """A function with the same parameters, as options, which returns those that are given.

    The datasets may stand without `--datasets` before them. Those of the command line come last.
    """

    def read(*words: Any, **given: Any) -> dict[str, Any]:
        datasets = " ".join(words[0] if words else given.pop("datasets", ()))
        return given | ({"datasets": check_datasets(datasets)} if datasets else {})

    signature = inspect.signature(function)
    options = [one.replace(kind=one.KEYWORD_ONLY) for one in signature.parameters.values()]
    if "datasets" in signature.parameters:
        options = [one for one in options if one.name != "datasets"]
        options.insert(0, inspect.Parameter("datasets", POSITIONAL, default=(), annotation=Words))
    own = [*inspect.signature(own_options).parameters.values()]
    options += own if "months" in signature.parameters else own[:2]
    read.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    read.__doc__ = function.__doc__
    return read


POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
Words = Annotated[tuple[str, ...], Parameter(consume_multiple=True, show_default=False)]


def own_options(
    *,
    as_json: Annotated[bool, Parameter("--json", help="Print the result as JSON.")] = False,
    verbose: Annotated[
        bool, Parameter(("--verbose", "-v"), help="Show all of Prefect's log.")
    ] = False,
    plan: Annotated[
        bool,
        Parameter(help="Land nothing: show which months there are, new or changed, and how large."),
    ] = False,
) -> None:
    """Have these parameters."""
