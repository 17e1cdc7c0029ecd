"""Fetch: a URL or a path becomes a verified file on disk.

What a URL names is kept in `downloads` of the data folder, in its newest version, and downloaded
again only where the source has another one. Through a proxy (HTTPS_PROXY) it is the proxy that
connects: then only names and addresses that are a metadata service's from here are refused.
"""

import contextlib
import fcntl
import hashlib
import ipaddress
import logging
import os
import re
import shutil
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx
from prefect import get_run_logger, runtime, task
from prefect.blocks.system import Secret
from prefect.cache_policies import CachePolicy

from flows.errors import ONLY_LOG, RETRIES, PipelineError, TransientError, is_url, without_secrets
from flows.progress import megabytes, progress
from flows.settings import DATA
from flows.tlc.formats import files_of, open_trip_file

FOLDER = DATA / "downloads"
MAX_GIGABYTES = 10.0  # TLC's largest month has 2.5 as CSV
TIMEOUT = httpx.Timeout(30, connect=10, pool=None)  # of one step; see SLOWEST for the whole
SLOWEST = 10_000  # bytes a second, on average over
WINDOW = 60.0  # seconds
MOST_REDIRECTS = 10
NOT_THERE = {404, 410}
TRY_AGAIN = {403, 408, 416, 425, 429, 500, 502, 503, 504}  # 416: there is nothing left to resume
LONGEST_PAUSE = 120  # seconds that a server may have us wait
MOST_UNANSWERED = 3  # requests in a row, before a host is given up

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


class NoAnswer(SourceUnavailable):
    """The source's server says nothing at all."""


class Unreachable(NoAnswer):
    """No connection to the source's server can be made."""

    most_retries = 1  # it may have been a moment's; else there is no network, or no such host


@dataclass(frozen=True)
class Published:
    """What a source says of a file without sending it. Together it is the file's version there."""

    bytes: int | None = None
    etag: str | None = None  # as the server writes it; of a path, a hash of sizes and times
    last_modified: str | None = None  # as the server writes it


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
    etag: str | None = None  # what the source calls this version of the file
    last_modified: str | None = None  # as `Published` has it


def get_file(
    source: str,
    max_gigabytes: float = MAX_GIGABYTES,
    force: bool = False,
    folder: Path = FOLDER,
) -> SourceFile:
    """Fetch a file of trips in the version that its source has now.

    Prefect's cache answers for a day, unless `force` is given or the file has gone from the disk.

    Raises:
        PipelineError: as `fetch` does.
    """
    version: Published | None = None
    with contextlib.suppress(PipelineError):  # `fetch` meets it again, retries it and says it
        version = probe(source)
    is_there = not is_url(source) or is_kept(place_of(source, folder, version), version)
    latest = fetch.with_options(refresh_cache=force or not is_there)
    return latest(source, version, max_gigabytes, folder)


@task(
    name="fetch",
    task_run_name=lambda: f"fetch {file_name(runtime.task_run.parameters['source'])}",
    cache_policy=CachePolicy.from_cache_key_fn(lambda _, given: cache_key(**given)),
    cache_expiration=timedelta(days=1),
    **RETRIES,
)
def fetch(
    source: str,
    version: Published | None = None,
    max_gigabytes: float = MAX_GIGABYTES,
    folder: Path = FOLDER,
) -> SourceFile:
    """Get a file of trips, and read it once to its end.

    What an http(s) URL names is downloaded into `folder`, unless this version of it is there; a
    file is used where it is, and its path must be absolute; a folder or a pattern stands for all
    its files. `{secret:name}` in a URL is the value of Prefect's Secret block of that name, which
    is looked up when the server is asked, and kept nowhere.

    Args:
        source: The URL or path.
        version: What the source says that it has now; None where it has not said.
        max_gigabytes: How large the content may be when unpacked.
        folder: Where downloads are kept.

    Raises:
        SourceUnavailable: the host can't be reached, breaks off, or is overloaded.
        NotPublished: the source does not have the file.
        PipelineError: it is not a whole file of trips, or its content is larger than
            `max_gigabytes`. A download is deleted then.
    """
    shown = without_secrets(source)
    if is_url(source):
        path = download(source, version, max_gigabytes, folder)
        try:
            file = verify(shown, path, max_gigabytes, version)
        except PipelineError:
            path.unlink(missing_ok=True)
            raise
    else:
        file = verify(shown, Path(source), max_gigabytes, version)
    get_run_logger().info(
        "%s: %s, %s of content",
        *(shown, megabytes(file.bytes), megabytes(file.content_bytes)),
        extra={} if is_url(source) else ONLY_LOG,  # a file that is here took no time
    )
    return file


