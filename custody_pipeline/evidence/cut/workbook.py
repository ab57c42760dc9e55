"""Published rows → a workbook (.xlsx) that changes no value.

Belongs here: the parts of the workbook. Does not: which rows, where the file goes (publish), comparing a sealed
workbook with its table (evidence/verify/cut_renderings.py).

| value | cell |
|---|---|
| text | text, also `007`, `1.10`, 23 digits and `=1+1`: no cell is a formula |
| date, timestamp (UTC) | a date of the workbook; text where its calendar has no such day |
| integer | a number; text above 15 digits |
| boolean | a boolean |
| list, struct, map | text: the JSON of the sealed record |
| null | no cell content; the empty string is a text without characters |

A value that a cell cannot hold is changed, and the last sheet, `changed cells`, names it: characters that XML 1.0 lacks
(NUL and other control characters) become U+FFFD, and a text is cut at 32,767 UTF-16 units. A full sheet is followed by
another.

The XML is made column by column: a library that takes one cell at a time is many times slower. Equal rows give equal
parts. A sealed workbook is verified by making its parts again. If this form changes, the earlier form must stay beside
it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from isal import isal_zlib

from custody_pipeline.evidence.cut.records import concatenated, joined, strings, text_column, utf8

WORKBOOK = ".xlsx"

# Limits of Excel's file format: characters of a cell, digits of a number, rows of a sheet. Bytes: of a part of a ZIP
# file without ZIP64, which not every reader knows.
MAX_TEXT = 32_767
MAX_NUMBER = 10**15
MAX_ROWS = 1_048_576
MAX_BYTES = 1 << 30
MAX_NOTES = 10_000

_ROWS_AT_ONCE = 4_096
_WIDTH = 18
_TEXT, _DATE, _TIME, _HEAD = 1, 2, 3, 4

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

_HEADER = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SHEETML = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_STYLES = (
    f'{_HEADER}<styleSheet xmlns="{_MAIN}">'
    '<numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
    '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss.000"/></numFmts>'
    '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="5">'
    + "".join(
        f'<xf numFmtId="{number}" fontId="{font}" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
        for number, font in ((0, 0), (49, 0), (164, 0), (165, 0), (49, 1))
    )
    + '</cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)


class Part(Protocol):
    """A part of a workbook that takes bytes."""

    def write(self, data: bytes | memoryview, /) -> Any:
        """Take bytes."""


class Parts(Protocol):
    """Receives the parts of a workbook, one after the other."""

    def open(self, name: str) -> AbstractContextManager[Part]:
        """The part of this name, to be written from its beginning to its end."""


@dataclass(frozen=True)
class Note:
    """A cell that is not what the table holds: sheet, its row (the header is 1), column, and what was changed."""

    sheet: str
    row: int
    column: str
    what: str


class ZipParts:
    """Parts of a ZIP file without times, so that equal parts are equal bytes."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file

    @contextmanager
    def open(self, name: str) -> Iterator[Part]:
        """A compressed entry."""
        entry = zipfile.ZipInfo(name)  # of 1980-01-01
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o600 << 16
        with self._file.open(entry, "w") as part:
            # zlib takes five times as long, and makes more bytes.
            compressor = isal_zlib.compressobj(2, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
            part._compressor = compressor  # type: ignore[attr-defined]
            yield part


def zipped(target: Any) -> zipfile.ZipFile:
    """A ZIP file that is written to `target`, which need not be seekable."""
    return zipfile.ZipFile(target, "w")


class Workbook:
    """A workbook that is written while rows are added, within its `with` block.

    Attributes:
        notes: the cells that were changed so far.
    """

    def __init__(self, parts: Parts, title: str, names: Sequence[str]) -> None:
        """Begin a workbook.

        Args:
            parts: what takes it.
            title: of its sheet; 31 characters count.
        """
        self.notes: list[Note] = []
        self._parts, self._title, self._names = parts, title, names
        self._sheets: list[str] = []
        self._part: Part | None = None
        self._open = ExitStack()
        self._rows = self._bytes = 0

    def __enter__(self) -> Workbook:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: Any) -> None:
        if error is None:
            self._finish()
        else:
            self._open.__exit__(kind, error, where)

    def add(self, rows: pa.RecordBatch, texts: Sequence[pa.Array] | None = None) -> None:
        """Add rows; `texts` are the columns as `text_column` gives them, if they are known already."""
        for start in range(0, rows.num_rows, _ROWS_AT_ONCE):
            part = rows.slice(start, _ROWS_AT_ONCE)
            known = [text.slice(start, _ROWS_AT_ONCE) for text in texts] if texts is not None else None
            self._add(part, known or [text_column(*pair) for pair in zip(part.schema.names, part.columns, strict=True)])

    def _add(self, rows: pa.RecordBatch, texts: Sequence[pa.Array]) -> None:
        # Only rows and bytes decide where a sheet ends, not the batches: equal rows give equal parts.
        kinds = [_kinds(text) if _is_text(column.type) else 0 for column, text in zip(rows.columns, texts, strict=True)]
        lines = _rows_of(rows, texts, kinds)
        changed = _changed(rows.schema.names, texts, kinds)
        offsets = np.frombuffer(lines.buffers()[1], np.int64)[lines.offset : lines.offset + len(lines) + 1]
        ends = offsets[1:] - offsets[0]
        start = 0
        while start < len(lines):
            if self._part is None or self._rows >= MAX_ROWS or self._bytes >= MAX_BYTES:
                self._begin()
            begun = int(ends[start - 1]) if start else 0
            fitting = int(np.searchsorted(ends, begun + MAX_BYTES - self._bytes)) + 1
            end = min(len(lines), start + MAX_ROWS - self._rows, max(fitting, start + 1))
            for row, column, what in changed:
                if start <= row < end:
                    self.notes.append(Note(self._sheets[-1], self._rows + 1 + row - start, column, what))
            self._write(utf8(lines.slice(start, end - start)).data)
            self._rows += end - start
            start = end

    def _begin(self) -> None:
        self._end()
        number = len(self._sheets) + 1
        self._sheets.append(self._title[:31] if number == 1 else f"{self._title[:25]} ({number})")
        self._part = self._open.enter_context(self._parts.open(f"xl/worksheets/sheet{number}.xml"))
        self._rows = self._bytes = 0
        heads = "".join(_cell(_text(name)[0], _HEAD) for name in self._names)
        self._write((_sheet_head(len(self._names)) + f"<row>{heads}</row>").encode())
        self._rows = 1

    def _end(self) -> None:
        if self._part is not None:
            self._write(b"</sheetData></worksheet>")
            self._open.close()
            self._part = None

    def _write(self, data: bytes | memoryview) -> None:
        assert self._part is not None  # noqa: S101 - `_begin` came before
        self._part.write(data)
        self._bytes += len(data)

    def _finish(self) -> None:
        if not self._sheets:
            self._begin()
        self._end()
        if self.notes:
            self._sheets.append("changed cells")
            self._put(f"xl/worksheets/sheet{len(self._sheets)}.xml", _told(self.notes))
        self._put("xl/styles.xml", _STYLES)
        for name, text in _frame(self._sheets).items():
            self._put(name, text)

    def _put(self, name: str, text: str) -> None:
        with self._parts.open(name) as part:
            part.write(text.encode())


