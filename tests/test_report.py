"""The report: it says what SQL says, needs no network, and takes no data as HTML."""

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from decimal import Decimal
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from conftest import (
    administrator,
    build_by_hand,
    load_file,
    point_to,
    put_by,
    run_query,
    warehouse_to_build,
)
from made_up import made_up_month
from sqlalchemy import text

from flows.report import page as report
from flows.report.charts import HEIGHT, days_chart, tick_marks
from flows.report.facts import Facts, read_facts
from flows.report.formatting import dollars, names_of
from flows.report.summary import Summary
from flows.tlc.datasets import DATASETS, DatasetMonth
from flows.warehouse.connection import connect

JANUARY, MARCH, APRIL, MAY = (date(2021, month, 1) for month in (1, 3, 4, 5))
NASTY = "<script>alert('zone')</script> | & \"Co\""


@pytest.fixture(scope="module")
def built(prefect_server):
    """Two whole months and two samples, built once; tests may only read it.

    Of April, one trip in ten was drawn; of May there are some trips that were not drawn at random.
    """
    settings = warehouse_to_build()
    for month, rows in ((JANUARY, 4_000), (MARCH, 1_000)):
        load_file(made_up_month(month, rows), month)
    load_file(made_up_month(APRIL, 500), APRIL, is_sample=True, sampled_one_in=10)
    load_file(made_up_month(MAY, 300), MAY, is_sample=True)
    build_by_hand(settings)
    with connect(settings) as connection, connection.begin():
        rename = text(
            "update zone_pairs set pickup_zone = :zone where pickup_location_id = (select"
            " pickup_location_id from zone_pairs where sampled_one_in = 1 group by 1"
            " order by sum(trips) desc limit 1)"
        )
        connection.execute(rename, {"zone": NASTY})
    return put_by(settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the page goes."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def page(built, folder) -> str:
    """The page of the built warehouse."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "PAGE", folder / "report.html")
        point_to(built)
        path = report.report()
    assert path == folder / "report.html"
    return path.read_text()


@pytest.fixture
def facts(built) -> Facts:
    """Of the whole months."""
    with connect(built) as connection:
        [facts, *_] = read_facts(connection)
    return facts


WHOLE = "source_month in ('2021-01-01', '2021-03-01')"


def figures_of(page: str) -> dict[str, str]:
    """The HTML of each figure, by its id."""
    figures = re.findall(r'<section id="(yellow[^"]*)".*?</section>', page, re.DOTALL)
    parts = re.findall(r'<section id="yellow[^"]*".*?</section>', page, re.DOTALL)
    return dict(zip(figures, parts, strict=True))


def csv_of(figure: str) -> list[dict[str, str]]:
    """The rows of a figure's data."""
    link = unescape(re.search(r'download="[^"]+[.]csv" href="data:text/csv[^,]*,(.*?)"', figure)[1])
    return [*csv.DictReader(io.StringIO(unquote(link)))]


def test_it_says_what_sql_says(page, built):
    with connect(built) as connection:
        trips, revenue, fare, tips = connection.execute(
            text(
                "select count(*) filter (where not faults && '{refund}'),"
                " sum(total_amount) filter (where not faults && '{unpaid}'),"
                " sum(fare_amount) filter (where not faults && '{unpaid}')"
                " / count(fare_amount) filter (where not faults && '{refund,refunded,unpaid}'),"
                " sum(tip_amount) filter (where of_card) / sum(fare_amount) filter (where of_card)"
                " from (select *, payment_type_id = 1 and not faults && '{prearranged,paratransit}'"
                " as of_card from (select total_amount, fare_amount, tip_amount, payment_type_id,"
                " coalesce(faults, '{}') as faults from yellow_taxi_trips"
                f" where {WHOLE}) as trips) as trips"
            )
        ).one()
        flagged = connection.scalar(
            text(f"select count(*) from yellow_taxi_trips where {WHOLE} and 'refund' = any(faults)")
        )
    for number in (f"{trips:,}", f"${revenue:,.0f}", f"${fare:,.2f}", f"{tips:.1%}"):
        assert f"<b>{number}</b>" in page
    assert "<h2>Yellow taxis, January 2021, March 2021</h2>" in page
    assert re.search(rf'data-name="Trips">{flagged:,}</td>', figures_of(page)["yellow-faults"])
    assert "of 5,000 raw rows" in page


def test_each_figure_has_its_query_which_an_analyst_can_run_and_the_rows_that_it_has(page, built):
    figures = figures_of(page)
    assert len(figures) == 9 + 9 + 3  # whole months, one trip in ten, and not drawn at random
    superuser = administrator(built).model_copy(update={"db": built.db})
    with connect(superuser) as connection, connection.begin():
        connection.exec_driver_sql("set local role analyst")
        for name, figure in figures.items():
            query = re.search(r"<pre[^>]*><code>(.*?)</code>", figure, re.DOTALL)[1]
            found = connection.execute(text(unescape(query))).mappings().all()
            shown = csv_of(figure)
            assert len(found) == len(shown) > 0, name
            for row, as_text in zip(found, shown, strict=True):
                assert {*row} == {*as_text}
                for column, value in row.items():
                    said = as_text[column]
                    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
                        assert float(said) == pytest.approx(float(value)), (name, column)
                    else:
                        assert said == ("" if value is None else str(value)), (name, column)


def test_a_bar_of_each_day_is_as_high_as_the_trips_and_the_revenue_of_the_day(page, built):
    figure = figures_of(page)["yellow-days"]
    drawn = re.findall(r'class="bars" stroke="var[(]--(\w+)[)]" transform=".*?" d="(.*?)"', figure)
    days = re.search(r'data-days="(.*?)"', figure)[1].split()
    assert len(days) == 31 + 31
    for name, path in drawn:
        rows = run_query(
            built,
            "select pickup_datetime::date::text, count(*) filter (where not refund)::float,"
            " coalesce(sum(total_amount) filter (where not unpaid), 0)::float"
            " from (select *, coalesce('refund' = any(faults), false) as refund,"
            " coalesce('unpaid' = any(faults), false) as unpaid from yellow_taxi_trips"
            f" where {WHOLE}) as trips group by 1",
        )
        numbers = {day: amount for day, *amounts in rows for amount in [amounts[name == "revenue"]]}
        shown = [numbers.get(day, 0) for day in days]
        marks = tick_marks(min(0, *shown), max(shown))
        scale = HEIGHT / (marks[-1] - marks[0])
        heights = {
            days[int(at)]: int(zero) - int(top)
            for at, zero, top in re.findall(r"M(\d+) (\d+)V(\d+)", path)
        }
        assert {*heights} == {day for day in days if day in numbers}
        for day, height in heights.items():
            assert height == pytest.approx(numbers[day] * scale, abs=1.01), (name, day)
    assert [name for name, _ in drawn] == ["trips", "revenue"]
    assert f'<path class="gap" d="M31 0V{HEIGHT}"/>' in figure  # where February would be


def test_an_hour_of_the_week_is_that_of_an_average_day(page, built):
    """Made-up months have four of each weekday."""
    expected = run_query(
        built,
        "select to_char(pickup_datetime, 'Dy'), extract(hour from pickup_datetime)::int,"
        " count(*)::float / 8 from yellow_taxi_trips"
        f" where {WHOLE} and not coalesce('refund' = any(faults), false) group by 1, 2",
    )
    said = re.findall(
        r'data-said="(\w+), (\d\d):00 to \d\d:00: (.*?) trips"', figures_of(page)["yellow-hours"]
    )
    assert len(said) == 7 * 24
    numbers = {(day, int(hour)): float(trips) for day, hour, trips in said}
    for day, hour, trips in expected:
        assert numbers[day, hour] == pytest.approx(trips, rel=0.01)
    assert sum(numbers.values()) == pytest.approx(sum(row[2] for row in expected), rel=0.01)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("payments", "coalesce(payment_type, 'Not recorded')"),
        ("zones", "pickup_zone"),
        ("zone_pairs", "pickup_zone || ' → ' || dropoff_zone"),
    ],
)
def test_a_ranking_has_bars_as_long_as_its_numbers(page, built, name, title):
    figure = figures_of(page)[f"yellow-{name}"]
    table = "payment_mix" if name == "payments" else "zone_pairs"
    found = dict(
        run_query(built, f"select {title}, sum(trips)::int from {table} where {WHOLE} group by 1")
    )
    row = r'<li><span>(.*?)</span><small>([\d,]+) trips · .*?</small><i style="width:([\d.]+)%'
    rows = re.findall(row, figure)
    assert len(rows) == min(10, len(found))
    most = max(found.values())
    for shown, trips, width in rows:
        assert int(trips.replace(",", "")) == found[unescape(shown)]
        assert float(width) == pytest.approx(100 * found[unescape(shown)] / most, abs=0.01)
    assert int(rows[0][1].replace(",", "")) == most


