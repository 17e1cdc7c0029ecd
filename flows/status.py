"""Status: what is up and where, what is loaded, what has failed, and what comes next.

It starts nothing, and asks only what answers: PostgreSQL, and Prefect's server or, where none runs,
the file in which its temporary ones keep their runs.
"""

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from textwrap import wrap
from uuid import uuid4

import httpx
from sqlalchemy import Connection

from flows.errors import WHOLE_WORDS, PipelineError, first_line
from flows.progress import megabytes
from flows.settings import DATA, Settings, read_settings
from flows.tlc.months import months_between, spans_of
from flows.warehouse.connection import Unreachable, address, connect
from flows.warehouse.local_server import LOCAL_HOSTS

WORK_POOL = "nyc-taxi"
MOST_MONTHS = 12  # that are named one by one
PATIENCE = 5.0  # seconds that Prefect's server has for an answer

LOADED = """
select
    dataset,
    source_month,
    row_count,
    is_sample,
    not exists (
        select from bookkeeping.built_months as built
        where built.dataset = loads.dataset and built.load_id = loads.load_id
    ) as is_to_be_built
from (
    select distinct on (dataset, source_month) dataset, source_month, row_count, is_sample, load_id
    from raw.loads order by dataset, source_month, load_id desc
) as loads
order by dataset, source_month
"""
WARNED = """
select dataset, to_char(source_month, 'YYYY-MM') as month, count(*) as warnings
from month_warnings group by dataset, source_month order by dataset, source_month
"""
FAILED = """
select flow_run.name, flow_run_state.timestamp, flow_run_state.message
from flow_run inner join flow_run_state on flow_run.state_id = flow_run_state.id
where flow_run_state.type in ('FAILED', 'CRASHED')
order by flow_run_state.timestamp desc limit 1
"""


@dataclass(frozen=True)
class Loaded:
    """What is loaded of a dataset; months are written as 2021-01, or 2021-01..2021-03."""

    dataset: str
    months: list[str]
    samples: list[str]  # of these
    gaps: list[str]  # months that are missing between the first and the last
    to_be_built: list[str]
    warnings: dict[str, int]  # of the health of a month: how many
    rows: int

    def __str__(self) -> str:
        """In one line."""
        parts = [f"{', '.join(self.months)}: {self.rows:,} rows"]
        parts += [f"samples: {', '.join(self.samples)}"] if self.samples else []
        parts += [f"missing: {', '.join(self.gaps)}"] if self.gaps else []
        parts += [f"not built: {', '.join(self.to_be_built)}"] if self.to_be_built else []
        warned = [f"{month} ({count})" for month, count in self.warnings.items()]
        if len(warned) > MOST_MONTHS:
            warned[MOST_MONTHS:] = [f"{len(warned) - MOST_MONTHS} more"]
        parts += [f"health warnings: {', '.join(warned)}"] if warned else []
        return "; ".join(parts)


@dataclass(frozen=True)
class Failure:
    """A flow run that has failed or crashed."""

    run: str
    at: datetime
    why: str


@dataclass(frozen=True)
class Next:
    """A flow run that is scheduled."""

    deployment: str
    at: datetime


@dataclass
class Status:
    """All of it; None where it is not known."""

    postgresql: str  # who we are there, its address and the database
    is_postgresql_up: bool = False
    postgresql_says: str = ""
    prefect: str | None = None  # the address of its pages
    is_prefect_up: bool = False
    prefect_says: str = ""
    workers: int = 0
    loaded: list[Loaded] = field(default_factory=list)
    database_bytes: int | None = None
    downloads_bytes: int = 0
    free_bytes: int | None = None
    data: Path = DATA
    last_failure: Failure | None = None
    next_run: Next | None = None

    def __str__(self) -> str:
        """For the terminal."""
        database = f", {megabytes(self.database_bytes)}" if self.database_bytes else ""
        lines = [
            ("PostgreSQL", f"{self.postgresql}{database}{self.postgresql_says}"),
            ("Prefect", f"{self.prefect or 'no server'}{self.prefect_says}"),
        ]
        if self.is_prefect_up:
            start = "" if self.workers else ": `taxi worker` starts one"
            lines.append(("Workers", f"{self.workers or 'none'}{start}"))
        lines += [(one.dataset, str(one)) for one in self.loaded]
        if self.is_postgresql_up and not self.loaded:
            lines.append(("Loaded", "nothing: `taxi run` loads a sample"))
        last = "none that Prefect knows of"
        if failure := self.last_failure:
            last = f"{failure.run}, {failure.at:%Y-%m-%d %H:%M %Z}: {failure.why}"
        lines.append(("Last failure", last))
        free = f", {megabytes(self.free_bytes)} free" if self.free_bytes else ""
        lines.append(("Files", f"{self.data}: downloads {megabytes(self.downloads_bytes)}{free}"))
        following = "none is scheduled"
        if coming := self.next_run:
            following = f"{coming.deployment}, {coming.at:%A %Y-%m-%d %H:%M %Z}"
        lines.append(("Next run", following))
        width = shutil.get_terminal_size().columns
        return "\n".join(line for name, text in lines for line in entry(name, text, width))


def entry(name: str, text: str, width: int) -> list[str]:
    """A name and what there is to say of it, without a break inside a word."""
    return wrap(f"{name:<14}{text}", width, subsequent_indent=" " * 14, **WHOLE_WORDS)