def write_workbook(path: Path, title: str, rows: pa.RecordBatchReader) -> list[Note]:
    """Write rows as a workbook; returns the changed cells. See `Workbook`.

    Raises:
        CanonicalError: a column has a type without a canonical text (floating point, binary).
    """
    names = rows.schema.names
    with path.open("wb") as target, zipped(target) as file, Workbook(ZipParts(file), title, names) as book:
        for batch in rows:
            book.add(batch)
    return book.notes


def _told(notes: Sequence[Note]) -> str:
    rows = [("sheet", "row", "column", "what was changed")]
    rows += [(note.sheet, str(note.row), note.column, note.what) for note in notes[:MAX_NOTES]]
    if len(notes) > MAX_NOTES:
        rows.append(("", "", "", f"and {len(notes) - MAX_NOTES:,} cells more"))
    lines = ("".join(_cell(_text(text)[0], _TEXT) for text in row) for row in rows)
    return _sheet_head(4) + "".join(f"<row>{line}</row>" for line in lines) + "</sheetData></worksheet>"


def _rows_of(rows: pa.RecordBatch, texts: Sequence[pa.Array], kinds: Sequence[int]) -> pa.Array:
    parts: list[Any] = ["<row>"]
    for column, text, kind in zip(rows.columns, texts, kinds, strict=True):
        parts += _text_cells(text, kind) if _is_text(column.type) else _cells(column, text)
    if all(isinstance(part, str) for part in parts):  # no column has a value
        return strings(["".join(parts) + "</row>"] * rows.num_rows)
    return joined(*parts, "</row>")


def _is_text(kind: pa.DataType) -> bool:
    """Whether the cells of a column are text: text itself, lists, structs, maps."""
    types = pa.types
    return not (types.is_boolean(kind) or types.is_integer(kind) or types.is_date(kind) or types.is_timestamp(kind))


def _text_cells(text: pa.Array, kinds: int) -> list[Any]:
    """A column of texts, as `joined` puts them side by side."""
    if text.null_count == len(text):
        return ["<c/>"]
    head, tail = _TEXT_CELL
    fitting = _fitting(text, kinds)
    return [head, fitting, tail] if not fitting.null_count else [_or_none(concatenated(head, fitting, tail))]


