"""Staged: what dbt's staging models make of rows that are not a month yet.

The rules of what is a value are dbt's macros, and nowhere else. A new warehouse has nothing that
dbt has built, and dbt takes seconds to start, so a staging model is rendered here as dbt does it.
"""

import csv
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import jinja2
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Identifier, Literal

from flows.settings import PROJECT
from flows.tlc.datasets import Dataset

RULES = [PROJECT / "macros" / name for name in ("values.sql", "typed_rows.sql")]
JINJA = jinja2.Environment(extensions=["jinja2.ext.do"])  # noqa: S701 (it makes SQL, not HTML)

FINDINGS = """
with staged as materialized (
    select
        rejection_reasons,
        date_trunc('month', pickup_datetime) as month,
        extract(day from pickup_datetime) as day,
        date_trunc('month', pickup_datetime) = {month} as is_own,
        extract(year from pickup_datetime) = extract(year from {month})
        and extract(day from pickup_datetime) = extract(month from {month}) as has_its_number
    from ({staging}) as staged
),

reasons as (
    select
        min(reason) as example,
        count(*) as rows
    from staged
    cross join unnest(string_to_array(rejection_reasons, '; ')) as reason
    where reason like '% is not %'
    group by split_part(reason, ' ', 1)
    order by rows desc, example
    limit 1
),

months as (
    select
        to_char(month, 'YYYY-MM') as month,
        count(*) as trips
    from staged
    where month is not null
    group by month
)

select
    count(*),
    count(rejection_reasons),
    (select example from reasons),
    (select rows from reasons),
    (select coalesce(jsonb_object_agg(month, trips), '{{}}') from months),
    count(*) filter (where is_own and day > 12),
    count(*) filter (where is_own and day <= 12 and not has_its_number),
    count(*) filter (where not is_own and has_its_number),
    count(distinct month) filter (where not is_own and has_its_number)
from staged
"""


@dataclass(frozen=True)
class Findings:
    """What a dataset's staging model makes of a file's rows, or of a sample of them."""

    rows: int
    rejected: int
    reason: str | None  # the commonest one, with a value
    rejected_for_it: int | None
    trips: dict[str, int]  # that begin in each month, as `2021-01`
    after_the_12th: int  # of the file's month
    until_the_12th: int  # of the file's month, but for the day that has the month's number
    turned: int  # in other months of the year, on the day that has the number of the file's month
    months_turned: int

    @property
    def rejected_share(self) -> float:
        """Divided, to be compared with what is allowed: 0.29 * 100 is less than 29."""
        return self.rejected / max(self.rows, 1)


def findings(
    cursor: Cursor,
    dataset: Dataset,
    month: date,
    fresh: Identifier,
    columns: list[str],
    percent: float,
) -> Findings:
    """Read the rows of a table by the rules of the dataset's staging model.

    Args:
        cursor: Of the transaction that has filled the table.
        dataset: The dataset that the rows are of.
        month: The month that they are to be.
        fresh: The table.
        columns: Those of the file.
        percent: How much of the table's pages to read.
    """
    missing = [
        SQL("null::text as {}").format(Identifier(name))
        for name in dataset.columns
        if name not in columns
    ]
    rows = SQL("(select {} from {} as file tablesample system ({}) repeatable (1))").format(
        SQL(", ").join([SQL("file.*"), *missing]), fresh, Literal(percent)
    )
    staging = staged(f"stg_tlc__{dataset.name}_trips", rows.as_string(cursor))
    cursor.execute(
        SQL(FINDINGS).format(month=SQL("{}::date").format(Literal(month)), staging=SQL(staging))
    )
    [found] = cursor.fetchall()
    return Findings(*found)


@cache
def staged(model: str, rows: str = "") -> str:
    """The SQL of a staging model, as dbt would compile it.

    Args:
        model: The model's name; or that of a seed, whose SQL is its rows.
        rows: What the model reads in place of its source: a table's name, or a query in brackets.
    """
    seed = PROJECT / "seeds" / f"{model}.csv"
    if seed.exists():
        return rows_of(seed)
    [path] = PROJECT.glob(f"models/staging/*/{model}.sql")
    return template_of(path).render(source=lambda *_: rows, ref=lambda name: f"({staged(name)})")


@cache
def is_nothing(text: str) -> SQL:
    """A condition: whether a text stands in the place of a value that is not there, as dbt sees it.

    Args:
        text: The text's expression in SQL.
    """
    return SQL(template_of().module.is_nothing(text))  # type: ignore[attr-defined]


@cache
def template_of(*models: Path) -> jinja2.Template:
    """The rules, and after them models; compiled once, which takes longer than any rendering."""
    return JINJA.from_string("".join(part.read_text() for part in (*RULES, *models)))


def rows_of(seed: Path) -> str:
    """A seed's rows as a query; all of its columns are text."""
    with seed.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    values = ", ".join(f"({', '.join(map(quoted, row))})" for row in rows)
    return f"select * from (values {values}) as seed ({', '.join(names)})"  # noqa: S608


def quoted(value: str) -> str:
    """A text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"
