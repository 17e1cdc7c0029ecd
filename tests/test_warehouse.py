"""One warehouse for the flows, dbt and psql: where it is, what a session means, what it must be."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from datetime import date
from pathlib import Path
from threading import Thread, Timer

import psycopg2
import pytest
from conftest import (
    OURS,
    WORKER,
    administrator,
    build_by_hand,
    create_anew,
    free_port,
    land_made_up,
    let_others_in,
    point_to,
    run_query,
    wait_until,
    warehouse_to_build,
)
from prefect import flow
from prefect_sqlalchemy import SqlAlchemyConnector

from flows import prepare
from flows.environment import ROOT, SESSION, SESSION_OPTIONS
from flows.errors import PipelineError, TransientError
from flows.models.runner import dbt_on
from flows.prepare import check_rights, ensure_warehouse
from flows.settings import DATA, Settings, read_settings
from flows.warehouse import connection as warehouse
from flows.warehouse import embedded as embedded_postgres
from flows.warehouse import local_server, schema
from flows.warehouse.connection import (
    BLOCK_NAME,
    Refused,
    Unreachable,
    connect,
    current_url,
    explained,
    load_block,
    psql_command,
    url_of,
)

JANUARY = date(2021, 1, 1)
BLOCK, ELSEWHERE = f"{BLOCK_NAME}-{WORKER}", f"elsewhere-{WORKER}"
CONTRARY = {
    "datestyle": "'ISO, DMY'",
    "intervalstyle": "sql_standard",
    "timezone": "'Asia/Kolkata'",
    "client_encoding": "LATIN1",
    "search_path": "nowhere",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "'1ms'",
    "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'1ms'",
    "extra_float_digits": "'-15'",
    "transform_null_equals": "on",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
}


def python(code: str, **environment: str) -> str:
    """What a Python of the environment prints, started in another folder."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


class TestEveryProgramOfTheEnvironment:
    def test_finds_the_project_from_any_folder(self):
        assert python("import flows.settings; print(flows.settings.ROOT)") == str(ROOT)

    def test_looks_for_garbage_less_often_than_at_each_700th_object(self):
        assert python("import gc; print(gc.get_threshold()[0])") == "10000"

    def test_opens_sessions_that_mean_the_same(self, postgres):
        code = (
            "import json, os, psycopg2\n"
            "connection = psycopg2.connect(os.environ['DSN'])\n"
            "cursor = connection.cursor()\n"
            f"for name in {list(SESSION)}:\n"
            "    cursor.execute('select current_setting(%s)', [name])\n"
            "    print(name, '=', cursor.fetchone()[0])\n"
        )
        dsn = postgres.url.set(drivername="postgresql").render_as_string(hide_password=False)
        theirs = "-c datestyle=German -c work_mem=5MB"
        shown = python(code, DSN=dsn, PGOPTIONS=theirs, PGDATESTYLE="German", PGTZ="Asia/Kolkata")
        assert dict(line.split(" = ") for line in shown.splitlines()) == SESSION

    def test_keeps_a_persons_own_options(self):
        options = "import os; print(os.environ['PGOPTIONS'])"
        assert python(options, PGOPTIONS="-c work_mem=5MB") == f"-c work_mem=5MB {SESSION_OPTIONS}"
        assert python(options) == SESSION_OPTIONS  # the parent's, which are the same, once

    def test_has_a_prefect_home_in_the_folder_unless_prefects_address_is_set(self, monkeypatch):
        home = "import os; print(os.environ.get('PREFECT_HOME'))"
        for name in ("PREFECT_HOME", "PREFECT_API_URL", "NYC_TAXI_FROM_ENV_FILE"):
            monkeypatch.delenv(name, raising=False)
        assert python(home) == str(DATA / "prefect")
        assert python(home, PREFECT_HOME="/elsewhere") == "/elsewhere"
        assert python(home, PREFECT_API_URL="http://127.0.0.1:1/api") == "None"

    def test_writes_into_data_of_the_folder_unless_a_setting_names_another_one(self, tmp_path):
        project = tmp_path / "flows"
        project.mkdir()
        shutil.copy(ROOT / "flows" / "environment.py", project)
        shown = (
            "import environment, os; print(environment.data_folder(), os.environ['PREFECT_HOME'])"
        )

        def folders(**environment: str) -> str:
            nothing = {"PYTHONPATH": str(project), "PATH": os.environ["PATH"]}
            return subprocess.run(
                [sys.executable, "-c", shown],
                env=nothing | environment,
                capture_output=True,
                text=True,
            ).stdout.strip()

        default, other = tmp_path / "data", tmp_path / "other"
        assert folders() == f"{default} {default}/prefect"
        assert folders(TAXI_DATA="other") == f"{other} {other}/prefect"
        (tmp_path / ".env").write_text(f"TAXI_DATA={other}\n")
        assert folders() == f"{other} {other}/prefect"
        assert folders(TAXI_DATA="/proc/none") == "/proc/none /proc/none/prefect"

    def test_reads_the_env_file_again_though_its_parent_has_read_it_before(self, tmp_path):
        """A worker that has run since before a change starts runs that obey the change."""
        project = tmp_path / "flows"
        project.mkdir()
        shutil.copy(ROOT / "flows" / "environment.py", project)
        file = tmp_path / ".env"
        child = (
            "import environment, os\n"
            "print(os.environ['POSTGRES_PORT'], os.environ['POSTGRES_DB'])\n"
        )
        parent = (
            "import environment, os, pathlib, subprocess, sys\n"
            "os.environ.update(POSTGRES_DB='set')\n"
            f"pathlib.Path({str(file)!r}).write_text('POSTGRES_PORT=2\\nPOSTGRES_DB=b\\n')\n"
            f"subprocess.run([sys.executable, '-c', {child!r}])\n"
        )
        file.write_text("POSTGRES_PORT=1\nPOSTGRES_DB=a\n")
        nothing = {"PYTHONPATH": str(project), "PATH": os.environ["PATH"]}
        result = subprocess.run(
            [sys.executable, "-c", parent], env=nothing, capture_output=True, text=True
        )
        assert result.stdout == "2 set\n", result.stderr


