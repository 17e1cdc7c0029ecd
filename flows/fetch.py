"""Extract: a URL or a path becomes a verified file on disk."""

import fcntl
import gzip
import hashlib
import ipaddress
import os
import re
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import httpx
from prefect import get_run_logger, runtime, task
from prefect.cache_policies import INPUTS, TASK_SOURCE

from flows.errors import RETRIES, PipelineError, TransientError, without_secrets
from flows.formats import open_csv, refuse_web_page
from flows.progress import megabytes, progress
from flows.settings import ROOT

FOLDER = ROOT / "data" / "downloads"
MAX_CSV_GIGABYTES = 10.0  # TLC's largest month has 2.5
CHUNK = 1 << 20
TIMEOUT = httpx.Timeout(30, pool=None)
MOST_REDIRECTS = 10
NOT_THERE = {403, 404, 410}  # a bucket that may not be listed says 403 of what it does not have
TRY_AGAIN = {408, 416, 425, 429, 500, 502, 503, 504}  # 416: there is no rest to go on with
METADATA_SERVICES = {"100.100.100.200", "fd00:ec2::254"}  # those that are not link-local
LONGEST_PAUSE = 120  # seconds that a server may have us wait


class NotPublished(PipelineError):
    """The source does not have the file."""


class SourceUnavailable(TransientError):
    """The source did not deliver, and may in a moment."""


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


def file_name(source: str) -> str:
    """The last part of a URL or path, fit for a name on any disk."""
    path = re.split(r"[?#]", source, maxsplit=1)[0] if "://" in source else source
    return re.sub(r"[^\w.-]", "_", path.rpartition("/")[2])[-100:] or "download"


@task(
    name="extract",
    task_run_name=lambda: f"extract {file_name(runtime.task_run.parameters['source'])}",
    cache_policy=TASK_SOURCE + INPUTS,
    cache_expiration=timedelta(days=1),
    **RETRIES,
)
def extract(
    source: str, folder: Path = FOLDER, max_csv_gigabytes: float = MAX_CSV_GIGABYTES
) -> SourceFile:
    """Get a CSV file, packed with gzip or not, and read it once to its end.

    What an http(s) URL names is downloaded into `folder`; a file is used where it is, and its
    path must be absolute, since the cache takes the same path for the same file.

    Raises:
        SourceUnavailable: the host can't be reached, breaks off, or is overloaded.
        NotPublished: the source does not have the file.
        PipelineError: it is not a whole CSV, or one of more than `max_csv_gigabytes`.
    """
    shown = without_secrets(source)
    path = download(source, folder) if is_url(source) else Path(source)
    file = verify(shown, path, max_csv_gigabytes)
    get_run_logger().info(
        "%s: %s, %s of CSV", shown, megabytes(file.bytes), megabytes(file.csv_bytes)
    )
    return file


def is_published(source: str) -> bool:
    """Whether the source has the file, by the first thing that its server says.

    Only a clear no is one: what else may be wrong is for `extract` to find out and to say.
    """
    if not is_url(source):
        return Path(source).exists()
    try:
        with ask(source, {}) as response:
            return response.status_code not in NOT_THERE
    except httpx.HTTPError:
        return True


def is_url(source: str) -> bool:
    """Whether a source is an http(s) URL and not a path.

    Raises:
        PipelineError: it is a URL of another kind, or none.
    """
    if "://" not in source:
        return False
    try:
        scheme = httpx.URL(source).scheme
    except httpx.InvalidURL as error:
        raise PipelineError(f"{without_secrets(source)[:100]} is no URL: {error}") from None
    if scheme not in ("http", "https"):
        raise PipelineError(
            f"{without_secrets(source)[:100]}: only http(s) URLs and paths of files can be read"
        )
    return True


def download(url: str, folder: Path) -> Path:
    """Stream a URL to disk. The file has its name only when all of it is there.

    What a try that broke off has left is gone on with, if the server still has the same file.
    """
    name = file_name(url)
    folder = folder / hashlib.sha256(url.encode()).hexdigest()[:12]
    unfinished, version = folder / f"{name}.part", folder / f"{name}.version"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be at the same file
            with unfinished.open("ab") as file:
                fetch(url, file, version)
            version.unlink(missing_ok=True)
            return unfinished.replace(folder / name)
    except OSError as error:
        raise PipelineError(
            f"{unfinished} can't be written: {error.strerror}. Make room, or give the path of a "
            "file that you have downloaded elsewhere"
        ) from None


