"""Report: a page that shows what the warehouse holds, and the same facts as an artifact.

Plotly draws the charts, for its tooltips and because it can follow the reader's light or dark
theme. Its JavaScript is in the page, so that this opens without a network; packed with gzip, that
is 2 MB instead of 5.
"""

import base64
import gzip
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from sqlalchemy import Connection, column, func, select, table, text

from flows.progress import ONLY_LOG, reporting
from flows.settings import ROOT
from flows.warehouse import connect

PAGE = ROOT / "data" / "report.html"
TEMPLATE = Path(__file__).with_name("page.html")

ACCOUNTING = text(
    "select source_month, raw_rows, trips, zero_passenger_trips, rejected_trips, malformed_lines"
    " from trip_accounting order by source_month"
)
TOTALS = text(
    "select coalesce(sum(trips), 0) as trips, coalesce(sum(revenue), 0) as revenue,"
    " sum(fares) / nullif(sum(trips), 0) as average_fare,"
    " sum(card_tips) / nullif(sum(card_fares), 0) as tip_rate from daily_trips"
)
# Not in pandas: a file may hold days that Python has no date for.
DAYS = text(
    "select day, sum(trips)::bigint as trips, coalesce(sum(revenue), 0) as revenue from daily_trips"
    " where date_trunc('month', day::timestamp) in (select source_month from trip_accounting)"
    " group by day order by day"
)
HOURS = text(
    "select weekday, hour_of_day, sum(trips)::bigint as trips from hourly_demand"
    " where weekday is not null group by weekday, hour_of_day order by weekday, hour_of_day"
)
# Zones that TLC does not know either are called NV and NA, which says nothing to a reader.
NAMED_ZONES = (
    "with zones as ("
    " select location_id,"
    " case when borough = 'Unknown' then 'Unknown (' || zone || ')' else zone end as name"
    " from taxi_zones)"
)
ZONES = text(
    f"{NAMED_ZONES}"  # noqa: S608
    " select coalesce(zones.name, 'Zone ' || pairs.pickup_location_id, 'Not recorded') as name,"
    " sum(pairs.trips)::bigint as trips, sum(pairs.revenue) as revenue"
    " from zone_pairs as pairs"
    " left join zones on pairs.pickup_location_id = zones.location_id"
    " group by pairs.pickup_location_id, zones.name"
    " order by trips desc, pairs.pickup_location_id limit 10"
)
ZONE_PAIRS = text(
    f"{NAMED_ZONES}"  # noqa: S608
    " select coalesce(pickups.name, 'Zone ' || pairs.pickup_location_id, 'Not recorded') || ' → '"
    " || coalesce(dropoffs.name, 'Zone ' || pairs.dropoff_location_id, 'Not recorded') as name,"
    " sum(pairs.trips)::bigint as trips, sum(pairs.revenue) as revenue"
    " from zone_pairs as pairs"
    " left join zones as pickups on pairs.pickup_location_id = pickups.location_id"
    " left join zones as dropoffs on pairs.dropoff_location_id = dropoffs.location_id"
    " group by pairs.pickup_location_id, pairs.dropoff_location_id, pickups.name, dropoffs.name"
    " order by trips desc, pairs.pickup_location_id, pairs.dropoff_location_id limit 10"
)
PAYMENTS = text(
    "select coalesce(types.payment_type, 'Code ' || mix.payment_type_id, 'Not recorded') as name,"
    " sum(mix.trips)::bigint as trips, sum(mix.revenue) as revenue"
    " from payment_mix as mix"
    " left join payment_types as types on mix.payment_type_id = types.payment_type_id"
    " group by mix.payment_type_id, types.payment_type order by trips desc"
)
FLAGS = {
    "is_dropoff_before_pickup": "The dropoff is before the pickup",
    "is_fare_without_distance": "A fare, but no distance",
    "has_negative_amount": "An amount below zero, as in refunds and disputes",
    "is_outside_source_month": "The pickup is in another month than the file",
}
WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
LONGEST_LABEL = 46  # characters that fit on a phone
ROOM_FOR_BARS = 0.66  # of a chart's width; the rest is for the number behind the longest bar

