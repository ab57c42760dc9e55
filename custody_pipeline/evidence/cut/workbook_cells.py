"""Arrow columns → the cells of a workbook's rows.

Belongs here: how a value is written in a cell, and what a cell cannot hold. Does not: sheets and the other parts of the
file (workbook.py, whose table says which cell each type has).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.compute as pc

from custody_pipeline.evidence.cut.records import concatenated, filled, is_bare, joined, strings, utf8

# Limits of Excel's file format: characters of a cell, digits of a number.
MAX_TEXT = 32_767
MAX_NUMBER = 10**15

TEXT, DATE, TIME, HEAD = 1, 2, 3, 4
"""The styles of cells, as workbook.py lists them."""

# Days from day 0 of the workbook's calendar to 1970-01-01. The first sixty days are wrong in one of the two common
# programs (1900 was no leap year), and the calendar ends on 9999-12-31.
_DAYS_BEFORE_1970 = 25_569
_FIRST_DAY, _END_DAY = 61, 2_958_466
_MICROSECONDS = 86_400_000_000

# A pattern for RE2 and for Python.
_ILLEGAL = r"[\x00-\x08\x0b\x0c\x0e-\x1f" + "\ufffe\uffff]"
# The format writes a carriage return as `_x000D_` (ST_Xstring, ECMA-376 part 1, 22.9.2.19). A text that looks like such
# an escape, or will when its carriage return is written, must be escaped itself. Two escapes may share an underscore,
# so the last character is no part of the match.
_LOOKS_ESCAPED = r"_x[0-9A-Fa-f]{4}[_\r]"
_TO_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}[_\r])")
_MARKUP, _RETURN, _CONTROL, _NONCHARACTER, _ESCAPE = 1, 2, 4, 8, 16


def rows_and_changes(rows: pa.RecordBatch, texts: Sequence[pa.Array]) -> tuple[pa.Array, list[tuple[int, str, str]]]:
    """The markup of each row, and the cells that cannot hold the table's value, in the order of rows.

    Args:
        rows: the values.
        texts: the same columns as `text_column` gives them.

    Returns:
        Of a changed cell: row of the batch, column, what is changed.
    """
    kinds = [0 if is_bare(column.type) else _kinds(text) for column, text in zip(rows.columns, texts, strict=True)]
    return _rows(rows, texts, kinds), _changed(rows.schema.names, texts, kinds)


def text_cell(text: str, style: int = TEXT) -> str:
    """The cell of one text."""
    one = strings([text])
    return _cell(_fitting(one, _kinds(one))[0].as_py(), style)


def _rows(rows: pa.RecordBatch, texts: Sequence[pa.Array], kinds: Sequence[int]) -> pa.Array:
    parts: list[Any] = ["<row>"]
    for column, text, kind in zip(rows.columns, texts, kinds, strict=True):
        parts += _cells(column, text) if is_bare(column.type) else _text_cells(text, kind)
    if all(isinstance(part, str) for part in parts):  # no column has a value
        return strings(["".join(parts) + "</row>"] * rows.num_rows)
    return joined(*parts, "</row>")


def _text_cells(text: pa.Array, kinds: int) -> list[Any]:
    """A column of texts, as `joined` puts them side by side."""
    if text.null_count == len(text):
        return ["<c/>"]
    head, tail = _TEXT_CELL
    fitting = _fitting(text, kinds)
    return [head, fitting, tail] if not fitting.null_count else [filled(concatenated(head, fitting, tail), "<c/>")]


def _cells(column: pa.Array, text: pa.Array) -> list[Any]:
    """A column of another type."""
    kind = column.type
    if text.null_count == len(text):
        return ["<c/>"]
    if pa.types.is_boolean(kind):
        bits = pc.replace_substring(pc.replace_substring(text, "true", "1"), "false", "0")
        return [filled(concatenated('<c t="b"><v>', bits, "</v></c>"), "<c/>")]
    if pa.types.is_integer(kind):
        return _typed(text, text, _between(column.cast(pa.int64(), safe=False), 1 - MAX_NUMBER, MAX_NUMBER), 0)
    if pa.types.is_date(kind):
        days = pc.add(column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), _number(_DAYS_BEFORE_1970))
        return _typed(text, days.cast(pa.large_string()), _between(days, _FIRST_DAY, _END_DAY), DATE)
    since = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    since = pc.add(since, _number(_DAYS_BEFORE_1970 * _MICROSECONDS))
    fits = _between(since, _FIRST_DAY * _MICROSECONDS, _END_DAY * _MICROSECONDS)
    return _typed(text, _in_days(since), fits, TIME)


def _in_days(microseconds: pa.Array) -> pa.Array:
    """Microseconds (≥ 0) as days with at most twelve decimals, by integers alone.

    The text of a float may differ between versions of a library, but a sealed workbook is verified by making it again.
    """
    day = _number(_MICROSECONDS)
    days = pc.divide(microseconds, day)
    parts: list[Any] = [days.cast(pa.large_string()), "."]
    rest = pc.subtract(microseconds, pc.multiply(days, day))
    for digits in (8, 4):  # a day times 10^8 is less than 2^63
        rest = pc.multiply(rest, _number(10**digits))
        found = pc.divide(rest, day)
        rest = pc.subtract(rest, pc.multiply(found, day))
        parts.append(pc.utf8_lpad(found.cast(pa.large_string()), digits, "0"))
    return pc.utf8_rtrim(pc.utf8_rtrim(concatenated(*parts), "0"), ".")


def _typed(text: pa.Array, number: pa.Array, fits: pa.Array, style: int) -> list[Any]:
    """Numbers where they fit, the text otherwise."""
    cells = concatenated(f'<c s="{style}"><v>' if style else "<c><v>", number, "</v></c>")
    if pc.all(fits, min_count=0).as_py() is False:
        head, tail = _TEXT_CELL
        cells = pc.if_else(fits, cells, concatenated(head, text, tail))
    return [filled(cells, "<c/>")]


@cache
def _number(value: int) -> pa.Scalar:
    # As in `strings`: Arrow's own way imports pandas.
    return strings([str(value)]).cast(pa.int64())[0]


def _between(values: pa.Array, first: int, end: int) -> pa.Array:
    return pc.and_(pc.greater_equal(values, _number(first)), pc.less(values, _number(end)))


def _kinds(texts: pa.Array) -> int:
    """Which kinds of bytes occur in the texts; a search in all of them costs less than a replacement of nothing."""
    data = utf8(texts)
    if not data.size:
        return 0
    kinds = 0
    if data.min() < 0x20:
        kinds |= _RETURN if (data == ord("\r")).any() else 0
        kinds |= _CONTROL if ((data < 0x20) & (data != 0x09) & (data != 0x0A) & (data != 0x0D)).any() else 0
    if data.max() >= 0xEF and (data == 0xEF).any():  # the first byte of U+FFFE and U+FFFF, and of others
        kinds |= _NONCHARACTER
    if any((data == ord(char)).any() for char in "&<>"):
        kinds |= _MARKUP
    return kinds | (_ESCAPE if ((data[:-1] == ord("_")) & (data[1:] == ord("x"))).any() else 0)


def _long(texts: pa.Array) -> pa.Array:
    """Which texts may be too long: a UTF-16 unit is one byte of UTF-8 or more."""
    return pc.greater(pc.binary_length(texts), _number(MAX_TEXT))


def _fitting(texts: pa.Array, kinds: int) -> pa.Array:
    """Texts as they are written in a cell; `kinds`: of `_kinds`."""
    if kinds & (_CONTROL | _NONCHARACTER):
        texts = pc.replace_substring_regex(texts, _ILLEGAL, "\N{REPLACEMENT CHARACTER}")
    long = _long(texts)
    if pc.any(long).as_py():
        cut = [_cut(text) for text in texts.filter(long).to_pylist()]
        texts = pc.replace_with_mask(texts, long, strings(cut))
    if kinds & _MARKUP:
        for char in "&<>":
            texts = pc.replace_substring(texts, char, escape(char))
    if kinds & _ESCAPE:
        looks = pc.match_substring_regex(texts, _LOOKS_ESCAPED)
        escaped = [_TO_ESCAPE.sub("_x005F_", text) for text in texts.filter(looks).to_pylist()]  # RE2 cannot look ahead
        texts = pc.replace_with_mask(texts, looks, strings(escaped))
    return pc.replace_substring(texts, "\r", "_x000D_") if kinds & _RETURN else texts


def _cut(text: str) -> str:
    units = text.encode("utf-16-le")
    return text if len(units) <= 2 * MAX_TEXT else units[: 2 * MAX_TEXT].decode("utf-16-le", "ignore")


def _changed(names: Sequence[str], texts: Sequence[pa.Array], kinds: Sequence[int]) -> list[tuple[int, str, str]]:
    """The second value of `rows_and_changes`."""
    found: list[tuple[int, str, str]] = []
    for name, text, kind in zip(names, texts, kinds, strict=True):
        suspect = _long(text)
        if kind & (_CONTROL | _NONCHARACTER):
            suspect = pc.or_(suspect, pc.match_substring_regex(text, _ILLEGAL))
        if pc.any(suspect).as_py():
            at = pc.indices_nonzero(suspect).to_pylist()
            found += [(row, name, what) for row in at for what in _changes(text[row].as_py())]
    return sorted(found, key=lambda change: change[0])


def _changes(text: str) -> list[str]:
    """What is changed in one text."""
    changes = []
    if illegal := sorted({f"U+{ord(char):04X}" for char in re.findall(_ILLEGAL, text)}):
        changes.append(f"{', '.join(illegal)} shown as U+FFFD")
    if _cut(text) != text:
        changes.append(f"cut at {MAX_TEXT:,} of {len(text.encode('utf-16-le')) // 2:,} characters")
    return changes


def _cell(text: str, style: int) -> str:
    return f'<c t="inlineStr" s="{style}"><is><t xml:space="preserve">{text}</t></is></c>'


_TEXT_CELL = _cell("|", TEXT).split("|")
"""The markup before and after the text of a cell."""
