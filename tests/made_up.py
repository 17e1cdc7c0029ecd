"""Made-up months of yellow trips, as TLC has written them in each of its eras.

A month is a data frame with the analysts' names and types, which a test can compare with what the
models make of it; `write` puts it into the words, the names and the format of an era.
"""

import gzip
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ZONES = {"PULocationID": "pickup_location_id", "DOLocationID": "dropoff_location_id"}
MONEY = ["fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount"]
PLACES = ["pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"]
WHOLE = ["vendor_id", "rate_code_id", "passenger_count", "payment_type_id"]


@dataclass(frozen=True)
class Era:
    """How TLC wrote a month's file."""

    month: date  # one of the era
    names: dict[str, str]  # in the file, and for analysts
    words: dict[str, dict[int, str]] = field(default_factory=dict)  # in the place of codes
    separator: str = ","
    second_line: str = ""  # some files have a blank one
    surplus: int = 0  # empty fields that each row has more than the header
    is_parquet: bool = False
    types: dict[str, pa.DataType] = field(default_factory=dict)  # of columns in Parquet

    @property
    def file_name(self) -> str:
        return f"yellow_tripdata_{self.month:%Y-%m}.{'parquet' if self.is_parquet else 'csv.gz'}"


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


def trips_of(era: Era, rows: int = 200) -> pd.DataFrame:
    """Trips of a month, with the analysts' names; some values are missing, as in TLC's files."""
    random = np.random.default_rng(era.month.toordinal())
    begin = pd.Timestamp(era.month)
    pickups = begin + pd.to_timedelta(np.sort(random.integers(0, 27 * 86_400, rows)), unit="s")
    trips = {
        "pickup_datetime": pickups,
        "dropoff_datetime": pickups + pd.to_timedelta(random.integers(60, 5_000, rows), unit="s"),
        "vendor_id": random.integers(1, 4 if era.words else 3, rows),
        "rate_code_id": random.choice([1, 2, 3, 4, 5, 99], rows),
        "payment_type_id": random.integers(1, 5, rows),
        "passenger_count": random.integers(0, 7, rows),
        "store_and_fwd_flag": random.choice(["Y", "N"], rows),
        "pickup_location_id": random.integers(1, 266, rows),
        "dropoff_location_id": random.integers(1, 266, rows),
        "trip_distance": random.integers(0, 3_000, rows) / 100,
        "request_source": random.choice(["A", "HV0003", "HV0005", None], rows),
        **{name: random.integers(-90_000_000, 90_000_000, rows) / 1e6 for name in PLACES},
        **{name: random.integers(-500, 9_000, rows) / 100 for name in MONEY},
        "improvement_surcharge": random.choice([0.0, 0.3, 1.0], rows),
        "total_amount": random.integers(-500, 20_000, rows) / 100,
        "congestion_surcharge": random.choice([0.0, 2.5], rows),
        "airport_fee": random.choice([0.0, 1.25, 1.75], rows),
        "cbd_congestion_fee": random.choice([0.0, 0.75], rows),
    }
    frame = pd.DataFrame(trips)[list(era.names.values())]
    frame[WHOLE] = frame[WHOLE].astype("Int64")
    if not era.words:  # as of the trips of apps, which the meters know less about
        frame.loc[rows - rows // 10 :, ["passenger_count", "rate_code_id"]] = pd.NA
    for name, own in era.names.items():
        if era.types.get(name) == pa.null():
            frame[own] = None
    return frame


def write(era: Era, trips: pd.DataFrame, folder: Path) -> Path:
    """Write trips as a file of an era; return its path."""
    path = folder / era.file_name
    frame = trips.copy()
    for own, codes in era.words.items():
        frame[own] = frame[own].map(codes)
    frame.columns = list(era.names)
    if era.is_parquet:
        fields = []
        for name, own in era.names.items():
            kind = era.types.get(name)
            if kind == pa.string() and own.endswith("datetime"):
                frame[name] = frame[name].dt.strftime("%Y-%m-%d %H:%M:%S")
            elif kind is None and own in WHOLE and own not in era.words:
                frame[name] = frame[name].astype("float64")  # TLC's counts were doubles for years
            column = pa.array(frame[name], from_pandas=True)
            if pa.types.is_timestamp(column.type):
                kind = pa.timestamp("us")
            fields.append(column.cast(kind) if kind else column)
        pq.write_table(pa.table(fields, names=list(era.names)), path)
        return path
    lines = [era.separator.join(era.names)]
    for row in frame.itertuples(index=False):
        fields = [text_of(value, is_short=bool(era.words)) for value in row]
        lines.append(",".join(fields + [""] * era.surplus))
    content = f"{lines[0]}\n{era.second_line}" + "".join(f"{line}\r\n" for line in lines[1:])
    path.write_bytes(gzip.compress(content.encode(), mtime=0))
    return path


def text_of(value: object, is_short: bool) -> str:
    """A value as TLC wrote it; until 2014 without the zero before the point."""
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float):
        text = repr(value)
        return text.replace("0.", ".", 1) if is_short and text.startswith(("0.", "-0.")) else text
    return str(value)
