"""The flows' parameters: their types, and what they ask for.

They are for Python, Prefect's form and the command line alike, which checks its words by them
before it imports Prefect. That takes seconds, so nothing here imports much.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from flows.errors import UsageError, shorten
from flows.settings import PROJECT
from flows.tlc.datasets import DATASETS, DEFAULT, Dataset, DatasetMonth
from flows.tlc.months import FIRST_MONTH, LATEST, LOOK_BACK, WRITTEN, expand, read_month
from flows.tlc.sample import sample_months
from flows.tlc.source import Source

ALL = "all"
DEFAULT_MONTH = date(2021, 1, 1)  # that of the classic notes
RANGE = rf"(?:{LATEST}|{WRITTEN}(?:\.\.(?:{WRITTEN}|{LATEST}))?)"
DATASET_WORDS = rf"^\s*({'|'.join((*DATASETS, ALL))})([\s,]+({'|'.join((*DATASETS, ALL))}))*\s*$"
TABLE_NAME = "yellow_taxi_trips"
# A month of it is called yellow_taxi_trips_2021_01, and PostgreSQL cuts names at 63 bytes.
PLAIN_NAME = r"(?!pg_)[a-z_][a-z0-9_]{0,54}"


class Limits(BaseModel):
    """What a file may be like; one beyond these is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    malformed_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The share of a file's lines that may be malformed, from 0 to 1.",
    )
    rejected_share: float = Field(
        # TLC's own files have none. One value in twenty that can't be read is no slip: the file is
        # written in another way than it is read.
        default=0.05,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description=(
            "The share of a file's rows that may be rejected, from 0 to 1; of fewer than 100 rows, "
            "half may be."
        ),
    )
    other_months_share: float = Field(
        default=0.25,  # a few trips are always of another month, or of a clock that went wrong
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The share of a file's trips that may begin in other months, from 0 to 1.",
    )
    gigabytes: float = Field(
        default=10.0,  # TLC's largest CSV has 2.5
        gt=0,
        allow_inf_nan=False,
        description="How large a file may be when unpacked, as text, in 10^9 bytes.",
    )


def check_month(value: object) -> date:
    """A month from a parameter, which Prefect stores as text.

    Raises:
        UsageError: it is another day of the month, or not a month, or in the future.
    """
    [month] = expand(f"{read_month(str(value)):%Y-%m}", date.today())
    return month


def check_months(months: str) -> str:
    """Return words that stand for months.

    Raises:
        UsageError: one of them does not.
    """
    expand(months, date.today())
    return months


def check_dataset(name: str) -> str:
    """Return the name of a dataset.

    Raises:
        UsageError: it is not one.
    """
    if name not in DATASETS:
        raise UsageError(f"{shorten(name)!r} is not a dataset: choose from {', '.join(DATASETS)}")
    return name


def check_datasets(words: str) -> str:
    """Return words that are names of datasets, or the word for all of them.

    Raises:
        UsageError: one of them is not.
    """
    names = split(words)
    for name in names or [words]:
        if name not in (*DATASETS, ALL):
            hint = ". Months come after --months" if re.match(rf"2|{LATEST}", name) else ""
            there_are = ", ".join((*DATASETS, ALL))
            raise UsageError(f"{shorten(name)!r} is not a dataset: choose from {there_are}{hint}")
    return words


def split(words: str) -> list[str]:
    """The words that blanks or commas divide, each once."""
    return [*dict.fromkeys(filter(None, re.split(r"[\s,]+", words)))]


def check_table_name(name: str) -> str:
    """Return a name that the trips' table can have without quotes.

    Raises:
        UsageError: the name is not plain, or it belongs to another model or to SQL.
    """
    if name != TABLE_NAME and (not re.fullmatch(PLAIN_NAME, name) or name in taken_names()):
        raise UsageError(
            f"{shorten(name)!r} can't be the name of the trips' table: use up to 55 lower-case "
            "letters, digits and underscores, not an SQL keyword or another model's name"
        )
    return name


def taken_names() -> set[str]:
    """The names of the other models and seeds, and SQL's keywords."""
    # Not at the top: SQLAlchemy takes half a second, and nearly every run has the default name.
    from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

    patterns = ("models/**/*.sql", "seeds/*.csv")
    files = [path for pattern in patterns for path in PROJECT.glob(pattern)]
    return {path.stem for path in files} - {TABLE_NAME} | RESERVED_WORDS


Month = Annotated[
    date,
    BeforeValidator(check_month),
    WithJsonSchema({"type": "string", "pattern": f"^{WRITTEN}(-01)?$", "examples": ["2021-01"]}),
]
Months = Annotated[
    str,
    AfterValidator(check_months),
    Field(json_schema_extra={"pattern": rf"^\s*{RANGE}([\s,]+{RANGE})*\s*$"}),
]
DatasetName = Annotated[
    str, AfterValidator(check_dataset), Field(json_schema_extra={"enum": [*DATASETS]})
]
# Prefect's form offers these, and takes several of them as well.
Datasets = Annotated[
    str,
    AfterValidator(check_datasets),
    Field(json_schema_extra={"examples": [*DATASETS, ALL], "pattern": DATASET_WORDS}),
]
TableName = Annotated[
    str, AfterValidator(check_table_name), Field(json_schema_extra={"pattern": f"^{PLAIN_NAME}$"})
]
LookBack = Annotated[int, Field(ge=1, le=240)]


