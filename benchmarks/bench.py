"""Measure this project against what people use, on one server, in one run, in turns.

    make bench
    make bench ARGS="loads parquet"     # some of the parts alone: those of PARTS, below

Each row of the results has been measured in turns with the first row of its part (A B C A B C …),
since machines are noisy; what counts is the ratio of the medians. Peers that take a minute have
fewer rounds. Needs some 10 GB on disk, in data/bench, and half an hour. Each part's figures are
kept as soon as they are there: results.py.
"""

import gzip
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

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

from made_up import (  # noqa: E402
    FHV_2019,
    FHVHV_CSV,
    GREEN_2019,
    HEADER,
    NAMES_2019,
    Era,
    of,
    trips_of,
    write,
)
from prefect import flow  # noqa: E402
from results import RESULTS, Measured, as_table, keep  # noqa: E402

from flows.archive import archive  # noqa: E402
from flows.build import FAILED  # noqa: E402
from flows.models.runner import dbt_on  # noqa: E402
from flows.parameters import TABLE_NAME, Limits  # noqa: E402
from flows.prepare import SCHEMAS, ensure_warehouse  # noqa: E402
from flows.server.worker import answers  # noqa: E402
from flows.settings import PROJECT, read_settings  # noqa: E402
from flows.tlc.datasets import DATASETS  # noqa: E402
from flows.tlc.download import SourceFile, verify  # noqa: E402
from flows.warehouse import archive as archives  # noqa: E402
from flows.warehouse import embedded as embedded_postgres  # noqa: E402
from flows.warehouse import local_server  # noqa: E402
from flows.warehouse.connection import connect  # noqa: E402
from flows.warehouse.load import load  # noqa: E402

ROWS = 1_369_765  # of yellow_tripdata_2021-01
MANY_ROWS = 20_000_000  # as many as a large month of fhvhv
YELLOW = DATASETS["yellow"]
JANUARY = date(2021, 1, 1)
ANY_MONTH = Limits(other_months_share=1)  # one file stands for all of them
YEAR = [date(2021, month, 1) for month in range(1, 13)]
TWO_YEARS = [date(year, month, 1) for year in (2020, 2021) for month in range(1, 13)]
SMALL = (
    Era(JANUARY, NAMES_2019),
    of("green", "2020-01", GREEN_2019),
    of("fhv", "2020-01", FHV_2019),
    of("fhvhv", "2020-01", FHVHV_CSV),
)
SETTINGS = read_settings()
URL = SETTINGS.url.render_as_string(hide_password=False).replace("+psycopg2", "")
PEERS = {"pandas to_sql, a tenth": 2, "pandas + COPY": 2, "polars + ADBC": 3, "dlt": 3}
PARQUET_PEERS = ("ADBC", "DuckDB")
QUESTIONS = {  # those that others have asked of these trips for years, in TLC's names
    "trips by vendor": "select vendorid, count(*) from tlc_yellow_trips group by 1",
    "average total by passengers": (
        "select passenger_count, avg(total_amount) from tlc_yellow_trips group by 1"
    ),
    "trips by year and passengers": (
        "select extract(year from tpep_pickup_datetime), passenger_count, count(*)"
        " from tlc_yellow_trips group by 1, 2"
    ),
    "trips by year, passengers and miles": (
        "select extract(year from tpep_pickup_datetime), passenger_count, round(trip_distance),"
        " count(*) from tlc_yellow_trips group by 1, 2, 3 order by 1, 4 desc"
    ),
}
COPY = "psql \\copy into text columns"
TIMES = ("tpep_pickup_datetime", "tpep_dropoff_datetime")
DOUBLE_CODES = ("passenger_count", "RatecodeID")
CODES = ("VendorID", "PULocationID", "DOLocationID", "payment_type", *DOUBLE_CODES)
TYPES = {  # as TLC's Parquet of 2021 has them
    **dict.fromkeys(CODES, pa.int64()),
    **dict.fromkeys(DOUBLE_CODES, pa.float64()),
    **dict.fromkeys(TIMES, pa.timestamp("us")),
    **dict.fromkeys(HEADER.split(",")[-8:], pa.float64()),
}


