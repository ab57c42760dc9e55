"""Published rows → record bytes → leaf hashes.

A *record* is the RFC 8785 JSON object of one published row in which every value is a string or null, plus the member
`_salt`. Values become strings as follows, so that no reader has to agree with us about numbers or dates:

| column type (Parquet / DuckDB)      | string                                                        |
|-------------------------------------|---------------------------------------------------------------|
| VARCHAR                             | itself, code point for code point                             |
| DATE                                | `YYYY-MM-DD`                                                  |
| TIMESTAMP (UTC; with or without zone) | `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always six digits            |
| BOOLEAN                             | `true` or `false`                                             |
| any integer                         | decimal digits, `-` in front of negative ones                 |
| LIST                                | RFC 8785 text of an array whose items follow this table       |
| STRUCT, MAP with text keys          | RFC 8785 text of an object whose values follow this table     |
| NULL of any type                    | null (also inside lists, structs and maps)                    |

Floating point, decimals and binary are refused: two programs may write them differently.

Records are computed column by column. The tests compare them with a reference that takes one row at a time, and with
DuckDB.

The leaf of a record is RFC 6962's: SHA-256(0x00 || record bytes).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import rfc8785
from pyarrow.lib import StringBuilder

SALT_MEMBER = "_salt"
"""Name of the member that holds the salt (64 lower-case hex digits). No column may have this name."""

GRAIN = ("partition_date", "conversation_id", "recording_id", "revision")
"""The columns that the salt is computed from: the row's key, and the revision in which its content first appeared."""

_SALT_CONTEXT = "custody-record-salt/v1"
_ROWS_AT_ONCE = 8192
_CONTROL = r"[\x00-\x1f]"


class CanonicalError(ValueError):
    """A row or a table has no canonical record. The message names the column and the value or type."""


def _json(value: Any) -> bytes:
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise CanonicalError(str(error)) from error


def leaf_hash(data: bytes) -> bytes:
    """RFC 6962, 2.1: SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def lines_of(block: bytes) -> list[bytes]:
    """Lines without their line feeds. Bytes after the last line feed are a line too."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def salted_records(table: pa.Table, secret: bytes) -> bytes:
    """The records of a published table, salted with the deployment's secret.

    A salt is the HMAC-SHA256 of the row's key and revision, written as an RFC 8785 array. The array makes the encoding
    unambiguous. The whole key is in it, not the recording id alone: two rows that claim one recording id must not share
    a salt, or disclosing one would open the other to guessing.

    Args:
        table: rows of `chain_of_custody`; the columns of `GRAIN` must be there and never null.
        secret: at least 32 bytes.

    Returns:
        One record a line, each line ended by LF: the content of a cut's `data/records.ndjson`.

    Raises:
        CanonicalError: a short secret, a missing key column, or a type without a canonical text.
    """
    if len(secret) < 32:
        raise CanonicalError(f"the salt secret has {len(secret)} bytes; 32 random bytes or more are needed")
    missing = [name for name in GRAIN if name not in table.column_names]
    if missing:
        raise CanonicalError(f"the table has no column {', '.join(missing)}")
    keys = [text_column(name, table.column(name)) for name in GRAIN]
    for name, column in zip(GRAIN, keys, strict=True):
        if column.null_count:
            raise CanonicalError(f"a row has no {name}")
    parts = [part for column in keys for part in (",", *_json_parts(column))]
    messages = joined("[" + _quoted(_SALT_CONTEXT), *parts, "]").cast(pa.large_binary())
    salts = [hmac.digest(secret, message, "sha256").hex() for message in messages.to_pylist()]
    return b"".join(record_blocks(table, salts))


def record_blocks(table: pa.Table, salts: Sequence[str]) -> Iterator[pa.Buffer]:
    """The records of a table whose salts (hex) are known, in row order, as NDJSON of some thousand records at a time.

    Raises:
        CanonicalError: two columns of one name, a column named as the salt, a type without a canonical text.
    """
    names = table.column_names
    if len(set(names)) != len(names):
        raise CanonicalError("two columns have the same name")
    if SALT_MEMBER in names:
        raise CanonicalError(f"column {SALT_MEMBER} is reserved for the salt")
    if len(salts) != table.num_rows:
        raise CanonicalError(f"{len(salts)} salts for {table.num_rows} rows")
    members = _in_utf16_order([SALT_MEMBER, *names])
    for start in range(0, table.num_rows, _ROWS_AT_ONCE):
        rows = table.slice(start, _ROWS_AT_ONCE)
        parts: list[Any] = []
        for position, name in enumerate(members):
            parts.append(("{" if position == 0 else ",") + _quoted(name) + ":")
            if name == SALT_MEMBER:
                column = strings(salts[start : start + _ROWS_AT_ONCE])
            else:
                column = text_column(name, rows.column(name))
            parts += _json_parts(column)
        yield pa.py_buffer(utf8(joined(*parts, "}\n")))


def text_columns(rows: pa.RecordBatch) -> list[pa.Array]:
    """The columns of rows as `text_column` gives them."""
    return [text_column(*pair) for pair in zip(rows.schema.names, rows.columns, strict=True)]


