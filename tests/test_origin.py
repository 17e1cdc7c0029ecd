"""From a trip back to the row of TLC's file that it is from, for whoever reads the marts."""

from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HOME, OURS, load_era, load_file, run_query
from made_up import HEADER
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError, ProgrammingError

from flows.errors import PipelineError
from flows.prepare import prepare_warehouse
from flows.warehouse import embedded
from flows.warehouse.connection import connect
from flows.warehouse.roles import add_login, ensure_analyst

JANUARY = date(2021, 1, 1)
ROW = "1,2021-01-01 00:30:10,2021-01-01 00:36:12,1,{},1,N,142,43,2,8,3,0.5,0,0,0.3,11.8,2.5"


def trip_id(row: int, month: date = JANUARY) -> int:
    return (month - date(2000, 1, 1)).days * 100_000_000 + row


def origins(query, rows: int, columns: str = "line_in_file, raw_values ->> 'trip_distance'"):
    """What trip_origin() says of each yellow row of January."""
    return query(
        f"select {columns} from generate_series({trip_id(1)}, {trip_id(rows)}) as trip_id"
        " cross join lateral trip_origin(trip_id, 'yellow') order by trip_id"
    )


def csv_of(lines: list[str], end: str = "\n") -> bytes:
    return end.join([HEADER, *lines, ""]).encode(errors="surrogateescape")


@pytest.mark.any_postgres
def test_the_row_comes_with_its_file_hash_time_and_run_and_with_each_value_as_it_was(
    warehouse, query, tmp_path
):
    path = tmp_path / "yellow_tripdata_2021-01.csv"
    path.write_bytes(csv_of([ROW.format(" .20 ").replace(",2.5", ",")]))
    loaded = load_file(path, JANUARY)
    [(found, values, is_loads, order)] = query(
        "select (dataset, source_month, file, line_in_file, row_in_file)::text, raw_values,"
        " (sha256, loaded_at) = (select loads.sha256, finished_at from raw.loads),"
        " (select string_agg(key, ',') from json_object_keys(raw_values) as key)"
        f" from trip_origin({trip_id(1)})"
    )
    assert found == f"(yellow,2021-01-01,{path},2,)"
    assert is_loads
    assert loaded.rows == 1
    names = HEADER.lower().split(",")
    given = dict(zip(names, path.read_text().split("\n")[1].split(","), strict=True))
    assert values == {name: value for name, value in given.items() if value}
    assert order == ",".join(name for name in names if name in values)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_is_known_also_behind_blank_and_malformed_ones(warehouse, query, tmp_path, end):
    lines = ["", " ", ROW.format(1), "1,2", "", *map(ROW.format, (2, 3, '"x')), 'y"']
    lines += [ROW.format(number) for number in range(4, 300)] + ["\udcff", ROW.format(300), ""]
    content = csv_of(lines, end)
    path = tmp_path / "trips.csv"
    path.write_bytes(content)
    load_file(path, JANUARY, max_malformed_share=0.5)
    found = origins(query, 300)
    assert [distance for _, distance in found] == [f"{number}" for number in range(1, 301)]
    in_file = content.decode(errors="replace").split("\n")
    assert [in_file[line - 1].split(",")[4] for line, _ in found] == [it for _, it in found]


def test_a_row_of_parquet_is_known_by_its_number_in_the_file(warehouse, query, tmp_path):
    rows = 20_000
    notes = ["fine"] * rows
    notes[0] = notes[9_000] = "a\0b"  # which PostgreSQL can't hold
    values = dict(zip(HEADER.lower().split(","), ROW.format("").split(","), strict=True))
    columns = {name: [value] * rows for name, value in values.items()}
    table = pa.table(columns | {"trip_distance": range(rows), "note": notes})
    pq.write_table(table, tmp_path / "trips.parquet", row_group_size=7_000)
    load_file(tmp_path / "trips.parquet", JANUARY, max_malformed_share=0.5)
    columns = "line_in_file, row_in_file - 1, (raw_values ->> 'trip_distance')::bigint"
    expected = [(None, row, row) for row in range(rows) if row not in (0, 9_000)]
    assert origins(query, 3, columns) == expected[:3]
    found = query(
        f"select {columns} from unnest(array[8998, 8999, 9000, 19998]) as row"
        f" cross join lateral trip_origin({trip_id(0)} + row, 'yellow') order by row"
    )
    assert found == [expected[row - 1] for row in (8998, 8999, 9000, 19998)]