def cache_key(
    source: str, version: Published | None, max_gigabytes: float, folder: Path
) -> str | None:
    """What a result in the cache rests on; nothing is cached where the version is not known."""
    given = f"{source} {folder} {max_gigabytes} {version}"
    return hashlib.sha256(given.encode()).hexdigest() if version else None


def place_of(url: str, folder: Path, version: Published | None) -> Path:
    """Where a version of a URL's content is kept."""
    hashes = (hashlib.sha256(part.encode()).hexdigest()[:12] for part in (url, repr(version)))
    return folder.joinpath(*hashes, file_name(url))


def is_kept(path: Path, version: Published | None) -> bool:
    """Whether all of a version is on disk."""
    return bool(version and path.exists() and version.bytes in (None, path.stat().st_size))


def part_of(path: Path) -> Path:
    """Where a download waits until all of it is there."""
    return path.with_name(f"{path.name}.part")


def file_name(source: str) -> str:
    """The last part of a URL or path, fit for a name on any disk."""
    return re.sub(r"[^\w.-]", "_", without_secrets(source).rpartition("/")[2])[-100:] or "download"


def probe(source: str) -> Published | None:
    """What the source says of a file; None if it says clearly that it has none.

    Raises:
        Forbidden: it has none, or there were too many requests.
        SourceUnavailable: it does not say.
        PipelineError: the URL can't be a file's, or the server's certificate is not trusted.
    """
    if not is_url(source):
        try:
            found = [file.stat() for file in files_of(Path(source))]
        except (OSError, ValueError):  # ValueError: a NUL byte in the path
            return None
        stamps = " ".join(f"{one.st_size} {one.st_mtime_ns}" for one in found)
        tag = hashlib.sha256(stamps.encode()).hexdigest()[:12]
        return Published(sum(one.st_size for one in found), tag) if found else None
    check(source)
    shown = without_secrets(source)
    # One byte, and not HEAD: an address that is signed for GET refuses anything else.
    with ask(source, {"Range": "bytes=0-0"}) as response:
        if response.status_code in NOT_THERE:
            return None
        if response.status_code not in (200, 206):
            refused = Forbidden if response.status_code == 403 else SourceUnavailable
            raise refused(
                f"{shown}: the server says {response.status_code} {response.reason_phrase}"
            )
        return said_by(response)


class Silent:
    """Hosts that have left several requests in a row without an answer, and are asked no more."""

    def __init__(self) -> None:
        self.unanswered: Counter[str] = Counter()  # by host
        self.refusal: NoAnswer | None = None  # the last one

    def is_given_up(self, source: str) -> bool:
        """Whether a source's host is one of them."""
        return self.unanswered[host_of(source)] >= MOST_UNANSWERED

    def note(self, source: str, refusal: BaseException | None = None) -> None:
        """Remember how the source's host has answered, or not."""
        if isinstance(refusal, NoAnswer):
            self.unanswered[host_of(source)] += 1
            self.refusal = refusal
        else:
            self.unanswered[host_of(source)] = 0


def host_of(source: str) -> str:
    """The host of a URL, with its port."""
    return without_secrets(source).partition("://")[2].partition("/")[0] if is_url(source) else ""


