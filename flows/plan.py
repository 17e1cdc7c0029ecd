"""Plan: which months a source has, new or changed since they were loaded; without loading any."""

import json
import random
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from tabulate import tabulate

from flows.errors import RETRIES, PipelineError, without_secrets
from flows.parameters import Request
from flows.progress import megabytes
from flows.settings import read_settings
from flows.tlc.datasets import DATASETS, DatasetMonth
from flows.tlc.download import Forbidden, Published, Silent, SourceUnavailable, probe
from flows.tlc.months import LATEST, LATEST_BY, months_before
from flows.warehouse.load import Load, latest_loads
from flows.warehouse.local_server import ensure_server

AT_ONCE = 8  # requests
REQUESTS_PER_SECOND = 30  # TLC's server answers 403 to more than it likes
PAUSES = (1, 3, 9)  # seconds, before it is asked again for a month that should be there
SECONDS_PER_MEGABYTE = 1.0  # to download, load and build, on a laptop with two cores

State = Literal["new", "same", "changed", "not published", "no answer"]
TO_FETCH = ("new", "changed")
TO_LAND = (*TO_FETCH, "no answer")  # with no answer, landing it will say why


@dataclass(frozen=True)
class PlannedMonth:
    """A dataset's month, what its source says of its file, and what is loaded of it."""

    dataset: str
    month: date
    source: str
    state: State
    bytes: int | None = None
    rows_before: int | None = None


def plan(request: Request) -> list[PlannedMonth]:
    """Compare what a source has of the months that are asked for with what is loaded.

    Where that is `latest` alone, it is `look_back` months of each dataset, up to the newest that is
    published.

    A month has changed if its size, its ETag or its Last-Modified is another than when it was
    loaded. The source is asked for one byte of each file, several at once, and gently. A host that
    is silent is asked no more.

    Raises:
        NoAnswer: there is no answer for any of the months.
        PipelineError: the source can't be one, or the warehouse can't be asked what is loaded.
    """
    due = months_before(date.today(), LATEST_BY)
    silent, is_over = Silent(), threading.Event()

    def of(one: DatasetMonth, url: str, present: Load | None) -> PlannedMonth:
        state: State = "no answer"
        published: Published | None = None
        try:
            if not silent.is_given_up(url):
                published = probe(url) if one.month > due else probe_patiently(url)
                state = state_of(published, present, request.source.is_sample)
                silent.note(url)
        except SourceUnavailable as refusal:
            silent.note(url, refusal)
            if one.month > due and isinstance(refusal, Forbidden):
                state = "not published"
        except PipelineError:
            is_over.set()
            raise
        size = published.bytes if published else None
        rows = present.rows if present else None
        return PlannedMonth(one.dataset.name, one.month, without_secrets(url), state, size, rows)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        coming = []
        for one, present in zip(request.months, present_loads(request.months), strict=True):
            url = request.source.locate(one.dataset, one.month)
            coming.append(threads.submit(of, one, url, present))
            if is_over.is_set():
                break
            if not silent.is_given_up(url):
                time.sleep(1 / REQUESTS_PER_SECOND)
        planned = [one.result() for one in coming]
    if silent.refusal and all(one.state == "no answer" for one in planned):
        raise silent.refusal
    if request.words == LATEST:
        of_each = groupby(planned, key=lambda one: one.dataset)
        planned = [one for _, of_one in of_each for one in newest([*of_one], request.look_back)]
    return planned


def present_loads(asked: Sequence[DatasetMonth]) -> list[Load | None]:
    """The load that each month is of; None for those that are not loaded."""
    loads = {name: latest_loads(name) for name in {one.dataset.name for one in asked}}
    return [loads[one.dataset.name].get(one.month) for one in asked]


def probe_patiently(url: str) -> Published | None:
    """Ask again, with pauses, for what should be there: a refusal may mean too many requests."""
    for pause in PAUSES:
        try:
            return probe(url)
        except Forbidden:
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
    return probe(url)


