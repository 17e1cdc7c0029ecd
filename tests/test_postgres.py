"""The server that starts when none answers: where, whose it is, and what its roles may do."""

import os
import shutil
import socket
import stat
import subprocess
from datetime import date
from pathlib import Path

import psycopg2
import pytest
from conftest import (
    HOME,
    free_port,
    land_made_up,
    let_others_in,
    point_to,
    run_outside_transaction,
    run_query,
)
from pydantic import SecretStr

from flows import settings as project
from flows.build import build
from flows.errors import PipelineError
from flows.models.state import is_up_to_date
from flows.prepare import prepare_warehouse
from flows.report.page import report
from flows.settings import Settings, read_settings
from flows.warehouse import connection as warehouse
from flows.warehouse import embedded as embedded_postgres
from flows.warehouse import local_server
from flows.warehouse.connection import Refused, Unreachable
from flows.warehouse.embedded import running_port, stop
from flows.warehouse.local_server import ensure_server
from flows.warehouse.roles import add_login


def ask(settings, question: str) -> str:
    return run_query(settings, question)[0][0]


def copy_the_package(packages: Path) -> None:
    """Have PostgreSQL's programs in another folder of packages as well."""
    packages.mkdir()
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        source = embedded_postgres.SITE_PACKAGES / part
        subprocess.run(["cp", "-al", source, packages / part], check=True)


@pytest.fixture
def untouched(own_server, monkeypatch) -> Settings:
    """Settings that nobody has set: the defaults, but for a port that is free on this machine."""
    for name in ("HOST", "PORT", "USER", "PASSWORD", "DB"):
        monkeypatch.delenv(f"POSTGRES_{name}", raising=False)
    settings = read_settings()
    settings.__dict__["port"] = own_server.port
    assert not settings.names_a_server
    return settings


class TestWhereItStarts:
    def test_it_starts_at_the_address_of_the_settings_if_nothing_listens_there(self, own_server):
        assert ensure_server(own_server) == own_server
        assert ask(own_server, "select current_database()") == "ny_taxi"
        assert not project.ENV_FILE.exists()

    def test_it_is_used_again_and_its_data_outlive_a_stop(self, own_server):
        ensure_server(own_server)
        run_query(own_server, "create table kept as select 1")
        assert stop(embedded_postgres.DATA_DIR)
        assert running_port(embedded_postgres.DATA_DIR) is None
        assert not stop(embedded_postgres.DATA_DIR)
        ensure_server(own_server)
        assert ask(own_server, "select count(*) from kept") == 1

    def test_a_new_database_in_the_settings_is_made(self, own_server):
        ensure_server(own_server)
        other = own_server.model_copy(update={"db": "other"})
        assert ask(ensure_server(other), "select current_database()") == "other"

    def test_a_port_is_taken_if_somebody_listens_at_any_address_of_the_host(self, own_server):
        """Of localhost, that may be ::1 alone: whoever connects would reach the stranger there."""
        try:
            stranger = socket.create_server(("::1", own_server.port), family=socket.AF_INET6)
        except OSError:
            pytest.skip("this machine has no IPv6")
        with stranger:
            settings = own_server.model_copy(update={"host": "localhost"})
            found = {family for family, *_ in socket.getaddrinfo("localhost", 0)}
            assert local_server.is_free(settings) == (socket.AF_INET6 not in found)
            assert not local_server.is_free(own_server.model_copy(update={"host": "::1"}))
            assert local_server.is_free(own_server.model_copy(update={"host": "127.0.0.1"}))

    def test_a_server_that_lets_us_in_is_used(self, postgres):
        assert ensure_server(postgres) == postgres

    def test_a_host_elsewhere_gets_no_server(self, own_server):
        with pytest.raises(Unreachable, match=r"taxi@127\.0\.0\.2"):
            ensure_server(own_server.model_copy(update={"host": "127.0.0.2"}))

    def test_there_is_no_free_port_above_the_last(self, own_server):
        with pytest.raises(PipelineError, match="no free port above 65535"):
            local_server.next_free_port(own_server.model_copy(update={"port": 65_535}))