def is_text(kind: pa.DataType) -> bool:
    """Whether values of a type are texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bare(kind: pa.DataType) -> bool:
    """Whether values of a type are numbers, times or booleans."""
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind))


def filled(cells: pa.Array, text: str) -> pa.Array:
    """Cells with a text in place of nulls."""
    return pc.fill_null(cells, _scalar(text)) if cells.null_count else cells


def text_column(name: str, column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column's values as canonical strings (`large_string`, null where the value is null).

    Raises:
        CanonicalError: the type is refused, or a value is outside the range of its text form.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = array.type
    try:
        if is_text(kind):
            array.validate(full=True)
            return array.cast(pa.large_string())
        if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_date(kind):
            return array.cast(pa.large_string())
        if pa.types.is_timestamp(kind):
            naive = array.cast(pa.timestamp("us", kind.tz)).cast(pa.timestamp("us"))
            iso = pc.replace_substring(naive.cast(pa.large_string()), " ", "T")
            return concatenated(iso, "Z")
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return _list_column(name, array)
        if pa.types.is_struct(kind) or pa.types.is_map(kind):
            texts = [None if value is None else _json(_plain(value, kind)).decode() for value in array.to_pylist()]
            return pa.array(texts, pa.large_string())
        if pa.types.is_null(kind):
            return array.cast(pa.large_string())
        if pa.types.is_dictionary(kind):
            return text_column(name, array.dictionary_decode())
    except (pa.ArrowInvalid, CanonicalError) as error:
        raise CanonicalError(f"column {name}: {error}") from error
    raise CanonicalError(f"column {name}: type {kind} has no canonical text")


def _list_column(name: str, array: pa.Array) -> pa.Array:
    items = _json_items(name, array.flatten())
    zero = strings(["0"]).cast(pa.int64())
    # A null list has no items, even if its offsets enclose some.
    lengths = pc.if_else(array.is_valid(), pc.list_value_length(array).cast(pa.int64()), zero[0])
    offsets = pa.concat_arrays([zero, pc.cumulative_sum(lengths)])
    together = pc.binary_join(pa.LargeListArray.from_arrays(offsets, items), _scalar(","))
    wrapped = concatenated("[", together, "]")
    return pc.if_else(array.is_valid(), wrapped, strings([None])[0])


def _json_items(name: str, items: pa.Array) -> pa.Array:
    """Items of a list as JSON: structs as objects, everything else as strings; a null as `null`."""
    if not pa.types.is_struct(items.type):
        return _json_column(text_column(name, items))
    fields = dict(zip((field.name for field in items.type), items.flatten(), strict=True))
    parts: list[Any] = []
    for place, field in enumerate(sorted(fields)):
        parts += [f"{',' if place else '{'}{_json(field).decode()}:", _json_items(name, fields[field])]
    return pc.if_else(items.is_valid(), concatenated(*parts, "}"), _scalar("null"))


def _plain(value: Any, kind: pa.DataType) -> Any:
    """A nested Arrow value as lists, dicts and canonical strings."""
    if value is None:
        return None
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_plain(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: _plain(value[field.name], field.type) for field in kind}
    if pa.types.is_map(kind):
        pairs = value.items() if isinstance(value, dict) else value
        result: dict[str, Any] = {}
        for key, item in pairs:
            if not isinstance(key, str) or key in result:
                raise CanonicalError("a map key is repeated or is no text")
            result[key] = _plain(item, kind.item_type)
        return result
    return text_column("", pa.array([value], kind))[0].as_py()


def _json_column(texts: pa.Array) -> pa.Array:
    """Strings → JSON string literals, null → `null`."""
    return pc.fill_null(concatenated('"', _escaped(texts), '"'), _scalar("null"))


def _json_parts(texts: pa.Array) -> list[Any]:
    """The parts from which `joined` makes JSON literals; a column without nulls is not copied to add its quotes."""
    if texts.null_count and texts.null_count == len(texts):
        return ["null"]
    texts = _escaped(texts)
    return [concatenated('"', texts, '"')] if texts.null_count else ['"', texts, '"']


def _escaped(texts: pa.Array) -> pa.Array:
    data = utf8(texts)
    control = bool(data.size and data.min() < 0x20)
    if not control and not (data == ord('"')).any() and not (data == ord("\\")).any():
        return texts
    escaped = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    if control:
        mask = pc.match_substring_regex(texts, _CONTROL)
        exact = [_quoted(value)[1:-1] for value in texts.filter(mask).to_pylist()]
        escaped = pc.replace_with_mask(escaped, mask, strings(exact))
    return escaped


def joined(*parts: Any) -> pa.Array:
    """Arrays and literals side by side, row by row; a null becomes `null`."""
    merged: list[Any] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return concatenated(*merged, null_handling="replace", null_replacement="null")


def concatenated(*parts: Any, **nulls: str) -> pa.Array:
    """Arrays and literals side by side, row by row; null where any part is null, unless `nulls` says otherwise."""
    typed = [_scalar(part) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*typed, _scalar(""), **nulls)


def strings(values: Sequence[str | None]) -> pa.Array:
    """A `large_string` array."""
    # pa.array and pa.scalar import pandas, if it is installed, to test whether their argument is a pandas object: half
    # a second of a short check. The builder does not.
    builder = StringBuilder()
    builder.append_values(values)
    return builder.finish().cast(pa.large_string())


@cache
def _scalar(text: str) -> pa.Scalar:
    return strings([text])[0]


def utf8(strings: pa.Array) -> npt.NDArray[np.uint8]:
    """The bytes of all values of a `large_string` or `large_binary` array, one after the other."""
    _, offsets, data = strings.buffers()
    if data is None:
        return np.empty(0, np.uint8)
    ends = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    return np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]


def _quoted(value: str) -> str:
    return _json(value).decode()


def _in_utf16_order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name.encode("utf-16-be"))
