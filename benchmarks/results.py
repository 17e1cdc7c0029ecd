"""What bench.py has measured: kept in results.json, shown in docs/speed.md.

results.json has for each part its title, its unit, what it was measured on, and of each way all
that was measured, in that order: {"part": {"title", "unit", "on", "ways": {way: [seconds, …]}}}.
The page has the medians between the comments `<!-- part -->` and `<!-- end -->`, and between
`<!-- machines -->` and that, what they were measured on.
"""

import json
import re
import statistics
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")
PAGE = RESULTS.parent.parent / "docs" / "speed.md"

Measured = dict[str, list[float]]


def keep(part: str, title: str, unit: str, on: str, ways: Measured) -> None:
    """Put a part's figures in the place of those that are there, in the file and on the page."""
    rounded = {way: [round(each, 3) for each in seconds] for way, seconds in ways.items()}
    kept = read() | {part: {"title": title, "unit": unit, "on": on, "ways": rounded}}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(filled(PAGE.read_text()))


def read() -> dict[str, dict]:
    """All parts."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def filled(page: str) -> str:
    """A page with the newest tables."""
    parts = read()
    machines: dict[str, list[str]] = {}
    for part, measured in parts.items():
        page = put(page, part, as_table(measured["title"], measured["unit"], measured["ways"]))
        machines.setdefault(measured["on"], []).append(measured["title"])
    lines = [f"- {'; '.join(titles)}: {on}" for on, titles in machines.items()]
    return put(page, "machines", "\n".join(lines))


def put(page: str, name: str, content: str) -> str:
    """The page with that between two comments; the same page, where it has not these."""
    between = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", flags=re.DOTALL)
    # Once: after an empty place, the next match would begin at it and end at another part's end.
    return between.sub(lambda _: f"{content}\n", page, count=1)


def as_table(title: str, unit: str, ways: Measured) -> str:
    """A part as Markdown: medians, and their ratios to the first row's."""
    first = statistics.median(next(iter(ways.values())))
    rows = [f"| {title} | {unit} | ratio |", "| --- | --- | --- |"]
    for way, seconds in ways.items():
        median = statistics.median(seconds)
        rows.append(f"| {way} | {median:,.2f} | {median / first:.2f} |")
    return "\n".join(rows)
