"""Raw months that are let go: what stays, where the rows are, and how they come back."""

from datetime import date

import pytest
from conftest import land_made_up, load_file, run_dbt
from made_up import made_up_month

from flows.archive import archive, land_month_again
from flows.build import build
from flows.cli import parse
from flows.errors import PipelineError, TransientError
from flows.models.state import is_up_to_date
from flows.plan import present_loads
from flows.tlc.datasets import DATASETS, DatasetMonth
from flows.warehouse import archive as module
from flows.warehouse.archive import archive_month, sha256_of
from flows.warehouse.connection import connect

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
YELLOW = DATASETS["yellow"]
RAW = "select t::text from raw.yellow_tripdata as t order by source_month, source_row"
BUILT = (
    "select 'trips', t::text from yellow_taxi_trips as t union all"
    " select 'accounting', t::text from trip_accounting as t union all"
    " select 'health', t::text from month_health as t union all"
    " select 'rejected', t::text from rejected_trips as t order by 1, 2"
)
# As after an edit of the model's SQL.
BUILT_BY_OTHER_CODE = (
    "update bookkeeping.built_months set code = 'old' where relation = 'public.yellow_taxi_trips'"
    " and source_month = '2021-01-01'; delete from bookkeeping.built_projects"
)
archive_at_once = archive_month.with_options(retries=0)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The archive's, which is empty."""
    monkeypatch.setattr(module, "ARCHIVE", tmp_path / "archive")
    return module.ARCHIVE


@pytest.fixture
def archived(january, folder):
    """January, built, and let go; returns its file."""
    archive_month(YELLOW, JANUARY)
    [file] = folder.iterdir()
    return file


def test_of_an_archived_month_all_that_is_made_of_it_stays_and_nothing_is_to_be_done(
    january, folder, query
):
    before, raw = query(BUILT), query(RAW)
    archived = archive_month(YELLOW, JANUARY)
    assert (len(raw), query(RAW)) == (1_000, [])
    assert query(BUILT) == before
    [file] = folder.iterdir()
    assert file.name.startswith("yellow_tripdata_2021-01_load_1_")
    assert (file.name, file.stat().st_size) == (archived.file, archived.bytes)
    assert query("select file, sha256, bytes, row_count from raw.archives") == [
        (file.name, sha256_of(file), archived.bytes, 1_000)
    ]
    assert is_up_to_date()
    assert not load_file(made_up_month(JANUARY, 1_000), JANUARY).is_new
    [present] = present_loads([DatasetMonth(YELLOW, JANUARY)])
    assert present.rows == 1_000
    assert archive_month(YELLOW, JANUARY).raw_bytes == 0
    assert query(RAW) == []


def test_a_month_is_landed_again_row_by_row_as_it_was_whatever_its_values(january, folder, query):
    odd = "U&'\\0022a\\000A\\000D\\000D\\000A,b\\0009\\00E9\\\\.'"
    query(
        f"update raw.yellow_tripdata set store_and_fwd_flag = {odd} where source_row = 1;"
        " update raw.yellow_tripdata set vendorid = '' where source_row = 2;"
        " update raw.yellow_tripdata set vendorid = null, extra = '\\.' where source_row = 3;"
        " update raw.yellow_tripdata set load_id = 7 where source_row = 4"
    )
    types = (
        "select attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
        " where attrelid = 'raw.yellow_tripdata_2021_01'::regclass and attnum > 0"
        " order by attnum"
    )
    raw, kinds = query(RAW), query(types)
    archive_month(YELLOW, JANUARY)
    assert archive(months="2021-01", land_again=True).archived == ()
    assert (query(RAW), query(types)) == (raw, kinds)
    assert is_up_to_date()
    table = "select 'raw.yellow_tripdata_2021_01'::regclass::oid"
    landed = query(table)
    land_month_again(YELLOW, JANUARY)
    assert query(table) == landed  # it was there
    archive_month(YELLOW, JANUARY)
    assert query(RAW) == []


def test_the_way_back_from_a_trip_says_where_its_row_is(archived, query):
    [(trip_id, row)] = query("select trip_id, source_row from yellow_taxi_trips order by 1 limit 1")
    origin = f"select archive, row_in_archive, raw_values, line_in_file from trip_origin({trip_id})"
    assert query(origin) == [(archived.name, row, None, row + 1)]
    land_month_again(YELLOW, JANUARY)
    [(file, number, values, _)] = query(origin)
    assert (file, number) == (None, None)
    assert values["vendorid"] or "vendorid" not in values


