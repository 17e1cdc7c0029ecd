"""Staged: what dbt's staging models make of rows that are not a month yet.

The rules of what is a value are dbt's macros, and only there. A new warehouse has nothing that dbt
has built, and dbt takes seconds to start, so the loader renders a staging model by itself.
"""

import csv
from functools import cache
from pathlib import Path

import jinja2

from flows.settings import ROOT

PROJECT = ROOT / "dbt_project"
RULES = [PROJECT / "macros" / name for name in ("values.sql", "typed_rows.sql")]
JINJA = jinja2.Environment(extensions=["jinja2.ext.do"])  # noqa: S701 (it makes SQL, not HTML)


@cache
def staged(model: str, rows: str = "") -> str:
    """The SQL of a staging model, as dbt would compile it.

    Args:
        model: The model's name; or that of a seed, whose SQL is its rows.
        rows: What the model reads in place of its source: a table's name or a query in brackets.
    """
    seed = PROJECT / "seeds" / f"{model}.csv"
    if seed.exists():
        return rows_of(seed)
    [path] = PROJECT.glob(f"models/**/{model}.sql")
    template = JINJA.from_string("".join(part.read_text() for part in (*RULES, path)))
    return template.render(source=lambda *_: rows, ref=lambda name: f"({staged(name)})")


def rows_of(seed: Path) -> str:
    """A seed's rows as a query; all of its columns are text."""
    with seed.open(newline="") as file:
        names, *rows = csv.reader(file)
    values = ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
    return f"select * from (values {values}) as seed ({', '.join(names)})"  # noqa: S608


def literal(value: str) -> str:
    """A text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"