def said_by(response: httpx.Response) -> Published:
    """What the headers of an answer say of the whole file."""
    headers = response.headers
    _, _, whole = headers.get("Content-Range", "").rpartition("/")
    size = whole if response.status_code == 206 else headers.get("Content-Length", "")
    return Published(
        int(size) if size.isdecimal() else None, headers.get("ETag"), headers.get("Last-Modified")
    )


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
    url: str,
    version: Published | None,
    max_gigabytes: float = MAX_GIGABYTES,
    folder: Path = FOLDER,
) -> Path:
    """Have a URL's content on disk. The file has its name only when all of it is there.

    A version that is kept is not downloaded again, an interrupted download resumes if the server
    still has the same version, and what is refused is deleted. So are older versions, once the new
    one is there.
    """
    check(url)
    path = place_of(url, folder, version)
    versions = path.parent.parent
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (versions / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be at the same file
            is_told_apart = version and (version.etag or version.last_modified)
            if not (is_told_apart and is_kept(path, version)):
                try:
                    stream(url, path, version, max_gigabytes).replace(path)
                except TransientError:
                    raise
                except PipelineError:
                    delete_parts(versions)
                    raise
                delete_parts(versions)
                delete_others(versions, path.parent)
            return path
    except OSError as error:
        raise PipelineError(
            f"{path} can't be written: {error.strerror}. Make room, or give the path of a "
            "file that you have downloaded elsewhere"
        ) from None


def delete_parts(versions: Path) -> None:
    """Delete what has come of a URL's content and is not to be resumed."""
    for unfinished in versions.glob("*/*.part"):
        unfinished.unlink()


def delete_others(versions: Path, kept: Path) -> None:
    """Delete all versions of a URL's content but one."""
    for other in versions.iterdir():
        if other.is_dir() and other != kept:
            shutil.rmtree(other)
        elif other.is_file() and other.name != "lock":  # the download of an earlier release
            other.unlink()


def stream(url: str, path: Path, version: Published | None, max_gigabytes: float) -> Path:
    """Download what is not there yet of a URL's content; returns the file that all of it is in."""
    shown = without_secrets(url)
    known, unfinished = validator_of(version), part_of(path)
    have = unfinished.stat().st_size if known and unfinished.exists() else 0
    if version and have == version.bytes:  # it was killed before it could give the file its name
        return unfinished
    # RFC 9110, If-Range: the rest is sent if the file is the same, the whole of it if not.
    headers = {"Range": f"bytes={have}-", "If-Range": known} if have else {}
    try:
        with ask(url, headers) as response:
            is_rest = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if not (response.status_code == 206 and have and is_rest):
                if response.status_code == 416:  # there is nothing left to resume
                    unfinished.unlink(missing_ok=True)
                refuse_status(shown, response)
                have = 0
                if validator_of(said_by(response)) != known:  # nothing of it may be resumed
                    unfinished = unfinished.with_name("other.part")
            size = have + int(response.headers.get("Content-Length") or 0)
            refuse_size(shown, size, max_gigabytes)
            with (
                unfinished.open("ab" if have else "wb") as file,
                progress(f"download {file_name(url)}", size) as advance,
            ):
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
            return unfinished
    except httpx.HTTPError as error:
        raise explained(error, url, SourceUnavailable) from None


def explained(
    error: httpx.HTTPError, url: str, otherwise: type[SourceUnavailable]
) -> PipelineError:
    """A request that has failed, in one line; of a class of its own if there is no connection."""
    source = without_secrets(url)
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return PipelineError(
                f"{source}: the server's certificate is not trusted: {cause.verify_message}. If "
                "your network has an authority of its own, name the file of its certificate, in "
                "PEM, in SSL_CERT_FILE"
            )
        cause = cause.__cause__ or cause.__context__
    kind = otherwise
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        kind = Unreachable
    elif not isinstance(error, httpx.TransportError):  # too many redirects
        kind = SourceUnavailable
    return kind(
        f"{source}: {error or type(error).__name__}. Check the URL and the network, "
        "or download the file yourself and give its path"
    )


def refuse_size(source: str, size: int, max_gigabytes: float) -> None:
    """Raise a `PipelineError` for more bytes than a file may have."""
    if size > max_gigabytes * 1e9:
        raise PipelineError(
            f"{source}: more than {max_gigabytes:g} GB. "
            "If that is right, allow more with limits.gigabytes"
        )


@contextmanager
def ask(url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """Ask for a URL, following redirects; yields the answer before its content.

    Raises:
        NoAnswer: there is none.
        PipelineError: the server's certificate is not trusted, or its address is refused.
    """
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
        try:
            with line.closed_after(WINDOW):
                response = client.send(request, stream=True, follow_redirects=True)
        except httpx.HTTPError as error:
            raise explained(error, url, NoAnswer) from None
        with contextlib.closing(response):
            yield response


@cache
def known_authorities() -> ssl.SSLContext:
    """The certificates that servers are checked by, read once: there are hundreds.

    Raises:
        PipelineError: those that SSL_CERT_FILE names can't be read.
    """
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise PipelineError(
            f"SSL_CERT_FILE is {os.environ.get('SSL_CERT_FILE')!r}: {error}. Name a file of "
            "certificates in PEM, or take the setting out"
        ) from None


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


def validator_of(version: Published | None) -> str:
    """What names the content so that the rest may be asked for later; nothing if that is vague."""
    tag = (version and version.etag) or ""
    return tag if tag.startswith('"') else (version and version.last_modified) or ""


def verify(
    source: str,
    path: Path,
    max_gigabytes: float = MAX_GIGABYTES,
    version: Published | None = None,
) -> SourceFile:
    """Read a file of trips to its end: its columns, gzip's own checksum, and what it holds.

    Of a folder or a pattern, all files of it.

    Raises:
        NotPublished: there is no such file.
        PipelineError: it is not a whole file of trips, or too large.
    """
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
        *((version.etag, version.last_modified) if version else ()),
    )
