"""What TLC publishes, and where the file of each month is: `datasets.yml`, checked and read."""

from datetime import date
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import BeforeValidator, ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from flows.errors import PipelineError, UsageError
from flows.settings import PROJECT, read_settings

YearMonth = Annotated[date, BeforeValidator(lambda text: date.fromisoformat(f"{text}-01"))]
SOURCES = PROJECT / "models" / "staging" / "tlc" / "_tlc__sources.yml"
RESERVED = {  # the loader's own columns, the models' word for a row, and PostgreSQL's own columns
    *("source_month", "source_row", "load_id", "source"),
    *("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"),
}
DEFAULT = "yellow"
# What people call a column of theirs that says which of TLC's datasets a trip is from.
KIND_COLUMNS = {
    *("cab_type", "cab_type_id", "cab_color", "car_type", "color", "colour", "dataset", "service"),
    *("service_type", "taxi_color", "taxi_colour", "taxi_type", "vehicle_type"),
}
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class Place:
    """A place that has the files of some months, or of all."""

    url: str
    first_month: YearMonth = date.min
    last_month: YearMonth = date.max


@dataclass(frozen=True, config=STRICT)
class Dataset:
    """One kind of trips that TLC publishes month by month."""

    name: str
    title: str  # for people
    table: str
    first_month: YearMonth
    signs: tuple[str, ...]  # columns by which a file is known as one of the dataset's
    sources: tuple[Place, ...]
    pickup: tuple[str, ...]  # the names of the column that says when a trip begins
    required: tuple[tuple[str, ...], ...]  # of each, a file has one; besides pickup
    bases: tuple[str, ...] = ()  # those that dispatch its trips, and no others since first_month

    @property
    def raw_table(self) -> str:
        """The table of the dataset's files in the schema raw."""
        return f"{self.name}_tripdata"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that its files have ever had, as dbt describes its raw table."""
        tables = raw_in_dbt()["tables"]
        [described] = [entry for entry in tables if entry["name"] == self.raw_table]
        names = (column["name"] for column in described["columns"])
        return tuple(name for name in names if name not in RESERVED)

    def url(self, month: date) -> str:
        """Where TLC's file of a month is, with `{month}` for the month.

        Raises:
            UsageError: the month is from before the dataset's first.
        """
        if month < self.first_month:
            raise UsageError(
                f"{month:%Y-%m}: TLC's {self.name} files begin with {self.first_month:%Y-%m}"
            )
        url = next(s.url for s in self.sources if s.first_month <= month <= s.last_month)
        base = read_settings().source_base_url  # of a mirror
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


DATASETS = read_datasets(Path(__file__).with_suffix(".yml"))
