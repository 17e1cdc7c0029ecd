"""Fetch: a URL or a path becomes a verified file on disk.

What a URL names is kept in `downloads` of the data folder. Through a proxy (HTTPS_PROXY) it is the
proxy that connects: then only names and addresses that are a metadata service's from here are
refused.
"""

import contextlib
import fcntl
import hashlib
import ipaddress
import logging
import os
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote

import httpx
from prefect import get_run_logger, runtime, task
from prefect.blocks.system import Secret
from prefect.cache_policies import TASK_SOURCE, CachePolicy

from flows.errors import RETRIES, PipelineError, TransientError, is_url, without_secrets
from flows.progress import megabytes, progress
from flows.settings import DATA
from flows.tlc.formats import files_of, open_trip_file

FOLDER = DATA / "downloads"
MAX_GIGABYTES = 10.0  # TLC's largest month has 2.5 as CSV
TIMEOUT = httpx.Timeout(30, pool=None)  # of one step; see SLOWEST for the whole
SLOWEST = 10_000  # bytes a second, on average over
WINDOW = 60.0  # seconds
MOST_REDIRECTS = 10
NOT_THERE = {404, 410}
TRY_AGAIN = {403, 408, 416, 425, 429, 500, 502, 503, 504}  # 416: there is nothing left to resume
LONGEST_PAUSE = 120  # seconds that a server may have us wait

TLC = "https://d37ci6vzurychx.cloudfront.net/trip-data"
BUCKETS = {"s3": "{bucket}.s3.amazonaws.com", "gs": "storage.googleapis.com/{bucket}"}
WEB_PAGES = (  # the page about a file, and the file
    (r"(https?://github\.com/[^/]+/[^/]+)/blob/(.+)", r"\1/raw/\2"),
    (r"(https?://[^/]+/.+)/-/blob/(.+)", r"\1/-/raw/\2"),  # GitLab
    (r"(https?://huggingface\.co/.+)/blob/(.+)", r"\1/resolve/\2"),
)
# Where clouds hand out a machine's credentials. Nearly all of them are link-local addresses.
METADATA_SERVICES = [
    ipaddress.ip_network(network)
    for network in (
        *("169.254.0.0/16", "fe80::/10"),
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254",  # Google
        "fd00:42::42",  # Scaleway
    )
]
# Networks of IPv6 whose addresses hold one of IPv4, and the number of bits that follow it.
IPV4_WITHIN = [
    (ipaddress.IPv6Network(network), bits)
    for network, bits in (
        ("::ffff:0:0/96", 0),  # mapped, RFC 4291
        ("::/96", 0),  # compatible, RFC 4291
        ("::ffff:0:0:0/96", 0),  # translated, RFC 2765
        ("64:ff9b::/96", 0),  # NAT64, RFC 6052
        ("64:ff9b:1::/48", 0),  # NAT64, RFC 8215
        ("2002::/16", 80),  # 6to4, RFC 3056
    )
]

logging.getLogger("httpx").setLevel(logging.WARNING)  # below that it logs URLs with passwords


class NotPublished(PipelineError):
    """The source does not have the file."""


class SourceUnavailable(TransientError):
    """The source did not deliver, and may in a moment."""


class Forbidden(SourceUnavailable):
    """The source does not have the file, or had too many requests: TLC's says the same of both."""


@dataclass(frozen=True)
class SourceFile:
    """A file of trips on disk that has been read to its end once; or a month's folder of them.

    Its content is the unpacked CSV where gzip has packed it, else the file as it is.
    """

    source: str  # the URL or path that was asked for, without its secrets
    path: Path
    bytes: int  # on disk
    content_bytes: int
    sha256: str  # of the content, so that packing it again does not make it another file
    etag: str | None = None  # what the server calls this version of the file
    last_modified: str | None = None  # as the server writes it


