"""URLs and paths: what is fetched, what is refused, and what is fetched again."""

import gzip
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect import flow

from flows.errors import PipelineError
from flows.fetch import SourceUnavailable, download, extract, is_published, verify
from flows.formats import open_csv

CSV = b"VendorID,passenger_count\n" + b"1,2\n" * 1_000
PACKED = gzip.compress(CSV, mtime=0)


class Site(ThreadingHTTPServer):
    """A web server on this machine: `pages[path]` is a status, a body and headers.

    `cuts` are the numbers of bytes after which the next answers break off; where a page has an
    ETag or a Last-Modified, the rest can be asked for.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.requests, self.cuts = {}, [], []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        site = self.server
        site.requests.append(self.headers)
        status, body, headers = site.pages[self.path]
        headers = {"Content-Length": str(len(body))} | headers
        versions = {headers.get("ETag"), headers.get("Last-Modified")} - {None}
        if "Range" in self.headers and self.headers["If-Range"] in versions:
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
            status, body = (206, body[begin:]) if begin < len(body) else (416, b"")
            headers["Content-Length"] = str(len(body))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)

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
    monkeypatch.setattr(extract, "retry_delay_seconds", [0, 0, 0])


def test_a_packed_and_a_plain_file_have_the_same_content(tmp_path):
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / "b.csv.gz").write_bytes(PACKED)
    plain, packed = (verify(name, tmp_path / name) for name in ("a.csv", "b.csv.gz"))
    assert plain.sha256 == packed.sha256
    assert plain.csv_bytes == packed.csv_bytes == len(CSV)
    assert packed.bytes == len(PACKED)


def test_gzip_is_told_by_the_content_not_by_the_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(PACKED)
    assert open_csv(tmp_path / "a.csv").read() == CSV


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (PACKED[:-20], "the gzip file is damaged"),
        (PACKED[:100] + b"x" + PACKED[101:], "the gzip file is damaged"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "is a web page, not a CSV file"),
    ],
)
def test_a_file_that_is_no_whole_csv_is_refused_by_name(tmp_path, content, said):
    path = tmp_path / "trips.csv.gz"
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=r"https://example\.com/trips\.csv\.gz") as refusal:
        verify("https://example.com/trips.csv.gz", path)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(PipelineError, match=r"trips.csv: No such file or directory. Give an"):
        verify("trips.csv", tmp_path / "trips.csv")


@pytest.mark.usefixtures("prefect_server")
class TestDownload:
    def test_follows_redirects_and_keeps_the_name(self, site, tmp_path):
        site.pages["/here"] = (302, b"", {"Location": "/files/trips.csv.gz?token=1"})
        site.pages["/files/trips.csv.gz?token=1"] = (200, PACKED, {})
        path = download(f"{site.url}/here", tmp_path)
        assert path.read_bytes() == PACKED

    def test_does_not_let_a_url_choose_the_folder(self, site, tmp_path):
        site.pages["/..%2F..%2Fetc%2Fpasswd"] = (200, PACKED, {})
        path = download(f"{site.url}/..%2F..%2Fetc%2Fpasswd", tmp_path)
        assert path.parent.parent == tmp_path

    def test_says_what_a_missing_page_means(self, site, tmp_path):
        site.pages["/2031-01.csv"] = (404, b"no", {})
        with pytest.raises(PipelineError, match=r"404 Not Found\. Is the month published\?"):
            download(f"{site.url}/2031-01.csv", tmp_path)

    def test_an_interrupted_download_leaves_no_file_under_the_name(self, site, tmp_path):
        site.pages["/trips.csv"] = (200, CSV, {})
        site.cuts = [100]
        with pytest.raises(SourceUnavailable, match="Check the URL and the network"):
            download(f"{site.url}/trips.csv", tmp_path)
        assert list(tmp_path.rglob("trips.csv")) == []

    @pytest.mark.parametrize("version", [{"ETag": '"1"'}, {"Last-Modified": "Fri, 01 Jan 2021"}])
    @pytest.mark.parametrize("cut", [1, 2, len(PACKED) // 2, len(PACKED) - 1])
    def test_goes_on_where_it_broke_off(self, site, tmp_path, cut, version):
        site.pages["/trips.csv.gz"] = (200, PACKED, version)
        site.cuts = [cut]
        with pytest.raises(SourceUnavailable):
            download(f"{site.url}/trips.csv.gz", tmp_path)
        assert download(f"{site.url}/trips.csv.gz", tmp_path).read_bytes() == PACKED
        assert site.requests[1]["Range"] == f"bytes={cut}-"

    @pytest.mark.parametrize("version", [{}, {"ETag": 'W/"1"'}])
    def test_starts_anew_where_it_cannot_know_that_the_file_is_the_same(
        self, site, tmp_path, version
    ):
        site.pages["/trips.csv.gz"] = (200, PACKED, version)
        site.cuts = [30]
        with pytest.raises(SourceUnavailable):
            download(f"{site.url}/trips.csv.gz", tmp_path)
        assert download(f"{site.url}/trips.csv.gz", tmp_path).read_bytes() == PACKED
        assert "Range" not in site.requests[1]

    def test_never_joins_the_halves_of_two_files(self, site, tmp_path):
        site.pages["/trips.csv"] = (200, CSV, {"ETag": '"old"'})
        site.cuts = [1_000]
        with pytest.raises(SourceUnavailable):
            download(f"{site.url}/trips.csv", tmp_path)
        site.pages["/trips.csv"] = (200, CSV.upper(), {"ETag": '"new"'})
        assert download(f"{site.url}/trips.csv", tmp_path).read_bytes() == CSV.upper()

    def test_what_is_left_of_a_whole_download_is_fetched_anew(self, site, tmp_path):
        """As after a kill just before the file gets its name: there is no rest to ask for."""
        site.pages["/trips.csv"] = (200, CSV, {"ETag": '"1"'})
        path = download(f"{site.url}/trips.csv", tmp_path)
        path.rename(path.with_name("trips.csv.part"))
        path.with_name("trips.csv.version").write_text('"1"')
        with pytest.raises(SourceUnavailable, match="416"):
            download(f"{site.url}/trips.csv", tmp_path)
        assert download(f"{site.url}/trips.csv", tmp_path).read_bytes() == CSV

    def test_waits_as_long_as_the_server_says(self, site, tmp_path, monkeypatch):
        pauses = []
        monkeypatch.setattr("time.sleep", pauses.append)
        site.pages["/trips.csv"] = (429, b"", {"Retry-After": "7"})
        with pytest.raises(SourceUnavailable, match="429 Too Many Requests"):
            download(f"{site.url}/trips.csv", tmp_path)
        assert pauses == [7]

    def test_a_server_that_never_answers_is_one_clear_line(self, tmp_path, monkeypatch):
        monkeypatch.setattr("flows.fetch.TIMEOUT", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/trips.csv"
            with pytest.raises(SourceUnavailable, match=r"trips\.csv: timed out"):
                download(url, tmp_path)

    def test_a_file_cut_short_by_a_wrong_length_is_damaged(self, site, tmp_path):
        site.pages["/trips.csv.gz"] = (200, PACKED, {"Content-Length": str(len(PACKED) - 9)})
        path = download(f"{site.url}/trips.csv.gz", tmp_path)
        with pytest.raises(PipelineError, match="the gzip file is damaged"):
            verify("trips.csv.gz", path)

    def test_does_not_follow_redirects_for_ever(self, site, tmp_path):
        site.pages["/a"] = (302, b"", {"Location": "/a"})
        with pytest.raises(PipelineError, match="redirects"):
            download(f"{site.url}/a", tmp_path)

    @pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
    def test_asks_no_metadata_service(self, site, tmp_path, host):
        site.pages["/a"] = (302, b"", {"Location": f"http://{host}/latest"})
        for url in (f"http://{host}/latest/meta-data", f"{site.url}/a"):
            with pytest.raises(PipelineError, match="metadata service"):
                download(url, tmp_path)

    def test_an_unreachable_host_is_one_clear_line(self, tmp_path):
        with pytest.raises(SourceUnavailable, match=r"http://127.0.0.1:9/trips.csv: .*refused"):
            download("http://127.0.0.1:9/trips.csv", tmp_path)


@pytest.mark.usefixtures("prefect_server")
class TestTask:
    def test_tries_again_when_the_server_is_overloaded(self, site, tmp_path, without_waiting):
        site.pages["/trips.csv"] = (503, b"", {})

        def recover(*_):
            site.pages["/trips.csv"] = (200, CSV, {})

        file = extract.with_options(on_running=[recover])(f"{site.url}/trips.csv", tmp_path)
        assert file.path.read_bytes() == CSV

    def test_gives_up_after_three_retries(self, site, tmp_path, without_waiting):
        site.pages["/trips.csv"] = (503, b"", {})
        with pytest.raises(SourceUnavailable, match="503 Service Unavailable"):
            extract(f"{site.url}/trips.csv", tmp_path)
        assert len(site.requests) == 4

    def test_does_not_try_again_what_will_not_change(self, site, tmp_path):
        site.pages["/trips.csv"] = (404, b"", {})
        with pytest.raises(PipelineError, match="404"):
            extract(f"{site.url}/trips.csv", tmp_path)
        assert len(site.requests) == 1

    def test_secrets_in_a_url_are_not_kept(self, site, tmp_path):
        site.pages["/trips.csv?signature=s3cret"] = (200, CSV, {})
        url = f"http://me:hunter2@{site.url[7:]}/trips.csv?signature=s3cret"
        assert extract(url, tmp_path).source == f"{site.url}/trips.csv"

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("file:///etc/passwd", "only http"),
            ("ftp://host/x.csv", "only http"),
            ("http://[::1", "is no URL"),
            ("/dev/zero", "is no file"),
            ("/no/such\0.csv", "null byte"),
            ("/" + "x" * 10_000, "File name too long"),
            ("$(reboot).csv", "No such file"),
        ],
    )
    def test_only_http_and_paths_of_files_are_sources(self, source, said):
        with pytest.raises(PipelineError, match=said) as refusal:
            extract(source)
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 500

    def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(self, tmp_path):
        path = tmp_path / "bomb.csv.gz"
        path.write_bytes(gzip.compress(b"1" * 20_000_000))
        with pytest.raises(PipelineError, match=r"more than 0\.01 GB of CSV"):
            extract(str(path), max_csv_gigabytes=0.01)

    def test_a_second_run_is_cached(self, site, tmp_path):
        site.pages["/trips.csv"] = (200, CSV, {})
        states = [
            extract(f"{site.url}/trips.csv", folder=tmp_path, return_state=True).name
            for _ in range(2)
        ]
        assert states == ["Completed", "Cached"]
        assert len(site.requests) == 1

    def test_the_cache_lasts_a_day(self):
        assert extract.cache_expiration.total_seconds() == 24 * 60 * 60

    def test_progress_is_an_artifact_of_the_run(self, site, tmp_path):
        from prefect.client.orchestration import get_client

        site.pages["/trips.csv"] = (200, CSV, {})

        @flow
        def run() -> None:
            extract(f"{site.url}/trips.csv", tmp_path)

        state = run(return_state=True)
        with get_client(sync_client=True) as client:
            artifacts = client.read_artifacts()
        mine = [a for a in artifacts if a.flow_run_id == state.state_details.flow_run_id]
        assert [(a.type, a.data) for a in mine] == [("progress", 100.0)]


def test_whether_a_file_is_published_is_what_its_server_says_first(site, tmp_path):
    site.pages = {"/a": (200, CSV, {}), "/b": (404, b"", {}), "/c": (403, b"", {})}
    assert [is_published(f"{site.url}/{page}") for page in "abc"] == [True, False, False]
    assert is_published("http://127.0.0.1:9/is-for-extract-to-find-out")
    assert not is_published(str(tmp_path / "2021-01.csv"))


def test_a_file_that_has_gone_or_changed_is_not_intact(tmp_path):
    path = tmp_path / "trips.csv"
    path.write_bytes(CSV)
    file = verify(str(path), path)
    assert file.is_intact()
    path.write_bytes(CSV + b"1,2\n")
    assert not file.is_intact()
    path.unlink()
    assert not file.is_intact()
    assert not replace(file, path=tmp_path).is_intact()
