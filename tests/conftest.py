"""One PostgreSQL and one Prefect server for all tests, and a database of its own for each.

Both are the real thing, on free ports, with their files in a temporary folder. Prefect's server and
the workers are started with the commands that docker-compose.yml has for them.

With `TEST_POSTGRES_URL`, the tests marked `any_postgres` run, and only they, on the server that it
names, in databases of their own.

With `pytest -n 3`, three processes run the tests and share these servers and the built
warehouse that tests only read: whichever needs one first makes it, and the process that a person
has started ends whatever is left of them.
"""

import fcntl
import gc
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import certifi
import httpx
import pandas as pd
import psutil
import psycopg2
import pytest
import yaml
from dotenv import dotenv_values
from pytest_httpserver import HTTPServer
from sqlalchemy import make_url, text
from werkzeug import Response

ROOT = Path(__file__).parent.parent
TESTS = "TAXI_TESTS"  # in the environment of all that the tests start: the suite's folder
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
IS_FIRST = WORKER == "main"  # the process that a person has started


def in_memory() -> Path | None:
    """A disk in memory, if it has room: each test's database is made and dropped there at once."""
    disk = Path("/dev/shm")
    if not disk.is_dir() or "TMPDIR" in os.environ:
        return None
    room = min(shutil.disk_usage(disk).free, psutil.virtual_memory().available)
    return disk if room > 4_000_000_000 else None  # the suite takes up two of them


if IS_FIRST:
    HOME = Path(tempfile.mkdtemp(prefix="nyc-taxi-elt-tests-", dir=in_memory()))
else:
    HOME = Path(os.environ[TESTS])
HOME.chmod(0o755)  # as root, PostgreSQL runs as another user
OWN = HOME / WORKER  # what is this process's alone
OWN.mkdir()
# Not the suite's own server: what the tests make there has names that nobody else's things have.
OTHER_SERVER = make_url(url) if (url := os.environ.get("TEST_POSTGRES_URL")) else None
OURS = f"elt_tests_{HOME.name[-8:]}_" if OTHER_SERVER else ""
EMPTY = f"{OURS}empty"
WAREHOUSE = f"{OURS}warehouse_{WORKER}"  # of most tests: dbt parses the project for each name
DATABASES = count(1)
# A shell that starts the suite in the background has it, and all that it starts, ignore Ctrl-C.
# Whoever ends it in another way wants no server to be left either.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
BUILD = "build --exclude-resource-type unit_test"  # as flows/build.py builds
AS_THE_FLOWS = ("--vars", '{"trips_table": "yellow_taxi_trips"}')
QUIETLY = ("--partial-parse", "--quiet", "--no-write-json", "--log-level-file", "none")


@contextmanager
def again_and_again(*reads: Callable[[], object], pause: float = 0) -> Iterator[list[object]]:
    """Read in threads of their own, each again and again after a pause, in seconds.

    Yields what they have returned; what one of them raises is raised in the end.
    """
    returned: list[object] = []
    done = threading.Event()

    def repeat(read: Callable[[], object]) -> None:
        while not done.wait(pause):
            returned.append(read())

    with ThreadPoolExecutor(len(reads)) as threads:
        repeating = [threads.submit(repeat, read) for read in reads]
        try:
            yield returned
        finally:
            done.set()
    for one in repeating:
        one.result()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def one_authority() -> Path:
    """A file with the certificate of one authority in place of those of all.

    Each client of Prefect's reads them, for a fiftieth of a second, and no test has it ask a server
    that one of them vouches for.
    """
    end = "-----END CERTIFICATE-----"
    certificate, _, _ = Path(certifi.where()).read_text().partition(end)
    (file := HOME / "authority.pem").write_text(f"{certificate}{end}\n")
    return file