class TestAnAddressThatNobodyHasSet:
    def test_gets_a_server_with_a_password_of_its_own_in_a_private_env_file(self, untouched):
        own = ensure_server(untouched)
        password = own.password.get_secret_value()
        assert len(password) > 20
        assert project.ENV_FILE.read_text() == f"POSTGRES_PASSWORD={password}\n"
        assert stat.S_IMODE(project.ENV_FILE.stat().st_mode) == 0o600
        assert ask(own, "select current_user") == "root"

    def test_gives_way_to_the_next_free_port_where_another_program_listens(
        self, untouched, caplog, monkeypatch
    ):
        monkeypatch.setitem(warehouse.CONNECT_ARGS, "connect_timeout", 2)  # this one never answers
        with socket.create_server(("127.0.0.1", untouched.port)):
            moved = ensure_server(untouched)
        assert moved.port > untouched.port
        assert f"POSTGRES_PORT={moved.port}\n" in project.ENV_FILE.read_text()
        assert f"Port {untouched.port} is in use by another program" in caplog.text
        assert ask(read_settings(), "select current_database()") == "ny_taxi"

    def test_gets_a_new_password_if_the_env_file_is_lost(self, untouched):
        first = ensure_server(untouched)
        project.ENV_FILE.unlink()
        second = ensure_server(untouched)
        assert second.password != first.password
        assert ask(read_settings().model_copy(update={"port": second.port}), "select 1") == 1


class TestAnAddressThatSomeoneHasSet:
    """Failing to get in is an error there; nothing is started, nothing is written."""

    def refuses(self, settings, message: str) -> None:
        with pytest.raises(PipelineError, match=message):
            ensure_server(settings)
        assert running_port(embedded_postgres.DATA_DIR) is None
        assert not project.ENV_FILE.exists()

    @pytest.mark.parametrize("name", ["user", "password"])
    def test_a_wrong_name_or_password_is_an_error(self, postgres, own_server, untouched, name):
        wrong = {"user": "nobody", "password": SecretStr("wrong")}[name]
        settings = untouched.model_copy(update={"host": postgres.host, name: wrong})
        settings.__dict__["port"] = postgres.port
        self.refuses(settings, r"password authentication failed.*Nothing was started: correct")

    def test_a_port_that_another_program_has_is_an_error(self, untouched, monkeypatch):
        monkeypatch.setitem(warehouse.CONNECT_ARGS, "connect_timeout", 2)
        named = untouched.model_copy(update={"port": untouched.port})
        with socket.create_server(("127.0.0.1", named.port)):
            self.refuses(named, r"timeout.*Nothing was started")

    def test_a_wrong_password_of_the_own_server_is_an_error(self, own_server):
        ensure_server(own_server)
        with pytest.raises(PipelineError, match="is this project's own: put POSTGRES_USER and"):
            ensure_server(own_server.model_copy(update={"password": SecretStr("new")}))
        assert ask(own_server, "select 1") == 1

    def test_another_port_than_that_of_the_running_server_is_an_error(self, own_server):
        ensure_server(own_server)
        other = own_server.model_copy(update={"port": free_port()})
        with pytest.raises(PipelineError, match=f"listens on port {own_server.port}: `make down`"):
            ensure_server(other)


