"""What is known to be wrong in TLC's files is recognised, named, and corrected where certain."""

import csv
import json
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, build_by_hand, load_file, put_by, run_query, warehouse_to_build

from flows.settings import PROJECT
from flows.tlc.datasets import DATASETS
from flows.warehouse.connection import connect, driver_of

NEW_YORK = ZoneInfo("America/New_York")
SEED = PROJECT / "seeds/known_faults.csv"
GREEN_JANUARY = ROOT.parent / "shared/data/parquet/green_tripdata_2023-01.parquet"
ORDINARY = {  # a green trip of vendor 2, paid by card
    "VendorID": 2,
    "lpep_pickup_datetime": "2025-03-05 10:00:07",
    "lpep_dropoff_datetime": "2025-03-05 10:20:11",
    "store_and_fwd_flag": "N",
    "RatecodeID": 1,
    "PULocationID": 74,
    "DOLocationID": 75,
    "passenger_count": 1,
    "trip_distance": 2.5,
    "fare_amount": 15.6,
    "extra": 2.5,
    "mta_tax": 0.5,
    "tip_amount": 3,
    "tolls_amount": 0,
    "ehail_fee": None,
    "improvement_surcharge": 1,
    "total_amount": 22.6,
    "payment_type": 1,
    "trip_type": 1,
    "congestion_surcharge": 0,
    "cbd_congestion_fee": 0,
}
WITHOUT_PAYMENT = {
    **dict.fromkeys(["payment_type", "passenger_count", "RatecodeID", "trip_type"]),
    "congestion_surcharge": None,
}


def lasts(pickup: str, dropoff: str) -> dict:
    """The times of a trip in March 2025, or of the day that is given."""
    begin, end = (f"2025-03-{time}" if len(time) < 19 else time for time in (pickup, dropoff))
    return {"lpep_pickup_datetime": begin, "lpep_dropoff_datetime": end}


