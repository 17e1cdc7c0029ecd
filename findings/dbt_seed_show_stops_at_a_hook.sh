#!/usr/bin/env bash
# dbt-core 1.11.16: `dbt seed --show` ends with 'NoneType' object has no attribute 'order_by' in a project with any on-run hook.
#
# `--show` prints a sample of each seed's rows once all are loaded. It goes through the results of the run, of which an
# on-run-start or on-run-end hook is one, with no table. So the first project with a hook, or with a package that brings one,
# loads its seeds, says so, and ends with exit code 2, as if they were not there. Without `--show`, or without the hook, it
# is 0. The way round: `dbt seed`, and then `dbt show --inline "select * from {{ ref('s') }}"`.
#
# Needs Python 3.10 to 3.13 and bash. Installs pinned packages into a temporary folder; needs no server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    dbt-core==1.11.16 dbt-duckdb==1.10.1 duckdb==1.5.5
export DBT_SEND_ANONYMOUS_USAGE_STATS=false DBT_PROFILES_DIR=$folder
cd "$folder"
printf 'p:\n  target: t\n  outputs:\n    t: {type: duckdb, path: p.duckdb}\n' > profiles.yml
mkdir seeds
printf 'id,name\n1,one\n2,two\n' > seeds/s.csv
project='{name: p, version: "1.0", profile: p, config-version: 2'

seed() { # a hook, or nothing; words for dbt. Prints the exit code and the row of "two", or the error
    echo "$project$1}" > dbt_project.yml
    code=0
    said=$("$folder/venv/bin/dbt" --no-use-colors seed "${@:2}" 2>&1) || code=$?
    echo "$code $(grep -oE "\| +2 \| two|'NoneType' object has no attribute 'order_by'" <<< "$said" | tail -1)" | sed 's/ $//'
}

start=', on-run-start: ["select 1"]' end=', on-run-end: ["select 1"]'
seen="dbt-core $("$folder/venv/bin/python" -c 'from importlib.metadata import version; print(version("dbt-core"))')
no hook, --show: $(seed '' --show)
a hook at the end: $(seed "$end")
a hook at the end, --show: $(seed "$end" --show)
a hook at the start, --show: $(seed "$start" --show)"
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
dbt-core 1.11.16
no hook, --show: 0 |  2 | two
a hook at the end: 0
a hook at the end, --show: 2 'NoneType' object has no attribute 'order_by'
a hook at the start, --show: 2 'NoneType' object has no attribute 'order_by'
SEEN
# Seen: what the script compares with. dbt-core 1.12.6 does the same.
