"""Serve: a Prefect server and a worker on this machine, kept running by supervisord."""

import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import httpx
import psutil
from dotenv import dotenv_values, unset_key
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    get_current_settings,
    temporary_settings,
)

from flows.environment import IS_INSTALLED
from flows.errors import PipelineError
from flows.server.deploy import deploy
from flows.server.prefect_database import ensure_database
from flows.server.worker import WORK_POOL, answers
from flows.settings import DATA, ENV_FILE, ROOT, read_settings, remember
from flows.warehouse import embedded
from flows.warehouse.local_server import ensure_server

FOLDER = DATA / "serve"
PROCESS_FILE = FOLDER / "supervisord.pid"
CONFIGURATION = ROOT / "flows" / "server" / "supervisord.conf"
HOST = "127.0.0.1"
STARTUP_TIMEOUT = 300  # seconds; a first server makes its tables, and the machine may be busy
SILENCE = 10  # seconds, after which we say what we wait for
# Of the programs in supervisord.conf; flows/server/worker.py becomes Prefect's worker.
COMMANDS = {
    "server": "flows.server.pages",
    "worker": "prefect worker start|flows.server.worker",
}
STARTS = 3  # of a program that ends at once, before we say that it does


def start() -> None:
    """Start what is not running yet, deploy, and wait for the worker.

    The address and the credential of the server are written into `.env`, where all commands of
    this project find them.

    Raises:
        PipelineError: the server runs with another port or credential than the settings have,
            another program uses the port, or the server or the worker does not come up; the
            message says where its log is.
    """
    port = get_current_settings().server.api.port
    api = f"http://{HOST}:{port}/api"
    credential = known_credential() or f"admin:{secrets.token_urlsafe(24)}"
    is_running = supervisor() is not None
    if is_running:
        refuse_another_configuration(port, credential)
    if get_current_settings().api.url not in (None, api):
        raise PipelineError(
            f"PREFECT_API_URL is {get_current_settings().api.url}, another server: `make worker` "
            f"starts a worker for it. To serve here, take it out of {ENV_FILE} and the environment"
        )
    if not is_running and is_in_use(port):
        raise PipelineError(
            f"Port {port} is in use by another program: "
            f"set PREFECT_SERVER_API_PORT to a free one in {ENV_FILE}"
        )
    remember(
        PREFECT_API_URL=api,
        PREFECT_SERVER_API_AUTH_STRING=credential,
        PREFECT_API_AUTH_STRING=credential,
    )
    try:
        if not is_running:
            supervise(settings_of_the_server(port))
        wait_for("server", lambda process: port in ports_of(process) and answers(api))
        refuse_an_open_server(api)
        with temporary_settings({PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: credential}):
            deploy()
            wait_for("worker", has_reported)
    except BaseException:  # Ctrl-C too: no half of it is left running
        if not is_running:
            stop()
        raise
    print(
        f"Ready:    {api.removesuffix('/api')}\n"
        f"Log in:   with PREFECT_API_AUTH_STRING, as {ENV_FILE} has it\n"
        f"Logs:     {FOLDER}\n"
        f"Stop it:  {'taxi' if IS_INSTALLED else 'make'} down"
    )


def stop() -> bool:
    """Stop what `start` has started, and take its address out of `.env`; whether anything ran."""
    process = supervisor()
    if process is not None:
        process.terminate()
        process.wait(STARTUP_TIMEOUT)
    if (dotenv_values(ENV_FILE).get("PREFECT_API_URL") or "").startswith(f"http://{HOST}:"):
        unset_key(ENV_FILE, "PREFECT_API_URL", follow_symlinks=True)
    return process is not None


def down() -> None:
    """Stop what `taxi up`, `taxi run` and `taxi serve` have started on this machine."""
    print("Prefect's server and worker stopped" if stop() else "Prefect was not running")
    is_stopped = embedded.stop(embedded.DATA_DIR)
    print("PostgreSQL stopped" if is_stopped else "PostgreSQL was not running")