@pytest.mark.usefixtures("prefect_server")
class TestTheSameRowsOnEveryServer:
    @pytest.fixture(scope="class")
    @staticmethod
    def tables(superuser) -> list[dict[str, list]]:
        """All tables of a plain and of a contrary database after the same month."""
        contents = []
        for session in ({}, CONTRARY):
            database = warehouse_to_build()
            for name, value in session.items():
                run_query(superuser, f"alter database {database.db} set {name} = {value}")
            ensure_warehouse()
            land_made_up(JANUARY, 2_000)
            build_by_hand(database, "build --exclude-resource-type test unit_test")
            contents.append(contents_of(database))
        return contents

    def test_in_every_table_byte_for_byte(self, tables):
        plain, contrary = tables
        assert len(plain) > 15
        assert plain.keys() == contrary.keys()
        numbered = {
            "bookkeeping.built_months",
            "bookkeeping.tested_months",
        }  # in the order of builds
        for name, rows in plain.items():
            assert name in numbered or rows == contrary[name], name

    def test_with_trips_in_them(self, tables):
        assert len(tables[1]["yellow_taxi_trips"]) > 1_900


def contents_of(database: Settings) -> dict[str, list[str]]:
    """The rows of each table and view as text, sorted, without the audit's own times and ids."""
    columns = run_query(
        database,
        "select attrelid::regclass::text, string_agg(quote_ident(attname), ', ' order by attnum)"
        " from pg_attribute inner join pg_class on pg_class.oid = attrelid"
        " where relkind in ('r', 'p', 'v') and not relispartition"
        " and relnamespace::regnamespace::text in ('raw', 'staging', 'public', 'bookkeeping')"
        " and attnum > 0 and not attisdropped and atttypid <> 'timestamptz'::regtype"
        " and attname <> 'flow_run_id' group by 1",
    )
    return {
        name: sorted(
            row for (row,) in run_query(database, f"select row({these})::text from {name}")
        )
        for name, these in columns
    }


def dbt_debug(settings: Settings) -> tuple[int, str]:
    """dbt's exit code and output, when a person asks it to connect."""
    result = subprocess.run(
        ["dbt", "debug"],
        cwd=ROOT / "dbt_project",
        env=os.environ | {"POSTGRES_DB": settings.db},
        capture_output=True,
        text=True,
    )
    return result.returncode, " ".join(result.stdout.split())


