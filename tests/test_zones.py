"""The zones of trips with coordinates are those that TLC's shapes have."""

import csv
import importlib.util
from collections import defaultdict
from itertools import pairwise

import pandas as pd
import pytest
from conftest import ROOT, build_by_hand, load_file, put_by, run_query, warehouse_to_build
from made_up import ERAS, trips_of, write

from flows.settings import PROJECT

PIECES = PROJECT / "seeds/taxi_zone_pieces.csv"
SHAPES = ROOT / "data/taxi_zones.geojson"  # TLC's, where somebody has put it
POINTS = pd.read_csv(ROOT / "tests/zones_of_points.csv", dtype={"location_id": "Int64"})
ERA = next(era for era in ERAS.values() if "pickup_longitude" in era.names.values())
CELL_AREA = 5_000**2


def test_no_two_pieces_of_a_cell_overlap_and_together_they_are_no_more_than_it():
    areas = defaultdict(float)
    with PIECES.open(newline="") as file:
        for row in csv.DictReader(file):
            numbers = [int(number) for number in row["shape"].split(",")]
            corners = [*zip(numbers[::2], numbers[1::2], strict=True)]
            column, line = divmod(int(row["cell"]), 1_000)
            assert all(0 <= x - 5_000 * column <= 5_000 for x, _ in corners)
            assert all(0 <= y - 5_000 * line <= 5_000 for _, y in corners)
            edges = pairwise([*corners, corners[0]])
            areas[row["cell"]] += abs(sum(a * d - b * c for (a, b), (c, d) in edges)) / 2
    assert max(areas.values()) == CELL_AREA
    assert sum(area == CELL_AREA for area in areas.values()) > 2_000  # no gaps between zones


@pytest.mark.skipif(
    not (SHAPES.exists() and importlib.util.find_spec("shapely")),
    reason=f"needs TLC's shapes in {SHAPES.relative_to(ROOT)}, and shapely",
)
def test_the_pieces_are_those_that_the_tool_cuts(tmp_path):
    spec = importlib.util.spec_from_file_location("taxi_zones", ROOT / "tools/taxi_zones.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.write_pieces(tool.cut(*tool.read_zones(SHAPES)), tmp_path / "pieces.csv")
    assert (tmp_path / "pieces.csv").read_bytes() == PIECES.read_bytes()


@pytest.fixture(scope="module")
def located(prefect_server, tmp_path_factory):
    """A warehouse with a trip from each of the points to another one, and the expected zones."""
    settings = warehouse_to_build()
    ends, others = POINTS, POINTS[::-1].reset_index(drop=True)
    trips = trips_of(ERA, len(POINTS)).assign(
        passenger_count=1,
        pickup_longitude=ends["longitude"],
        pickup_latitude=ends["latitude"],
        dropoff_longitude=others["longitude"],
        dropoff_latitude=others["latitude"],
    )
    load_file(write(ERA, trips, tmp_path_factory.mktemp("zones")), ERA.month)
    build_by_hand(settings, "build --exclude-resource-type test unit_test")
    return put_by(settings)


@pytest.mark.parametrize(("end", "step"), [("pickup", 1), ("dropoff", -1)])
def test_each_point_is_in_the_zone_that_shapely_finds(located, end, step):
    found = run_query(
        located,
        f"select {end}_location_id, {end}_zone_from from yellow_taxi_trips order by source_row",
    )
    expected = [
        (None, None) if pd.isna(number) else (number, "coordinates")
        for number in POINTS["location_id"][::step]
    ]
    assert found == expected
    assert {*POINTS["location_id"].dropna()} >= {1, 2, 56, 103, 132, 138}
    assert POINTS["location_id"].isna().sum() > 30


def test_a_view_of_all_trips_has_their_zones_names(located):
    unnamed = "select count(*) from trips where pickup_zone_from is not null and {}"
    assert run_query(located, unnamed.format("pickup_zone is null")) == [(0,)]
    assert run_query(located, unnamed.format("pickup_zone is not null"))[0][0] > 300
