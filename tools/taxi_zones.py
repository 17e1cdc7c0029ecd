# /// script
# requires-python = ">=3.11"
# dependencies = ["shapely>=2.1"]
# ///
"""Cut TLC's taxi zones into the pieces by which dbt's models find the zone of a trip's coordinates.

    uv run tools/taxi_zones.py taxi_zones.geojson

The file is "NYC Taxi Zones" of NYC Open Data, as GeoJSON with longitude and latitude in degrees,
plain or packed by gzip: https://data.cityofnewyork.us/d/8meu-9t5y. What is written from it is in
the repository, so this runs only when TLC has moved a border.

PostgreSQL's polygons are exact where coordinates are whole numbers, and not in degrees: it takes
what differs by less than 0.000001 as the same. So the unit is a millionth of a degree, a tenth of a
metre, counted from a corner south-west of the city.
"""

import argparse
import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry import shape

ROOT = Path(__file__).parent.parent
PIECES = ROOT / "dbt_project/seeds/taxi_zone_pieces.csv"
POINTS = ROOT / "tests/zones_of_points.csv"
OUTLINES = ROOT / "flows/report/zone_outlines.json"

MAP_UNIT = 250 * np.array([1 / np.cos(np.radians(40.7)), 1])  # of the report's map, some 28 metres

# As in dbt_project/macros/zones.sql.
WEST, SOUTH = -74_300_000, 40_400_000
CELL = 5_000  # units, a two-hundredth of a degree
CELLS_PER_COLUMN = 1_000
# A point is looked up so many units aside, where it is never on an edge: there it would be in two
# zones.
ASIDE = (0.013719, 0.007253)
FARTHER_THAN_ITS_EPSILON = 5e-6


class Piece(NamedTuple):
    """A zone's part of a cell, or one of its parts there."""

    cell: int
    location_id: int
    shape: shapely.Polygon


