"""The report: it says what SQL says, needs no network, and takes no data as HTML."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from conftest import build_by_hand, load_file, point_to, put_by, run_query, warehouse_to_build
from made_up import made_up_month
from plotly.offline import get_plotlyjs
from sqlalchemy import text

from flows.models.state import relations
from flows.report import page as report
from flows.report.charts import days_chart
from flows.report.facts import Facts, read_facts
from flows.report.formatting import dollars, names_of
from flows.report.summary import Summary
from flows.tlc.datasets import DATASETS, DatasetMonth
from flows.warehouse.connection import connect

JANUARY, MARCH = date(2021, 1, 1), date(2021, 3, 1)
NASTY = "<script>alert('zone')</script> | & \"Co\""


@pytest.fixture(scope="module")
def built(prefect_server):
    """A warehouse with two months in it, built once; tests may only read it. March is a sample."""
    settings = warehouse_to_build()
    for month, rows in ((JANUARY, 4_000), (MARCH, 1_000)):
        load_file(made_up_month(month, rows), month, is_sample=month == MARCH)
    build_by_hand(settings)
    with connect(settings) as connection, connection.begin():
        rename = text(
            "update zone_pairs set pickup_zone = :zone where pickup_location_id = (select"
            " pickup_location_id from zone_pairs group by 1 order by sum(trips) desc limit 1)"
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
    with connect(built) as connection:
        [facts] = read_facts(connection)
    return facts


def charts_of(page: str) -> dict:
    """The charts of the yellow taxis, each by its place in their part of the page."""
    pattern = r'<script type="application/json" id="charts">(.*?)</script>'
    charts = json.loads(re.search(pattern, page)[1])
    return {name.removeprefix("yellow-"): chart for name, chart in charts.items()}


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
                " coalesce(faults, '{}') as faults from yellow_taxi_trips) as trips) as trips"
            )
        ).one()
        flagged = connection.scalar(
            text("select count(*) from yellow_taxi_trips where 'refund' = any(faults)")
        )
    for number in (f"{trips:,}", f"${revenue:,.0f}", f"${fare:,.2f}", f"{tips:.1%}"):
        assert f"<b>{number}</b>" in page
    assert "January 2021, March 2021" in page
    assert f'<td class="number">{flagged:,}</td>' in page
    assert "5,000" in page  # raw rows of both months


def test_the_charts_have_all_trips(page, facts):
    charts = charts_of(page)
    daily = sum(charts["days"]["data"][0]["y"])
    assert daily + facts.trips_outside == facts.totals["trips"]
    assert sum(charts["payments"]["data"][0]["x"]) == facts.totals["trips"]
    assert len(charts["days"]["data"][0]["x"]) == 2 * 28  # of made-up months
    assert [b["bounds"] for b in charts["days"]["layout"]["xaxis"]["rangebreaks"]] == [
        ["2021-02-01", "2021-03-01"]
    ]


def test_an_hour_of_the_week_is_that_of_an_average_day(facts):
    """Made-up months have four of each weekday."""
    assert facts.hours.shape == (7, 24)
    assert facts.hours.to_numpy().sum() * 8 == pytest.approx(facts.totals["trips"])


def test_it_needs_no_network(page):
    """Plotly's script is in the page, and the browser is to refuse whatever it would fetch."""
    before, script, after = page.partition(get_plotlyjs())
    assert script
    assert not re.search(r"(?:src|href)\s*=|@import|url\(|https?://", before + after)
    [policy] = re.findall(r'"Content-Security-Policy"\s+content="(.*?)"', before)
    assert policy.split("; ") == [
        *("default-src 'none'", "script-src 'unsafe-inline'", "style-src 'unsafe-inline'"),
        "img-src data:",
    ]
    assert len(page) < 6_000_000


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [390, 1200], ids=["phone", "desktop"])
def test_a_browser_draws_every_chart_and_fetches_nothing(page, tmp_path, width):
    """The page notes how wide it is, what it fetches, and what it is kept from fetching."""
    watch = """<script>
        let blocked = 0;
        document.addEventListener("securitypolicyviolation", () => blocked++);
        addEventListener("load", () => setTimeout(() => {
            const fetched = performance.getEntriesByType("resource").length;
            const room = innerWidth - document.documentElement.scrollWidth;
            document.body.dataset.seen = [blocked, fetched, room];
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
    for chart in charts_of(page):
        assert re.search(rf'<div class="chart js-plotly-plot" id="yellow-{chart}"', drawn), chart
    assert re.search(r'data-seen="(.*?)"', drawn)[1] == "0,0,0"


def test_data_is_not_taken_as_html(page):
    assert "<script>alert" not in page
    labels = charts_of(page)["zones"]["data"][1]["text"]
    assert "&lt;script&gt;alert('zone')&lt;/script&gt; | &amp; \"Co\"" in labels


def test_the_map_has_every_trip_with_a_zone_at_both_of_its_ends(page, built):
    shown = json.loads(re.search(r'id="maps">(.*?)</script>', page)[1])["yellow"]
    outlines = json.loads(re.search(r'id="outlines">(.*?)</script>', page)[1])
    for end in ("pickup", "dropoff"):
        [(trips, revenue)] = run_query(
            built,
            "select count(*) filter (where not refund), sum(total_amount) filter (where not unpaid)"
            "::float from (select *, coalesce('refund' = any(faults), false) as refund,"
            " coalesce('unpaid' = any(faults), false) as unpaid from yellow_taxi_trips) as trips"
            f" where {end}_location_id between 1 and 263",
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
    reports = api("artifacts", artifacts={"key": {"any_": ["report"]}}, limit=200)
    [data] = [found["data"] for found in reports if folder.as_uri() in found["data"]]
    return data


def test_the_artifact_has_the_tables_and_a_link_to_the_page(artifact, folder):
    rows = [cells(line) for line in artifact.splitlines() if line.startswith("|")]
    assert ["All months (with samples)", "5,000"] in [row[:2] for row in rows]
    assert f"]({(folder / 'report.html').as_uri()})" in artifact
    assert "<script>" not in artifact
    assert "&lt;script&gt;alert('zone')&lt;/script&gt; \\| &amp;" in artifact


def test_a_sample_is_called_one_wherever_its_sums_are(page, artifact):
    is_one = "2021-03 is a sample of 1,000 trips: its sums are not the month"
    assert is_one in page
    assert is_one in artifact
    for text_of_it in (page, artifact):
        assert "March 2021 (sample)" in text_of_it
        assert "January 2021 (sample)" not in text_of_it
        assert "All months (with samples)" in text_of_it
    told = charts_of(page)["days"]["data"][0]["hovertext"]
    assert {"(sample)" in day for day in told if "March" in day} == {True}
    assert {"(sample)" in day for day in told if "January" in day} == {False}


def test_without_a_sample_nothing_is_called_one(facts):
    real = replace(facts, accounting=facts.accounting.assign(is_sample=False))
    assert "(sample" not in report.markdown([real])
    assert 'class="sample"' not in report.page([real], "")


def test_several_samples_are_named_together(facts):
    samples = replace(facts, accounting=facts.accounting.assign(is_sample=True))
    assert samples.about_samples == (
        "2021-01, 2021-03 are samples of 1,000 to 4,000 trips each: their sums are not the "
        "months', and can't be compared."
    )


def test_pairs_without_a_known_zone_are_counted_and_do_not_lead(warehouse, january, query):
    query(
        "insert into zone_pairs (dataset, source_month, pickup_location_id, pickup_borough,"
        " dropoff_location_id, dropoff_borough, dropoff_zone, trips, revenue) values"
        " ('yellow', '2021-02-01', 264, 'Unknown', 264, 'Unknown', 'N/A', 90000, 1),"
        " ('yellow', '2021-02-01', null, null, 265, 'N/A', 'Outside of NYC', 8000, 1),"
        " ('yellow', '2021-02-01', 264, 'Unknown', 1, 'EWR', 'Newark Airport', 7000, 1)"
    )
    [(unknown,)] = query(
        "select sum(trips) from zone_pairs where coalesce(pickup_location_id, 264) >= 264"
        " and coalesce(dropoff_location_id, 264) >= 264"
    )
    with connect(warehouse) as connection:
        [facts] = read_facts(connection)
    assert facts.zone_pairs["title"].iloc[0] == "Unknown → Newark Airport"
    assert not any(re.search("(Unknown|Not).* → .*Unk", pair) for pair in facts.zone_pairs["title"])
    assert facts.totals["trips_without_zones"] == unknown >= 98_000
    page, _, _ = report.page([facts], "").partition("<noscript>")
    words = " ".join(page.split())
    assert f"Left out: {unknown:,} trips without a known zone." in words


def test_without_a_known_zone_the_chart_of_pairs_is_left_out(facts):
    none = replace(facts, zone_pairs=facts.zone_pairs[:0])
    assert set(charts_of(report.page([none], ""))) == {"days", "hours", "zones", "payments"}


def test_every_fault_of_the_trips_is_counted(built, facts):
    counted = run_query(
        built,
        "select fault, count(*) from yellow_taxi_trips, unnest(faults) as fault group by fault",
    )
    assert len(counted) > 3
    assert dict(zip(facts.faults["fault"], facts.faults["trips"], strict=True)) == dict(counted)


def test_the_views_of_the_report_are_in_staging():
    views = {name for name in relations() if ".report_" in name}
    assert "staging.report_days" in views
    assert {name.partition(".")[0] for name in views} == {"staging"}


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
    assert charts_of(content) == {}
    return content


def test_a_single_day_is_a_chart(facts):
    one = facts.days.iloc[:1]
    chart = days_chart(replace(facts, days=one))
    assert list(chart.data[0].y) == [one["trips"].item()]


def test_the_terminal_says_where_the_page_is(facts, built):
    accounting = facts.accounting.drop(columns="warned_of").assign(
        dataset="yellow", month="2021-01"
    )
    asked = [DatasetMonth(DATASETS["yellow"], JANUARY)]
    summary = Summary(built.url, "yellow_taxi_trips", accounting, [], asked, has_changed=True)
    assert "Look at it" not in str(summary)
    assert f"Look at it:  {report.PAGE}\n" in str(replace(summary, report=report.PAGE))


def test_runs_of_months():
    months = [date(2020, 11, 1), date(2020, 12, 1), date(2021, 1, 1), MARCH]
    assert names_of(months) == "November 2020 to January 2021, March 2021"
    assert names_of([]) == "no month yet"


@pytest.mark.parametrize(
    ("amount", "written"), [(1234.5, "$1,234"), (-16301.04, "-$16,301"), (None, "n/a")]
)
def test_money(amount, written):
    assert dollars(amount) == written
