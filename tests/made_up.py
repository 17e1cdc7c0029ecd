"""Made-up months of trips, as TLC has written them in each era of its datasets.

A month is a data frame with the analysts' names and types, which a test can compare with what the
models make of it; `write` puts it into the words, the names and the format of an era.
`made_up_month` does both, for the CSV of 2019 to 2021, and puts in some values that can't be cast.

What the columns mean is in TLC's data dictionary; the shares are roughly those of January 2021. The
same era, month and number of rows always make the same trips.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

PLACES = ["pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"]
WHOLE = [
    *("vendor_id", "rate_code_id", "passenger_count", "payment_type_id", "trip_type_id"),
    *("pickup_location_id", "dropoff_location_id", "sr_flag", "trip_seconds"),
]


@dataclass(frozen=True)
class Era:
    """How TLC wrote a month's file."""

    month: date  # one of the era
    names: dict[str, str]  # in the file, and for analysts
    words: dict[str, dict[int, str]] = field(default_factory=dict)  # in the place of codes
    separator: str = ","
    second_line: str = ""  # some files have a blank one
    surplus: int = 0  # empty fields that each row has more than the header
    is_quoted: bool = False  # every field is
    is_parquet: bool = False
    types: dict[str, pa.DataType] = field(default_factory=dict)  # of columns in Parquet
    dataset: str = "yellow"

    @property
    def file_name(self) -> str:
        kind = "parquet" if self.is_parquet else "csv.gz"
        return f"{self.dataset}_tripdata_{self.month:%Y-%m}.{kind}"


def named(text: str) -> dict[str, str]:
    """Pairs of a name in the file and, where it is another one, the analysts' name."""
    pairs = (word.partition("=") for word in text.split())
    return {name: own or name.lower() for name, _, own in pairs}


NAMES_2009 = named(
    "vendor_name=vendor_id Trip_Pickup_DateTime=pickup_datetime Trip_Dropoff_DateTime="
    "dropoff_datetime Passenger_Count Trip_Distance Start_Lon=pickup_longitude Start_Lat="
    "pickup_latitude Rate_Code=rate_code_id store_and_forward=store_and_fwd_flag End_Lon="
    "dropoff_longitude End_Lat=dropoff_latitude Payment_Type=payment_type_id Fare_Amt=fare_amount"
    " surcharge=extra mta_tax Tip_Amt=tip_amount Tolls_Amt=tolls_amount Total_Amt=total_amount"
)
NAMES_2010 = named(
    "vendor_id pickup_datetime dropoff_datetime passenger_count trip_distance pickup_longitude"
    " pickup_latitude rate_code=rate_code_id store_and_fwd_flag dropoff_longitude"
    " dropoff_latitude payment_type=payment_type_id fare_amount surcharge=extra mta_tax"
    " tip_amount tolls_amount total_amount"
)
NAMES_2015 = named(
    "VendorID=vendor_id tpep_pickup_datetime=pickup_datetime tpep_dropoff_datetime="
    "dropoff_datetime passenger_count trip_distance pickup_longitude pickup_latitude"
    " RateCodeID=rate_code_id store_and_fwd_flag dropoff_longitude dropoff_latitude payment_type="
    "payment_type_id fare_amount extra mta_tax tip_amount tolls_amount improvement_surcharge"
    " total_amount"
)
NAMES_2016 = named(
    "VendorID=vendor_id tpep_pickup_datetime=pickup_datetime tpep_dropoff_datetime="
    "dropoff_datetime passenger_count trip_distance RatecodeID=rate_code_id store_and_fwd_flag"
    " PULocationID=pickup_location_id DOLocationID=dropoff_location_id payment_type="
    "payment_type_id fare_amount extra mta_tax tip_amount tolls_amount improvement_surcharge"
    " total_amount"
)
NAMES_2019 = NAMES_2016 | {"congestion_surcharge": "congestion_surcharge"}
HEADER = ",".join(NAMES_2019)
NAMES_2022 = NAMES_2019 | {"airport_fee": "airport_fee"}
NAMES_2023 = NAMES_2019 | {"Airport_fee": "airport_fee"}
NAMES_2025 = NAMES_2023 | {"cbd_congestion_fee": "cbd_congestion_fee"}
NAMES_2026 = NAMES_2025 | {"request_source": "request_source"}
WORDS = {
    "vendor_id": {1: "CMT", 2: "VTS", 3: "DDS"},
    "payment_type_id": {1: "CRD", 2: "CSH", 3: "NOC", 4: "DIS"},
}
WORDS_2009 = WORDS | {"payment_type_id": {1: "Credit", 2: "CASH", 3: "No Charge", 4: "Dispute"}}
BLANK = "\r\n"
INT32 = {name: pa.int32() for name in ("VendorID", "PULocationID", "DOLocationID")}
INT64 = {name: pa.int64() for name in ("passenger_count", "RatecodeID", "payment_type")}
TYPES_2009 = {name: pa.string() for name in ("Trip_Pickup_DateTime", "Trip_Dropoff_DateTime")}