def status() -> Status:
    """Show what is up and where, what is loaded, what failed last and what comes next.

    Nothing is started, and it works if nothing is up.
    """
    settings = read_settings()
    found = Status(address(settings.url))
    found.downloads_bytes = size_of(DATA / "downloads")
    with suppress(OSError):
        found.free_bytes = shutil.disk_usage(DATA).free
    ask_prefect(found)
    if settings.block:
        found.postgresql = f"as the Prefect block {settings.block} has it"
        found.postgresql_says = ", which is not asked"
    else:
        ask_warehouse(found, settings)
    return found


def size_of(folder: Path) -> int:
    """How many bytes the files in a folder have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def ask_warehouse(found: Status, settings: Settings) -> None:
    """Add what PostgreSQL knows, if it answers."""
    try:
        with connect(settings) as connection:
            found.is_postgresql_up = True
            found.database_bytes = connection.exec_driver_sql(
                "select pg_database_size(current_database())"
            ).scalar()
            version = connection.exec_driver_sql("show server_version").scalar()
            found.postgresql_says = f", PostgreSQL {str(version).partition(' ')[0]}"
            found.loaded = loaded_months(connection)
    except PipelineError as error:
        _, _, why = str(error).partition("can't be reached: ")
        is_down = isinstance(error, Unreachable)
        start = ": `taxi up` starts it" if is_down and settings.host in LOCAL_HOSTS else ""
        found.postgresql_says = (
            f" is {'not up' * is_down or 'no warehouse'} ({why or error}){start}"
        )


def loaded_months(connection: Connection) -> list[Loaded]:
    """What is loaded of each dataset."""
    there = "select to_regclass('raw.loads') is not null, to_regclass('month_warnings') is not null"
    is_loaded, is_built = connection.exec_driver_sql(there).one()
    if not is_loaded:
        return []
    warned: dict[str, dict[str, int]] = {}
    for dataset, month, count in connection.exec_driver_sql(WARNED) if is_built else ():
        warned.setdefault(dataset, {})[month] = count
    rows = connection.exec_driver_sql(LOADED).all()
    found = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        those = [row for row in rows if row.dataset == dataset]
        months = [row.source_month for row in those]
        between = [month for month in months_between(months[0], months[-1]) if month not in months]
        found.append(
            Loaded(
                dataset,
                spans_of(months),
                spans_of([row.source_month for row in those if row.is_sample]),
                spans_of(between),
                spans_of([row.source_month for row in those if row.is_to_be_built]),
                warned.get(dataset, {}),
                sum(row.row_count for row in those),
            )
        )
    return found


def ask_prefect(found: Status) -> None:
    """Add what Prefect's server knows or, where none runs, the file of its temporary ones."""
    api = os.environ.get("PREFECT_API_URL")
    if not api:
        found.prefect_says = " runs: `taxi serve` starts one, with the schedule and a worker"
        found.last_failure = failure_in_file(Path(os.environ["PREFECT_HOME"]) / "prefect.db")
        return
    found.prefect = api.removesuffix("/api")
    name = f"taxi status {uuid4()}"
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    try:
        with httpx.Client(base_url=api, auth=(user, password), timeout=PATIENCE) as client:
            token = client.get("/csrf-token", params={"client": name})
            if token.is_success:  # else the server does not ask for one
                client.headers["Prefect-Csrf-Client"] = name
                client.headers["Prefect-Csrf-Token"] = token.json()["token"]
            ask_server(found, client)
            found.is_prefect_up = True
    except httpx.HTTPStatusError as error:
        found.prefect_says = f" refuses the question: {first_line(error)}"
    except httpx.HTTPError as error:
        found.prefect_says = f" does not answer ({first_line(error)}): `taxi serve` starts it"


def ask_server(found: Status, client: httpx.Client) -> None:
    """Add what Prefect's server knows.

    Raises:
        httpx.HTTPError: it does not answer, or refuses to.
    """
    workers = client.post(f"/work_pools/{WORK_POOL}/workers/filter", json={})
    if workers.status_code != httpx.codes.NOT_FOUND:
        workers.raise_for_status()
        found.workers = sum(worker["status"] == "ONLINE" for worker in workers.json())

    def first_run(states: list[str], sort: str) -> dict[str, str] | None:
        asked = {"flow_runs": {"state": {"type": {"any_": states}}}, "sort": sort, "limit": 1}
        runs = client.post("/flow_runs/filter", json=asked).raise_for_status().json()
        return runs[0] if runs else None

    if failed := first_run(["FAILED", "CRASHED"], "END_TIME_DESC"):
        state: dict[str, str] = failed["state"]  # type: ignore[assignment]
        found.last_failure = failure(failed["name"], state["timestamp"], state["message"])
    if coming := first_run(["SCHEDULED"], "EXPECTED_START_TIME_ASC"):
        deployment = client.get(f"/deployments/{coming['deployment_id']}")
        name = deployment.json()["name"] if deployment.is_success else coming["name"]
        found.next_run = Next(name, local(coming["expected_start_time"]))


def failure_in_file(path: Path) -> Failure | None:
    """The last failure that a temporary server of Prefect's has noted, if there is one."""
    with suppress(sqlite3.Error):  # no file, or another version's
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute(FAILED).fetchone()
        return failure(*row) if row else None
    return None


def failure(run: str, at: str, message: str | None) -> Failure:
    """A failure as Prefect has it, with its reason in one line."""
    why = (message or "").removeprefix("Flow run encountered an exception: ")
    return Failure(run, local(at), " ".join(why.removeprefix("PipelineError: ").split())[:300])


def local(time: str) -> datetime:
    """A time as Prefect writes it, in this machine's zone."""
    at = datetime.fromisoformat(time)
    return (at if at.tzinfo else datetime.fromisoformat(f"{time}+00:00")).astimezone()
