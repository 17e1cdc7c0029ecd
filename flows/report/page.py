"""Report: a page that shows what the warehouse holds, and its tables as an artifact.

All that the page shows is in it, so that it opens without a network.
"""

import hashlib
import json
import re
import socket
from contextlib import suppress
from datetime import UTC, date, datetime
from html import escape
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import httpx
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.settings import get_current_settings

from flows.errors import ONLY_LOG, RETRIES
from flows.models.state import table_of, trips_table
from flows.progress import reporting
from flows.report import PAGE, PATH
from flows.report.charts import HEIGHT, HeatMap, days_chart, heat_map
from flows.report.facts import Facts, read_facts
from flows.report.formatting import count, dollars, few, hour_of, part, percent
from flows.warehouse.connection import address, connect, current_url

# Columns of the tables; others are numbers.
OF_TEXT = {
    "dataset",
    "month",
    "Month",
    "Name",
    "Supplied by",
    "What is wrong",
    "What is done",
    "Fault",
}


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
    for path in sorted(Path(__file__).parent.rglob("*.*")):
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
    """The page, as HTML: a part for each dataset's months of one kind."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {
        "count": count,
        "dollars": dollars,
        "few": few,
        "hour": hour_of,
        "percent": percent,
    }
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}  # JavaScript reads no NaN
    return environment.get_template("page.html.j2").render(
        parts=[part_of(facts) for facts in found],
        title=title_of(found),
        written=datetime.now(UTC),
        made_of=made_of,
        of_text=OF_TEXT,
        calendars=calendars(found),
        height=HEIGHT,
        outlines=json.loads((Path(__file__).parent / "zone_outlines.json").read_text()),
        maps={facts.name: map_of(facts) for facts in found if has_map(facts)},
    )


def has_map(facts: Facts) -> bool:
    """Whether any of the trips has a zone, and it tells of its month."""
    return facts.tells_of_its_months and len(facts.zone_map) > 0


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
    """What the page says of a dataset's months of one kind."""
    figures, days = figures_of(facts), facts.days
    return {
        "facts": facts,
        "figures": figures,
        "table_name": table_of(facts.dataset),
        "busiest_day": None if days.empty else days.iloc[int(days["trips"].astype(float).argmax())],
        "busiest_hour": busiest_hour(figures["hours"]["drawn"]) if "hours" in figures else None,
    }


def figures_of(facts: Facts) -> dict[str, dict[str, Any]]:
    """The figures that have something to show: by name, the title, what is drawn, and the data."""
    trips, totals = facts.totals["trips"], "" if "totals" in facts.missing else " and revenue"
    figures: dict[str, tuple[str, Any]] = {}
    if facts.tells_of_its_months and trips:
        figures["days"] = f"Trips{totals} by day", days_chart(facts)
        if len(facts.hours):
            figures["hours"] = "Demand by hour and weekday", heat_map(facts)
        if len(facts.zones):
            figures["zones"] = "Where trips begin", ranking(facts.zones, trips)
        if len(facts.zone_pairs):
            figures["zone_pairs"] = "Where trips go", ranking(facts.zone_pairs, trips)
        if has_map(facts):
            figures["zone_map"] = "Map of the zones", None
        if len(facts.payments) and "ways of payment" not in facts.missing:
            figures["payments"] = "How they are paid", ranking(facts.payments, trips)
    figures["months"] = "What became of the raw rows", accounting_table(facts)
    if facts.zero_passengers["zero_passenger_trips"].sum():
        left_out = zero_passengers_table(facts)
        figures["zero_passengers"] = "What the filter on 0 passengers leaves out", left_out
    figures["faults"] = "Known faults", faults_table(facts)
    return {
        name: {
            "id": f"{facts.name}-{name}",
            "title": title,
            "drawn": drawn,
            "query": facts.query(name),
            "csv": as_link(facts.months_loaded if name == "months" else getattr(facts, name)),
        }
        for name, (title, drawn) in figures.items()
    }


def as_link(data: pd.DataFrame) -> str:
    """The rows as CSV, as a link that holds them."""
    return f"data:text/csv;charset=utf-8,{quote(data.to_csv(index=False), safe=',:;|()')}"


def busiest_hour(hours: HeatMap) -> str:
    """The weekday and hour with the most trips."""
    weekday, trips = max(hours.rows, key=lambda row: max(row[1]))
    return f"{weekday}, {hour_of(trips.index(max(trips)))}"


def ranking(ranked: pd.DataFrame, all_trips: int) -> list[dict[str, Any]]:
    """The rows of a ranking, each with its bar, as a share of the longest, and its words."""
    most = ranked["trips"].max()
    return [
        {
            "title": row["title"],
            "bar": float(row["trips"]) / float(most),
            "trips": count(row["trips"]),
            "share": part(row["trips"], all_trips),
            "revenue": None if pd.isna(row["revenue"]) else dollars(row["revenue"]),
        }
        for row in ranked.to_dict("records")
    ]