CASES = {  # what a row has in place of the ordinary one's values; its faults; its values then
    "an ordinary trip": ({}, None, {"duration_minutes": 20.07, "speed_mph": 7.5}),
    "cash: no tip is recorded": (
        {"payment_type": 2, "tip_amount": 0, "total_amount": 19.6},
        None,
        {"tip_amount": None, "tip_share": None},
    ),
    "vendor 2, seven hours": (
        lasts("05 10:00:07", "05 17:00:07"),
        ["dropoff_a_day_late"],
        {"duration_minutes": None, "speed_mph": None, "trip_distance": 2.5},
    ),
    "vendor 2, until midnight": (
        lasts("05 23:00:07", "06 00:00:00"),
        ["dropoff_a_day_late"],
        {"duration_minutes": None},
    ),
    "vendor 1, seven hours": (
        {"VendorID": 1, **lasts("05 10:00:07", "05 17:00:07")},
        ["implausibly_long"],
        {"duration_minutes": 420},
    ),
    "vendor 6, the month for the minutes": (
        {"VendorID": 6, "tip_amount": 0, **lasts("05 10:03:07", "05 10:03:59")},
        ["implausibly_fast", "month_for_minutes", "paratransit"],
        {
            "pickup_datetime": datetime(2025, 3, 5, 10),
            "duration_minutes": None,
            "fare_amount": None,
            "tip_amount": None,
            "total_amount": 22.6,
        },
    ),
    "no vendor, zone 265, the month for the minutes": (
        {"VendorID": None, "PULocationID": 265, **lasts("05 10:03:07", "05 11:03:59")},
        ["month_for_minutes"],
        {"dropoff_datetime": datetime(2025, 3, 5, 11), "duration_minutes": None},
    ),
    "vendor 2 in the minute of the month": (
        lasts("05 10:03:07", "05 11:03:07"),
        None,
        {"duration_minutes": 60, "pickup_datetime": datetime(2025, 3, 5, 10, 3, 7)},
    ),
    "vendor 7": (
        {"VendorID": 7, **lasts("05 10:00:07", "05 10:00:07")},
        ["dropoff_is_pickup"],
        {"duration_minutes": None, "speed_mph": None},
    ),
    "a negotiated fare typed in later": (
        {"RatecodeID": 5, **lasts("05 10:00:07", "05 10:00:19")},
        ["fare_typed_in_later", "implausibly_fast"],
        {"duration_minutes": None, "fare_amount": 15.6},
    ),
    "beyond 200 miles": (
        {"trip_distance": 200.01, **lasts("05 10:00:07", "05 15:00:07")},
        ["beyond_200_miles"],
        {"trip_distance": None, "speed_mph": None, "duration_minutes": 300},
    ),
    "200 miles": (
        {"trip_distance": 200, **lasts("05 10:00:07", "05 15:00:07")},
        None,
        {"trip_distance": 200, "speed_mph": 40},
    ),
    "prearranged": (
        {"VendorID": 1, "trip_distance": 0, "tip_amount": 0, "total_amount": 19.6},
        ["prearranged", "fare_without_distance"],
        {"trip_distance": None, "tip_share": None, "fare_amount": 15.6},
    ),
    "nobody paid": ({"VendorID": 1, "payment_type": 4}, ["unpaid"], {"total_amount": 22.6}),
    "the congestion surcharge in the total alone": (
        {**WITHOUT_PAYMENT, "total_amount": 25.35},
        ["surcharge_in_total_alone"],
        {"total_amount": 25.35},
    ),
    "an app's fee in the total alone": (
        {"total_amount": 24.55},
        ["fee_in_total_alone"],
        {"total_amount": 24.55},
    ),
    "a subway's fare in the place of the tip": (
        {
            **WITHOUT_PAYMENT,
            **{"tip_amount": 2.75, "total_amount": 22.35},
            **lasts("2021-05-05 10:00:07", "2021-05-05 10:20:11"),
        },
        ["outside_source_month", "subway_fare_as_tip"],
        {"tip_amount": None, "tip_share": None, "total_amount": 22.35},
    ),
    "the fee for Manhattan's centre, before it had a column": (
        {
            **WITHOUT_PAYMENT,
            **{"cbd_congestion_fee": None, "total_amount": 23.35},
            **lasts("2025-02-05 10:00:07", "2025-02-05 10:20:11"),
        },
        ["cbd_fee_not_shown", "outside_source_month"],
        {"cbd_congestion_fee": None, "total_amount": 23.35},
    ),
    "a negative fare, and a total": (
        {**WITHOUT_PAYMENT, "fare_amount": -3, "total_amount": 4},
        ["negative_fare"],
        {"fare_amount": None, "total_amount": 4},
    ),
    "vendor 1, whose columns hold one another": (
        {
            "VendorID": 1,
            **{"extra": 5.25, "congestion_surcharge": 2.75, "mta_tax": 1.5, "total_amount": 25.35},
        },
        None,
        {"extra": 5.25, "mta_tax": 1.5},
    ),
    "to LaGuardia": ({"extra": 7.5, "DOLocationID": 138, "total_amount": 27.6}, None, {}),
    "a negative tip": ({"tip_amount": -1, "total_amount": 18.6}, ["negative_amount"], {}),
    "JFK's rate in Harlem": ({"RatecodeID": 2}, ["jfk_rate_elsewhere"], {}),
    "JFK's rate to JFK": ({"RatecodeID": 2, "DOLocationID": 132}, None, {}),
    "over the change in March": (
        lasts("09 01:50:00", "09 03:10:00"),
        ["clock_change"],
        {"duration_minutes": 20, "speed_mph": 7.5},
    ),
    "from the hour that March does not have": (
        lasts("09 02:30:00", "09 03:10:00"),
        None,
        {"duration_minutes": 40},
    ),
    "before the change in March": (
        lasts("09 01:30:00", "09 01:50:00"),
        None,
        {"duration_minutes": 20},
    ),
    "a dropoff before the pickup": (
        {"VendorID": 1, **lasts("05 10:20:00", "05 10:10:00")},
        ["dropoff_before_pickup"],
        {"duration_minutes": -10, "speed_mph": None},
    ),
}
ODD_VALUES = [  # columns that a rule reads, their type, and what of its values rules tell apart
    (["vendor_id", "rate_code_id"], "smallint", [None, 1, 2, 5, 6, 7]),
    (["payment_type_id"], "smallint", [None, 0, 1, 3, 4]),
    (["pickup_location_id", "dropoff_location_id"], "smallint", [None, 132, 7, 265]),
    (["pickup_longitude", "trip_distance"], "numeric(14, 4)", [None, -1, 0, 2.5, 201]),
    (
        [
            *("fare_amount", "tip_amount", "tolls_amount", "total_amount", "extra", "mta_tax"),
            *("improvement_surcharge", "congestion_surcharge", "airport_fee", "ehail_fee"),
            "cbd_congestion_fee",
        ],
        "numeric(14, 4)",
        [None, -3, 0, 2.75, 5, 0.75],
    ),
    (["source_month"], "date", ["2014-03-01", "2020-11-01", "2025-01-01", "2025-03-01"]),
    (
        ["pickup_datetime", "dropoff_datetime"],
        "timestamp",
        [
            *(None, "2025-03-01 23:59:59", "2025-03-31 10:03:07", "2014-03-01", "2025-01-06"),
            *("2025-03-09 01:50:00", "2025-03-09 03:10:00", "2025-03-10", "2025-03-10 03:03:07"),
            *("2020-11-01 00:40:00", "2020-11-01 01:10:00", "2020-11-01 01:40:00"),
            *("2020-11-01 02:40:00", "2021-01-01"),
        ],
    ),
]
NIGHT = [  # of 2 November 2025, in whose second hour the clocks go back
    ("00:30:00", "02:20:00", ["clock_change"], 170),
    ("01:50:00", "01:10:00", ["clock_change"], 20),
    ("00:50:00", "01:10:00", ["doubled_hour"], None),
    ("01:10:00", "01:50:00", ["doubled_hour"], None),
    ("01:50:00", "02:10:00", ["doubled_hour"], None),
    ("00:10:00", "00:40:00", None, 30),
    ("02:00:00", "02:40:00", None, 40),
]