def fetch(url: str, file: BinaryIO, version: Path) -> None:
    """Append to a file what it lacks of a URL's content; start anew if that is another by now.

    `version` keeps what the server calls the content that the file's beginning is of.
    """
    shown = without_secrets(url)
    have = os.fstat(file.fileno()).st_size
    # RFC 9110, If-Range: the rest is sent if the file is the same, the whole of it if not.
    known = version.read_text() if have and version.exists() else ""
    headers = {"Range": f"bytes={have}-", "If-Range": known} if known else {}
    try:
        with ask(url, headers) as response:
            is_rest = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if not (response.status_code == 206 and known and is_rest):
                if response.status_code in (200, 416):
                    file.truncate(0)
                    have = 0
                refuse_status(shown, response)
                version.write_text(strong_validator(response))
            size = have + int(response.headers.get("Content-Length") or 0)
            with progress(f"download {file_name(url)}", size) as advance:
                for chunk in response.iter_raw():  # as it comes, to keep all that has come
                    file.write(chunk)
                    advance(have + response.num_bytes_downloaded)
    except httpx.HTTPError as error:
        raise SourceUnavailable(
            f"{shown}: {error or type(error).__name__}. Check the URL and the network, "
            "or download the file yourself and give its path"
        ) from None


@contextmanager
def ask(url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """Ask for a URL, following redirects; yields the answer before its content."""
    hooks = {"request": [refuse_metadata_service]}
    # Packed for the way, a file would have another size each time: no resuming then.
    headers = {"Accept-Encoding": "identity"} | headers
    with (
        httpx.Client(event_hooks=hooks, timeout=TIMEOUT, max_redirects=MOST_REDIRECTS) as client,
        client.stream("GET", url, headers=headers, follow_redirects=True) as response,
    ):
        yield response


def refuse_metadata_service(request: httpx.Request) -> None:
    """Refuse to ask a cloud's metadata service, which hands out the machine's credentials.

    Nearly all of them are at link-local addresses. Redirects come through here too.
    """
    try:
        found = socket.getaddrinfo(request.url.host, request.url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return  # httpx says it better
    addresses = [ipaddress.ip_address(address[0]) for *_, address in found]
    addresses = [getattr(address, "ipv4_mapped", None) or address for address in addresses]
    if any(address.is_link_local or str(address) in METADATA_SERVICES for address in addresses):
        raise PipelineError(f"{request.url.host} is a metadata service's address, not a source")


def refuse_status(url: str, response: httpx.Response) -> None:
    """Raise what an HTTP status other than success means for us."""
    if response.status_code == 200:
        return
    said = f"{url}: the server says {response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code in TRY_AGAIN:
        pause = response.headers.get("Retry-After", "")
        if pause.isdecimal():  # it may be a date as well, and then our own pauses have to do
            time.sleep(min(int(pause), LONGEST_PAUSE))
        raise SourceUnavailable(f"{said}. Try again later")
    if response.status_code in NOT_THERE:
        raise NotPublished(f"{said}. Is the month published? Check the URL in a browser")
    raise PipelineError(f"{said}. Check the URL in a browser")


def strong_validator(response: httpx.Response) -> str:
    """What names the content so that the rest may be asked for later; nothing if that is vague."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def verify(source: str, path: Path, max_csv_gigabytes: float = MAX_CSV_GIGABYTES) -> SourceFile:
    """Read a CSV file to its end: gzip's own checksum, and what `SourceFile` holds."""
    digest, csv_bytes = hashlib.sha256(), 0
    try:
        found = path.stat()
        if not path.is_file():
            raise PipelineError(f"{source} is no file. Give an http(s) URL or the path of a CSV")
        with open_csv(path) as csv:
            refuse_web_page(source, csv.peek(512)[:512])
            while chunk := csv.read(CHUNK):
                digest.update(chunk)
                csv_bytes += len(chunk)
                if csv_bytes > max_csv_gigabytes * 1e9:
                    raise PipelineError(
                        f"{source}: more than {max_csv_gigabytes:g} GB of CSV. "
                        "If that is right, allow more with limits.gigabytes"
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise PipelineError(f"{source}: the gzip file is damaged ({error}). Get it anew") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in a path
        said = getattr(error, "strerror", None) or error
        problem = NotPublished if isinstance(error, FileNotFoundError) else PipelineError
        raise problem(f"{source[:200]}: {said}. Give an http(s) URL or the path of a CSV") from None
    return SourceFile(source, path, found.st_size, found.st_mtime_ns, csv_bytes, digest.hexdigest())