ERAS = {
    "2009 CSV": Era(date(2009, 7, 1), NAMES_2009, WORDS_2009, second_line=BLANK),
    "2012 CSV": Era(date(2012, 7, 1), NAMES_2010, WORDS, second_line=BLANK),
    "2014 CSV": Era(date(2014, 4, 1), NAMES_2010, WORDS, separator=", ", second_line=BLANK),
    "2015 CSV": Era(date(2015, 4, 1), NAMES_2015),
    "2016-10 CSV": Era(date(2016, 10, 1), NAMES_2016, surplus=2),
    "2018 CSV": Era(date(2018, 1, 1), NAMES_2016, second_line=BLANK),
    "2019 CSV": Era(date(2019, 10, 1), NAMES_2019),
    "2009 Parquet": Era(
        date(2009, 1, 1), NAMES_2009, WORDS_2009, is_parquet=True, types=TYPES_2009
    ),
    "2010 Parquet": Era(
        date(2010, 2, 1),
        NAMES_2010,
        WORDS,
        is_parquet=True,
        types={"pickup_datetime": pa.string(), "dropoff_datetime": pa.string()},
    ),
    "2017 Parquet": Era(
        date(2017, 3, 1),
        NAMES_2022,
        is_parquet=True,
        types=INT64 | {"airport_fee": pa.null(), "congestion_surcharge": pa.null()},
    ),
    "2021 Parquet": Era(date(2021, 12, 1), NAMES_2022, is_parquet=True),
    "2024 Parquet": Era(
        date(2024, 5, 1),
        NAMES_2023,
        is_parquet=True,
        types=INT32 | INT64 | {"store_and_fwd_flag": pa.large_string()},
    ),
    "2025 Parquet": Era(date(2025, 2, 1), NAMES_2025, is_parquet=True, types=INT32 | INT64),
    "2026 Parquet": Era(date(2026, 7, 1), NAMES_2026, is_parquet=True, types=INT32 | INT64),
}

# The same month twice, as both formats had it.
JANUARY_AS_CSV = Era(date(2021, 1, 1), NAMES_2019)
JANUARY_AS_PARQUET = Era(
    date(2021, 1, 1),
    NAMES_2022,
    is_parquet=True,
    types={"VendorID": pa.int64(), "payment_type": pa.int64(), "airport_fee": pa.float64()},
)


GREEN_2014 = named(
    "VendorID=vendor_id lpep_pickup_datetime=pickup_datetime Lpep_dropoff_datetime="
    "dropoff_datetime Store_and_fwd_flag RateCodeID=rate_code_id Pickup_longitude Pickup_latitude"
    " Dropoff_longitude Dropoff_latitude Passenger_count Trip_distance Fare_amount Extra MTA_tax"
    " Tip_amount Tolls_amount Ehail_fee Total_amount Payment_type=payment_type_id"
) | {"Trip_type ": "trip_type_id"}
GREEN_2016 = named(
    "VendorID=vendor_id lpep_pickup_datetime=pickup_datetime lpep_dropoff_datetime="
    "dropoff_datetime store_and_fwd_flag RatecodeID=rate_code_id PULocationID=pickup_location_id"
    " DOLocationID=dropoff_location_id passenger_count trip_distance fare_amount extra mta_tax"
    " tip_amount tolls_amount ehail_fee improvement_surcharge total_amount payment_type="
    "payment_type_id trip_type=trip_type_id"
)
GREEN_2019 = GREEN_2016 | {"congestion_surcharge": "congestion_surcharge"}
GREEN_2026 = GREEN_2019 | named("cbd_congestion_fee request_source")
FHV_2015 = named("Dispatching_base_num Pickup_date=pickup_datetime locationID=pickup_location_id")
FHV_2017 = named(
    "Dispatching_base_num Pickup_DateTime=pickup_datetime DropOff_datetime=dropoff_datetime"
    " PUlocationID=pickup_location_id DOlocationID=dropoff_location_id"
)
FHV_2018 = named(  # the base has two columns, of which the last one is empty
    "Pickup_DateTime=pickup_datetime DropOff_datetime=dropoff_datetime PUlocationID="
    "pickup_location_id DOlocationID=dropoff_location_id SR_Flag Dispatching_base_number="
    "dispatching_base_num Dispatching_base_num=nothing"
)
FHV_2019 = named(
    "dispatching_base_num pickup_datetime dropoff_datetime PULocationID=pickup_location_id"
    " DOLocationID=dropoff_location_id SR_Flag"
)
FHV_2020 = named(
    "dispatching_base_num pickup_datetime dropOff_datetime PUlocationID=pickup_location_id"
    " DOlocationID=dropoff_location_id SR_Flag Affiliated_base_number=affiliated_base_num"
)
FHVHV_CSV = named(
    "hvfhs_license_num dispatching_base_num pickup_datetime dropoff_datetime PULocationID="
    "pickup_location_id DOLocationID=dropoff_location_id SR_Flag"
)
FHVHV = named(
    "hvfhs_license_num dispatching_base_num originating_base_num request_datetime"
    " on_scene_datetime pickup_datetime dropoff_datetime PULocationID=pickup_location_id"
    " DOLocationID=dropoff_location_id trip_miles=trip_distance trip_time=trip_seconds"
    " base_passenger_fare=fare_amount tolls=tolls_amount bcf=black_car_fund sales_tax"
    " congestion_surcharge airport_fee tips=tip_amount driver_pay shared_request_flag"
    " shared_match_flag access_a_ride_flag wav_request_flag wav_match_flag"
)
FHVHV_2025 = FHVHV | {"cbd_congestion_fee": "cbd_congestion_fee"}
LARGE = {name: pa.large_string() for name in ("store_and_fwd_flag", "dispatching_base_num")}
DOUBLE = {name: pa.float64() for name in ("PUlocationID", "DOlocationID", "SR_Flag")}


