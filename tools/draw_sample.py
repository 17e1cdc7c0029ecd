"""Draw the sample of yellow trips: the year 2020, one trip in 640.

    python tools/draw_sample.py FOLDER

FOLDER has a file `yellow_tripdata_2020-MM*.csv.gz` for each month, the month itself or 10,000 or
more trips that were drawn from it at random. How many are drawn of a month follows from its number
of trips (flows/tlc/samples/samples.csv), so that of every month it is the same part: 10,000 of the
largest. They are written in the order of their pickups, and no value is touched.
"""

import csv
import gzip
import random
import sys
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "flows/tlc/samples"
OF_THE_LARGEST = 10_000
PICKUP = "tpep_pickup_datetime"


def draw(lines: list[str], count: int, seed: str) -> list[str]:
    """So many of the lines of a month's file, drawn at random, in the order of their pickups."""
    header, *trips = lines
    column = header.rstrip("\r\n").split(",").index(PICKUP)
    chosen = random.Random(seed).sample(trips, count)  # noqa: S311
    return [header, *sorted(chosen, key=lambda trip: (trip.split(",")[column], trip))]


def main(folder: Path) -> None:
    """Write the sample of each yellow month that samples.csv names."""
    with (SAMPLES / "samples.csv").open(newline="") as rows:
        sizes = {
            row["month"]: int(row["trips_in_month"])
            for row in csv.DictReader(rows)
            if row["dataset"] == "yellow"
        }
    for month, size in sizes.items():
        [source] = folder.glob(f"yellow_tripdata_{month}*.csv.gz")
        with gzip.open(source, "rt", newline="") as file:
            lines = file.readlines()
        drawn = draw(lines, round(OF_THE_LARGEST * size / max(sizes.values())), seed=month)
        # As `gzip -9 -n` packs it: without a name or a time.
        packed = gzip.compress("".join(drawn).encode(), compresslevel=9, mtime=0)
        target = SAMPLES / f"yellow_tripdata_{month}.csv.gz"
        target.write_bytes(packed)
        print(f"{target.name}: {len(drawn) - 1:,} of {size:,} trips")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
