"""What the report shows of months that can be compared, by queries that an analyst can run, too."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
from sqlalchemy import Connection, text

from flows.report.formatting import about_sample, names_of
from flows.tlc.datasets import DATASETS, Dataset

QUERIES = {
    path.stem: path.read_text(encoding="utf-8").strip()
    for path in sorted((Path(__file__).parent / "queries").glob("*.sql"))
}

# Of which months there are parts. Whole months can be compared with whole ones, and samples with
# those of which as large a part was drawn.
PARTS = text("select distinct dataset, sampled_one_in from trip_accounting order by sampled_one_in")


@dataclass(frozen=True)
class Facts:
    """What the page shows of a dataset's months of one kind: whole ones, or samples of one size.

    Money is in dollars. Each table has the columns of the query of its name in `queries/`; a
    ranking has the columns title, trips and revenue, and the most trips first.
    """

    dataset: Dataset
    sampled_one_in: int | None  # 1: whole months; None: not drawn at random
    months_loaded: pd.DataFrame  # one row per month
    totals: pd.Series
    unknown_pairs: int  # trips of which neither end is known
    days: pd.DataFrame
    hours: pd.DataFrame
    zones: pd.DataFrame  # ranking, by zone of the pickup
    zone_pairs: pd.DataFrame  # ranking
    payments: pd.DataFrame  # ranking
    zone_map: pd.DataFrame  # one row per end and zone
    zero_passengers: pd.DataFrame  # one row per supplier
    faults: pd.DataFrame  # one row per known fault

    @property
    def name(self) -> str:
        """Of the part, in the page's links."""
        kinds = {1: "", None: "-not-at-random"}
        return self.dataset.name + kinds.get(self.sampled_one_in, f"-one-in-{self.sampled_one_in}")

    @property
    def title(self) -> str:
        """What the part is of, in words."""
        kinds = {1: "", None: ", a sample that was not drawn at random"}
        kind = kinds.get(self.sampled_one_in, f", one trip in {self.sampled_one_in}")
        return f"{self.dataset.title}, {names_of(self.months)}{kind}"

    @property
    def months(self) -> list[date]:
        """The months that are loaded."""
        return list(self.months_loaded["source_month"])

    @property
    def is_sample(self) -> bool:
        """Whether the months are samples."""
        return self.sampled_one_in != 1

    @property
    def tells_of_its_months(self) -> bool:
        """Whether anything follows from the trips for the months that they are of."""
        return self.sampled_one_in is not None

    @property
    def about_the_sample(self) -> str:
        """What can be said of the sample, and what can't; nothing of whole months."""
        if not self.is_sample:
            return ""
        return about_sample(self.sampled_one_in, int(self.months_loaded["raw_rows"].sum()))

    @property
    def missing(self) -> list[str]:
        """What TLC does not record of these trips, in words."""
        if not self.totals["trips"]:
            return []
        has_no = {
            "totals": pd.isna(self.totals["revenue"]),
            "fares": pd.isna(self.totals["average_fare"]),
            "ways of payment": set(self.payments["title"]) == {"Not recorded"},
            "distances": pd.isna(self.totals["median_miles"]),
        }
        return [name for name, is_missing in has_no.items() if is_missing]

    @property
    def trips_outside(self) -> int:
        """Trips whose pickup is in none of the loaded months."""
        return int(self.totals["trips"] - self.days["trips"].sum())

    def query(self, name: str) -> str:
        """The query of a figure, as anybody can run it who may read the marts."""
        return query_of(name, self.dataset.name, self.sampled_one_in)


def query_of(name: str, dataset: str, sampled_one_in: int | None) -> str:
    """The query of that name, of a dataset's months of one kind."""
    is_of_kind = "is null" if sampled_one_in is None else f"= {sampled_one_in}"
    return QUERIES[name].replace(
        ":these_months", f"dataset = '{dataset}' and sampled_one_in {is_of_kind}"
    )


def read_facts(connection: Connection) -> list[Facts]:
    """Read what the page shows of each dataset that is there, all of it as of one moment."""
    # Else another run could change a month between two of the queries.
    connection = connection.execution_options(isolation_level="REPEATABLE READ")
    parts = connection.execute(PARTS).all()
    return [
        read_part(connection, dataset, one_in)
        for name, dataset in DATASETS.items()
        for of_dataset, one_in in parts
        if of_dataset == name
    ]


def read_part(connection: Connection, dataset: Dataset, sampled_one_in: int | None) -> Facts:
    """Read what the page shows of a dataset's months of one kind."""
    read = {
        # As PostgreSQL has the numbers: a float would write 4 as 4.0.
        name: pd.read_sql(
            text(query_of(name, dataset.name, sampled_one_in)), connection, coerce_float=False
        )
        for name in QUERIES
    }
    return Facts(
        dataset,
        sampled_one_in,
        months_loaded=read.pop("months"),
        totals=read.pop("totals").fillna({"trips": 0}).iloc[0],
        unknown_pairs=int(read.pop("unknown_pairs")["trips"].item()),
        **read,
    )