def read_zones(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The numbers and shapes of TLC's zones, in units; some have several shapes."""
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    features = json.loads(content)["features"]
    numbers = np.array([int(feature["properties"]["LocationID"]) for feature in features])
    shapes = [shape(feature["geometry"]) for feature in features]
    in_units = shapely.transform(shapes, lambda degrees: degrees * 1e6 - (WEST, SOUTH))
    return numbers, shapely.make_valid(in_units)


def cut(numbers: np.ndarray, shapes: np.ndarray) -> list[Piece]:
    """Cut zones by a grid, into pieces that neither overlap nor have holes.

    The borders of all zones and the grid are put together and rounded to units once, so that
    neighbours keep their common border. Where TLC's shapes overlap, by metres at most, the lower
    number counts.
    """
    lines = shapely.unary_union([*shapely.boundary(shapes), *grid(shapes)], grid_size=1)
    faces = np.array(shapely.polygonize([*lines.geoms]).geoms)
    places = shapely.point_on_surface(faces)
    nowhere = numbers.max() + 1
    zones = np.full(len(faces), nowhere)
    inside, around = shapely.STRtree(shapes).query(places, "within")
    np.minimum.at(zones, inside, numbers[around])
    columns, rows = (shapely.get_coordinates(places) // CELL).astype(int).T
    found = defaultdict(list)
    for face, zone, cell in zip(faces, zones, columns * CELLS_PER_COLUMN + rows, strict=True):
        if zone != nowhere:
            found[int(cell), int(zone)].append(face)
    return [
        Piece(cell, zone, piece)
        for (cell, zone), parts in sorted(found.items())
        for piece in shapely.get_parts(shapely.normalize(shapely.coverage_union_all(parts)))
    ]


def grid(shapes: np.ndarray) -> Iterator[shapely.LineString]:
    """The lines between the cells that the shapes are in."""
    west, south, east, north = shapely.total_bounds(shapes) // CELL * CELL
    for x in np.arange(west, east + CELL + 1, CELL):
        yield shapely.LineString([(x, south), (x, north + CELL)])
    for y in np.arange(south, north + CELL + 1, CELL):
        yield shapely.LineString([(west, y), (east + CELL, y)])


def check(pieces: Sequence[Piece]) -> None:
    """Raise a ValueError if PostgreSQL could find a point in two pieces, or between two."""
    for piece in pieces:
        where = f"zone {piece.location_id}, cell {piece.cell}"
        if piece.shape.interiors:
            raise ValueError(f"{where}: a piece has a hole, which PostgreSQL's polygons can't have")
        along = np.diff(shapely.get_coordinates(piece.shape), axis=0)
        off = along[:, 0] * ASIDE[1] - along[:, 1] * ASIDE[0]
        if np.abs(off - np.round(off)).min() < FARTHER_THAN_ITS_EPSILON:
            raise ValueError(f"{where}: a point could be on an edge; ASIDE has to be another one")


def write_pieces(pieces: Sequence[Piece], path: Path) -> None:
    """Write the seed that dbt loads: each polygon as its corners' x and y, one after the other."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["piece_id", "cell", "location_id", "shape"])
        for number, piece in enumerate(pieces, 1):
            corners = shapely.get_coordinates(piece.shape)[:-1].astype(int)
            rows.writerow(
                [number, piece.cell, piece.location_id, ",".join(map(str, corners.ravel()))]
            )


def write_points(numbers: np.ndarray, shapes: np.ndarray, path: Path) -> None:
    """Write points and the zones that shapely finds them in, for the tests.

    One is inside of each shape, some are a quarter of a metre from a corner, others anywhere.
    """
    random = np.random.default_rng(56)
    corners = shapely.get_coordinates(shapes)
    near = random.choice(corners, 200) + random.choice([-2, 2], (200, 2))
    west, south, east, north = shapely.total_bounds(shapes)
    anywhere = random.uniform((west, south), (east, north), (60, 2))
    inside = shapely.get_coordinates(shapely.point_on_surface(shapes))
    points = shapely.points(np.unique(np.round(np.concatenate([inside, near, anywhere])), axis=0))
    borders = shapely.unary_union(shapely.boundary(shapes))
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["longitude", "latitude", "location_id"])
        for point in points[shapely.distance(points, borders) > 1]:
            found = numbers[shapely.contains(shapes, point)]
            x, y = (point.x + WEST) / 1e6, (point.y + SOUTH) / 1e6
            rows.writerow([f"{x:.6f}", f"{y:.6f}", min(found, default="")])


def write_outlines(pieces: Sequence[Piece], path: Path) -> None:
    """Write the report's map: its size, and each zone as a path of SVG; common borders stay so."""
    numbers = sorted({piece.location_id for piece in pieces})
    whole = [
        shapely.coverage_union_all([p.shape for p in pieces if p.location_id == number])
        for number in numbers
    ]
    simple = shapely.coverage_simplify(whole, 300)
    west, south, east, north = shapely.total_bounds(simple)
    paths = {}
    for number, zone in zip(numbers, simple, strict=True):
        rings = []
        for ring in shapely.get_parts(shapely.get_rings(zone)):
            corners = np.round((shapely.get_coordinates(ring) - (west, north)) / MAP_UNIT * (1, -1))
            steps = np.diff(corners.astype(int), axis=0)[:-1]
            turns = " ".join(f"{x} {y}" for x, y in steps if x or y)
            if not turns:  # an islet, smaller than the unit
                continue
            rings.append(f"M{int(corners[0][0])} {int(corners[0][1])}l{turns}z")
        paths[number] = "".join(rings)
    size = np.ceil((east - west, north - south) / MAP_UNIT).astype(int).tolist()
    path.write_text(json.dumps({"size": size, "paths": paths}, separators=(",", ":")) + "\n")


def main() -> None:
    """Write what is made from the file on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zones", type=Path, help="taxi_zones.geojson, or taxi_zones.geojson.gz")
    numbers, shapes = read_zones(parser.parse_args().zones)
    pieces = cut(numbers, shapes)
    check(pieces)
    write_pieces(pieces, PIECES)
    write_points(numbers, shapes, POINTS)
    write_outlines(pieces, OUTLINES)
    print(f"{PIECES.relative_to(ROOT)}: {len(pieces)} pieces")


if __name__ == "__main__":
    main()
