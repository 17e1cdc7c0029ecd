"""The pipeline: land months of TLC's taxi trips in PostgreSQL, then have dbt build the models.

python -m flows.elt --months 2021-01 2021-02
python -m flows.elt --source path-or-url
python -m flows.elt --source sample
"""

import argparse
import re
import sys
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

from prefect import flow
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from flows.embedded_postgres import ensure_warehouse
from flows.errors import PipelineError
from flows.extract import extract
from flows.load import MAX_MALFORMED_SHARE, load
from flows.report import report
from flows.sample import sample_month
from flows.summary import Summary, summarise
from flows.transform import PROJECT, transform

SOURCE = (
    "https://github.com/DataTalksClub/nyc-tlc-data/releases/download/yellow/"
    "yellow_tripdata_{month}.csv.gz"
)
FIRST_MONTH = "2021-01"
TABLE_NAME = "yellow_taxi_trips"


@flow(name="elt")
def elt(
    months: list[str] | None = None,
    source: str = SOURCE,
    table_name: str = TABLE_NAME,
    force: bool = False,
    full_refresh: bool = False,
    max_malformed_share: float = MAX_MALFORMED_SHARE,
) -> Summary:
    """Land months of yellow-taxi trips untouched, then build and test the analysts' tables.

    Args:
        months: The months to land, each as YYYY-MM. Default: the month in the source's name.
        source: URL or path of a CSV file, packed with gzip or not; `{month}` in it stands for
            the month. `sample` makes up a small month.
        table_name: What the analysts' table of trips is called.
        force: Fetch and load the months even if the same content is there.
        full_refresh: Build the models of all months, not only of those that have changed.
        max_malformed_share: The share of lines that may be no rows, from 0 to 1.

    Raises:
        PipelineError: anything that is not a bug, in one line.
    """
    check_table_name(table_name)
    sources = source_of_each_month(months, source)
    ensure_warehouse()
    for month, url in sources.items():
        file = extract.with_options(refresh_cache=force)(url)
        if not file.is_intact():  # the cache remembers a file that has gone or changed since
            file = extract.with_options(refresh_cache=True)(url)
        load(file, month, force, max_malformed_share)
    transform(table_name, full_refresh)
    summary = summarise(list(sources), table_name)
    return replace(summary, report=report(table_name))


def source_of_each_month(months: list[str] | None, source: str) -> dict[date, str]:
    """Which URL or path holds each month's file.

    Raises:
        PipelineError: a month is not YYYY-MM, or the source says too little or too much.
    """
    found = re.search(r"20\d\d-(0[1-9]|1[0-2])(?!\d)", source.rpartition("/")[2])
    if found and months and months != [found[0]]:
        raise PipelineError(f"{source}: its name says {found[0]}, not {', '.join(months)[:80]}")
    if not months:
        if found:
            months = [found[0]]
        elif source == "sample" or "{month}" in source:
            months = [FIRST_MONTH]
        else:
            raise PipelineError(f"{source}: its name has no month in it. Give the month: YYYY-MM")
    if len(months) > 1 and source != "sample" and "{month}" not in source:
        raise PipelineError(f"{source} is one file for several months: put {{month}} in its name")
    return {first_day(month): absolute(source, month) for month in months}


def first_day(month: str) -> date:
    """A month written as YYYY-MM, as its first day."""
    try:
        return datetime.strptime(month, "%Y-%m").date()
    except ValueError:
        raise PipelineError(f"{month[:80]!r} is no month: write it as YYYY-MM") from None


def absolute(source: str, month: str) -> str:
    """The URL or absolute path that a source stands for in a month."""
    if source == "sample":
        return str(sample_month(first_day(month)))
    source = source.replace("{month}", month)
    return source if "://" in source else str(Path(source).expanduser().resolve())


def check_table_name(table_name: str) -> None:
    """Raise a `PipelineError` if a table can't be called so without quotes, or another one is."""
    models = {
        path.stem
        for pattern in ("models/**/*.sql", "seeds/*.csv")
        for path in PROJECT.glob(pattern)
    }
    taken = models - {TABLE_NAME}
    is_plain = re.fullmatch(r"(?!pg_)[a-z_][a-z0-9_]{0,62}", table_name)
    if not is_plain or table_name in taken | RESERVED_WORDS:
        raise PipelineError(
            f"{table_name[:80]!r} can't be the trips' table: use up to 63 lower-case letters, "
            "digits and underscores, no word of SQL's and no other model's name"
        )


def main() -> None:
    """Run the flow from the command line."""
    parser = argparse.ArgumentParser(
        "python -m flows.elt", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--months", nargs="+", metavar="YYYY-MM", help="default: the month in the source's name")
    add(
        "--source",
        default=SOURCE,
        help="URL or path of a CSV[.gz], {month} in it is the month;\n"
        "or 'sample'; default: TLC's files",
    )
    add("--table-name", default=TABLE_NAME, help=f"the trips' table, default: {TABLE_NAME}")
    add("--force", action="store_true", help="fetch and load even what is there already")
    add("--full-refresh", action="store_true", help="build the models of all months")
    add(
        "--max-malformed-share",
        type=float,
        default=MAX_MALFORMED_SHARE,
        metavar="SHARE",
        help=f"of the lines that may be no rows, default: {MAX_MALFORMED_SHARE}",
    )
    try:
        print(elt(**vars(parser.parse_args())))
    except PipelineError as error:
        sys.exit(f"error: {error}")
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        sys.exit(f"error: {error} Start it, or `prefect config unset PREFECT_API_URL`")


if __name__ == "__main__":
    main()