def is_in_use(port: int) -> bool:
    """Whether a program listens on a port of this machine."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return True
    return False


def known_credential() -> str | None:
    """The credential that the server is to ask for, if there is one already."""
    settings = get_current_settings()
    known = settings.server.api.auth_string or settings.api.auth_string
    return known.get_secret_value() if known else None


def refuse_another_configuration(port: int, credential: str) -> None:
    """Raise a `PipelineError` if the server runs with another port or credential than is set."""
    ports = {port for process in running("server") for port in ports_of(process)}
    again = "Start it again, which ends its runs: `make down`, then `make serve`."
    if ports and port not in ports:
        raise PipelineError(
            f"Prefect's server runs on port {min(ports)}, and PREFECT_SERVER_API_PORT is {port}. "
            f"{again}"
        )
    api = f"http://{HOST}:{port}/api/admin/version"
    user, _, password = credential.partition(":")
    with suppress(httpx.HTTPError):  # it is starting
        if ports and httpx.get(api, auth=(user, password), timeout=5).status_code == 401:
            raise PipelineError(
                f"Prefect's server on port {port} runs with another credential than "
                f"PREFECT_SERVER_API_AUTH_STRING is now. {again}"
            )


def settings_of_the_server(port: int) -> dict[str, str]:
    """Prefect's settings of a server at a port, with its database, which is made if missing."""
    settings = {
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
        "PREFECT_SERVER_UI_API_URL": "/api",  # whatever name or tunnel leads to the pages
    }
    if "PREFECT_SERVER_DATABASE_CONNECTION_URL" in os.environ:
        return settings
    return settings | ensure_database(ensure_server(read_settings()))


def supervise(settings: dict[str, str]) -> None:
    """Start supervisord in the background, with the server and the worker below it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "--configuration", CONFIGURATION],
        env=os.environ | settings | {"TAXI_DATA": str(DATA), "TAXI_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise PipelineError(f"supervisord: {result.stderr.strip() or result.returncode}")


def supervisor() -> psutil.Process | None:
    """The supervisord of this project, or None where it does not run."""
    try:
        process = psutil.Process(int(PROCESS_FILE.read_text()))
        return process if str(CONFIGURATION) in process.cmdline() else None
    except (OSError, ValueError, psutil.Error):
        return None


def wait_for(program: str, is_ready: Callable[[psutil.Process], bool]) -> None:
    """Wait until a program below supervisord is ready.

    Raises:
        PipelineError: it ends again and again, or is not ready in time.
    """
    seen: set[int] = set()
    log = FOLDER / f"{program}.log"
    began, is_told = time.monotonic(), False
    while len(seen) <= STARTS and (waited := time.monotonic() - began) < STARTUP_TIMEOUT:
        for process in running(program):
            seen.add(process.pid)
            with suppress(psutil.Error):  # it has ended meanwhile
                if is_ready(process):
                    return
        if waited > SILENCE and not is_told:
            print(f"Waiting for Prefect's {program}; its log is {log}", flush=True)
            is_told = True
        time.sleep(0.5)
    raise PipelineError(f"Prefect's {program} does not come up: {log} says why")


def running(program: str) -> list[psutil.Process]:
    """The processes of a program below supervisord."""
    found = []
    if process := supervisor():
        for child in process.children():
            with suppress(psutil.Error):  # it has ended meanwhile
                if re.search(COMMANDS[program], " ".join(child.cmdline())):
                    found.append(child)
    return found


def ports_of(process: psutil.Process) -> set[int]:
    """The ports on which a process listens, or one below it."""
    found = set()
    with suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            for connection in one.net_connections("tcp4"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(connection.laddr.port)
    return found


def refuse_an_open_server(api: str) -> None:
    """Raise a `PipelineError` if the server takes calls with no credential, or a wrong one."""
    for auth in (None, ("admin", "wrong")):
        if httpx.get(f"{api}/admin/version", auth=auth, timeout=5).status_code != 401:
            raise PipelineError(f"Prefect's server at {api} does not ask for a credential")


def has_reported(process: psutil.Process) -> bool:
    """Whether a worker has sent a heartbeat since this one was started."""
    started_at = datetime.fromtimestamp(process.create_time(), UTC)
    with get_client(sync_client=True) as client:
        workers = client.read_workers_for_work_pool(WORK_POOL)
    return any(
        worker.last_heartbeat_time and worker.last_heartbeat_time >= started_at
        for worker in workers
    )