# What the charts look like, apart from what they show. The page takes one of them.
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
COLOURS = {
    "light": {
        "text": "#3d4147",
        "grid": "#e6e4de",
        "surface": "#ffffff",
        "trips": "#d99a00",
        "revenue": "#3b7d8c",
        "scale": ["#fdf6e1", "#f7d779", "#e3a008", "#a86400", "#5c3100"],
    },
    "dark": {
        "text": "#c9c7c0",
        "grid": "#35373b",
        "surface": "#1f2124",
        "trips": "#f0b429",
        "revenue": "#6fb5c4",
        "scale": ["#2a2a28", "#5a4514", "#97700f", "#d9a11a", "#ffe08a"],
    },
}


@dataclass(frozen=True)
class Facts:
    """What the page shows. Money is in dollars; a share is a number from 0 to 1.

    Whatever has the column `name` has `trips` and `revenue` as well, the most trips first.
    """

    accounting: pd.DataFrame  # a row a month; the columns of the model trip_accounting
    totals: pd.Series  # trips, revenue, average_fare, tip_rate: of all months
    days: pd.DataFrame  # a row for each day of the loaded months: day, trips, revenue
    hours: pd.DataFrame  # a row a weekday, a column an hour: trips on an average such day
    zones: pd.DataFrame  # by zone of the pickup
    zone_pairs: pd.DataFrame
    payments: pd.DataFrame
    flags: pd.Series  # trips by name of the flag

    @property
    def months(self) -> list[date]:
        """The months that are loaded."""
        return list(self.accounting["source_month"])

    @property
    def trips_outside(self) -> int:
        """Trips whose pickup is in none of the loaded months."""
        return int(self.totals["trips"] - self.days["trips"].sum())


@task(name="report", task_run_name="report", cache_policy=NO_CACHE)
def report(table_name: str) -> Path:
    """Draw what the warehouse holds on a page, and say it in an artifact; return the page's path.

    Args:
        table_name: What the analysts' table of trips is called.
    """
    with connect() as connection:
        facts = read_facts(connection, table_name)
    write(page(facts))
    with reporting():
        create_markdown_artifact(
            markdown(facts), key="report", description=f"What {PAGE} shows, in words and numbers"
        )
    get_run_logger().info("report: %s", PAGE, extra=ONLY_LOG)
    return PAGE


def read_facts(connection: Connection, table_name: str) -> Facts:
    """Read what the page shows, all of it as of one moment."""
    # Else another run could change a month between two of the queries.
    connection = connection.execution_options(isolation_level="REPEATABLE READ")
    accounting = pd.read_sql(ACCOUNTING, connection)
    days = pd.read_sql(DAYS, connection)
    counts = [func.count().filter(column(flag)).label(flag) for flag in FLAGS]
    flags = pd.read_sql(select(*counts).select_from(table(table_name)), connection)
    return Facts(
        accounting,
        pd.read_sql(TOTALS, connection).iloc[0],
        days,
        on_an_average_day(pd.read_sql(HOURS, connection), days),
        pd.read_sql(ZONES, connection),
        pd.read_sql(ZONE_PAIRS, connection),
        pd.read_sql(PAYMENTS, connection),
        flags.iloc[0],
    )


def on_an_average_day(hours: pd.DataFrame, days: pd.DataFrame) -> pd.DataFrame:
    """Trips by weekday and hour, for one day of each weekday.

    Sums would compare the five Mondays of a month with its four Tuesdays.
    """
    weekdays = range(1, 8)
    trips = hours.pivot_table(
        index="weekday", columns="hour_of_day", values="trips", aggfunc="sum"
    ).reindex(index=weekdays, columns=range(24))
    how_many = days["day"].map(date.isoweekday).value_counts().reindex(weekdays)
    return trips.fillna(0).div(how_many, axis=0).fillna(0)


