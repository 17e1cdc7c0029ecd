"""Serve: a Prefect server and a worker on this machine, kept running by supervisord.

python -m flows.server.serve start | stop
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from dotenv import set_key, unset_key
from prefect.settings import get_current_settings

from flows.errors import PipelineError
from flows.settings import ENV_FILE, ROOT

FOLDER = ROOT / "data" / "serve"
PATIENCE = 120  # seconds; a new machine's first server makes its database


def start() -> None:
    """Start what is not running yet, and deploy.

    A server that answers at `PREFECT_API_URL` is used. Otherwise one is started on this machine,
    and its address is written into `.env`, for all commands of this project to find it.

    Raises:
        PipelineError: the server does not come up; the message says where its log is.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    api = get_current_settings().api.url or own_api()
    if not supervisorctl("pid"):
        supervisor("supervisord", "--configuration", Path(__file__).with_name("supervisord.conf"))
    if not answers(api):
        if api != own_api():
            raise PipelineError(f"PREFECT_API_URL is {api}, and nothing answers there")
        supervisorctl("start", "server")
        wait_for(api)
        set_key(ENV_FILE, "PREFECT_API_URL", api, quote_mode="never")
    subprocess.run(
        [sys.executable, "-m", "flows.server.deploy"],
        cwd=ROOT,
        env=os.environ | {"PREFECT_API_URL": api},
        check=True,
    )
    supervisorctl("start", "worker")
    print(f"Prefect:  {api.removesuffix('/api')}\nLogs:     {FOLDER}\nStop it:  make down")


def stop() -> None:
    """Stop what `start` has started, and take its address out of `.env`."""
    if not supervisorctl("shutdown"):
        print("Nothing was served")
        return
    while supervisorctl("pid"):
        time.sleep(0.2)
    if ENV_FILE.exists() and f"PREFECT_API_URL={own_api()}\n" in ENV_FILE.read_text():
        unset_key(ENV_FILE, "PREFECT_API_URL")
    print("Prefect's server and worker stopped")


def own_api() -> str:
    """The API of the server that `start` starts; Prefect's own setting says at which port."""
    return f"http://127.0.0.1:{get_current_settings().server.api.port}/api"


def answers(api: str) -> bool:
    """Whether a Prefect server answers at an address."""
    try:
        return httpx.get(f"{api}/health", timeout=5).text == "true"
    except httpx.HTTPError:
        return False


def wait_for(api: str) -> None:
    """Wait until the server answers."""
    give_up_at = time.monotonic() + PATIENCE
    while not answers(api):
        if time.monotonic() > give_up_at or not supervisorctl("status", "server"):
            raise PipelineError(
                f"no Prefect server comes up at {api}; {FOLDER / 'server.log'} says why. If the "
                "port is somebody else's, set PREFECT_SERVER_API_PORT to a free one in .env"
            )
        time.sleep(0.5)


def supervisorctl(*words: str) -> bool:
    """Give supervisord an order; return whether it obeyed."""
    return (
        supervisor(
            "supervisorctl", "--configuration", Path(__file__).with_name("supervisord.conf"), *words
        )
        == 0
    )


def supervisor(program: str, *arguments: str | Path) -> int:
    """Run one of supervisor's programs; return its exit code."""
    # A socket's path may have 107 bytes, a project's more.
    name = hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
    socket = Path(tempfile.gettempdir()) / f"nyc-taxi-{os.getuid()}-{name}.sock"
    return subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        env=os.environ | {"TAXI_SOCKET": str(socket), "TAXI_PROJECT": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=False,
    ).returncode


if __name__ == "__main__":
    try:
        {"start": start, "stop": stop}[sys.argv[1]]()
    except PipelineError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError:  # flows.server.deploy has said why
        sys.exit(1)
