"""Guards: a file that is not what was meant is refused before it takes the place of a month.

They look at the rows that have been copied, in the transaction that is to swap them in.
"""

import csv
import re
from contextlib import closing
from datetime import date, timedelta

from prefect import get_run_logger
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Composable, Identifier, Literal

from flows.errors import PipelineError
from flows.parameters import Limits
from flows.tlc.datasets import DATASETS, KIND_COLUMNS, Dataset, another_datasets
from flows.tlc.download import SourceFile
from flows.tlc.formats import TripFile
from flows.warehouse.connection import value_of
from flows.warehouse.staged import Findings, findings, is_nothing

ENOUGH_ROWS = 100  # TLC's own 2019-01 begins with eight trips of November
RIGHT_MONTH = "Give the right month"
FIRST_ROWS = 1_000
MOST = 0.5  # of fewer rows than that, one odd one is a large share
FEW_TURNED = 0.05  # a few trips are always of other months
HOURS = 4  # that New York is behind UTC, at least
CALLED_UTC = r"""[0-9] ?(z|utc|gmt|[+-]00(:?00)?)["'\\\s]*$"""
GET_AGAIN = "Get the file again or mend it"
# What often stands in the place of a date, and what to do about it.
HOW_TO_WRITE = {
    r"\w+ '[0-9.]+' is not a date": (
        "The column holds numbers: write dates and times as 2021-01-31 13:05:00"
    ),
    r"\w+ '.*:.*([+-][0-9]{2}:?[0-9]{2}|\]| [A-Za-z]{3,4}|/.*)' is not a date": (
        "Write New York's time without a zone: 2021-01-31 13:05:00"
    ),
    r"\w+ '[0-9]{1,2}[/.-][0-9]{1,2}[/.-].*' is not a date": (
        "Where the day comes first, write the year first: 2021-01-31 13:05:00"
    ),
}
FEW = 0.2  # the share of rows that may have another dataset's bases
BASE_COLUMNS = ("dispatching_base_num", "dispatching_base_number", "dispatchbasenum")
AROUND = " \t\r\"'\\="  # what may be around a value, as dbt's macro `bare` takes it away
# Whether a value says nothing: exports of a table of several datasets have zeros in some columns.
SAYS_NOTHING = SQL("({} or value in ('0', '0.0'))").format(is_nothing("value"))
# A dataset's name as a value, in lower case: `green`, `green taxi`, `x/green_tripdata_2019-03.csv`.
NAMED = (
    r"^(?:.*[/\\])?(" + "|".join(sorted(DATASETS, key=len, reverse=True)) + ")"
    r"(?:[ _-]?(?:taxi|cab|trip|tripdata)s?(?:[ _.-].*)?)?$"
)


def refuse_other_columns(dataset: Dataset, trips: TripFile) -> None:
    """Raise a `PipelineError` if a file lacks what the dataset's have, or is another dataset's.

    Which one its columns may not tell, where its first rows do.
    """
    known = dataset.known_by(trips.columns)
    if known is not dataset and not dataset.bases:
        raise another_datasets(trips.header, told_by_bases(trips) or known)
    dataset.require_columns(trips.columns, trips.header)


def told_by_bases(trips: TripFile) -> Dataset | None:
    """The dataset whose bases dispatch most of a file's first trips, if there is one."""
    base = base_column(trips.columns)
    if base is None:
        return None
    with closing(trips.chunks()) as chunks:
        lines = next(chunks, b"").decode(errors="replace").splitlines()[:FIRST_ROWS]
    at = trips.columns.index(base)
    bases = [row[at].strip(AROUND).upper() for row in csv.reader(lines) if len(row) > at]
    for one in DATASETS.values():
        if sum(name in one.bases for name in bases) > MOST * len(bases):
            return one
    return None