def write(content: str) -> None:
    """Replace the page, at once: nobody gets to see half of one."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="report-", dir=PAGE.parent) as folder:
        unfinished = Path(folder) / PAGE.name
        unfinished.write_text(content, encoding="utf-8")
        unfinished.rename(PAGE)


def page(facts: Facts) -> str:
    """The page, as HTML."""
    totals = facts.totals
    values = {
        "months": escape(names_of(facts.months)),
        "written": f"{datetime.now(UTC):%-d %B %Y, %H:%M} UTC",
        "trips": count(totals["trips"]),
        "raw_rows": count(facts.accounting["raw_rows"].sum()),
        "revenue": dollars(totals["revenue"]),
        "average_fare": dollars(totals["average_fare"], 2),
        "tip_rate": percent(totals["tip_rate"]),
        "about_days": escape(about_days(facts)),
        "about_hours": escape(about_hours(facts)),
        "about_payments": escape(about_payments(facts)),
        "accounting": html_table(accounting_table(facts)),
        "flags": html_table(flags_table(facts)),
        "plotly": packed(get_plotlyjs()),
        "charts": json_in_html(
            {
                "days": drawn(days_chart(facts)),
                "hours": drawn(hours_chart(facts)),
                "zones": drawn(ranking(facts.zones, facts.totals["trips"])),
                "zone_pairs": drawn(ranking(facts.zone_pairs, facts.totals["trips"])),
                "payments": drawn(ranking(facts.payments, facts.totals["trips"])),
            }
            if totals["trips"]
            else {}
        ),
        "themes": json_in_html({name: theme(name).to_plotly_json() for name in COLOURS}),
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def markdown(facts: Facts) -> str:
    """The facts for the artifact: what the page shows, but for the days and hours one by one."""
    totals = facts.totals
    rankings = {
        "Where trips begin": facts.zones,
        "Where trips go": facts.zone_pairs,
        "How they are paid": facts.payments,
    }
    parts = [
        f"# Yellow-taxi trips, {names_of(facts.months)}",
        f"**{count(totals['trips'])}** trips, **{dollars(totals['revenue'])}** of revenue, "
        f"**{dollars(totals['average_fare'], 2)}** the average fare, "
        f"**{percent(totals['tip_rate'])}** the tip rate.",
        "## Trips and revenue by day",
        about_days(facts),
        "## Demand by hour and weekday",
        about_hours(facts),
    ]
    for title, ranked in rankings.items():
        parts += [f"## {title}", markdown_table(ranking_table(ranked, totals["trips"]))]
    parts += ["## What became of the raw rows", markdown_table(accounting_table(facts))]
    parts += ["## Implausible trips", markdown_table(flags_table(facts))]
    return "\n\n".join(parts) + "\n"


# In words and numbers


def about_days(facts: Facts) -> str:
    """The day with the most trips, and how many trips are on none of the days shown."""
    outside = f"{count(facts.trips_outside)} trips lie outside these months and are not shown."
    if facts.days.empty:
        return f"No trips in these months. {outside}"
    busiest = facts.days.loc[facts.days["trips"].idxmax()]
    return (
        f"The busiest day was {busiest['day']:%A, %-d %B %Y}: {count(busiest['trips'])} trips, "
        f"{dollars(busiest['revenue'])}. {outside}"
    )


def about_hours(facts: Facts) -> str:
    """The weekday and hour with the most trips."""
    if not facts.hours.to_numpy().any():
        return "No trips in these months."
    weekday, hour = facts.hours.stack().idxmax()
    trips = facts.hours.loc[weekday, hour]
    return (
        f"Pickups in each hour of an average week. The busiest is {WEEKDAYS[weekday - 1]}, "
        f"{hour_of(hour)}, with {count(trips)} trips."
    )


def about_payments(facts: Facts) -> str:
    """How trips are paid for most often."""
    if facts.payments.empty:
        return "No trips."
    first = facts.payments.iloc[0]
    return (
        f"{first['name']} leads, with {percent(first['trips'] / facts.totals['trips'])} of the "
        "trips. TLC does not record tips in cash."
    )


def accounting_table(facts: Facts) -> pd.DataFrame:
    """What became of each month's raw rows, and of all, as text."""
    counts = facts.accounting.drop(columns="source_month")
    counts.columns = ["Raw rows", "Trips", "Zero passengers", "Rejected", "Malformed lines"]
    shown = pd.concat([counts, counts.sum().to_frame().T]).map(count)
    shown.insert(0, "Month", [*(f"{month:%B %Y}" for month in facts.months), "All months"])
    return shown


def flags_table(facts: Facts) -> pd.DataFrame:
    """How many trips are implausible, and in what way, as text."""
    trips = facts.totals["trips"]
    return pd.DataFrame(
        {
            "What is wrong": list(FLAGS.values()),
            "Trips": [count(facts.flags[flag]) for flag in FLAGS],
            "Share": [percent(share(facts.flags[flag], trips), 2) for flag in FLAGS],
            "Flag": list(FLAGS),
        }
    )


def ranking_table(ranked: pd.DataFrame, all_trips: int) -> pd.DataFrame:
    """What `ranking` draws, as text."""
    return pd.DataFrame(
        {
            "Name": ranked["name"],
            "Trips": ranked["trips"].map(count),
            "Share": [percent(share(trips, all_trips)) for trips in ranked["trips"]],
            "Revenue": ranked["revenue"].map(dollars),
        }
    )


