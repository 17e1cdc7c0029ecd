"""Summary: what the warehouse holds after a run, for the log, the UI, the terminal and scripts."""

from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from sqlalchemy import URL, column, func, select, table, text

from flows.build import Build
from flows.errors import RETRIES
from flows.land import Landed
from flows.progress import ONLY_LOG, reporting
from flows.report.words import about_samples
from flows.warehouse import address, connect

ACCOUNTING = text(
    "select to_char(source_month, 'YYYY-MM') as month, raw_rows, trips, zero_passenger_trips,"
    " rejected_trips, malformed_lines, is_sample from trip_accounting"
    " order by dataset, source_month"
)


@dataclass(frozen=True)
class Stage:
    """What a stage of a run took. `rows` are those that it handled, where it counts rows."""

    stage: str
    seconds: float
    rows: int | None = None


@dataclass(frozen=True)
class Summary:
    """What a run took, and what the warehouse holds after it."""

    warehouse: URL
    table_name: str
    accounting: pd.DataFrame  # one row per month; the columns of the model trip_accounting
    stages: list[Stage]
    months: list[str]  # those that the run was about
    has_changed: bool  # whether the run has loaded anything
    report: Path | None = None  # the page that shows it, where there is one

    def __str__(self) -> str:
        """For the terminal: what became of the run's months, and where to look."""
        look = [f"Look at it:  {self.report}"] if self.report else []
        if not self.has_changed:
            return "\n".join(look)
        url = self.warehouse
        shown = self.accounting[self.accounting["month"].isin(self.months)]
        counts = shown.drop(columns="is_sample").set_index("month").map("{:,}".format).reset_index()
        counts.columns = [name.replace("_", " ") for name in counts.columns]
        others = len(self.accounting) - len(shown)
        return "\n".join(
            [
                "",
                counts.to_string(index=False),
                *([f"(the table trip_accounting has {others:,} more)"] if others else []),
                *filter(None, [about_samples_in(shown)]),
                "",
                *look,
                f"Query it:    psql -h {url.host} -p {url.port} -U {url.username} {url.database}",
                "             (or make psql)",
                f"             select * from {self.table_name} limit 10;",  # noqa: S608
                "Rebuild it:  cd dbt_project && ../.venv/bin/dbt build",
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        """For scripts: all of it, in types that JSON has."""
        return {
            "warehouse": address(self.warehouse),
            "table_name": self.table_name,
            "report": str(self.report) if self.report else None,
            "accounting": records(self.accounting),
            "stages": [asdict(stage) for stage in self.stages],
        }


def about_samples_in(accounting: pd.DataFrame) -> str:
    """What the sums of the samples among these months are not; or nothing."""
    samples = accounting[accounting["is_sample"]]
    return about_samples(dict(zip(samples["month"], samples["raw_rows"], strict=True)))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A data frame's rows, for JSON."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def stages_of(landed: list[Landed], build: Build, trips: int) -> list[Stage]:
    """What each stage of a run took."""
    stages = []
    for month in landed:
        name = f"{month.load.month:%Y-%m}"
        stages += [
            Stage(f"fetch {name}", month.fetch_seconds),
            Stage(f"load {name}", month.load.seconds, month.load.rows),
        ]
    return [*stages, Stage("build", build.seconds, trips)]


@task(name="summarise", task_run_name="summarise", cache_policy=NO_CACHE, **RETRIES)
def summarise(
    months: list[date], table_name: str, build: Build, landed: list[Landed] | None = None
) -> Summary:
    """Write to the log and to artifacts what became of the raw rows of these and of all months.

    Args:
        months: The months that the run was about.
        table_name: The name of the analysts' table of trips.
        build: What the build of the models did.
        landed: What landing those months took, as far as this run did it itself.
    """
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
    names = [f"{month:%Y-%m}" for month in months]
    these = accounting[accounting["month"].isin(names)]
    has_changed = landed is None or any(month.load.seconds for month in landed)
    detail = {} if has_changed else ONLY_LOG
    logger.info(
        "pre: missing passenger count: %s", these["zero_passenger_trips"].sum(), extra=detail
    )
    logger.info("post: missing passenger count: %s", left, extra=detail)
    for month, *counts, is_sample in these.itertuples(index=False):
        logger.info(
            "%s: %s raw rows = %s trips + %s without passengers + %s rejected; %s malformed lines",
            *(f"{month} (sample)" if is_sample else month, *(f"{count:,}" for count in counts)),
            extra=ONLY_LOG,  # the terminal shows the table
        )
    stages = stages_of(landed or [], build, int(accounting["trips"].sum()))
    with reporting():
        create_table_artifact(
            records(accounting),
            key="trip-accounting",
            description=f"What became of each month's raw rows. {about_samples_in(accounting)}",
        )
        create_table_artifact(
            [{**asdict(stage), "seconds": round(stage.seconds, 1)} for stage in stages],
            key="stages",
            description="Seconds and rows of each stage of the run",
        )
    return Summary(warehouse, table_name, accounting, stages, names, has_changed)