def base_column(columns: list[str]) -> str | None:
    """The column that has the number of the base that dispatches a trip; None where there is none.

    It may be there twice, and one of them empty: in 2018 the second one, as TLC has it.
    """
    return next((name for name in columns if name in BASE_COLUMNS), None)


def refuse_other_datasets(
    cursor: Cursor,
    dataset: Dataset,
    month: date,
    file: SourceFile,
    fresh: Identifier,
    columns: list[str],
) -> None:
    """Raise a `PipelineError` if rows are another dataset's, by what only its files have.

    A file with none but the dataset's own columns costs a look at their names, unless it is to be
    known by its bases.
    """
    known = set(dataset.columns)
    foreign = {name: one for one in DATASETS.values() for name in one.signs if name not in known}
    for column in [name for name in columns if name not in known]:
        if other := foreign.get(column):
            refuse_values_of(cursor, other, file, fresh, column)
        else:
            refuse_other_names(cursor, dataset, file, fresh, column)
    refuse_other_bases(cursor, dataset, month, file, fresh, columns)


def refuse_values_of(
    cursor: Cursor, other: Dataset, file: SourceFile, fresh: Identifier, column: str
) -> None:
    """Raise a `PipelineError` if rows have a value in a column of another dataset."""
    run(
        cursor,
        "select count(*) filter (where not {}), count(*)"
        " from (select btrim({}) as value from {}) as given",
        *(SAYS_NOTHING, Identifier(column), fresh),
    )
    [(filled, rows)] = cursor.fetchall()
    if filled:
        raise PipelineError(
            f"{file.source}: {filled:,} of {rows:,} rows have a value in {column!r}, which only "
            f"TLC's {other.name} trips have. Give a file of one dataset's trips, or rename that "
            "column if it means something else"
        )


def refuse_other_names(
    cursor: Cursor, dataset: Dataset, file: SourceFile, fresh: Identifier, column: str
) -> None:
    """Raise a `PipelineError` if an additional column says that rows are another dataset's."""
    says_which = column in KIND_COLUMNS
    run(
        cursor,
        "select distinct left(value, 40) from (select lower(btrim({}, {})) as value from {})"
        " as given where not {} and ({} or value ~ {}) order by 1 limit 6",
        *(Identifier(column), Literal(AROUND), fresh, SAYS_NOTHING),
        *(Literal(says_which), Literal(NAMED)),
    )
    values = [value for (value,) in cursor]
    names = {found[1] for value in values if (found := re.match(NAMED, value))}
    # Codes such as `y` and `g`, or `1` and `2`, say it too; `sedan` and `suv` don't.
    are_several = says_which and len(values) > 1 and (names or len(min(values, key=len)) <= 2)
    if names - {dataset.name} or are_several:
        raise PipelineError(
            f"{file.source}: by its column {column!r} ({', '.join(values)}) not all of its trips "
            f"are {dataset.name} ones. Give a file of one dataset's trips, or leave that column "
            "out if it means something else"
        )


def refuse_other_bases(
    cursor: Cursor,
    dataset: Dataset,
    month: date,
    file: SourceFile,
    fresh: Identifier,
    columns: list[str],
) -> None:
    """Raise a `PipelineError` if rows are another dataset's by the bases that dispatch them.

    Some copies have high-volume trips in the columns of the other for-hire vehicles: they lack the
    licence, and nothing but the bases' numbers tells them apart.
    """
    base = base_column(columns)
    for known in DATASETS.values():
        is_told = bool(set(known.signs) & set(columns)) or month < known.first_month
        if not known.bases or base is None or is_told:
            continue
        run(
            cursor,
            "select coalesce(avg((upper(btrim({}, {})) = any({}))::int), 0)::float8"
            " from {} tablesample system (raw.sample_percent({})) repeatable (1)",
            *(Identifier(base), Literal(AROUND), Literal([*known.bases])),
            *(fresh, Literal(fresh.as_string(cursor))),
        )
        [(share,)] = cursor.fetchall()
        own = share if known is dataset else 1 - share
        if own < FEW:
            raise another_datasets(
                f"{file.source}: {share:.0%} of its rows are of the bases of {known.title}",
                dataset.known_by(columns) if known is dataset else known,
            )
        if own < 1 - FEW:
            raise PipelineError(
                f"{file.source}: {share:.0%} of its rows are of the bases of {known.title}, thus "
                f"{known.name} trips, and the others are not. Give a file of one dataset's trips"
            )