def of(dataset: str, month: str, names: dict[str, str], **how: object) -> Era:
    """An era of a dataset, by one of its months."""
    return Era(date.fromisoformat(f"{month}-01"), names, dataset=dataset, **how)


OTHER_ERAS = {
    "green 2014 CSV": of("green", "2014-04", GREEN_2014, surplus=2, second_line=BLANK),
    "green 2015 CSV": of(
        "green", "2015-04", GREEN_2014 | named("improvement_surcharge"), surplus=2
    ),
    "green 2016-10 CSV": of("green", "2016-10", GREEN_2016, surplus=2, second_line=BLANK),
    "green 2018 CSV": of("green", "2018-01", GREEN_2016, second_line=BLANK),
    "green 2020 CSV": of("green", "2020-04", GREEN_2019),
    "green 2013 Parquet": of(
        *("green", "2013-09", GREEN_2019),
        is_parquet=True,
        types={"ehail_fee": pa.null(), "congestion_surcharge": pa.null()},
    ),
    "green 2024 Parquet": of(
        "green", "2024-05", GREEN_2019, is_parquet=True, types=INT32 | INT64 | LARGE
    ),
    "green 2026 Parquet": of("green", "2026-07", GREEN_2026, is_parquet=True, types=INT32),
    "fhv 2015 CSV": of("fhv", "2015-02", FHV_2015),
    "fhv 2017 CSV": of("fhv", "2017-04", FHV_2017),
    "fhv 2017-10 CSV": of("fhv", "2017-10", FHV_2017 | named("SR_Flag"), is_quoted=True),
    "fhv 2018 CSV": of("fhv", "2018-07", FHV_2018, is_quoted=True),
    "fhv 2019 CSV": of("fhv", "2019-07", FHV_2019),
    "fhv 2016 Parquet": of(
        "fhv", "2016-03", FHV_2020, is_parquet=True, types=DOUBLE | {"SR_Flag": pa.null()}
    ),
    "fhv 2019 Parquet": of("fhv", "2019-02", FHV_2020, is_parquet=True, types=DOUBLE),
    "fhv 2024 Parquet": of("fhv", "2024-05", FHV_2020, is_parquet=True, types=LARGE),
    "fhvhv 2019 CSV": of("fhvhv", "2019-11", FHVHV_CSV),
    "fhvhv 2020 Parquet": of(
        *("fhvhv", "2020-04", FHVHV),
        is_parquet=True,
        types={"airport_fee": pa.null(), "wav_match_flag": pa.null()},
    ),
    "fhvhv 2024 Parquet": of("fhvhv", "2024-05", FHVHV, is_parquet=True, types=INT32 | LARGE),
    "fhvhv 2025 Parquet": of("fhvhv", "2025-02", FHVHV_2025, is_parquet=True, types=INT32),
}


