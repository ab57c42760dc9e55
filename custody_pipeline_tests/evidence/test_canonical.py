from __future__ import annotations

import hmac
import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from custody_pipeline.evidence.cut.records import (
    CanonicalError,
    lines_of,
    record_blocks,
    salted_records,
    text_column,
)
from custody_pipeline_tests.evidence.canonical_python import record, text
from custody_pipeline_tests.evidence.canonical_sql import canonical_sql

SECRET = bytes(range(32))
SALT = "ab" * 32
DATABASE = duckdb.connect()
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SPECIAL = ["\x00", "\x0b\x1f\x7f", '\\u000B"\\', "\u2028\u2029", "\U0001f600\ufb33", "", "null", "\r\n\t\b\f", "\\\x01"]


def in_sql(table: pa.Table) -> list[bytes]:
    """The records of a table (with a `_salt` column) as DuckDB computes them."""
    with DATABASE.cursor() as connection:
        connection.register("published", table)
        described = connection.execute("DESCRIBE published").fetchall()
        expression = canonical_sql({name: kind for name, kind, *_ in described if name != "_salt"})
        return [line.encode() for (line,) in connection.execute(f"SELECT {expression} FROM published").fetchall()]


def record_lines(table: pa.Table, salts: list[str]) -> list[bytes]:
    return lines_of(b"".join(record_blocks(table, salts)))


def everywhere(rows: list[dict[str, Any]], schema: pa.Schema) -> list[bytes]:
    """The records computed in three ways, which must agree."""
    table = pa.Table.from_pylist(rows, schema=schema)
    by_column = record_lines(table, [SALT] * len(rows))
    assert by_column == [record(row, bytes.fromhex(SALT)) for row in rows]
    assert by_column == in_sql(table.append_column("_salt", pa.array([SALT] * len(rows))))
    return by_column


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.none() | TEXT, st.none() | st.lists(st.none() | TEXT)), min_size=1))
def test_columns_sql_and_reference_agree_for_every_string(
    values: list[tuple[str | None, list[str | None] | None]],
) -> None:
    schema = pa.schema([("tag", pa.string()), ("list", pa.list_(pa.string()))])
    everywhere([{"tag": tag, "list": items} for tag, items in values], schema)


def test_every_code_point_agrees_with_and_without_nulls_beside_it() -> None:
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    values = ["".join(points[start : start + 256]) for start in range(0, len(points), 256)] + points[:0x300]
    schema = pa.schema([("never_null", pa.string()), ("at_times", pa.string()), ("always", pa.string())])
    rows = [{"never_null": value, "at_times": value if number % 3 else None} for number, value in enumerate(values)]
    everywhere([row | {"always": None} for row in rows], schema)


@settings(max_examples=20, deadline=None)
@given(st.lists(TEXT.filter(lambda name: name and "\x00" not in name), min_size=1, max_size=8, unique_by=str.casefold))
def test_members_are_ordered_by_utf16_code_units(names: list[str]) -> None:
    # DuckDB compares column names without case, so the names differ in more than case.
    names = [name for name in names if name.casefold() != "_salt"]
    (line,) = everywhere([dict.fromkeys(names, "x")], pa.schema([(name, pa.string()) for name in names]))

    assert line == rfc8785.dumps({"_salt": SALT} | dict.fromkeys(names, "x"))


def test_special_strings_agree_alone_and_together() -> None:
    schema = pa.schema([("tag", pa.string()), ("list", pa.list_(pa.string()))])
    lines = everywhere([{"tag": value, "list": [value, None, *SPECIAL]} for value in SPECIAL], schema)

    assert [json.loads(line)["tag"] for line in lines] == SPECIAL
    assert not any(b"\n" in line or b"\r" in line for line in lines)


@settings(max_examples=15, deadline=None)
@given(
    st.none() | st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)),
    st.none() | st.dates(date(1000, 1, 1)),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.booleans(),
)
def test_times_days_numbers_and_truth_values_agree(
    time: datetime | None, day: date | None, number: int | None, truth: bool | None
) -> None:
    schema = pa.schema([("t", pa.timestamp("us")), ("d", pa.date32()), ("n", pa.int64()), ("b", pa.bool_())])
    everywhere([{"t": time, "d": day, "n": number, "b": truth}], schema)


def test_texts_of_values_are_as_documented() -> None:
    zone = timezone(timedelta(hours=2))

    assert text(datetime(2026, 11, 2, 1, 2, 3)) == "2026-11-02T01:02:03.000000Z"
    assert text(datetime(2026, 11, 2, 1, 2, 3, 4, tzinfo=zone)) == "2026-11-01T23:02:03.000004Z"
    assert text(date(2026, 11, 2)) == "2026-11-02"
    assert text(True) == "true"
    assert text(-7) == "-7"
    assert text(["a", None, 1, True, {"b": 2, "a": None}]) == '["a",null,"1","true",{"a":null,"b":"2"}]'
    assert text("") == ""
    assert text(None) is None