def refuse_odd_values(
    cursor: Cursor,
    dataset: Dataset,
    month: date,
    file: SourceFile,
    fresh: Identifier,
    trips: TripFile,
    limits: Limits,
) -> float:
    """Look at what the rows' values are, by dbt's rules, in a sample of a large table's pages.

    Returns:
        The share of the rows that may be rejected, for the build to hold them to.

    Raises:
        PipelineError: more of them would be, their times are not what they seem, or too many trips
            begin in other months.
    """
    pickup = next(name for name in trips.columns if name in dataset.pickup)
    percent = value_of(cursor, "select raw.sample_percent(%s)", [fresh.as_string(cursor)])
    found = findings(cursor, dataset, month, fresh, trips.columns, percent)
    refuse_converted_times(cursor, month, file, fresh, pickup)
    refuse_turned_dates(month, file, found, limits)
    share, allowed = found.rejected_share, limits.rejected_share
    if percent < 100 and allowed / 2 <= share <= allowed * 2:  # a sample is too near to tell
        found = findings(cursor, dataset, month, fresh, trips.columns, 100)
    if found.rows < ENOUGH_ROWS:
        allowed = max(allowed, MOST)
    refuse_rejected_rows(file, found, allowed)
    refuse_other_months(cursor, month, file, fresh, trips, limits, pickup, found)
    return allowed


def refuse_rejected_rows(file: SourceFile, found: Findings, allowed: float) -> None:
    """Raise a `PipelineError` if more than a share of the rows have a value that is none."""
    if found.rejected_share > allowed:
        reason = found.reason or ""
        advice = next(
            (advice for kind, advice in HOW_TO_WRITE.items() if re.match(kind, reason)), GET_AGAIN
        )
        raise PipelineError(
            f"{file.source}: {reason}, in {found.rejected_for_it:,} of {found.rows:,} rows that "
            f"were looked at. {found.rejected_share:.1%} of them would be rejected, where "
            f"{allowed:.1%} may be. {advice}, or allow more with limits.rejected_share"
        )


def refuse_turned_dates(month: date, file: SourceFile, found: Findings, limits: Limits) -> None:
    """Raise a `PipelineError` if days and months are turned round up to the 12th of the month.

    A spreadsheet does that where it reads dates day first. Those after the 12th are where they
    belong, since there is no 13th month.
    """
    trips = sum(found.trips.values())
    elsewhere = trips - found.trips.get(f"{month:%Y-%m}", 0)
    if (
        found.turned > max(FEW_TURNED * trips, 0.9 * elsewhere)
        and found.months_turned > 1
        and found.after_the_12th > 0
        and found.until_the_12th == 0
        and limits.other_months_share < 1
    ):
        raise PipelineError(
            f"{file.source}: days and months are turned round up to the 12th of the month. "
            f"{found.turned / trips:.0%} of the trips begin on day {month.month} of "
            f"{found.months_turned} other months, as a spreadsheet leaves dates that it reads day "
            "first. Get the file again, and don't save it from a spreadsheet"
        )


