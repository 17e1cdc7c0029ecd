"""Summary: what the warehouse holds after a run, for the log, the UI, the terminal and scripts."""

import sys
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import State, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed
from sqlalchemy import URL, text

from flows.environment import IS_INSTALLED
from flows.errors import ONLY_LOG, RETRIES, fill, first_line
from flows.models.state import Build, table_of, trips_table
from flows.progress import reporting
from flows.report.formatting import about_sample
from flows.report.page import link_to_page, markdown_table, report
from flows.tlc.datasets import DatasetMonth
from flows.tlc.months import read_month, spans_of
from flows.warehouse.connection import address, connect, psql_command
from flows.warehouse.load import Landed

PSQL, REBUILD = (
    ("taxi psql", "taxi build")
    if IS_INSTALLED
    else ("make psql", "cd dbt_project && ../.venv/bin/dbt build")
)
ACCOUNTING = text(
    "select dataset, to_char(source_month, 'YYYY-MM') as month, raw_rows, trips,"
    " zero_passenger_trips, rejected_trips, malformed_lines, coalesce(warnings, 0) as warnings,"
    " is_sample, sampled_one_in from trip_accounting left join (select dataset, source_month,"
    " count(*) as warnings from month_warnings group by dataset, source_month) as warned"
    " using (dataset, source_month)"
    " order by dataset, source_month"
)

WARNINGS = text(
    "select format('%s %s: %s is %s, and was %s at the median of the months before', dataset,"
    " to_char(source_month, 'YYYY-MM'), measure, trim_scale(measured), trim_scale(median_before))"
    " from month_warnings where dataset = :dataset and source_month = any(:months)"
    " order by source_month, measure"
)

