"""Report: a page that shows what the warehouse holds, and its tables as an artifact.

Plotly's JavaScript is in the page, so that it opens without a network.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.errors import RETRIES, PipelineError
from flows.models.state import table_of, trips_table
from flows.progress import ONLY_LOG, reporting
from flows.report.charts import COLOURS, WEEKDAYS, charts, theme
from flows.report.facts import Facts, read_facts
from flows.report.formatting import count, dollars, hour_of, names_of, part, percent
from flows.settings import DATA
from flows.warehouse.connection import address, connect, current_url

PAGE = DATA / "report.html"
# Columns of the tables; others are numbers.
OF_TEXT = {"Month", "Name", "Supplied by", "What is wrong", "What is done", "Fault"}


@task(name="report", task_run_name="report", cache_policy=NO_CACHE, **RETRIES)
def report() -> Path:
    """Draw what the warehouse holds on a page, its tables in an artifact; return the page's path.

    A page that is made of the same months by the same code stays as it is: years of months take
    seconds to sum up.
    """
    made_of = hash_of_what_it_is_made_of()
    if PAGE.exists() and made_of in PAGE.read_text(encoding="utf-8"):
        get_run_logger().info("report: %s is up to date", PAGE, extra=ONLY_LOG)
        return PAGE
    with connect() as connection:
        found = read_facts(connection)
    write(page(found, made_of))
    with reporting():
        create_markdown_artifact(
            markdown(found), key="report", description=f"The tables of the page {PAGE}"
        )
    get_run_logger().info("report: %s", PAGE, extra=ONLY_LOG)
    return PAGE


@dataclass(frozen=True)
class Drawn:
    """A page that is drawn."""

    report: Path

    def __str__(self) -> str:
        """For the terminal."""
        return f"Look at it:  {self.report}"


def draw() -> Drawn:
    """Draw the report of what is loaded and built, without a run.

    Raises:
        PipelineError: the warehouse does not answer, or nothing is built in it.
    """
    with connect(current_url()) as connection:
        if connection.exec_driver_sql("select to_regclass('trip_accounting') is null").scalar():
            raise PipelineError("nothing is built yet: `taxi run` loads a sample and builds")
        connection.rollback()
        found = read_facts(connection)
    write(page(found, hash_of_what_it_is_made_of()))
    return Drawn(PAGE)


def hash_of_what_it_is_made_of() -> str:
    """A hash of the warehouse's address, of its loads and models, and of this code."""
    with connect() as connection:
        built = connection.exec_driver_sql(
            "select string_agg(concat_ws(' ', relation, dataset, source_month, load_id), ','"
            " order by relation, dataset, source_month),"
            " (select project from bookkeeping.built_projects where trips_table = %s)"
            " from bookkeeping.built_months",
            (trips_table(),),
        ).one()
    digest = hashlib.sha256(f"{address(current_url())} {trips_table()} {built}".encode())
    for path in sorted(Path(__file__).parent.glob("*.*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write(content: str) -> None:
    """Replace the page, at once: nobody gets to see half of one."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="report-", dir=PAGE.parent) as folder:
        unfinished = Path(folder) / PAGE.name
        unfinished.write_text(content, encoding="utf-8")
        unfinished.rename(PAGE)


def page(found: list[Facts], made_of: str) -> str:
    """The page, as HTML: a part for each dataset that is there."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"count": count, "dollars": dollars, "percent": percent}
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}  # JavaScript reads no NaN
    return environment.get_template("page.html.j2").render(
        parts=[part_of(facts) for facts in found],
        title=title_of(found),
        written=datetime.now(UTC),
        made_of=made_of,
        of_text=OF_TEXT,
        plotly=get_plotlyjs(),
        charts={name: chart for facts in found for name, chart in charts(facts).items()},
        themes={name: theme(name) for name in COLOURS},
        outlines=json.loads((Path(__file__).parent / "zone_outlines.json").read_text()),
        maps={facts.dataset.name: map_of(facts) for facts in found if len(facts.zone_map)},
    )


def map_of(facts: Facts) -> dict[str, Any]:
    """The map's zones: their names, and at each end trips, revenue and tips, null if of none."""
    zones = facts.zone_map
    names = zones.drop_duplicates("location_id").set_index("location_id")
    measures = ["trips", "revenue", "card_tips"]  # in the order of the page's selector
    return {
        "names": {number: f"{row['title']}, {row['borough']}" for number, row in names.iterrows()},
        "values": {
            end: {
                row.location_id: [
                    None if pd.isna(row[name]) else round(float(row[name])) for name in measures
                ]
                for _, row in of_end.iterrows()
            }
            for end, of_end in zones.groupby("which_end")
        },
    }


def part_of(facts: Facts) -> dict[str, Any]:
    """What the page says of a dataset."""
    days, hours = facts.days, facts.hours.to_numpy()
    weekday, hour = divmod(int(hours.argmax()), hours.shape[1])
    return {
        "facts": facts,
        "dataset": facts.dataset,
        "totals": facts.totals,
        "table_name": table_of(facts.dataset),
        "months": names_of(facts.months),
        "busiest_day": None if days.empty else days.iloc[int(days["trips"].argmax())],
        "busiest_hour": f"{WEEKDAYS[weekday]}, {hour_of(hour)}",
        "most_in_an_hour": hours.max(),
        "accounting": accounting_table(facts),
        "calendar": calendar(facts),
        "zero_passengers": zero_passengers_table(facts),
        "faults": faults_table(facts),
    }


def title_of(found: list[Facts]) -> str:
    """What the page is about."""
    if len(found) == 1:
        return f"{found[0].dataset.title}, {names_of(found[0].months)}"
    return "New York's trips" if found else "New York's trips: no month yet"


def markdown(found: list[Facts]) -> str:
    """The tables for the artifact."""
    link = f"[The page with the charts]({PAGE.as_uri()})"
    return "\n\n".join([f"# {title_of(found)}", link, *map(markdown_of, found)])


def markdown_of(facts: Facts) -> str:
    """The tables of a dataset."""
    tables = {
        "Where trips begin": ranking_table(facts.zones, facts.totals["trips"]),
        "Where trips go": ranking_table(facts.zone_pairs, facts.totals["trips"]),
        "How they are paid": ranking_table(facts.payments, facts.totals["trips"]),
        "What became of the raw rows": accounting_table(facts),
        "Known faults": faults_table(facts),
    }
    if "ways of payment" in facts.missing:
        del tables["How they are paid"]
    return "\n\n".join(
        [
            f"## {facts.dataset.title}, {names_of(facts.months)}",
            *([f"**{facts.about_samples}**"] if facts.samples else []),
            *([f"Not in these files: {', '.join(facts.missing)}."] if facts.missing else []),
            *(f"### {title}\n\n{markdown_table(table)}" for title, table in tables.items()),
        ]
    )


def accounting_table(facts: Facts) -> pd.DataFrame:
    """What became of each month's raw rows, and of all, as text."""
    names = [f"{month:%B %Y}{' (sample)' * (month in facts.samples)}" for month in facts.months]
    counts = facts.accounting.drop(columns=["source_month", "is_sample", "warned_of"])
    counts.columns = pd.Index(
        ["Raw rows", "Trips", "Zero passengers", "Rejected", "Malformed lines", "Warnings"]
    )
    shown = pd.concat([counts, counts.sum().to_frame().T]).map(count)
    shown.insert(0, "Month", [*names, f"All months{' (with samples)' * bool(facts.samples)}"])
    return shown


def zero_passengers_table(facts: Facts) -> pd.DataFrame:
    """What the filter on 0 passengers leaves out, by who supplied the record, as text."""
    counts = facts.zero_passengers
    return pd.DataFrame(
        {
            "Supplied by": counts["title"],
            "Raw rows": counts["raw_rows"].map(count),
            "Zero passengers": counts["zero_passenger_trips"].map(count),
            "Share": [
                part(n, of, 2)
                for n, of in zip(counts["zero_passenger_trips"], counts["raw_rows"], strict=True)
            ],
        }
    )


def calendar(facts: Facts) -> dict[int, list[tuple[str, str]]]:
    """By year, the state of each month and its words: whole, sample, warned of or absent."""
    rows = {row["source_month"]: row for row in facts.accounting.to_dict("records")}
    states: dict[int, list[tuple[str, str]]] = {}
    for year in range(facts.months[0].year, facts.months[-1].year + 1):
        states[year] = []
        for month in (date(year, number, 1) for number in range(1, 13)):
            row = rows.get(month)
            if row is None:
                states[year].append(("absent", f"{month:%B %Y}: not loaded"))
                continue
            state = "warned" if row["warnings"] else "sample" if row["is_sample"] else "whole"
            words = f"{month:%B %Y}: {count(row['trips'])} trips"
            words += " (sample)" if row["is_sample"] else ""
            if row["warnings"]:
                words += f". Unlike the months before: {row['warned_of']}"
            states[year].append((state, words))
    return states


def faults_table(facts: Facts) -> pd.DataFrame:
    """How many trips have which known fault, and what is done about it, as text."""
    trips, faults = facts.totals["trips"], facts.faults
    return pd.DataFrame(
        {
            "What is wrong": faults["title"],
            "Trips": faults["trips"].map(count),
            "Share": [part(n, trips, 2) for n in faults["trips"]],
            "What is done": faults["what_is_done"],
            "Fault": faults["fault"],
        }
    )


def ranking_table(ranked: pd.DataFrame, all_trips: int) -> pd.DataFrame:
    """What `charts.ranking` draws, as text."""
    return pd.DataFrame(
        {
            "Name": ranked["title"],
            "Trips": ranked["trips"].map(count),
            "Share": [part(n, all_trips) for n in ranked["trips"]],
            "Revenue": ranked["revenue"].map(dollars),
        }
    )


def markdown_table(shown: pd.DataFrame) -> str:
    """A table of text as Markdown, which shows the text as it is."""

    def escaped(cell: str) -> str:
        return re.sub(r"([|_*`\[\]])", r"\\\1", escape(cell, quote=False))

    sides = ["left" if name in OF_TEXT else "right" for name in shown]
    return shown.map(escaped).to_markdown(index=False, disable_numparse=True, colalign=sides)