def refuse_converted_times(
    cursor: Cursor, month: date, file: SourceFile, fresh: Identifier, pickup: str
) -> None:
    """Raise a `PipelineError` if times that are called UTC have really been converted to it.

    As a rule they are New York's, and what wrote them can't do without a zone. Converted ones begin
    four or five hours into the month, and end as late.
    """
    run(
        cursor,
        "select {0} ~* {1} from {2} where {0} is not null limit 1",
        *(Identifier(pickup), Literal(CALLED_UTC), fresh),
    )
    if cursor.fetchall() != [(True,)]:
        return
    first_hours = [
        [f"{day:%Y-%m-%d}{separator}{hour:02}" for separator in " T" for hour in range(HOURS)]
        for day in (month, (month + timedelta(31)).replace(day=1))
    ]
    run(
        cursor,
        "select count(*) filter (where hour = any({})), count(*) filter (where hour = any({}))"
        " from (select left(btrim({}, {}), 13) as hour from {}) as pickups",
        *map(Literal, first_hours),
        *(Identifier(pickup), Literal(" \"'\\"), fresh),
    )
    [(of_the_month, of_the_next)] = cursor.fetchall()
    if of_the_next > 10 * max(of_the_month, 1):
        raise PipelineError(
            f"{file.source}: its times are converted to UTC. In the first {HOURS} hours of "
            f"{month:%Y-%m} {of_the_month:,} trips begin, and {of_the_next:,} in those of the next "
            "month. Convert them back to New York's time, and write them without a zone"
        )


def refuse_other_months(
    cursor: Cursor,
    month: date,
    file: SourceFile,
    fresh: Identifier,
    trips: TripFile,
    limits: Limits,
    pickup: str,
    found: Findings,
) -> None:
    """Raise a `PipelineError` if too many trips begin in other months: it is another month's file.

    A few rows are no evidence: with them it is a warning.
    """
    begun = sum(found.trips.values())
    shares = {
        name: count / begun
        for name, count in sorted(found.trips.items(), key=lambda item: (-item[1], item[0]))
    }
    others = begun - found.trips.get(f"{month:%Y-%m}", 0)
    if not begun or others / begun <= limits.other_months_share:
        return
    most = [f"{name}: {share:.0%}" for name, share in [*shares.items()][:12]]
    rest = ["…"] * (len(shares) > len(most))
    where = f"its trips begin in {', '.join(most + rest)}"
    if trips.rows_read < ENOUGH_ROWS:
        get_run_logger().warning("%s: %s", file.source, where)
        return
    first, second = [*shares.values(), 0.0][:2]
    is_of_several = second > first / 4
    advice = how_to_split(cursor, file, fresh, trips, pickup) if is_of_several else RIGHT_MONTH
    raise PipelineError(
        f"{file.source} is not the file of {month:%Y-%m}: {where}. {advice}, or take it all the "
        "same with limits.other_months_share=1"
    )


def how_to_split(
    cursor: Cursor, file: SourceFile, fresh: Identifier, trips: TripFile, pickup: str
) -> str:
    """How to make a folder of each month's rows, which stay as they are."""
    run(
        cursor,
        "select {0} ~ '^\\s*\\d\\d?/' from {1} where {0} ~ '\\d' limit 1",
        *(Identifier(pickup), fresh),
    )
    [(is_month_first,)] = cursor.fetchall()
    month = (
        f"strftime(try_strptime(split_part({pickup}, ' ', 1), '%m/%d/%Y'), '%Y-%m')"
        if is_month_first
        else f"left({pickup}::text, 7)"
    )
    path = f"{file.path}/*" if file.path.is_dir() else str(file.path)
    path = path if re.fullmatch(r"[\w ./*-]+", path) else "FILE"
    rows = f"'{path}'" if trips.kind == "Parquet" else f"read_csv('{path}', all_varchar=true)"
    select = f"select *, {month} as month from {rows}"  # noqa: S608 (for a person to run)
    return (
        f"Split it, for example by duckdb -c \"copy ({select}) to 'months' (format parquet, "
        "partition_by (month))\", and give SOURCE='months/month={month}'"
    )


def run(cursor: Cursor, statement: str, *parts: Composable) -> None:
    """Execute a statement with names and literals in place of its `{}`."""
    cursor.execute(SQL(statement).format(*parts))