def test_it_needs_no_network(page):
    """All is in the page, and the browser is to refuse whatever it would fetch."""
    assert not re.search(r"src\s*=|@import|url\(|<link", page)
    links = re.findall(r'href="(.*?)"', page)
    others = [link for link in links if not re.match("#|data:text/csv|https://www.nyc.gov/", link)]
    assert others == []
    [policy] = re.findall(r'"Content-Security-Policy"\s+content="(.*?)"', page)
    assert policy.split("; ") == [
        *("default-src 'none'", "script-src 'unsafe-inline'", "style-src 'unsafe-inline'"),
        "img-src data:",
    ]
    assert len(page) < 500_000


def test_each_link_of_the_contents_leads_somewhere(page):
    links = re.findall(r'href="#(.*?)"', page)
    assert {*figures_of(page)} < {*links}
    assert {*links} <= {*re.findall(r' id="(.*?)"', page)}


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [400, 1280], ids=["phone", "desktop"])
def test_a_browser_shows_all_of_it_cuts_nothing_and_fetches_nothing(page, tmp_path, width):
    """The page notes what it fetches, what it is kept from fetching, and what is cut; then it is
    walked through by the keyboard."""
    watch = """<script>
        let blocked = 0;
        document.addEventListener("securitypolicyviolation", () => blocked++);
        addEventListener("load", () => setTimeout(() => {
            const fetched = performance.getEntriesByType("resource").length;
            const cut = [...document.querySelectorAll("body *")].filter(one =>
                !one.closest(".words, details") && (one.getBoundingClientRect().right > innerWidth
                || ["auto", "scroll"].includes(getComputedStyle(one).overflowX)));
            document.body.dataset.seen = [blocked, fetched, cut.length];
            const said = (figure, key) => {
                const section = document.getElementById("yellow-" + figure);
                section.querySelector("[tabindex='0']:not(pre)")
                    .dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
                return section.querySelector("output").textContent;
            };
            document.body.dataset.said = [said("days", "End"), said("hours", "ArrowRight"),
                said("zone_map", "ArrowRight")].join("|");
        }, 500));
    </script>"""
    watched = tmp_path / "page.html"
    watched.write_text(page.replace("<head>", f"<head>{watch}"))
    drawn = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--disable-background-networking", "--no-first-run", "--virtual-time-budget=20000"),
            *("--hide-scrollbars", f"--window-size={width},2000"),
            f"--user-data-dir={tmp_path / 'browser'}",
            watched.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    assert re.search(r'data-seen="(.*?)"', drawn)[1] == "0,0,0"
    day, hour, zone = unescape(re.search(r'data-said="([^"]*[|][^"]*)"', drawn)[1]).split("|")
    figures = figures_of(page)
    assert day.startswith("Wednesday, March 31, 2021: 0 trips")
    assert hour == re.search(r'data-said="(Mon, 00:00 .*?)"', figures["yellow-hours"])[1]
    pickups = [row for row in csv_of(figures["yellow-zone_map"]) if row["which_end"] == "pickup"]
    most = max(pickups, key=lambda row: int(row["trips"]))
    names = json.loads(re.search(r'id="maps">(.*?)</script>', page)[1])["yellow"]["names"]
    assert zone.startswith(f"{names[most['location_id']]}: {int(most['trips']):,} trips, revenue $")


