"""URLs and paths: what is fetched, what is refused, and what is fetched again."""

import gzip
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import httpx
import pytest
from prefect import flow
from prefect.blocks.system import Secret

from flows.errors import PipelineError, TransientError
from flows.tlc import download as module
from flows.tlc.download import (
    Forbidden,
    NoAnswer,
    Published,
    SourceUnavailable,
    Unreachable,
    cache_key,
    download,
    fetch,
    get_file,
    known_authorities,
    place_of,
    probe,
    refuse_address,
    verify,
    with_secrets,
)
from flows.tlc.formats import open_content

CSV = b"VendorID,passenger_count\n" + b"1,2\n" * 1_000
PACKED = gzip.compress(CSV, mtime=0)


class Site(ThreadingHTTPServer):
    """A web server on this machine: `pages[path]` is a status, a body and headers.

    `cuts` are the numbers of bytes after which the next answers break off; where a page has an
    ETag or a Last-Modified, the rest can be asked for. `drips[path]` is what is sent at once, and
    the seconds between the bytes that follow one by one. `requests` are the headers of those for
    a whole file or its rest, and `probes` of those for its first byte.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.requests, self.probes, self.cuts, self.drips = {}, [], [], [], {}
        self.hung_up = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        site = self.server
        if self.path in site.drips:
            return self.drip(*site.drips[self.path])
        status, body, headers = site.pages[self.path]
        if self.headers["Range"] == "bytes=0-0":
            site.probes.append(self.headers)
            return self.answer_probe(status, body, headers)
        site.requests.append(self.headers)
        headers = {"Content-Length": str(len(body))} | headers
        versions = {headers.get("ETag"), headers.get("Last-Modified")} - {None}
        if self.headers["If-Range"] in versions:
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
            status, body = (206, body[begin:]) if begin < len(body) else (416, b"")
            headers["Content-Length"] = str(len(body))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)

    def answer_probe(self, status, body, headers):
        """Send the first byte, and what the whole has, as a server does that knows ranges."""
        if status == 200:
            whole = headers.get("Content-Length", len(body))
            headers = headers | {"Content-Range": f"bytes 0-0/{whole}"}
            status, body = 206, body[:1]
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, at_once: bytes, seconds: float):
        """Send some bytes at once, and then one at a time, until the other side hangs up."""
        try:
            self.wfile.write(at_once)
            while True:
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(seconds)
        except OSError:
            self.server.hung_up.set()

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    site = Site()
    threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True).start()
    yield site
    site.shutdown()
    site.server_close()


@pytest.fixture
def without_waiting(monkeypatch):
    """The same retries, at once."""
    monkeypatch.setattr(fetch, "retry_delay_seconds", [0, 0, 0])


@pytest.fixture
def states(monkeypatch):
    """The names of the states in which the task `fetch` has ended, as Prefect's pages show them."""
    states = []
    remember = [lambda task, run, state: states.append(state.name)]
    monkeypatch.setattr(fetch, "on_completion_hooks", remember)
    return states


def get(url, folder, max_gigabytes=1.0):
    return download(url, version_of(url), max_gigabytes, folder)


def version_of(url):
    try:
        return probe(url)
    except PipelineError:
        return None


def files_in(folder) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def test_a_packed_and_a_plain_file_have_the_same_content(tmp_path):
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / "b.csv.gz").write_bytes(PACKED)
    plain, packed = (verify(name, tmp_path / name) for name in ("a.csv", "b.csv.gz"))
    assert plain.sha256 == packed.sha256
    assert plain.content_bytes == packed.content_bytes == len(CSV)
    assert packed.bytes == len(PACKED)


def test_gzip_is_told_by_the_content_not_by_the_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(PACKED)
    assert open_content(tmp_path / "a.csv").read() == CSV


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PACKED[:-20], "the gzip file is damaged"),
        (PACKED[:100] + b"x" + PACKED[101:], "the gzip file is damaged"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "is a web page, not a file of trips"),
    ],
)
def test_a_file_that_is_no_whole_csv_is_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "trips.csv.gz"
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=r"https://example\.com/trips\.csv\.gz") as refusal:
        verify("https://example.com/trips.csv.gz", path)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(PipelineError, match=r"trips.csv: No such file or directory. Give an"):
        verify("trips.csv", tmp_path / "trips.csv")