def html_table(shown: pd.DataFrame) -> str:
    """A table of text as HTML; the style sheet sets numbers to the right."""
    rows = [
        "".join(f'<td class="{kind_of(name)}">{escape(cell)}</td>' for name, cell in row.items())
        for row in shown.to_dict("records")
    ]
    head = "".join(f'<th class="{kind_of(name)}">{escape(name)}</th>' for name in shown)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def markdown_table(shown: pd.DataFrame) -> str:
    """A table of text as Markdown."""
    lines = [
        list(shown),
        ["---:" if kind_of(name) == "number" else "---" for name in shown],
        *([markdown_text(cell) for cell in row] for row in shown.itertuples(index=False)),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def kind_of(name: str) -> str:
    """How a column of the tables is set: as `text`, to the left, or as a `number`."""
    known = {"Month": "text", "Name": "text", "Flag": "code", "What is wrong": "text"}
    return known.get(name, "number")


def markdown_text(cell: str) -> str:
    """Text that Markdown shows as it is, in a table as well."""
    return escape(cell, quote=False).replace("|", "\\|").replace("_", "\\_").replace("*", "\\*")


# Charts


def theme(name: str) -> go.layout.Template:
    """What all charts have in common, in light or in dark."""
    colours = COLOURS[name]
    axis = {
        "gridcolor": colours["grid"],
        "linecolor": colours["grid"],
        "zeroline": False,
        "fixedrange": True,  # dragging a finger over a chart scrolls the page
        "automargin": True,
        "ticklabelstandoff": 6,
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": colours["text"]},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": [colours["trips"], colours["revenue"]],
            "colorscale": {"sequential": colours["scale"]},
            "coloraxis": {"colorbar": {"outlinewidth": 0}},
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {
                "bgcolor": colours["surface"],
                "bordercolor": colours["grid"],
                "font": {"family": FONT, "size": 13, "color": colours["text"]},
                "align": "left",
            },
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "dragmode": False,
            "showlegend": False,
        }
    )


def days_chart(facts: Facts) -> go.Figure:
    """Trips above revenue, a bar a day.

    Months that are not loaded take no room: a dotted line stands where they would be.
    """
    figure = make_subplots(
        rows=2, shared_xaxes=True, vertical_spacing=0.14, subplot_titles=["Trips", "Revenue"]
    )
    days = facts.days
    told = [
        f"<b>{day:%a, %-d %B %Y}</b><br>{count(trips)} trips<br>{dollars(revenue)}"
        for day, trips, revenue in days.itertuples(index=False)
    ]
    for row, name in enumerate(["trips", "revenue"], start=1):
        bars = go.Bar(
            x=days["day"].map(date.isoformat).tolist(),
            y=days[name].tolist(),
            hovertext=told,
            hoverinfo="text",
            width=0.8 * timedelta(days=1).total_seconds() * 1_000,
        )
        figure.add_trace(bars, row=row, col=1)
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    runs = runs_of(facts.months)
    marked = marked_days(facts.months)
    noon = timedelta(hours=12)
    midnight = datetime.min.time()
    figure.update_xaxes(
        type="date",
        range=[
            str(datetime.combine(runs[0][0], midnight) - noon),
            str(datetime.combine(month_after(runs[-1][1]), midnight) - noon),
        ],
        rangebreaks=[
            {"bounds": [str(month_after(before[1])), str(after[0])]}
            for before, after in pairwise(runs)
        ],
        showgrid=False,
        tickvals=[str(day) for day in marked],
        ticktext=[f"{day:%-d %b}<br>{day:%Y}" for day in marked],
        tickangle=0,
    )
    for first, _ in runs[1:]:
        left_out = str(datetime.combine(first, midnight) - noon)
        figure.add_vline(left_out, line={"color": "#8b8a85", "width": 1, "dash": "dot"})
    figure.update_yaxes(rangemode="tozero", nticks=5, tickformat="~s")
    figure.update_yaxes(tickprefix="$", row=2)
    # "x": the day above the pointer, even if its bar is thinner than a pixel.
    return figure.update_layout(height=420, margin_t=28, hovermode="x")


