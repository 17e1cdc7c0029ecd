"""How old a dataset's data are: what is said of it, and when it is a warning."""

import json
import re
from datetime import date

import pytest
from conftest import run_dbt, webhook

from flows.build import check_freshness
from flows.tlc.months import months_before

TODAY = date.today()
FRESH, STALE, OLD = months_before(TODAY, 3), months_before(TODAY, 7), date(2012, 1, 1)


@pytest.fixture
def loaded(january, query):
    """Write into the audit that a month was loaded so many months after it began."""
    query("delete from raw.loads")

    def note(dataset: str, month: date, months_later: int) -> None:
        query(
            "insert into raw.loads (dataset, source_month, source, sha256, bytes, row_count,"
            " malformed_lines, started_at, finished_at)"
            f" values ('{dataset}', '{month}', 'x', 'x', 1, 1, 0, now(),"
            f" least(now(), '{month}'::date + interval '{months_later} months'))"
        )

    return note


@pytest.fixture
def is_stale(january, caplog):
    """The datasets of which a run warns, which must be those of which dbt warns."""

    def ask() -> list[str]:
        caplog.clear()
        check_freshness()
        lines = [record.message for record in caplog.records if record.levelname == "WARNING"]
        ours = [
            found[1]
            for line in lines
            if (found := re.search(r"freshness: the newest month of (\w+) is .* overdue", line))
        ]
        _, said = run_dbt(january, "source freshness")
        warned = re.findall(r"WARN freshness of tlc\.(\w+)_tripdata", said)
        assert "ERROR" not in said
        assert sorted(warned) == ours
        return ours

    return ask


def test_a_dataset_whose_next_months_are_overdue_is_stale(loaded, is_stale):
    loaded("yellow", STALE, 2)
    loaded("green", FRESH, 2)
    assert is_stale() == ["yellow"]


def test_loading_old_months_makes_no_dataset_fresh(loaded, is_stale):
    loaded("yellow", STALE, 2)
    loaded("yellow", OLD, 12 * 50)
    assert is_stale() == ["yellow"]
    loaded("yellow", FRESH, 2)
    assert is_stale() == []


def test_a_dataset_that_was_never_loaded_is_not_stale(loaded, is_stale):
    assert is_stale() == []
    loaded("green", FRESH, 2)
    assert is_stale() == []


def test_a_dataset_of_old_months_alone_is_not_stale(loaded, is_stale):
    """Such as the sample: nobody has ever kept it up to date."""
    loaded("yellow", OLD, 12 * 50)
    assert is_stale() == []


def test_a_stale_dataset_is_alerted_of_as_a_failed_run_is(
    prefect_server, loaded, monkeypatch, httpserver, caplog
):
    received = webhook(httpserver, "stale")
    monkeypatch.setenv("ALERT_BLOCK", "custom-webhook/stale")
    loaded("yellow", STALE, 2)
    loaded("green", FRESH, 2)
    check_freshness()
    [line] = [record.message for record in caplog.records if record.name.endswith(".alerts")]
    [sent] = received
    assert sent == {"title": "yellow: stale", "text": line}
    content = json.loads(line)
    assert content["event"] == "data-stale"
    assert content["newest_month"] == f"{STALE:%Y-%m}"
    assert "make plan DATASET=yellow" in content["message"]


def test_a_warehouse_that_cannot_be_asked_fails_no_run(january, query, caplog):
    query("alter table raw.loads rename to elsewhere")
    check_freshness()
    assert "freshness can't be told: " in caplog.text
