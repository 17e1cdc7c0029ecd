#!/usr/bin/env bash
# prefect 3.9.1: each client reads the certificates of all authorities, also where the API's URL begins with http://.
#
# One would think that a client of http://127.0.0.1:4200 needs no TLS, or that a process reads its authorities once. But
# `get_client` makes a new TLS context of certifi's file (some 120 certificates) each time, before it looks at the URL: most
# of what a client costs. A run makes a dozen of them: each task that is called outside a flow has its own, as have artifacts,
# blocks and the workers of logs and events. With `SSL_CERT_FILE` (which Prefect's setting `api.ssl_cert_file` falls back
# to) set to a file of one certificate, a client costs a fraction: of use to a suite of tests, whose server is on localhost.
# (It holds for all of the process's HTTPS; a process that fetches over HTTPS needs all of them.)
#
# Needs Python 3.10 or newer, bash and Linux. Installs pinned packages into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check prefect==3.9.1
cd "$folder"
cat > clients.py <<'PYTHON'
import ssl
import time

import certifi
import prefect
from prefect.client.orchestration import get_client

read = []
load = ssl.SSLContext.load_verify_locations


def counted(self, cafile=None, *args, **kwargs):
    read.append(cafile)
    return load(self, cafile, *args, **kwargs)


ssl.SSLContext.load_verify_locations = counted
get_client(sync_client=True)  # what only the first one does is not counted
read.clear()
began = time.process_time()
clients = [get_client(sync_client=True) for _ in range(20)]
seconds = (time.process_time() - began) / 20
print(prefect.__version__, str(clients[0].api_url), len(read), {file == certifi.where() for file in read}, f"{seconds:.5f}")
PYTHON
awk '{ print } /END CERTIFICATE/ { exit }' \
    "$("$folder/venv/bin/python" -c 'import certifi; print(certifi.where())')" > one.pem
unset PREFECT_API_SSL_CERT_FILE PREFECT_API_TLS_INSECURE_SKIP_VERIFY
export PREFECT_HOME=$folder/home PREFECT_API_URL=http://127.0.0.1:4200/api
all=$(env -u SSL_CERT_FILE "$folder/venv/bin/python" clients.py)
one=$(SSL_CERT_FILE=$folder/one.pem "$folder/venv/bin/python" clients.py)
printf 'all authorities: %s\none authority:   %s\n' "$all" "$one"
grep -q '^3\.9\.1 http://127\.0\.0\.1:4200/api/\? 20 {True} ' <<< "$all"
grep -q '^3\.9\.1 http://127\.0\.0\.1:4200/api/\? 20 {False} ' <<< "$one"
awk -v all="${all##* }" -v one="${one##* }" 'BEGIN { exit !(all > 3 * one) }'
# Seen: all authorities: 3.9.1 http://127.0.0.1:4200/api/ 20 {True} 0.01625
#       one authority:   3.9.1 http://127.0.0.1:4200/api/ 20 {False} 0.00065