@dataclass(frozen=True)
class Request:
    """What a run is asked for: which months of which datasets, and from where."""

    months: tuple[DatasetMonth, ...]  # each once, in the order of asking
    source: Source
    words: str = ""  # for the months, as they were asked for
    look_back: int = LOOK_BACK

    @classmethod
    def resolve(
        cls,
        today: date,
        datasets: str | None = None,
        months: str | None = None,
        source: str | None = None,
        look_back: int = LOOK_BACK,
    ) -> "Request":
        """Make out what is meant.

        Args:
            today: The day from which `latest` counts; later months have no trips yet.
            datasets: The name of one, or several with blanks or commas between them, or `all`; of
                several, each has the months of its time. None: the one in the source's name, or
                else yellow.
            months: Words, divided by blanks or commas: `2021-01` is a month, `2019-01..2020-12` a
                range; `2021-01..latest` ends with last month, and `latest` is so many months up to
                that as may have `look_back` published ones. Which are published is for `flows.plan`
                to find out. None: the month in the source's name; of the sample, all of them.
            source: As `Source` has it.
            look_back: How many published months `latest` means.

        Raises:
            UsageError: a word is not a month, or the source says too little or too much.
        """
        origin = Source(source)
        named = split(datasets or "")
        if ALL in named:
            chosen = [*DATASETS.values()]
        else:
            chosen = [DATASETS[name] for name in named] or [origin.dataset or DATASETS[DEFAULT]]
        if len(chosen) > 1 and not origin.has_one_for_each("dataset"):
            raise UsageError(f"{origin} is for several datasets: put {{dataset}} in it")
        since = chosen[0].first_month if len(chosen) == 1 else FIRST_MONTH
        asked = [
            DatasetMonth(dataset, month)
            for dataset in chosen
            for month in months_of(dataset, months, origin, today, look_back, since)
            if month >= dataset.first_month
        ]
        return cls(tuple(asked), origin, (months or "").strip(), look_back)

    @classmethod
    def of(cls, parameters: Mapping[str, Any], today: date) -> "Request":
        """Make out what a flow's parameters mean; see `resolve`."""
        names = ("datasets", "months", "source", "look_back")
        return cls.resolve(today, **{k: parameters[k] for k in names if k in parameters})

    def __str__(self) -> str:
        """As the names of runs have it: `yellow 2021-01..2021-03`."""
        names = [*dict.fromkeys(one.dataset.name for one in self.months)]
        of = ALL if len(names) == len(DATASETS) else " ".join(names)
        months = [f"{one.month:%Y-%m}" for one in self.months]
        span = "..".join(dict.fromkeys((min(months), max(months))))
        return f"{of} {self.words if self.is_open_ended else span}"

    @property
    def is_open_ended(self) -> bool:
        """Whether it depends on what is published which months are meant."""
        return LATEST in self.words


def months_of(
    dataset: Dataset,
    months: str | None,
    source: Source,
    today: date,
    look_back: int,
    since: date,
) -> list[date]:
    """The months of a dataset that are asked for; the arguments are those of `Request.resolve`.

    Raises:
        UsageError: a word is not a month, or the source says too little or too much.
    """
    named, is_pattern = source.month, source.has_one_for_each("month")
    if months:
        asked = expand(months, today, look_back, since)
    elif source.is_sample:
        asked = sample_months(dataset.name)
    elif named or is_pattern:
        asked = [named or DEFAULT_MONTH]
    else:
        raise UsageError(f"{source}: no month in its name. Give the month: YYYY-MM")
    if named and asked != [named]:
        raise UsageError(
            f"{source}: the month in its name is {named:%Y-%m}, not {shorten(months or '')}"
        )
    if len(asked) > 1 and not is_pattern:
        raise UsageError(
            f"{source} is one file for several months: put {{month}} in its name. If it holds them "
            "all, ask for one of them: the answer says how to split it"
        )
    if source.is_sample:
        for month in asked:
            source.locate(dataset, month)
    return asked


def today() -> date:
    """The day for which a flow run was scheduled: late or retried, it means the same months."""
    from prefect import runtime

    scheduled: date = runtime.flow_run.scheduled_start_time.date()
    return scheduled


def run_name() -> str:
    """The name of a flow run with the parameters `datasets`, `months` and `source`."""
    from prefect import runtime

    flow = str(runtime.flow_run.flow_name)
    try:
        return f"{flow} {Request.of(runtime.flow_run.parameters, today())}"
    except (UsageError, KeyError):
        return flow
