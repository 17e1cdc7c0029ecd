"""`make serve` and `make down`, in a copy of the project, on ports of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import free_port, wait_until

from flows.settings import ROOT

COPIED = ("flows", "dbt_project", "Makefile", "requirements.lock", "pyproject.toml")


@pytest.fixture
def copy(home, monkeypatch) -> Path:
    """A copy of the project with the same environment, and nothing that runs."""
    copy = home / "a copy"
    ignored = shutil.ignore_patterns("logs", "target", "__pycache__")
    copy.mkdir()
    for name in COPIED:
        is_folder = (ROOT / name).is_dir()
        (shutil.copytree if is_folder else shutil.copy2)(
            ROOT / name, copy / name, **({"ignore": ignored} if is_folder else {})
        )
    (copy / ".venv").symlink_to(sys.prefix)
    monkeypatch.delenv("PREFECT_API_URL")
    monkeypatch.setenv("PREFECT_HOME", str(copy / "prefect"))
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", str(free_port()))
    monkeypatch.setenv("POSTGRES_PORT", str(free_port()))
    return copy


def make(copy: Path, target: str) -> str:
    result = subprocess.run(["make", target], cwd=copy, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_serve_and_down(copy):
    api = f"http://127.0.0.1:{os.environ['PREFECT_SERVER_API_PORT']}/api"

    def workers() -> list[dict]:
        return httpx.post(f"{api}/work_pools/nyc-taxi/workers/filter", json={}).json()

    def worker_pids() -> list[int]:
        """Of this copy's workers alone: a program's folder is where it was started."""
        found = subprocess.run(["pgrep", "-f", "prefect worker start"], capture_output=True)
        pids = [int(pid) for pid in found.stdout.split()]
        return [pid for pid in pids if Path(f"/proc/{pid}/cwd").resolve() == copy.resolve()]

    try:
        assert f"Prefect:  {api.removesuffix('/api')}\n" in make(copy, "serve")
        assert f"PREFECT_API_URL={api}\n" in (copy / ".env").read_text()
        deployments = httpx.post(f"{api}/deployments/filter", json={}).json()
        assert {found["name"] for found in deployments} == {
            *("monthly", "backfill", "land", "build"),
        }
        wait_until(lambda: len(workers()) == 1, 60)
        os.kill(worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: len(workers()) == 2, 60)  # a new one, under a name of its own
    finally:
        said = make(copy, "down")
    assert re.findall(r"\w+ stopped", said) == ["worker stopped", "PostgreSQL stopped"]
    assert worker_pids() == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{api}/health")
    assert "PREFECT_API_URL" not in (copy / ".env").read_text()
