"""`make serve` and `make down`, in copies of the project, on ports of their own."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from conftest import free_port, log_in, run_query, wait_until
from dotenv import dotenv_values
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from flows.errors import PipelineError
from flows.settings import ROOT, Settings

pytestmark = pytest.mark.timeout(900)  # two servers at once, on a busy machine
COPIED = ("flows", "dbt_project", "Makefile", "requirements.lock", "pyproject.toml")


@dataclass
class Copy:
    """A copy of the project, with the same packages, and ports that nobody else uses."""

    folder: Path
    port: int
    postgres_port: int
    output: str = ""

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def env(self) -> dict[str, str]:
        return dotenv_values(self.folder / ".env")

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in this copy, without the settings of the other tests."""
        ours = {
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "POSTGRES_PORT": str(self.postgres_port),
        }
        # Those of make as well: this may be run by `make test`.
        theirs = ("PREFECT_", "POSTGRES_", "TAXI_", "NYC_TAXI_", "DBT_", "PG", "MAKE", "MFLAGS")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=inherited | ours | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*command, **environment)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def processes(self) -> list[psutil.Process]:
        """The programs that run in this copy, found by the folder where they were started."""
        return [
            process
            for process in psutil.process_iter()
            if process.pid != os.getpid() and folder_of(process) == self.folder.resolve()
        ]

    def process(self, program: str) -> psutil.Process:
        """The server or the worker that runs in this copy."""
        [found] = [
            process
            for process in self.processes()
            if f"prefect {program} start" in " ".join(process.cmdline())
        ]
        return found


def folder_of(process: psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except psutil.Error:
        return None


@pytest.fixture(scope="module")
def new_copy(home):
    """Make a copy of the project in which nothing runs."""
    copies = []

    def make(name: str) -> Copy:
        folder = home / name
        folder.mkdir()
        ignored = shutil.ignore_patterns("logs", "target", "__pycache__")
        for part in COPIED:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=ignored)
            else:
                shutil.copy2(ROOT / part, folder / part)
        (folder / ".venv").symlink_to(sys.prefix)
        copies.append(Copy(folder, free_port(), free_port()))
        return copies[-1]

    yield make
    for copy in copies:
        copy.run("make", "down")
        copy.run("make", "delete-data", "YES=1")


@pytest.fixture(scope="module")
def two_served(new_copy):
    """Two copies that are served side by side, and what `make serve` has printed in each."""
    copies = [new_copy("a served copy"), new_copy("another served copy")]
    starts = [copy.start("make", "serve") for copy in copies]
    for start, copy in zip(starts, copies, strict=True):
        copy.output, errors = start.communicate()
        assert start.returncode == 0, errors
    return copies


@pytest.fixture(scope="module")
def served(two_served):
    return two_served[0]


@pytest.fixture(scope="module")
def http(served):
    with log_in(served.api, served.env["PREFECT_API_AUTH_STRING"]) as client:
        yield client


def workers(http) -> list[dict]:
    return http.post("/work_pools/nyc-taxi/workers/filter", json={}).json()


def test_serve_says_where_the_pages_are_and_how_to_log_in(served):
    assert f"Ready:    http://127.0.0.1:{served.port}\n" in served.output
    assert f"PREFECT_API_AUTH_STRING, as {served.folder.resolve()}/.env has it" in served.output
    assert served.env["PREFECT_API_URL"] == served.api


def test_serve_deploys_and_ends_when_a_worker_has_reported(served, http):
    names = {found["name"] for found in http.post("/deployments/filter", json={}).json()}
    assert names == {"monthly", "backfill", "land", "build"}
    assert [worker["status"] for worker in workers(http)] == ["ONLINE"]


def test_the_secrets_are_new_ones_that_only_the_owner_can_read(served):
    assert stat.S_IMODE((served.folder / ".env").stat().st_mode) == 0o600
    credential = served.env["PREFECT_API_AUTH_STRING"]
    assert credential == served.env["PREFECT_SERVER_API_AUTH_STRING"]
    assert re.fullmatch(r"admin:[\w-]{32}", credential)
    assert credential not in served.output


def test_every_call_without_the_credential_is_refused(served, http):
    schema = http.get("/openapi.json").json()
    calls = [
        (method, re.sub(r"\{\w+\}", "x", path))
        for path, methods in schema["paths"].items()
        for method in methods
        if path not in ("/health", "/ready")
    ]
    assert len(calls) > 150
    with httpx.Client(base_url=served.api, timeout=30) as stranger:
        stranger.headers.update({n: http.headers[n] for n in http.headers if "csrf" in n})
        answers = {call: stranger.request(*call).status_code for call in calls}
        assert {call: code for call, code in answers.items() if code not in (401, 403)} == {}
        wrong = stranger.get("/admin/version", auth=("admin", "wrong"))
        assert wrong.status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "events/in",
        "events/out",
        "logs/out",
        "task_runs/subscriptions/scheduled",
        "work_pools/nyc-taxi/workers/connect",
    ],
)
def test_a_websocket_without_the_credential_is_refused(served, path):
    url = f"{served.api.replace('http', 'ws')}/{path}"
    with pytest.raises((ConnectionClosed, InvalidStatus)), connect(url) as stranger:
        stranger.recv(timeout=10)
    with connect(url, subprotocols=["prefect"]) as stranger:
        stranger.send('{"type": "auth", "token": "admin:wrong"}')
        with pytest.raises(ConnectionClosed):
            stranger.recv(timeout=10)