DAYS = 28  # of each month that have trips: as many of each weekday
BUSY_ZONES = [236, 237, 161, 162, 186, 170, 48, 141, 142, 239, 238, 263, 234, 230, 132, 138]
KEYED_IN = ["vendor_id", "passenger_count", "rate_code_id", "store_and_fwd_flag", "payment_type_id"]
# Numbers of bases that dispatch other vehicles, and of some that dispatch for the apps.
OF_BASES = (["B00013", "B00256", "B02996"], ["B00013", "B02765", "B03404"])
BASES = ["dispatching_base_num", "originating_base_num", "affiliated_base_num"]
FLAGS = [
    *("shared_request_flag", "shared_match_flag", "access_a_ride_flag"),
    *("wav_request_flag", "wav_match_flag"),
]
UNCASTABLE = (
    ("passenger_count", "two"),
    ("pickup_datetime", "2021-02-30 25:61:00"),
    ("fare_amount", '"12,50"'),
    ("trip_distance", "far"),
)
ROWS_PER_UNCASTABLE = 5_000
FOLDER = TemporaryDirectory(prefix="made-up-trips-")  # goes when this process ends


def made_up_month(month: date, rows: int) -> Path:
    """A month's file as TLC wrote it from 2019 to 2021; in one row of 5,000 a value is none."""
    path = Path(FOLDER.name) / f"{rows}_rows"
    era = Era(month, NAMES_2019)
    if not (path / era.file_name).exists():
        path.mkdir(exist_ok=True)
        write(era, spoiled(trips_of(era, rows)), path)
    return path / era.file_name


def spoiled(trips: pd.DataFrame) -> pd.DataFrame:
    """The trips, with a value that can't be cast in the last one of each 5,000."""
    places = range(ROWS_PER_UNCASTABLE - 1, len(trips), ROWS_PER_UNCASTABLE)
    trips = trips.astype({name: object for name, _ in UNCASTABLE})
    for number, place in enumerate(places):
        name, value = UNCASTABLE[number % len(UNCASTABLE)]
        trips.loc[place, name] = value
    return trips