@task(
    name="fetch",
    task_run_name=lambda: f"fetch {file_name(runtime.task_run.parameters['source'])}",
    cache_policy=TASK_SOURCE + CachePolicy.from_cache_key_fn(lambda _, given: cache_key(**given)),
    cache_expiration=timedelta(days=1),
    **RETRIES,
)
def fetch(source: str, folder: Path = FOLDER, max_gigabytes: float = MAX_GIGABYTES) -> SourceFile:
    """Get a file of trips, and read it once to its end.

    What an http(s) URL names is downloaded into `folder`; a file is used where it is, and its
    path must be absolute; a folder or a pattern stands for all its files. `{secret:name}` in a URL
    is the value of Prefect's Secret block of that name, which is looked up when the server is
    asked, and kept nowhere.

    Raises:
        SourceUnavailable: the host can't be reached, breaks off, or is overloaded.
        NotPublished: the source does not have the file.
        PipelineError: it is not a whole file of trips, or its content is larger than
            `max_gigabytes`. A download is deleted then.
    """
    shown = without_secrets(source)
    if is_url(source):
        path, headers = download(source, folder, max_gigabytes)
        try:
            file = verify(shown, path, max_gigabytes, headers)
        except PipelineError:
            path.unlink(missing_ok=True)
            raise
        with contextlib.suppress(OSError):  # without it, the next run fetches the file again
            beside(path, "state").write_text(f"{cache_id(path)}\n{stamp_of(path)}")
    else:
        file = verify(shown, Path(source), max_gigabytes)
    get_run_logger().info(
        "%s: %s, %s of content", shown, megabytes(file.bytes), megabytes(file.content_bytes)
    )
    return file


def cache_key(source: str, folder: Path, max_gigabytes: float) -> str:
    """What a result in the cache rests on: the file on disk, by its size and time.

    Those of a download are not known before it is there. So an id takes their place, until the
    file is found to have gone or changed.
    """
    if not is_url(source):
        stamp = stamp_of(Path(source))
    else:
        path = place_of(source, folder)
        stamp = cache_id(path)
        if not stamp or read(beside(path, "state")) != f"{stamp}\n{stamp_of(path)}":
            stamp = uuid.uuid4().hex
            with contextlib.suppress(OSError):  # `download` says it
                path.parent.mkdir(parents=True, exist_ok=True)
                beside(path, "state").write_text(stamp)
    return f"{source} {folder} {max_gigabytes} {stamp}"


def cache_id(path: Path) -> str:
    """What stands for a download in the cache's keys."""
    return read(beside(path, "state")).partition("\n")[0]


def stamp_of(path: Path) -> str:
    """The size and time of each file that a path stands for; nothing where there is none."""
    try:
        found = [file.stat() for file in files_of(path)]
    except (OSError, ValueError):  # ValueError: a NUL byte in the path
        return ""
    return " ".join(f"{one.st_size} {one.st_mtime_ns}" for one in found)


