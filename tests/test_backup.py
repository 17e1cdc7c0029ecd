"""A backup of the embedded server, and its restore: all of it, or one line and nothing changed."""

import json
import shutil
from datetime import date

import pytest
from conftest import HOME, WAREHOUSE, create_anew, point_to, run_outside_transaction, run_query
from made_up import made_up_month
from pydantic import SecretStr

from flows.elt import elt
from flows.errors import PipelineError
from flows.models.state import is_up_to_date
from flows.warehouse import embedded, local_server
from flows.warehouse.backup import backup, restore
from flows.warehouse.roles import add_login

JANUARY = date(2021, 1, 1)
COUNTS = "select count(*) from raw.yellow_tripdata union all select count(*) from yellow_taxi_trips"


@pytest.fixture
def own_backups(monkeypatch, tmp_path):
    """The suite's server is this project's own, and has no backups."""
    monkeypatch.setattr(embedded, "DATA_DIR", HOME / "postgres")
    monkeypatch.setattr(local_server, "BACKUPS", tmp_path / "backups")


@pytest.fixture
def saved(january, own_backups):
    """A backup of January, built; the warehouse is empty again."""
    folder = backup()
    create_anew(january)
    return folder


def names_of_databases(settings) -> set[str]:
    return {name for (name,) in run_query(settings, "select datname from pg_database")}


def test_a_backup_restored_into_a_fresh_server_is_the_same_warehouse_and_nothing_is_rebuilt(
    january, own_backups, own_server, superuser, monkeypatch
):
    own_data = embedded.DATA_DIR
    monkeypatch.setattr(embedded, "DATA_DIR", HOME / "postgres")
    password = add_login("saved_anna")
    run_query(january, "create table notes as select 'x' as note; grant select on notes to analyst")
    run_query(superuser, "alter role saved_anna set statement_timeout = '7min'")
    run_outside_transaction(
        superuser, f"alter role saved_anna in database {january.db} set search_path = public, raw"
    )
    before = run_query(january, COUNTS)
    folder = backup()
    run_query(
        superuser.model_copy(update={"db": january.db}),
        "drop owned by saved_anna; drop role saved_anna",
    )

    monkeypatch.setattr(embedded, "DATA_DIR", own_data)
    fresh = own_server.model_copy(update={"db": january.db})
    point_to(fresh)
    restore()
    assert run_query(fresh, COUNTS) == before
    state = elt(source=str(made_up_month(JANUARY, 1_000)), return_state=True)
    assert state.is_completed()
    assert not state.result().has_changed
    assert is_up_to_date()
    anna = fresh.model_copy(update={"user": "saved_anna", "password": SecretStr(password)})
    assert run_query(anna, "select count(*) > 900 from yellow_taxi_trips cross join notes") == [
        (True,)
    ]
    settings = "select setconfig[1] from pg_db_role_setting where setconfig[1] ~ '7min|, raw'"
    assert run_query(fresh, f"{settings} order by setdatabase") == [
        ("statement_timeout=7min",),
        ("search_path=public, raw",),
    ]
    with pytest.raises(PipelineError, match="has 1 month already, and a backup is restored into"):
        restore()
    assert run_query(fresh, COUNTS) == before
    assert json.loads((folder / "manifest.json").read_text())["months"][0]["rows"] == 1_000


def test_a_file_that_is_missing_or_has_changed_is_named_and_nothing_is_restored(saved, january):
    files = sorted((saved / "dump").glob("*.dat.gz"))
    content = files[0].read_bytes()
    files[0].write_bytes(content[:-1])
    with pytest.raises(PipelineError, match=f"{files[0].name} has changed since the backup was ma"):
        restore(saved)
    files[0].unlink()
    with pytest.raises(PipelineError, match=f"{files[0].name} can't be read .*No such file"):
        restore(saved)
    (saved / "manifest.json").unlink()
    with pytest.raises(PipelineError, match=r"is not a backup: its manifest\.json can't be read"):
        restore(saved)
    assert run_query(january, "select to_regnamespace('raw')") == [(None,)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda manifest: manifest["tables"]["raw.yellow_tripdata"][0].update(hash="1"),
            "raw.yellow_tripdata 2021-01-01 is not restored as it was backed up: its rows differ",
        ),
        (lambda manifest: manifest["tables"].pop("public.vendors"), "public.vendors is not resto"),
        (lambda manifest: manifest["months"][0].update(rows=1), "audit, raw.loads, is not the one"),
    ],
)
def test_what_is_not_restored_as_it_was_is_one_line_and_the_warehouse_stays_empty(
    saved, january, change, said
):
    path = saved / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(PipelineError, match=f"nothing was restored: .*{said}"):
        restore(saved)
    assert run_query(january, "select to_regnamespace('raw')") == [(None,)]
    assert not {name for name in names_of_databases(january) if name.startswith("restoring")}


