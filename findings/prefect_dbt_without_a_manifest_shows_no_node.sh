#!/usr/bin/env bash
# prefect-dbt 0.7.25: with dbt's `--no-write-json`, PrefectDbtRunner runs every node, and shows none.
#
# prefect-dbt gives each dbt node a Prefect task run, and a materialization event to those with assets. It finds what
# a node is in `target/manifest.json`, although the node itself is in dbt's event and the manifest in dbt's result. Where
# that file is not written (`--no-write-json`, as dbt's documentation has it for faster runs), `invoke` succeeds, the models
# are built, and the flow run has no task run of any node, no asset and no line that says so. With a manifest of an earlier
# run in the folder it shows the nodes of that one: one that is new since then is missing.
#
# Needs Python 3.10 or newer and bash. Installs pinned packages into a temporary folder; starts Prefect's temporary server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    prefect==3.9.1 prefect-dbt==0.7.25 dbt-core==1.11.16 dbt-duckdb==1.10.1 duckdb==1.5.5
mkdir -p "$folder/project/models"
cd "$folder/project"
cat > dbt_project.yml <<'YAML'
name: tiny
version: 1.0.0
profile: tiny
flags: {send_anonymous_usage_stats: false}
YAML
cat > profiles.yml <<'YAML'
tiny: {target: here, outputs: {here: {type: duckdb, path: tiny.duckdb}}}
YAML
echo 'select 1 as x' > models/first.sql
echo 'select x from {{ ref("first") }}' > models/second.sql
export PREFECT_HOME="$folder/prefect" PREFECT_LOGGING_LEVEL=ERROR DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import pathlib

import duckdb
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.runtime import flow_run
from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings


@flow
def build(*words: str) -> str:
    settings = PrefectDbtSettings(project_dir=".", profiles_dir=".")
    assert PrefectDbtRunner(settings=settings).invoke(["build", *words]).success
    return flow_run.id


def shown(run_id: str) -> list[str]:
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run_id]}))
    return sorted(run.name for run in runs)


def built() -> list[str]:
    with duckdb.connect("tiny.duckdb") as connection:
        return [name for (name,) in connection.execute("select table_name from duckdb_tables() union "
                "select view_name from duckdb_views() where not internal order by 1").fetchall()]


for package in ("prefect", "prefect-dbt", "dbt-core"):
    print(package, importlib.metadata.version(package))
without = shown(build("--no-write-json"))
print("with --no-write-json: built", built(), "shown", without)
assert built() == ["first", "second"] and without == [], without
ordinary = shown(build())
print("as usual: shown", ordinary)
assert len(ordinary) == 2, ordinary
pathlib.Path("models/third.sql").write_text("select 3 as x")
stale = shown(build("--no-write-json"))
print("with an earlier manifest and a new model: built", built(), "shown", stale)
assert built() == ["first", "second", "third"] and len(stale) == 2, stale
PYTHON
