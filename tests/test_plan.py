"""The plan of a run: what a source has, new or changed, and what `latest` makes of it."""

import json
import re
import time
from datetime import date
from types import SimpleNamespace

import pytest
from made_up import made_up_month
from werkzeug import Response

from flows import plan as module
from flows.elt import elt
from flows.errors import TransientError
from flows.land import land
from flows.parameters import Request
from flows.plan import new_or_changed, plan, show
from flows.tlc.download import fetch
from flows.tlc.months import months_before

TODAY = date.today()
NEWEST = months_before(TODAY, 2)
BEFORE = months_before(TODAY, 3)
OLD = months_before(TODAY, 8)
FILE = re.compile(r"/yellow_tripdata_(\d{4}-\d\d)\.\S+")


@pytest.fixture
def tlc(httpserver, monkeypatch):
    """A server like TLC's: 403 for what it does not have, and, if told to, for every third request.

    `files` are its contents by month, `asked` the requests that it had.
    """
    server = SimpleNamespace(files={}, asked=[], is_overloaded=False)

    def answer(request) -> Response:
        month = FILE.fullmatch(request.path)[1]
        server.asked.append((month, request.headers.get("Range")))
        is_refused = server.is_overloaded and len(server.asked) % 3 == 0
        if is_refused or month not in server.files:
            return Response("<Error><Code>AccessDenied</Code></Error>", status=403)
        content, etag = server.files[month]
        headers = {"ETag": etag, "Last-Modified": "Wed, 25 Mar 2026 14:00:00 GMT"}
        if request.headers.get("Range") == "bytes=0-0":
            headers["Content-Range"] = f"bytes 0-0/{len(content)}"
            return Response(content[:1], 206, headers)
        return Response(content, 200, headers)

    httpserver.expect_request(FILE).respond_with_handler(answer)
    monkeypatch.setenv("SOURCE_BASE_URL", httpserver.url_for(""))
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01, 0.01))
    return server


def asked(*months: str | date, look_back: int = 12) -> Request:
    """A request for months of yellow trips."""
    words = " ".join(one if isinstance(one, str) else f"{one:%Y-%m}" for one in months)
    return Request.resolve(TODAY, None, words, None, look_back)


def to_land(request: Request) -> list[date]:
    """The months that a run would land."""
    return [one.month for one in new_or_changed(request)]


def publish(tlc, month: date, rows: int = 100, etag: str = '"1"') -> None:
    tlc.files[f"{month:%Y-%m}"] = (made_up_month(month, rows).read_bytes(), etag)


@pytest.mark.usefixtures("warehouse")
def test_a_month_is_new_same_changed_or_not_published(tlc):
    for month in (OLD, BEFORE, NEWEST):
        publish(tlc, month)
    for month in (OLD, BEFORE):
        land(month)
    publish(tlc, OLD, etag='"2"')
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
        tlc.files[f"{month:%Y-%m}"] = (b"x" * 1_000_000, '"1"')
    began = time.monotonic()
    planned = plan(asked(*months))
    assert {(one.state, one.bytes) for one in planned} == {("new", 1_000_000)}
    assert time.monotonic() - began < 60  # a hang, and not a speed


@pytest.mark.usefixtures("warehouse")
class TestShow:
    """`make plan` and `--plan`."""

    def test_a_table_for_people(self, tlc):
        publish(tlc, NEWEST)
        publish(tlc, OLD)
        shown = show(asked(OLD, NEWEST), as_json=False)
        assert re.search(rf"{OLD:%Y-%m} +new +0\.0 MB .*yellow_tripdata_{OLD:%Y-%m}", shown)
        assert "To fetch: 2 of 2 months, 0.0 MB, in about 1 minute" in shown

    def test_json_for_scripts(self, tlc):
        publish(tlc, NEWEST)
        shown = json.loads(show(asked(NEWEST), as_json=True))
        [month] = shown["months"]
        assert (month["dataset"], month["month"]) == ("yellow", f"{NEWEST:%Y-%m}")
        assert month["state"] == "new"
        assert shown["to_fetch"] == 1
        assert shown["bytes"] == month["bytes"] > 0

    def test_latest_is_the_months_that_a_run_would_look_at(self, tlc):
        for month in (OLD, BEFORE, NEWEST):
            publish(tlc, month)
        shown = json.loads(show(asked("latest", look_back=2), as_json=True))
        assert [month["month"] for month in shown["months"]] == [
            f"{month:%Y-%m}" for month in (BEFORE, NEWEST)
        ]

    def test_a_sample_that_is_loaded_is_the_same_as_the_sample(self):
        sample = Request.resolve(TODAY, "green", None, "sample")
        assert json.loads(show(sample, as_json=True))["to_fetch"] == 1
        land(date(2020, 4, 1), "sample", "green")
        assert json.loads(show(sample, as_json=True))["to_fetch"] == 0

    def test_nothing_to_fetch(self, tlc):
        shown = show(asked(months_before(TODAY, 1)), as_json=False)
        assert "Nothing to fetch" in shown


@pytest.mark.usefixtures("warehouse")
class TestLatest:
    """The months that are new or have changed, up to the newest that is published."""

    def test_all_that_are_published_late_and_in_one_batch_are_landed(self, tlc, query):
        publish(tlc, BEFORE)
        publish(tlc, NEWEST)
        state = elt("latest", look_back=2, return_state=True)
        assert state.is_completed()
        loaded = "select source_month from raw.loads order by 1"
        assert query(loaded) == [(BEFORE,), (NEWEST,)]

    def test_a_month_that_was_published_again_is_landed_again(self, tlc, query):
        for count in range(2, 7):
            publish(tlc, months_before(TODAY, count))
            land(months_before(TODAY, count))
        again = months_before(TODAY, 5)
        publish(tlc, again, rows=120, etag='"2"')
        assert to_land(asked("latest", look_back=5)) == [again]

    def test_it_is_skipped_only_when_nothing_is_new_or_has_changed(self, tlc):
        publish(tlc, NEWEST)
        land(NEWEST)
        state = elt("latest", look_back=1, return_state=True)
        assert (state.type, state.name) == ("COMPLETED", "Skipped")
        assert state.message == "latest: nothing new, or changed"

    def test_an_old_month_that_is_refused_fails_and_says_both_readings(self, tlc, monkeypatch):
        quick = fetch.with_options(retries=0)
        monkeypatch.setattr("flows.land.fetch", quick)
        publish(tlc, months_before(TODAY, 2))
        state = elt("latest", look_back=6, return_state=True)
        assert state.is_failed()
        with pytest.raises(TransientError, match="not published, or there were too many requests"):
            state.result()

    def test_a_range_may_end_with_it(self, tlc):
        for count in range(2, 5):
            publish(tlc, months_before(TODAY, count))
        months = [months_before(TODAY, count) for count in (4, 3, 2)]
        assert to_land(asked(f"{months[0]:%Y-%m}..latest")) == months