def marked_days(months: list[date]) -> list[date]:
    """The days that are named below the chart: few enough for a phone."""
    if len(months) <= 2:
        return [month.replace(day=day) for month in months for day in (1, 15)]
    return months[:: -(-len(months) // 6)]


def hours_chart(facts: Facts) -> go.Figure:
    """A heat map: a row a weekday, a column an hour."""
    told = [
        [
            f"<b>{WEEKDAYS[weekday - 1]}, {hour_of(hour)}</b><br>{count(trips)} trips"
            for hour, trips in row.items()
        ]
        for weekday, row in facts.hours.iterrows()
    ]
    heat_map = go.Heatmap(
        z=facts.hours.to_numpy().tolist(),
        x=list(facts.hours),
        y=WEEKDAYS,
        hovertext=told,
        hoverinfo="text",
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
    )
    figure = go.Figure(heat_map)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    figure.update_xaxes(
        tickvals=list(range(0, 24, 4)),
        ticktext=[f"{hour:02}:00" for hour in range(0, 24, 4)],
        tickangle=0,
        showgrid=False,
    )
    bar = {"orientation": "h", "y": -0.14, "yanchor": "top", "thickness": 8, "len": 0.6}
    bar |= {"x": 0, "xanchor": "left", "title": {"text": "Trips in an hour", "side": "bottom"}}
    bar["title"]["font"] = {"size": 13}
    bar |= {"nticks": 5, "tickformat": "~s", "ticklabeloverflow": "allow"}
    return figure.update_layout(height=340, coloraxis={"cmin": 0, "colorbar": bar})


def ranking(ranked: pd.DataFrame, all_trips: int) -> go.Figure:
    """A bar a row, below its name: however narrow the page is, names have all of its width."""
    names, trips = ranked["name"].tolist(), ranked["trips"].tolist()
    rows = list(range(len(ranked)))
    told = [
        f"<b>{escape(name)}</b><br>{count(n)} trips, {percent(share(n, all_trips))} of all"
        f"<br>{dollars(revenue)}"
        for name, n, revenue in ranked.itertuples(index=False)
    ]
    bars = go.Bar(
        x=trips,
        y=rows,
        width=0.3,
        offset=0.12,
        orientation="h",
        text=[f"{count(n)} · {percent(share(n, all_trips))}" for n in trips],
        textposition="outside",
        cliponaxis=False,
        hovertext=told,
        hoverinfo="text",
    )
    labels = go.Scatter(
        x=[0] * len(rows),
        y=[row - 0.12 for row in rows],
        text=[escape(shortened(name)) for name in names],
        mode="text",
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure = go.Figure([bars, labels])
    figure.update_xaxes(visible=False, range=[0, max(trips) / ROOM_FOR_BARS])
    figure.update_yaxes(visible=False, range=[len(rows) - 0.4, -0.5])
    return figure.update_layout(height=46 * len(rows) + 16, margin_l=0, margin_r=0)


def drawn(figure: go.Figure) -> dict:
    """A chart for the page, which adds the theme."""
    chart = figure.to_plotly_json()
    chart["layout"].pop("template", None)
    return chart


# Months, numbers, text


def runs_of(months: list[date]) -> list[tuple[date, date]]:
    """The first and last month of each run of months, in order, without a gap."""
    runs = []
    for month in months:
        if runs and month_after(runs[-1][1]) == month:
            runs[-1] = (runs[-1][0], month)
        else:
            runs.append((month, month))
    return runs


def month_after(month: date) -> date:
    """The first day of the month after that of a first day."""
    return (month + timedelta(days=31)).replace(day=1)


def names_of(months: list[date]) -> str:
    """Months as people write them."""
    runs = [
        f"{first:%B %Y}" if first == last else f"{first:%B %Y} to {last:%B %Y}"
        for first, last in runs_of(months)
    ]
    return ", ".join(runs) or "no month yet"


def hour_of(hour: int) -> str:
    """An hour of the day, as its begin and end."""
    return f"{hour:02}:00 to {(hour + 1) % 24:02}:00"


def share(part: float, whole: float) -> float | None:
    """A part of a whole, from 0 to 1; None of nothing."""
    return part / whole if whole else None


def count(number: float) -> str:
    """A count, for people."""
    return f"{number:,.0f}"


def dollars(amount: float | None, digits: int = 0) -> str:
    """An amount of money, for people."""
    if pd.isna(amount):
        return "n/a"
    return f"{'-' if amount < 0 else ''}${abs(amount):,.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share from 0 to 1, for people."""
    return "n/a" if pd.isna(share) else f"{share:.{digits}%}"


def shortened(name: str) -> str:
    """A name that fits on a phone."""
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"


def packed(script: str) -> str:
    """A script packed with gzip, as text; the same script always gives the same text."""
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def json_in_html(value: dict) -> str:
    """JSON that can't end the `<script>` that it stands in."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
