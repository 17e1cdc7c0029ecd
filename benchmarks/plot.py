"""Draw what bench.py has measured: python plot.py results.json OUT.svg, by the peers' Python."""

import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

OURS, OTHERS = "#d99a00", "#9aa0a6"

results, out = sys.argv[1:]
parts = json.loads(Path(results).read_text())
figure, axes = plt.subplots(2, 1, figsize=(8, 4.5), height_ratios=[6, 3], layout="constrained")
shown = ("loads", "flows")
for axis, name in zip(axes, shown, strict=True):
    ways = parts[name]["ways"]
    part = {way: statistics.median(ways[way]) for way in reversed(ways)}
    colours = [OURS if what.startswith("our") else OTHERS for what in part]
    bars = axis.barh(list(part), list(part.values()), color=colours)
    axis.bar_label(bars, fmt="%.1f s", padding=4)
    axis.set_title(parts[name]["title"], loc="left", fontsize=10)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.set_xticks([])
    axis.margins(x=0.12)
plt.savefig(out)