def test_a_zoned_timestamp_column_is_written_in_utc() -> None:
    moment = datetime(2026, 11, 2, 1, 2, 3, tzinfo=UTC)
    table = pa.table({"t": pa.array([moment], pa.timestamp("us", "Europe/Berlin"))})

    assert json.loads(record_lines(table, [SALT])[0])["t"] == "2026-11-02T01:02:03.000000Z"


def test_structs_in_a_list_become_objects_as_structs_alone_do() -> None:
    proof = {"uri": 's3://a/"b"\n', "sha256": None, "seen": datetime(2026, 11, 2, 9)}
    kind = pa.struct([("uri", pa.string()), ("sha256", pa.string()), ("seen", pa.timestamp("us"))])
    alone = text_column("p", pa.array([proof], kind))[0].as_py()
    lists = pa.array([[proof, None], None, [], [proof]], pa.list_(kind))
    assert text_column("p", lists).to_pylist() == [f"[{alone},null]", None, "[]", f"[{alone}]"]
    assert text_column("p", lists[1:]).to_pylist() == [None, "[]", f"[{alone}]"]


def test_maps_and_structs_become_objects_with_ordered_members() -> None:
    kind = pa.map_(pa.string(), pa.struct([("b", pa.int64()), ("a", pa.list_(pa.bool_()))]))
    table = pa.table({"m": pa.array([[("z", {"b": 1, "a": [True]}), ("k", None)], None], kind)})

    first, second = record_lines(table, [SALT] * 2)

    assert json.loads(first)["m"] == '{"k":null,"z":{"a":["true"],"b":"1"}}'
    assert json.loads(second)["m"] is None


def test_lists_that_begin_inside_a_slice_keep_their_items() -> None:
    table = pa.table({"l": pa.array([["a"], None, [], ["b", None]], pa.list_(pa.string()))})

    lines = [json.loads(line)["l"] for line in record_lines(table.slice(1), [SALT] * 3)]

    assert lines == [None, "[]", '["b",null]']


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (pa.array([1.5]), "column x: type double"),
        (pa.array([b"x"]), "column x: type binary"),
        (pa.array([1], pa.decimal128(3, 1)), "column x: type decimal128"),
        (pa.array([[1.5]]), "column x: column x: type double"),
        (pa.array([[("k", "1"), ("k", "2")]], pa.map_(pa.string(), pa.string())), "column x: a map key is repeated"),
    ],
)
def test_what_two_programs_may_write_differently_is_refused(values: pa.Array, says: str) -> None:
    with pytest.raises(CanonicalError, match=says):
        record_lines(pa.table({"x": values}), [SALT])


def test_a_column_cannot_take_the_name_of_the_salt() -> None:
    with pytest.raises(CanonicalError, match="reserved"):
        record_lines(pa.table({"_salt": ["x"]}), [SALT])


def salt_of(secret: bytes, *key: str) -> bytes:
    return hmac.digest(secret, rfc8785.dumps(["custody-record-salt/v1", *key]), "sha256")


KEY = {"partition_date": date(2026, 11, 2), "conversation_id": "c", "recording_id": "r", "revision": 1}


def test_the_salt_is_the_hmac_of_the_whole_key() -> None:
    records = salted_records(pa.Table.from_pylist([KEY, KEY | {"revision": 2}]), SECRET)

    salts = [json.loads(line)["_salt"] for line in lines_of(records)]
    assert salts == [salt_of(SECRET, "2026-11-02", "c", "r", revision).hex() for revision in ("1", "2")]
    assert salts[0] != salts[1]
    assert records.splitlines() == lines_of(records)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), min_size=2, max_size=5, unique=True))
def test_different_keys_have_different_salts(keys: list[tuple[str, str, str, str]]) -> None:
    rows = [dict(zip(KEY, key, strict=True)) for key in keys]
    salts = [json.loads(line)["_salt"] for line in lines_of(salted_records(pa.Table.from_pylist(rows), SECRET))]
    assert salts == [salt_of(SECRET, *key).hex() for key in keys]
    assert len(set(salts)) == len(keys)


def test_a_short_secret_or_a_row_without_its_key_is_refused() -> None:
    with pytest.raises(CanonicalError, match="31 bytes"):
        salted_records(pa.Table.from_pylist([KEY]), SECRET[1:])
    with pytest.raises(CanonicalError, match="no column revision"):
        salted_records(pa.table({name: [value] for name, value in KEY.items() if name != "revision"}), SECRET)
    with pytest.raises(CanonicalError, match="a row has no recording_id"):
        salted_records(pa.Table.from_pylist([KEY, KEY | {"recording_id": None}]), SECRET)