def write_rows(path, rows: list[dict]) -> None:
    pd.DataFrame(rows).astype(object).to_csv(path, index=False)


def in_file_order() -> list[dict]:
    """A month in the order of its hours, with refunds, and four clocks that are wrong."""
    random = np.random.default_rng(26)
    rows = []
    for place in range(3_000):
        hour = datetime(2024, 5, 1) + timedelta(hours=place // 30)
        pickup = hour + timedelta(seconds=int(random.integers(3_600)))
        dropoff = pickup + timedelta(minutes=12)
        fare = float(random.integers(5, 60))
        rows.append(
            ORDINARY
            | {
                "VendorID": 1 + (place % 3 > 0),
                "lpep_pickup_datetime": pickup,
                "lpep_dropoff_datetime": dropoff,
                "fare_amount": fare,
                "total_amount": fare + 7,
                "DOLocationID": 1 + place % 200,
            }
        )
    for place, off in WRONG.items():
        for name in ("lpep_pickup_datetime", "lpep_dropoff_datetime"):
            rows[place][name] += off
    for place in REFUNDED:
        original = rows[place] | {"VendorID": 2, "payment_type": 2, "tip_amount": 0}
        original["total_amount"] = original["fare_amount"] + 4
        money = [
            name for name in ORDINARY if name.endswith(("amount", "extra", "tax", "surcharge"))
        ]
        rows[place] = original
        rows[place - 1] = original | {name: -original[name] for name in money} | {"payment_type": 3}
    # Beside one that is alike but for its zone, and alone.
    rows[2_001] = rows[2_000] | {"VendorID": 2, "PULocationID": 7}
    rows[2_000] = rows[2_001] | {"total_amount": -rows[2_001]["total_amount"], "PULocationID": 8}
    return rows


WRONG = {
    400: timedelta(hours=5),
    901: timedelta(hours=-24),
    1_300: timedelta(days=40),
    2_201: timedelta(hours=-3),
}
REFUNDED = (600, 1_700)


@pytest.fixture(scope="module")
def marked(prefect_server, tmp_path_factory):
    """A warehouse of green months, each of a file with something of its own."""
    settings = warehouse_to_build()
    folder = tmp_path_factory.mktemp("faults")
    rows = [ORDINARY | changes for changes, _, _ in CASES.values()]
    night = [
        ORDINARY | {"VendorID": 1, **lasts(f"2025-11-02 {pickup}", f"2025-11-02 {dropoff}")}
        for pickup, dropoff, _, _ in NIGHT
    ]
    ordered = in_file_order()
    shuffled = [ordered[place] for place in np.random.default_rng(1).permutation(len(ordered))]
    months = {
        date(2025, 3, 1): rows,
        date(2025, 11, 1): night,
        date(2024, 5, 1): ordered,
        date(2024, 6, 1): [a_month_later(row) for row in shuffled],
        date(2024, 7, 1): [
            a_month_later(a_month_later(row))
            for row in sorted(ordered, key=lambda row: (row["fare_amount"], row["DOLocationID"]))
        ],
    }
    for month, rows_of_it in months.items():
        path = folder / f"green_tripdata_{month:%Y-%m}.csv"
        write_rows(path, rows_of_it)
        load_file(path, month, "green")
    build_by_hand(settings, "build --exclude-resource-type unit_test")
    return put_by(settings)


def a_month_later(row: dict) -> dict:
    later = {
        name: row[name] + timedelta(days=31 if row[name].month == 5 else 30)
        for name in ("lpep_pickup_datetime", "lpep_dropoff_datetime")
    }
    return row | later


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_named_and_what_is_lost_is_null(marked, case):
    _, faults, values = CASES[case]
    place = 1 + [*CASES].index(case)
    names = ["faults", *values]
    [found] = run_query(
        marked,
        f"select {', '.join(names)} from green_taxi_trips"
        f" where source_month = '2025-03-01' and source_row = {place}",
    )
    assert sorted(found[0] or []) == sorted(faults or [])
    assert (found[0] is None) == (faults is None)
    for value, expected in zip(found[1:], values.values(), strict=True):
        assert value == (Decimal(str(expected)) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_hint_is_true_wherever_its_rules_are(marked, dataset):
    """Of made-up trips that have more than one thing wrong."""
    random = np.random.default_rng(27)
    columns = {
        f"unnest(%s::{kind}[]) as {name}": random.choice(np.array(values, dtype=object), 20_000)
        for names, kind, values in ODD_VALUES
        for name in names
    }
    rendered = f"{{{{tojson([faults_of('{dataset}'),hints_of('{dataset}')])}}}}"
    said = build_by_hand(marked, f"compile --inline {rendered}")
    rules, hints = json.loads(re.search(r"\[{.*}\]", said).group())
    assert hints.keys() < rules.keys()
    counts = ", ".join(
        f"count(*) filter (where {rules[name]}),"
        f" count(*) filter (where ({rules[name]}) and ({hint}) is not true)"
        for name, hint in hints.items()
    )
    with connect(marked) as connection, driver_of(connection).cursor() as cursor:
        cursor.execute(
            f"select {counts.replace('%', '%%')} from (select {', '.join(columns)}) as trips",
            [list(values) for values in columns.values()],
        )
        [found] = cursor.fetchall()
    for name, by_rule, without_hint in zip(hints, found[::2], found[1::2], strict=True):
        assert by_rule, name
        assert without_hint == 0, name


def test_the_night_of_november_lasts_as_long_as_it_does_where_the_clock_can_tell(marked):
    found = run_query(
        marked,
        "select faults, duration_minutes::float from green_taxi_trips"
        " where source_month = '2025-11-01' order by source_row",
    )
    assert found == [(faults, minutes) for _, _, faults, minutes in NIGHT]


@pytest.mark.parametrize(("pickup", "dropoff", "faults", "minutes"), NIGHT)
def test_these_are_the_lengths_that_zoneinfo_gives(pickup, dropoff, faults, minutes):
    def readings(time):
        naive = datetime.fromisoformat(f"2025-11-02 {time}")
        return {naive.replace(tzinfo=NEW_YORK, fold=fold).timestamp() for fold in (0, 1)}

    lengths = {
        (end - begin) / 60
        for begin in readings(pickup)
        for end in readings(dropoff)
        if end >= begin
    }
    assert lengths == {minutes} if minutes else len(lengths) > 1


def test_wrong_clocks_are_found_by_the_order_of_the_file(marked):
    found = run_query(
        marked,
        "select source_row - 1, faults, pickup_hour_in_file_order from green_taxi_trips"
        " where source_month = '2024-05-01' and 'wrong_clock' = any(faults) order by source_row",
    )
    assert found == [
        (place, ["wrong_clock"], datetime(2024, 5, 1) + timedelta(hours=place // 30))
        for place in WRONG
    ]


def test_a_refund_is_no_trip_and_its_original_was_paid_as_it_says(marked):
    found = run_query(
        marked,
        "select source_row - 1, faults, payment_type_id from green_taxi_trips"
        " where source_month = '2024-05-01' and faults && '{refund,refunded}' order by source_row",
    )
    pairs = [
        row for place in REFUNDED for row in ((place - 1, ["refund"], 3), (place, ["refunded"], 3))
    ]
    assert found == sorted([*pairs, (2_000, ["refund"], 1)])
    [(trips, refunds)] = run_query(
        marked,
        "select sum(trips), sum(refunds) from daily_trips where source_month = '2024-05-01'",
    )
    assert (trips, refunds) == (3_000 - 3, 3)
    [(revenue, total)] = run_query(
        marked,
        "select (select sum(revenue) from daily_trips where source_month = '2024-05-01'),"
        " (select sum(total_amount) from green_taxi_trips where source_month = '2024-05-01')",
    )
    assert revenue == total


@pytest.mark.parametrize("month", ["2024-06-01", "2024-07-01"], ids=["shuffled", "sorted by fare"])
def test_of_a_file_whose_order_means_nothing_no_clock_is_wrong_and_no_pair_invented(marked, month):
    found = run_query(
        marked,
        "select count(*) filter (where 'wrong_clock' = any(faults)),"
        " count(*) filter (where 'refund' = any(faults)),"
        f" count(*) from green_taxi_trips where source_month = '{month}'",
    )
    assert found == [(0, 3, 3_000)]
    invented = run_query(
        marked,
        "select count(*) from green_taxi_trips as trips where 'refunded' = any(faults)"
        f" and source_month = '{month}' and not exists (select from green_taxi_trips as refund"
        " where refund.source_month = trips.source_month"
        " and refund.total_amount = -trips.total_amount"
        " and refund.pickup_datetime = trips.pickup_datetime)",
    )
    assert invented == [(0,)]


@pytest.mark.parametrize(
    ("case", "charges"),
    [
        ("vendor 1, whose columns hold one another", (2.5, 0, 0.5, 1, 2.75)),
        ("to LaGuardia", (2.5, 5, 0.5, 1, 0)),
    ],
)
def test_each_charge_is_counted_once_and_under_its_name(marked, case, charges):
    [found] = run_query(
        marked,
        "select rush_hour_and_night::float, airport::float, mta_tax::float, improvement::float,"
        " congestion::float, not_in_columns::float, unexplained::float from trip_charges"
        " where source_month = '2025-03-01' and right(trip_id::text, 3)::int ="
        f" {1 + [*CASES].index(case)}",
    )
    assert found == (*charges, 0, 0)


def test_the_parts_of_a_total_add_up_to_it(marked, january):
    for settings in (marked, january[0]):
        assert run_query(
            settings,
            "select count(*) from trip_charges where fare + rush_hour_and_night + airport + mta_tax"
            " + improvement + congestion + cbd_fee + tolls + tip + not_in_columns + unexplained"
            " <> total_amount",
        ) == [(0,)]


def test_each_fault_that_is_marked_has_a_rule_and_each_rule_is_described():
    macros = [PROJECT / f"macros/{name}.sql" for name in ("known_faults", "file_order")]
    text = "\n".join(path.read_text() for path in macros)
    ruled = set(re.findall(r"^        '(\w+)':\n", text, re.M))
    ruled |= set(re.findall(r"^ {12}'(\w+)':(?:\n| )", text, re.M))
    ruled |= set(re.findall(r"'(\w+)': (?:is_long|\"\(|touches)", text))
    ruled |= set(re.findall(r"'(\w+)' as fault", text))
    with SEED.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert {row["fault"] for row in rows if row["is_marked"] == "true"} == ruled
    assert all(row["sure"] in "ABC" and row["what_is_done"] for row in rows)


@pytest.fixture(scope="module")
def january(prefect_server):
    """TLC's whole green month of January 2023, built; and the file."""
    if not GREEN_JANUARY.exists():
        pytest.skip(f"needs {GREEN_JANUARY.name}")
    settings = warehouse_to_build()
    load_file(GREEN_JANUARY, date(2023, 1, 1), "green")
    build_by_hand(settings, "build --exclude-resource-type unit_test")
    trips = pd.read_parquet(GREEN_JANUARY)
    return put_by(settings), trips[trips["passenger_count"] != 0]


def test_a_whole_month_has_the_faults_that_pandas_counts(january):
    settings, trips = january
    pickup, dropoff = trips["lpep_pickup_datetime"], trips["lpep_dropoff_datetime"]
    seconds = (dropoff - pickup).dt.total_seconds()
    is_paid, vendor = trips["payment_type"].notna(), trips["VendorID"]
    is_late = (vendor == 2) & ((seconds > 6 * 3600) | (dropoff == dropoff.dt.normalize()))
    hours = pickup[is_paid].astype("datetime64[us]").astype("int64") / 3.6e9
    is_off = (hours - hours.rolling(41, center=True, min_periods=1).median()).abs() > 1.5
    expected = {
        "dropoff_a_day_late": is_late.sum(),
        "fare_typed_in_later": ((trips["RatecodeID"] == 5) & (seconds < 60)).sum(),
        "beyond_200_miles": (trips["trip_distance"] > 200).sum(),
        "refund": ((trips["total_amount"] < 0) & is_paid).sum(),
        "unpaid": ((vendor == 1) & trips["payment_type"].isin([3, 4])).sum(),
        "prearranged": (
            (vendor == 1) & (trips["payment_type"] == 1) & (trips["trip_distance"] == 0)
            & (trips["tip_amount"] == 0) & (trips["fare_amount"] > 4)
        ).sum(),
    }  # fmt: skip
    counted = dict(
        run_query(settings, "select fault, sum(trips)::int from trip_faults group by fault")
    )
    assert {name: counted.get(name, 0) for name in expected} == expected
    assert counted["refunded"] == counted["refund"]
    assert counted["wrong_clock"] == pytest.approx(is_off[vendor[is_paid] == 2].sum(), rel=0.02)
    minutes, miles = run_query(
        settings, "select avg(duration_minutes)::float, avg(trip_distance)::float from trips"
    )[0]
    is_lost = is_late | ((trips["RatecodeID"] == 5) & (seconds < 60))
    assert minutes == pytest.approx((seconds[~is_lost] / 60).mean(), abs=0.01)
    assert miles < 3.5


def test_each_total_of_vendor_1_is_explained_to_the_cent(january):
    settings, _ = january
    assert run_query(
        settings,
        "select count(*) filter (where unexplained <> 0), count(*) > 8000 from trip_charges"
        " where vendor_id = 1 and payment_type_id is not null",
    ) == [(0, True)]
