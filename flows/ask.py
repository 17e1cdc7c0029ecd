"""Ask: the questions in `dbt_project/analyses`, answered by the warehouse.

dbt takes seconds to compile one, and nothing in them needs it: a table's name is that of its model,
and a metric's SQL is its definition's.
"""

import csv
import io
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import psycopg2
import yaml
from cyclopts import Parameter
from jinja2 import Environment, StrictUndefined
from psycopg2.errors import UndefinedTable
from psycopg2.sql import SQL, Identifier

from flows.errors import PipelineError, UsageError, first_line, shorten
from flows.settings import PROJECT
from flows.warehouse.connection import connect, current_url, driver_of, explained

QUESTIONS = PROJECT / "analyses"
METRICS = PROJECT / "models" / "marts" / "trips" / "trips.yml"
NUMBERS = {20, 21, 23, 26, 700, 701, 790, 1700}  # types that psql aligns to the right


@dataclass(frozen=True)
class Answer:
    """The rows that answer a question."""

    question: str
    columns: list[str]
    rows: list[dict[str, Any]]  # for JSON
    texts: list[tuple[str, ...]]  # the same as PostgreSQL writes them
    are_numbers: list[bool]
    as_csv: bool = False

    def __str__(self) -> str:
        """As a table of psql's, or as CSV."""
        if self.as_csv:
            written = io.StringIO()
            csv.writer(written, lineterminator="\n").writerows([self.columns, *self.texts])
            return written.getvalue().rstrip("\n")
        widths = [max(map(len, column)) for column in zip(self.columns, *self.texts, strict=True)]
        table = list(zip(self.are_numbers, widths, strict=True))
        lines = [
            " | ".join(map(str.center, self.columns, widths)),
            "-+-".join("-" * width for width in widths),
            *(
                " | ".join(
                    text.rjust(width) if is_number else text.ljust(width)
                    for text, (is_number, width) in zip(row, table, strict=True)
                )
                for row in self.texts
            ),
        ]
        lines[1] = f"-{lines[1]}-"
        count = f"({len(self.rows)} row{'s' * (len(self.rows) != 1)})"
        shown = [line if line[0] == "-" else f" {line}".rstrip() for line in lines]
        return "\n".join([*shown, count])

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {"question": self.question, "rows": self.rows}


@dataclass(frozen=True)
class Questions:
    """What can be asked: each question's name, and what it is in words."""

    questions: dict[str, str]

    def __str__(self) -> str:
        """For the terminal."""
        lines = (f"{name}\n    {words}" for name, words in self.questions.items())
        return "\n".join([*lines, "", "`taxi ask NAME` answers one of them."])


def ask(
    name: str | None = None, /, *, as_csv: Annotated[bool, Parameter("--csv")] = False
) -> Answer | Questions:
    """Answer one of the questions in dbt_project/analyses; without a name, list them.

    Args:
        name: As in the list, such as airport_trips.
        as_csv: Show the answer as CSV.

    Raises:
        UsageError: there is no such question.
        PipelineError: the warehouse does not answer, or its tables are not built.
    """
    asked = {path.stem: path for path in sorted(QUESTIONS.glob("*.sql"))}
    if name is None:
        return Questions({stem: in_words(path.read_text()) for stem, path in asked.items()})
    stem = name.removesuffix(".sql")
    if stem not in asked:
        raise UsageError(f"{shorten(name)!r} is not a question. `taxi ask` lists them")
    text = asked[stem].read_text()
    return answer(in_words(text), rendered(text), as_csv)


def in_words(text: str) -> str:
    """The question in words: the first sentence of the comment that its SQL begins with."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    comment = " ".join(lines)
    return comment[: comment.find("?") + 1] or comment


def rendered(text: str) -> str:
    """A question's SQL, as dbt compiles it."""
    environment = Environment(undefined=StrictUndefined, extensions=["jinja2.ext.do"])  # noqa: S701
    macros = (PROJECT / "macros" / "metric.sql").read_text()
    return environment.from_string(macros + text).render(
        ref=lambda name: f"public.{name}",
        execute=True,
        project_name="nyc_taxi",
        graph={"metrics": metrics()},
    )


@cache
def metrics() -> dict[str, Any]:
    """The metrics as dbt has them in its graph, as far as the macro `metric` looks."""
    [model] = (
        model for model in yaml.safe_load(METRICS.read_text())["models"] if model["name"] == "trips"
    )
    return {
        f"metric.nyc_taxi.{one['name']}": {
            "type": one["type"],
            "config": one["config"],
            "type_params": {
                "expr": one.get("expr"),
                "metric_aggregation_params": {"agg": one.get("agg")},
                "numerator": {"name": one.get("numerator")},
                "denominator": {"name": one.get("denominator")},
            },
        }
        for one in model["metrics"]
    }


def answer(question: str, statement: str, as_csv: bool) -> Answer:
    """Run a question's SQL, which writes nothing.

    Raises:
        PipelineError: the warehouse does not answer, or its tables are not built.
    """
    with connect(current_url()) as connection:
        driver = driver_of(connection)
        driver.set_session(readonly=True)
        asked = SQL("from (\n{}\n) as answer").format(SQL(statement))
        try:
            with driver, driver.cursor() as cursor:
                cursor.execute(SQL("select answer.* {} limit 0").format(asked))
                described = cursor.description or ()
                texts = SQL(", ").join(
                    SQL("answer.{}::text").format(Identifier(column.name)) for column in described
                )
                cursor.execute(SQL("select row_to_json(answer), {} {}").format(texts, asked))
                rows = cursor.fetchall()
        except UndefinedTable as error:
            raise PipelineError(
                f"{first_line(error)}: nothing is built yet, or not by this version. "
                "`taxi build` builds what is loaded, `taxi run` loads a sample"
            ) from None
        except psycopg2.Error as error:
            raise explained(error) from None
    return Answer(
        question,
        [column.name for column in described],
        [row[0] for row in rows],
        [tuple(" ".join((text or "").split("\n")) for text in row[1:]) for row in rows],
        [column.type_code in NUMBERS for column in described],
        as_csv,
    )
