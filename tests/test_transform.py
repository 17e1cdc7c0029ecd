"""The models: nothing is lost, nothing is made up, and only what has changed is built."""

from datetime import date, datetime

import pandas as pd
import pytest
import yaml
from sqlalchemy import text

from flows.errors import PipelineError
from flows.extract import SourceFile, verify
from flows.load import replace_month
from flows.sample import sample_month
from flows.transform import PROJECT, transform
from flows.warehouse import ROOT, connect, save_block

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
ROWS = 20_000
ZONES = ROOT.parent / "shared" / "data" / "taxi_zone_lookup.csv"
RENAMED = {
    "VendorID": "vendor_id",
    "RatecodeID": "rate_code_id",
    "PULocationID": "pickup_location_id",
    "DOLocationID": "dropoff_location_id",
    "payment_type": "payment_type_id",
    "tpep_pickup_datetime": "pickup_datetime",
    "tpep_dropoff_datetime": "dropoff_datetime",
}


def land(month: date, rows: int = ROWS) -> SourceFile:
    path = sample_month(month, rows)
    file = verify(str(path), path)
    replace_month(file, month, False, 0)
    return file


@pytest.fixture(scope="module")
def built(new_database, prefect_server):
    """A warehouse with two months in it, built once; tests may only read it."""
    settings = new_database()
    save_block(settings)
    land(JANUARY)
    land(FEBRUARY, rows=4_000)
    transform()
    return settings


@pytest.fixture
def ask(built):
    """Read a query's result from the built warehouse as a data frame."""

    def run(statement: str) -> pd.DataFrame:
        with connect(built) as connection:
            return pd.read_sql(text(statement), connection)

    return run


def as_pandas_has_it(path) -> pd.DataFrame:
    """What the notes did in Python: read, cast, filter. Rows that can't be cast are left out."""
    raw = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    trips = raw.copy()
    for column in raw:
        if column.endswith("datetime"):
            trips[column] = pd.to_datetime(raw[column], errors="coerce")
        elif column != "store_and_fwd_flag":
            trips[column] = pd.to_numeric(raw[column], errors="coerce")
    castable = (trips.notna() | raw.isna()).all(axis=1)
    trips = trips[castable & (trips["passenger_count"] != 0)]
    return trips.rename(columns=RENAMED).reset_index(drop=True)


@pytest.mark.parametrize(("month", "rows"), [(JANUARY, ROWS), (FEBRUARY, 4_000)])
def test_trips_equal_row_for_row_what_pandas_gives(ask, month, rows):
    expected = as_pandas_has_it(sample_month(month, rows))
    trips = ask(
        f"select * from yellow_taxi_trips where source_month = '{month}' order by source_row"
    )
    pd.testing.assert_frame_equal(trips[list(expected)], expected, check_dtype=False)
    assert len(trips) > 0.9 * rows


def test_the_table_is_found_without_naming_its_schema(ask):
    assert ask("select count(*) from yellow_taxi_trips")["count"].item() > 20_000


def test_types_are_those_that_an_analyst_expects(ask):
    types = ask(
        "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
        " where attrelid = 'yellow_taxi_trips'::regclass and attnum > 0"
    ).set_index("attname")["type"]
    assert types["pickup_datetime"] == types["dropoff_datetime"] == "timestamp without time zone"
    assert types["passenger_count"] == types["payment_type_id"] == "smallint"
    assert types["total_amount"] == types["trip_distance"] == "numeric"


def test_no_trip_has_zero_passengers_and_trips_without_a_count_stay(ask):
    counts = ask("select passenger_count, count(*) from yellow_taxi_trips group by 1")
    assert 0 not in set(counts["passenger_count"])
    missing = counts[counts["passenger_count"].isna()]["count"].item()
    assert missing == (ROWS + 4_000) * 7 // 100 - 1  # one of them is rejected


def test_what_cannot_be_cast_is_kept_with_its_reason(ask):
    rejected = ask("select * from rejected_trips order by source_row")
    assert list(rejected["rejection_reasons"]) == [
        "passenger_count is no smallint",
        "tpep_pickup_datetime is no timestamp",
        "fare_amount is no numeric",
        "trip_distance is no numeric",
    ]
    assert rejected["raw_values"][2]["fare_amount"] == "12,50"
    assert set(rejected["raw_values"][0]) >= {"vendorid", "pulocationid", "total_amount"}


def test_every_raw_row_is_accounted_for(ask):
    accounting = ask("select * from trip_accounting order by source_month")
    assert list(accounting["raw_rows"]) == [ROWS, 4_000]
    assert list(accounting["rejected_trips"]) == [4, 0]
    accounted = accounting[["trips", "zero_passenger_trips", "rejected_trips"]].sum(axis=1)
    assert list(accounted) == [ROWS, 4_000]


