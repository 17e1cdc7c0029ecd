"""Members of the role `analyst` read the marts and the dictionary, and can do nothing else."""

import re
from datetime import date

import pytest
from conftest import HOME, OURS, build_by_hand, land_made_up, point_to, run_query
from psycopg2.extensions import encrypt_password
from pydantic import SecretStr
from sqlalchemy.exc import ProgrammingError

from flows.errors import PipelineError, UsageError
from flows.settings import Settings
from flows.warehouse import embedded as embedded_postgres
from flows.warehouse import roles as analysts
from flows.warehouse.connection import Refused, connect, environment_of
from flows.warehouse.local_server import administrator, ensure_server
from flows.warehouse.roles import add_login, analyst, ensure_analyst


@pytest.fixture(scope="module")
def built(built_january):
    """One month is enough here."""
    return built_january


@pytest.fixture(scope="module")
def anna(built):
    """The settings of a person's login."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded_postgres, "DATA_DIR", HOME / "postgres")
        point_to(built)
        name = f"{OURS}anna"
        return built.model_copy(update={"user": name, "password": SecretStr(add_login(name))})


@pytest.mark.any_postgres
@pytest.mark.parametrize(
    "table",
    [
        *("yellow_taxi_trips", "trips_enriched", "trip_accounting", "rejected_trips"),
        *("daily_trips", "hourly_demand", "zone_pairs", "payment_mix"),
        *("taxi_zones", "vendors", "rate_codes", "payment_types", "store_and_fwd_flags"),
        *("request_sources", "fhv_bases", "tlc_yellow_trips"),
    ],
)
def test_a_member_reads_the_marts_and_the_dictionary(anna, table):
    [(count,)] = run_query(anna, f"select count(*) from {table}")
    assert count > 0 or table == "rejected_trips"  # of which a made-up month has none


@pytest.mark.any_postgres
@pytest.mark.parametrize(
    "statement",
    [
        "select * from raw.yellow_tripdata",
        "select * from raw.loads",
        "select * from staging.stg_tlc__yellow_trips",
        "delete from yellow_taxi_trips",
        "insert into vendors values (9, 'me')",
        "create table public.mine (x int)",
        "create schema mine",
        "drop schema {schema}",
        "drop table yellow_taxi_trips",
        "lock table yellow_taxi_trips in access exclusive mode",
        "copy yellow_taxi_trips to program 'cat'",
    ],
)
def test_a_member_can_do_nothing_else(anna, statement):
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        run_query(anna, statement.format(schema=anna.user))


@pytest.mark.any_postgres
def test_a_member_keeps_tables_and_views_in_a_schema_of_their_own(anna, built):
    with connect(anna) as connection, connection.begin():
        stored = connection.exec_driver_sql(
            "select setconfig from pg_db_role_setting where setrole = current_user::regrole"
            " and setdatabase = (select oid from pg_database where datname = current_database())"
        ).scalar_one()
        assert sorted(stored) == ['search_path="$user", public', "statement_timeout=10min"]
        connection.exec_driver_sql(f"create table {anna.user}.kept as select * from vendors")
        connection.exec_driver_sql(f"create view {anna.user}.seen as select * from trips")
        connection.exec_driver_sql("create temporary table passing as select * from vendors")
        assert connection.exec_driver_sql("select count(*) > 0 from passing").scalar()
    # The owner of the warehouse can put away what is in the way there.
    run_query(built, f"drop view {anna.user}.seen; drop table {anna.user}.kept")


@pytest.mark.any_postgres
def test_a_tool_may_ask_for_the_rights_on_any_table_by_its_name(anna):
    asked = (
        "select relnamespace::regnamespace::text, bool_or(has_table_privilege(format('%%I.%%I',"
        " relnamespace::regnamespace, relname), 'select')) from pg_class"
        " where relkind in ('r', 'p', 'v') and relnamespace::regnamespace::text"
        " in ('public', 'raw', 'staging', 'trip_months') group by 1"
    )
    rights = dict(run_query(anna, asked))
    assert rights == {"public": True, "raw": False, "staging": False, "trip_months": False}


@pytest.mark.any_postgres
def test_a_role_that_was_made_after_the_build_reads_the_marts(built):
    """As after a restore, which brings no roles."""
    with connect(built) as owner, owner.begin():
        owner.exec_driver_sql("revoke select on trips, daily_trips, vendors from analyst")
    with connect(built) as owner:
        ensure_analyst(owner)
    tables = "select has_table_privilege('analyst', name, 'select') from unnest(%s) as name"
    with connect(built) as owner:
        found = owner.exec_driver_sql(tables, (["trips", "daily_trips", "vendors"],))
        assert found.scalars().all() == [True, True, True]


class TestAMemberCannotDisturbOthers:
    @pytest.mark.parametrize(
        "statement",
        [
            "select lo_create(0)",
            "select lo_creat(-1)",
            "select lo_from_bytea(0, 'x')",
            "select pg_advisory_lock(1)",
            "select pg_try_advisory_lock(1, 2)",
            "select pg_advisory_xact_lock_shared(1)",
            "alter role analyst set search_path = nowhere",
            "alter role analyst password 'mine'",
            "set role analyst",
            "alter role taxi set search_path = nowhere",
            "set temp_file_limit = -1",
        ],
    )
    def test_by_a_statement(self, anna, statement):
        with pytest.raises(ProgrammingError, match=r"permission denied|must be"):
            run_query(anna, statement)

    def test_by_temporary_files_without_a_limit(self, anna, built):
        show = "select current_setting('temp_file_limit')"
        assert run_query(anna, show) == [("2GB",)]
        assert run_query(built, show) == [("-1",)]

    @pytest.mark.parametrize("name", ["postgres", "template1", "empty"])
    def test_in_another_database(self, anna, name, superuser):
        run_query(superuser, "revoke connect on database empty from analyst")
        with pytest.raises(Refused, match="permission denied for database"):
            run_query(anna.model_copy(update={"db": name}), "select 1")


class TestALogin:
    @pytest.fixture(autouse=True)
    def at_home(self, built, monkeypatch):
        monkeypatch.setattr(embedded_postgres, "DATA_DIR", HOME / "postgres")
        point_to(built)

    def test_gets_another_password_on_command_only(self, built):
        bob = built.model_copy(update={"user": "bob", "password": SecretStr(add_login("bob"))})
        with connect(built) as owner:
            ensure_analyst(owner)  # as each run does
        assert add_login("bob") is None
        assert run_query(bob, "select 1") == [(1,)]
        again = bob.model_copy(update={"password": SecretStr(add_login("bob", new_password=True))})
        assert run_query(again, "select 1") == [(1,)]
        with pytest.raises(Refused, match="password authentication failed"):
            run_query(bob, "select 1")

    @pytest.mark.parametrize("name", ["taxi", "analyst", "nyc_taxi_superuser"])
    def test_takes_no_role_that_exists_already(self, built, name):
        with pytest.raises(PipelineError, match=f"a role {name} exists already"):
            add_login(name)
        assert run_query(built, "select 1") == [(1,)]

    @pytest.mark.parametrize(
        "name",
        ["O'Neill", 'the "boss"', "Anna", "select", "pg_anna", "public", "raw", "x" * 60, ""],
    )
    def test_has_no_name_that_needs_quotes_or_is_a_schemas(self, name):
        with pytest.raises(UsageError, match="can't be the name of a login"):
            add_login(name)

    def test_takes_no_schema_that_exists_already(self, built):
        run_query(built, "create schema erik")
        with pytest.raises(PipelineError, match="a schema erik exists already"):
            add_login("erik")
        assert run_query(built, "select * from pg_roles where rolname = 'erik'") == []
        run_query(built, "drop schema erik")

    def test_is_made_by_an_administrator_where_we_may_not_make_roles(self, built, monkeypatch):
        monkeypatch.setattr(analysts, "administrator", lambda url: url)
        with pytest.raises(PipelineError) as refusal:
            add_login("carl")
        _, *commands = str(refusal.value).splitlines()
        assert commands[-1] == r"\password carl"
        monkeypatch.undo()
        monkeypatch.setattr(embedded_postgres, "DATA_DIR", HOME / "postgres")
        point_to(built)
        with connect(administrator(built.url)) as connection, connection.begin():
            connection.exec_driver_sql("".join(commands[2:-1]))  # the first two are done
        [(path,)] = run_query(
            built,
            "select setconfig[1] from pg_db_role_setting join pg_roles on pg_roles.oid = setrole"
            " where rolname = 'carl'",
        )
        assert path == 'search_path="$user", public'

    def test_comes_from_the_command_line(self, capsys):
        shown = str(analyst("flora"))
        password = re.search(r"^Password:  (\S{24})  ", shown, re.MULTILINE)
        assert password
        assert "Password:  as it was" in str(analyst("flora"))
        assert password[1] not in str(analyst("flora", new_password=True))


class TestOnAServerOfItsOwn:
    """Roles are a server's, and the other tests need the suite's as it is."""

    @pytest.fixture
    def own(self, own_server, monkeypatch) -> Settings:
        ensure_server(own_server)
        for name, value in environment_of(own_server.url).items():
            monkeypatch.setenv(name, value)
        return own_server

    @pytest.fixture
    def admin(self, own) -> Settings:
        return embedded_postgres.superuser(embedded_postgres.DATA_DIR, own)

    @pytest.fixture
    def foreign(self, own, admin) -> Settings:
        """A person `analyst`, who was there before."""
        run_query(admin, "comment on role analyst is null; alter role analyst login")
        with connect(admin) as connection:
            driver = connection.connection.driver_connection
            known = encrypt_password("theirs", "analyst", driver, "scram-sha-256")
        run_query(admin, f"alter role analyst password '{known}'")
        return own.model_copy(update={"user": "analyst", "password": SecretStr("theirs")})

    @pytest.mark.usefixtures("prefect_server")
    def test_a_role_that_is_not_ours_keeps_its_password_and_gets_nothing(self, foreign, own, admin):
        with connect(admin) as owner:
            ensure_analyst(owner)
        land_made_up(date(2021, 1, 1), 100)
        build_by_hand(own, "seed")
        build_by_hand(own, "run --select +yellow_taxi_trips")
        assert run_query(foreign, "select 1") == [(1,)]
        for table in ("vendors", "yellow_taxi_trips"):
            granted = f"select has_table_privilege('analyst', '{table}', 'select')"
            assert run_query(own, granted) == [(False,)]

    @pytest.mark.usefixtures("foreign")
    def test_a_role_that_is_not_ours_takes_no_logins(self):
        with pytest.raises(PipelineError, match="the role analyst is not this project's"):
            add_login("dora")

    def test_the_role_is_made_by_a_run_where_we_may_make_roles(self, own, admin):
        """On servers that are not the project's own."""
        run_query(
            admin,
            "alter role analyst rename to put_aside;"
            "create role maker createrole login password 'm';"
            f"grant connect on database {own.db} to maker",
        )
        maker = own.model_copy(update={"user": "maker", "password": SecretStr("m")})
        with connect(maker) as connection:
            ensure_analyst(connection)
            ensure_analyst(connection)
        made = "select rolcanlogin, shobj_description(oid, 'pg_authid') from pg_roles"
        assert run_query(admin, f"{made} where rolname = 'analyst'") == [(False, analysts.MARK)]


def test_an_owners_own_grants_survive_a_build(superuser, january, built_january):
    run_query(superuser, "create role colleague")
    run_query(january, "grant select on vendors, daily_trips to colleague")
    land_made_up(date(2021, 2, 1), 100)
    build_by_hand(january)
    for table in ("vendors", "daily_trips"):
        may = f"select has_table_privilege('colleague', '{table}', 'select')"
        assert run_query(january, may) == [(True,)]
    run_query(january, "revoke select on vendors, daily_trips from colleague")
    run_query(superuser, "drop role colleague")


@pytest.mark.any_postgres
def test_every_mart_is_described_where_people_look(anna):
    """psql's \\d+ and pgAdmin show these comments."""
    undescribed = run_query(
        anna,
        "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v')"
        " and a.attnum > 0"
        " and (col_description(c.oid, a.attnum) is null or obj_description(c.oid) is null)",
    )
    assert undescribed == []