def test_landing_again_keeps_no_lock_of_the_table_while_it_copies(archived, query, monkeypatch):
    """A load that replaces another month would wait for its end."""
    create, holders = module.create_partition, []

    def create_while_one_looks(*given):
        looked = "select raw.holders_of(array['raw.yellow_tripdata'::regclass])"
        holders.extend(query(looked))
        return create(*given)

    monkeypatch.setattr(module, "create_partition", create_while_one_looks)
    land_month_again(YELLOW, JANUARY)
    assert holders == [(None,)]


@pytest.mark.parametrize("full_refresh", [False, True])
def test_a_build_that_needs_the_rows_lands_them_again_by_itself(
    january, folder, query, caplog, full_refresh
):
    raw, before = query(RAW), query(BUILT)
    archive_month(YELLOW, JANUARY)
    if not full_refresh:
        query(BUILT_BY_OTHER_CODE)
    build(full_refresh=full_refresh)
    assert "yellow 2021-01: landed 1,000 rows again from" in caplog.text
    assert (query(RAW), query(BUILT)) == (raw, before)
    assert is_up_to_date()


@pytest.mark.usefixtures("models_alone")
def test_a_month_whose_file_is_gone_fails_alone_and_stays_as_it_was_built(archived, query):
    before = query("select t::text from yellow_taxi_trips as t order by 1")
    content = archived.read_bytes()
    archived.unlink()
    land_made_up(FEBRUARY, 500)
    query(BUILT_BY_OTHER_CODE)
    said = "dbt build: yellow 2021-01 can't be landed again: .*No such file.*" + archived.name
    with pytest.raises(PipelineError, match=said):
        build()
    trips = (
        "select t::text from yellow_taxi_trips as t where source_month = '2021-01-01' order by 1"
    )
    assert query(trips) == before
    built = "select source_month, raw_rows from trip_accounting order by 1"
    assert query(built) == [(JANUARY, 1_000), (FEBRUARY, 500)]
    assert not is_up_to_date()
    archived.write_bytes(content[:-1] + b"?")
    with pytest.raises(PipelineError, match=f"{archived.name} has changed since it was written"):
        archive(months="2021-01", land_again=True)
    archived.write_bytes(content)
    build()
    assert query(trips) == before
    assert is_up_to_date()


@pytest.mark.usefixtures("models_alone")
def test_a_table_that_gets_a_new_shape_names_the_month_whose_file_is_gone_and_keeps_its_trips(
    archived, query
):
    land_made_up(FEBRUARY, 500)
    build()
    trips = "select t::text from yellow_taxi_trips as t order by 1"
    before = query(trips)
    archived.rename(archived.with_suffix(".elsewhere"))
    query(
        "update bookkeeping.built_shapes set shape = 'old' where relation like '%%yellow_taxi_t%%'"
    )
    query("delete from bookkeeping.built_projects")
    said = (
        rf"^dbt build: yellow 2021-01 can't be landed again: [^;]*{archived.name}'; "
        "yellow_taxi_trips stays as it was: it gets other columns, and so needs all of its months$"
    )
    with pytest.raises(PipelineError, match=said):
        build()
    assert query(trips) == before
    archived.with_suffix(".elsewhere").rename(archived)
    build()
    assert query(trips) == before
    assert is_up_to_date()


def test_dbt_alone_says_how_to_land_an_archived_month(archived, january):
    is_done, said = run_dbt(january, "run --full-refresh --select zero_passengers")
    assert not is_done
    assert (
        "yellow 2021-01: archived, and public.zero_passengers is to be built of them. Land them "
        "again, as with make archive DATASET=yellow MONTH=2021-01 ARGS=--land-again"
    ) in said


def test_a_new_file_replaces_an_archived_month_and_the_archive_keeps_the_old_one(archived, query):
    load_file(made_up_month(JANUARY, 900), JANUARY)
    assert query("select count(*) from raw.yellow_tripdata") == [(900,)]
    with pytest.raises(PipelineError, match="its trips are not built yet: `make run` builds them"):
        archive_at_once(YELLOW, JANUARY)
    assert archived.exists()
    assert query("select load_id from raw.archives") == [(1,)]


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ("raw.keep_turn('yellow 2021-01')", "another run is loading it"),
        ("raw.take_turns('build')", "another run is building"),
        ("raw.keep_turn('public.yellow_taxi_trips')", "public.yellow_taxi_trips is being built"),
    ],
)
def test_a_month_that_is_being_loaded_or_built_stays_in_raw(january, folder, query, turn, said):
    with connect(january) as other, other.begin():
        other.exec_driver_sql(f"select {turn}")
        with pytest.raises(TransientError, match=f"yellow 2021-01 stays in raw: {said}"):
            archive_at_once(YELLOW, JANUARY)
    assert query("select count(*) from raw.yellow_tripdata") == [(1_000,)]
    archive_at_once(YELLOW, JANUARY)