def test_data_is_not_taken_as_html(page):
    assert "<script>alert" not in page
    figure = figures_of(page)["yellow-zones"]
    assert "&lt;script&gt;alert(&#39;zone&#39;)&lt;/script&gt; | &amp; &#34;Co&#34;" in figure
    assert NASTY in {row["title"] for row in csv_of(figure)}


def test_the_map_has_every_trip_with_a_zone_at_both_of_its_ends(page, built):
    shown = json.loads(re.search(r'id="maps">(.*?)</script>', page)[1])["yellow"]
    outlines = json.loads(re.search(r'id="outlines">(.*?)</script>', page)[1])
    for end in ("pickup", "dropoff"):
        [(trips, revenue)] = run_query(
            built,
            "select count(*) filter (where not refund), sum(total_amount) filter (where not unpaid)"
            "::float from (select *, coalesce('refund' = any(faults), false) as refund,"
            " coalesce('unpaid' = any(faults), false) as unpaid from yellow_taxi_trips"
            f" where {WHOLE}) as trips where {end}_location_id between 1 and 263",
        )
        values = shown["values"][end].values()
        assert sum(value[0] for value in values) == trips
        assert sum(value[1] for value in values) == pytest.approx(revenue, abs=200)
    # The shapes hold 57 as part of 56, and 104 and 105 as parts of 103.
    assert {*map(int, outlines["paths"])} == {*range(1, 264)} - {57, 104, 105}
    paths = outlines["paths"].values()
    assert {re.sub(r"M\d+ \d+l[-\d ]+z", "ring ", path).strip("ring ") for path in paths} == {""}
    assert len(json.dumps(outlines)) < 150_000


