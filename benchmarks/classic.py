"""The flow of the notes, over all chunks: extract, drop the trips with 0 passengers, load."""

import sys

import pandas as pd
from prefect import flow, task
from sqlalchemy import create_engine


@task(log_prints=True)
def transform(frame: pd.DataFrame) -> pd.DataFrame:
    """Cast the dates and drop the trips without passengers."""
    print(f"pre: missing passenger count: {frame['passenger_count'].isin([0]).sum()}")
    frame = frame[frame["passenger_count"] != 0].copy()
    for column in ("tpep_pickup_datetime", "tpep_dropoff_datetime"):
        frame[column] = pd.to_datetime(frame[column])
    print(f"post: missing passenger count: {frame['passenger_count'].isin([0]).sum()}")
    return frame


@task(retries=3)
def load(frame: pd.DataFrame, table_name: str, url: str, if_exists: str) -> None:
    """Append a chunk to the table."""
    frame.to_sql(table_name, create_engine(url), if_exists=if_exists, index=False)


@flow
def classic(path: str, url: str, table_name: str = "classic_taxi_trips") -> None:
    """Load a month, a chunk of 100,000 rows after the other."""
    for number, frame in enumerate(pd.read_csv(path, chunksize=100_000, low_memory=False)):
        load(transform(frame), table_name, url, "append" if number else "replace")


if __name__ == "__main__":
    classic(*sys.argv[1:])
