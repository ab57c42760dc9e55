"""Lists of conversation and recording ids as people send them: text, CSV or a spreadsheet, in any usual encoding.

Belongs here: reading a list, with its comments and duplicates. Does not: matching the ids (selection.py).
"""

from __future__ import annotations

import csv
import hashlib
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custody_pipeline.io.yaml_file import RefusedFileError

MAX_BYTES = 64 << 20
MAX_IDS = 1_000_000
MAX_ID_CHARACTERS = 200
_HEADERS = {"conversationid", "recordingid", "id"}
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# RuntimeError: a password, or a compression that is not known; the others: a part that is not as it should be.
_NO_BOOK = (
    LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, EOFError, SyntaxError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
_FORMS = "accepted: one id a line, CSV with a column conversation_id, recording_id or id, or .xlsx"


@dataclass(frozen=True)
class IdList:
    """Ids of conversations or recordings, each once, in the order of the list.

    Attributes:
        ids: in lower case: spreadsheets and people change the case.
        repeated: how many lines repeat an id.
        source: the file's name; empty for ids in the matter file itself.
        sha256: of the file's bytes, hex; empty without a file.
    """

    ids: tuple[str, ...]
    repeated: int = 0
    source: str = ""
    sha256: str = ""

    @classmethod
    def of(cls, ids: Iterable[str], source: str = "", sha256: str = "") -> IdList:
        """A list with its duplicates counted."""
        given = [found for found in (item.strip().lower() for item in ids) if found]
        once = tuple(dict.fromkeys(given))
        return cls(once, len(given) - len(once), source, sha256)


def read_id_list(path: Path, column: str | None = None) -> IdList:
    """Read a list of ids.

    Args:
        path: text or CSV (UTF-8 or UTF-16, with or without a byte order mark), or the first sheet of an .xlsx file.
            Lines that begin with `#` are comments.
        column: of a file with a header; by default the one named conversation_id, recording_id or id, otherwise the
            first. Two of these names are refused: recordings are fewer than those of their conversations.
            The first is refused where another column has UUIDs, as all of the vendor's ids are.

    Raises:
        RefusedFileError: with the file, the line and the accepted form.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RefusedFileError(path, 1, f"larger than {MAX_BYTES >> 20} MB; {_FORMS}")
        data = path.read_bytes()
    except OSError as error:
        raise RefusedFileError(path, 1, f"cannot be read ({error.strerror}); {_FORMS}") from error
    is_book = data.startswith(b"PK\x03\x04")
    rows = list(_of_spreadsheet(path, data) if is_book else _of_text(path, _decoded(path, data)))
    if not rows:
        raise RefusedFileError(path, 1, f"no id in it; {_FORMS}")
    at, body = _column(path, rows, column)
    ids = []
    for line, cells in body:
        cell = cells[at].strip() if at < len(cells) else ""
        if len(cell) > MAX_ID_CHARACTERS or not cell.isprintable():
            raise RefusedFileError(path, line, f"no id: longer than {MAX_ID_CHARACTERS} characters, or not printable")
        if not cell and column is None and _uuids(cells):
            raise RefusedFileError(path, line, "no id in the column of the ids, but one in another; name the column")
        ids.append(cell)
    found = IdList.of(ids, path.name, hashlib.sha256(data).hexdigest())
    if not found.ids:
        raise RefusedFileError(path, 1, f"no id in it; {_FORMS}")
    if len(found.ids) > MAX_IDS:
        raise RefusedFileError(path, 1, f"{len(found.ids):,} ids; a list has at most {MAX_IDS:,}")
    return found


def _decoded(path: Path, data: bytes) -> str:
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in data[:2]:  # UTF-16 without a mark: ids are ASCII
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RefusedFileError(path, line, "neither UTF-8 nor UTF-16; save the list as UTF-8") from error


def _of_text(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line that is neither empty nor a comment."""
    lines = list(io.StringIO(text, newline=""))
    first = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    delimiter = max(",;\t", key=first.count)
    # A comment may have any quotes.
    lines = [
        "" if _is_comment(path, number, line.strip("\r\n").split(delimiter)) else line
        for number, line in enumerate(lines, 1)
    ]
    csv.field_size_limit(MAX_BYTES)
    # strict: otherwise a cell whose quote is never closed takes in the lines below it.
    reader, line = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True), 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not _is_comment(path, reader.line_num, cells):
                yield reader.line_num, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise RefusedFileError(
            path, line, f'a cell begins with " and does not end with it ({error}); {_FORMS}'
        ) from error


def _is_comment(path: Path, line: int, cells: Sequence[str]) -> bool:
    """Whether a line is a comment. A column may be named `#`. Raises RefusedFileError if an id would be left out."""
    if not cells[0].lstrip().startswith("#") or (cells[0].strip() == "#" and any(map(str.strip, cells[1:]))):
        return False
    if _uuids(cells[1:]):
        raise RefusedFileError(
            path, line, "a line that begins with # is a comment, and this one has an id; remove the # or it"
        )
    return True


def _of_spreadsheet(path: Path, data: bytes) -> Iterator[tuple[int, list[str]]]:
    import openpyxl

    try:
        first, *others = openpyxl.load_workbook(io.BytesIO(data), read_only=True).worksheets
        for number, cells in _of_sheet(first):
            if any(cells) and not _is_comment(path, number, cells):
                yield number, cells
        more = next((sheet.title for sheet in others if any(_uuids(cells) for _, cells in _of_sheet(sheet))), None)
    except _NO_BOOK as error:
        raise RefusedFileError(path, 1, f"no spreadsheet that can be read; {_FORMS}") from error
    if more is not None:
        raise RefusedFileError(path, 1, f"ids in sheet {more!r} too; only the first sheet is read: put all ids there")


def _of_sheet(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    sheet.reset_dimensions()  # rows that the file's own statement of its size leaves out are read as well
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        yield number, ["" if cell is None else str(cell) for cell in row]


def _column(
    path: Path, rows: Sequence[tuple[int, list[str]]], column: str | None
) -> tuple[int, Sequence[tuple[int, list[str]]]]:
    """Which cell of each row holds the id, and the rows below the header."""
    line, header = rows[0]
    names = [_plain(cell) for cell in header]
    if column is not None:
        if _plain(column) not in names:
            raise RefusedFileError(path, line, f"no column {column!r}; there are {', '.join(header)}")
        return names.index(_plain(column)), rows[1:]
    named = {number for number, name in enumerate(names) if name in _HEADERS}
    filled = {number for number in named if any(cell.strip() for _, cells in rows[1:] for cell in cells[number:][:1])}
    if named and len(filled) < 2:
        return min(filled or named), rows[1:]
    of_ids = filled or {number for _, cells in rows for number in _uuids(cells)}
    if of_ids and of_ids != {0}:
        what = "ids in several columns" if len(of_ids) > 1 else "no id in the first column"
        likely = " or ".join(header[number].strip() for number in sorted(of_ids) if number < len(header))
        raise RefusedFileError(path, line, f"{what}; write one id a line, or name the column of the ids: {likely}")
    return 0, rows


def _uuids(cells: Sequence[str]) -> list[int]:
    """Numbers of the cells that are ids of the vendor."""
    return [number for number, cell in enumerate(cells) if _UUID.fullmatch(cell.strip())]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
