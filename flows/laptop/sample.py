"""Sample months: made-up trips with the header and the value ranges of TLC's yellow-taxi files.

Deterministic: the same month and number of rows give the same bytes, on every machine. What the
columns mean is in TLC's data dictionary for yellow taxis; the shares below are roughly those of
January 2021. The last 7 % of a file have no passenger count, as in TLC's own files, and one row
in 5,000 has a value that is not a number or not a date, for dbt to reject.
"""

import gzip
import io
import os
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random

from flows.settings import ROOT

FOLDER = ROOT / "data" / "samples"
ROWS = 50_000
HEADER = (
    "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,"
    "RatecodeID,store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,"
    "mta_tax,tip_amount,tolls_amount,improvement_surcharge,total_amount,congestion_surcharge"
)
BUSY_ZONES = (236, 237, 161, 162, 186, 170, 48, 141, 142, 239, 238, 263, 234, 230, 132, 138)
UNCASTABLE = (
    ("passenger_count", "two"),
    ("tpep_pickup_datetime", "2021-02-30 25:61:00"),
    ("fare_amount", "12,50"),
    ("trip_distance", "NaN"),
)


def sample_month(month: date, rows: int = ROWS, folder: Path = FOLDER) -> Path:
    """Write a sample month where there is none yet; return its `.csv.gz`."""
    path = folder / f"{rows}_rows" / f"yellow_tripdata_{month:%Y-%m}.csv.gz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        # No name and no time in the gzip header: the same bytes each time.
        with (
            unfinished.open("wb") as file,
            gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
            io.TextIOWrapper(packed, newline="") as text,
        ):
            text.writelines(sample_lines(month, rows))
        unfinished.replace(path)
    return path


def sample_lines(month: date, rows: int) -> Iterator[str]:
    """The lines of a sample month: the header, then the trips."""
    yield HEADER + "\n"
    random = Random(f"{month:%Y-%m}")  # noqa: S311 (made-up trips, not secrets)
    begin = datetime(month.year, month.month, 1)
    seconds = 28 * 24 * 3600
    first_without_count = rows - rows * 7 // 100
    columns = HEADER.split(",")
    for number in range(rows):
        trip = sample_trip(random, begin + timedelta(seconds=random.randrange(seconds)))
        if number >= first_without_count:
            for name in (
                "VendorID",
                "passenger_count",
                "RatecodeID",
                "store_and_fwd_flag",
                "payment_type",
            ):
                trip[columns.index(name)] = ""
        if number % 5_000 == 4_999:
            name, value = UNCASTABLE[number // 5_000 % len(UNCASTABLE)]
            trip[columns.index(name)] = f'"{value}"' if "," in value else value
        yield ",".join(trip) + "\n"


def sample_trip(random: Random, pickup: datetime) -> list[str]:
    """One trip's fields, in the order of the header. Money in dollars, distances in miles."""
    minutes = max(1.0, random.lognormvariate(2.4, 0.6))
    miles = round(minutes * random.uniform(0.1, 0.35), 2)
    fare = 2.5 + round(2 * (miles * 2.5 + minutes * 0.25)) / 2  # the meter moves in half dollars
    extra = random.choice((0.0, 0.5, 1.0, 2.5, 3.5))
    by_card = random.random() < 0.75
    tolls = 6.12 if random.random() < 0.03 else 0.0
    tip = round(fare * random.choice((0.15, 0.2, 0.25)), 2) if by_card else 0.0
    sign = -1 if random.random() < 0.004 else 1  # refunds and disputes
    total = fare + extra + 0.5 + tip + tolls + 0.3 + 2.5
    # 2 % of the drivers enter no passengers; some files write the count as a decimal number.
    passengers = random.choices((0, 1, 2, 3, 4, 5, 6), (2, 73, 14, 4, 2, 3, 2))[0]
    dollars = (fare, extra, 0.5, tip, tolls, 0.3, total, 2.5)
    return [
        str(random.choice((1, 2, 2))),
        str(pickup),
        str(pickup + timedelta(seconds=round(minutes * 60))),
        f"{passengers}.0" if random.random() < 0.05 else str(passengers),
        f"{miles:.2f}",
        random.choices(("1", "2", "5", "99"), (965, 20, 10, 5))[0],
        random.choices(("N", "Y"), (99, 1))[0],
        str(random_zone(random)),
        str(random_zone(random)),
        "1" if by_card else random.choices(("2", "3", "4"), (96, 3, 1))[0],
        *(f"{sign * amount:.2f}".rstrip("0").rstrip(".") for amount in dollars),
    ]


def random_zone(random: Random) -> int:
    """A TLC taxi zone, 1 to 265; most trips begin and end in a few of them."""
    return random.choice(BUSY_ZONES) if random.random() < 0.7 else random.randint(1, 265)
