"""The command line of a flow: its parameters, as the UI's form shows them, are the options."""

import argparse
import inspect
import json
import sys

from prefect import Flow

from flows.errors import UsageError


def run(flow: Flow, module: str) -> None:
    """Run a flow with the options of the command line, and exit: 0 done, 1 failed, 2 misused.

    The result goes to standard output, as a person or, with `--json`, a script reads it; logs go
    to standard error.

    Args:
        flow: A flow whose result has `as_dict()`.
        module: What follows `python -m` in the help text.
    """
    arguments = vars(parser_of(flow, module).parse_args())
    as_json = arguments.pop("json")
    try:
        state = flow(**arguments, return_state=True)
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        sys.exit(f"error: {error} Start it, or take PREFECT_API_URL out of your settings")
    result = state.result(raise_on_failure=False)
    if not state.is_completed():
        print(f"error: {result}", file=sys.stderr)
        sys.exit(2 if isinstance(result, UsageError) else 1)
    if as_json:
        said = {"state": state.name, "message": state.message}
        print(json.dumps(said | (result.as_dict() if result else {})))
    else:
        print(result or state.message)


def parser_of(flow: Flow, module: str) -> argparse.ArgumentParser:
    """An option for each of the flow's parameters, with the help text of its docstring."""
    parser = argparse.ArgumentParser(
        f"python -m {module}",
        description=inspect.getdoc(sys.modules[flow.fn.__module__]),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    for name, parameter in flow.parameters.properties.items():
        option, about = f"--{name.replace('_', '-')}", parameter["description"].replace("%", "%%")
        default = parameter.get("default")
        if default is False:
            parser.add_argument(option, action="store_true", help=about)
        else:
            parser.add_argument(
                option,
                type=type(default) if default is not None else str,
                default=default,
                required=name in flow.parameters.required,
                help=about if default is None else f"{about}\ndefault: {default}",
            )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser
