"""The role `analyst` reads the marts and the dictionary, and can do nothing else."""

import pytest
from pydantic import SecretStr
from sqlalchemy.exc import ProgrammingError

from flows.laptop.postgres import ensure_server
from flows.warehouse import connect, ensure_analyst


@pytest.fixture
def analyst(built):
    """The analyst's own settings."""
    return built.model_copy(update={"user": "analyst", "password": built.analyst_password})


def ask(analyst, statement: str) -> list[tuple]:
    with connect(analyst) as connection:
        return connection.exec_driver_sql(statement).fetchall()


@pytest.mark.parametrize(
    "table",
    [
        *("yellow_taxi_trips", "trips_enriched", "rejected_trips", "trip_accounting"),
        *("daily_trips", "hourly_demand", "zone_pairs", "payment_mix"),
        *("taxi_zones", "vendors", "rate_codes", "payment_types", "store_and_fwd_flags"),
    ],
)
def test_reads_the_marts_and_the_dictionary(analyst, table):
    assert ask(analyst, f"select count(*) from {table}") != []


@pytest.mark.parametrize(
    "statement",
    [
        "select * from raw.yellow_tripdata",
        "select * from raw.loads",
        "select * from staging.stg_tlc__yellow_trips",
        "delete from yellow_taxi_trips",
        "insert into vendors values (9, 'me')",
        "create table mine (x int)",
        "create schema mine",
        "drop table yellow_taxi_trips",
        "copy yellow_taxi_trips to program 'cat'",
    ],
)
def test_can_do_nothing_else(analyst, statement):
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        ask(analyst, statement)


def test_its_password_follows_the_setting(analyst, postgres):
    for password in (SecretStr("n'ew"), analyst.password):
        with connect(postgres) as owner:
            ensure_analyst(owner, password)
        ask(analyst.model_copy(update={"password": password}), "select 1")


def test_is_made_by_a_run(own_server):
    """Where the server is new, and nobody has made the role."""
    with connect(ensure_server(own_server)) as owner:
        ensure_analyst(owner, own_server.analyst_password)
    analyst = {"user": "analyst", "password": own_server.analyst_password}
    ask(own_server.model_copy(update=analyst), "select 1")


def test_every_mart_is_described_where_people_look(analyst):
    """psql's \\d+ and pgAdmin show these comments."""
    undescribed = ask(
        analyst,
        "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v')"
        " and a.attnum > 0"
        " and (col_description(c.oid, a.attnum) is null or obj_description(c.oid) is null)",
    )
    assert undescribed == []