def test_names_of_indexes_and_constraints_say_what_they_are_of(built):
    """They are what a person reads in psql's \\d."""
    # A long list of columns is cut, as PostgreSQL does it.
    names = """
        select relation.relname, named.relname
        from pg_index
        inner join pg_class as named on indexrelid = named.oid
        inner join pg_class as relation on indrelid = relation.oid
        where relation.relnamespace::regnamespace::text = any(%(schemas)s)
        union all
        select relation.relname, conname
        from pg_constraint inner join pg_class as relation on conrelid = relation.oid
        where contype = 'n' and relation.relnamespace::regnamespace::text = any(%(schemas)s)
    """
    schemas = ["public", "raw", "trip_months", "bookkeeping"]
    with connect(built) as connection:
        found = connection.exec_driver_sql(names, {"schemas": schemas}).all()
    assert ("yellow_taxi_trips", "yellow_taxi_trips_pickup_datetime_idx") in found
    assert ("yellow_taxi_trips_2021_01", "yellow_taxi_trips_2021_01_pkey") in found
    assert {name for table, name in found if not name.startswith(f"{table}_")} == set()


class TestLocks:
    """A question about all months locks each of them: that there is room is seen to beforehand."""

    def test_that_many_months_take_are_said_with_what_to_set(self):
        advice = prepare.advice_on_locks(needed=2_400, per_session=64, sessions=100)
        assert advice == (
            "a question about all months takes 2,400 locks, and the server has room for 6,400: "
            "set max_locks_per_transaction = 192 there, and restart it"
        )
        assert prepare.advice_on_locks(needed=2_400, per_session=192, sessions=100) is None

    def test_that_few_months_take_are_nothing_to_speak_of(self):
        assert prepare.advice_on_locks(needed=72, per_session=64, sessions=100) is None

    def test_are_as_many_as_are_counted(self, built):
        with connect(built) as connection:
            needed, *room = connection.exec_driver_sql(prepare.LOCKS).one()
            connection.exec_driver_sql("select count(*) from trips").one()
            taken = connection.exec_driver_sql(
                "select count(*) from pg_locks inner join pg_class on relation = pg_class.oid"
                " where pid = pg_backend_pid() and relnamespace = 'trip_months'::regnamespace"
            ).scalar()
        assert needed == taken == 3 * 3  # three months, each with a key and an index
        assert prepare.advice_on_locks(needed, *room) is None


