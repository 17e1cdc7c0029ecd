"""Extract: a URL or a path becomes a verified file on disk."""

import gzip
import hashlib
import os
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx
from prefect import get_run_logger, runtime, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import INPUTS, TASK_SOURCE
from prefect.client.schemas import TaskRun
from prefect.states import State
from prefect.tasks import Task
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

from flows.errors import PipelineError
from flows.warehouse import ROOT

FOLDER = ROOT / "data" / "downloads"
CHUNK = 1 << 20
TIMEOUT = httpx.Timeout(30, pool=None)
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class SourceUnavailable(PipelineError):
    """The source did not deliver, and may in a moment: worth a retry."""


@dataclass(frozen=True)
class SourceFile:
    """A CSV file on disk, packed with gzip or not, that has been read to its end once."""

    source: str  # the URL or path that was asked for, without its secrets
    path: Path
    bytes: int  # on disk
    modified_ns: int  # the file's time when it was verified
    csv_bytes: int  # unpacked
    sha256: str  # of the unpacked CSV, so that packing it anew does not make it another file

    def is_intact(self) -> bool:
        """Whether the file is still the one that was verified, by its size and time."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.bytes, self.modified_ns)


def is_worth_a_retry(_task: Task, _run: TaskRun, state: State) -> bool:
    """Retry what the network did; a wrong URL or a broken file stays wrong."""
    return isinstance(state.result(raise_on_failure=False), SourceUnavailable)


def file_name(source: str) -> str:
    """The last part of a URL or path, fit for a name on any disk."""
    return re.sub(r"[^\w.-]", "_", urlsplit(source).path.rpartition("/")[2])[-100:] or "download"


@task(
    name="extract",
    task_run_name=lambda: f"extract {file_name(runtime.task_run.parameters['source'])}",
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_jitter_factor=0.3,
    retry_condition_fn=is_worth_a_retry,
    cache_policy=TASK_SOURCE + INPUTS,
    cache_expiration=timedelta(days=1),
)
def extract(source: str, folder: Path = FOLDER) -> SourceFile:
    """Get a CSV file, packed with gzip or not, and read it once to its end.

    What an http(s) URL names is downloaded into `folder`; a file is used where it is, and its
    path must be absolute, since the cache takes the same path for the same file.

    Raises:
        SourceUnavailable: the host can't be reached, breaks off, or is overloaded.
        PipelineError: there is no such file, or it is not a whole CSV.
    """
    logger = get_run_logger()
    scheme, shown = urlsplit(source).scheme, without_secrets(source)
    if scheme in ("http", "https"):
        path = download(source, folder)
    elif "://" in source:
        raise PipelineError(f"{shown}: only http(s) URLs and paths of files can be read")
    else:
        path = Path(source)
    file = verify(shown, path)
    logger.info("%s: %s, %s of CSV", shown, megabytes(file.bytes), megabytes(file.csv_bytes))
    return file


def download(url: str, folder: Path) -> Path:
    """Stream a URL to disk. The file has its name only when all of it is there."""
    name, shown = file_name(url), without_secrets(url)
    folder = folder / hashlib.sha256(url.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{name}.{os.getpid()}.part"  # of this process: another may be at it too
    try:
        with (
            httpx.stream("GET", url, follow_redirects=True, timeout=TIMEOUT) as response,
            unfinished.open("wb") as file,
        ):
            refuse_status(shown, response)
            size = int(response.headers.get("Content-Length", 0))
            with progress(f"download {name}", size) as advance:
                for chunk in response.iter_bytes(CHUNK):
                    file.write(chunk)
                    advance(response.num_bytes_downloaded)
        return unfinished.replace(folder / name)
    except httpx.InvalidURL as error:
        raise PipelineError(f"{shown} is no URL: {error}") from None
    except httpx.RequestError as error:
        raise SourceUnavailable(
            f"{shown}: {error or type(error).__name__}. Check the URL and the network, "
            "or download the file yourself and give its path"
        ) from None
    except OSError as error:
        raise PipelineError(f"{unfinished} can't be written: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def without_secrets(source: str) -> str:
    """A URL as it may be shown and stored: no user and password, no signed query."""
    if "://" not in source:
        return source
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def refuse_status(url: str, response: httpx.Response) -> None:
    """Raise what an HTTP status other than success means for us."""
    if response.is_success:
        return
    said = f"{url}: the server says {response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code in TRY_AGAIN:
        raise SourceUnavailable(f"{said}. Try again later")
    raise PipelineError(f"{said}. Is the month published? Check the URL in a browser")


def verify(source: str, path: Path) -> SourceFile:
    """Read a CSV file to its end: gzip's own checksum, and what `SourceFile` holds."""
    digest, csv_bytes = hashlib.sha256(), 0
    try:
        found = path.stat()
        with open_csv(path) as csv:
            refuse_web_page(source, csv.peek(512)[:512])
            while chunk := csv.read(CHUNK):
                digest.update(chunk)
                csv_bytes += len(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise PipelineError(f"{source}: the gzip file is damaged ({error}). Get it anew") from None
    except OSError as error:
        raise PipelineError(
            f"{source}: {error.strerror}. Give an http(s) URL or the path of a CSV file"
        ) from None
    return SourceFile(source, path, found.st_size, found.st_mtime_ns, csv_bytes, digest.hexdigest())


def refuse_web_page(source: str, beginning: bytes) -> None:
    """Servers answer with a page, and status 200, where a log-in or a captcha is asked for."""
    if beginning.lstrip().startswith(b"<"):
        raise PipelineError(
            f"{source} is a web page, not a CSV file. Open it in a browser and look for "
            "the address of the file itself"
        )


def open_csv(path: Path) -> BinaryIO:
    """Open a CSV file for reading its unpacked bytes, told by gzip's magic number, not the name."""
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if is_packed else path.open("rb")


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a job of `total` bytes is: a bar on a terminal, an artifact in Prefect's UI.

    Yields a function that takes the bytes done so far.
    """
    artifact = create_progress_artifact(0.0, description=what)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown = 0.0
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True) as bar:
        job = bar.add_task(what, total=total or None)

        def advance(done: int) -> None:
            nonlocal shown
            bar.update(job, completed=done)
            if total and time.monotonic() - shown > 1:  # an artifact costs a request
                shown = time.monotonic()
                update_progress_artifact(artifact, min(100.0, 100 * done / total))

        yield advance
    update_progress_artifact(artifact, 100.0)


def megabytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e6:,.1f} MB"
