#!/usr/bin/env bash
# prefect 3.9.1 with prefect-dbt 0.7.25: a server that starts imports dbt, also where it is told to register no block.
#
# A server registers block types when it starts, and writes down a hash of them, so that the next start can skip it
# (`PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION`, `memo_store.toml`). One would think that a second start reads the hash and is
# done. But the hash is of what packages bring, and to compute it all packages with an entry point `prefect.collections`
# are imported first; prefect-dbt's imports dbt-core's command line. So every start imports it: seconds of one processor, and
# memory that the server keeps, for a package that it never calls. A flow's temporary server, of the same `create_app`, too.
# Another guess that fails: `PREFECT_SERVER_REGISTER_BLOCKS_ON_START=false` does not keep it from importing, since that is asked
# after the hash. It takes `PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION=false`, which by its name would do more work, as well.
# Without both, a block that is saved registers its own type.
#
# Needs Python 3.10 or newer, bash and Linux. Installs pinned packages into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check prefect==3.9.1 prefect-dbt==0.7.25 dbt-core==1.11.16
cd "$folder"
export PREFECT_HOME="$folder/prefect" PREFECT_LOGGING_LEVEL=CRITICAL DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
unset PREFECT_API_URL
cat > start.py <<'PYTHON'
import asyncio
import sys
import time

from prefect.server.api.server import create_app


async def start(app):
    async with app.router.lifespan_context(app):
        await asyncio.sleep(3)


app = create_app(ephemeral=True, final=True)
assert "dbt.cli.main" not in sys.modules, "it is imported before the start"
began = time.process_time()
asyncio.run(start(app))
print("dbt.cli.main" in sys.modules, f"{time.process_time() - began:.1f} s of processor time", flush=True)
PYTHON
start() { "$folder/venv/bin/python" start.py; }
first=$(start)
test -s "$PREFECT_HOME/memo_store.toml"  # the hash is there
second=$(start)
export PREFECT_SERVER_REGISTER_BLOCKS_ON_START=false
unregistered=$(start)
export PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION=false
without=$(start)
printf 'dbt is imported by a first start: %s\nby a second one, whose hash is known: %s\n' "$first" "$second"
printf 'without registering: %s\nwithout the hash as well: %s\n' "$unregistered" "$without"
[[ $first == True* && $second == True* && $unregistered == True* && $without == False* ]]