class TestWhatIsRefused:
    """In one line, before anything is written."""

    def test_a_server_that_is_too_old(self, postgres, monkeypatch):
        monkeypatch.setattr(warehouse, "OLDEST_VERSION", 99)
        with (
            pytest.raises(PipelineError, match="is PostgreSQL 18, and 99 is the oldest that will"),
            connect(postgres),
        ):
            pass

    @pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
    def test_a_database_that_is_not_utf8(self, postgres, superuser, encoding):
        name = f"in_{encoding.lower()}"
        with connect(superuser) as connection:
            driver = warehouse.driver_of(connection)
            driver.autocommit = True
            driver.cursor().execute(
                f"create database {name} encoding '{encoding}' locale 'C' locale_provider libc"
                f" template template0 owner {postgres.user}"
            )
        message = f"is a database in {encoding}, and the warehouse must be in UTF8"
        with (
            pytest.raises(PipelineError, match=message),
            connect(postgres.model_copy(update={"db": name})),
        ):
            pass

    def test_a_standby(self, own_server):
        """A server that plays a copy of another one's log again, and takes no writes."""
        local_server.ensure_server(own_server)
        embedded_postgres.stop(embedded_postgres.DATA_DIR)
        with (embedded_postgres.DATA_DIR / "postgresql.conf").open("a") as file:
            file.write("wal_level = replica\n")
        embedded_postgres.start(embedded_postgres.DATA_DIR, own_server.port, own_server.host)
        embedded_postgres.stop(embedded_postgres.DATA_DIR)
        signal = embedded_postgres.DATA_DIR / "standby.signal"
        signal.touch()
        if owner := embedded_postgres.server_user():
            os.chown(signal, owner.pw_uid, owner.pw_gid)
        embedded_postgres.start(embedded_postgres.DATA_DIR, own_server.port, own_server.host)
        with pytest.raises(PipelineError, match="is a standby, which can only be read"):
            local_server.ensure_server(own_server)

    def test_a_role_without_rights_with_the_statements_that_give_them(
        self, new_database, superuser, postgres
    ):
        database = stranger_in(new_database(), superuser)
        with pytest.raises(PipelineError) as refusal, connect(database) as connection:
            check_rights(connection)
        assert str(refusal.value).endswith(
            "Let an administrator run: "
            f"grant create, temporary on database {database.db} to stranger; "
            "grant usage, create on schema public to stranger"
        )
        assert not run_query(database, "select from pg_namespace where nspname = 'raw'")
        _, _, statements = str(refusal.value).partition("run: ")
        run_query(superuser.model_copy(update={"db": database.db}), statements)
        with connect(database) as connection:
            check_rights(connection)

    def test_a_colleagues_login_with_the_name_of_whose_warehouse_it_is(
        self, new_database, superuser
    ):
        owner = new_database()
        with (
            connect(owner) as connection,
            warehouse.driver_of(connection) as driver,
            driver.cursor() as cursor,
        ):
            schema.prepare(cursor)
        stranger = stranger_in(owner, superuser)
        with (
            pytest.raises(PipelineError, match=rf"of {owner.user}, who alone .*: log in as"),
            connect(stranger) as connection,
        ):
            check_rights(connection)
        with connect(owner) as connection:
            check_rights(connection)

    def test_an_event_trigger_that_forbids_what_is_needed_with_what_it_says(
        self, warehouse, superuser
    ):
        run_query(
            superuser.model_copy(update={"db": warehouse.db}),
            "create function no_ddl() returns event_trigger language plpgsql as"
            " 'begin raise exception ''no DDL here''; end';"
            "create event trigger no_ddl on ddl_command_start execute function no_ddl()",
        )
        with pytest.raises(PipelineError, match=r"no DDL here\. A trigger in this database"):
            prepare.prepare_warehouse()

    def test_schemas_that_an_administrator_has_made_spare_the_right_to_make_some(
        self, new_database, superuser
    ):
        database = stranger_in(new_database(), superuser)
        run_query(
            superuser.model_copy(update={"db": database.db}),
            "create schema raw authorization stranger; create schema staging;"
            "create schema trip_months authorization stranger;"
            "create schema bookkeeping authorization stranger;"
            f"grant temporary on database {database.db} to stranger;"
            "grant create on schema public to stranger",
        )
        message = r"run: grant usage, create on schema staging to stranger$"
        with (
            pytest.raises(PipelineError, match=message),
            connect(database) as connection,
        ):
            check_rights(connection)

    def test_a_foreign_stranger_at_the_door(self, postgres):
        with (
            pytest.raises(Refused, match='database "nowhere" does not exist'),
            connect(postgres.model_copy(update={"db": "nowhere"})),
        ):
            pass


def stranger_in(database: Settings, admin: Settings) -> Settings:
    """A role that may connect to a database and do nothing else there."""
    name = f"{OURS}stranger"
    run_query(
        admin,
        f"do $$ begin if not exists (select from pg_roles where rolname = '{name}')"
        f" then create role {name} login password 'stranger'; end if; end $$;"
        f"grant connect on database {database.db} to {name}",
    )
    return database.model_copy(
        update={"user": name, "password": type(database.password)("stranger")}
    )


@pytest.mark.any_postgres
@pytest.mark.usefixtures("prefect_server")
def test_a_role_with_the_least_rights_does_the_whole_run():
    """It owns nothing, and may not make roles; the database is as PostgreSQL makes one."""
    database = warehouse_to_build()
    create_anew(database, template="template1")
    owner, database = database, stranger_in(database, administrator(database))
    run_query(
        owner,
        f"grant create, temporary on database {owner.db} to {database.user};"
        f"grant create on schema public to {database.user}",
    )
    point_to(database)
    ensure_warehouse()
    land_made_up(JANUARY, 500)
    build_by_hand(database)
    [(count,)] = run_query(database, "select count(*) from yellow_taxi_trips")
    assert count > 450