def _cells(column: pa.Array, text: pa.Array) -> list[Any]:
    """A column of another type."""
    kind = column.type
    if text.null_count == len(text):
        return ["<c/>"]
    if pa.types.is_boolean(kind):
        bits = pc.replace_substring(pc.replace_substring(text, "true", "1"), "false", "0")
        return [_or_none(concatenated('<c t="b"><v>', bits, "</v></c>"))]
    if pa.types.is_integer(kind):
        return _typed(text, text, _between(column.cast(pa.int64(), safe=False), 1 - MAX_NUMBER, MAX_NUMBER), 0)
    if pa.types.is_date(kind):
        days = pc.add(column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), _number(_DAYS_BEFORE_1970))
        return _typed(text, days.cast(pa.large_string()), _between(days, _FIRST_DAY, _END_DAY), _DATE)
    since = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    since = pc.add(since, _number(_DAYS_BEFORE_1970 * _MICROSECONDS))
    fits = _between(since, _FIRST_DAY * _MICROSECONDS, _END_DAY * _MICROSECONDS)
    return _typed(text, _in_days(since), fits, _TIME)


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
    return [_or_none(cells)]


@cache
def _number(value: int) -> pa.Scalar:
    # As in `strings`: Arrow's own way imports pandas.
    return strings([str(value)]).cast(pa.int64())[0]


def _between(values: pa.Array, first: int, end: int) -> pa.Array:
    return pc.and_(pc.greater_equal(values, _number(first)), pc.less(values, _number(end)))


def _or_none(cells: pa.Array) -> pa.Array:
    return pc.fill_null(cells, strings(["<c/>"])[0]) if cells.null_count else cells


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
    """Cells that cannot hold the table's value: row of the batch, column, what is changed; in the order of rows."""
    found: list[tuple[int, str, str]] = []
    for name, text, kind in zip(names, texts, kinds, strict=True):
        suspect = _long(text)
        if kind & (_CONTROL | _NONCHARACTER):
            suspect = pc.or_(suspect, pc.match_substring_regex(text, _ILLEGAL))
        if pc.any(suspect).as_py():
            at = pc.indices_nonzero(suspect).to_pylist()
            found += [(row, name, what) for row in at for what in _text(text[row].as_py())[1]]
    return sorted(found, key=lambda change: change[0])


def _text(text: str) -> tuple[str, list[str]]:
    """One text as it is written in a cell, and what was changed."""
    changed = []
    if illegal := sorted({f"U+{ord(char):04X}" for char in re.findall(_ILLEGAL, text)}):
        changed.append(f"{', '.join(illegal)} shown as U+FFFD")
    if _cut(text) != text:
        changed.append(f"cut at {MAX_TEXT:,} of {len(text.encode('utf-16-le')) // 2:,} characters")
    one = strings([text])
    return _fitting(one, _kinds(one))[0].as_py(), changed


def _cell(text: str, style: int) -> str:
    return f'<c t="inlineStr" s="{style}"><is><t xml:space="preserve">{text}</t></is></c>'


_TEXT_CELL = _cell("|", _TEXT).split("|")
"""The markup before and after the text of a cell."""


def _sheet_head(columns: int) -> str:
    return (
        f'{_HEADER}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
        '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
        f'<cols><col min="1" max="{columns}" width="{_WIDTH}" customWidth="1"/></cols><sheetData>'
    )


def _frame(sheets: Sequence[str]) -> dict[str, str]:
    """The parts that list the other parts."""
    numbers = range(1, len(sheets) + 1)
    kinds = {f"/xl/worksheets/sheet{number}.xml": "worksheet" for number in numbers}
    overrides = {"/xl/workbook.xml": "sheet.main", **kinds, "/xl/styles.xml": "styles"}
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}"/>'
        for number, name in zip(numbers, sheets, strict=True)
    )
    related = [("worksheet", f"worksheets/sheet{number}.xml") for number in numbers] + [("styles", "styles.xml")]
    return {
        "xl/workbook.xml": f'{_HEADER}<workbook xmlns="{_MAIN}" xmlns:r="{_RELATED}">'
        f"<sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": _relationships(related),
        "_rels/.rels": _relationships([("officeDocument", "xl/workbook.xml")]),
        "[Content_Types].xml": f'{_HEADER}<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        + "".join(
            f'<Override PartName="{name}" ContentType="{_SHEETML}.{kind}+xml"/>' for name, kind in overrides.items()
        )
        + "</Types>",
    }


def _relationships(targets: Sequence[tuple[str, str]]) -> str:
    related = "".join(
        f'<Relationship Id="rId{number}" Type="{_RELATED}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    return f'{_HEADER}<Relationships xmlns="{_PACKAGE}/relationships">{related}</Relationships>'