def test_of_a_month_in_many_files_the_rows_own_file_and_line_are_known(warehouse, query, tmp_path):
    parts = {
        "a/part-0.csv": ["", ROW.format(1), "1,2", ROW.format(2)],
        "a/part-1.csv": [],
        "b/part-0.csv": ["1,2", "1,2", ROW.format(3), "", ROW.format(4)],
        "b/part-1.csv": [ROW.format(5)],
    }
    for name, lines in parts.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(csv_of(lines))
    load_file(tmp_path / "*" / "*.csv", JANUARY, max_malformed_share=0.9)
    assert origins(query, 5, "file, line_in_file, raw_values ->> 'trip_distance'") == [
        (f"{tmp_path}/a/part-0.csv", 3, "1"),
        (f"{tmp_path}/a/part-0.csv", 5, "2"),
        (f"{tmp_path}/b/part-0.csv", 4, "3"),
        (f"{tmp_path}/b/part-0.csv", 6, "4"),
        (f"{tmp_path}/b/part-1.csv", 2, "5"),
    ]
    [(hashes,)] = query(
        "select count(distinct origin.sha256) from unnest(array[1, 3, 5]) as row"
        f" cross join lateral trip_origin({trip_id(0)} + row, 'yellow') as origin"
    )
    assert hashes == 3


@pytest.fixture
def two_rows(warehouse, tmp_path):
    """January with two rows, of yellow taxis."""
    path = tmp_path / "trips.csv"
    path.write_bytes(csv_of([ROW.format(1), ROW.format(2)]))
    load_file(path, JANUARY)
    return warehouse


def test_of_a_load_by_an_earlier_version_the_line_is_null(two_rows, query):
    query("update raw.loads set files = null, sha256 = 'theirs'")
    [(line, file, sha256)] = query(
        f"select line_in_file, file, sha256 from trip_origin({trip_id(2)})"
    )
    assert (line, sha256) == (None, "theirs")
    assert file.endswith("trips.csv")


def test_a_row_is_found_where_somebody_has_written_to_raw(two_rows, query):
    query("update raw.yellow_tripdata set trip_distance = '7' where source_row = 1")
    assert [distance for _, distance in origins(query, 2)] == ["7", "2"]


def test_each_dataset_that_has_the_id_gives_a_row_and_the_one_that_is_named_alone(
    two_rows, query, tmp_path
):
    loaded = load_era("green 2020 CSV", tmp_path)
    month = loaded.month
    path = tmp_path / "yellow.csv"
    path.write_bytes(csv_of([ROW.format(1)]))
    load_file(path, month)
    of_both = f"select dataset from trip_origin({trip_id(1, month)})"
    assert query(of_both) == [("yellow",), ("green",)]
    of_one = f"select dataset from trip_origin({trip_id(1, month)}, dataset => 'green')"
    assert query(of_one) == [("green",)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("5", "no row that is loaded has the trip_id 5. Take it from a table of trips"),
        ("-1", "no row that is loaded has the trip_id -1"),
        ("9223372036854775807", "no row that is loaded has the trip_id 9223372036854775807"),
        (str(trip_id(0)), "no row that is loaded"),
        (str(trip_id(3)), "no row that is loaded"),
        (f"{trip_id(1)}, 'green'", "in the dataset green. Take it"),
    ],
)
def test_an_id_that_no_row_has_is_one_line(two_rows, query, asked, said):
    with pytest.raises(DBAPIError) as refusal:
        query(f"select * from trip_origin({asked})")
    assert said in refusal.value.orig.diag.message_primary


def test_a_month_that_was_dropped_from_raw_is_one_line_that_says_what_to_do(two_rows, query):
    query("drop table raw.yellow_tripdata_2021_01")
    with pytest.raises(DBAPIError, match="make run DATASET=yellow MONTH=2021-01"):
        query(f"select * from trip_origin({trip_id(1)})")


def test_nothing_is_the_origin_of_nothing(two_rows, query):
    assert query("select * from trip_origin(null)") == []


@pytest.mark.any_postgres
def test_an_analyst_sees_the_row_and_nothing_else_of_raw(two_rows, query, monkeypatch):
    monkeypatch.setattr(embedded, "DATA_DIR", HOME / "postgres")
    name = f"{OURS}origin"
    login = {"user": name, "password": SecretStr(add_login(name))}
    analyst = two_rows.model_copy(update=login)
    call = f"select raw_values ->> 'trip_distance' from trip_origin({trip_id(2)})"
    assert run_query(analyst, call) == [("2",)]
    # Operators and functions of the caller's own don't reach what the owner may read.
    mine = f"set search_path = pg_temp, public; {call}"
    assert run_query(analyst, mine) == [("2",)]
    for statement in (
        "select * from raw.loads",
        "select raw.values_of_row('raw.yellow_tripdata_2021_01', 1)",
        "select raw.place_of_row(null, 1) from raw.loads",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"):
            run_query(analyst, statement)
    [(others,)] = query(
        "select has_function_privilege('public', 'trip_origin(bigint, text)', 'execute')"
    )
    assert not others
    query("revoke execute on function trip_origin from analyst")
    with connect(two_rows) as owner:
        ensure_analyst(owner)  # as for a role that was made later
    assert run_query(analyst, call) == [("2",)]


def test_a_function_of_that_name_that_is_not_ours_is_refused_before_anything_is_written(
    warehouse, query
):
    query("create function trip_origin(int) returns int language sql as 'select 1'")
    with pytest.raises(PipelineError, match=r"function trip_origin\(integer\) in this database"):
        prepare_warehouse()
    assert query("select to_regnamespace('raw')") == [(None,)]
