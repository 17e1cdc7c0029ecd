"""The charts of the report's page. Plotly draws them, for its tooltips and its themes."""

from datetime import date, datetime, time, timedelta
from html import escape
from itertools import pairwise
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flows.report.facts import Facts
from flows.report.formatting import consecutive_ranges, count, dollars, hour_of, part
from flows.tlc.months import month_after

WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
LONGEST_LABEL = 46  # characters that fit on a phone
ROOM_FOR_BARS = 0.66  # of a chart's width; the rest is for the number behind the longest bar
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
COLOURS: dict[str, dict[str, Any]] = {
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


def charts(facts: Facts) -> dict[str, Any]:
    """Each chart of a dataset that has something to show, by the id of its place on the page.

    They are without a theme, which the page adds.
    """
    trips = facts.totals["trips"]
    drawn = {}
    if trips:
        drawn = {"days": days_chart(facts), "hours": hours_chart(facts)}
    for name in ("zones", "zone_pairs", "payments"):
        ranked = getattr(facts, name)
        if not ranked.empty and not (name == "payments" and "ways of payment" in facts.missing):
            drawn[name] = ranking(ranked, trips)
    return {
        f"{facts.dataset.name}-{name}": figure.update_layout(template="none").to_plotly_json()
        for name, figure in drawn.items()
    }


def theme(name: str) -> dict[str, Any]:
    """What all charts have in common, in light or in dark: a template of Plotly's."""
    colours = COLOURS[name]
    font = {"family": FONT, "size": 13, "color": colours["text"]}
    axis = {
        "gridcolor": colours["grid"],
        "linecolor": colours["grid"],
        "zeroline": False,
        "fixedrange": True,  # dragging a finger over a chart scrolls the page
        "automargin": True,
        "ticklabelstandoff": 6,
    }
    layout = {
        "font": font,
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
            "font": font,
            "align": "left",
        },
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "dragmode": False,
        "showlegend": False,
    }
    template: dict[str, Any] = go.layout.Template(layout=layout).to_plotly_json()
    return template


def days_chart(facts: Facts) -> go.Figure:
    """Trips above revenue, where there is any; one bar per day.

    Months that are not loaded take no room: a dotted line marks where they would be.
    """
    shown = ["trips"] if "totals" in facts.missing else ["trips", "revenue"]
    figure = make_subplots(
        rows=len(shown),
        shared_xaxes=True,
        vertical_spacing=0.14,
        subplot_titles=[name.capitalize() for name in shown],
    )
    days = list(facts.days["day"])
    hover_text = [
        f"<b>{day:%a, %-d %B %Y}</b>{' (sample)' * (day.replace(day=1) in facts.samples)}"
        f"<br>{count(trips)} trips<br>{dollars(revenue)}"
        for day, trips, revenue in zip(
            days, facts.days["trips"], facts.days["revenue"], strict=True
        )
    ]
    for row, name in enumerate(shown, start=1):
        bars = go.Bar(
            x=[day.isoformat() for day in days],
            y=facts.days[name].astype(object).where(facts.days[name].notna(), None).tolist(),
            hovertext=hover_text,
            hoverinfo="text",
            width=0.8 * timedelta(days=1).total_seconds() * 1_000,
        )
        figure.add_trace(bars, row=row, col=1)
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    runs, marked = consecutive_ranges(facts.months), marked_days(facts.months)
    figure.update_xaxes(
        type="date",
        range=[left_of(runs[0][0]), left_of(month_after(runs[-1][1]))],
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
        figure.add_vline(left_of(first), line={"color": "#8b8a85", "width": 1, "dash": "dot"})
    figure.update_yaxes(rangemode="tozero", nticks=5, tickformat="~s")
    figure.update_yaxes(tickprefix="$", selector={"anchor": "x2"})
    # "x": the day above the pointer, even if its bar is thinner than a pixel.
    return figure.update_layout(height=210 * len(shown), margin_t=28, hovermode="x")


def left_of(day: date) -> str:
    """Where the bar of a day begins on the axis: it is drawn around midnight."""
    return str(datetime.combine(day, time()) - timedelta(hours=12))


def marked_days(months: list[date]) -> list[date]:
    """The days that are named below the chart: few enough for a phone."""
    if len(months) <= 2:
        return [month.replace(day=day) for month in months for day in (1, 15)]
    return months[:: -(-len(months) // 6)]


def hours_chart(facts: Facts) -> go.Figure:
    """A heat map: one row per weekday, one column per hour."""
    trips = facts.hours.to_numpy().tolist()
    most = max(map(max, trips))  # without it, Plotly takes no notice of the least, which is 0
    hover_text = [
        [
            f"<b>{weekday}, {hour_of(hour)}</b><br>{count(trips)} trips"
            for hour, trips in enumerate(row)
        ]
        for weekday, row in zip(WEEKDAYS, trips, strict=True)
    ]
    heat_map = go.Heatmap(
        z=trips,
        x=list(range(24)),
        y=WEEKDAYS,
        hovertext=hover_text,
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
    title = {"text": "Trips in an hour", "side": "bottom", "font": {"size": 13}}
    bar = {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.14, "yanchor": "top"}
    bar |= {"thickness": 8, "len": 0.6, "title": title}
    bar |= {"nticks": 5, "tickformat": "~s", "ticklabeloverflow": "allow"}
    return figure.update_layout(height=340, coloraxis={"cmin": 0, "cmax": most, "colorbar": bar})


def ranking(ranked: pd.DataFrame, all_trips: int) -> go.Figure:
    """One bar per row, below its title, which so has all the width of a narrow page."""
    titles, trips = ranked["title"].tolist(), ranked["trips"].tolist()
    rows = list(range(len(ranked)))
    hover_text = [
        f"<b>{escape(title, quote=False)}</b><br>{count(n)} trips, {part(n, all_trips)} of all"
        f"<br>{dollars(revenue)}"
        for title, n, revenue in zip(titles, trips, ranked["revenue"], strict=True)
    ]
    bars = go.Bar(
        x=trips,
        y=rows,
        width=0.3,
        offset=0.12,
        orientation="h",
        text=[f"{count(n)} · {part(n, all_trips)}" for n in trips],
        textposition="outside",
        cliponaxis=False,
        hovertext=hover_text,
        hoverinfo="text",
    )
    labels = go.Scatter(
        x=[0] * len(rows),
        y=[row - 0.12 for row in rows],
        text=[escape(shortened(title), quote=False) for title in titles],
        mode="text",
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure = go.Figure([bars, labels])
    figure.update_xaxes(visible=False, range=[0, max(trips) / ROOM_FOR_BARS])
    figure.update_yaxes(visible=False, range=[len(rows) - 0.4, -0.5])
    return figure.update_layout(height=46 * len(rows) + 16, margin_l=0, margin_r=0)


def shortened(title: str) -> str:
    """A title that fits on a phone."""
    return title if len(title) <= LONGEST_LABEL else f"{title[: LONGEST_LABEL - 1]}…"