def title_of(found: list[Facts]) -> str:
    """What the page is about."""
    if len(found) == 1:
        return found[0].title
    return "New York's trips" if found else "New York's trips: no month yet"


def markdown(found: list[Facts]) -> str:
    """The tables for the artifact."""
    return "\n\n".join([f"# {title_of(found)}", link_to_page(), *map(markdown_of, found)])


def link_to_page() -> str:
    """What leads to the page, as Markdown: a link, if Prefect's server shows it, or else its path.

    Another machine's server does not show it, nor does one that is not `make serve`'s.
    """
    api = get_current_settings().api
    if api.url:
        auth = api.auth_string.get_secret_value().partition(":")[::2] if api.auth_string else None
        with suppress(httpx.HTTPError, FileNotFoundError):
            shown = httpx.get(f"{api.url.removesuffix('/api')}{PATH}", auth=auth, timeout=5)
            if shown.content == PAGE.read_bytes():
                return f"[The page with the charts]({PATH})"
    return f"The page with the charts is `{PAGE}` on {socket.gethostname()}."


def markdown_of(facts: Facts) -> str:
    """The tables of a dataset's months of one kind."""
    tables = {}
    if facts.tells_of_its_months:
        tables = {
            "Where trips begin": ranking_table(facts.zones, facts.totals["trips"]),
            "Where trips go": ranking_table(facts.zone_pairs, facts.totals["trips"]),
        }
        if "ways of payment" not in facts.missing:
            tables["How they are paid"] = ranking_table(facts.payments, facts.totals["trips"])
    tables["What became of the raw rows"] = accounting_table(facts)
    tables["Known faults"] = faults_table(facts)
    return "\n\n".join(
        [
            f"## {facts.title}",
            *([f"**This is {facts.about_the_sample}.**"] if facts.is_sample else []),
            *([f"Not in these files: {', '.join(facts.missing)}."] if facts.missing else []),
            *(f"### {title}\n\n{markdown_table(table)}" for title, table in tables.items()),
        ]
    )


def accounting_table(facts: Facts) -> pd.DataFrame:
    """What became of each month's raw rows, and of all, as text."""
    counts = facts.months_loaded.drop(columns=["source_month", "is_sample", "warned_of"])
    counts.columns = pd.Index(
        ["Raw rows", "Trips", "Zero passengers", "Rejected", "Malformed lines", "Warnings"]
    )
    names = [f"{month:%B %Y}" for month in facts.months]
    if len(names) > 1:
        counts = pd.concat([counts, counts.sum().to_frame().T])
        names.append("All months")
    shown = counts.map(count)
    shown.insert(0, "Month", names)
    return shown


def zero_passengers_table(facts: Facts) -> pd.DataFrame:
    """What the filter on 0 passengers leaves out, by who supplied the record, as text."""
    counts = facts.zero_passengers
    shares = [
        part(n, of, 2)
        for n, of in zip(counts["zero_passenger_trips"], counts["raw_rows"], strict=True)
    ]
    return pd.DataFrame(
        {
            "Supplied by": counts["title"],
            "Raw rows": counts["raw_rows"].map(count),
            "Zero passengers": counts["zero_passenger_trips"].map(count),
            **({"Share": shares} if facts.tells_of_its_months else {}),
        }
    )


def calendars(found: list[Facts]) -> dict[str, dict[int, list[tuple[str, str]]]]:
    """By dataset and year, the state of each month and its words: whole, sample, warned, absent."""
    return {
        dataset.title: calendar({m: facts for facts in of_it for m in facts.months})
        for dataset, of_it in groupby(found, key=lambda facts: facts.dataset)
    }


def calendar(loaded: dict[date, Facts]) -> dict[int, list[tuple[str, str]]]:
    """By year, the state of each month of a dataset and its words."""
    states: dict[int, list[tuple[str, str]]] = {}
    for year in range(min(loaded).year, max(loaded).year + 1):
        states[year] = []
        for month in (date(year, number, 1) for number in range(1, 13)):
            if month not in loaded:
                states[year].append(("absent", f"{month:%B %Y}: not loaded"))
                continue
            rows = loaded[month].months_loaded
            [row] = rows[rows["source_month"] == month].to_dict("records")
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
    shares = [part(n, trips, 2) for n in faults["trips"]]
    return pd.DataFrame(
        {
            "What is wrong": faults["title"],
            "Trips": faults["trips"].map(count),
            **({"Share": shares} if facts.tells_of_its_months else {}),
            "What is done": faults["what_is_done"],
            "Fault": faults["fault"],
        }
    )


def ranking_table(ranked: pd.DataFrame, all_trips: int) -> pd.DataFrame:
    """What `ranking` draws, as text."""
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
