"""Odd values: a file that dbt would reject much of, or misread, takes no month's place."""

import csv
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import load_file, run_dbt, run_query
from made_up import HEADER, OTHER_ERAS, made_up_month, trips_of, write

from flows.errors import PipelineError
from flows.parameters import Limits
from flows.tlc.datasets import DATASETS
from flows.tlc.download import verify
from flows.warehouse.load import Load, load

JANUARY = date(2021, 1, 1)
MARCH = date(2024, 3, 1)
PICKUP, DROPOFF = "tpep_pickup_datetime", "tpep_dropoff_datetime"
NUMBER = str(int(datetime(2024, 3, 5, 10).timestamp() * 1_000_000))


def trips(count: int, form: str = "%Y-%m-%d %H:%M:%S", shift: int = 0) -> list[dict[str, str]]:
    """So many trips, spread over March 2024 or so many hours later, with times in a form."""
    every = timedelta(31) / count
    rows = []
    for number in range(count):
        pickup = datetime(2024, 3, 1) + every * number + timedelta(hours=shift)
        times = {PICKUP: pickup, DROPOFF: pickup + timedelta(minutes=12)}
        rows.append(
            dict.fromkeys(HEADER.split(","), "1")
            | {"store_and_fwd_flag": "N", "fare_amount": "10"}
            | {name: time.strftime(form) for name, time in times.items()}
        )
    return rows


@pytest.fixture
def land(warehouse, tmp_path):
    """Load rows as a file of March 2024, under the limits that hold if nobody sets any."""

    def run(rows: list[dict[str, str]], **limits: float) -> Load:
        path = tmp_path / "trips.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, HEADER.split(","))
            writer.writeheader()
            writer.writerows(rows)
        return load_path(path, **limits)

    return run


def load_path(path: Path, **limits: float) -> Load:
    return load(verify(str(path), path), DATASETS["yellow"], MARCH, limits=Limits(**limits))


COUNT = "select count(*), count(*) filter (where fare_amount = '10') from raw.yellow_tripdata"