def read(path: Path) -> str:
    """A small file's text; nothing where there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""


def place_of(url: str, folder: Path) -> Path:
    """Where the content of a URL is kept."""
    return folder / hashlib.sha256(url.encode()).hexdigest()[:12] / file_name(url)


def beside(path: Path, suffix: str) -> Path:
    """A file that belongs to a download."""
    return path.with_name(f"{path.name}.{suffix}")


def file_name(source: str) -> str:
    """The last part of a URL or path, fit for a name on any disk."""
    return re.sub(r"[^\w.-]", "_", without_secrets(source).rpartition("/")[2])[-100:] or "download"


@dataclass(frozen=True)
class Published:
    """What a source says of a file without sending it."""

    bytes: int | None = None
    etag: str | None = None
    last_modified: str | None = None


def probe(source: str) -> Published | None:
    """What the source says of a file; None if it says clearly that it has none.

    Raises:
        Forbidden: it has none, or there were too many requests.
        SourceUnavailable: it says nothing.
        PipelineError: the URL can't be a file's.
    """
    if not is_url(source):
        try:
            sizes = [file.stat().st_size for file in files_of(Path(source))]
        except OSError:
            return None
        return Published(sum(sizes)) if sizes else None
    check(source)
    shown = without_secrets(source)
    try:
        # One byte, and not HEAD: an address that is signed for GET refuses anything else.
        with ask(source, {"Range": "bytes=0-0"}) as response:
            if response.status_code in NOT_THERE:
                return None
            if response.status_code not in (200, 206):
                refused = Forbidden if response.status_code == 403 else SourceUnavailable
                raise refused(
                    f"{shown}: the server says {response.status_code} {response.reason_phrase}"
                )
            headers = response.headers
            _, _, whole = headers.get("Content-Range", "").rpartition("/")
            size = whole if response.status_code == 206 else headers.get("Content-Length", "")
            return Published(
                int(size) if size.isdecimal() else None,
                headers.get("ETag"),
                headers.get("Last-Modified"),
            )
    except httpx.HTTPError as error:
        raise SourceUnavailable(f"{shown}: {error or type(error).__name__}") from None


def check(url: str) -> None:
    """Refuse a URL that can't be a file's, and say which one can.

    Raises:
        PipelineError: it is of another kind than http(s), malformed, or that of a web page.
    """
    shown = without_secrets(url)[:200]
    scheme, _, place = shown.partition("://")
    bucket, _, key = place.partition("/")
    if scheme == "s3" and bucket == "nyc-tlc":
        name = re.sub(r"\.\w+(\.gz)?$", "", key.rpartition("/")[2]) + ".parquet"
        raise PipelineError(f"{shown}: TLC publishes its files elsewhere now. Try {TLC}/{name}")
    if scheme in BUCKETS:
        address = f"https://{BUCKETS[scheme].format(bucket=bucket)}/{quote(key)}"
        raise PipelineError(f"{shown}: give a public bucket's file as {address}")
    if scheme not in ("http", "https"):
        raise PipelineError(f"{shown}: only http(s) URLs and paths of files can be read")
    try:
        is_valid = bool(re.match("(?i)https?://", url) and httpx.URL(url).host)
    except httpx.InvalidURL:  # its text may have a part of the password
        is_valid = False
    if not is_valid:
        raise PipelineError(
            f"{shown} is not a valid URL. Write it as https://host/path, and special characters "
            "in a user name or password as %XX"
        )
    for page, file in WEB_PAGES:
        if match := re.match(page, shown):
            raise PipelineError(f"{shown} is a web page. The file itself is {match.expand(file)}")


def with_secrets(url: str) -> str:
    """Put the values of Prefect's Secret blocks in the place of `{secret:name}`.

    They are percent-encoded, except in the query, where a value may be a whole signature.

    Raises:
        PipelineError: there is no such block.
    """

    def value(found: re.Match[str]) -> str:
        try:
            block = cast(Secret[Any], Secret.load(found[1]))
        except ValueError:
            raise PipelineError(
                f"{without_secrets(url)}: Prefect has no Secret block {found[1]!r}. Make it in "
                "Prefect's UI under Blocks, or correct its name in the source"
            ) from None
        secret = str(block.get())
        return secret if "?" in url[: found.start()] else quote(secret, safe="")

    return re.sub(r"\{secret:([\w-]+)}", value, url)


def download(
    url: str, folder: Path, max_gigabytes: float = MAX_GIGABYTES
) -> tuple[Path, httpx.Headers]:
    """Stream a URL to disk. The file has its name only when all of it is there.

    An interrupted download resumes, if the server still has the same file; what is refused is
    deleted. Returns the file and what the server says about it.
    """
    check(url)
    path = place_of(url, folder)
    unfinished, version = beside(path, "part"), beside(path, "version")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be at the same file
            try:
                with unfinished.open("ab") as file:
                    headers = stream(url, file, version, max_gigabytes)
            except TransientError:
                raise
            except PipelineError:
                unfinished.unlink(missing_ok=True)
                version.unlink(missing_ok=True)
                raise
            version.unlink(missing_ok=True)
            return unfinished.replace(path), headers
    except OSError as error:
        raise PipelineError(
            f"{unfinished} can't be written: {error.strerror}. Make room, or give the path of a "
            "file that you have downloaded elsewhere"
        ) from None


def stream(url: str, file: BinaryIO, version: Path, max_gigabytes: float) -> httpx.Headers:
    """Append to a file what it lacks of a URL's content; start over if that is another by now.

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
            refuse_size(shown, size, max_gigabytes)
            with progress(f"download {file_name(url)}", size) as advance:
                began, before = time.monotonic(), 0
                for chunk in response.iter_raw():  # as it comes, to keep all that has come
                    came = response.num_bytes_downloaded
                    refuse_size(shown, have + came, max_gigabytes)
                    file.write(chunk)
                    advance(have + came)
                    seconds = time.monotonic() - began
                    if seconds > WINDOW:
                        if came - before < SLOWEST * seconds:
                            raise SourceUnavailable(
                                f"{shown}: {came - before:,} bytes in {seconds:.0f} s is too slow. "
                                "Try again later, or download the file yourself and give its path"
                            )
                        began, before = time.monotonic(), came
            return response.headers
    except httpx.HTTPError as error:
        raise SourceUnavailable(
            f"{shown}: {error or type(error).__name__}. Check the URL and the network, "
            "or download the file yourself and give its path"
        ) from None


def refuse_size(source: str, size: int, max_gigabytes: float) -> None:
    """Raise a `PipelineError` for more bytes than a file may have."""
    if size > max_gigabytes * 1e9:
        raise PipelineError(
            f"{source}: more than {max_gigabytes:g} GB. "
            "If that is right, allow more with limits.gigabytes"
        )