def test_every_column_of_every_table_is_described(ask):
    columns = ask(
        "select table_name, column_name from information_schema.columns"
        " where table_schema in ('raw', 'staging', 'public')"
        " and table_name <> 'built_months' and table_name !~ 'yellow_tripdata_'"
    )
    described = set()
    for path in [*PROJECT.glob("models/**/_*.yml"), *PROJECT.glob("seeds/_*.yml")]:
        content = yaml.safe_load(path.read_text())
        for source in content.get("sources", []):
            content.setdefault("models", []).extend(source["tables"])
        for table in [*content.get("models", []), *content.get("seeds", [])]:
            assert table["description"]
            described |= {(table["name"], c["name"]) for c in table["columns"] if c["description"]}
    assert set(columns.itertuples(index=False, name=None)) == described


@pytest.mark.skipif(not ZONES.exists(), reason="TLC's own file of zones is not here")
def test_the_zones_are_tlcs(ask):
    expected = pd.read_csv(ZONES, keep_default_na=False)
    zones = ask("select * from taxi_zones order by location_id")
    assert zones.to_numpy().tolist() == expected.to_numpy().tolist()


def test_a_code_that_the_dictionary_lacks_is_a_warning(warehouse, query, tmp_path):
    path = tmp_path / "trips.csv"
    trips = pd.read_csv(sample_month(JANUARY, 1_000), dtype=str)
    trips.loc[:4, "payment_type"] = "9"
    trips.to_csv(path, index=False)
    replace_month(verify(str(path), path), JANUARY, False, 0)
    transform()
    unknown = "select count(*) from yellow_taxi_trips where payment_type_id = 9"
    assert query(unknown) == [(5,)]


def fingerprint(query, table: str, month: date | None = None) -> str:
    where = f"where source_month = '{month}'" if month else ""
    return query(f"select md5(string_agg(t::text, '/' order by t::text)) from {table} t {where}")[
        0
    ][0]


def test_only_months_that_have_changed_are_built(warehouse, query):
    land(JANUARY, 1_000)
    land(FEBRUARY, 1_000)
    transform()
    written = "select distinct source_month, xmin::text from {} order by 1"
    before = {
        table: query(written.format(table)) for table in ("yellow_taxi_trips", "trip_accounting")
    }

    transform()
    assert {table: query(written.format(table)) for table in before} == before

    land(FEBRUARY, 2_000)
    transform()
    for table, [january, february] in before.items():
        assert query(written.format(table))[0] == january
        assert query(written.format(table))[1] != february
    assert query("select raw_rows from trip_accounting order by source_month") == [
        (1_000,),
        (2_000,),
    ]

    tables = ("yellow_taxi_trips", "rejected_trips", "trip_accounting")
    incremental = [fingerprint(query, table) for table in tables]
    transform(full_refresh=True)
    assert [fingerprint(query, table) for table in tables] == incremental


def test_a_month_may_lose_all_its_trips(warehouse, query, tmp_path):
    """Months are replaced even if nothing of the new file gets into the table."""
    land(JANUARY, 1_000)
    transform()
    lines = sample_month(JANUARY, 1_000)
    path = tmp_path / "zero.csv"
    trips = pd.read_csv(lines, dtype=str).assign(passenger_count="0")
    trips.to_csv(path, index=False)
    replace_month(verify(str(path), path), JANUARY, False, 0)
    transform()
    assert query("select count(*) from yellow_taxi_trips") == [(0,)]
    assert query("select trips, zero_passenger_trips from trip_accounting") == [(0, 1_000)]


def test_the_trips_table_may_have_another_name(warehouse, query):
    land(JANUARY, 1_000)
    transform()
    land(FEBRUARY, 1_000)
    transform(table_name="my_trips")
    transform()
    assert fingerprint(query, "my_trips") == fingerprint(query, "yellow_taxi_trips")


def test_a_row_that_is_not_accounted_for_fails_the_flow(warehouse, query):
    land(JANUARY, 1_000)
    query("delete from raw.yellow_tripdata where source_row = 500")
    with pytest.raises(PipelineError, match="assert_every_raw_row_is_accounted_for") as failure:
        transform()
    assert "\n" not in str(failure.value)


def test_a_model_that_fails_is_named(warehouse, query):
    land(JANUARY, 1_000)
    query("create sequence trip_accounting")  # a name can be taken only once
    with pytest.raises(
        PipelineError, match="Model trip_accounting errored with message"
    ) as failure:
        transform()
    assert "\n" not in str(failure.value)


def test_dates_as_people_write_them_in_new_york(warehouse, query, tmp_path):
    path = tmp_path / "trips.csv"
    trips = pd.read_csv(sample_month(JANUARY, 1_000), dtype=str)
    trips.loc[0, "tpep_pickup_datetime"] = "01/31/2021 0:30"
    trips.to_csv(path, index=False)
    replace_month(verify(str(path), path), JANUARY, False, 0)
    transform()
    first = "select pickup_datetime from yellow_taxi_trips where source_row = 1"
    assert query(first) == [(datetime(2021, 1, 31, 0, 30),)]