# Prefect reads its settings while it is imported, so they are set before anything imports it.
if IS_FIRST:
    PREFECT_PORT = free_port()
    os.environ |= {
        TESTS: str(HOME),
        "SSL_CERT_FILE": str(one_authority()),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TAXI_PROJECT": str(ROOT),
        "PREFECT_API_URL": f"http://127.0.0.1:{PREFECT_PORT}/api",
        "PREFECT_SERVER_API_PORT": str(PREFECT_PORT),
        "PREFECT_SERVER_API_AUTH_STRING": "admin:of the tests",
        "PREFECT_API_AUTH_STRING": "admin:of the tests",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # some tests run a task by itself
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(free_port()),
        "POSTGRES_USER": "taxi",
        "POSTGRES_PASSWORD": "s3cret pässword/@:%'\"",
        "POSTGRES_DB": "not_made_yet",
    }
    if OTHER_SERVER:
        os.environ |= {
            "POSTGRES_HOST": str(OTHER_SERVER.host),
            "POSTGRES_PORT": str(OTHER_SERVER.port or 5432),
            "POSTGRES_USER": str(OTHER_SERVER.username),
            "POSTGRES_PASSWORD": str(OTHER_SERVER.password or ""),
        }
os.environ |= {
    "TAXI_DATA": str(OWN / "data"),
    "PREFECT_HOME": str(OWN / "prefect"),
    "DBT_LOG_PATH": str(OWN / "dbt"),  # of dbt as a person starts it
    "DBT_TARGET_PATH": str(OWN / "dbt"),
}

from made_up import OTHER_ERAS, made_up_month, trips_of, write  # noqa: E402
from prefect.blocks.notifications import CustomWebhookNotificationBlock  # noqa: E402
from prefect.logging.handlers import APILogHandler  # noqa: E402
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings  # noqa: E402

from flows import settings as project  # noqa: E402
from flows.build import build  # noqa: E402
from flows.errors import PipelineError, first_line  # noqa: E402
from flows.land import land as land_month  # noqa: E402
from flows.parameters import Limits  # noqa: E402
from flows.server.worker import answers  # noqa: E402
from flows.settings import PROJECT, Settings, read_settings  # noqa: E402
from flows.tlc.datasets import DATASETS  # noqa: E402
from flows.tlc.download import verify  # noqa: E402
from flows.warehouse import embedded as embedded_postgres  # noqa: E402
from flows.warehouse import local_server  # noqa: E402
from flows.warehouse.connection import connect, environment_of  # noqa: E402
from flows.warehouse.load import Load, load  # noqa: E402
from flows.warehouse.roles import ensure_analyst  # noqa: E402

SLOW_FIXTURES = {"prefect_server", "own_server", "new_copy", "start"}
# The files that last longest, the longest first. Those that mostly wait come between those that
# keep a processor busy, so that one process's waiting is another one's time.
LONGEST = (
    *("test_backfill", "test_build", "test_up_to_date", "test_serve", "test_readers"),
    *("test_lost_runs", "test_faults", "test_program", "test_interrupt", "test_warehouse"),
    *("test_plan", "test_elt", "test_dev_target", "test_progress", "test_eras"),
    *("test_other_peoples_things", "test_values", "test_alerts", "test_upgrade", "test_analyst"),
    *("test_archive", "test_plain", "test_odd_values", "test_load", "test_known_faults"),
    *("test_cli", "test_sample", "test_fifth_dataset", "test_report", "test_freshness"),
    *("test_fetch", "test_postgres"),
)


def pytest_collection_modifyitems(config, items):
    """Fast tests first: those without a server. What needs Prefect's or one of its own is slow.

    Where several processes share the files, the files that last longest come first. A test that
    ends what the others of its file share is the last of them.
    """
    if OTHER_SERVER:
        others = [item for item in items if not item.get_closest_marker("any_postgres")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.get_closest_marker("any_postgres")]
    for item in items:
        if not SLOW_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker("slow")
    files = list(dict.fromkeys(item.path for item in items))
    items.sort(
        key=lambda item: (files.index(item.path), item.get_closest_marker("last") is not None)
    )
    items.sort(key=lambda item: not {"postgres", "prefect_server"}.isdisjoint(item.fixturenames))
    if WORKER != "main":
        ranks = {name: rank for rank, name in enumerate(LONGEST)}
        items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


