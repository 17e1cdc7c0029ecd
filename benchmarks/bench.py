"""Measure this project against what people use, on one server, in one run, in turns.

    make bench

Each row of the results has been measured in turns with the first row of its part (A B C A B C …),
since machines are noisy; what counts is the ratio of the medians. Peers that take a minute have
fewer rounds. Needs some 3 GB on disk, in data/bench, and a quarter of an hour.
"""

import gzip
import json
import os
import platform
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "data" / "bench"
BIN = Path(sys.executable).parent


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Before anything imports Prefect, which reads its settings while it is imported.
API_PORT = free_port()
if "BENCH_IS_UP" not in os.environ:  # a process of ours finds its servers there
    os.environ |= {
        "BENCH_IS_UP": "1",
        "PREFECT_HOME": str(HOME / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{API_PORT}/api",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(free_port()),
        "POSTGRES_USER": "bench",
        "POSTGRES_PASSWORD": "bench",
        "POSTGRES_DB": "bench",
    }
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from made_up import HEADER, NAMES_2019, Era, trips_of, write  # noqa: E402
from prefect import flow  # noqa: E402

from flows.build import FAILED, TABLE_NAME, dbt_on  # noqa: E402
from flows.datasets import DATASETS  # noqa: E402
from flows.fetch import SourceFile, verify  # noqa: E402
from flows.laptop import postgres as embedded_postgres  # noqa: E402
from flows.load import load  # noqa: E402
from flows.parameters import Limits  # noqa: E402
from flows.server.worker import answers  # noqa: E402
from flows.settings import read_settings  # noqa: E402
from flows.warehouse import connect, ensure_warehouse  # noqa: E402

ROWS = 1_369_765  # of yellow_tripdata_2021-01
YELLOW = DATASETS["yellow"]
JANUARY = date(2021, 1, 1)
ANY_MONTH = Limits(other_months_share=1)  # one file stands for all of them
YEAR = [date(2021, month, 1) for month in range(1, 13)]
TWO_YEARS = [date(year, month, 1) for year in (2020, 2021) for month in range(1, 13)]
SETTINGS = read_settings()
URL = SETTINGS.url.render_as_string(hide_password=False).replace("+psycopg2", "")
PEERS = {"pandas to_sql, a tenth": 2, "pandas + COPY": 2, "polars + ADBC": 3, "dlt": 3}


def in_turns(
    ways: dict[str, Callable[[], float | None]], rounds: dict[str, int]
) -> dict[str, float]:
    """Run each way so many times, one after the other; return the medians in seconds.

    A way may return its own time; else that of the call counts.
    """
    seconds = {name: [] for name in ways}
    for number in range(max(rounds.values())):
        for name, way in ways.items():
            if number < rounds[name]:
                began = time.perf_counter()
                own = way()
                seconds[name].append(own or time.perf_counter() - began)
                print(f"  {name}: {seconds[name][-1]:.2f}", file=sys.stderr, flush=True)
    return {name: statistics.median(each) for name, each in seconds.items()}


def run_sql(*statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with connect(SETTINGS) as connection:
        driver = connection.connection.driver_connection
        driver.autocommit = True
        for statement in statements:
            driver.cursor().execute(statement)


def empty_the_warehouse() -> None:
    """Drop all that the parts before have made."""
    run_sql(
        *(
            f"drop schema if exists {name} cascade"
            for name in ("raw", "staging", "trip_months", "public")
        )
    )
    run_sql("create schema public")


def shell(command: str) -> None:
    """Run a command line."""
    environment = {"PATH": f"{embedded_postgres.programs()}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-ec", command], check=True, cwd=ROOT, env=os.environ | environment)


def copy_with_psql(path: Path) -> None:
    """The bare thing: unpack, and COPY into a table of text columns."""
    columns = ", ".join(f"{name} text" for name in HEADER.split(","))
    create = f"drop table if exists bare; create table bare ({columns})"
    shell(
        f"psql -q -d {URL} -c {shlex.quote(create)};"
        f"gunzip -c {shlex.quote(str(path))}"
        f" | psql -q -d {URL} -c '\\copy bare from stdin csv header'"
    )


def peer(name: str, path: Path) -> float:
    """Run another tool in its own environment; it says itself how long it took, without imports."""
    python = HOME / "peers" / "bin" / "python"
    command = [python, ROOT / "benchmarks" / "peers.py", name, path, URL]
    environment = os.environ | {"DLT_DATA_DIR": str(HOME / "dlt")}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds = float(said.stdout.split()[-1])
    return seconds * ROWS / 100_000 if name.endswith("a tenth") else seconds


def make_month() -> Path:
    """A made-up month, without values that can't be cast: the peers would give up on them."""
    era = Era(JANUARY, NAMES_2019)
    path = HOME / era.file_name
    return path if path.exists() else write(era, trips_of(era, ROWS), HOME)


def measure_loads(file: SourceFile) -> dict[str, float]:
    """(a) A month into the database, as text or, with the peers, as they do it."""
    ways = {
        "psql \\copy into text columns": lambda: copy_with_psql(file.path),
        "our load": lambda: load(file, YELLOW, JANUARY, force=True) and None,
        **{name: (lambda name=name: peer(name, file.path)) for name in PEERS},
    }
    return in_turns(ways, {name: PEERS.get(name, 5) for name in ways})


def measure_year(file: SourceFile) -> dict[str, float]:
    """(a) Twelve months of that size."""

    def ours() -> None:
        for month in YEAR:
            load(file, YELLOW, month, force=True, limits=ANY_MONTH)

    def bare() -> None:
        for _ in YEAR:
            copy_with_psql(file.path)

    return in_turns(
        {"12 x psql \\copy": bare, "our load of 12 months": ours},
        {"12 x psql \\copy": 2, "our load of 12 months": 2},
    )


def measure_transformation(file: SourceFile) -> dict[str, float]:
    """The trips' model against the bare statement that it comes down to."""
    empty_the_warehouse()
    load(file, YELLOW, JANUARY)
    with dbt_on(SETTINGS.url, TABLE_NAME) as dbt:
        dbt("build")

        def of_the_model(*words: str):
            results = dbt(*words, "--select", TABLE_NAME)
            return next(result for result in results if result.node.name == TABLE_NAME)

        statement = of_the_model("compile").node.compiled_code

        def bare() -> None:
            run_sql(
                "drop table if exists bare_trips",
                "set parallel_tuple_cost = 0; set parallel_setup_cost = 0;"
                f" create table bare_trips as {statement}",
            )

        def model() -> float:
            return of_the_model("run", "--full-refresh").execution_time

        return in_turns(
            {"create table as": bare, "our model": model}, {"create table as": 5, "our model": 5}
        )


def elt(path: Path, *arguments: str) -> None:
    """Our whole flow as a person starts it, with a Prefect server up."""
    command = [sys.executable, "-m", "flows.elt", "--source", path, "--months", "2021-01"]
    subprocess.run([*command, *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


@flow
def trips_alone(path: str) -> None:
    """What the classic flow results in, and its tests: one table."""
    load(verify(path, Path(path)), YELLOW, JANUARY, force=True)
    with dbt_on(SETTINGS.url, TABLE_NAME) as dbt:
        # Cautious: without the tests against tables that are not built here. As in the flow,
        # without the unit tests, which are of the SQL and not of the month.
        select = ("--select", f"+{TABLE_NAME}", "--indirect-selection", "cautious")
        results = dbt("build", *select, "--full-refresh", "--exclude-resource-type", "unit_test")
    assert not [result for result in results if result.status in FAILED]  # noqa: S101


def start_trips_alone(path: Path) -> None:
    """In a process of its own, as the classic one."""
    code = (
        f"import sys; sys.path[:0] = ['benchmarks']; import bench; bench.trips_alone({str(path)!r})"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True, cwd=ROOT)


def measure_flows(path: Path) -> dict[str, float]:
    """(b) From a file to a table that analysts query."""
    url = URL.replace("postgresql:", "postgresql+psycopg2:")
    classic = [sys.executable, ROOT / "benchmarks" / "classic.py", path, url]
    return in_turns(
        {
            "classic flow, all chunks": lambda: subprocess.run(classic, check=True) and None,
            "our flow, the trips alone": lambda: start_trips_alone(path),
            "our flow, all marts, tests and the report": lambda: elt(path, "--force"),
        },
        {
            "classic flow, all chunks": 2,
            "our flow, the trips alone": 3,
            "our flow, all marts, tests and the report": 3,
        },
    )


def measure_reload(path: Path, file: SourceFile) -> dict[str, float]:
    """(c) A month is loaded again, alone in the warehouse and as one of 24; and nothing to do."""
    elt(path)
    alone = in_turns(
        {"alone": lambda: elt(path, "--force"), "nothing": lambda: elt(path)},
        {"alone": 3, "nothing": 3},
    )
    for month in TWO_YEARS:
        load(file, YELLOW, month, force=True, limits=ANY_MONTH)
    elt(path)
    among = in_turns(
        {"among": lambda: elt(path, "--force"), "nothing": lambda: elt(path)},
        {"among": 3, "nothing": 3},
    )
    return {
        "reload of a month alone": alone["alone"],
        "reload of a month among 24": among["among"],
        "nothing to do, with a month": alone["nothing"],
        "nothing to do, with 24 months": among["nothing"],
    }


def measure_memory(path: Path) -> dict[str, float]:
    """(d) Peak memory of the flow's process in MB, for a file and for one of ten times its size."""
    header, body = gzip.decompress(path.read_bytes()).split(b"\n", 1)
    tenfold = HOME / "yellow_tripdata_2021-01_tenfold.csv.gz"
    with gzip.open(tenfold, "wb", 1) as packed:
        packed.write(header + b"\n")
        for _ in range(10):
            packed.write(body)
    del body

    def peak(source: Path) -> float:
        code = (
            "import resource, subprocess, sys;"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        run = [sys.executable, "-m", "flows.elt", "--source", source, "--months", "2021-01"]
        measured = [sys.executable, "-c", code, *run, "--force"]
        said = subprocess.run(measured, check=True, cwd=ROOT, capture_output=True, text=True)
        return int(said.stdout) / 1_000

    return {"1 x": peak(path), "10 x": peak(tenfold)}


def table(part: dict[str, float], unit: str) -> str:
    """A part of the results as Markdown, with ratios to its first row."""
    first = next(iter(part.values()))
    rows = [f"| {name} | {value:,.2f} | {value / first:.2f} |" for name, value in part.items()]
    return "\n".join([f"| | {unit} | ratio |", "| --- | --- | --- |", *rows])


def versions(python: Path, *packages: str) -> str:
    """The versions of packages in an environment."""
    code = (
        "import importlib.metadata as m, sys; print(*(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
    )
    said = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True)
    return said.stdout.strip()


def main() -> None:
    """Start the servers, measure everything, print it, and draw it."""
    HOME.mkdir(parents=True, exist_ok=True)
    embedded_postgres.start(HOME / "postgres", SETTINGS.port, SETTINGS.host)
    embedded_postgres.prepare(HOME / "postgres", SETTINGS)
    server = subprocess.Popen(
        [BIN / "prefect", "server", "start", "--port", str(API_PORT)],
        stdout=(HOME / "prefect.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        while not answers(os.environ["PREFECT_API_URL"]):
            time.sleep(0.5)
        ensure_warehouse()
        path = make_month()
        file = verify(str(path), path)
        parts = {
            "A month into the database": measure_loads(file),
            "Twelve months": measure_year(file),
            "The trips' model": measure_transformation(file),
        }
        empty_the_warehouse()
        parts["From a file to a table for analysts"] = measure_flows(path)
        empty_the_warehouse()
        parts["A month loaded again, with all marts and tests"] = measure_reload(path, file)
        memory = measure_memory(path)
    finally:
        server.terminate()
        server.wait(30)
        embedded_postgres.stop(HOME / "postgres")
        shutil.rmtree(HOME / "postgres", ignore_errors=True)

    said = [f"{ROWS:,} rows, {file.content_bytes / 1e6:.0f} MB of CSV; medians"]
    said += [f"### {name}\n\n{table(part, 'seconds')}" for name, part in parts.items()]
    said += [f"### Peak memory of the flow's process\n\n{table(memory, 'MB')}"]
    said += [
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        + versions(Path(sys.executable), "prefect", "dbt-core", "pandas")
        + "; peers: "
        + versions(HOME / "peers" / "bin" / "python", "pandas", "polars", "dlt", "pyarrow")
    ]
    results = "\n\n".join(said) + "\n"
    (HOME / "results.md").write_text(results)
    (HOME / "results.json").write_text(json.dumps(parts))
    print(results)
    draw = [HOME / "peers" / "bin" / "python", ROOT / "benchmarks" / "plot.py"]
    subprocess.run([*draw, HOME / "results.json", ROOT / "benchmarks" / "loads.svg"], check=True)


if __name__ == "__main__":
    main()
