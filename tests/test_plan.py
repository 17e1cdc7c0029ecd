"""The plan of a run: what a source has, new or changed, and what `latest` makes of it."""

import gzip
import json
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import date
from types import SimpleNamespace
from uuid import uuid4

import pytest
from made_up import made_up_month
from prefect import flow
from werkzeug import Response

from flows import plan as module
from flows.elt import elt
from flows.errors import PipelineError
from flows.land import land, land_all
from flows.parameters import Limits, Request
from flows.plan import REQUESTS_PER_SECOND, new_or_changed, plan, show
from flows.tlc.download import NoAnswer, Unreachable, fetch
from flows.tlc.months import months_before
from flows.tlc.source import Source

TODAY = date.today()
NEWEST = months_before(TODAY, 2)
BEFORE = months_before(TODAY, 3)
OLD = months_before(TODAY, 8)
FILE = re.compile(r"/yellow_tripdata_(\d{4}-\d\d)\.\S+")


@pytest.fixture
def tlc(httpserver, monkeypatch):
    """A server like TLC's: 403 for what it does not have, and, if told to, for every third request.

    `files` are the content, ETag and Last-Modified of each month, `asked` the requests that it had.
    No two of these servers have an ETag in common.
    """
    server = SimpleNamespace(files={}, asked=[], is_overloaded=False, name=uuid4().hex)

    def answer(request) -> Response:
        month = FILE.fullmatch(request.path)[1]
        server.asked.append((month, request.headers.get("Range")))
        is_refused = server.is_overloaded and len(server.asked) % 3 == 0
        if is_refused or month not in server.files:
            return Response("<Error><Code>AccessDenied</Code></Error>", status=403)
        content, etag, modified = server.files[month]
        headers = {"ETag": etag, "Last-Modified": modified}
        if request.headers.get("Range") == "bytes=0-0":
            headers["Content-Range"] = f"bytes 0-0/{len(content)}"
            return Response(content[:1], 206, headers)
        return Response(content, 200, headers)

    httpserver.expect_request(FILE).respond_with_handler(answer)
    monkeypatch.setenv("SOURCE_BASE_URL", httpserver.url_for(""))
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(fetch, "retry_delay_seconds", [0, 0, 0])
    return server


def asked(*months: str | date, look_back: int = 12) -> Request:
    """A request for months of yellow trips."""
    words = " ".join(one if isinstance(one, str) else f"{one:%Y-%m}" for one in months)
    return Request.resolve(TODAY, None, words, None, look_back)


