"""What the report shows of a dataset, read from the views in dbt_project/models/reports."""

from dataclasses import dataclass
from datetime import date

import pandas as pd
from sqlalchemy import Connection, text

from flows.report.formatting import about_samples
from flows.tlc.datasets import DATASETS, Dataset


@dataclass(frozen=True)
class Facts:
    """What the page shows of a dataset. Money is in dollars; a share is a number from 0 to 1.

    A ranking has the columns title, trips and revenue, and the most trips first.
    """

    dataset: Dataset
    accounting: pd.DataFrame  # one row per month; the columns of the view report_months
    totals: pd.Series  # of all months; the columns of the view report_totals
    days: pd.DataFrame  # one row per day of the loaded months: day, trips, revenue
    hours: pd.DataFrame  # one row per weekday, one column per hour: trips on an average such day
    zones: pd.DataFrame  # ranking, by zone of the pickup
    zone_pairs: pd.DataFrame  # ranking
    payments: pd.DataFrame  # ranking
    zero_passengers: pd.DataFrame  # one row per supplier: title, raw_rows, zero_passenger_trips
    faults: pd.DataFrame  # one row per known fault: fault, title, what_is_done, trips
    zone_map: pd.DataFrame  # one row per end and zone; the columns of the view report_zone_map

    @property
    def months(self) -> list[date]:
        """The months that are loaded."""
        return list(self.accounting["source_month"])

    @property
    def samples(self) -> list[date]:
        """The months that are samples."""
        return list(self.accounting.loc[self.accounting["is_sample"].astype(bool), "source_month"])

    @property
    def about_samples(self) -> str:
        """What the sums of samples are not; nothing where there is no sample."""
        rows = self.accounting.set_index("source_month")["raw_rows"]
        return about_samples({f"{month:%Y-%m}": int(rows[month]) for month in self.samples})

    @property
    def missing(self) -> list[str]:
        """What TLC does not record of these trips, in words."""
        if not self.totals["trips"]:
            return []
        are_paid = set(self.payments["title"]) != {"Not recorded"}
        has_no = {
            "totals": pd.isna(self.totals["revenue"]),
            "fares": pd.isna(self.totals["average_fare"]),
            "ways of payment": not are_paid,
            "distances": pd.isna(self.totals["median_distance"]),
        }
        return [name for name, is_missing in has_no.items() if is_missing]

    @property
    def trips_outside(self) -> int:
        """Trips whose pickup is in none of the loaded months."""
        return int(self.totals["trips"] - self.days["trips"].sum())


def read_facts(connection: Connection) -> list[Facts]:
    """Read what the page shows of each dataset that is there, all of it as of one moment."""
    # Else another run could change a month between two of the queries.
    connection = connection.execution_options(isolation_level="REPEATABLE READ")

    def read(view: str, order: str) -> dict[str, pd.DataFrame]:
        query = text(f"select * from staging.{view} order by {order}")  # noqa: S608
        rows = pd.read_sql(query, connection)
        return {
            name: rows[rows["dataset"] == name].drop(columns="dataset").reset_index(drop=True)
            for name in DATASETS
        }

    months, totals = read("report_months", "source_month"), read("report_totals", "trips")
    days, hours = read("report_days", "day"), read("report_hours", "weekday, hour_of_day")
    zones = read("report_zone_map", "which_end, location_id")
    ranked = [
        read(f"report_{name}", "place")
        for name in ("zones", "zone_pairs", "payments", "zero_passengers", "faults")
    ]
    return [
        Facts(
            dataset,
            months[name],
            totals[name].reindex([0]).fillna({"trips": 0, "trips_without_zones": 0}).iloc[0],
            days[name],
            on_an_average_day(hours[name], days[name]),
            *(rows[name].drop(columns="place", errors="ignore") for rows in (*ranked, zones)),
        )
        for name, dataset in DATASETS.items()
        if not months[name].empty
    ]


def on_an_average_day(hours: pd.DataFrame, days: pd.DataFrame) -> pd.DataFrame:
    """Trips by weekday and hour, for one day of each weekday.

    Sums would compare the five Mondays of a month with its four Tuesdays.
    """
    weekdays = list(range(1, 8))
    trips = hours.pivot_table(
        index="weekday", columns="hour_of_day", values="trips", aggfunc="sum"
    ).reindex(index=weekdays, columns=list(range(24)))
    how_many = days["day"].map(date.isoweekday).value_counts().reindex(weekdays)
    return trips.fillna(0).div(how_many, axis=0).fillna(0)
