"""What TLC publishes, and where the file of each month is: `datasets.yml`, checked and read."""

import re
from collections.abc import Iterable
from datetime import date
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter
from pydantic.dataclasses import dataclass

from flows.errors import PipelineError, UsageError, is_url, shorten
from flows.parameters import SAMPLE, TABLE_NAME
from flows.settings import ROOT, read_settings
from flows.tlc.months import FIRST_MONTH, LOOK_BACK, is_open_ended, months_of, today
from flows.tlc.sample import sample_file

Month = Annotated[date, BeforeValidator(lambda text: date.fromisoformat(f"{text}-01"))]
SOURCES = ROOT / "dbt_project" / "models" / "staging" / "tlc" / "_tlc__sources.yml"
RESERVED = {  # the loader's own columns, the models' word for a row, and PostgreSQL's own columns
    *("source_month", "source_row", "load_id", "source"),
    *("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"),
}
ALL = "all"
DEFAULT = "yellow"
# What people call a column of theirs that says which of TLC's datasets a trip is from.
KIND_COLUMNS = {
    *("cab_type", "cab_type_id", "cab_color", "car_type", "color", "colour", "dataset", "service"),
    *("service_type", "taxi_color", "taxi_colour", "taxi_type", "vehicle_type"),
}
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class Source:
    """A place that has the files of some months, or of all."""

    url: str
    first_month: Month = date.min
    last_month: Month = date.max


@dataclass(frozen=True, config=STRICT)
class Dataset:
    """One kind of trips that TLC publishes month by month."""

    name: str
    title: str  # for people
    table: str
    first_month: Month
    signs: tuple[str, ...]  # columns by which a file is known as one of the dataset's
    sources: tuple[Source, ...]
    pickup: tuple[str, ...]  # the names of the column that says when a trip begins
    required: tuple[tuple[str, ...], ...]  # of each, a file has one; besides pickup
    bases: tuple[str, ...] = ()  # those that dispatch its trips, and no others since first_month

    @property
    def raw_table(self) -> str:
        """The table of the dataset's files in the schema raw."""
        return f"{self.name}_tripdata"

    def table_called(self, yellow: str) -> str:
        """The analysts' table, where that of the yellow taxis has this name."""
        return yellow if self.table == TABLE_NAME else self.table

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that its files have ever had, as dbt describes its raw table."""
        tables = raw_in_dbt()["tables"]
        [described] = [entry for entry in tables if entry["name"] == self.raw_table]
        names = (column["name"] for column in described["columns"])
        return tuple(name for name in names if name not in RESERVED)

    def locate(self, month: date, source: str | None = None) -> str:
        """The URL or path of a month's file.

        Args:
            month: The first day of the month.
            source: A URL or path in which `{month}` is the month and `{dataset}` the dataset's
                name, or `sample`. None: wherever the dataset's file of that month is.

        Raises:
            UsageError: the month is from before the dataset's first, or there is no sample of it.
        """
        if source == SAMPLE:
            return str(sample_file(self.name, month))
        pattern = absolute(source or self.pattern(month))
        return pattern.replace("{month}", f"{month:%Y-%m}").replace("{dataset}", self.name)

    def pattern(self, month: date) -> str:
        """The URL pattern for a month, under SOURCE_BASE_URL if that is set."""
        if month < self.first_month:
            raise UsageError(
                f"{month:%Y-%m}: TLC's {self.name} files begin with {self.first_month:%Y-%m}"
            )
        url = next(s.url for s in self.sources if s.first_month <= month <= s.last_month)
        base = read_settings().source_base_url
        return f"{base.rstrip('/')}/{url.rpartition('/')[2]}" if base else url

    def require_columns(self, columns: list[str], where: str) -> None:
        """Check that a file is one of the dataset's, with what its trips can't do without.

        Where the dataset's rows can be known by their bases, a file without any sign of it passes:
        `flows.warehouse.guards` looks at the rows.

        Raises:
            PipelineError: it is another dataset's, or of several, or a required column is there
                under none of its names.
        """
        of_each = {
            one.name: name
            for one in DATASETS.values()
            for name in columns
            if name in one.pickup and name in one.signs
        }
        if len(of_each) > 1:
            raise PipelineError(
                f"{where}: the columns of several datasets: "
                f"{', '.join(f'{name!r} of {one}' for one, name in of_each.items())}. "
                "Give a file of one dataset's trips, with its columns"
            )
        needed = (self.pickup, *self.required)
        missing = [names[0] for names in needed if not set(names) & set(columns)]
        known = self.known_by(columns)
        if known is not self and (missing or not self.bases):
            raise another_datasets(where, known)
        if missing:
            raise PipelineError(
                f"{where}: no column {', '.join(map(repr, missing))}. It must be one of TLC's "
                f"{self.name} files, or have its columns; additional ones are welcome"
            )

    def known_by(self, columns: list[str]) -> "Dataset":
        """The dataset that a file's columns are of; this one, if they are no dataset's own."""
        return next((one for one in DATASETS.values() if set(one.signs) & set(columns)), self)


def another_datasets(where: str, known: Dataset) -> PipelineError:
    """What to say of a file that is another dataset's than was meant."""
    return PipelineError(
        f"{where}: this is a file of TLC's {known.name} trips. Load it as such: "
        f"DATASET={known.name}"
    )