def test_what_a_killed_restore_has_left_is_dropped_by_the_next(saved, january, superuser):
    run_outside_transaction(superuser, f"create database restoring_{WAREHOUSE}")
    run_query(superuser.model_copy(update={"db": f"restoring_{WAREHOUSE}"}), "create schema raw")
    restore()
    assert run_query(january, "select count(*) from raw.yellow_tripdata") == [(1_000,)]
    assert f"restoring_{WAREHOUSE}" not in names_of_databases(january)


def test_a_backup_of_another_owner_says_whose_it_is(saved, monkeypatch):
    path = saved / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"owner": "root"}))
    with pytest.raises(PipelineError, match="of a warehouse of root, and POSTGRES_USER is taxi"):
        restore()


def test_a_disk_that_is_full_for_a_backup_is_one_line_and_leaves_nothing(
    january, own_backups, small_disk, monkeypatch
):
    disk = small_disk(1)
    (disk / "filler").write_bytes(b"x" * 900_000)
    monkeypatch.setattr(local_server, "BACKUPS", disk / "backups")
    with pytest.raises(PipelineError, match=r"^no backup was made: .*No space left.*Make room on"):
        backup()
    assert not [*(disk / "backups").iterdir()]
    assert local_server.newest_backup() is None


def test_there_is_one_backup_at_a_time_and_a_killed_ones_files_go_with_the_next(
    january, own_backups, superuser
):
    leftover = local_server.BACKUPS / ".2020-01-01T00-00-00Z.partial"
    leftover.mkdir(parents=True)
    admin = superuser.model_copy(update={"db": january.db})
    with local_server.connect(admin) as other:
        other.exec_driver_sql("select pg_advisory_lock(hashtext('nyc-taxi-elt backup or restore'))")
        with pytest.raises(PipelineError, match=r"another backup or restore of .* is at work"):
            backup()
        assert leftover.exists()
    folder = backup()
    assert [*local_server.BACKUPS.iterdir()] == [folder]
    assert folder.stat().st_mode & 0o077 == 0


def test_without_a_month_or_a_backup_it_says_so(database, own_backups):
    with pytest.raises(PipelineError, match="no month has been loaded yet: `make run` loads one"):
        backup()
    with pytest.raises(PipelineError, match=r"there is no backup in .*: `make backup` makes one"):
        restore()


def test_a_server_of_others_is_referred_to_the_page_about_backups(database, monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "DATA_DIR", tmp_path / "postgres")
    with pytest.raises(PipelineError, match=r"is not the embedded server .*docs/backup\.md"):
        backup()


def test_deleting_the_data_names_the_newest_backup_or_that_there_is_none(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(embedded, "DATA_DIR", tmp_path / "postgres")
    monkeypatch.setattr(local_server, "BACKUPS", tmp_path / "backups")
    embedded.DATA_DIR.mkdir()
    for name in (None, "2026-01-02T00-00-00Z", "2026-01-01T00-00-00Z"):
        if name:
            (local_server.BACKUPS / name).mkdir(parents=True)
            (local_server.BACKUPS / name / "manifest.json").touch()
        with pytest.raises(PipelineError, match="is kept"):
            local_server.delete()
    newest = f"The newest backup is {local_server.BACKUPS / '2026-01-02T00-00-00Z'}"
    none = "There is no backup: `make backup` makes one"
    assert capsys.readouterr().out.splitlines() == [none, newest, newest]
    shutil.rmtree(local_server.BACKUPS)