@pytest.mark.usefixtures("prefect_server")
class TestDownload:
    def test_follows_redirects_and_keeps_the_name(self, site, tmp_path):
        site.pages["/here"] = (302, b"", {"Location": "/files/trips.csv.gz?token=1"})
        site.pages["/files/trips.csv.gz?token=1"] = (200, PACKED, {})
        path = get(f"{site.url}/here", tmp_path)
        assert path.read_bytes() == PACKED

    def test_does_not_let_a_url_choose_the_folder(self, site, tmp_path):
        site.pages["/..%2F..%2Fetc%2Fpasswd"] = (200, PACKED, {})
        path = get(f"{site.url}/..%2F..%2Fetc%2Fpasswd", tmp_path)
        assert path.resolve().is_relative_to(tmp_path)

    def test_says_what_a_missing_page_means(self, site, tmp_path):
        site.pages["/2031-01.csv"] = (404, b"no", {})
        with pytest.raises(PipelineError, match=r"404 Not Found\. Is the month published\?"):
            get(f"{site.url}/2031-01.csv", tmp_path)

    def test_an_interrupted_download_leaves_no_file_under_the_name(self, site, tmp_path):
        site.pages["/trips.csv"] = (200, CSV, {})
        site.cuts = [100]
        with pytest.raises(SourceUnavailable, match="Check the URL and the network"):
            get(f"{site.url}/trips.csv", tmp_path)
        assert list(tmp_path.rglob("trips.csv")) == []

    @pytest.mark.parametrize("version", [{"ETag": '"1"'}, {"Last-Modified": "Fri, 01 Jan 2021"}])
    @pytest.mark.parametrize("cut", [1, 2, len(PACKED) // 2, len(PACKED) - 1])
    def test_goes_on_where_it_broke_off(self, site, tmp_path, cut, version):
        site.pages["/trips.csv.gz"] = (200, PACKED, version)
        site.cuts = [cut]
        with pytest.raises(SourceUnavailable):
            get(f"{site.url}/trips.csv.gz", tmp_path)
        assert get(f"{site.url}/trips.csv.gz", tmp_path).read_bytes() == PACKED
        assert site.requests[1]["Range"] == f"bytes={cut}-"

    @pytest.mark.parametrize("version", [{}, {"ETag": 'W/"1"'}])
    def test_starts_again_where_it_cannot_know_that_the_file_is_the_same(
        self, site, tmp_path, version
    ):
        site.pages["/trips.csv.gz"] = (200, PACKED, version)
        site.cuts = [30]
        with pytest.raises(SourceUnavailable):
            get(f"{site.url}/trips.csv.gz", tmp_path)
        assert get(f"{site.url}/trips.csv.gz", tmp_path).read_bytes() == PACKED
        assert "Range" not in site.requests[1]

    def test_never_joins_the_halves_of_two_files(self, site, tmp_path):
        site.pages["/trips.csv"] = (200, CSV, {"ETag": '"old"'})
        site.cuts = [1_000]
        with pytest.raises(SourceUnavailable):
            get(f"{site.url}/trips.csv", tmp_path)
        site.pages["/trips.csv"] = (200, CSV.upper(), {"ETag": '"new"'})
        assert get(f"{site.url}/trips.csv", tmp_path).read_bytes() == CSV.upper()

    def test_a_download_that_was_killed_before_it_had_its_name_is_whole(self, site, tmp_path):
        site.pages["/trips.csv"] = (200, CSV, {"ETag": '"1"'})
        path = get(f"{site.url}/trips.csv", tmp_path)
        path.rename(path.with_name("trips.csv.part"))
        assert get(f"{site.url}/trips.csv", tmp_path).read_bytes() == CSV
        assert len(site.requests) == 1

    def test_one_that_is_longer_than_the_file_is_fetched_again(self, site, tmp_path):
        """There is no rest to ask for."""
        site.pages["/trips.csv"] = (200, CSV, {"ETag": '"1"'})
        path = get(f"{site.url}/trips.csv", tmp_path)
        path.rename(path.with_name("trips.csv.part"))
        path.with_name("trips.csv.part").write_bytes(CSV + b"x")
        with pytest.raises(SourceUnavailable, match="416"):
            get(f"{site.url}/trips.csv", tmp_path)
        assert get(f"{site.url}/trips.csv", tmp_path).read_bytes() == CSV

    def test_what_came_of_another_version_than_was_asked_for_is_not_resumed(self, site, tmp_path):
        """The file changes between the two questions, there and back."""
        old, new = (200, CSV, {"ETag": '"old"'}), (200, CSV.upper(), {"ETag": '"new"'})
        url = f"{site.url}/trips.csv"
        site.pages["/trips.csv"] = old
        version = version_of(url)
        site.pages["/trips.csv"], site.cuts = new, [1_000]
        with pytest.raises(SourceUnavailable):
            download(url, version, 1.0, tmp_path)
        site.pages["/trips.csv"] = old
        assert download(url, version, 1.0, tmp_path).read_bytes() == CSV
        assert files_in(tmp_path) == ["trips.csv"]

    def test_waits_as_long_as_the_server_says(self, site, tmp_path, monkeypatch):
        pauses = []
        monkeypatch.setattr("time.sleep", pauses.append)
        site.pages["/trips.csv"] = (429, b"", {"Retry-After": "7"})
        with pytest.raises(SourceUnavailable, match="429 Too Many Requests"):
            get(f"{site.url}/trips.csv", tmp_path)
        assert pauses == [7]

    def test_a_server_that_never_answers_is_one_clear_line(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "TIMEOUT", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/trips.csv"
            with pytest.raises(SourceUnavailable, match=r"trips\.csv: timed out"):
                get(url, tmp_path)

    def test_a_file_cut_short_by_a_wrong_length_is_damaged(self, site, tmp_path):
        site.pages["/trips.csv.gz"] = (200, PACKED, {"Content-Length": str(len(PACKED) - 9)})
        path = get(f"{site.url}/trips.csv.gz", tmp_path)
        with pytest.raises(PipelineError, match="the gzip file is damaged"):
            verify("trips.csv.gz", path)

    def test_does_not_follow_redirects_for_ever(self, site, tmp_path):
        site.pages["/a"] = (302, b"", {"Location": "/a"})
        with pytest.raises(PipelineError, match="redirects"):
            get(f"{site.url}/a", tmp_path)

    @pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
    def test_asks_no_metadata_service(self, site, tmp_path, host):
        site.pages["/a"] = (302, b"", {"Location": f"http://{host}/latest"})
        for url in (f"http://{host}/latest/meta-data", f"{site.url}/a"):
            with pytest.raises(PipelineError, match="metadata service"):
                get(url, tmp_path)

    def test_an_unreachable_host_is_one_clear_line(self, tmp_path):
        with pytest.raises(Unreachable, match=r"http://127.0.0.1:9/trips.csv: .*refused"):
            get("http://127.0.0.1:9/trips.csv", tmp_path)

    def test_a_version_that_is_kept_is_not_downloaded_again(self, site, tmp_path):
        site.pages["/trips.csv"] = (200, CSV, {"ETag": 'W/"1"'})
        assert get(f"{site.url}/trips.csv", tmp_path) == get(f"{site.url}/trips.csv", tmp_path)
        assert len(site.requests) == 1

    def test_the_newest_version_alone_is_kept(self, site, tmp_path):
        for tag in ('"1"', '"2"'):
            site.pages["/trips.csv"] = (200, CSV + tag.encode(), {"ETag": tag})
            path = get(f"{site.url}/trips.csv", tmp_path)
        assert path.read_bytes() == CSV + b'"2"'
        assert files_in(tmp_path) == ["trips.csv"]

    def test_what_an_earlier_release_has_left_goes_with_it(self, site, tmp_path):
        site.pages["/trips.csv"] = (200, CSV, {"ETag": '"1"'})
        folder = place_of(f"{site.url}/trips.csv", tmp_path, None).parent.parent
        folder.mkdir(parents=True)
        for name in ("trips.csv", "trips.csv.state", "trips.csv.version", "lock"):
            (folder / name).write_text("")
        get(f"{site.url}/trips.csv", tmp_path)
        assert files_in(tmp_path) == ["trips.csv"]

    def test_without_a_version_nothing_is_taken_for_the_same(self, site, tmp_path):
        site.pages["/trips.csv"] = (200, CSV, {})
        get(f"{site.url}/trips.csv", tmp_path)
        site.pages["/trips.csv"] = (200, CSV.upper(), {})
        assert get(f"{site.url}/trips.csv", tmp_path).read_bytes() == CSV.upper()


@pytest.mark.usefixtures("prefect_server")
class TestTask:
    def test_tries_again_when_the_server_is_overloaded(self, site, tmp_path, without_waiting):
        site.pages["/trips.csv"] = (503, b"", {})

        def recover(*_):
            site.pages["/trips.csv"] = (200, CSV, {})

        url = f"{site.url}/trips.csv"
        file = fetch.with_options(on_running=[recover])(url, folder=tmp_path)
        assert file.path.read_bytes() == CSV

    def test_gives_up_after_three_retries_of_which_a_person_is_told_once(
        self, site, tmp_path, without_waiting, caplog
    ):
        site.pages["/trips.csv"] = (503, b"", {})
        with pytest.raises(SourceUnavailable, match="503 Service Unavailable"):
            fetch(f"{site.url}/trips.csv", folder=tmp_path)
        assert len(site.requests) == 4
        told = [record for record in caplog.records if "Trying again soon" in record.message]
        assert [hasattr(record, "only_log") for record in told] == [True, False, True]

    def test_a_host_that_is_not_there_is_tried_once_more(self, tmp_path, without_waiting, caplog):
        with pytest.raises(Unreachable, match="refused"):
            fetch("http://127.0.0.1:9/trips.csv", folder=tmp_path)
        assert caplog.text.count("Trying again soon") == 1

    def test_does_not_try_again_what_will_not_change(self, site, tmp_path):
        site.pages["/trips.csv"] = (404, b"", {})
        with pytest.raises(PipelineError, match="404"):
            fetch(f"{site.url}/trips.csv", folder=tmp_path)
        assert len(site.requests) == 1

    def test_secrets_in_a_url_are_not_kept(self, site, tmp_path):
        site.pages["/trips.csv?signature=s3cret"] = (200, CSV, {})
        url = f"http://me:hunter2@{site.url[7:]}/trips.csv?signature=s3cret"
        assert fetch(url, folder=tmp_path).source == f"{site.url}/trips.csv"

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("file:///etc/passwd", "only http"),
            ("ftp://host/x.csv", "only http"),
            (
                "s3://nyc-tlc/trip data/yellow_tripdata_2021-01.csv",
                "Try https://d37ci6vzurychx",
            ),
            ("s3://bucket/a b.csv", r"https://bucket\.s3\.amazonaws\.com/a%20b\.csv"),
            ("http://[::1", "is not a valid URL"),
            ("http:/host/x.csv", "is not a valid URL"),
            ("https://me:hun/ter2@host/x.csv", "is not a valid URL"),
            ("https://github.com/a/b/blob/main/x.csv", "github.com/a/b/raw/main/x.csv"),
            ("https://gitlab.com/a/b/-/blob/main/x.csv", "gitlab.com/a/b/-/raw/main/x.csv"),
            ("/dev/zero", "is not a file"),
            ("/no/such\0.csv", "null byte"),
            ("/" + "x" * 10_000, "File name too long"),
            ("$(reboot).csv", "No such file"),
        ],
    )
    def test_only_http_and_paths_of_files_are_sources(self, source, reason):
        with pytest.raises(PipelineError, match=reason) as refusal:
            fetch(source)
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 500
        assert "hun" not in str(refusal.value)
        assert "ter2" not in str(refusal.value)

    def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(self, tmp_path):
        path = tmp_path / "bomb.csv.gz"
        path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 5_000_000))
        with pytest.raises(PipelineError, match=r"more than 0\.01 GB\. If that is right"):
            fetch(str(path), max_gigabytes=0.01)

    @pytest.mark.parametrize("version", [{}, {"ETag": '"1"'}, {"Last-Modified": "Fri, 01 Jan"}])
    def test_a_second_run_is_cached(self, site, tmp_path, states, version):
        site.pages["/trips.csv"] = (200, CSV, version)
        for _ in range(2):
            get_file(f"{site.url}/trips.csv", folder=tmp_path)
        assert states == ["Completed", "Cached"]
        assert len(site.requests) == 1

    def test_the_cache_lasts_a_day(self):
        assert fetch.cache_expiration.total_seconds() == 24 * 60 * 60

    @pytest.mark.parametrize("version", [{"ETag": '"1"'}, {"Last-Modified": "Fri, 01 Jan 2021"}])
    def test_after_the_day_a_file_is_downloaded_only_if_it_has_changed(
        self, site, tmp_path, states, monkeypatch, version
    ):
        monkeypatch.setattr(fetch, "cache_expiration", timedelta(0))
        site.pages["/trips.csv"] = (200, CSV, version)
        for _ in range(2):
            file = get_file(f"{site.url}/trips.csv", folder=tmp_path)
        assert states == ["Completed", "Completed"]
        assert (len(site.requests), len(site.probes)) == (1, 2)
        assert file.path.read_bytes() == CSV

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ({"ETag": '"1"'}, {"ETag": '"2"'}),
            ({"Last-Modified": "Fri, 01 Jan"}, {"Last-Modified": "Sat, 02 Jan"}),
            ({"ETag": '"1"', "Last-Modified": "1"}, {"ETag": '"1"', "Last-Modified": "2"}),
        ],
    )
    def test_a_file_that_has_changed_at_the_source_is_fetched_at_once(
        self, site, tmp_path, states, before, after
    ):
        site.pages["/trips.csv"] = (200, CSV, before)
        get_file(f"{site.url}/trips.csv", folder=tmp_path)
        site.pages["/trips.csv"] = (200, CSV.upper(), after)
        file = get_file(f"{site.url}/trips.csv", folder=tmp_path)
        assert file.path.read_bytes() == CSV.upper()
        get_file(f"{site.url}/trips.csv", folder=tmp_path)
        assert states == ["Completed", "Completed", "Cached"]
        assert len(site.requests) == 2

    def test_force_reads_the_file_again_and_downloads_no_version_twice(
        self, site, tmp_path, states
    ):
        site.pages["/trips.csv"] = (200, CSV, {"ETag": '"1"'})
        for force in (False, True):
            get_file(f"{site.url}/trips.csv", force=force, folder=tmp_path)
        assert states == ["Completed", "Completed"]
        assert len(site.requests) == 1

    def test_to_look_for_a_result_in_the_cache_changes_nothing(self, tmp_path):
        cache_key("http://host/trips.csv", Published(1), 1.0, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_progress_is_an_artifact_of_the_run(self, site, tmp_path):
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        site.pages["/trips.csv"] = (200, CSV, {})

        @flow
        def run() -> None:
            get_file(f"{site.url}/trips.csv", folder=tmp_path)

        state = run(return_state=True)
        of_the_run = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
        with get_client(sync_client=True) as client:
            found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=of_the_run))
        assert [(artifact.type, artifact.data) for artifact in found] == [("progress", 100.0)]


