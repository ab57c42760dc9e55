"""The files of a table: every value comes back, equal rows are equal bytes."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from contextlib import nullcontext
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from custody_pipeline.evidence.cut.manifest import CutFile
from custody_pipeline.evidence.cut.records import CanonicalError, lines_of, salted_records
from custody_pipeline.evidence.verify.cut_renderings import contradictions
from custody_pipeline.evidence.verify.sealed_table import SealedTable
from custody_pipeline.publish.tables import TableError, describe_table, export_table
from custody_pipeline.settings import SettingsError, load_settings
from custody_pipeline_tests.evidence.canonical_python import text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from custody_pipeline.evidence.reader import TargetError

NIGHT = date(2026, 11, 2)

# The values of bad-inputs: each must come back as it is.
HARD = [
    "",
    "null",
    "007",
    "1.10",
    "+15551234567",
    "=1+1",
    "\t=1",
    "a,b",
    'say "x"',
    "a\r\nb",
    "\n",
    "\x00",
    "é🎧",
    "'",
    " x ",
]


texts = st.one_of(st.none(), st.sampled_from(HARD), st.text(st.characters(exclude_categories=["Cs"]), max_size=8))


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'; CREATE SCHEMA custody")
        yield con


def make(con: duckdb.DuckDBPyConnection, values: list[str | None], extra: str = "") -> None:
    """A table of one row a value: `n` its place, `value` itself."""
    con.execute(f"CREATE OR REPLACE TABLE custody.gaps (partition_date DATE, n INTEGER, value VARCHAR {extra})")
    rows = pa.table({"n": pa.array(range(len(values)), pa.int32()), "value": pa.array(values, pa.string())})
    con.from_arrow(rows).create_view("given")
    con.execute("INSERT INTO custody.gaps BY NAME SELECT ? AS partition_date, n, value FROM given", [NIGHT])


def export(con: duckdb.DuckDBPyConnection, folder: Path, **kwargs: object) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    table = describe_table(con, "gaps", ("partition_date", "n"))
    files = export_table(con, table, NIGHT, folder, revision=3, **kwargs)  # type: ignore[arg-type]
    for file in files:
        assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
        assert file.bytes == file.path.stat().st_size
    return {file.format: file.path for file in files}


def read_rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, min_size=1, max_size=6))
@example([*HARD, None])
def test_every_text_comes_back_from_the_csv(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, values: list[str | None]
) -> None:
    make(con, values)
    data = export(con, tmp_path / "out")["csv"].read_bytes()
    rows = read_rows(data)
    assert rows[0] == ["partition_date", "n", "value"]
    assert [row[2] for row in rows[1:]] == [value or "" for value in values]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, min_size=1, max_size=6))
@example([*HARD, None])
def test_every_text_comes_back_from_the_csv_through_duckdb_nulls_included(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, values: list[str | None]
) -> None:
    without_nul = [value and value.replace("\x00", "") for value in values]  # its CSV reader stops there
    make(con, without_nul)
    path = export(con, tmp_path / "out")["csv"]
    back = con.execute(
        "SELECT value FROM read_csv(?, all_varchar=true, header=true, delim=',', quote='\"', escape='\"', "
        "allow_quoted_nulls=false, new_line='\\r\\n', auto_detect=false, "
        "columns={'partition_date': 'VARCHAR', 'n': 'VARCHAR', 'value': 'VARCHAR'}) ORDER BY n::INTEGER",
        [str(path)],
    ).fetchall()
    assert [row[0] for row in back] == without_nul


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, min_size=1, max_size=6))
@example([*HARD, None])
def test_every_text_comes_back_from_the_parquet(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, values: list[str | None]
) -> None:
    make(con, values)
    assert pq.read_table(export(con, tmp_path / "out")["parquet"]).column("value").to_pylist() == values


def test_null_is_nothing_and_the_empty_string_is_two_quotes(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    make(con, [None, ""])
    lines = export(con, tmp_path)["csv"].read_bytes().split(b"\r\n")
    assert lines == [b"partition_date,n,value", b"2026-11-02,0,", b'2026-11-02,1,""', b""]


def test_typed_cells_are_the_text_that_is_sealed(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    row = {
        "t": datetime(2026, 11, 2, 9, 30, 0, 5),
        "b": True,
        "l": ["a", None, 'q"'],
        "s": {"k": 1, "a": "é"},
        "m": {"Legal-Hold": "007"},
    }
    make(con, ["x"], ", t TIMESTAMP, b BOOLEAN, l VARCHAR[], s STRUCT(k INTEGER, a VARCHAR), m MAP(VARCHAR, VARCHAR)")
    con.execute(
        "UPDATE custody.gaps SET t = ?, b = ?, l = ?, s = ?, m = map {'Legal-Hold': '007'}", [*row.values()][:4]
    )
    written = read_rows(export(con, tmp_path)["csv"].read_bytes())[1][3:]
    assert written == [text(value) for value in row.values()]


def test_the_header_is_complete_without_any_row(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    make(con, [], ', custom_data_legal_hold VARCHAR, "odd,name" VARCHAR')
    files = export(con, tmp_path)
    assert files["csv"].read_bytes() == b'partition_date,n,value,custom_data_legal_hold,"odd,name"\r\n'
    assert pq.read_table(files["parquet"]).schema.names == [
        "partition_date",
        "n",
        "value",
        "custom_data_legal_hold",
        "odd,name",
    ]


def test_equal_rows_are_equal_bytes_in_whatever_order_they_were_inserted(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    make(con, [f"v{n}" for n in range(50)])
    first = {kind: path.read_bytes() for kind, path in export(con, tmp_path / "a").items()}
    con.execute("CREATE OR REPLACE TABLE custody.gaps AS SELECT * FROM custody.gaps ORDER BY hash(n)")
    assert {kind: path.read_bytes() for kind, path in export(con, tmp_path / "b").items()} == first


def test_a_compressed_csv_holds_the_same_bytes_and_neither_a_name_nor_a_time(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    make(con, [*HARD, None] * 2_000)
    plain = export(con, tmp_path / "plain")
    compressed = export(con, tmp_path / "compressed", compressed=True)
    again = export(con, tmp_path / "again", compressed=True)
    assert {kind: path.name for kind, path in compressed.items()} == {
        "parquet": "gaps.parquet",
        "csv": "gaps.csv.gz",
        "spreadsheet": "gaps.xlsx",
    }
    data = compressed["csv"].read_bytes()
    assert gzip.decompress(data) == plain["csv"].read_bytes()
    assert len(data) < len(plain["csv"].read_bytes()) / 5
    # RFC 1952, 2.3: flags (a name would be one of them), then four bytes of time.
    assert data[3:8] == bytes(5)
    assert data == again["csv"].read_bytes()
    for kind in ("parquet", "spreadsheet"):
        assert compressed[kind].read_bytes() == plain[kind].read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, min_size=1, max_size=6), st.booleans())
@example([*HARD, None], False)
@example([*HARD, None], True)
def test_a_verifier_reads_in_csv_and_workbook_what_is_in_the_parquet_and_sees_each_difference(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, values: list[str | None], compressed: bool
) -> None:
    make(con, values)
    written = export(con, tmp_path / "out", compressed=compressed)
    others = {
        "a cell": [*values[:-1], f"{values[-1]}!"],
        "a null": [*values[:-1], "" if values[-1] is None else None],
        "a row more": [*values, "x"],
        "a row less": values[:-1],
    }

    assert compared(written) == [None, None]
    parquet = written["parquet"].read_bytes()
    for what, other in others.items():
        make(con, other)
        written = export(con, tmp_path / "other", compressed=compressed)
        written["parquet"].write_bytes(parquet)
        assert None not in compared(written), what


def compared(written: dict[str, Path]) -> list[str | TargetError | None]:
    """What a verifier finds in the CSV and the workbook beside the Parquet."""
    paths = {f"data/{written[kind].name}": written[kind] for kind in ("csv", "spreadsheet")}
    files = [
        CutFile(path=name, bytes=len(data := path.read_bytes()), sha256=hashlib.sha256(data).hexdigest())
        for name, path in paths.items()
    ]
    table = SealedTable(written["parquet"].read_bytes())
    return list(
        contradictions(files, lambda file: nullcontext(io.BytesIO(paths[file.path].read_bytes())), table).values()
    )


def test_a_csv_that_another_program_wrote_is_judged_by_its_cells(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    make(con, ["x", "007", "", None])
    written = export(con, tmp_path)
    csv_file = written["csv"]
    otherwise = csv_file.read_bytes().replace(b"\r\n", b"\n").replace(b"2026-11-02", b'"2026-11-02"')
    for data, problem in {
        otherwise: None,
        otherwise.replace(b"007", b"7"): "value differs in the rows 2 to 4",
        otherwise + b"2026-11-02,5,x\n": "it has more rows than the Parquet",
        otherwise.replace(b"value", b"values"): "its columns are not those of the Parquet",
    }.items():
        csv_file.write_bytes(data)
        assert compared(written) == [problem, None]


def test_another_compression_than_gzip_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_CSV_COMPRESSION", "zip")
    with pytest.raises(SettingsError, match=r"CUSTODY_CSV_COMPRESSION.*'none' or 'gzip'"):
        load_settings()


def test_rows_of_other_nights_are_left_out(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    make(con, ["x"])
    con.execute("INSERT INTO custody.gaps VALUES (DATE '2026-11-03', 9, 'y')")
    assert len(read_rows(export(con, tmp_path)["csv"].read_bytes())) == 2


def test_more_rows_than_a_batch_are_all_there(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    con.execute(
        "CREATE TABLE custody.gaps AS SELECT DATE '2026-11-02' AS partition_date, i::INTEGER AS n, 'v' || i AS value "
        "FROM range(40000) AS r(i)"
    )
    files = export(con, tmp_path)
    rows = read_rows(files["csv"].read_bytes())[1:]
    assert [int(row[1]) for row in rows] == list(range(40_000))
    assert pq.read_metadata(files["parquet"]).num_rows == 40_000


def test_parquet_carries_the_descriptions_the_night_and_the_revision(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    make(con, ["x"])
    con.execute("COMMENT ON TABLE custody.gaps IS 'why'; COMMENT ON COLUMN custody.gaps.value IS 'the value'")
    path = export(con, tmp_path)["parquet"]
    schema = pq.read_schema(path)
    assert schema.field("value").metadata[b"description"] == b"the value"
    metadata = {key.decode(): value.decode() for key, value in pq.read_metadata(path).metadata.items()}
    assert (metadata["description"], metadata["night"], metadata["revision"]) == ("why", "2026-11-02", "3")
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"


def test_the_records_are_the_rows(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    con.execute(
        "CREATE TABLE custody.gaps AS SELECT DATE '2026-11-02' AS partition_date, i::INTEGER AS n, "
        "'c' || i AS conversation_id, 'r' || i AS recording_id, 1::INTEGER AS revision FROM range(3) AS r(i)"
    )
    written = export(con, tmp_path, salt_secret=b"s" * 32)["records"].read_bytes()
    records = salted_records(con.execute("FROM custody.gaps ORDER BY n").to_arrow_table(), b"s" * 32)
    assert written == records
    assert len(lines_of(records)) == 3


def test_a_type_that_two_programs_may_write_differently_is_refused(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    make(con, ["x"], ", share DOUBLE DEFAULT 0.1")
    with pytest.raises(CanonicalError, match="share"):
        export(con, tmp_path)


@pytest.mark.parametrize("grain", [("absent",), ("partition_date", "absent")])
def test_a_grain_that_the_table_lacks_is_named(con: duckdb.DuckDBPyConnection, grain: Any) -> None:
    make(con, [])
    with pytest.raises(TableError, match="absent"):
        describe_table(con, "gaps", grain)


def test_a_table_that_is_not_there_is_named(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(TableError, match=r"custody\.nothing"):
        describe_table(con, "nothing")
