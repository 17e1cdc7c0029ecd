"""The server that starts when none answers: where, with whose password, and whose port."""

import socket

import pytest
from pydantic import SecretStr

from flows import warehouse
from flows.errors import PipelineError
from flows.laptop import postgres as embedded_postgres
from flows.laptop.postgres import ensure_server, ensure_warehouse, running_port, stop
from flows.warehouse import BLOCK_NAME, Unreachable, address, connect, load_block, url_of


def ask(settings, question: str) -> str:
    with connect(settings) as connection, connection.begin():
        return connection.exec_driver_sql(question).scalar_one()


def test_starts_at_the_address_of_the_settings(own_server):
    assert ensure_server(own_server) == own_server
    assert ask(own_server, "select current_database()") == "ny_taxi"
    assert not embedded_postgres.ENV_FILE.exists()


def test_asks_for_the_password(own_server):
    ensure_server(own_server)
    with pytest.raises(Unreachable, match="password authentication failed"):
        ask(own_server.model_copy(update={"password": SecretStr("guess")}), "select 1")


def test_is_used_again_and_outlives_a_stop(own_server):
    ensure_server(own_server)
    ask(own_server, "create table kept as select 1; select 1")
    assert stop(embedded_postgres.DATA_DIR)
    assert running_port(embedded_postgres.DATA_DIR) is None
    assert not stop(embedded_postgres.DATA_DIR)
    ensure_server(own_server)
    assert ask(own_server, "select count(*) from kept") == 1


def test_moves_when_the_port_is_somebody_elses_and_writes_it_down(own_server, caplog, monkeypatch):
    monkeypatch.setitem(warehouse.CONNECT_ARGS, "connect_timeout", 2)  # this one never answers
    with socket.create_server(("127.0.0.1", own_server.port)):
        moved = ensure_server(own_server)
        assert moved.port > own_server.port
        assert embedded_postgres.ENV_FILE.read_text() == f"POSTGRES_PORT={moved.port}\n"
        assert f"Port {own_server.port} is somebody else's" in caplog.text
        assert ask(moved, "select current_database()") == "ny_taxi"
        assert ensure_server(own_server) == moved  # the second run finds the first one's server


def test_a_server_that_knows_us_is_used(postgres):
    assert ensure_server(postgres) == postgres


def test_a_server_that_does_not_know_us_is_somebody_elses(postgres, own_server):
    stranger = postgres.model_copy(update={"user": "nobody"})
    assert ensure_server(stranger).port != postgres.port


def test_the_own_server_with_another_password_is_one_clear_line(own_server):
    ensure_server(own_server)
    with pytest.raises(PipelineError, match="made with other credentials: put those back"):
        ensure_server(own_server.model_copy(update={"password": SecretStr("new")}))


def test_a_host_elsewhere_gets_no_server(own_server):
    with pytest.raises(Unreachable, match=r"taxi@127\.0\.0\.2"):
        ensure_server(own_server.model_copy(update={"host": "127.0.0.2"}))


def test_an_old_server_is_one_clear_line(postgres, monkeypatch):
    monkeypatch.setattr(warehouse, "OLDEST_VERSION", 99)
    with pytest.raises(PipelineError, match="is PostgreSQL 18, and 99 is the oldest that will do"):
        ensure_server(postgres)


def test_no_free_port_above_the_last(own_server):
    with pytest.raises(PipelineError, match="no free port above 65535"):
        embedded_postgres.next_free_port(own_server.model_copy(update={"port": 65_535}))


@pytest.mark.usefixtures("prefect_server")
class TestBlock:
    @pytest.fixture(autouse=True)
    def no_block(self):
        from prefect_sqlalchemy import SqlAlchemyConnector

        if load_block():
            SqlAlchemyConnector.delete(BLOCK_NAME)

    def test_is_made_from_the_settings(self, database):
        assert load_block() is None
        ensure_warehouse()
        assert url_of(load_block()) == database.url

    def test_that_a_person_has_edited_counts_for_more(self, postgres, database, caplog):
        warehouse.save_block(postgres)
        ensure_warehouse()
        assert url_of(load_block()) == postgres.url
        assert "the block counts" in caplog.text
        assert database.password.get_secret_value() not in caplog.text

    def test_may_be_a_url(self, database):
        from prefect_sqlalchemy import SqlAlchemyConnector

        url = database.url.render_as_string(hide_password=False)
        SqlAlchemyConnector(connection_info=url).save(BLOCK_NAME)
        with connect() as connection:
            name = connection.exec_driver_sql("select current_database()").scalar_one()
        assert name == database.db

    def test_of_a_local_server_that_is_gone_is_made_anew(self, database, unused_port):
        warehouse.save_block(database.model_copy(update={"port": unused_port}))
        ensure_warehouse()
        assert url_of(load_block()) == database.url

    def test_of_a_server_elsewhere_stays(self, database, unused_port):
        elsewhere = database.model_copy(update={"host": "127.0.0.2", "port": unused_port})
        warehouse.save_block(elsewhere)
        with pytest.raises(Unreachable):
            ensure_warehouse()
        assert url_of(load_block()) == elsewhere.url


@pytest.mark.parametrize("value", ["five", "70000"])
def test_a_port_that_is_none_is_one_clear_line(monkeypatch, value):
    monkeypatch.setenv("POSTGRES_PORT", value)
    with pytest.raises(PipelineError, match=f"POSTGRES_PORT is '{value}'"):
        warehouse.read_settings()


def test_passwords_are_not_shown(postgres):
    secret = postgres.password.get_secret_value()
    for text in (repr(postgres), str(postgres.url), address(postgres.url)):
        assert secret not in text