def state_of(published: Published | None, present: Load | None, is_sample: bool) -> State:
    """What is to be done about a month, of which the source may have a sample."""
    if published is None:
        return "not published"
    if present is None or (present.is_sample and not is_sample):
        return "new"
    if is_sample and not present.is_sample:
        return "same"  # a sample does not take its place
    known: list[tuple[object, object]] = [(published.bytes, present.bytes)]
    if not is_sample:  # whose files are as old as this copy of the project
        known += [
            (published.etag, present.etag),
            (published.last_modified, present.last_modified),
        ]
    differs = any(now != then for now, then in known if now is not None and then is not None)
    return "changed" if differs else "same"


@task(
    name="new or changed months",
    task_run_name="new or changed months",
    cache_policy=NO_CACHE,
    **RETRIES,
)
def new_or_changed(request: Request, force: bool = False) -> list[DatasetMonth]:
    """The months of a request that are to be landed; with `force`, the others that are published.

    As its source has them at the moment.

    Raises:
        NoAnswer: the source does not answer.
        PipelineError: as `plan` does.
    """
    wanted = (*TO_LAND, "same") if force else TO_LAND
    return [
        DatasetMonth(DATASETS[one.dataset], one.month)
        for one in plan(request)
        if one.state in wanted
    ]


def newest(planned: list[PlannedMonth], count: int) -> list[PlannedMonth]:
    """So many months of a dataset, up to the newest that is published."""
    there = [one.month for one in planned if one.state != "not published"]
    return [one for one in planned if one.month <= max(there, default=date.min)][-count:]


def show(request: Request, as_json: bool) -> tuple[str, int]:
    """The plan of a run with these parameters, as a table or as JSON.

    Returns it, and the number of months for which the source gives no answer.
    """
    settings = read_settings()
    if settings.block is None:
        ensure_server(settings)
    planned = plan(request)
    total = sum_of(planned)
    if as_json:
        rows = [{**asdict(one), "month": f"{one.month:%Y-%m}"} for one in planned]
        return json.dumps({"months": rows, **total}), total["no_answer"]
    headers = ("dataset", "month", "status", "size", "rows loaded", "from")
    sides = ("left", "left", "left", "right", "right", "left")
    sources = [pattern_of(one) for one in planned]
    numbers = {source: number for number, source in enumerate(dict.fromkeys(sources), 1)}
    table = [
        (
            one.dataset,
            f"{one.month:%Y-%m}",
            one.state,
            megabytes(one.bytes) if one.bytes else "",
            f"{one.rows_before:,}" if one.rows_before is not None else "",
            f"[{numbers[source]}]",
        )
        for one, source in zip(planned, sources, strict=True)
    ]
    lines = [
        tabulate(table, headers, "plain", colalign=sides),
        "",
        *(f"[{number}] {source}" for source, number in numbers.items()),
        "",
        line_of(total, len(planned)),
    ]
    return "\n".join(lines), total["no_answer"]


def pattern_of(one: PlannedMonth) -> str:
    """Where a month is from, as its neighbours are, so that the table fits a terminal."""
    place, slash, name = one.source.rpartition("/")
    pattern = name.replace(f"{one.month:%Y-%m}", "{month}")
    if pattern != name:
        pattern = pattern.replace(f"{one.dataset}_", "{dataset}_")
        place = re.sub(rf"\b{one.dataset}\b", "{dataset}", place)
    return f"{place}{slash}{pattern}"


def line_of(total: dict[str, int], count: int) -> str:
    """What there is to fetch of so many months, in one line."""
    minutes = max(1, round(total["seconds"] / 60))
    line = (
        f"To fetch: {total['to_fetch']} of {count} months, {megabytes(total['bytes'])}, "
        f"in about {minutes} minute{'s' * (minutes > 1)}"
        if total["to_fetch"]
        else "Nothing to fetch: nothing is new or has changed"
    )
    unknown = total["no_answer"]
    return f"{line}; not counting {unknown} without an answer" if unknown else line


def sum_of(planned: list[PlannedMonth]) -> dict[str, int]:
    """How much there is to fetch: months, bytes, and seconds, roughly; and what is not known."""
    wanted = [one for one in planned if one.state in TO_FETCH]
    size = sum(one.bytes or 0 for one in wanted)
    return {
        "to_fetch": len(wanted),
        "bytes": size,
        "seconds": round(size / 1e6 * SECONDS_PER_MEGABYTE),
        "no_answer": sum(one.state == "no answer" for one in planned),
    }