@pytest.mark.skipif(not shutil.which("pgbouncer"), reason="PgBouncer is not installed")
class TestAPooler:
    """PgBouncer lends each transaction another session, and session locks stay behind."""

    @pytest.fixture(params=["", "options"])
    def pooled(self, request, postgres, tmp_path):
        port = free_port()
        user, password = postgres.user, postgres.password.get_secret_value().replace('"', '""')
        (tmp_path / "users.txt").write_text(f'"{user}" "{password}"\n')
        (tmp_path / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host={postgres.host} port={postgres.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {tmp_path}/users.txt\npool_mode = transaction\n"
            f"ignore_startup_parameters = extra_float_digits,{request.param}\n"
        )
        command = ["pgbouncer", tmp_path / "pgbouncer.ini"]
        identity = {"user": "nobody"} if os.geteuid() == 0 else {}
        let_others_in(tmp_path)
        server = subprocess.Popen(command, stderr=(tmp_path / "log").open("w"), cwd="/", **identity)
        try:
            wait_until(lambda: answers(port) or server.poll() is not None, 10)
            assert server.poll() is None, (tmp_path / "log").read_text()
            yield postgres.model_copy(update={"port": port})
        finally:
            server.terminate()
            server.wait(10)

    def test_is_refused_whether_it_complains_or_not(self, pooled):
        with pytest.raises(PipelineError, match="is a connection pooler, such as PgBouncer"):
            local_server.ensure_server(pooled)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@flow
def build_the_trips() -> None:
    """As the flows have dbt build."""
    with dbt_on(current_url()) as dbt:
        words = ("build", "--select", "+yellow_taxi_trips", "--resource-type", "model", "seed")
        assert {node.status for node in dbt(*words)} == {"success"}


@pytest.mark.usefixtures("prefect_server")
class TestTheBlock:
    """Under a name of its own: every other test's run writes the usual one."""

    @pytest.fixture(autouse=True)
    def no_block(self, monkeypatch):
        monkeypatch.setattr(prepare, "BLOCK_NAME", BLOCK)
        for name in (BLOCK, ELSEWHERE):
            with suppress(ValueError):
                SqlAlchemyConnector.delete(name)

    def test_is_written_from_the_settings_for_other_flows_to_load(self, warehouse):
        ensure_warehouse()
        assert url_of(load_block(BLOCK)) == warehouse.url
        with SqlAlchemyConnector.load(BLOCK) as block:
            assert block.fetch_one("select current_database()") == (warehouse.db,)

    def test_follows_the_settings_and_is_never_read_back(self, warehouse, postgres):
        save_as(BLOCK, postgres)
        assert current_url() == warehouse.url
        ensure_warehouse()
        assert url_of(load_block(BLOCK)) == warehouse.url

    def test_is_left_alone_if_it_says_the_same_already(self, warehouse, api):
        ensure_warehouse()
        [before] = blocks(api)
        ensure_warehouse()
        assert blocks(api) == [before]

    def test_decides_for_flows_and_dbt_if_a_setting_names_it(
        self, warehouse, new_database, monkeypatch
    ):
        other = warehouse
        warehouse = new_database()
        monkeypatch.setenv("POSTGRES_DB", warehouse.db)
        save_as(ELSEWHERE, other)
        monkeypatch.setenv("POSTGRES_BLOCK", ELSEWHERE)
        assert current_url() == other.url
        ensure_warehouse()
        land_made_up(JANUARY, 100)
        build_the_trips()
        assert run_query(other, "select count(*) > 0 from yellow_taxi_trips") == [(True,)]
        assert run_query(warehouse, "select from pg_namespace where nspname = 'raw'") == []

    def test_may_be_a_url_with_options_in_it(self, warehouse, monkeypatch):
        url = warehouse.url.set(drivername="postgresql").render_as_string(hide_password=False)
        SqlAlchemyConnector(
            connection_info=f"{url}?sslmode=prefer", connect_args={"options": "-c work_mem=5MB"}
        ).save(ELSEWHERE)
        monkeypatch.setenv("POSTGRES_BLOCK", ELSEWHERE)
        with connect() as connection:
            show = "select current_setting('work_mem'), current_setting('datestyle')"
            assert connection.exec_driver_sql(show).one() == ("5MB", "ISO, MDY")
        found = warehouse_environment()
        assert found["PGSSLMODE"] == "prefer"
        assert found["PGOPTIONS"] == f"-c work_mem=5MB {SESSION_OPTIONS}"

    def test_may_be_a_url_without_a_port_which_is_postgresqls_own(self):
        block = SqlAlchemyConnector(connection_info="postgresql://me:secret@host/taxi")
        assert psql_command(url_of(block)) == "psql -h host -p 5432 -U me taxi"

    def test_that_does_not_exist_is_one_clear_line(self, monkeypatch):
        monkeypatch.setenv("POSTGRES_BLOCK", "nowhere")
        with pytest.raises(PipelineError, match="POSTGRES_BLOCK is 'nowhere': Unable to find"):
            current_url()

    def test_is_not_guessed_by_dbt_alone(self, warehouse, monkeypatch):
        monkeypatch.setenv("POSTGRES_BLOCK", ELSEWHERE)
        exit_code, output = dbt_debug(warehouse)
        assert exit_code != 0
        assert "POSTGRES_BLOCK is set, so dbt runs in the flows" in output


def warehouse_environment() -> dict[str, str]:
    with warehouse.in_environment(warehouse.environment_of(current_url())):
        return dict(os.environ)


def save_as(name: str, settings: Settings) -> None:
    prepare.block_of(settings).save(name, overwrite=True)


def blocks(api) -> list[tuple[str, str]]:
    documents = api("block_documents", include_secrets=False)
    return [(each["id"], each["updated"]) for each in documents if each["name"] == BLOCK]


class TestTls:
    """A server with a certificate of its own, as PGSSLMODE and PGSSLROOTCERT ask for it."""

    @pytest.fixture(scope="class")
    @staticmethod
    def certificate(tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("tls")
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        files = "-addext subjectAltName=DNS:localhost -keyout key.pem -out certificate.pem"
        words = f"{command} {files}".split()
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
        return folder / "certificate.pem"

    @pytest.fixture
    def secure(self, certificate, warehouse, prefect_server, monkeypatch) -> Settings:
        """The suite's server behind TLS at localhost."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_name("key.pem"))
            target = (warehouse.host, warehouse.port)
            arguments = (listener, context, target)
            threading.Thread(target=serve_tls, args=arguments, daemon=True).start()
            secure = warehouse.model_copy(
                update={"host": "localhost", "port": listener.getsockname()[1]}
            )
            for name, value in (("HOST", secure.host), ("PORT", str(secure.port))):
                monkeypatch.setenv(f"POSTGRES_{name}", value)
            yield secure

    @pytest.fixture
    def verified(self, secure, certificate, monkeypatch) -> Settings:
        monkeypatch.setenv("PGSSLMODE", "verify-full")
        monkeypatch.setenv("PGSSLROOTCERT", str(certificate))
        return secure

    def test_a_certificate_that_is_verified_serves_the_whole_run(self, verified, warehouse):
        with connect() as connection:
            assert warehouse_is_encrypted(connection)
        ensure_warehouse()
        land_made_up(JANUARY, 100)
        build_the_trips()
        assert run_query(verified, "select count(*) > 0 from yellow_taxi_trips") == [(True,)]

    def test_it_serves_dbt_alone_too(self, verified):
        exit_code, output = dbt_debug(verified)
        assert exit_code == 0, output

    @pytest.mark.skipif(not shutil.which("psql"), reason="there is no psql with TLS")
    def test_it_serves_psql_too(self, verified):
        command = [sys.executable, "-m", "flows.program", "psql", "-Atc", r"\conninfo"]
        result = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
        assert "SSL" in result.stdout or "TLS" in result.stdout, result.stderr

    def test_a_certificate_of_another_name_is_refused(self, verified, monkeypatch):
        monkeypatch.setenv("POSTGRES_HOST", "127.0.0.1")
        with (
            pytest.raises(Refused, match=r"server certificate for .* does not match host name"),
            connect(),
        ):
            pass

    def test_an_authority_that_nobody_trusts_is_refused(self, verified, monkeypatch, tmp_path):
        monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "missing.pem"))
        with pytest.raises(Refused, match=r"root certificate file .* does not exist"), connect():
            pass

    def test_dbt_refuses_a_certificate_of_another_name_as_well(self, verified, monkeypatch):
        monkeypatch.setenv("POSTGRES_HOST", "127.0.0.1")
        exit_code, output = dbt_debug(verified)
        assert exit_code != 0
        assert "does not match host name" in output

    def test_a_server_without_tls_is_refused_where_it_is_asked_for(self, postgres, monkeypatch):
        monkeypatch.setenv("PGSSLMODE", "require")
        with pytest.raises(Refused, match="server does not support SSL"), connect(postgres):
            pass


def warehouse_is_encrypted(connection) -> bool:
    return warehouse.driver_of(connection).info.ssl_in_use


def serve_tls(listener: socket.socket, context: ssl.SSLContext, target: tuple[str, int]) -> None:
    """What PostgreSQL does with a request for TLS, in front of one that was built without it."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(client: socket.socket) -> None:
        request = client.recv(8)
        if request[4:] != (80_877_103).to_bytes(4, "big"):  # not SSLRequest: it has no other way
            client.close()
            return
        client.sendall(b"S")
        try:
            client = context.wrap_socket(client, server_side=True)
        except (ssl.SSLError, OSError):  # it does not trust us
            return
        server = socket.create_connection(target)
        threading.Thread(target=pump, args=(server, client), daemon=True).start()
        pump(client, server)

    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=serve, args=(client,), daemon=True).start()


class TestErrors:
    """What PostgreSQL raises while it works: what passes is tried again, what lasts says why."""

    def error_of(self, settings: Settings, statement: str) -> psycopg2.Error:
        with (
            connect(settings) as connection,
            warehouse.driver_of(connection).cursor() as cursor,
            pytest.raises(psycopg2.Error) as raised,
        ):
            cursor.execute(statement)
        return raised.value

    @pytest.mark.parametrize(
        ("statement", "advice"),
        [
            (f"create table t ({', '.join(f'c{n} int' for n in range(1_601))})", "1,600 columns"),
            ("set transaction read only; create table t (x int)", "The server is read-only"),
            ("set statement_timeout = 1; select pg_sleep(1)", "statement timeout"),
            ("select pg_read_file('/etc/passwd')", "Let the role of POSTGRES_USER do this"),
            ("do $$ begin raise sqlstate '53100'; end $$", "Make room for PostgreSQL"),
            ("do $$ begin raise sqlstate '58030'; end $$", "2021-01: "),
            ("do $$ begin raise exception 'no'; end $$", "A trigger in this database"),
        ],
    )
    def test_what_lasts_says_why_once(self, postgres, statement, advice):
        line = explained(self.error_of(postgres, statement), "2021-01")
        assert type(line) is PipelineError
        assert str(line).startswith("2021-01: ")
        assert advice in str(line)

    @pytest.mark.parametrize("code", ["40P01", "40001", "55P03", "57P01", "08006", "53300"])
    def test_what_passes_is_worth_a_retry(self, postgres, code):
        error = self.error_of(postgres, f"do $$ begin raise sqlstate '{code}'; end $$")
        assert isinstance(explained(error), TransientError)

    def test_a_server_that_goes_away_is_worth_a_retry(self, postgres):
        error = self.error_of(postgres, "select pg_terminate_backend(pg_backend_pid())")
        assert isinstance(explained(error), TransientError)
        with pytest.raises(TransientError, match=r"PostgreSQL: .* connection.*Run again"):
            run_query(postgres, "select pg_terminate_backend(pg_backend_pid())")

    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            ("failure on connection marked as essential: 10.0.0.3:5432", TransientError),
            ("server closed the connection unexpectedly", TransientError),
            ("could not find a shard", PipelineError),
        ],
    )
    def test_one_of_several_servers_that_goes_away_is_worth_a_retry(self, postgres, line, kind):
        statement = f"do $$ begin raise sqlstate 'XX000' using message = '{line}'; end $$"
        assert type(explained(self.error_of(postgres, statement))) is kind

    def test_another_server_that_is_full_says_what_to_do(self, postgres):
        words = 'could not extend file "base/5/16384": No space left on device'
        statement = f"do $$ begin raise sqlstate 'XX000' using message = '{words}'; end $$"
        line = str(explained(self.error_of(postgres, statement), "2021-01"))
        assert (
            line == f"2021-01: {words} (on another server). Make room for PostgreSQL and run again"
        )

    def test_an_error_of_one_of_several_servers_names_it(self, postgres):
        elsewhere = '"while executing command on 10.0.0.3:5432 "'
        statement = (
            f"create function pg_temp.{elsewhere}() returns void language plpgsql"
            " as $$ begin raise sqlstate '53100' using message = 'no space'; end $$;"
            f" select pg_temp.{elsewhere}()"
        )
        line = str(explained(self.error_of(postgres, statement), "2021-01"))
        assert line.startswith("2021-01: no space (on 10.0.0.3:5432). Make room")

    def test_a_bug_stays_what_it_is(self, postgres):
        error = self.error_of(postgres, "select nothing from nowhere")
        assert explained(error) is error

    def test_a_port_that_nobody_listens_on_is_worth_a_retry(self, postgres, unused_port):
        nobody = postgres.model_copy(update={"port": unused_port})
        with pytest.raises(Unreachable, match="Connection refused"), connect(nobody):
            pass

    def test_a_server_that_is_not_ready_is_waited_for_whoever_asks(
        self, database, superuser, monkeypatch
    ):
        limit = f"alter database {database.db} connection limit"
        with connect(database):
            run_query(superuser, f"{limit} 1")
            asked = Future()

            def ask() -> None:
                with connect(database):
                    asked.set_result(True)

            Thread(target=ask, daemon=True).start()
            with pytest.raises(TimeoutError):
                asked.result(1.5)
            monkeypatch.setattr(warehouse, "PATIENCE", 0)
            with pytest.raises(Unreachable, match="too many connections"), connect(database):
                pass
        assert asked.result(10)

    def test_a_server_that_crashes_is_waited_for_until_it_has_recovered(self, own_server):
        local_server.ensure_server(own_server)
        point_to(own_server)
        data_dir = embedded_postgres.DATA_DIR
        embedded_postgres.run_as_owner("pg_ctl", "stop", "-m", "immediate", "-D", data_dir)
        start = Timer(2, embedded_postgres.start, (data_dir, own_server.port, own_server.host))
        start.start()
        try:
            with connect() as connection:
                assert connection.exec_driver_sql("select 1").scalar() == 1
        finally:
            start.join()

    def test_of_two_addresses_the_servers_own_message_is_shown(self, postgres):
        """localhost may be ::1 as well, where nobody listens."""
        wrong = postgres.url.set(host="::1,127.0.0.1", port=None, password="wrong")
        wrong = wrong.update_query_dict({"port": f"{postgres.port},{postgres.port}"})
        error = psycopg2.OperationalError(
            'connection to server at "localhost" (::1), port 5432 failed: Connection refused\n'
            "\tIs the server running on that host and accepting TCP/IP connections?\n"
            'connection to server at "localhost" (127.0.0.1), port 5432 failed: FATAL:  password'
        )
        refusal = warehouse.connection_error(error, wrong)
        assert isinstance(refusal, Refused)
        assert str(refusal).endswith("FATAL:  password")


