"""URLs and paths: what is fetched, what is refused, and what is fetched again."""

import gzip
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect import flow

from flows.errors import PipelineError
from flows.extract import SourceUnavailable, download, extract, open_csv, verify

CSV = b"VendorID,passenger_count\n" + b"1,2\n" * 1_000
PACKED = gzip.compress(CSV, mtime=0)


@pytest.fixture
def site():
    """A web server on this machine: `site.pages[path]` is a status, a body and headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            site.requests.append(self.path)
            status, body, headers = site.pages[self.path]
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.pages, site.requests = {}, []
    site.url = f"http://127.0.0.1:{site.server_port}"
    threading.Thread(target=site.serve_forever, daemon=True).start()
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
        site.pages["/trips.csv"] = (200, CSV[:100], {"Content-Length": str(len(CSV))})
        with pytest.raises(SourceUnavailable, match="Check the URL and the network"):
            download(f"{site.url}/trips.csv", tmp_path)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

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

    def test_only_http_and_paths_are_sources(self):
        with pytest.raises(PipelineError, match="only http"):
            extract("file:///etc/passwd")

    def test_a_second_run_is_cached(self, site, tmp_path):
        site.pages["/trips.csv"] = (200, CSV, {})
        states = [
            extract(f"{site.url}/trips.csv", tmp_path, return_state=True).name for _ in range(2)
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