LEFT = text(
    "select count(*) from trips where passenger_count = 0 and dataset = :dataset"
    " and source_month = any(:months)"
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
    accounting: pd.DataFrame  # one row per dataset's month; columns of the model trip_accounting
    stages: list[Stage]
    asked: list[DatasetMonth]  # what the run was about
    has_changed: bool  # whether the run has loaded anything
    trips: str = "trips"  # the table or view that has the trips of those months
    report: Path | None = None  # the page that shows it, where there is one
    remarks: tuple[str, ...] = ()  # of the loads
    warnings: tuple[str, ...] = ()  # what of those months is far from the months before

    def __str__(self) -> str:
        """For the terminal: what became of the run's months, and where to look."""
        look = [f"Look at it:  {self.report}"] if self.report else []
        if not self.has_changed:
            return "\n".join(look)
        shown = of_these(self.accounting, self.asked)
        counts = counts_of(shown)
        others = len(self.accounting) - len(shown)
        return "\n".join(
            [
                "",
                counts.to_string(index=False),
                *([f"(the table trip_accounting has {others:,} more)"] if others else []),
                *(fill(line, sys.stdout) for line in lines_about_samples(shown)),
                *(fill(remark, sys.stdout) for remark in self.remarks),
                *(fill(f"warning: {warning}", sys.stdout) for warning in self.warnings),
                "",
                *look,
                f"Query it:    {psql_command(self.warehouse)}",
                f"             (or {PSQL})",
                f"             select * from {self.trips} limit 10;",  # noqa: S608
                f"Rebuild it:  {REBUILD}",
            ]
        )

    def as_markdown(self) -> str:
        """For the run's page in Prefect: what became of its months, and what is odd about them."""
        shown = of_these(self.accounting, self.asked) if self.asked else self.accounting
        odd = [f"- {line}" for line in (*self.warnings, *self.remarks)]
        return "\n\n".join(
            [
                *([link_to_page()] if self.report else []),
                "## What became of the rows",
                markdown_table(counts_of(shown)),
                *lines_about_samples(shown),
                "## Health",
                "\n".join(odd)
                or "No warning: these months are like the months before them, if there are any.",
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        """For scripts: all of it, in types that JSON has."""
        return {
            "warehouse": address(self.warehouse),
            "table_name": self.table_name,
            "report": str(self.report) if self.report else None,
            "remarks": [*self.remarks],
            "warnings": [*self.warnings],
            "accounting": records(self.accounting),
            "stages": [asdict(stage) for stage in self.stages],
        }


def counts_of(accounting: pd.DataFrame) -> pd.DataFrame:
    """The counts of some months, as text, with titles that fit a terminal."""
    counts = accounting.drop(columns=["is_sample", "sampled_one_in"])
    counts = counts.set_index(["dataset", "month"]).map("{:,}".format).reset_index()
    counts.columns = pd.Index(
        name.replace("_trips", "").replace("_lines", "").replace("_", " ")
        for name in counts.columns
    )
    return counts


def lines_about_samples(accounting: pd.DataFrame) -> list[str]:
    """What follows from the samples among these months: a line for each dataset and size."""
    by_size = accounting[accounting["is_sample"]].groupby(
        ["dataset", accounting["sampled_one_in"].fillna(0)], sort=False
    )
    return [
        f"{months['dataset'].iloc[0]} {', '.join(spans_of([*map(read_month, months['month'])]))}: "
        + about_sample(
            int(months["sampled_one_in"].fillna(0).iloc[0]) or None, int(months["raw_rows"].sum())
        )
        for _, months in by_size
    ]


def of_these(accounting: pd.DataFrame, asked: list[DatasetMonth]) -> pd.DataFrame:
    """The rows of some months."""
    names = accounting["dataset"] + " " + accounting["month"]
    return accounting[names.isin(map(str, asked))]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A data frame's rows, for JSON."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def stages_of(landed: list[Landed], build: Build, trips: int) -> list[Stage]:
    """What each stage of a run took."""
    stages = []
    for month in landed:
        name = f"{month.load.dataset} {month.load.month:%Y-%m}"
        stages += [
            Stage(f"fetch {name}", month.fetch_seconds),
            Stage(f"load {name}", month.load.seconds, month.load.rows),
        ]
    return [*stages, Stage("build", build.seconds, trips)]


def sum_up(
    asked: list[DatasetMonth], build: Build, landed: list[Landed] | None = None
) -> Summary | State[Any]:
    """Summarise a run, and draw the report.

    The months are loaded and built by then. So what fails here fails no run: it is a warning, and
    in the message of the state that is returned, the run's, whose result is the summary, if any.
    """
    summarised: State[Any] = summarise(asked, build, landed, return_state=True)
    drawn: State[Any] = report(return_state=True)
    problems = [
        f"the {what} failed: {first_line(state.result(raise_on_failure=False))}"
        for what, state in (("summary", summarised), ("report", drawn))
        if not state.is_completed()
    ]
    summary: Summary | None = summarised.result() if summarised.is_completed() else None
    if summary:
        summary = replace(summary, report=drawn.result() if drawn.is_completed() else None)
        with reporting():  # not in a task: a run's page shows its own artifacts before its tasks'
            create_markdown_artifact(
                summary.as_markdown(), key="summary", description="Accounting, health and report"
            )
    if summary and not problems:
        return summary
    message = f"The months are loaded and built, but {'; '.join(problems)}"
    get_run_logger().warning(message)
    return Completed(message=message, data=summary)


@task(name="summarise", task_run_name="summarise", cache_policy=NO_CACHE, **RETRIES)
def summarise(
    asked: list[DatasetMonth], build: Build, landed: list[Landed] | None = None
) -> Summary:
    """Write to the log and to artifacts what became of the raw rows of these and of all months.

    Args:
        asked: The months that the run was about.
        build: What the build of the models did.
        landed: What landing those months took, as far as this run did it itself.
    """
    logger = get_run_logger()
    with connect() as connection:
        accounting = pd.read_sql(ACCOUNTING, connection).astype({"sampled_one_in": "Int64"})
        parts = [
            {"dataset": name, "months": [one.month for one in of_it]}
            for name, of_it in groupby(asked, key=lambda one: one.dataset.name)
        ]
        left = sum(connection.scalar(LEFT, part) for part in parts)
        warnings = tuple(line for part in parts for line in connection.scalars(WARNINGS, part))
        warehouse = connection.engine.url
    these = of_these(accounting, asked)
    has_changed = landed is None or any(month.load.is_new for month in landed)
    detail = {} if has_changed else ONLY_LOG
    logger.info(
        "pre: missing passenger count: %s (trips with a count of 0, which are left out)",
        these["zero_passenger_trips"].sum(),
        extra=detail,
    )
    logger.info("post: missing passenger count: %s", left, extra=detail)
    for dataset, month, *counts, is_sample, _ in these.itertuples(index=False):
        logger.info(
            "%s %s%s: %s raw rows = %s trips + %s without passengers + %s rejected;"
            " %s malformed lines; %s warnings",
            dataset,
            month,
            " (sample)" if is_sample else "",
            *(f"{count:,}" for count in counts),
            extra=ONLY_LOG,  # the terminal shows the table
        )
    for warning in warnings:
        logger.warning(warning, extra=ONLY_LOG)
    stages = stages_of(landed or [], build, int(accounting["trips"].sum()))
    about = "What became of each month's raw rows."
    with reporting():
        create_table_artifact(
            records(accounting),
            key="trip-accounting",
            description=" ".join([about, *lines_about_samples(accounting)]),
        )
        create_table_artifact(
            [{**asdict(stage), "seconds": round(stage.seconds, 1)} for stage in stages],
            key="stages",
            description="Seconds and rows of each stage of the run",
        )
    remarks = tuple(month.load.remark for month in landed or [] if month.load.remark)
    tables = {table_of(one.dataset) for one in asked}
    trips = tables.pop() if len(tables) == 1 else "trips"
    return Summary(
        *(warehouse, trips_table(), accounting, stages, asked, has_changed, trips),
        remarks=remarks,
        warnings=warnings,
    )