def pytest_make_parametrize_id(val):
    """Content is no name of a test: packed at another second, it is another."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


def pytest_sessionstart(session):
    if OTHER_SERVER and IS_FIRST:
        try:
            enter_other_server(session.config)
        except (PipelineError, psycopg2.Error) as error:
            raise pytest.UsageError(f"TEST_POSTGRES_URL: {first_line(error)}") from None


def pytest_collection_finish(session):
    """Prefect's server takes ten seconds to come up: the fast tests run meanwhile."""
    gc.freeze()  # what has been imported stays: looking for garbage in it takes a tenth of all time
    is_needed = any("prefect_server" in item.fixturenames for item in session.items)
    if is_needed and not session.config.option.collectonly:
        start_prefect_server()


# What `make run` and dbt write for a person, who wants to find it again after `make test`.
PERSONS = ("data", ".env", "dbt_project/target", "dbt_project/logs", "dbt_project/.user.yml")
OF_SERVERS = ("postgres", "prefect", "serve", "bench")  # in `data`; a person's own may be up


def persons_files() -> dict[Path, int]:
    """When each of a person's files was written."""
    found = [path for name in PERSONS for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    servers = [ROOT / "data" / name for name in OF_SERVERS]
    return {
        path: path.stat().st_mtime_ns
        for path in found
        if path.is_file() and not any(path.is_relative_to(server) for server in servers)
    }


BEFORE = persons_files() if IS_FIRST else {}


def pytest_sessionfinish(session):
    """The tests write nothing outside of their own folder."""
    if IS_FIRST and (written := BEFORE.items() ^ persons_files().items()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        names = sorted({str(path.relative_to(ROOT)) for path, _ in written})
        print(f"\nWritten while the tests ran, by them or by a run of yours: {', '.join(names)}")


def pytest_unconfigure():
    """Leave no server behind, however the tests have ended."""
    if IS_FIRST:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                is_ours = process.environ().get(TESTS) == str(HOME)
                # Python's own ends with this process, which would start it again to tell it so.
                is_pythons = "resource_tracker" in " ".join(process.cmdline())
                if is_ours and process.pid != os.getpid() and not is_pythons:
                    process.kill()
        for file in HOME.rglob("postmaster.pid"):
            embedded_postgres.stop(file.parent)
        shutil.rmtree(HOME, ignore_errors=True)


@contextmanager
def one_at_a_time(what: str) -> Iterator[None]:
    """Have the other processes of the suite wait until this one has done something."""
    with (HOME / f"{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def start_postgres() -> Settings:
    """Start a PostgreSQL server, if none runs; return the settings of an empty database."""
    settings = read_settings().model_copy(update={"db": EMPTY})
    data = HOME / "postgres"
    with one_at_a_time("postgres"):
        if not (OTHER_SERVER or data.exists()):
            embedded_postgres.initialise(data)
            with (data / "postgresql.conf").open("a") as file:  # it need not outlive a power cut
                file.write("fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n")
                file.write("scram_iterations = 1\n")  # of thousands of logins
            embedded_postgres.start(data, settings.port, settings.host)
            local_server.prepare(data, settings)
    return settings


def enter_other_server(config) -> None:
    """Make what `flows/warehouse/database.sql` makes, as far as it takes no superuser."""
    empty = read_settings().model_copy(update={"db": EMPTY})
    admin = administrator(empty)
    known = run_query(admin, "select from pg_roles where rolname = 'analyst'")
    config.add_cleanup(partial(leave_other_server, admin, [] if known else ["analyst"]))
    run_outside_transaction(admin, f"create database {EMPTY} template template0")
    with connect(empty) as connection:
        ensure_analyst(connection)


def leave_other_server(admin: Settings, roles: list[str]) -> None:
    """Drop what the tests have made there."""
    ours = "select {0} from {1} where starts_with({0}, '{2}')"
    for (name,) in run_query(admin, ours.format("datname", "pg_database", OURS)):
        sessions = end_sessions(admin.model_copy(update={"db": name}))
        run_outside_transaction(admin, sessions, f"drop database {name}")
    roles += [name for (name,) in run_query(admin, ours.format("rolname", "pg_roles", OURS))]
    for name in roles:
        run_outside_transaction(admin, f"drop role {name}")


def administrator(settings: Settings) -> Settings:
    """The settings with which one makes and drops databases."""
    if OTHER_SERVER:
        return settings.model_copy(update={"db": OTHER_SERVER.database or "postgres"})
    return embedded_postgres.superuser(HOME / "postgres", settings)


def start_prefect_server() -> None:
    """On a database of its own in that PostgreSQL, made by the scripts of docker-compose.yml."""
    start_postgres()
    with one_at_a_time("prefect"):
        if not (HOME / "prefect.pid").exists():
            (HOME / "prefect.pid").write_text(str(new_prefect_server().pid))


def new_prefect_server() -> subprocess.Popen:
    if OTHER_SERVER:  # where docker-compose.yml's scripts may not make another role's database
        database = f"sqlite+aiosqlite:///{HOME / 'prefect.db'}"
        return start_service("prefect", PREFECT_SERVER_DATABASE_CONNECTION_URL=database)
    superuser = embedded_postgres.superuser(HOME / "postgres", start_postgres())
    environment = {
        "PATH": f"{embedded_postgres.programs()}:{os.environ['PATH']}",
        "PGHOST": superuser.host,
        "PGPORT": str(superuser.port),
        "PGPASSWORD": superuser.password.get_secret_value(),
        "POSTGRES_USER": superuser.user,
        "POSTGRES_DB": superuser.db,
    }
    for name in ("make_secrets", "create_prefect"):
        script = compose_script(name, HOME)
        subprocess.run(["bash", "-ec", script], env=os.environ | environment, check=True)
    return start_service("prefect", **prefect_environment())


def prefect_environment() -> dict[str, str]:
    """What leads a Prefect server to the suite's database."""
    secrets, settings = dotenv_values(HOME / "prefect.env"), read_settings()
    return {
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_DATABASE_HOST": settings.host,
        "PREFECT_SERVER_DATABASE_PORT": str(settings.port),
        "PREFECT_SERVER_DATABASE_PASSWORD": str(secrets["PREFECT_SERVER_DATABASE_PASSWORD"]),
    }


@pytest.fixture(scope="session", autouse=True)
def no_heartbeats():
    """As flows/cli.py runs a flow."""
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@pytest.fixture(autouse=True)
def same_environment():
    """What a test sets in the environment is nothing to the others."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    spare_dbt_its_flags()


def spare_dbt_its_flags() -> None:
    """Each start of dbt in a process adds its adapter's flags to this list once more.

    For each of them it walks the stack, past all modules, for the name of the one that has asked:
    a third of a second of each start in such a process, and two more at the 60th
    (https://github.com/dbt-labs/dbt-adapters/issues/2136).
    """
    if adapters := sys.modules.get("dbt.adapters.base.impl"):
        flags = adapters.DEFAULT_BASE_BEHAVIOR_FLAGS
        flags[:] = {flag["name"]: flag for flag in flags}.values()
        rendered = sys.modules["dbt_common.behavior_flags"].BehaviorFlagRendered
        rendered._default_source = staticmethod(lambda: adapters.__name__)


@pytest.fixture(scope="session")
def home() -> Path:
    """The folder of the whole suite's files."""
    return HOME


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    return free_port()


def start_service(name: str, *options: str, **environment: str) -> subprocess.Popen:
    """Start a service of docker-compose.yml on this machine, without a container.

    The options are added to its command, and the environment to its own.
    """
    service = COMPOSE["services"][name]
    ours = {
        variable: re.sub(r"\$\{(\w+):-([^}]*)}", lambda m: os.environ.get(m[1], m[2]), str(value))
        for variable, value in service["environment"].items()
    }
    return subprocess.Popen(
        [*shlex.split(service["command"]), *options],
        cwd=ROOT,
        env=os.environ | ours | environment,
        stdout=(HOME / f"{name}.log").open("a"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def compose_script(name: str, secrets: Path) -> str:
    """A script in docker-compose.yml, with another folder in place of its volume /secrets."""
    content = COMPOSE["configs"][name]["content"].replace("$$", "$")
    return content.replace("/secrets", str(secrets))


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server for the whole suite; returns the settings of an empty database.

    As in all that follows, the role of the settings owns its databases and nothing more.
    """
    return start_postgres()


@pytest.fixture(scope="session")
def superuser(postgres) -> Settings:
    """The settings of the suite's server's superuser."""
    assert not OTHER_SERVER, "a test of any PostgreSQL has no superuser"
    return embedded_postgres.superuser(HOME / "postgres", postgres)


@pytest.fixture(scope="session")
def prefect_server(postgres):
    """A Prefect server for the whole suite; returns its API's URL."""
    server = psutil.Process(int((HOME / "prefect.pid").read_text()))
    url = os.environ["PREFECT_API_URL"]
    wait_until(lambda: answers(url) or not is_alive(server), 240, pause=0.5)
    assert is_alive(server), (HOME / "prefect.log").read_text()
    yield url
    APILogHandler().flush()  # else it would try for a minute to send them to nobody


def let_others_in(folder: Path) -> None:
    """Let other users through to a folder of pytest's, as to what a server reads."""
    for each in (folder, *folder.parents):
        if each.is_relative_to(tempfile.gettempdir()) and each.stat().st_uid == os.geteuid():
            each.chmod(each.stat().st_mode | 0o755)


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_until(happened, seconds: float, pause: float = 0.05) -> None:
    """Wait until something is true; look again after a pause, in seconds.

    Prefect's server and its clients take a hundredth of a second of processor time for each
    answer: who waits for long for runs that need the same processor asks less often.
    """
    give_up_at = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < give_up_at, f"not within {seconds} s"
        time.sleep(pause)


def log_in(api: str, credential: str) -> httpx.Client:
    """A client of a Prefect server's API that has the credential and a CSRF token."""
    user, _, password = credential.partition(":")
    name = f"tests {uuid4()}"  # the server knows one token of each client
    asked = {"params": {"client": name}, "auth": (user, password)}
    token = httpx.get(f"{api}/csrf-token", **asked).raise_for_status().json()["token"]
    return httpx.Client(
        base_url=api,
        auth=(user, password),
        headers={"Prefect-Csrf-Client": name, "Prefect-Csrf-Token": token},
        timeout=120,
    )


@pytest.fixture(scope="session")
def http(prefect_server):
    """A client of the Prefect server's API."""
    with log_in(prefect_server, os.environ["PREFECT_API_AUTH_STRING"]) as client:
        yield client


@pytest.fixture(scope="session")
def api(http):
    """Ask the Prefect server for the objects of one kind."""

    def ask(kind: str, **filters) -> list[dict]:
        return http.post(f"/{kind}/filter", json=filters).raise_for_status().json()

    return ask


def save_webhook(name: str, port: int) -> None:
    """Save a block that `ALERT_BLOCK` may name: `custom-webhook/` and its name."""
    CustomWebhookNotificationBlock(
        name=name,
        url=f"http://127.0.0.1:{port}/secret-path/{name}",
        json_data={"title": "{{subject}}", "text": "{{body}}"},
    ).save(name, overwrite=True)


def webhook(server: HTTPServer, name: str) -> list[dict[str, str]]:
    """Save a block whose webhook a server answers; returns the list of what will have arrived."""
    received: list[dict[str, str]] = []
    server.expect_request(f"/secret-path/{name}", method="POST").respond_with_handler(
        lambda request: received.append(request.json) or Response()
    )
    save_webhook(name, server.port)
    return received


@contextmanager
def slow_site(content: bytes, piece: int, pause: float) -> Iterator[str]:
    """Serve a file, so many bytes at a time with a pause in seconds after each; yields its URL."""

    def send(begin: int) -> bytes:
        if begin:
            time.sleep(pause)
        return content[begin : begin + piece]

    with site(len(content), piece, send) as url:
        yield url


class StuckSite(NamedTuple):
    """A file's URL, and what is to be set for its second half to be sent."""

    url: str
    go_on: threading.Event


@contextmanager
def stuck_site(content: bytes) -> Iterator[StuckSite]:
    """Serve the first half of a file, and the second when one is told to."""
    half, go_on = len(content) // 2 + 1, threading.Event()

    def send(begin: int) -> bytes:
        if begin:
            go_on.wait()
        return content[begin : begin + half]

    with site(len(content), half, send) as url:
        try:
            yield StuckSite(url, go_on)
        finally:
            go_on.set()


@contextmanager
def site(size: int, piece: int, send: Callable[[int], bytes]) -> Iterator[str]:
    """Serve a file of January in pieces, each of which begins at a byte; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            for begin in range(0, size, piece):
                self.wfile.write(send(begin))

        def handle(self):
            with suppress(ConnectionError):  # the flow has been killed
                super().handle()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/yellow_tripdata_2021-01.csv.gz"
    server.shutdown()
    server.server_close()


@pytest.fixture
def own_server(monkeypatch, request, unused_port):
    """Nothing runs yet: a data folder and a `.env` of the test's own, and a free port."""
    folder = OWN / request.node.name
    folder.mkdir()
    data = folder / "a folder" / "postgres"
    monkeypatch.setattr(embedded_postgres, "DATA_DIR", data)
    monkeypatch.setattr(project, "ENV_FILE", folder / ".env")
    yield read_settings().model_copy(update={"port": unused_port, "db": "ny_taxi"})
    embedded_postgres.stop(data)


@pytest.fixture
def small_disk(home):
    """Make a folder on a disk of so many megabytes."""
    folders = []

    def make(megabytes: int) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="disk ", dir=home))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("this machine lets us make no small disk")
        folders.append(folder)
        return folder

    yield make
    for folder in folders:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def new_database(postgres):
    """Make an empty database; return its settings."""

    def make() -> Settings:
        settings = postgres.model_copy(update={"db": f"{OURS}test_{WORKER}_{next(DATABASES)}"})
        create_anew(settings)
        return settings

    return make


def run_outside_transaction(settings: Settings, *statements: str) -> None:
    with connect(settings) as connection:
        driver = connection.connection.driver_connection
        driver.autocommit = True
        for statement in statements:
            driver.cursor().execute(statement)


@pytest.fixture
def database(request, postgres, monkeypatch) -> Settings:
    """A database that the settings in the environment name: empty, or as `january` has it."""
    is_january = "january" in request.fixturenames
    template = request.getfixturevalue("built_january").db if is_january else EMPTY
    settings = postgres.model_copy(update={"db": WAREHOUSE})
    create_anew(settings, template)
    monkeypatch.setenv("POSTGRES_DB", settings.db)
    return settings


def create_anew(settings: Settings, template: str = EMPTY) -> None:
    """Make a database, in place of the one of this name."""
    run_outside_transaction(
        administrator(settings),
        end_sessions(settings),
        f"drop database if exists {settings.db}",
        # Copied file by file, it takes half the time that it takes through the log.
        f"create database {settings.db} template {template} owner {settings.user}"
        " strategy file_copy",
        f"revoke connect, temporary on database {settings.db} from public",
        f"grant connect on database {settings.db} to analyst",
    )


def end_sessions(settings: Settings) -> str:
    """PostgreSQL itself ends autovacuum's, which nobody but a superuser may."""
    return (
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
        f" where datname = '{settings.db}' and usename is not null"
    )


def point_to(settings: Settings) -> None:
    """Have the settings in the environment name a warehouse, until another one is named."""
    os.environ |= environment_of(settings.url)


def set_limits(monkeypatch, **limits: str) -> None:
    """Have all sessions wait for locks and snapshots in this way."""
    options = " ".join(f"-c nyc_taxi.lock_{name}={value}" for name, value in limits.items())
    monkeypatch.setenv("PGOPTIONS", options)


@pytest.fixture
def warehouse(database, prefect_server) -> Settings:
    """An empty database that the settings name, and a Prefect server."""
    point_to(database)
    return database


def load_file(
    path: Path, month: date, dataset: str = "yellow", *, max_malformed_share: float = 0, **options
) -> Load:
    """Load a file of trips of any values; no line of it may be malformed, unless one says so."""
    limits = Limits(malformed_share=max_malformed_share, other_months_share=1, rejected_share=1)
    return load(verify(str(path), path), DATASETS[dataset], month, limits=limits, **options)


def load_era(name: str, folder: Path, rows: int = 200) -> Load:
    """Load a made-up month of an era of green, for-hire or high-volume trips."""
    era = OTHER_ERAS[name]
    return load_file(write(era, trips_of(era, rows), folder), era.month, era.dataset)


def land_made_up(month: date, rows: int) -> None:
    load_file(made_up_month(month, rows), month, is_sample=True, sampled_one_in=10)


@pytest.fixture
def land(warehouse):
    """Load a made-up month of so many rows, as a sample."""
    return land_made_up


@pytest.fixture(scope="session")
def built(prefect_server, tmp_path_factory) -> Settings:
    """A warehouse with yellow months and one of the apps, built once; tests may only read it."""

    def make(settings: Settings) -> None:
        for month, rows in ((date(2021, 1, 1), 20_000), (date(2021, 2, 1), 4_000)):
            land_made_up(month, rows)
        load_era("fhvhv 2024 Parquet", tmp_path_factory.mktemp("apps"), 500)
        build_by_hand(settings, "build")

    return made_once("built", make)


def made_once(name: str, make: Callable[[Settings], None]) -> Settings:
    """The settings of a database that all processes share, and the first to ask has made."""
    kept, is_made = start_postgres().model_copy(update={"db": f"{OURS}{name}"}), HOME / name
    with one_at_a_time(name):
        if not is_made.exists():
            settings = warehouse_to_build()
            with pytest.MonkeyPatch.context() as patch:  # the first to ask may have models alone
                patch.delenv("DBT_RESOURCE_TYPES", raising=False)
                make(settings)
            put_by(settings, kept)
            is_made.touch()
    return kept


def warehouse_to_build() -> Settings:
    """An empty database that the settings name, until it is put by."""
    settings = start_postgres().model_copy(update={"db": WAREHOUSE})
    create_anew(settings)
    point_to(settings)
    return settings


def put_by(settings: Settings, kept: Settings | None = None) -> Settings:
    """Keep a database that has been built, under a name of its own; returns its settings."""
    kept = kept or settings.model_copy(update={"db": f"{OURS}test_{WORKER}_{next(DATABASES)}"})
    run_outside_transaction(
        administrator(settings),
        end_sessions(settings),
        f"alter database {settings.db} rename to {kept.db}",
    )
    os.environ["POSTGRES_DB"] = "not_made_yet"
    return kept


def build_by_hand(settings: Settings, command: str = BUILD) -> str:
    """All models and tests of a warehouse, as an analyst builds them; returns what dbt says."""
    is_done, said = run_dbt(settings, command)
    assert is_done, said[-3_000:]
    return said


def target(settings: Settings) -> Path:
    """Where the flows have dbt parse the project, so that others need not do it again."""
    from flows.models.runner import TARGETS  # not at the top: it imports dbt

    return TARGETS / settings.db


def run_dbt(settings: Settings, command: str) -> tuple[bool, str]:
    """Run dbt in this process, where it need not be imported again.

    Returns whether it succeeded, and what it said.
    """
    from dbt.cli.main import dbtRunner

    said: list[str] = []
    # With other variables, or another target, dbt parses the whole project again: those have a
    # folder of their own, so that the next one without them need not do so as well.
    is_of_others = not {"--vars", "--target"}.isdisjoint(command.split())
    parsed = target(settings) / "others" if is_of_others else target(settings)
    where = ["--project-dir", PROJECT, "--profiles-dir", PROJECT, "--target-path", parsed]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTGRES_DB", settings.db)
        spare_dbt_its_flags()
        runner = dbtRunner(callbacks=[lambda event: said.append(event.info.msg)])
        variables = () if "--vars" in command else AS_THE_FLOWS
        result = runner.invoke([*command.split(), *map(str, where), *variables, *QUIETLY])
    return result.success, "\n".join([*said, str(result.exception or "")])


@pytest.fixture(scope="session")
def built_january(prefect_server) -> Settings:
    """1,000 rows of January, built once, to be copied."""

    def make(settings: Settings) -> None:
        january = date(2021, 1, 1)
        land_month(january, str(made_up_month(january, 1_000)))
        build()

    return made_once("built_january", make)


@pytest.fixture
def january(warehouse) -> Settings:
    """The test's warehouse has 1,000 rows of January, and they are built: `database` copies it."""
    return warehouse


@pytest.fixture
def models_alone(monkeypatch):
    """The flows build models and do not test them, which is a third of a build's time.

    For tests that build several times, of what a build makes and of when it is made.
    """
    monkeypatch.setenv("DBT_RESOURCE_TYPES", "model seed")


def start_dbt(settings: Settings, command: str, own_target: Path) -> subprocess.Popen:
    """dbt as a person starts it."""
    parsed = target(settings) / "partial_parse.msgpack"
    if parsed.exists():
        own_target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(parsed, own_target)
    return subprocess.Popen(
        ["dbt", *command.split(), "--partial-parse", "--target-path", own_target, *AS_THE_FLOWS],
        cwd=ROOT / "dbt_project",
        env=os.environ | {"POSTGRES_DB": settings.db},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def ask(built):
    """Read a query's result from the built warehouse as a data frame."""

    def run(statement: str) -> pd.DataFrame:
        with connect(built) as connection:
            return pd.read_sql(text(statement.replace(":", "\\:")), connection)

    return run


@pytest.fixture
def query(database):
    """Run a statement on the test's database; return its rows."""
    return partial(run_query, database)


def run_query(settings: Settings, statement: str) -> list[tuple]:
    with connect(settings) as connection, connection.begin():
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


def assert_trips_are(trips: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Compare trips with those of a file, but for what a known fault corrects."""

    def plain(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.astype(object).where(frame.notna(), None)

    times = ["pickup_datetime", "dropoff_datetime"]
    corrected = [*times, "trip_distance", "fare_amount", "tip_amount", "payment_type_id"]
    others = [name for name in expected if name not in corrected]
    pd.testing.assert_frame_equal(plain(trips[others]), plain(expected[others]), check_dtype=False)
    is_clean, clean = trips["faults"].isna(), expected.copy()
    if "payment_type_id" in clean:
        clean.loc[(clean["payment_type_id"] == 2) & (clean["tip_amount"] == 0), "tip_amount"] = None
    pd.testing.assert_frame_equal(
        plain(trips.loc[is_clean, list(expected)]), plain(clean[is_clean]), check_dtype=False
    )
    assert is_clean.mean() > 0.3