def in_turns(ways: dict[str, Callable[[], float | None]], rounds: dict[str, int]) -> Measured:
    """Run each way so many times, one after the other; return the seconds of each.

    A way may return its own time; else that of the call counts. One whose program fails is left
    out.
    """
    seconds: Measured = {name: [] for name in ways}
    for number in range(max(rounds.values())):
        for name, way in ways.items():
            if number < rounds[name] and name in seconds:
                began = time.perf_counter()
                try:
                    own = way()
                except subprocess.CalledProcessError as error:
                    del seconds[name]
                    print(f"  {name}: {error}\n{error.stderr or ''}", file=sys.stderr, flush=True)
                    continue
                seconds[name].append(own or time.perf_counter() - began)
                print(f"  {name}: {seconds[name][-1]:.2f}", file=sys.stderr, flush=True)
    return seconds


def run_sql(*statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with connect(SETTINGS) as connection:
        driver = connection.connection.driver_connection
        driver.autocommit = True
        for statement in statements:
            driver.cursor().execute(statement)


def empty_the_warehouse() -> None:
    """Drop all that the parts before have made."""
    run_sql(*(f"drop schema if exists {name} cascade" for name in SCHEMAS))
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


def our_load(file: SourceFile) -> None:
    """A file into the raw table, in the place of the one that is there."""
    load(file, YELLOW, JANUARY, force=True)


def peer(name: str, path: Path, given: str = URL) -> float:
    """Run another tool in its own environment; it says itself how long it took, without imports."""
    python = HOME / "peers" / "bin" / "python"
    command = [python, ROOT / "benchmarks" / "peers.py", name, path, given]
    environment = os.environ | {"DLT_DATA_DIR": str(HOME / "dlt")}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds = float(said.stdout.split()[-1])
    return seconds * ROWS / 100_000 if name.endswith("a tenth") else seconds


def make_month() -> Path:
    """A made-up month, without values that can't be cast: the peers would give up on them."""
    era = Era(JANUARY, NAMES_2019)
    path = HOME / era.file_name
    return path if path.exists() else write(era, trips_of(era, ROWS), HOME)


def with_line_ends(month: Path, name: str, header_end: bytes, row_end: bytes) -> SourceFile:
    """The same month with other ends of its lines."""
    path = HOME / f"{name}.csv.gz"
    if not path.exists():
        header, rows = gzip.decompress(month.read_bytes()).split(b"\r\n", 1)
        content = header + header_end + rows.replace(b"\r\n", row_end)
        path.write_bytes(gzip.compress(content, 6))
    return verify(str(path), path)


def make_parquet(month: Path, rows: int = ROWS) -> SourceFile:
    """The same month as Parquet, again and again until it has so many rows, in one row group."""
    path = HOME / f"{rows}_rows.parquet"
    if not path.exists():
        options = pyarrow.csv.ConvertOptions(column_types=TYPES)
        once = pyarrow.csv.read_csv(month, convert_options=options)
        often = pa.concat_tables([once] * (rows // ROWS + 1))[:rows]  # of the same memory
        pq.write_table(often, path, row_group_size=rows, compression="gzip")
    return verify(str(path), path)


def measure_loads(file: SourceFile) -> Measured:
    """(a) A month into the database, as text or, with the peers, as they do it."""
    ways = {
        COPY: partial(copy_with_psql, file.path),
        "our load": partial(our_load, file),
        **{name: partial(peer, name, file.path) for name in PEERS},
    }
    return in_turns(ways, {name: PEERS.get(name, 5) for name in ways})


def measure_layouts(file: SourceFile) -> Measured:
    """Months as TLC once laid them out, against the same rows as plain CSV."""
    blank = with_line_ends(file.path, "blank_second_line", b"\n\r\n", b"\r\n")
    surplus = with_line_ends(file.path, "surplus_fields", b"\r\n", b",,\r\n")
    ways = {
        COPY: partial(copy_with_psql, file.path),
        "our load, with a blank second line": partial(our_load, blank),
        "our load, with two surplus fields": partial(our_load, surplus),
    }
    return in_turns(ways, dict.fromkeys(ways, 5))


def measure_parquet(file: SourceFile) -> Measured:
    """The same rows as Parquet, against those as CSV, and as others load Parquet."""
    parquet = make_parquet(file.path)
    ways = {
        f"{COPY}, from CSV": partial(copy_with_psql, file.path),
        "our load, from Parquet": partial(our_load, parquet),
        **{f"{name}, from Parquet": partial(peer, name, parquet.path) for name in PARQUET_PEERS},
    }
    return in_turns(ways, dict.fromkeys(ways, 5))


def measure_year(file: SourceFile) -> Measured:
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


def plain_casts() -> str:
    """What anybody would write to make typed rows of the raw ones, and no more: the floor."""
    types = dict.fromkeys(HEADER.split(","), "numeric(14,4)")
    types |= dict.fromkeys(TIMES, "timestamp") | dict.fromkeys(CODES, "smallint")
    types |= {"store_and_fwd_flag": "text"}
    typed = [f"nullif({name}, '')::{kind} as {name}" for name, kind in types.items()]
    return (
        f"select source_month, source_row, load_id, {', '.join(typed)}"  # noqa: S608 (our words)
        " from raw.yellow_tripdata where source_month = '2021-01-01'"
    )


def casts_and_measures() -> str:
    """And what the trips' table has besides, each as one would write it first."""
    seconds = "extract(epoch from tpep_dropoff_datetime - tpep_pickup_datetime)"
    lasts = "case when tpep_dropoff_datetime > tpep_pickup_datetime then"
    # `offset 0`: else PostgreSQL would cast a value again for each measure that it is part of.
    return (
        "select *,"  # noqa: S608 (our words)
        " (source_month - date '2000-01-01')::bigint * 100000000 + source_row as trip_id,"
        f" ({seconds} / 60)::numeric(14,2) as duration_minutes,"
        f" ({lasts} trip_distance * 3600 / {seconds} end)::numeric(20,1) as speed_mph,"
        " (case when fare_amount > 0 and payment_type <> 2"
        " then tip_amount / fare_amount end)::numeric(18,4) as tip_share,"
        " tpep_dropoff_datetime < tpep_pickup_datetime as is_dropoff_before_pickup,"
        " trip_distance = 0 and fare_amount > 0 as is_fare_without_distance,"
        f" {lasts} trip_distance * 3600 > 80 * {seconds} end as is_implausibly_fast,"
        " tpep_dropoff_datetime - tpep_pickup_datetime > interval '6 hours' as is_implausibly_long,"
        " least(fare_amount, tip_amount, tolls_amount, total_amount) < 0 as has_negative_amount,"
        " date_trunc('month', tpep_pickup_datetime) <> source_month as is_outside_source_month"
        f" from ({plain_casts()} offset 0) as typed where passenger_count is distinct from 0"
    )


def measure_transformation(file: SourceFile) -> Measured:
    """The trips' model, of a month that is new and of one that is replaced, against bare casts."""
    load(file, YELLOW, JANUARY)
    with dbt_on(SETTINGS.url) as dbt:
        dbt("build")

        def bare(statement: str) -> None:
            run_sql(
                "drop table if exists bare_trips",
                "set parallel_tuple_cost = 0; set parallel_setup_cost = 0;"
                f" create table bare_trips as {statement}",
            )

        def model(*before: str) -> float:
            run_sql(*before)
            results = dbt("run", "--select", TABLE_NAME)
            return next(one for one in results if one.node.name == TABLE_NAME).execution_time

        forgotten = "delete from bookkeeping.built_months where relation like '%yellow%'"
        ways = {
            "plain casts": partial(bare, plain_casts()),
            "plain casts, and the measures": partial(bare, casts_and_measures()),
            "our model, a month replaced": partial(model, forgotten),
            "our model, a new month": partial(
                model, forgotten, "drop table trip_months.yellow_taxi_trips_2021_01"
            ),
        }
        return in_turns(ways, dict.fromkeys(ways, 5))


def start(command: list[str | Path]) -> None:
    """Run a command line to its end."""
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def elt_of(path: Path, *arguments: str) -> list[str | Path]:
    """The command line of our whole flow, as a person starts it."""
    command = [sys.executable, "-m", "flows.elt", "--source", path, "--months", "2021-01"]
    return [*command, *arguments]


def elt(path: Path, *arguments: str) -> None:
    """Our whole flow, with a Prefect server up."""
    start(elt_of(path, *arguments))


@flow
def trips_alone(path: str) -> None:
    """What the classic flow results in, and its tests: one table."""
    load(verify(path, Path(path)), YELLOW, JANUARY, force=True)
    with dbt_on(SETTINGS.url) as dbt:
        # Cautious: without the tests against tables that are not built here. As in the flow,
        # without the unit tests, which are of the SQL and not of the month.
        select = ("--select", f"+{TABLE_NAME}", "--indirect-selection", "cautious")
        results = dbt("build", *select, "--full-refresh", "--exclude-resource-type", "unit_test")
    assert not [result for result in results if result.status in FAILED]  # noqa: S101


def load_alone(path: str) -> None:
    """Nothing but the load."""
    our_load(verify(path, Path(path)))


def in_a_process(function: str, path: Path) -> list[str | Path]:
    """The command line of a function of this file, in a process of its own."""
    code = (
        "import sys; sys.path[:0] = ['benchmarks'];"
        "import bench; getattr(bench, sys.argv[1])(sys.argv[2])"
    )
    return [sys.executable, "-c", code, function, path]


def measure_flows(file: SourceFile) -> Measured:
    """(b) From a file to a table that analysts query."""
    url = URL.replace("postgresql:", "postgresql+psycopg2:")
    classic = [sys.executable, ROOT / "benchmarks" / "classic.py", file.path, url]
    return in_turns(
        {
            "classic flow, all chunks": partial(start, classic),
            "our flow, the trips alone": partial(start, in_a_process("trips_alone", file.path)),
            "our flow, all marts, tests and the report": partial(elt, file.path, "--force"),
        },
        {
            "classic flow, all chunks": 2,
            "our flow, the trips alone": 3,
            "our flow, all marts, tests and the report": 3,
        },
    )


def measure_questions(file: SourceFile) -> Measured:
    """Questions of 24 months, to our trips and to DuckDB, which reads the months' Parquet."""
    for month in TWO_YEARS:
        load(file, YELLOW, month, limits=ANY_MONTH)
    with dbt_on(SETTINGS.url) as dbt:
        dbt("build", "--select", "+tlc_yellow_trips", "--resource-type", "model", "seed")
    parquet = make_parquet(file.path).path
    ways = {}
    for name, question in QUESTIONS.items():
        ways[name] = partial(run_sql, question)
        ways[f"{name}, DuckDB"] = partial(peer, "DuckDB answers", parquet, question)
    return in_turns(ways, dict.fromkeys(ways, 3))


def measure_reload(file: SourceFile) -> Measured:
    """(c) A month is loaded again, alone in the warehouse and as one of 24; and nothing to do."""
    path = file.path
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


def measure_many_months(_: SourceFile) -> Measured:
    """(e) What does not depend on how many months there are: with 24 small ones, and with 800."""
    months = [date(2009 + number // 12, number % 12 + 1, 1) for number in range(200)]
    source = HOME / "small" / "{dataset}_tripdata_{month}.csv.gz"
    source.parent.mkdir(exist_ok=True)
    asked = ["--source", source, "--months", "2009-03"]
    flow, dbt = [sys.executable, "-m", "flows.elt", *asked], [BIN / "dbt", "--quiet"]
    ways = {
        "a month loaded again": partial(start, [*flow, "--force"]),
        "nothing to do": partial(start, flow),
        "a plan": partial(start, [*flow, "--plan"]),
        "dbt docs generate": partial(start, [*dbt, "docs", "generate", "--project-dir", PROJECT]),
    }
    seconds = {}
    for count in (6, 200):
        for month in months[:count]:
            for era in SMALL:
                era = replace(era, month=month)
                path = source.parent / era.file_name
                path = path if path.exists() else write(era, trips_of(era, 60), source.parent)
                load(verify(str(path), path), DATASETS[era.dataset], month, limits=ANY_MONTH)
        start(flow)
        measured = in_turns(ways, dict.fromkeys(ways, 3))
        seconds |= {f"{way}, of {count * len(SMALL)}": each for way, each in measured.items()}
    return dict(sorted(seconds.items()))


def measure_archive(file: SourceFile) -> Measured:
    """A raw month to a file, with the hashes that are compared, and from there back into raw."""
    archive_to_bench(file)
    ways = {
        COPY: partial(copy_with_psql, file.path),
        "archived": lambda: archive(months="2021-01") and None,
        "landed again from the archive": lambda: (
            archive(months="2021-01", land_again=True) and None
        ),
    }
    return in_turns(ways, dict.fromkeys(ways, 3))


def measure_archive_size(file: SourceFile) -> Measured:
    """What a raw month takes, and its file."""
    archive_to_bench(file)
    archived = archive(months="2021-01").archived[0]
    return {
        "in raw": [archived.raw_bytes / 1e6],
        "in the archive": [archived.bytes / 1e6],
        "the file, CSV packed with gzip": [file.bytes / 1e6],
    }


def archive_to_bench(file: SourceFile) -> None:
    """Build what an archived month has to have, and keep away from a person's own archive."""
    archives.ARCHIVE = HOME / "archive"
    elt(file.path, "--force")


def peak(command: list[str | Path]) -> float:
    """The most memory that the process of a command line takes, in MB."""
    code = (
        "import resource, subprocess, sys;"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    measured = [sys.executable, "-c", code, *command]
    said = subprocess.run(measured, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return int(said.stdout) / 1_000


def measure_memory(file: SourceFile) -> Measured:
    """(d) Of a file and of one of ten times its size."""
    header, body = gzip.decompress(file.path.read_bytes()).split(b"\n", 1)
    tenfold = HOME / "yellow_tripdata_2021-01_tenfold.csv.gz"
    with gzip.open(tenfold, "wb", 1) as packed:
        packed.write(header + b"\n")
        for _ in range(10):
            packed.write(body)
    del body
    files = {"1 x": file.path, "10 x": tenfold}
    return {name: [peak(elt_of(path, "--force"))] for name, path in files.items()}


def measure_row_group(file: SourceFile) -> Measured:
    """Of a month of Parquet, and of one with many rows in its one row group."""
    few, many = make_parquet(file.path).path, make_parquet(file.path, MANY_ROWS).path
    files = {f"{ROWS:,} rows": few, f"{MANY_ROWS:,} rows": many}
    peaks = {name: [peak(in_a_process("load_alone", path))] for name, path in files.items()}
    many.unlink()
    return peaks


def versions(python: Path, *packages: str) -> str:
    """The versions of packages in an environment."""
    code = (
        "import importlib.metadata as m, sys; print(*(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
    )
    said = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True)
    return said.stdout.strip()


PARTS = {  # what each measures, how, and in which unit
    "loads": ("A month into the database", measure_loads, "seconds"),
    "layouts": ("A month as TLC laid it out", measure_layouts, "seconds"),
    "parquet": ("A month as Parquet", measure_parquet, "seconds"),
    "year": ("Twelve months", measure_year, "seconds"),
    "model": ("The trips' model", measure_transformation, "seconds"),
    "flows": ("From a file to a table for analysts", measure_flows, "seconds"),
    "questions": ("Questions of 24 months", measure_questions, "seconds"),
    "reload": ("A month loaded again, with all marts and tests", measure_reload, "seconds"),
    "months": ("Many small months", measure_many_months, "seconds"),
    "archive": ("A raw month archived", measure_archive, "seconds"),
    "archive-size": ("The size of a raw month", measure_archive_size, "MB"),
    "memory": ("Peak memory of the flow's process", measure_memory, "MB"),
    "row-group": ("Peak memory of the loader's process", measure_row_group, "MB"),
}


def machine() -> str:
    """What it was measured on, and when."""
    peers = HOME / "peers" / "bin" / "python"
    packages = ("pandas", "polars", "dlt", "pyarrow", "adbc-driver-postgresql", "duckdb")
    with connect(SETTINGS) as connection:
        postgres = connection.exec_driver_sql("show server_version").scalar()
    return (
        f"{date.today():%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, PostgreSQL {postgres}, "
        + versions(Path(sys.executable), "prefect", "dbt-core", "pandas")
        + (f"; peers: {versions(peers, *packages)}" if peers.exists() else "")
    )


def main(words: list[str]) -> None:
    """Start the servers, measure some parts or all, and print it; draw it, if it is all."""
    if unknown := [word for word in words if word not in PARTS]:
        sys.exit(f"error: {' '.join(unknown)}: not of {', '.join(PARTS)}")
    HOME.mkdir(parents=True, exist_ok=True)
    embedded_postgres.start(HOME / "postgres", SETTINGS.port, SETTINGS.host)
    local_server.prepare(HOME / "postgres", SETTINGS)
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
        for word in words or PARTS:
            title, measure, unit = PARTS[word]
            print(title, file=sys.stderr, flush=True)
            empty_the_warehouse()
            ways = measure(file)
            keep(word, title, unit, machine(), ways)
            print(as_table(title, unit, ways))
    finally:
        server.terminate()
        server.wait(30)
        embedded_postgres.stop(HOME / "postgres")
        shutil.rmtree(HOME / "postgres", ignore_errors=True)

    if not words:
        draw = [HOME / "peers" / "bin" / "python", ROOT / "benchmarks" / "plot.py"]
        subprocess.run([*draw, RESULTS, ROOT / "benchmarks" / "loads.svg"], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
