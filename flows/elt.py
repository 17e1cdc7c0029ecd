"""The pipeline: land months of TLC's taxi trips in PostgreSQL, then have dbt build the models.

python -m flows.elt --months 2021-01..2021-03
python -m flows.elt --source path-or-url
python -m flows.elt --source sample
"""

from dataclasses import replace

from prefect import flow
from prefect.states import Completed

from flows import cli
from flows.build import TABLE_NAME, build, check_table_name, warn_if_stale
from flows.datasets import SOURCE, locate
from flows.errors import without_secrets
from flows.fetch import MAX_CSV_GIGABYTES, is_published
from flows.land import land
from flows.laptop.postgres import ensure_warehouse
from flows.load import MAX_MALFORMED_SHARE
from flows.months import LATEST, months_of, run_name, today
from flows.report import report
from flows.server.alerts import alert
from flows.summary import Summary, summarise


@flow(name="elt", flow_run_name=run_name, on_failure=[alert], on_crashed=[alert])
def elt(
    months: str | None = None,
    source: str = SOURCE,
    table_name: str = TABLE_NAME,
    force: bool = False,
    full_refresh: bool = False,
    max_malformed_share: float = MAX_MALFORMED_SHARE,
    max_csv_gigabytes: float = MAX_CSV_GIGABYTES,
) -> Summary:
    """Land months of yellow-taxi trips untouched, then build and test the analysts' tables.

    Args:
        months: The months to land, such as 2021-01, or 2021-01..2021-03, or several of these
            with blanks between them; or latest: what TLC should have published by now, if it is
            there. Default: the month in the source's name.
        source: URL or path of a CSV file, packed with gzip or not; {month} in it stands for the
            month. Or sample, which makes up a small month.
        table_name: What the analysts' table of trips is called.
        force: Fetch and load the months even if the same content is there.
        full_refresh: Build the models of all months, not only of those that have changed.
        max_malformed_share: The share of lines that may be no rows, from 0 to 1.
        max_csv_gigabytes: How large a file may be when unpacked.

    Raises:
        PipelineError: anything that is not a bug, in one line.
    """
    check_table_name(table_name)
    asked = months_of(months, source, today())
    ensure_warehouse()
    if months == LATEST:
        asked = [month for month in asked if is_published(locate(source, month))]
        if not asked:
            warn_if_stale()
            shown = without_secrets(source)
            return Completed(name="Skipped", message=f"{shown}: not published yet")
    landed = [land(month, source, force, max_malformed_share, max_csv_gigabytes) for month in asked]
    built = build(table_name, full_refresh)
    summary = summarise(asked, table_name, built, landed)
    return replace(summary, report=report(table_name))


if __name__ == "__main__":
    cli.run(elt, "flows.elt")