@contextmanager
def ask(url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """Ask for a URL, following redirects; yields the answer before its content."""
    # Packed for the way, a file would have another size each time: no resuming then.
    headers = {"Accept-Encoding": "identity"} | headers
    hooks = {"request": [refuse_name]}
    line = Line()
    with httpx.Client(
        event_hooks=hooks,
        timeout=TIMEOUT,
        max_redirects=MOST_REDIRECTS,
        verify=known_authorities(),
    ) as client:
        request = client.build_request(
            "GET", with_secrets(url), headers=headers, extensions={"trace": line.on_event}
        )
        with line.closed_after(WINDOW):
            response = client.send(request, stream=True, follow_redirects=True)
        with contextlib.closing(response):
            yield response


@cache
def known_authorities() -> ssl.SSLContext:
    """The certificates that servers are checked by, read once: there are hundreds."""
    return httpx.create_ssl_context()


class Line:
    """The connections of a request, each seen before anything is sent over it."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None

    def on_event(self, name: str, info: dict[str, Any]) -> None:
        """Refuse the address that is connected to, whatever a name resolved to before."""
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            stream = info["return_value"]
            self.socket = stream.get_extra_info("socket")
            try:
                refuse_address(stream.get_extra_info("server_addr")[0])
            except PipelineError:
                stream.close()
                raise

    @contextmanager
    def closed_after(self, seconds: float) -> Iterator[None]:
        """Hang up on a server whose answer comes byte by byte: each is within the time-out."""
        timer = threading.Timer(seconds, self.hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def hang_up(self) -> None:
        """End the connection, so that whoever reads from it stops."""
        if self.socket:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)


def refuse_name(request: httpx.Request) -> None:
    """Refuse a host that resolves to a metadata service; redirects come through here too."""
    try:
        found = socket.getaddrinfo(request.url.host, request.url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return  # httpx says it better
    for *_, address in found:
        refuse_address(str(address[0]))


def refuse_address(address: str) -> None:
    """Refuse a cloud's metadata service, which hands out the machine's credentials.

    Raises:
        PipelineError: the address is one, in whatever way it is written.
    """
    given = ipaddress.ip_address(address.partition("%")[0])
    meant: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [given]
    if isinstance(given, ipaddress.IPv6Address):
        meant += [
            ipaddress.IPv4Address(int(given) >> bits & 0xFFFFFFFF)
            for network, bits in IPV4_WITHIN
            if given in network
        ]
        meant += given.teredo or ()  # its server and its client, RFC 4380
    if any(one in network for one in meant for network in METADATA_SERVICES):
        raise PipelineError(f"{address} is a metadata service's address, not a source")


def refuse_status(url: str, response: httpx.Response) -> None:
    """Raise what an HTTP status other than success means for us."""
    if response.status_code == 200:
        return
    reason = f"{url}: the server says {response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code in TRY_AGAIN:
        pause = response.headers.get("Retry-After", "")
        if pause.isdecimal():  # it may be a date as well, and then our own pauses have to do
            time.sleep(min(int(pause), LONGEST_PAUSE))
        if response.status_code == 403:
            raise Forbidden(
                f"{reason}: the month is not published, or there were too many requests. "
                "Try again later, or check the URL in a browser"
            )
        raise SourceUnavailable(f"{reason}. Try again later")
    if response.status_code in NOT_THERE:
        raise NotPublished(f"{reason}. Is the month published? Check the URL in a browser")
    raise PipelineError(f"{reason}. Check the URL in a browser")


def strong_validator(response: httpx.Response) -> str:
    """What names the content so that the rest may be asked for later; nothing if that is vague."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else str(response.headers.get("Last-Modified", ""))


def verify(
    source: str,
    path: Path,
    max_gigabytes: float = MAX_GIGABYTES,
    headers: Mapping[str, str] | None = None,
) -> SourceFile:
    """Read a file of trips to its end: its columns, gzip's own checksum, and what it holds.

    Of a folder or a pattern, all files of it.

    Raises:
        NotPublished: there is no such file.
        PipelineError: it is not a whole file of trips, or too large.
    """
    headers = headers or {}
    try:
        size = sum(file.stat().st_size for file in files_of(path))
        with open_trip_file(path, source) as trips:
            refuse_size(source, trips.text_bytes, max_gigabytes)
            for read in trips.read_through():
                refuse_size(source, read, max_gigabytes)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in a path
        reason = getattr(error, "strerror", None) or error
        problem = NotPublished if isinstance(error, FileNotFoundError) else PipelineError
        raise problem(f"{source[:200]}: {reason}. Give an http(s) URL or a file's path") from None
    return SourceFile(
        *(source, path, size, trips.bytes_read, trips.sha256),
        *(headers.get("ETag"), headers.get("Last-Modified")),
    )