class TestItsRoles:
    @pytest.mark.parametrize(
        "statement",
        [
            "copy (select 1) to program 'cat'",
            "create table t (x text); copy t from program 'id'",
            "select pg_read_file('/etc/passwd')",
            "create role friend",
            "create database another",
            "create role friend superuser",
            "alter role taxi superuser",
            "set session authorization nyc_taxi_superuser",
            "set role nyc_taxi_superuser",
        ],
    )
    def test_the_owner_can_do_nothing_outside_its_database(self, database, statement):
        with pytest.raises(
            psycopg2.ProgrammingError, match=r"permission denied|must be|only roles with"
        ):
            run_outside_transaction(database, *statement.split("; "))

    def test_nobody_connects_to_databases_of_others(self, postgres):
        for name in ("postgres", "template1"):
            with pytest.raises(Refused, match="permission denied for database"):
                run_query(postgres.model_copy(update={"db": name}), "select 1")

    def test_the_superusers_password_is_readable_by_the_servers_user_alone(self, postgres):
        path = embedded_postgres.superuser_file(HOME / "postgres")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_uid == (HOME / "postgres" / "PG_VERSION").stat().st_uid

    def test_the_server_asks_for_a_password(self, postgres):
        with pytest.raises(Refused, match="password authentication failed"):
            ask(postgres.model_copy(update={"password": SecretStr("guess")}), "select 1")

    def test_the_servers_environment_has_no_settings_of_ours(self, postgres, monkeypatch):
        pid = int((HOME / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        names = {entry.partition(b"=")[0].decode() for entry in environment if entry}
        assert not {name for name in names if "POSTGRES" in name or "PREFECT" in name}
        assert len(names) < 10 < len(os.environ)

    def test_no_password_is_in_its_log(self, own_server):
        own_server.password = SecretStr("n'othing to be seen")
        ensure_server(own_server)
        admin = embedded_postgres.superuser(embedded_postgres.DATA_DIR, own_server)
        log_all = ("alter system set log_statement = 'all'", "select pg_reload_conf()")
        run_outside_transaction(admin, *log_all)
        local_server.prepare(embedded_postgres.DATA_DIR, own_server)
        log = (embedded_postgres.DATA_DIR / "server.log").read_text()
        assert "othing to be seen" not in log


class TestADataFolderOfTheFirstVersion:
    @pytest.fixture
    def first_version(self, untouched, monkeypatch):
        """Its server runs: `root` is the superuser, with the password `root`."""
        folder = embedded_postgres.DATA_DIR
        with monkeypatch.context() as patch:
            patch.setattr(embedded_postgres, "SUPERUSER", "root")
            patch.setattr(embedded_postgres.secrets, "token_urlsafe", lambda _: "root")
            embedded_postgres.start(folder, untouched.port, untouched.host)
        embedded_postgres.superuser_file(folder).unlink()
        admin = untouched.model_copy(update={"db": "postgres"})
        run_outside_transaction(admin, "create database ny_taxi")
        run_query(
            untouched,
            "create role analyst login password 'analyst';"
            "create schema raw;"
            "create table raw.yellow_tripdata (source_month date) partition by list (source_month);"
            "create table raw.yellow_tripdata_2021_01 partition of raw.yellow_tripdata"
            " for values in ('2021-01-01');"
            "create table raw.loads (load_id bigint generated by default as identity);"
            "insert into raw.loads default values;"
            "create view yellow_taxi_trips as select * from raw.yellow_tripdata;"
            "grant select on yellow_taxi_trips to analyst;"
            "create function hello() returns int language sql return 1",
        )
        return untouched

    @pytest.mark.parametrize("is_running", [True, False])
    def test_goes_on_with_root_as_the_owner_of_all_and_no_superuser(
        self, first_version, is_running
    ):
        if not is_running:
            stop(embedded_postgres.DATA_DIR)
        own = ensure_server(first_version)
        assert own.password.get_secret_value() != "root"
        assert ask(own, "select rolsuper from pg_roles where rolname = 'root'") is False
        run_query(
            own,
            "insert into raw.loads default values; alter table raw.yellow_tripdata add x int;"
            "drop table raw.yellow_tripdata_2021_01; create schema staging;"
            "create or replace view yellow_taxi_trips as select source_month, 1 as more"
            " from raw.yellow_tripdata; drop function hello()",
        )
        assert ask(own, "select count(*) from raw.loads") == 2
        may_read = "select has_table_privilege('analyst', 'yellow_taxi_trips', 'select')"
        assert ask(own, may_read) is True
        assert ask(own, "select rolcanlogin from pg_roles where rolname = 'analyst'") is False
        assert ensure_server(read_settings().model_copy(update={"port": own.port})).port == own.port


class TestAnUpgrade:
    def test_a_running_server_outlives_the_environment_that_started_it(
        self, own_server, monkeypatch, tmp_path
    ):
        """`make` replaces .venv when the locked packages change, and a server reads its files."""
        packages = tmp_path / "site-packages"
        copy_the_package(packages)
        let_others_in(tmp_path)
        monkeypatch.setattr(embedded_postgres, "SITE_PACKAGES", packages)
        monkeypatch.setattr(embedded_postgres, "STATE", tmp_path / "state")
        monkeypatch.setattr(embedded_postgres, "DATA", tmp_path / "data")
        embedded_postgres.programs.cache_clear()
        try:
            server = ensure_server(own_server)
            shutil.rmtree(packages)
            assert ask(server, "select count(*) > 0 from pg_timezone_names") is True
            assert ask(server, "set timezone = 'America/New_York'; select 1") == 1
        finally:
            stop(embedded_postgres.DATA_DIR)
            embedded_postgres.programs.cache_clear()

    def test_data_of_an_older_postgresql_are_one_clear_line(self, own_server):
        ensure_server(own_server)
        stop(embedded_postgres.DATA_DIR)
        version = embedded_postgres.DATA_DIR / "PG_VERSION"
        version.write_text("17\n")
        with pytest.raises(PipelineError, match=r"holds the data of PostgreSQL 17, and this vers"):
            ensure_server(own_server)
        version.write_text("18\n")
        assert ask(ensure_server(own_server), "select 1") == 1


class TestAsRoot:
    pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user's server")

    def test_no_folder_above_the_data_or_the_programs_is_opened(
        self, request, own_server, monkeypatch, tmp_path
    ):
        """The project is in a home that others can't enter."""
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        (home / "packages").symlink_to(embedded_postgres.SITE_PACKAGES)
        packages = home / "site-packages"
        copy_the_package(packages)
        let_others_in(tmp_path)
        monkeypatch.setattr(embedded_postgres, "SITE_PACKAGES", packages)
        monkeypatch.setattr(embedded_postgres, "STATE", tmp_path / "state")
        monkeypatch.setattr(embedded_postgres, "DATA", home / "project" / "data")
        folder = embedded_postgres.data_folder()
        assert folder.is_relative_to(tmp_path / "state")
        monkeypatch.setattr(embedded_postgres, "DATA_DIR", folder)
        embedded_postgres.programs.cache_clear()
        request.addfinalizer(embedded_postgres.programs.cache_clear)  # whatever fails here
        try:
            assert ask(ensure_server(own_server), "select 1") == 1
            assert embedded_postgres.programs().is_relative_to(tmp_path / "state")
        finally:
            stop(folder)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700


class TestDelete:
    def test_the_data_stay_unless_someone_says_yes(self, own_server):
        ensure_server(own_server)
        with pytest.raises(PipelineError, match=r"is kept\. `make delete-data YES=1` deletes it"):
            local_server.delete()
        assert ask(own_server, "select 1") == 1

    def test_they_go_with_their_server_if_someone_does(self, own_server):
        ensure_server(own_server)
        local_server.delete(yes=True)
        assert not embedded_postgres.DATA_DIR.exists()
        assert running_port(embedded_postgres.DATA_DIR) is None


@pytest.mark.parametrize("name", ["o'brien", 'x"y'])
def test_a_database_whose_name_dbt_can_not_quote_is_refused_before_it_is_made(
    own_server, monkeypatch, name
):
    point_to(own_server)
    monkeypatch.setenv("POSTGRES_DB", name)
    with pytest.raises(PipelineError, match=f"the database {name} has a quotation mark in its na"):
        prepare_warehouse()
    assert not embedded_postgres.DATA_DIR.exists()


@pytest.mark.usefixtures("prefect_server", "models_alone")
def test_a_role_and_a_database_may_have_any_other_name(own_server):
    names = {"db": "O Brien%s-1", "user": 'o\'brien "x" %s'}
    settings = ensure_server(own_server.model_copy(update=names))
    point_to(settings)
    prepare_warehouse()
    land_made_up(date(2021, 1, 1), 1_000)
    assert build().models > 20
    assert ask(settings, "select count(*) > 900 from yellow_taxi_trips")
    assert "yellow" in report().read_text()
    login = {"user": "ohara", "password": SecretStr(add_login("ohara"))}
    reader = settings.model_copy(update=login)
    assert ask(reader, "select count(*) > 900 from trips")
    assert is_up_to_date()
