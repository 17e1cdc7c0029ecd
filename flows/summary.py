"""Summary: what the warehouse holds after a run, for the log, the UI and the terminal."""

from datetime import date

import pandas as pd
from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from sqlalchemy import bindparam, text

from flows.warehouse import connect

ACCOUNTING = text(
    "select to_char(source_month, 'YYYY-MM') as month, raw_rows, trips, zero_passenger_trips,"
    " rejected_trips, malformed_lines from trip_accounting order by source_month"
)


@task(cache_policy=NO_CACHE)
def summarise(months: list[date], table_name: str) -> pd.DataFrame:
    """Say what became of each month's raw rows; return the accounting of all months.

    The columns are those of the model `trip_accounting`, one row a month.
    """
    logger = get_run_logger()
    with connect() as connection:
        accounting = pd.read_sql(ACCOUNTING, connection)
        left = text(
            f'select count(*) from "{table_name}"'  # noqa: S608 (checked to be a plain name)
            " where passenger_count = 0 and source_month in :months"
        ).bindparams(bindparam("months", months, expanding=True))
        zero_after = connection.scalar(left)
    these = accounting[accounting["month"].isin([f"{month:%Y-%m}" for month in months])]
    logger.info("pre: missing passenger count: %s", these["zero_passenger_trips"].sum())
    logger.info("post: missing passenger count: %s", zero_after)
    for row in these.itertuples():
        logger.info(
            "%s: %s raw rows = %s trips + %s with 0 passengers + %s rejected; %s malformed lines",
            *(row.month, *(f"{count:,}" for count in row[2:])),
        )
    create_table_artifact(
        accounting.to_dict("records"),
        key="trip-accounting",
        description="What became of each month's raw rows: trips, without passengers, rejected",
    )
    return accounting


def for_terminal(accounting: pd.DataFrame) -> str:
    """The accounting as a table of plain text."""
    counts = accounting.set_index("month").map("{:,}".format)
    return counts.rename(columns=lambda name: name.replace("_", " ")).reset_index().to_string(index=False)
