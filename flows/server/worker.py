"""Worker: wait for Prefect's server, then become a worker of it.

python -m flows.server.worker [--limit RUNS] [further options of `prefect worker start`]
"""

import os
import re
import sys
import time
from typing import Annotated

import httpx
from cyclopts import Parameter

from flows.settings import DATA, ROOT

WORK_POOL = "nyc-taxi"
COMMAND = ["worker", "start", "--pool", WORK_POOL, "--type", "process"]
LIMIT = ["--limit", "4"]  # flow runs at a time, unless the options say another number


def work(*options: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Wait for the server, then replace this process by Prefect's worker.

    A worker that comes before its server would never hear of cancelled runs, since it tries to
    connect to the server's events only once.

    Args:
        options: Those of `prefect worker start`, such as --limit 8.
    """
    api = os.environ.get("PREFECT_API_URL")
    if not api:
        sys.exit("error: PREFECT_API_URL is not set: `make serve` writes it into .env")
    if not answers(api):
        print(f"Waiting for Prefect's server at {api}", flush=True)
    while not answers(api):
        time.sleep(1)
    # Prefect keeps the files of its runs in /tmp/runner_storage, which may be another user's.
    temporary_files = DATA / "tmp"
    temporary_files.mkdir(parents=True, exist_ok=True)
    os.environ |= {"TMPDIR": str(temporary_files), "TAXI_PROJECT": str(ROOT)}
    limit = [] if any(re.match("--limit|-l", option) for option in options) else LIMIT
    command = [sys.executable, "-m", "prefect", *COMMAND, *limit, *options]
    os.execv(sys.executable, command)  # noqa: S606 (no shell is what we want)


def answers(api: str) -> bool:
    """Whether a Prefect server answers at an address."""
    try:
        return httpx.get(f"{api}/health", timeout=5).text == "true"
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    work(*sys.argv[1:])