def test_what_a_server_says_of_a_file_is_known_without_the_file(site, tmp_path):
    site.pages = {"/a": (200, CSV, {"ETag": '"1"'}), "/b": (403, b"", {}), "/c": (404, b"", {})}
    assert probe(f"{site.url}/a") == Published(len(CSV), '"1"', None)
    assert probe(f"{site.url}/c") is None
    assert probe(str(tmp_path / "2021-01.csv")) is None
    assert probe("no\0.csv") is None
    assert site.requests == []
    with pytest.raises(Forbidden):
        probe(f"{site.url}/b")


def test_a_server_that_does_not_answer_says_nothing_of_a_file():
    with pytest.raises(NoAnswer):
        probe("http://127.0.0.1:9/x.csv")


@pytest.mark.parametrize("kind", ["url", "path"])
def test_a_file_that_has_gone_or_changed_is_fetched_again(
    prefect_server, site, tmp_path, states, kind
):
    site.pages["/trips.csv"] = (200, CSV, {"ETag": '"1"'})
    path = tmp_path / "trips.csv"
    path.write_bytes(CSV)
    source = f"{site.url}/trips.csv" if kind == "url" else str(path)

    def run():
        return get_file(source, folder=tmp_path / "downloads")

    file = run()
    assert run() == file
    assert states == ["Completed", "Cached"]
    file.path.write_bytes(CSV + b"1,2\n")
    assert run().bytes == len(CSV) + (4 if kind == "path" else 0)
    run()
    assert states[2:] == ["Completed", "Cached"]
    if kind == "url":
        file.path.unlink()
        run()
        run()
        assert states[4:] == ["Completed", "Cached"]


