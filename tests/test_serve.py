"""`make serve` and `make down`, in copies of the project, on ports of their own.

One copy stays up for all tests, until the last one stops it. What becomes of another one is noted:
it is served beside the first, and its worker dies.
"""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest
from conftest import HOME, OWN, TESTS, free_port, log_in, run_query, wait_until
from dotenv import dotenv_values
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.errors import PipelineError
from flows.report import page
from flows.server.serve import COMMANDS
from flows.settings import ROOT, Settings

pytestmark = pytest.mark.timeout(900)  # two servers at once, on a busy machine
LIMITS = "/v2/concurrency_limits"
COPIED = ("flows", "dbt_project", "tools", "Makefile", "requirements.lock", "pyproject.toml")


@dataclass
class Copy:
    """A copy of the project, with the same packages, and ports that nobody else uses."""

    folder: Path
    port: int
    postgres_port: int
    output: str = ""
    workers: list[dict] = field(default_factory=list)

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
            TESTS: str(HOME),
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
            if re.search(COMMANDS[program], " ".join(process.cmdline()))
        ]
        return found


def folder_of(process: psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except psutil.Error:
        return None


@pytest.fixture(scope="module")
def new_copy():
    """Make a copy of the project in which nothing runs."""
    copies = []

    def make(name: str) -> Copy:
        folder = OWN / name
        ignored = shutil.ignore_patterns("logs", "target", "__pycache__")
        for part in COPIED:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=ignored)
            else:
                shutil.copy2(ROOT / part, folder / part)
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "data" / "postgres").mkdir(parents=True)  # or root's would be in /var/lib
        copies.append(Copy(folder, free_port(), free_port()))
        return copies[-1]

    yield make
    for copy in copies:
        if copy.processes():
            copy.run("make", "down")


@pytest.fixture(scope="module")
def two_copies(new_copy):
    """A copy that is served, and what became of another beside it, whose worker dies."""
    served, other = new_copy("a served copy"), new_copy("another copy")
    folder = other.folder.resolve() / "data"
    (folder / "tmp").write_text("in the way of the worker")
    starts = [copy.start("make", "serve") for copy in (served, other)]
    environments = {}

    def are_seen() -> bool:
        for program in COMMANDS:
            with suppress(ValueError, psutil.Error):  # it is between two tries
                environments[program] = other.process(program).environ()
        return environments.keys() == COMMANDS.keys() and is_up(served) and is_up(other)

    wait_until(are_seen, 300, pause=0.2)
    env = other.env
    user, _, password = served.env["PREFECT_API_AUTH_STRING"].partition(":")
    answer = httpx.get(f"{other.api}/admin/version", auth=(user, password))
    served.output, errors = starts[0].communicate()
    assert starts[0].returncode == 0, errors
    output, errors = starts[1].communicate()
    return served, SimpleNamespace(
        copy=other,
        env=env,
        environments=environments,
        answer_to_the_first=answer,
        returncode=starts[1].returncode,
        output=output,
        errors=errors,
        left=[process.name() for process in other.processes()],
        log=folder / "serve" / "worker.log",
    )


@pytest.fixture(scope="module")
def killed(served):
    """What becomes of programs of a served copy that are killed, and of a slot that was taken."""
    with log_in(served.api, served.env["PREFECT_API_AUTH_STRING"]) as client:
        lease = take_slot(client)
        seen = SimpleNamespace(
            replaced=[replaced(served, program) for program in ("worker", "server")]
        )
        wait_until(lambda: is_up(served), 60, pause=0.2)
        seen.slots = [active_slots(client)]
        seen.renewed = client.post(
            f"{LIMITS}/leases/{lease}/renew", json={"lease_duration": 300}
        ).status_code
        given_back = {"lease_id": lease}
        client.post(f"{LIMITS}/decrement-with-lease", json=given_back).raise_for_status()
        seen.slots.append(active_slots(client))
    return seen


def take_slot(client: httpx.Client) -> str:
    """Take a slot for a load, as a worker does; returns its lease."""
    slot = {"names": ["warehouse-loads"], "slots": 1, "lease_duration": 300}
    answer = client.post(f"{LIMITS}/increment-with-lease", json=slot)
    return answer.raise_for_status().json()["lease_id"]


def active_slots(client: httpx.Client) -> int:
    return client.get(f"{LIMITS}/warehouse-loads").raise_for_status().json()["active_slots"]


def replaced(copy: Copy, program: str) -> tuple[int, int]:
    """Kill a program; return its process id and that of the one in its place."""
    killed = copy.process(program)
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    found: list[int] = []

    def is_back() -> bool:
        with suppress(ValueError, psutil.Error):
            found.append(copy.process(program).pid)
        return bool(found)

    wait_until(is_back, 60, pause=0.2)
    return killed.pid, found[0]


@pytest.fixture(scope="module")
def served(two_copies):
    copy, _ = two_copies
    with log_in(copy.api, copy.env["PREFECT_API_AUTH_STRING"]) as client:
        copy.workers = workers(client)
    return copy


@pytest.fixture
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
    assert names == {"monthly", "backfill", "land", "build", "archive"}
    assert [worker["status"] for worker in served.workers] == ["ONLINE"]


def test_the_secrets_are_new_ones_that_only_the_owner_can_read(served):
    assert stat.S_IMODE((served.folder / ".env").stat().st_mode) == 0o600
    credential = served.env["PREFECT_API_AUTH_STRING"]
    assert credential == served.env["PREFECT_SERVER_API_AUTH_STRING"]
    assert re.fullmatch(r"admin:[\w-]{32}", credential)
    assert credential not in served.output


