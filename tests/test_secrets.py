"""No password stands where somebody may read it."""

import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from flows.errors import PipelineError
from flows.settings import ROOT
from flows.warehouse import connect

SPELLINGS = (str, quote, quote_plus, lambda text: json.dumps(text)[1:-1])


@pytest.fixture
def secrets(built) -> set[str]:
    """The suite's passwords, in whatever way they may be written."""
    return {spell(built.password.get_secret_value()) for spell in SPELLINGS}


def test_in_no_log_artifact_parameter_or_state_of_prefects(api, secrets):
    kinds = ("logs", "artifacts", "flow_runs", "task_runs", "deployments", "automations")
    for kind in kinds:
        said = json.dumps(api(kind, limit=200), ensure_ascii=False)
        assert len(said) > 2 or kind in ("deployments", "automations")
        assert not [secret for secret in secrets if secret in said], kind


def test_in_no_file_that_a_run_leaves(home, secrets):
    folders = (home, ROOT / "dbt_project" / "logs", ROOT / "dbt_project" / "target")
    files = [path for folder in folders for path in folder.rglob("*") if is_text_of_ours(path)]
    assert len(files) > 3
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path


def is_text_of_ours(path: Path) -> bool:
    """Not PostgreSQL's own files, which hold the rows, and not the downloads."""
    ours = {"postgres", "downloads", "samples", "bench", "peers"}.isdisjoint(path.parts)
    return ours and path.is_file()


def test_in_no_exception(built, unused_port, secrets):
    with (
        pytest.raises(PipelineError) as refusal,
        connect(built.model_copy(update={"port": unused_port})),
    ):
        pass
    for said in (str(refusal.value), repr(refusal.value), repr(built), str(built.url)):
        assert not [secret for secret in secrets if secret in said]
