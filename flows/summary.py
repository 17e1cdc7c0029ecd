"""Summary: what the warehouse holds after a run, for the log, the UI and the terminal."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from sqlalchemy import URL, column, func, select, table, text

from flows.warehouse import connect

ACCOUNTING = text(
    "select to_char(source_month, 'YYYY-MM') as month, raw_rows, trips, zero_passenger_trips,"
    " rejected_trips, malformed_lines from trip_accounting order by source_month"
)


@dataclass(frozen=True)
class Summary:
    """What a warehouse holds."""

    warehouse: URL
    table_name: str
    accounting: pd.DataFrame  # a row a month; the columns of the model trip_accounting
    report: Path | None = None  # the page that shows it, where there is one

    def __str__(self) -> str:
        """For the terminal: the accounting, and how to query the rest."""
        url = self.warehouse
        counts = self.accounting.set_index("month").map("{:,}".format).reset_index()
        counts.columns = [name.replace("_", " ") for name in counts.columns]
        return "\n".join(
            [
                "",
                counts.to_string(index=False),
                "",
                *([f"Look at it:  {self.report}"] if self.report else []),
                f"Query it:    psql -h {url.host} -p {url.port} -U {url.username} {url.database}",
                "             (or make psql)",
                f"             select * from {self.table_name} limit 10;",  # noqa: S608
                "Rebuild it:  cd dbt_project && ../.venv/bin/dbt build",
            ]
        )


@task(name="summarise", task_run_name="summarise", cache_policy=NO_CACHE)
def summarise(months: list[date], table_name: str) -> Summary:
    """Say in the log and in an artifact what became of the raw rows of these and of all months."""
    logger = get_run_logger()
    with connect() as connection:
        accounting = pd.read_sql(ACCOUNTING, connection)
        zero_passengers = (
            select(func.count())
            .select_from(table(table_name))
            .where(column("passenger_count") == 0, column("source_month").in_(months))
        )
        left = connection.scalar(zero_passengers)
        warehouse = connection.engine.url
    these = accounting[accounting["month"].isin([f"{month:%Y-%m}" for month in months])]
    logger.info("pre: missing passenger count: %s", these["zero_passenger_trips"].sum())
    logger.info("post: missing passenger count: %s", left)
    for month, *counts in these.itertuples(index=False):
        logger.info(
            "%s: %s raw rows = %s trips + %s without passengers + %s rejected; %s malformed lines",
            *(month, *(f"{count:,}" for count in counts)),
        )
    create_table_artifact(
        accounting.to_dict("records"),
        key="trip-accounting",
        description="What became of each month's raw rows",
    )
    return Summary(warehouse, table_name, accounting)
