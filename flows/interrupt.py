"""Ctrl-C and its relatives: whatever the run is doing, it ends within three seconds.

Python would handle a signal in the main thread, and only there: not while psycopg2 waits for
PostgreSQL, and in the middle of a COPY its KeyboardInterrupt arrives as a cancelled query, which
looks like a fault of the network. So a thread of its own waits for the signals and ends the
process. What is in work is rolled back by PostgreSQL: each month, and each model, is one
transaction.
"""

import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID
from weakref import WeakSet

from flows import temporary_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas import FlowRun
    from psycopg2.extensions import connection as Connection

MESSAGE = (
    "interrupted: finished months are kept, and unfinished ones are as they were before; run again "
    "to go on"
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

runs: list[UUID] = []  # Prefect's flow runs of this process, the outer ones
connections: "WeakSet[Connection]" = WeakSet()  # to the warehouse, but for dbt's


def remember_run(flow: object, flow_run: "FlowRun", state: object) -> None:
    """Note a flow run that is to be cancelled if this process is interrupted; a hook."""
    runs.append(flow_run.id)


def end_on_signals(message: str = MESSAGE) -> None:
    """From now on, end the process on SIGINT, SIGTERM and SIGHUP, with one line.

    A signal that is ignored stays so: nohup ignores SIGHUP.
    """
    # dbt makes semaphores, and Python a process that complains of them where nobody frees them.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    awaited = {number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    for number in awaited:
        signal.signal(number, block_forever)
    arguments = (receiver, sender, awaited, message)  # the sender too, or it would be closed
    threading.Thread(target=wait_for, args=arguments, daemon=True, name="signals").start()


def block_forever(_number: int, _frame: object) -> None:
    """Keep the main thread from doing anything more, such as committing what it has in hand."""
    threading.Event().wait()


def wait_for(
    receiver: socket.socket, _sender: socket.socket, awaited: set[int], message: str
) -> None:
    """Wait for one of the signals, and end the process."""
    while (number := receiver.recv(1)[0]) not in awaited:
        pass
    end(number, message)


def end(number: int, message: str) -> NoReturn:
    """Say what is kept, clean up, and exit as a program does that a signal ends."""
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # no other thread has a say from here on, nor has a traceback
    os.dup2(nowhere, 2)
    # A progress bar hides the cursor, and leaves half a line.
    clear = "\r\x1b[K\x1b[?25h" if os.isatty(terminal) else ""
    with suppress(OSError):  # the terminal may be gone
        os.write(terminal, f"{clear}{message}\n".encode())
    for job, seconds in ((clean_up, 1.2), (cancel_queries, 0.4)):  # dbt may have begun another
        thread = threading.Thread(target=job, daemon=True)
        thread.start()
        thread.join(seconds)
    os._exit(128 + number)  # Prefect's temporary server ends then, if it has not yet


def clean_up() -> None:
    """Leave nothing behind that still runs, here, in PostgreSQL or, as Prefect knows it, at all."""
    cancel_queries()  # frees the main thread, which then stands still
    with suppress(Exception):
        cancel_runs()
    with suppress(OSError):
        temporary_server.stop(1)


def cancel_queries() -> None:
    """Have PostgreSQL end what this process asked for: it notices a dead client only later."""
    for connection in (*connections, *connections_of_dbt()):
        with suppress(Exception):
            connection.cancel()


def connections_of_dbt() -> "list[Connection]":
    """Those that dbt has open, where it runs in this process."""
    factory = sys.modules.get("dbt.adapters.factory")
    return [
        connection.handle
        for adapter in (factory.FACTORY.adapters.values() if factory else ())
        for connection in [*adapter.connections.thread_connections.values()]
        if connection.state == "open"
    ]


def cancel_runs() -> None:
    """Tell Prefect that the runs of this process are cancelled, and have workers end theirs."""
    if not runs:
        return
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled, Cancelling

    with get_client(sync_client=True) as client:
        set_state = partial(client.set_flow_run_state, force=True)
        for run_id in runs:
            set_state(run_id, Cancelled(message="interrupted"))
        for run in unfinished_parts(client, runs):
            is_on_a_worker = run.deployment_id and run.state_type == StateType.RUNNING
            set_state(run.id, Cancelling() if is_on_a_worker else Cancelled())


def unfinished_parts(client: "SyncPrefectClient", of: "Sequence[UUID | str]") -> "list[FlowRun]":
    """The runs that these runs have begun and that have not ended."""
    from prefect.client.schemas.filters import FlowRunFilter

    unfinished = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}
    parts = {"parent_flow_run_id": {"any_": [*of]}, "state": unfinished}
    return client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(parts))


def hidden_signal(error: Exception) -> BaseException | None:
    """What a signal's handler has raised while psycopg2 read a file for COPY, if it was that.

    psycopg2 reports a cancelled query, with the exception's name in its text and nowhere else. It
    looks like a fault that passes by itself, and the load of a run that someone has cancelled
    would be tried again.
    """
    from prefect.exceptions import TerminationSignal

    raised = str(error).partition("error in .read() call: ")[2]
    if raised.startswith("KeyboardInterrupt"):
        return KeyboardInterrupt()
    return TerminationSignal(signal.SIGTERM) if raised.startswith("TerminationSignal") else None