class DatasetMonth(NamedTuple):
    """A month of a dataset, which is what is landed, built and accounted for."""

    dataset: Dataset
    month: date

    def __str__(self) -> str:
        """As logs and messages have it: `yellow 2021-01`."""
        return f"{self.dataset.name} {self.month:%Y-%m}"


def months_asked_for(
    datasets: str | None,
    months: str | None,
    source: str | None,
    today: date,
    look_back: int = LOOK_BACK,
) -> list[DatasetMonth]:
    """The months that are asked for of each dataset, in the order of asking.

    Args:
        datasets: The name of one, or `all`. None: the one in the source's name, or else yellow.
        months: As for `flows.tlc.months.months_of`. Of all datasets, each has those of its time.
        source: As for `months_of`; for several datasets, `{dataset}` in it stands for the dataset.
        today: The day from which `latest` counts.
        look_back: How many published months `latest` means.

    Raises:
        UsageError: a word is not a month, or the source says too little or too much.
    """
    chosen = datasets_of(datasets, source)
    if len(chosen) > 1 and source and source != SAMPLE and "{dataset}" not in source:
        raise UsageError(f"{shorten(source)} is for several datasets: put {{dataset}} in it")
    return [
        DatasetMonth(dataset, month)
        for dataset in chosen
        for month in months_of(
            months,
            source,
            today,
            look_back,
            since=dataset.first_month if len(chosen) == 1 else FIRST_MONTH,
            dataset=dataset.name,
        )
        if month >= dataset.first_month
    ]


def datasets_of(name: str | None, source: str | None) -> list[Dataset]:
    """The datasets that a choice stands for, or that a source's name is of."""
    if name == ALL:
        return list(DATASETS.values())
    if name is None:
        known = re.findall(
            rf"({'|'.join(DATASETS)})_tripdata", (source or "").rstrip("/").rpartition("/")[2]
        )
        name = known[-1] if known else DEFAULT
    return [DATASETS[name]]


def run_name() -> str:
    """The name of a flow run with the parameters `datasets`, `months` and `source`."""
    from prefect import runtime

    flow, parameters = str(runtime.flow_run.flow_name), runtime.flow_run.parameters
    datasets, months, source = (parameters[name] for name in ("datasets", "months", "source"))
    try:
        names = [dataset.name for dataset in datasets_of(datasets, source)]
        asked = [one.month for one in months_asked_for(datasets, months, source, today())]
    except (UsageError, KeyError):
        return flow
    span = dict.fromkeys(f"{month:%Y-%m}" for month in (min(asked), max(asked)))
    what = months.strip() if is_open_ended(months) else "..".join(span)
    return f"{flow} {names[0] if len(names) == 1 else ALL} {what}"


@cache
def raw_in_dbt() -> dict[str, Any]:
    """The raw schema as dbt describes it: its tables with their columns, and its freshness."""
    [source] = yaml.safe_load(SOURCES.read_text())["sources"]
    return dict(source)


def read_datasets(path: Path) -> dict[str, Dataset]:
    """Read the datasets of a YAML file, each under its name."""
    entries = yaml.safe_load(path.read_text())
    named = {name: {"name": name, **entry} for name, entry in entries.items()}
    return TypeAdapter(dict[str, Dataset]).validate_python(named)


def one_of(names: Iterable[str]) -> Any:
    """A type for a parameter that is one of some names, as Prefect's form offers them.

    Another value raises a `UsageError`.
    """
    choices: list[JsonValue] = [*names]

    def check(name: str) -> str:
        if name not in choices:
            raise UsageError(f"{shorten(name)!r} is not a dataset: choose of {', '.join(names)}")
        return name

    return Annotated[str, AfterValidator(check), Field(json_schema_extra={"enum": choices})]


def absolute(source: str) -> str:
    """A source that means the same from whatever folder it is read."""
    is_elsewhere = source == SAMPLE or is_url(source)
    return source if is_elsewhere else str(Path(source).expanduser().resolve())


DATASETS = read_datasets(Path(__file__).with_suffix(".yml"))
DatasetName = one_of(DATASETS)
Datasets = one_of([*DATASETS, ALL])