class TestAFileWhoseRowsWouldBeRejected:
    def test_does_not_take_the_place_of_a_month(self, land, query):
        land(trips(200))
        with pytest.raises(PipelineError) as refusal:
            land([row | {PICKUP: NUMBER, DROPOFF: NUMBER} for row in trips(200)])
        assert str(refusal.value).endswith(
            f"trips.csv: tpep_dropoff_datetime '{NUMBER}' is not a date and time from 1900 to 9999,"
            " in 200 of 200 rows that were looked at. 100.0% of them would be rejected, where 5.0%"
            " may be. The column holds numbers: write dates and times as 2021-01-31 13:05:00, or"
            " allow more with limits.rejected_share"
        )
        assert query(COUNT) == [(200, 200)]
        assert query("select count(*) from raw.loads") == [(1,)]

    def test_leaves_a_warehouse_empty_in_which_dbt_has_built_nothing(self, land, query):
        with pytest.raises(
            PipelineError, match=r"fare_amount '\$10' is not a number .*, in 150 of"
        ):
            land([row | {"fare_amount": "$10"} for row in trips(150)])
        assert query("select count(*) from raw.loads") == [(0,)]

    def test_is_taken_if_one_says_so_and_the_audit_says_what_was_allowed(self, land, query):
        land([row | {"fare_amount": "$10"} for row in trips(150)], rejected_share=1)
        land_less = "select row_count, rejected_share from raw.loads"
        assert query(land_less) == [(150, 1.0)]

    @pytest.mark.parametrize("odd", [5, 6])
    def test_may_have_one_in_twenty(self, land, query, odd):
        rows = trips(100)
        for row in rows[:odd]:
            row["trip_distance"] = "far"
        if odd == 5:
            assert land(rows).rows == 100
        else:
            with pytest.raises(PipelineError, match=r"trip_distance 'far' .* 6\.0% of them would"):
                land(rows)

    def test_may_have_as_large_a_share_as_is_allowed(self, land):
        rows = trips(100)
        for row in rows[:29]:  # 0.29 * 100 is less
            row["trip_distance"] = "far"
        assert land(rows, rejected_share=0.29).rows == 100

    @pytest.mark.parametrize(("rows", "odd"), [(9, 1), (2, 1), (3, 2), (2, 2)])
    def test_may_have_half_of_a_few(self, land, query, rows, odd):
        file = trips(rows)
        for row in file[:odd]:
            row["trip_distance"] = "far"
        if 2 * odd <= rows:
            land(file)
            assert query("select rejected_share from raw.loads") == [(0.5,)]
        else:
            with pytest.raises(PipelineError, match=f"in {odd} of {rows} rows"):
                land(file)

    def test_is_known_by_a_sample_of_many(self, land):
        rows = trips(30_000)
        for row in rows[::5]:
            row["trip_distance"] = "far"
        with pytest.raises(
            PipelineError, match=r"of [4-9],\d{3} rows .* (1[89]|2[012])\.\d% of them"
        ):
            land(rows)

    def test_is_read_as_a_whole_where_a_sample_can_not_tell(self, land):
        rows = trips(30_000)
        for row in rows[::19]:
            row["trip_distance"] = "far"
        with pytest.raises(PipelineError, match=r"in 1,579 of 30,000 rows .* 5\.3% of them"):
            land(rows)
        rows = trips(30_000)
        rows[29_999]["trip_distance"] = "far"
        with pytest.raises(PipelineError, match=r"in 1 of 30,000 rows .* 0\.0% of them"):
            land(rows, rejected_share=0)

    @pytest.mark.parametrize(
        ("text", "advice"),
        [
            ("1709632800", "The column holds numbers"),
            ("1709632800000000000", "The column holds numbers"),
            ("45356.41667", "The column holds numbers"),
            ("20240305", "The column holds numbers"),
            ("2024-03-05 10:00:00-05:00", "Write New York's time without a zone"),
            ("2024-03-05T10:00:00.000+0100", "Write New York's time without a zone"),
            ("2024-03-05 10:00:00 EST", "Write New York's time without a zone"),
            ("2024-03-05 10:00:00 America/Chicago", "Write New York's time without a zone"),
            ("31/03/2024 10:00", "Where the day comes first, write the year first"),
            ("31.03.2024 10:00:00", "Where the day comes first, write the year first"),
            ("05/03/2024, 10:00:00", "Where the day comes first, write the year first"),
            ("noon", "Get the file again or mend it"),
        ],
    )
    def test_is_refused_with_advice(self, land, text, advice):
        with pytest.raises(PipelineError, match=rf"\. {advice}.*, or allow more with limits\.rej"):
            land([row | {PICKUP: text} for row in trips(100)])

    def test_is_one_of_any_dataset(self, warehouse, tmp_path):
        for name in ("green 2020 CSV", "fhv 2017 CSV", "fhvhv 2019 CSV"):
            era = OTHER_ERAS[name]
            file = write(era, trips_of(era, 200).assign(dropoff_datetime="late"), tmp_path)
            with pytest.raises(
                PipelineError, match=r"'late' is not a date and time .* in 200 of 200"
            ):
                load(verify(str(file), file), DATASETS[era.dataset], era.month)


class TestTimesThatAreCalledUTC:
    """What writes them can't do without a zone, and TLC's times have none."""

    @pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00"])
    def test_are_new_yorks(self, land, query, form):
        assert land(trips(1_000, form)).rows == 1_000

    @pytest.mark.parametrize("hours", [4, 5])
    @pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%S.000Z", "%Y-%m-%d %H:%M:%S UTC"])
    def test_are_refused_if_they_are_really_converted(self, land, query, form, hours):
        with pytest.raises(
            PipelineError,
            match=r"converted to UTC\. In the first 4 hours of 2024-03 0 trips begin, and \d\d in",
        ):
            land(trips(2_500, form, hours))
        assert query("select count(*) from raw.loads") == [(0,)]

    def test_without_a_zone_nobody_asks(self, land):
        assert land(trips(2_500, shift=5)).rows == 2_500

    @pytest.mark.parametrize(("zone", "is_read"), [("UTC", True), ("America/New_York", False)])
    def test_are_so_in_parquet_and_other_zones_are_refused(
        self, warehouse, tmp_path, zone, is_read
    ):
        table = pd.DataFrame(trips(200))
        for name in (PICKUP, DROPOFF):
            table[name] = pd.to_datetime(table[name]).dt.tz_localize("UTC").dt.tz_convert(zone)
        path = tmp_path / "trips.parquet"
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path)
        if is_read:
            assert load_path(path).rows == 200
        else:
            with pytest.raises(PipelineError, match=r"-0500' is not a .* Write New York's time"):
                load_path(path)


