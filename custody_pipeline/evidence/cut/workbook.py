"""Published rows → a workbook (.xlsx) that changes no value.

Belongs here: sheets and the other parts of the workbook. Does not: how a value is written in a cell
(workbook_cells.py), which rows, where the file goes (publish), comparing a sealed workbook with its table
(evidence/verify/cut_renderings.py).

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

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
from isal import isal_zlib

from custody_pipeline.evidence.cut.records import text_columns, utf8
from custody_pipeline.evidence.cut.workbook_cells import HEAD, rows_and_changes, text_cell

WORKBOOK = ".xlsx"

# Rows: the limit of a sheet in Excel's file format. Bytes: the limit of a part of a ZIP file without ZIP64, which not
# every reader knows.
MAX_ROWS = 1_048_576
MAX_BYTES = 1 << 30
MAX_NOTES = 10_000

_ROWS_AT_ONCE = 4_096
_WIDTH = 18

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
            self._add(part, known or text_columns(part))

    def _add(self, rows: pa.RecordBatch, texts: Sequence[pa.Array]) -> None:
        # Only rows and bytes decide where a sheet ends, not the batches: equal rows give equal parts.
        lines, changed = rows_and_changes(rows, texts)
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
        heads = "".join(text_cell(name, HEAD) for name in self._names)
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


@contextmanager
def workbook_in(target: Any, title: str, names: Sequence[str]) -> Iterator[Workbook]:
    """A workbook that is written to `target`, which need not be seekable."""
    with zipfile.ZipFile(target, "w") as file, Workbook(ZipParts(file), title, names) as book:
        yield book


def write_workbook(path: Path, title: str, rows: pa.RecordBatchReader) -> list[Note]:
    """Write rows as a workbook; returns the changed cells. See `Workbook`.

    Raises:
        CanonicalError: a column has a type without a canonical text (floating point, binary).
    """
    with path.open("wb") as target, workbook_in(target, title, rows.schema.names) as book:
        for batch in rows:
            book.add(batch)
    return book.notes


def _told(notes: Sequence[Note]) -> str:
    rows = [("sheet", "row", "column", "what was changed")]
    rows += [(note.sheet, str(note.row), note.column, note.what) for note in notes[:MAX_NOTES]]
    if len(notes) > MAX_NOTES:
        rows.append(("", "", "", f"and {len(notes) - MAX_NOTES:,} cells more"))
    lines = ("".join(text_cell(text) for text in row) for row in rows)
    return _sheet_head(4) + "".join(f"<row>{line}</row>" for line in lines) + "</sheetData></worksheet>"


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