def test_a_path_whose_content_has_changed_at_the_same_size_is_another_version(tmp_path):
    path = tmp_path / "trips.csv"
    path.write_bytes(CSV)
    os.utime(path, ns=(0, 1_000_000_000))
    before = probe(str(path))
    path.write_bytes(CSV.replace(b"1,2", b"1,3"))
    assert probe(str(path)) != before


def test_what_the_server_calls_the_file_is_kept(prefect_server, site, tmp_path):
    site.pages["/trips.csv"] = (200, CSV, {"ETag": '"7"', "Last-Modified": "Fri, 01 Jan 2021"})
    file = get_file(f"{site.url}/trips.csv", folder=tmp_path)
    assert (file.etag, file.last_modified) == ('"7"', "Fri, 01 Jan 2021")


class TestCertificates:
    """A server whose certificate is signed by an authority that only its own network knows."""

    @pytest.fixture
    def authority(self, site, tmp_path, monkeypatch):
        """The file of the authority's certificate, by which the site is served."""
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        known_authorities.cache_clear()
        key, certificate = tmp_path / "key.pem", tmp_path / "authority.pem"
        words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority"
        subject = ["-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run(
            [*words.split(), *subject, "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        site.socket = context.wrap_socket(site.socket, server_side=True)
        site.url = site.url.replace("http:", "https:")
        site.pages["/trips.csv"] = (200, CSV, {})
        yield certificate
        known_authorities.cache_clear()

    @pytest.mark.usefixtures("authority", "prefect_server")
    def test_one_that_is_not_trusted_is_refused_at_once_in_one_line(self, site, tmp_path, caplog):
        with pytest.raises(PipelineError, match=r"is not trusted: .*SSL_CERT_FILE") as refusal:
            get_file(f"{site.url}/trips.csv", folder=tmp_path)
        assert not isinstance(refusal.value, TransientError)
        assert "\n" not in str(refusal.value)
        assert "Trying again" not in caplog.text

    def test_one_whose_authority_is_named_is_trusted(self, site, tmp_path, authority, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert get(f"{site.url}/trips.csv", tmp_path).read_bytes() == CSV

    @pytest.mark.usefixtures("authority")
    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_authorities_that_cannot_be_read_are_one_line(
        self, site, tmp_path, monkeypatch, content
    ):
        path = tmp_path / "wrong.pem"
        if content:
            path.write_text(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        with pytest.raises(PipelineError, match=f"^SSL_CERT_FILE is '{re.escape(str(path))}': "):
            get(f"{site.url}/trips.csv", tmp_path)


class TestLimits:
    """Each holds while the content comes, and what is refused is deleted."""

    def left(self, folder) -> list[str]:
        return sorted(path.name for path in folder.rglob("trips*"))

    @pytest.mark.parametrize("headers", [{}, {"Content-Length": "5000000"}])
    def test_a_download_ends_when_it_is_larger_than_it_may_be(
        self, prefect_server, site, tmp_path, headers
    ):
        head = b"HTTP/1.1 200 OK\r\n" + b"".join(
            f"{name}: {value}\r\n".encode() for name, value in headers.items()
        )
        site.drips["/trips.csv"] = (head + b"\r\n" + b"1,2\n" * 1_000_000, 0.01)
        with pytest.raises(PipelineError, match=r"trips\.csv: more than 0\.001 GB"):
            download(f"{site.url}/trips.csv", None, 0.001, tmp_path)
        assert self.left(tmp_path) == []
        assert site.hung_up.wait(20)

    def test_one_that_is_too_slow_for_too_long_ends_and_can_be_resumed(
        self, prefect_server, site, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(module, "WINDOW", 0.3)
        head = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 5000\r\n\r\n'
        site.drips["/trips.csv"] = (head, 0.02)
        with pytest.raises(SourceUnavailable, match=r"bytes in \d+ s is too slow"):
            get(f"{site.url}/trips.csv", tmp_path)
        assert self.left(tmp_path) == ["trips.csv.part"]

    def test_so_does_an_answer_whose_headers_come_byte_by_byte(
        self, prefect_server, site, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(module, "WINDOW", 0.3)
        site.drips["/trips.csv"] = (b"HTTP/1.1 200 OK\r\nX: ", 0.02)
        with pytest.raises(SourceUnavailable):
            get(f"{site.url}/trips.csv", tmp_path)

    @pytest.mark.parametrize(
        "body", [b"<html>", PACKED[:-20], gzip.compress(b"a,b\n" + b"1,2\n" * 500_000)]
    )
    def test_what_is_refused_when_it_is_read_is_deleted(self, prefect_server, site, tmp_path, body):
        site.pages["/trips.csv"] = (200, body, {})
        with pytest.raises(PipelineError):
            get_file(f"{site.url}/trips.csv", 0.001, folder=tmp_path)
        assert self.left(tmp_path) == []

    def test_a_persons_own_file_is_never_deleted(self, prefect_server, tmp_path):
        path = tmp_path / "trips.csv"
        path.write_bytes(b"<html>")
        with pytest.raises(PipelineError):
            fetch(str(path))
        assert path.exists()


class TestMetadataServices:
    @pytest.mark.parametrize(
        "address",
        [
            *("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192"),
            *("168.63.129.16", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fd20:ce::254"),
            "::ffff:169.254.169.254",  # mapped
            "::169.254.169.254",  # compatible
            "::ffff:0:169.254.169.254",  # translated
            "64:ff9b::a9fe:a9fe",  # NAT64
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",  # 6to4
            "2001:0:a9fe:a9fe::",  # Teredo, as the server
            "2001:0:1234::5601:5601",  # and as the client, whose bits are inverted
            "64:ff9b::6464:64c8",  # Alibaba's, by NAT64
        ],
    )
    def test_their_addresses_are_refused_in_whatever_way_they_are_written(self, address):
        with pytest.raises(PipelineError, match="metadata service"):
            refuse_address(address)

    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "140.82.121.3",
            "64:ff9b::8c52:7903",
            "2600:9000::a9fe:a9fe",
        ],
    )
    def test_others_are_not_and_neither_is_this_machine(self, address):
        refuse_address(address)

    def test_a_name_that_changes_its_address_meanwhile_is_refused_before_anything_is_sent(
        self, site, tmp_path, monkeypatch
    ):
        """DNS rebinding: what was resolved for the check is not what is connected to."""
        site.pages["/trips.csv"] = (200, CSV, {})
        monkeypatch.setattr(module, "METADATA_SERVICES", [ip_network("127.0.0.1")])
        resolve, answers = socket.getaddrinfo, ["192.0.2.1", "127.0.0.1"]

        def rebind(host, *rest, **options):
            return resolve(answers.pop(0), *rest, **options)

        monkeypatch.setattr(socket, "getaddrinfo", rebind)
        url = site.url.replace("127.0.0.1", "rebinding.example") + "/trips.csv"
        with pytest.raises(PipelineError, match=r"127\.0\.0\.1 is a metadata service"):
            download(url, None, 1.0, tmp_path)
        assert answers == []
        assert site.requests == []


@pytest.mark.usefixtures("prefect_server")
class TestSecretBlocks:
    @pytest.fixture(autouse=True)
    def block(self, prefect_server):
        Secret(value="hunter/2 @?").save("tlc-test", overwrite=True)
        Secret(value="sig=a%2Fb&x=1").save("tlc-signature", overwrite=True)

    def test_a_password_comes_from_one_and_stays_there(self, site, tmp_path, caplog):
        site.pages["/trips.csv"] = (200, CSV, {})
        url = f"http://me:{{secret:tlc-test}}@{site.url[7:]}/trips.csv"
        file = get_file(url, folder=tmp_path)
        expected = httpx.BasicAuth("me", "hunter/2 @?")._auth_header
        assert site.requests[0]["Authorization"] == site.probes[0]["Authorization"] == expected
        assert file.source == f"{site.url}/trips.csv"
        assert "hunter" not in caplog.text + repr(file) + str(file.path)

    def test_a_signature_is_put_in_as_it_is(self):
        url = with_secrets("https://host/a.csv?{secret:tlc-signature}")
        assert url == "https://host/a.csv?sig=a%2Fb&x=1"

    def test_one_that_does_not_exist_is_one_clear_line(self, tmp_path):
        with pytest.raises(PipelineError, match="Prefect has no Secret block 'no-such'") as refusal:
            get("http://me:{secret:no-such}@127.0.0.1:9/x.csv", tmp_path)
        assert "\n" not in str(refusal.value)


def test_403_is_asked_again_and_both_its_meanings_are_given(site, tmp_path):
    site.pages["/trips.parquet"] = (403, b"<Error/>", {})
    with pytest.raises(SourceUnavailable, match="is not published, or there were too many req"):
        get(f"{site.url}/trips.parquet", tmp_path)
