#!/usr/bin/env bash
# prefect 3.9.1: the temporary server of a flow that was killed stays for ever, and the next flow starts another.
#
# Where no API URL is set, a flow's first request starts a server in a process of its own (`uvicorn`), which the flow's
# process ends by `atexit`. That does not run when the process is killed: by SIGKILL, by the kernel for want of memory, or
# by a SIGTERM before Prefect handles it. One would think that such a server, made for one process, notices that it is gone,
# or that the next flow finds it. It does neither: it listens on, with the whole server in memory, nothing that Prefect has
# names it, and the next flow starts a second one on another port, of the same SQLite file. Another guess that fails: to
# start it, the client's own process imports the whole server too (`prefect.server.api.server`).
# A way round: start the server oneself, with a pipe as its standard input, at whose end it ends.
#
# Needs Python 3.10 or newer, bash and Linux. Installs pinned packages into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check prefect==3.9.1 psutil==7.2.2
cd "$folder"
cat > sleeper.py <<'PYTHON'
import sys
import time

from prefect import flow


@flow
def sleeper():
    print("prefect.server.api.server" in sys.modules, flush=True)
    time.sleep(600)


sleeper()
PYTHON
export PREFECT_HOME="$folder/prefect" PREFECT_LOGGING_LEVEL=ERROR DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
unset PREFECT_API_URL
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import subprocess
import sys
import time

import psutil


def run_and_kill() -> psutil.Process:
    """Run the flow until it sleeps, kill it alone, and return its server."""
    flow = subprocess.Popen([sys.executable, "sleeper.py"], stdout=subprocess.PIPE, text=True)
    assert flow.stdout.readline() == "True\n", "the client no longer imports the server"
    [server] = psutil.Process(flow.pid).children()
    assert "uvicorn" in server.cmdline()
    flow.kill()
    flow.wait()
    return server


def listens(server: psutil.Process) -> bool:
    return server.is_running() and any(c.status == "LISTEN" for c in server.net_connections())


servers = []
try:
    servers.append(run_and_kill())
    time.sleep(20)
    assert listens(servers[0]), "the first server has ended"
    servers.append(run_and_kill())
    time.sleep(5)
    assert listens(servers[0]) and listens(servers[1]), "a server has ended"
    ports = {c.laddr.port for server in servers for c in server.net_connections() if c.status == "LISTEN"}
    assert len(ports) == 2
    megabytes = [round(server.memory_info().rss / 1e6) for server in servers]
    print("prefect", importlib.metadata.version("prefect"))
    print(f"25 and 5 seconds after their flows were killed, 2 servers listen on 2 ports, with {megabytes} MB")
finally:
    for server in servers:
        server.kill()
PYTHON
