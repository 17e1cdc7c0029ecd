"""What dbt says of a model or a test that failed, as one line for people."""

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from flows.errors import PipelineError, TransientError
from flows.settings import ROOT
from flows.warehouse.connection import TRANSIENT_MESSAGES, connect, server_of

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult

MOST_MONTHS = 12  # that a line names one by one
LONGEST_MESSAGE = 500  # characters of what dbt says of one node


def explain_node(node: "NodeResult") -> str:
    """What is wrong with a model or a test, in one line, and where its SQL is."""
    kind, name = str(node.node.resource_type), node.node.name
    compiled: str | None = getattr(node.node, "compiled_code", None)
    if kind != "test" or not node.failures or not compiled:  # a unit test shows the difference
        return f"{kind} {name}: {in_one_line(node.message)}"
    path = Path(getattr(node.node, "compiled_path", ""))
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    rows = "1 row" if node.failures == 1 else f"{node.failures:,} rows"
    return (
        f"test {name}: {rows} of {months_of_failing_rows(compiled)}. "
        f'See them with: make psql ARGS="-f {shown}"'
    )


def months_of_failing_rows(query: str) -> str:
    """The months of the rows that a test's query finds; if they have none, all that it reads."""
    months = "select distinct to_char(source_month, 'YYYY-MM') from"
    with connect() as connection, suppress(DBAPIError):
        as_it_is = connection.execution_options(no_parameters=True)  # it may have a %
        found = as_it_is.exec_driver_sql(f"{months} (\n{query}\n) as failing order by 1")
        return names_of([*found.scalars()]) or "all months"
    seen = sorted(set(re.findall(r"[ (]'(\d{4}-\d\d)-01'", query)))
    return names_of(seen) or "the months that are tested"


def names_of(months: list[str]) -> str:
    """Months in order, as 2021-01, so that a line has room for them."""
    if len(months) <= MOST_MONTHS:
        return ", ".join(months)
    return f"{len(months)} months from {months[0]} to {months[-1]}"


def failure(message: str) -> PipelineError:
    """What dbt reports, as an error that is worth a retry if PostgreSQL was away or locked."""
    return TransientError(message) if is_passing(message) else PipelineError(message)


def is_passing(message: str) -> bool:
    """Whether a message is of a server that may be back in a moment."""
    return any(word in message for word in TRANSIENT_MESSAGES)


def in_one_line(text: str | None) -> str:
    """What dbt reports, without its line breaks, and without the whole query of an error."""
    line = " ".join((text or "").split())
    line, _, path = line.partition(" compiled code at ")
    line, _, context = line.partition(" CONTEXT: ")
    message = line.partition(" QUERY: ")[0] + server_of(context)
    where = f", compiled code at {path}" if path else ""
    return f"{message[:LONGEST_MESSAGE]}{'…' * (len(message) > LONGEST_MESSAGE)}{where}"