def test_who_has_no_credential_and_a_page_of_another_origin_are_refused(served, http):
    assert httpx.get(f"{served.api}/admin/version").status_code == 401
    forged = httpx.post(f"{served.api}/flows/filter", json={}, auth=http.auth)
    assert forged.status_code == 403
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{served.api}/flows/filter", headers=asked)
    assert "access-control-allow-origin" not in answer.headers


def test_the_pages_call_the_server_that_they_come_from(served):
    """Also through a tunnel with another port, or as localhost."""
    settings = httpx.get(f"http://127.0.0.1:{served.port}/ui-settings").json()
    assert settings["api_url"] == "/api"


@pytest.fixture
def drawn(served, monkeypatch):
    """A report in the served copy's folder; returns its address on Prefect's server."""
    path = served.folder / "data" / "report.html"
    path.write_text("<!doctype html><title>Trips</title>")
    monkeypatch.setattr(page, "PAGE", path)
    yield f"http://127.0.0.1:{served.port}/report"
    path.unlink(missing_ok=True)


def test_the_report_is_beside_the_pages_for_whoever_has_their_credential(drawn, http):
    answer = httpx.get(drawn, auth=http.auth)
    assert (answer.status_code, answer.content) == (200, page.PAGE.read_bytes())
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    # Its scripts don't reach the credential, which the pages keep in the browser.
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "allow-same-origin" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("auth", [None, ("admin", "wrong"), ("admin", "")])
def test_a_browser_without_the_credential_is_asked_for_it(drawn, auth):
    answer = httpx.get(drawn, auth=auth)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert "Trips" not in answer.text


def test_nothing_but_the_report_is_served_of_its_folder(drawn, http):
    (page.PAGE.parent / "beside.html").write_text("secret")
    for path in ("/../.env", "/beside.html", "/../beside.html", "?page=../.env", "/%2e%2e/.env"):
        answer = httpx.get(f"{drawn}{path}", auth=http.auth)
        assert "secret" not in answer.text
        assert "POSTGRES_PASSWORD" not in answer.text
    page.PAGE.unlink()
    answer = httpx.get(drawn, auth=http.auth)
    assert (answer.status_code, answer.text[:6]) == (404, "No run")


def test_an_artifact_links_to_the_report_where_the_server_shows_it(drawn, served, tmp_path):
    credential = served.env["PREFECT_API_AUTH_STRING"]
    api = {PREFECT_API_URL: served.api, PREFECT_API_AUTH_STRING: credential}
    with temporary_settings(api):
        assert page.link_to_page() == "[The page with the charts](/report)"
    on_this_machine = f"The page with the charts is `{page.PAGE}` on {socket.gethostname()}."
    elsewhere = tmp_path / "report.html"
    for other in (api | {PREFECT_API_AUTH_STRING: "admin:wrong"}, {PREFECT_API_URL: None}):
        with temporary_settings(other):
            assert page.link_to_page() == on_this_machine
    elsewhere.write_text("another machine's")
    with temporary_settings(api), pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "PAGE", elsewhere)
        assert str(elsewhere) in page.link_to_page()


def test_two_copies_that_are_served_share_nothing(two_copies):
    served, other = two_copies
    secret = ("PREFECT_API_AUTH_STRING", "POSTGRES_PASSWORD", "POSTGRES_PREFECT_PASSWORD")
    assert all(served.env[name] != other.env[name] for name in secret)
    assert other.answer_to_the_first.status_code == 401
    for environment in other.environments.values():
        assert environment["PREFECT_HOME"] == str(other.copy.folder.resolve() / "data" / "prefect")
        assert environment["PREFECT_API_URL"] == other.copy.api


def test_a_worker_that_dies_is_one_clear_line_and_nothing_is_left_running(two_copies):
    _, other = two_copies
    assert other.returncode != 0
    line = f"error: Prefect's worker does not come up: {other.log} says why\n"
    assert line in other.errors
    assert "Ready" not in other.output
    assert other.left == []
    assert "PREFECT_API_URL" not in other.copy.env


def test_a_program_that_is_killed_is_started_again(killed):
    for program, its_successor in killed.replaced:
        assert program != its_successor


def test_a_server_that_is_killed_gets_back_the_slots_that_were_taken(killed):
    """Else four restarts of the server would leave no slot for any load, for ever."""
    assert killed.slots == [1, 0]
    assert killed.renewed == 204


@pytest.mark.last
def test_down_stops_everything_from_wherever_it_is_called(served, tmp_path):
    """TMPDIR differs between a terminal and a timer."""
    assert len(served.processes()) >= 3
    down = served.run("make", "down", TMPDIR=str(tmp_path))
    assert down.stdout == "Prefect's server and worker stopped\nPostgreSQL stopped\n"
    assert served.processes() == []
    assert not is_up(served)
    assert "PREFECT_API_URL" not in served.env
    again = served.run("make", "down")
    assert again.stdout == "Prefect was not running\nPostgreSQL was not running\n"


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


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PREFECT_SERVER_API_PORT", "65001", "runs on port {port}, and PREFECT_SERVER_API_PORT is"),
        ("PREFECT_SERVER_API_AUTH_STRING", "admin:new", "on port {port} runs with another credent"),
    ],
)
def test_a_changed_port_or_credential_is_one_clear_line_at_once(served, name, value, line):
    before = served.env
    began = time.monotonic()
    result = served.run("make", "serve", **{name: value})
    assert time.monotonic() - began < 60
    assert result.returncode != 0
    assert result.stderr.startswith(f"error: Prefect's server {line.format(port=served.port)}")
    assert "`make down`, then `make serve`" in result.stderr
    assert served.env == before
    assert is_up(served)


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