class TestSettings:
    @pytest.mark.parametrize("value", ["five", "70000"])
    def test_a_port_that_is_none_is_one_clear_line(self, monkeypatch, value):
        monkeypatch.setenv("POSTGRES_PORT", value)
        with pytest.raises(PipelineError, match=f"POSTGRES_PORT is '{value}'"):
            read_settings()

    def test_an_env_file_that_cannot_be_read_is_one_clear_line(self, monkeypatch, tmp_path):
        (tmp_path / ".env").write_bytes(b"POSTGRES_DB=\xff\xfe\n")
        monkeypatch.setattr("flows.settings.ENV_FILE", tmp_path / ".env")
        with pytest.raises(PipelineError, match=r"\.env can't be read"):
            read_settings()

    def test_are_read_from_the_env_file_as_it_is_now(self, monkeypatch, tmp_path):
        monkeypatch.setattr("flows.settings.ENV_FILE", tmp_path / ".env")
        monkeypatch.delenv("POSTGRES_DB")
        for name in ("first", "second"):
            (tmp_path / ".env").write_text(f"POSTGRES_DB={name}\n")
            assert current_url().database == name

    def test_are_remembered_in_a_private_file_that_keeps_its_lines_and_its_link(
        self, monkeypatch, tmp_path
    ):
        from flows.settings import remember

        target = tmp_path / "secrets"
        target.write_text("# mine\nOTHER='a # b'\nPOSTGRES_PORT=1\n")
        target.chmod(0o644)
        link = tmp_path / ".env"
        link.symlink_to(target)
        monkeypatch.setattr("flows.settings.ENV_FILE", link)
        remember(POSTGRES_PORT="2", POSTGRES_PASSWORD="x")
        assert target.read_text() == (
            "# mine\nOTHER='a # b'\nPOSTGRES_PORT=2\nPOSTGRES_PASSWORD=x\n"
        )
        assert link.is_symlink()
        assert target.stat().st_mode & 0o777 == 0o600


def test_psql_needs_no_prefect(postgres):
    """It answers at once."""
    code = "import sys, flows.warehouse.local_server; print('prefect' in sys.modules)"
    assert python(code) == "False"