def test_a_page_of_another_origin_can_neither_read_nor_write(served, http):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{served.api}/flows/filter", headers=asked)
    assert "access-control-allow-origin" not in answer.headers
    own = asked | {"Origin": f"http://127.0.0.1:{served.port}"}
    assert httpx.options(f"{served.api}/flows/filter", headers=own).headers[
        "access-control-allow-origin"
    ]
    forged = httpx.post(f"{served.api}/flows/filter", json={}, auth=http.auth)
    assert forged.status_code == 403


def test_two_copies_that_are_served_share_nothing(two_served):
    one, other = two_served
    secret = ("PREFECT_API_AUTH_STRING", "POSTGRES_PASSWORD", "POSTGRES_PREFECT_PASSWORD")
    assert all(one.env[name] != other.env[name] for name in secret)
    user, _, password = one.env["PREFECT_API_AUTH_STRING"].partition(":")
    assert httpx.get(f"{other.api}/admin/version", auth=(user, password)).status_code == 401
    for copy in two_served:
        for program in ("server", "worker"):
            environment = copy.process(program).environ()
            assert environment["PREFECT_HOME"] == str(copy.folder.resolve() / "data" / "prefect")
            assert environment["PREFECT_API_URL"] == copy.api


def test_prefects_commands_find_the_server_and_log_in(served):
    result = served.run(".venv/bin/python", "-m", "prefect", "deployment", "ls")
    assert result.returncode == 0, result.stderr
    assert "elt/monthly" in result.stdout


def test_prefects_role_owns_its_database_and_nothing_more(served):
    prefect = Settings(
        _env_file=None,
        host="localhost",
        port=served.postgres_port,
        user="prefect",
        password=served.env["POSTGRES_PREFECT_PASSWORD"],
        db="prefect",
    )
    role = "select rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication"
    assert run_query(prefect, f"{role} from pg_roles where rolname = current_user") == [
        (False,) * 5
    ]
    owned = "select datname from pg_database where pg_get_userbyid(datdba) = current_user"
    assert run_query(prefect, owned) == [("prefect",)]
    assert run_query(prefect, "select count(*) > 0 from flow") == [(True,)]
    with pytest.raises(PipelineError, match="permission denied for database"):
        run_query(prefect.model_copy(update={"db": "ny_taxi"}), "select")


def test_a_second_serve_changes_nothing(served):
    before = {process.pid for process in served.processes()}, served.env
    result = served.run("make", "serve")
    assert result.returncode == 0, result.stderr
    assert ({process.pid for process in served.processes()}, served.env) == before


def kill_until_it_is_back(program: str, served: Copy) -> None:
    killed = served.process(program)
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)

    def is_back() -> bool:
        try:
            return served.process(program).pid != killed.pid
        except (ValueError, psutil.Error):
            return False

    wait_until(is_back, 60)
    wait_until(lambda: is_up(served), 60)


def test_a_worker_that_is_killed_is_started_again(served, http):
    kill_until_it_is_back("worker", served)
    assert len(workers(http)) >= 1


def test_a_server_that_is_killed_is_started_again_and_gets_back_the_slots_that_were_taken(
    served, http
):
    """Else four restarts of the server would leave no slot for any load, for ever."""
    path = "/v2/concurrency_limits"
    slot = {"names": ["warehouse-loads"], "slots": 1, "lease_duration": 300}
    lease = http.post(f"{path}/increment-with-lease", json=slot).raise_for_status().json()
    kill_until_it_is_back("server", served)
    assert http.get(f"{path}/warehouse-loads").json()["active_slots"] == 1
    taken = {"lease_id": lease["lease_id"]}
    renewed = http.post(f"{path}/leases/{lease['lease_id']}/renew", json={"lease_duration": 300})
    assert renewed.status_code == 204
    http.post(f"{path}/decrement-with-lease", json=taken).raise_for_status()
    assert http.get(f"{path}/warehouse-loads").json()["active_slots"] == 0


def is_up(copy: Copy) -> bool:
    try:
        return httpx.get(f"{copy.api}/health").text == "true"
    except httpx.HTTPError:
        return False


def test_a_port_of_another_program_is_one_clear_line_and_is_told_nothing(new_copy):
    """It would otherwise be handed the credential, and the block with the warehouse's password."""
    copy = new_copy("a copy with a taken port")
    with socket.create_server(("127.0.0.1", copy.port)) as other:
        result = copy.run("make", "serve")
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert result.returncode != 0
    assert result.stderr.startswith(f"error: Port {copy.port} is in use by another program: set ")
    assert copy.processes() == []


def test_a_worker_that_dies_is_one_clear_line_and_nothing_is_left_running(new_copy):
    copy = new_copy("a copy whose worker dies")
    (copy.folder / "data").mkdir()
    (copy.folder / "data" / "tmp").write_text("in the way")
    result = copy.run("make", "serve")
    assert result.returncode != 0
    log = copy.folder.resolve() / "data" / "serve" / "worker.log"
    assert f"error: Prefect's worker does not come up: {log} says why\n" in result.stderr
    assert "Ready" not in result.stdout
    left = [process.name() for process in copy.processes()]
    assert left == []


def test_down_stops_everything_from_wherever_it_is_called(served, tmp_path):
    """The last one here: TMPDIR differs between a terminal and a timer."""
    assert len(served.processes()) >= 3
    output = served.run("make", "down", TMPDIR=str(tmp_path)).stdout
    assert output == "Prefect's server and worker stopped\nPostgreSQL stopped\n"
    assert served.processes() == []
    assert not is_up(served)
    assert "PREFECT_API_URL" not in served.env
    assert served.run("make", "down").stdout == "Nothing was served\nPostgreSQL was not running\n"
