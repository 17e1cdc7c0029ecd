"""Prefect's temporary server, for a command that no server is set for: it ends with the command.

python -m flows.temporary_server PORT

Prefect's own client would import the whole server first, to start it in another process: two
seconds of each command. This one is started before the flow is imported, and comes up meanwhile.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

from flows.errors import PipelineError

HOST = "127.0.0.1"
process: "subprocess.Popen[bytes] | None" = None  # the server, where this process has started one


def start() -> None:
    """Start the server, and set it as the one of this process; it does not answer yet.

    It hears neither Ctrl-C nor that the terminal is closed: it is to be told first what became of
    the run. It ends when this process does, however that ends: its standard input is closed then.
    """
    from prefect.context import refresh_global_settings_context

    global process
    with socket.create_server((HOST, 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "flows.temporary_server", port]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(stop)
    os.environ["PREFECT_API_URL"] = f"http://{HOST}:{port}/api"
    refresh_global_settings_context()


def wait() -> None:
    """Wait until the server answers.

    Raises:
        PipelineError: it does not.
    """
    import httpx
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    end = time.monotonic() + settings.server.ephemeral.startup_timeout_seconds
    with httpx.Client() as client:
        while process and process.poll() is None and time.monotonic() < end:
            with suppress(httpx.TransportError):
                if client.get(f"{settings.api.url}/health").is_success:
                    return
            time.sleep(0.05)
    raise PipelineError("Prefect's temporary server does not start: --verbose shows why")


def stop(seconds: float = 5) -> None:
    """End the server, after it has written down what it was told; at once after so many seconds."""
    if process:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve() -> None:
    """Be the server, until the process that started it stops it or is gone."""
    threading.Thread(target=end_with_its_starter, daemon=True).start()
    # It would import all packages with blocks, and so dbt, to see whether a block is new: with the
    # first setting alone as well. A block that is saved registers its own type.
    os.environ["PREFECT_SERVER_REGISTER_BLOCKS_ON_START"] = "false"
    os.environ["PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION"] = "false"
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    uvicorn.run(app, host=HOST, port=int(sys.argv[1]), log_level="error")


def end_with_its_starter() -> None:
    """Wait until standard input is closed, and end."""
    os.read(sys.stdin.fileno(), 1)  # not by a file object: its lock would be in an exit's way
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve()
