"""The pipeline: land months of TLC's trips in PostgreSQL, then have dbt build the models.

python -m flows.elt --months 2021-01..2021-03
python -m flows.elt --datasets green --months latest
python -m flows.elt --source path-or-url
python -m flows.elt --source sample
"""

from flows import cli
from flows.parameters import (
    TABLE_NAME,
    Datasets,
    Limits,
    LookBack,
    Months,
    Request,
    TableName,
    run_name,
    today,
)
from flows.tlc.months import LOOK_BACK


def land_and_build(
    months: Months | None = None,
    source: str | None = None,
    table_name: TableName = TABLE_NAME,
    force: bool = False,
    allow_fewer_rows: bool = False,
    full_refresh: bool = False,
    limits: Limits = Limits(),
    look_back: LookBack = LOOK_BACK,
    datasets: Datasets | None = None,
) -> "Summary | State[Any]":
    """Land months of TLC's trips untouched, then build and test the analysts' tables.

    A month that fails does not stop the others: they are landed and built, and at the end the run
    fails and names it.

    Args:
        months: The months to land, such as 2021-01, or 2021-01..2021-03, or several of these
            with blanks between them. With latest, alone or as the end of a range, the source is
            asked what it has, and those months are landed that are new or have changed there.
            Default: the month in the source's name; of the sample, all that it has.
        source: URL or path of a file, CSV (packed with gzip or not) or Parquet; or a folder or a
            pattern, whose files are a month's parts. {month} in it stands for the month, and
            {dataset} for the dataset. Or sample, for real trips of a few months that come with
            this project. Default: wherever TLC's file of that month is.
        table_name: The name of the analysts' table of yellow-taxi trips.
        force: Fetch and load the months even if the same content is there.
        allow_fewer_rows: Load a month even if it has less than half the rows of the one there.
        full_refresh: Build the models of all months, not only of those that have changed.
        limits: What a file may be like.
        look_back: How many months, up to the newest that is published, latest looks at.
        datasets: Which of TLC's datasets, yellow, green, fhvhv or fhv, or several with blanks
            between them, or all. Default: the one in the source's name, or else yellow.

    Raises:
        PipelineError: anything that is not a bug, in one line.
    """
    request = Request.resolve(today(), datasets, months, source, look_back)
    prepare_warehouse()
    asked = new_or_changed(request, force) if request.is_open_ended else [*request.months]
    landed, failures = land_all(asked, request.source, force, allow_fewer_rows, limits)
    built = build_if_needed(full_refresh)
    outcome = (
        sum_up(asked, built, landed)
        if landed or built.models
        else Completed(name="Skipped", message=f"{request.words}: nothing new, or changed")
    )
    if failures:
        raise error_of(failures, len(asked))
    return outcome


if __name__ == "__main__":  # here: to refuse a wrong word takes none of the imports below
    cli.run(land_and_build)

from typing import Any

from prefect import State, flow
from prefect.states import Completed

from flows.alerts import alert
from flows.build import build_if_needed
from flows.land import error_of, land_all
from flows.plan import new_or_changed
from flows.prepare import prepare_warehouse
from flows.report.summary import Summary, sum_up

elt = flow(name="elt", flow_run_name=run_name, on_failure=[alert], on_crashed=[alert])(
    land_and_build
)