def cells(row: str) -> list[str]:
    """Of a row of a table in Markdown."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


@pytest.fixture
def artifact(page, api, folder) -> str:
    reports = api("artifacts", artifacts={"key": {"any_": ["report"]}}, sort="CREATED_DESC")
    [data] = [found["data"] for found in reports if str(folder) in found["data"]]
    return data


def test_the_artifact_has_the_tables_and_says_where_the_page_is(artifact, folder):
    rows = [cells(line) for line in artifact.splitlines() if line.startswith("|")]
    assert ["All months", "5,000"] in [row[:2] for row in rows]
    assert f"The page with the charts is `{folder / 'report.html'}` on " in artifact
    assert "<script>" not in artifact
    assert "&lt;script&gt;alert('zone')&lt;/script&gt; \\| &amp;" in artifact


def part_of(page: str, name: str) -> str:
    return re.search(rf'<article id="{name}">.*?</article>', page, re.DOTALL)[0]


def words_of(part: str) -> str:
    """What one reads, without the queries."""
    return re.sub(r"<details>.*?</details>|<[^>]*>", " ", part, flags=re.DOTALL)


def test_a_sample_has_a_part_of_its_own_and_says_what_it_is(page, artifact):
    says = "a sample, one trip in 10, drawn at random: days, months and shares can be compared"
    for text_of_it in (page, artifact):
        assert says in text_of_it
        assert "Yellow taxis, April 2021, one trip in 10" in text_of_it
    assert "sample" not in words_of(part_of(page, "yellow"))
    drawn = part_of(page, "yellow-one-in-10")
    assert "Trips of the sample" in drawn
    assert "of 500 raw rows" in drawn
    assert 'data-days="2021-04-01 ' in drawn


def test_of_a_sample_that_was_not_drawn_at_random_nothing_is_said_of_days_hours_and_shares(
    page, artifact
):
    shown = part_of(page, "yellow-not-at-random")
    assert "300 rows that was not drawn at random" in shown
    assert not re.search(r"%|usiest|by day|emand|fare|begin|[$]\d", words_of(shown))
    assert {*re.findall('section id="yellow-not-at-random-(.*?)"', shown)} == {
        *("months", "zero_passengers", "faults"),
    }
    _, _, told = artifact.partition("May 2021")
    assert "Share" not in told
    assert "begin" not in told


def test_the_calendar_has_the_months_of_all_parts(page):
    calendar = re.search(r'<section id="loaded">.*?</section>', page, re.DOTALL)[0]
    states = re.findall(r'<td class="(\w+)" title="(\w+ 2021):', calendar)
    assert [state for state, _ in states] == [
        *("whole", "absent", "whole", "sample", "sample", *["absent"] * 7)
    ]


def test_pairs_without_a_known_zone_are_counted_and_do_not_lead(warehouse, january, query):
    query(
        "insert into zone_pairs (dataset, source_month, sampled_one_in, pickup_location_id,"
        " pickup_borough, dropoff_location_id, dropoff_borough, dropoff_zone, trips, revenue)"
        " values"
        " ('yellow', '2021-02-01', 1, 264, 'Unknown', 264, 'Unknown', 'N/A', 90000, 1),"
        " ('yellow', '2021-02-01', 1, null, null, 265, 'N/A', 'Outside of NYC', 8000, 1),"
        " ('yellow', '2021-02-01', 1, 264, 'Unknown', 1, 'EWR', 'Newark Airport', 7000, 1)"
    )
    [(unknown,)] = query(
        "select sum(trips) from zone_pairs where coalesce(pickup_location_id, 264) >= 264"
        " and coalesce(dropoff_location_id, 264) >= 264"
    )
    with connect(warehouse) as connection:
        [facts] = read_facts(connection)
    assert facts.zone_pairs["title"].iloc[0] == "Unknown → Newark Airport"
    assert not any(re.search("(Unknown|Not).* → .*Unk", pair) for pair in facts.zone_pairs["title"])
    assert facts.unknown_pairs == unknown >= 98_000
    page, _, _ = report.page([facts], "").partition("<noscript>")
    words = " ".join(page.split())
    assert f"Left out: {unknown:,} trips without a known zone." in words


def test_without_a_known_zone_the_chart_of_pairs_is_left_out(facts):
    none = replace(facts, zone_pairs=facts.zone_pairs[:0])
    names = {name.removeprefix("yellow-") for name in figures_of(report.page([none], ""))}
    assert "zone_pairs" not in names
    assert {"days", "hours", "zones", "payments"} < names


def test_every_fault_of_the_trips_is_counted(built, facts):
    counted = run_query(
        built,
        "select fault, count(*) from yellow_taxi_trips, unnest(faults) as fault"
        f" where {WHOLE} group by fault",
    )
    assert len(counted) > 3
    assert dict(zip(facts.faults["fault"], facts.faults["trips"], strict=True)) == dict(counted)


@pytest.mark.usefixtures("january")
def test_it_is_drawn_again_only_if_a_load_or_a_model_has_changed(query, monkeypatch, tmp_path):
    monkeypatch.setattr(report, "PAGE", tmp_path / "report.html")

    def is_drawn() -> bool:
        before = report.PAGE.exists() and report.PAGE.read_text()
        report.report()
        return report.PAGE.read_text() != before

    assert [is_drawn(), is_drawn()] == [True, False]
    query("update bookkeeping.built_months set load_id = load_id + 1")
    assert [is_drawn(), is_drawn()] == [True, False]
    query("update bookkeeping.built_projects set project = 'another'")
    assert [is_drawn(), is_drawn()] == [True, False]


@pytest.mark.usefixtures("page")
def test_nothing_is_left_beside_the_page(folder):
    assert [path.name for path in folder.iterdir()] == ["report.html"]


def test_a_warehouse_without_trips(warehouse, january, query):
    query("truncate daily_trips, hourly_demand, zone_pairs, payment_mix")
    content = drawn_now(warehouse)
    assert "No trips in these months" in content
    assert "<b>n/a</b>" in content
    query("truncate trip_accounting")
    assert "no month yet" in drawn_now(warehouse)


def drawn_now(settings) -> str:
    with connect(settings) as connection:
        found = read_facts(connection)
    assert report.markdown(found)
    content = report.page(found, "")
    assert {name.removeprefix("yellow-") for name in figures_of(content)} <= {
        *("months", "faults", "zero_passengers")
    }
    return content


def test_a_single_day_is_a_chart(facts):
    one = facts.days.iloc[:1]
    [trips, _] = days_chart(replace(facts, days=one)).charts
    marks = tick_marks(0, one["trips"].item())
    top = round(HEIGHT * (1 - float(one["trips"].item()) / marks[-1]))
    assert trips.path == f"M0 {HEIGHT}V{top}"


@pytest.mark.parametrize(
    ("numbers", "marks"),
    [
        ((0, 417), [0, 200, 400, 600]),
        ((-20, 90), [-50, 0, 50, 100]),
        ((0, 1), [0, 0.25, 0.5, 0.75, 1]),
        ((0, 0), [0, 1]),
        ((0, 2_000_000), [0, 500_000, 1_000_000, 1_500_000, 2_000_000]),
    ],
)
def test_an_axis_has_a_few_round_numbers(numbers, marks):
    assert tick_marks(*numbers) == marks


def test_more_than_a_year_of_months_are_folded_below_their_sum(facts):
    [one] = [facts.months_loaded.iloc[[0]]]
    months = [date(2020 + number // 12, number % 12 + 1, 1) for number in range(2, 15)]
    for shown, is_folded in ((months, True), (months[1:], False)):
        rows = pd.concat([one.assign(source_month=month) for month in shown], ignore_index=True)
        content = report.page([replace(facts, months_loaded=rows)], "")
        before, _, after = figures_of(content)["yellow-months"].partition("<details")
        assert "All months" in before
        assert ("June 2020" in before) is not is_folded
        assert ("June 2020" in after) is is_folded


def test_the_terminal_says_where_the_page_is(facts, built):
    accounting = facts.months_loaded.drop(columns=["warned_of", "source_month"]).assign(
        dataset="yellow", month="2021-01", sampled_one_in=None
    )
    asked = [DatasetMonth(DATASETS["yellow"], JANUARY)]
    summary = Summary(built.url, "yellow_taxi_trips", accounting, [], asked, has_changed=True)
    assert "Look at it" not in str(summary)
    assert f"Look at it:  {report.PAGE}\n" in str(replace(summary, report=report.PAGE))


def test_runs_of_months():
    months = [date(2020, 11, 1), date(2020, 12, 1), date(2021, 1, 1), MARCH]
    assert names_of(months) == "November 2020 to January 2021, March 2021"
    assert names_of(months[:2]) == "November to December 2020"
    assert names_of([]) == "no month yet"


@pytest.mark.parametrize(
    ("amount", "written"), [(1234.5, "$1,234"), (-16301.04, "-$16,301"), (None, "n/a")]
)
def test_money(amount, written):
    assert dollars(amount) == written
