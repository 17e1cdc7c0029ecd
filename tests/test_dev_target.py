"""The target dev: models tried on a few months, and nothing that analysts read is touched."""

from datetime import date

import pytest
from conftest import BUILD, build_by_hand, run_dbt

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
OF_ANALYSTS = (
    "select oid, relname, relfilenode, xmin::text, relacl::text from pg_class where relnamespace"
    " in ('public'::regnamespace, 'staging'::regnamespace, 'trip_months'::regnamespace) order by 1"
)
BOOKKEEPING = "select xmin::text, * from bookkeeping.built_months order by relation, source_month"
OF_JANUARY = ("--target", "dev", "--vars", '{"months":["2021-01"]}')


@pytest.fixture
def anna(january, land, monkeypatch):
    """A warehouse that has built January, and not yet February; an engineer called Anna."""
    land(FEBRUARY, 2_000)
    monkeypatch.setenv("DBT_DEV_PREFIX", "dev_anna")
    return january


def months(query, table: str) -> list[date]:
    return [month for (month,) in query(f"select distinct source_month from {table} order by 1")]


def test_the_months_asked_for_are_built_and_tested_apart_from_the_analysts(anna, query):
    before = query(OF_ANALYSTS), query(BOOKKEEPING)
    assert len(before[0]) > 30
    build_by_hand(anna, " ".join((BUILD, *OF_JANUARY)))
    assert (query(OF_ANALYSTS), query(BOOKKEEPING)) == before
    for table in ("yellow_taxi_trips", "daily_trips", "trip_accounting"):
        assert months(query, f"dev_anna_public.{table}") == [JANUARY]
    assert query(
        "select distinct relnamespace::regnamespace::text from pg_class"
        " where relnamespace::regnamespace::text like 'dev%%' order by 1"
    ) == [(f"dev_anna_{name}",) for name in ("bookkeeping", "public", "staging", "trip_months")]
    assert query(
        "select bool_or(has_schema_privilege('analyst', oid, 'usage')) from pg_namespace"
        " where nspname like 'dev%%'"
    ) == [(False,)]
    assert query("select has_table_privilege('analyst', 'dev_anna_public.trips', 'select')") == [
        (False,)
    ]


def test_without_months_it_is_the_newest_one(anna, query):
    tables = "--resource-type seed --resource-type model"
    build_by_hand(anna, f"build --target dev --select +daily_trips {tables}")
    assert months(query, "dev_anna_public.daily_trips") == [FEBRUARY]
    assert months(query, "daily_trips") == [JANUARY]


def test_bookkeeping_of_an_earlier_version_is_made_anew(anna, query):
    query(
        "create schema dev_anna_bookkeeping;"
        "create table dev_anna_bookkeeping.built_months (relation text, source_month date)"
    )
    build_by_hand(anna, "seed --target dev --select vendors")
    columns = "select * from {}.built_months where false union all select * from {}.built_months"
    assert query(columns.format("dev_anna_bookkeeping", "dev_anna_bookkeeping")) == []
    assert query(columns.format("dev_anna_bookkeeping", "bookkeeping")) != []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--target", "dev", "--vars", '{"months":["2021-07"]}'), "2021-07 is not loaded"),
        (OF_JANUARY[2:], "`months` limits the target dev alone: add --target dev"),
    ],
)
def test_months_that_make_no_sense_are_refused_in_a_line(anna, words, reason):
    is_done, output = run_dbt(anna, " ".join(("run", *words)))
    assert not is_done
    assert reason in output
