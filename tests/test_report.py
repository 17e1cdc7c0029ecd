"""The report: it says what SQL says, needs no network, and takes nothing that data says as HTML."""

import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from conftest import build_by_hand, load_file, point_to
from sqlalchemy import text

from flows import report
from flows.laptop.sample import sample_month
from flows.summary import Summary
from flows.warehouse import connect

JANUARY, MARCH = date(2021, 1, 1), date(2021, 3, 1)
NASTY = "<script>alert('zone')</script> | & \"Co\""


@pytest.fixture(scope="module")
def built(new_database, prefect_server):
    """A warehouse with two months in it, built once; tests may only read it."""
    settings = new_database()
    point_to(settings)
    for month, rows in ((JANUARY, 4_000), (MARCH, 1_000)):
        path = sample_month(month, rows)
        load_file(path, month)
    build_by_hand(settings)
    with connect(settings) as connection, connection.begin():
        # 236 is among the busiest zones of the samples
        rename = text("update taxi_zones set zone = :zone where location_id = 236")
        connection.execute(rename, {"zone": NASTY})
    return settings


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
        path = report.report("yellow_taxi_trips")
    assert path == folder / "report.html"
    return path.read_text()


@pytest.fixture
def facts(built) -> report.Facts:
    with connect(built) as connection:
        return report.read_facts(connection, "yellow_taxi_trips")


def text_of(page: str, identifier: str) -> str:
    return re.search(rf'<script type="[a-z/]+" id="{identifier}">(.*?)</script>', page)[1]


def charts_of(page: str) -> dict:
    return json.loads(text_of(page, "charts"))


def test_it_says_what_sql_says(page, built):
    with connect(built) as connection:
        trips, revenue, fare, tips = connection.execute(
            text(
                "select count(*), sum(total_amount), avg(fare_amount),"
                " sum(tip_amount) filter (where payment_type_id = 1)"
                " / sum(fare_amount) filter (where payment_type_id = 1) from yellow_taxi_trips"
            )
        ).one()
        flagged = connection.scalar(
            text("select count(*) from yellow_taxi_trips where has_negative_amount")
        )
    for said in (f"{trips:,}", f"${revenue:,.0f}", f"${fare:,.2f}", f"{tips:.1%}"):
        assert f"<b>{said}</b>" in page
    assert "January 2021, March 2021" in page
    assert f'<td class="number">{flagged:,}</td>' in page
    assert "5,000" in page  # raw rows of both months


def test_the_charts_have_all_trips(page, facts):
    charts = charts_of(page)
    daily = sum(charts["days"]["data"][0]["y"])
    assert daily + facts.trips_outside == facts.totals["trips"]
    assert sum(charts["payments"]["data"][0]["x"]) == facts.totals["trips"]
    assert len(charts["days"]["data"][0]["x"]) == 2 * 28  # of the samples
    assert [b["bounds"] for b in charts["days"]["layout"]["xaxis"]["rangebreaks"]] == [
        ["2021-02-01", "2021-03-01"]
    ]


def test_an_hour_of_the_week_is_that_of_an_average_day(facts):
    """The samples have four of each weekday in each month."""
    assert facts.hours.shape == (7, 24)
    assert facts.hours.to_numpy().sum() * 8 == pytest.approx(facts.totals["trips"])


def test_it_needs_no_network(page):
    assert not re.search(r"(?:src|href)\s*=|@import|url\(|https?://", page)
    assert len(page) < 3_000_000


def test_what_data_says_is_no_html(page):
    assert "<script>alert" not in page
    labels = charts_of(page)["zones"]["data"][1]["text"]
    assert "&lt;script&gt;alert(&#x27;zone&#x27;)&lt;/script&gt; | &amp; &quot;Co&quot;" in labels


def test_the_artifact_says_the_same(page, facts, api):
    found = api("artifacts/latest")
    [said] = [artifact["data"] for artifact in found if artifact["key"] == "report"]
    assert f"**{facts.totals['trips']:,.0f}** trips" in said
    assert "| All months | 5,000 |" in said
    assert "<script>" not in said
    assert "&lt;script&gt;alert('zone')&lt;/script&gt; \\| &amp;" in said


@pytest.mark.usefixtures("page")
def test_nothing_is_left_beside_the_page(folder):
    assert [path.name for path in folder.iterdir()] == ["report.html"]


def test_a_warehouse_without_trips(warehouse, january, query):
    query("truncate yellow_taxi_trips, daily_trips, hourly_demand, zone_pairs, payment_mix")
    assert "No trips in these months" in drawn_now(warehouse)
    query("truncate trip_accounting")
    assert "no month yet" in drawn_now(warehouse)


def drawn_now(settings) -> str:
    with connect(settings) as connection:
        facts = report.read_facts(connection, "yellow_taxi_trips")
    assert "n/a" in report.markdown(facts)
    content = report.page(facts)
    assert charts_of(content) == {}
    return content


def test_a_single_day_is_a_chart(facts):
    one = facts.days.iloc[:1]
    chart = report.days_chart(replace(facts, days=one))
    assert list(chart.data[0].y) == [one["trips"].item()]


def test_the_terminal_says_where_the_page_is(facts, built):
    accounting = facts.accounting.rename(columns={"source_month": "month"})
    summary = Summary(built.url, "yellow_taxi_trips", accounting, [])
    assert "Look at it" not in str(summary)
    assert f"Look at it:  {report.PAGE}\n" in str(replace(summary, report=report.PAGE))


def test_runs_of_months():
    months = [date(2020, 11, 1), date(2020, 12, 1), date(2021, 1, 1), MARCH]
    assert report.names_of(months) == "November 2020 to January 2021, March 2021"
    assert report.names_of([]) == "no month yet"


@pytest.mark.parametrize(
    ("amount", "said"), [(1234.5, "$1,234"), (-16301.04, "-$16,301"), (None, "n/a")]
)
def test_money(amount, said):
    assert report.dollars(amount) == said