def test_a_disk_that_is_full_is_one_line_and_the_month_stays_in_raw(
    january, small_disk, query, monkeypatch
):
    disk = small_disk(1)
    (disk / "filler").write_bytes(b"x" * 1_035_000)
    monkeypatch.setattr(module, "ARCHIVE", disk / "archive")
    with pytest.raises(PipelineError, match=r"2021-01 stays in raw: .*No space left.*Make room an"):
        archive_month(YELLOW, JANUARY)
    assert query("select count(*) from raw.yellow_tripdata") == [(1_000,)]
    assert not [*(disk / "archive").iterdir()]
    (disk / "filler").unlink()
    archive_month(YELLOW, JANUARY)


def test_a_file_that_does_not_read_as_what_was_written_keeps_the_month_in_raw(
    january, folder, query, monkeypatch
):
    """A disk that gives back other bytes than it got, as far as a test can be one."""
    original = module.Reader.read

    def other_bytes(self, size: int = -1) -> bytes:
        content = original(self, size)
        if content:
            self.hash.update(b"?")
        return content

    monkeypatch.setattr(module.Reader, "read", other_bytes)
    with pytest.raises(PipelineError, match="does not read as what was written"):
        archive_month(YELLOW, JANUARY)
    assert query("select count(*) from raw.yellow_tripdata") == [(1_000,)]
    assert not [*folder.iterdir()]


def test_of_a_range_the_loaded_months_are_archived_and_none_is_an_error(january, folder, query):
    outcome = archive(months="2020-12..2021-03", datasets="yellow")
    assert [one["month"] for one in outcome.as_dict()["archived"]] == ["2021-01"]
    assert str(outcome).startswith("1 month in data/archive, 0.0 MB; 0.2 MB less in")
    with pytest.raises(PipelineError, match="yellow 2019-01: no month of it is loaded"):
        archive(months="2019-01")


def test_a_view_that_reads_the_partition_is_in_the_way_and_named(january, folder, query):
    query("create view mine as select * from raw.yellow_tripdata_2021_01")
    with pytest.raises(PipelineError, match="2021-01 stays in raw: view mine reads"):
        archive_month(YELLOW, JANUARY)
    assert query("select count(*) from mine") == [(1_000,)]


def test_rows_that_somebody_has_deleted_are_not_archived_in_the_place_of_the_month(
    archived, folder, query
):
    land_month_again(YELLOW, JANUARY)
    content = archived.read_bytes()
    query("delete from raw.yellow_tripdata where source_row > 10")
    with pytest.raises(
        PipelineError, match="stays in raw: raw has 10 rows, where its load had 1,0"
    ):
        archive_month(YELLOW, JANUARY)
    query("truncate raw.yellow_tripdata_2021_01")
    assert archive(months="2021-01", land_again=True).archived == ()
    assert query("select count(*) from raw.yellow_tripdata") == [(1_000,)]
    assert archived.read_bytes() == content


def test_a_server_that_stores_nothing_by_columns_packs_no_month_and_says_what_it_takes(
    january, query
):
    with pytest.raises(PipelineError, match=r"is not packed: .* citus_columnar\. `make arch"):
        archive(months="2021-01", pack=True)
    assert query("select count(*) from raw.yellow_tripdata") == [(1_000,)]


def test_a_warehouse_that_an_earlier_version_made_is_upgraded_before_it_is_asked(january, query):
    query("drop table raw.archives")
    with pytest.raises(PipelineError, match="earlier version made this warehouse: `make run` upgr"):
        present_loads([DatasetMonth(YELLOW, JANUARY)])


def test_its_command_line_has_the_flows_parameters():
    command = parse(archive.fn, ["--months", "2021-01..2021-03", "--datasets", "green"])
    assert command.parameters == {"months": "2021-01..2021-03", "datasets": "green"}
