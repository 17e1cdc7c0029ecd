"""What TLC publishes, and where the file of each month is: `datasets.yml`, checked and read."""

from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from flows.errors import PipelineError, UsageError, is_url, shorten
from flows.formats import RESERVED
from flows.laptop.sample import sample_file
from flows.parameters import SAMPLE
from flows.settings import ROOT, read_settings

Month = Annotated[date, BeforeValidator(lambda text: date.fromisoformat(f"{text}-01"))]
SOURCES = ROOT / "dbt_project" / "models" / "staging" / "tlc" / "_tlc__sources.yml"
# A column that only one of TLC's datasets has, by which its files are known.
SIGNS = {
    "yellow": "tpep_pickup_datetime",
    "green": "lpep_pickup_datetime",
    "fhvhv": "hvfhs_license_num",
    "fhv": "dispatching_base_num",
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
    table: str
    first_month: Month
    sources: tuple[Source, ...]
    pickup: tuple[str, ...]  # the names of the column that says when a trip begins
    required: tuple[tuple[str, ...], ...]  # of each, a file has one; besides pickup

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

    def locate(self, month: date, source: str | None = None) -> str:
        """The URL or path of a month's file.

        Args:
            month: The first day of the month.
            source: A URL or path in which `{month}` is the month, or `sample`. None: wherever
                the dataset's file of that month is.

        Raises:
            UsageError: the month is from before the dataset's first, or there is no sample of it.
        """
        if source == SAMPLE:
            return str(sample_file(self.name, month))
        return absolute(source or self.pattern(month)).replace("{month}", f"{month:%Y-%m}")

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
        """Check that a file has what the dataset's trips can't do without.

        Raises:
            PipelineError: a required column is there under none of its names.
        """
        needed = (self.pickup, *self.required)
        missing = [names[0] for names in needed if not set(names) & set(columns)]
        if missing:
            for name, other in SIGNS.items():
                if other in columns and name != self.name:
                    raise PipelineError(f"{where}: this is a {name} file of TLC's. {how_to(name)}")
            raise PipelineError(
                f"{where}: no column {', '.join(map(repr, missing))}. It must be one of TLC's "
                f"{self.name} files, or have its columns; additional ones are welcome"
            )


def raw_in_dbt() -> dict[str, Any]:
    """The raw schema as dbt describes it: its tables with their columns, and its freshness."""
    [source] = yaml.safe_load(SOURCES.read_text())["sources"]
    return dict(source)


def how_to(name: str) -> str:
    """What to do with a file of another dataset."""
    if name in DATASETS:
        return f"Load it as such: DATASET={name}"
    return f"This project does not know {name} trips yet"


def read_datasets(path: Path) -> dict[str, Dataset]:
    """Read the datasets of a YAML file, each under its name."""
    entries = yaml.safe_load(path.read_text())
    named = {name: {"name": name, **entry} for name, entry in entries.items()}
    return TypeAdapter(dict[str, Dataset]).validate_python(named)


def check_dataset(name: str) -> str:
    """Return the name of a dataset.

    Raises:
        UsageError: there is no such dataset.
    """
    if name not in DATASETS:
        raise UsageError(f"{shorten(name)!r} is not a dataset: choose of {', '.join(DATASETS)}")
    return name


def absolute(source: str) -> str:
    """A source that means the same from whatever folder it is read."""
    is_elsewhere = source == SAMPLE or is_url(source)
    return source if is_elsewhere else str(Path(source).expanduser().resolve())


DATASETS = read_datasets(Path(__file__).with_suffix(".yml"))
DatasetName = Annotated[
    str, AfterValidator(check_dataset), Field(json_schema_extra={"enum": [*DATASETS]})
]