class TestDaysAndMonths:
    def turned(self, rows: list[dict[str, str]]) -> list[dict[str, str]]:
        """The rows as a spreadsheet leaves them that reads days first."""
        for row in rows:
            for name in (PICKUP, DROPOFF):
                time = datetime.strptime(row[name], "%Y-%m-%d %H:%M:%S")
                row[name] = (
                    f"{time:%Y-%d-%m %H:%M}" if time.day <= 12 else f"{time:%m/%d/%Y %I:%M:%S %p}"
                )
        return rows

    @pytest.mark.parametrize("count", [62, 3_100])
    def test_that_a_spreadsheet_has_turned_round_are_refused(self, land, query, count):
        with pytest.raises(
            PipelineError,
            match=r"turned round up to the 12th .* 35% .* begin on day 3 of 11 other months",
        ):
            land(self.turned(trips(count)))
        assert query("select count(*) from raw.loads") == [(0,)]

    def test_that_are_so_in_the_file_are_taken_if_one_says_so(self, land):
        assert land(self.turned(trips(62)), other_months_share=1).rows == 62

    def test_of_a_few_trips_in_other_months_are_no_sign(self, land):
        rows = trips(100)
        rows[0][PICKUP], rows[1][PICKUP] = "2024-04-03 00:00:10", "2024-02-03 23:59:50"
        assert land(rows).rows == 100

    def test_by_name_tell_the_month_of_a_file(self, land):
        with pytest.raises(PipelineError, match=r"not the file of 2024-03: .* 2024-04: 97%"):
            land(trips(100, "%Y %b %d %I:%M:%S %p", shift=31 * 24))


class TestTheBuild:
    """A month may get past the loader: by a sample, or by rules that have changed since."""

    @pytest.fixture
    def load_again(self, january, tmp_path):
        """Load January 2021 again, which is built, with changes; then build its trips alone."""

        def run(odd: int, column: str, text: str, allowed: str) -> tuple[bool, str]:
            trips = pd.read_csv(made_up_month(JANUARY, 1_000), dtype=str)
            trips.loc[: odd - 1, column] = text
            path = tmp_path / "trips.csv"
            trips.to_csv(path, index=False)
            load_file(path, JANUARY)
            run_query(january, f"update raw.loads set rejected_share = {allowed}")
            is_done, said = run_dbt(january, "run --select yellow_taxi_trips")
            return is_done, " ".join(said.split())

        return run

    COUNT = "select count(*), min(load_id), max(load_id) from yellow_taxi_trips"

    def test_refuses_a_month_of_which_too_much_is_rejected_and_its_trips_stay(
        self, january, load_again
    ):
        before = run_query(january, self.COUNT)
        is_done, said = load_again(51, "fare_amount", "$10", "0.05")
        assert not is_done
        assert (
            "yellow 2021-01: 51 of 1000 rows are rejected, where 5.0 % may be: fare_amount '$10' "
            "is not a number of up to 9 digits before the point. Its trips stay as they were."
        ) in said
        assert run_query(january, self.COUNT) == before

    @pytest.mark.parametrize(("odd", "allowed"), [(50, "0.05"), (1_000, "1"), (1_000, "null")])
    def test_builds_a_month_of_which_so_much_may_be(self, january, load_again, odd, allowed):
        is_done, said = load_again(odd, "fare_amount", "$10", allowed)
        assert is_done, said
        [(trips, _, load_id)] = run_query(january, self.COUNT)
        assert trips <= 1_000 - odd
        assert load_id == (2 if trips else None)

    def test_does_not_take_trips_without_passengers_as_rejected(self, january, load_again):
        is_done, said = load_again(900, "passenger_count", "0", "0")
        assert is_done, said
        [(trips, load_id, _)] = run_query(january, self.COUNT)
        assert 0 < trips <= 100
        assert load_id == 2