def trips_of(era: Era, rows: int = 200) -> pd.DataFrame:
    """Trips of a month, with the analysts' names; some values are missing, as in TLC's files."""
    random = np.random.default_rng(era.month.toordinal())
    seconds = random.integers(0, DAYS * 86_400, rows)
    minutes = np.maximum(1, random.lognormal(2.4, 0.6, rows))
    miles = minutes * random.uniform(0.1, 0.35, rows)
    pickups = pd.Timestamp(era.month) + pd.to_timedelta(seconds, unit="s")
    zones = [
        np.where(
            random.random(rows) < 0.7,
            random.choice(BUSY_ZONES, rows),
            random.integers(1, 266, rows),
        )
        for _ in range(2)
    ]
    is_by_card = random.random(rows) < 0.75
    sign = random.choice([1, -1], rows, p=[0.996, 0.004])  # refunds and disputes
    fare = 2.5 + np.round(2 * (2.5 * miles + 0.25 * minutes)) / 2  # the meter moves in half dollars
    dollars = {
        "fare_amount": fare,
        "extra": random.choice([0, 0.5, 1, 2.5, 3.5], rows),
        "mta_tax": 0.5,
        "tip_amount": np.where(is_by_card, fare * random.choice([0.15, 0.2, 0.25], rows), 0),
        "tolls_amount": random.choice([0, 6.12], rows, p=[0.97, 0.03]),
        "improvement_surcharge": 0.3,
        "black_car_fund": 0.0275 * fare,
        "sales_tax": 0.08875 * fare,
        "driver_pay": 0.8 * fare,
        "congestion_surcharge": random.choice([0, 2.5], rows, p=[0.1, 0.9]),
        "airport_fee": random.choice([0, 1.25, 1.75], rows),
        "cbd_congestion_fee": random.choice([0, 0.75], rows),
    }
    dollars["total_amount"] = sum(dollars[name] for name in era.names.values() if name in dollars)
    trips = {
        "vendor_id": random.integers(1, 4 if era.words else 3, rows),
        "pickup_datetime": pickups,
        "dropoff_datetime": pickups + pd.to_timedelta(np.round(60 * minutes), unit="s"),
        "passenger_count": random.choice(
            range(7), rows, p=[0.02, 0.73, 0.14, 0.04, 0.02, 0.03, 0.02]
        ),
        "trip_distance": np.round(miles, 2),
        "rate_code_id": random.choice([1, 2, 5, 99], rows, p=[0.965, 0.02, 0.01, 0.005]),
        "store_and_fwd_flag": random.choice(["N", "Y"], rows, p=[0.99, 0.01]),
        "pickup_location_id": zones[0],
        "dropoff_location_id": zones[1],
        "payment_type_id": np.where(
            is_by_card, 1, random.choice([2, 3, 4], rows, p=[0.96, 0.03, 0.01])
        ),
        **{name: np.round(random.uniform(-90, 90, rows), 6) for name in PLACES},
        **{name: np.round(sign * amount, 2) + 0.0 for name, amount in dollars.items()},
        "request_source": random.choice(["A", "HV0003", "HV0005", None], rows),
        "trip_type_id": random.choice([1, 2], rows),
        "ehail_fee": None,
        "hvfhs_license_num": random.choice(["HV0003", "HV0005"], rows),
        **{name: random.choice(OF_BASES[era.dataset == "fhvhv"], rows) for name in BASES},
        "request_datetime": pickups - pd.to_timedelta(random.integers(60, 900, rows), unit="s"),
        "on_scene_datetime": pickups - pd.to_timedelta(random.integers(0, 60, rows), unit="s"),
        "trip_seconds": np.round(60 * minutes).astype(int),
        "sr_flag": random.choice([1, None], rows),
        **{name: random.choice(["Y", "N", None], rows) for name in FLAGS},
        "nothing": None,
    }
    frame = pd.DataFrame(trips)[list(era.names.values())]
    whole = [name for name in WHOLE if name in frame]
    frame[whole] = frame[whole].astype("Int64")
    if era.dataset == "fhv":
        frame.loc[::3, ["pickup_location_id"]] = pd.NA  # most bases do not say where
    elif not era.words:  # as of the trips of apps, which the meters know less about
        keyed_in = [name for name in KEYED_IN if name in frame]
        frame.loc[rows - rows * 7 // 100 :, keyed_in] = pd.NA
    for name, own in era.names.items():
        if era.types.get(name) == pa.null():
            frame[own] = None
    return frame


def write(era: Era, trips: pd.DataFrame, folder: Path) -> Path:
    """Write trips as a file of an era; return its path."""
    path = folder / era.file_name
    if era.is_parquet:
        pq.write_table(table_of(era, in_words(era, trips)), path)
        return path
    # No name and no time in gzip's header: the same bytes each time.
    with path.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        packed.writelines(line.encode() for line in lines_of(era, in_words(era, trips)))
    return path


def in_words(era: Era, trips: pd.DataFrame) -> pd.DataFrame:
    """Trips with an era's names, and its words in the place of codes."""
    frame = trips.assign(**{own: trips[own].map(codes) for own, codes in era.words.items()})
    if "dispatching_base_num" in frame:  # some bases write their number otherwise
        frame.loc[::5, "dispatching_base_num"] = frame["dispatching_base_num"].str.lower() + "  "
    for name in set(FLAGS) & set(frame):
        if era.types.get(name) != pa.null():
            frame[name] = frame[name].fillna(" ")
    frame.columns = list(era.names)
    return frame


def table_of(era: Era, frame: pd.DataFrame) -> pa.Table:
    """Trips in an era's words as a table, with the types of its Parquet."""
    fields = []
    for name, own in era.names.items():
        kind, values = era.types.get(name), frame[name]
        if kind == pa.string() and own.endswith("datetime"):
            values = values.dt.strftime("%Y-%m-%d %H:%M:%S")
        elif kind is None and own in WHOLE and own not in era.words:
            values = values.astype("float64")  # TLC's counts were doubles for years
        column = pa.array(values, from_pandas=True)
        if pa.types.is_timestamp(column.type):
            kind = pa.timestamp("us")
        fields.append(column.cast(kind) if kind else column)
    return pa.table(fields, names=list(era.names))


def lines_of(era: Era, frame: pd.DataFrame) -> Iterator[str]:
    """Trips in an era's words as the lines of its CSV."""
    end = "\n" if era.second_line else "\r\n"
    yield f"{era.separator.join(era.names)}{end}{era.second_line}"
    surplus = [""] * era.surplus
    for row in frame.itertuples(index=False):
        fields = [text_of(value, is_short=bool(era.words)) for value in row]
        if era.is_quoted:
            fields = [f'"{field}"' for field in fields]
        yield ",".join(fields + surplus) + "\r\n"


def text_of(value: object, is_short: bool) -> str:
    """A value as TLC wrote it; until 2014 without the zero before the point."""
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        text = repr(value).removesuffix(".0")
        return text.replace("0.", ".", 1) if is_short and text.startswith(("0.", "-0.")) else text
    return str(value)