@pytest.fixture
def silent(monkeypatch):
    """A server that hangs up on every request; returns how many it had."""
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        monkeypatch.setenv("SOURCE_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield connections
        listener.shutdown(socket.SHUT_RDWR)


def to_land(request: Request) -> list[date]:
    """The months that a run would land."""
    return [one.month for one in new_or_changed(request)]


MODIFIED = "Wed, 25 Mar 2026 14:00:00 GMT"


def as_json(request: Request) -> dict:
    shown, _ = show(request, as_json=True)
    return json.loads(shown)


def publish(tlc, month: date, rows: int = 100, etag: str = "1", modified: str = MODIFIED) -> None:
    version = (f'"{tlc.name} {etag}"', modified)
    tlc.files[f"{month:%Y-%m}"] = (made_up_month(month, rows).read_bytes(), *version)


def downloads(tlc) -> int:
    """How often a whole file was asked for."""
    return sum(wanted != "bytes=0-0" for _, wanted in tlc.asked)


@pytest.mark.usefixtures("warehouse")
def test_a_month_is_new_same_changed_or_not_published(tlc):
    for month in (OLD, BEFORE, NEWEST):
        publish(tlc, month)
    for month in (OLD, BEFORE):
        land(month)
    publish(tlc, OLD, etag="2")
    planned = plan(asked(OLD, BEFORE, NEWEST, months_before(TODAY, 1)))
    assert [one.state for one in planned] == ["changed", "same", "new", "not published"]
    assert [one.rows_before for one in planned] == [100, 100, None, None]
    assert planned[0].bytes == len(tlc.files[f"{OLD:%Y-%m}"][0])


@pytest.mark.usefixtures("warehouse")
def test_a_plan_asks_for_one_byte_of_each_file_and_fetches_none(tlc):
    publish(tlc, NEWEST)
    plan(asked(NEWEST))
    assert tlc.asked == [(f"{NEWEST:%Y-%m}", "bytes=0-0")]


@pytest.mark.usefixtures("warehouse")
def test_a_refusal_of_a_month_that_should_be_there_is_asked_again(tlc):
    """TLC's server answers 403 to too many requests too."""
    months = [months_before(TODAY, count) for count in range(5, 25)]
    for month in months:
        publish(tlc, month)
    tlc.is_overloaded = True
    assert {one.state for one in plan(asked(*months))} == {"new"}


@pytest.mark.usefixtures("warehouse")
def test_two_hundred_months_are_planned_in_seconds(tlc):
    months = [months_before(TODAY, count) for count in range(5, 205)]
    for month in months:
        tlc.files[f"{month:%Y-%m}"] = (b"x" * 1_000_000, '"1"', MODIFIED)
    began = time.monotonic()
    planned = plan(asked(*months))
    assert {(one.state, one.bytes) for one in planned} == {("new", 1_000_000)}
    assert time.monotonic() - began < 60  # a hang, and not a speed


@pytest.mark.usefixtures("warehouse")
class TestNoAnswer:
    """A source that is silent."""

    @pytest.fixture
    def months(self) -> list[date]:
        return [months_before(TODAY, count) for count in range(5, 205)]

    def test_a_server_is_given_up_after_a_few_requests(self, silent, months):
        with pytest.raises(NoAnswer, match="Check the URL and the network"):
            plan(asked(*months))
        assert len(silent) < 20

    def test_so_is_one_that_is_not_there(self, monkeypatch, months):
        monkeypatch.setenv("SOURCE_BASE_URL", "http://127.0.0.1:9")
        with pytest.raises(Unreachable, match="refused"):
            plan(asked(*months))

    def test_what_is_no_source_is_asked_once(self, monkeypatch, months):
        monkeypatch.setenv("SOURCE_BASE_URL", "http://169.254.169.254")
        began = time.monotonic()
        with pytest.raises(PipelineError, match="metadata service"):
            plan(asked(*months))
        assert time.monotonic() - began < len(months) / REQUESTS_PER_SECOND

    @pytest.fixture
    def half_silent(self, httpserver):
        """A source that answers for one month, and is cut off for another: its URL."""
        [answered, cut] = [months_before(TODAY, count) for count in (5, 6)]
        path = "/yellow_tripdata_{month}.parquet"
        httpserver.expect_request(path.format(month=f"{answered:%Y-%m}")).respond_with_data(b"x")
        httpserver.expect_request(path.format(month=f"{cut:%Y-%m}")).respond_with_data(status=500)
        return httpserver.url_for(path), f"{cut:%Y-%m}..{answered:%Y-%m}"

    def test_the_table_and_its_last_line_say_for_which_months_there_is_none(self, half_silent):
        source, months = half_silent
        request = Request.resolve(TODAY, None, months, source)
        shown, unanswered = show(request, as_json=False)
        assert unanswered == 1
        assert re.search(rf"{months[:7]} +no answer", shown)
        assert shown.endswith(
            "To fetch: 1 of 2 months, 0.0 MB, in about 1 minute; not counting 1 without an answer"
        )
        as_json, unanswered = show(request, as_json=True)
        assert json.loads(as_json)["no_answer"] == unanswered == 1

    def test_the_command_then_fails(self, half_silent):
        source, months = half_silent
        words = ["--plan", "--months", months, "--source", source]
        result = subprocess.run(
            [sys.executable, "-m", "flows.elt", *words], capture_output=True, text=True
        )
        assert (result.returncode, result.stderr) == (1, "")
        assert "no answer" in result.stdout

    def test_a_run_gives_a_silent_host_up_and_names_all_months(self, silent, monkeypatch):
        monkeypatch.setattr(fetch, "retry_delay_seconds", [0, 0, 0])
        months = [months_before(TODAY, count) for count in range(10, 4, -1)]

        @flow
        def run():
            return land_all(asked(*months).months, Source(), False, False, Limits())

        landed, failures = run()
        assert landed == []
        assert list(failures) == [f"yellow {month:%Y-%m}" for month in months]
        given_up = [str(error).startswith("not tried any more: ") for error in failures.values()]
        assert given_up == [False] * 3 + [True] * 3


@pytest.mark.usefixtures("warehouse")
class TestShow:
    """`make plan` and `--plan`."""

    def test_a_table_for_people(self, tlc):
        publish(tlc, NEWEST)
        publish(tlc, OLD)
        shown, _ = show(asked(OLD, NEWEST), as_json=False)
        assert re.search(rf"{OLD:%Y-%m} +new +0\.0 MB +\[1\]\n", shown)
        assert re.search(r"^\[1\] http://.*/\{dataset\}_tripdata_\{month\}\.", shown, re.MULTILINE)
        table, _, _ = shown.partition("\n\n")
        assert max(map(len, table.splitlines())) <= 80
        assert "To fetch: 2 of 2 months, 0.0 MB, in about 1 minute" in shown

    def test_json_for_scripts(self, tlc):
        publish(tlc, NEWEST)
        shown = as_json(asked(NEWEST))
        [month] = shown["months"]
        assert (month["dataset"], month["month"]) == ("yellow", f"{NEWEST:%Y-%m}")
        assert month["state"] == "new"
        assert shown["to_fetch"] == 1
        assert shown["bytes"] == month["bytes"] > 0

    def test_latest_is_the_months_that_a_run_would_look_at(self, tlc):
        for month in (OLD, BEFORE, NEWEST):
            publish(tlc, month)
        shown = as_json(asked("latest", look_back=2))
        assert [month["month"] for month in shown["months"]] == [
            f"{month:%Y-%m}" for month in (BEFORE, NEWEST)
        ]

    def test_a_sample_that_is_loaded_is_the_same_as_the_sample(self):
        sample = Request.resolve(TODAY, "green", None, "sample")
        assert as_json(sample)["to_fetch"] == 1
        land(date(2020, 4, 1), "sample", "green")
        assert as_json(sample)["to_fetch"] == 0

    def test_nothing_to_fetch(self, tlc):
        shown, _ = show(asked(months_before(TODAY, 1)), as_json=False)
        assert "Nothing to fetch" in shown


@pytest.mark.usefixtures("warehouse")
class TestLatest:
    """The months that are new or have changed, up to the newest that is published."""

    @pytest.mark.usefixtures("models_alone")
    def test_all_that_are_published_late_and_in_one_batch_are_landed(self, tlc, query):
        publish(tlc, BEFORE)
        publish(tlc, NEWEST)
        state = elt("latest", look_back=2, return_state=True)
        assert state.is_completed()
        loaded = "select source_month from raw.loads order by 1"
        assert query(loaded) == [(BEFORE,), (NEWEST,)]

    @pytest.mark.parametrize(
        "version",
        [
            {"etag": "2"},
            {"modified": "Thu, 26 Mar 2026 14:00:00 GMT"},
            {"etag": "2", "modified": "Thu, 26 Mar 2026 14:00:00 GMT"},
        ],
    )
    def test_a_month_that_was_published_again_is_landed_again_at_once_and_once(
        self, tlc, query, version
    ):
        for count in range(2, 7):
            publish(tlc, months_before(TODAY, count))
            land(months_before(TODAY, count))
        again = months_before(TODAY, 5)
        publish(tlc, again, rows=120, **version)
        assert to_land(asked("latest", look_back=5)) == [again]
        land(again)
        count = "select count(*) from raw.yellow_tripdata where source_month = '{}'"
        assert query(count.format(again)) == [(120,)]
        assert to_land(asked("latest", look_back=5)) == []

    @pytest.mark.parametrize(
        "version", [{"etag": "2"}, {"modified": "Thu, 26 Mar 2026 14:00:00 GMT"}]
    )
    def test_one_of_the_same_content_is_looked_at_once_and_not_loaded(self, tlc, query, version):
        publish(tlc, NEWEST)
        land(NEWEST)
        publish(tlc, NEWEST, **version)
        assert to_land(asked("latest", look_back=1)) == [NEWEST]
        land(NEWEST)
        assert downloads(tlc) == 2
        [(etag, modified)] = query("select etag, last_modified from raw.loads")
        assert (etag, modified) == tlc.files[f"{NEWEST:%Y-%m}"][1:]
        assert to_land(asked("latest", look_back=1)) == []

    def test_one_whose_content_is_packed_in_another_way_is_the_same_from_then_on(self, tlc):
        publish(tlc, NEWEST)
        land(NEWEST)
        content, *version = tlc.files[f"{NEWEST:%Y-%m}"]
        tlc.files[f"{NEWEST:%Y-%m}"] = (gzip.compress(gzip.decompress(content), 1), *version)
        assert to_land(asked("latest", look_back=1)) == [NEWEST]
        land(NEWEST)
        assert to_land(asked("latest", look_back=1)) == []

    @pytest.mark.usefixtures("january", "models_alone")
    def test_it_is_skipped_only_when_there_is_nothing_to_land_or_to_build(self, tlc, query):
        """A build that has failed is made up for by the next run, which has nothing to land."""
        publish(tlc, NEWEST)
        query("alter table daily_trips add constraint broken check (trips < 0) not valid")

        def run():
            return elt("latest", look_back=1, return_state=True)

        assert run().is_failed()
        assert run().is_failed()
        query("alter table daily_trips drop constraint broken")
        assert run().name == "Completed"
        months = "select distinct source_month from daily_trips order by 1"
        assert query(months) == [(date(2021, 1, 1),), (NEWEST,)]
        assert query("select count(*) from raw.loads") == [(2,)]
        state = run()
        assert (state.type, state.name) == ("COMPLETED", "Skipped")
        assert state.message == "latest: nothing new, or changed"
        assert downloads(tlc) == 1

    def test_old_months_that_are_refused_fail_with_both_readings(self, tlc, caplog):
        """The others are landed."""
        publish(tlc, months_before(TODAY, 2))

        @flow
        def run():
            months = new_or_changed(asked("latest", look_back=4))
            return land_all(months, Source(), False, False, Limits())

        landed, failures = run()
        assert [one.load.month for one in landed] == [months_before(TODAY, 2)]
        assert list(failures) == [f"yellow {months_before(TODAY, count):%Y-%m}" for count in (5, 4)]
        for reason in failures.values():
            assert "not published, or there were too many requests" in str(reason)

    def test_a_range_may_end_with_it(self, tlc):
        for count in range(2, 5):
            publish(tlc, months_before(TODAY, count))
        months = [months_before(TODAY, count) for count in (4, 3, 2)]
        assert to_land(asked(f"{months[0]:%Y-%m}..latest")) == months
