"""Other ways to get a month into PostgreSQL, each as its own documentation has it at its fastest.

python peers.py WAY FILE URL, in an environment of its own; it prints the seconds that it took. For
DuckDB's answer to a question of 24 such files, the question stands in the place of the URL.
"""

import io
import sys
import time
from itertools import islice
from pathlib import Path

import dlt
import duckdb
import duckdb_extension_postgres_scanner
import pandas as pd
import polars as pl
import psycopg2
import pyarrow as pa
from adbc_driver_postgresql import dbapi
from pyarrow import csv, parquet
from sqlalchemy import create_engine

TIMES = ["tpep_pickup_datetime", "tpep_dropoff_datetime"]
CODES = ["VendorID", "passenger_count", "RatecodeID", "payment_type"]  # missing in some rows
NUMBERS = [
    *CODES,
    *("trip_distance", "fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount"),
    *("improvement_surcharge", "total_amount", "congestion_surcharge"),
]
CHUNK = 100_000


def pandas_to_sql(path: str, url: str, chunks: int | None = None) -> None:
    """The classic script: chunks, dates cast in Python, `to_sql`."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    frames = pd.read_csv(path, chunksize=CHUNK, low_memory=False)
    for number, frame in enumerate(islice(frames, chunks)):
        for column in TIMES:
            frame[column] = pd.to_datetime(frame[column])
        if_exists = "append" if number else "replace"
        frame.to_sql("peer", engine, if_exists=if_exists, index=False)


def pandas_copy(path: str, url: str) -> None:
    """Pandas' chunks, written as CSV again and sent with COPY."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        for number, frame in enumerate(pd.read_csv(path, chunksize=CHUNK, low_memory=False)):
            for column in TIMES:
                frame[column] = pd.to_datetime(frame[column])
            if number == 0:
                # Later chunks have missing codes, which makes numbers with a point of them.
                numbers = dict.fromkeys(frame.select_dtypes("number"), float)
                table = frame.head(0).astype(numbers)
                table.to_sql("peer", engine, if_exists="replace", index=False)
            buffer = io.StringIO()
            frame.to_csv(buffer, index=False, header=False)
            buffer.seek(0)
            cursor.copy_expert("copy peer from stdin with (format csv)", buffer)


def polars_adbc(path: str, url: str) -> None:
    """Polars reads all of it, ADBC sends it in PostgreSQL's binary format."""
    integers = {"PULocationID": pl.Int64, "DOLocationID": pl.Int64}
    kinds = dict.fromkeys(NUMBERS, pl.Float64) | integers  # told, it need not find out
    frame = pl.read_csv(path, try_parse_dates=True, schema_overrides=kinds)
    frame.write_database("peer", url, engine="adbc", if_table_exists="replace")


def dlt_arrow(path: str, url: str) -> None:
    """Dlt with Arrow tables and parquet files for the loader, which it sends through ADBC."""

    def tables():
        options = csv.ConvertOptions(column_types=dict.fromkeys(NUMBERS, pa.float64()))
        reader = csv.open_csv(
            path, read_options=csv.ReadOptions(block_size=1 << 26), convert_options=options
        )
        for batch in reader:
            yield pa.Table.from_batches([batch])

    pipeline = dlt.pipeline("bench", destination=dlt.destinations.postgres(url), dataset_name="dlt")
    pipeline.run(
        tables(), table_name="peer", write_disposition="replace", loader_file_format="parquet"
    )


def parquet_adbc(path: str, url: str) -> None:
    """Arrow reads the Parquet in batches, ADBC sends them in PostgreSQL's binary format."""
    file = parquet.ParquetFile(path)
    batches = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(8_192))
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("peer", batches, mode="replace")
        connection.commit()


def parquet_duckdb(path: str, url: str) -> None:
    """DuckDB reads the Parquet, its postgres extension sends it in PostgreSQL's binary format."""
    [package] = duckdb_extension_postgres_scanner.__path__
    [extension] = Path(package).rglob("*.duckdb_extension")  # without a network
    with duckdb.connect() as connection:
        connection.load_extension(str(extension))
        connection.execute(f"attach '{url}' as pg (type postgres)")
        connection.read_parquet(path).create_view("month")
        connection.execute("create or replace table pg.peer as from month")


def answer_duckdb(path: str, question: str) -> None:
    """DuckDB answers a question from 24 files of Parquet, each of which is this one."""
    with duckdb.connect() as connection:
        connection.read_parquet([path] * 24).create_view("tlc_yellow_trips")
        connection.execute(question).fetchall()


if __name__ == "__main__":
    way, path, given = sys.argv[1:]
    ways = {
        "pandas to_sql, a tenth": lambda *a: pandas_to_sql(*a, chunks=1),
        "pandas + COPY": pandas_copy,
        "polars + ADBC": polars_adbc,
        "dlt": dlt_arrow,
        "ADBC": parquet_adbc,
        "DuckDB": parquet_duckdb,
        "DuckDB answers": answer_duckdb,
    }
    began = time.perf_counter()
    ways[way](path, given)
    print(time.perf_counter() - began)
