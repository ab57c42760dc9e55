"""The CSV files and workbooks of a cut: each must have the content of the Parquet file of its table.

Belongs here: writing them again from the rows and comparing; comparing the cells of a CSV in another form. Does not:
how they are written (evidence/cut/csv_text.py, evidence/cut/workbook.py), the parts of a workbook
(same_workbook.py).

One pass over a table's rows writes both again. If the bytes of a CSV differ, its cells are compared: a cell is the text
that stands for the value in a sealed record, and null is an empty cell without quotes. Cuts of earlier versions have
`.spreadsheet.csv` in place of the workbook: there, an apostrophe may be before a text.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from io import BytesIO, StringIO
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from custody_pipeline.evidence.cut.csv_text import csv_header, csv_records
from custody_pipeline.evidence.cut.manifest import Cut, CutFile
from custody_pipeline.evidence.cut.records import CanonicalError, concatenated, text_column, text_columns
from custody_pipeline.evidence.cut.removal import is_rendering
from custody_pipeline.evidence.cut.workbook import WORKBOOK, Workbook
from custody_pipeline.evidence.reader import TargetError
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import WORKERS
from custody_pipeline.evidence.verify.same_workbook import NO_ZIP, DiffersError, SamePart, same_parts
from custody_pipeline.evidence.verify.sealed_table import UNREADABLE, SealedTable

_CODES = ("CSV_DIFFERS", "SPREADSHEET_DIFFERS")
_WRONG = (DiffersError, TargetError, *UNREADABLE, CanonicalError, EOFError, *NO_ZIP)
_BLOCK_BYTES = 1 << 26
"""Twice the longest document that is loaded: no row of a table is larger."""

# Takes the rows with their columns as `text_column` gives them; None before the first and after the last.
_Maker = Generator[None, tuple[pa.RecordBatch, Sequence[pa.Array]] | None, None]


def check_renderings(
    context: Context,
    prefix: str,
    cut: Cut,
    as_sealed: Mapping[str, bytes | None],
    tables: Mapping[str, SealedTable],
) -> None:
    """Compare each CSV and workbook with the table of its name; a finding for each that contradicts it, or has none.

    Args:
        context: the verification.
        prefix: the cut's folder in the target.
        cut: the cut whose files are compared.
        as_sealed: files whose bytes have their sealed digest, and those bytes if they were kept; no other file is read.
        tables: those whose Parquet files have their sealed digest.
    """
    by_table: dict[str, list[CutFile]] = {}
    for file in cut.files:
        if is_rendering(file.path) and file.path in as_sealed:
            by_table.setdefault(f"{file.path.partition('.')[0]}.parquet", []).append(file)

    @contextmanager
    def opened(file: CutFile) -> Iterator[BinaryIO]:
        kept = as_sealed[file.path]
        try:
            stream = BytesIO(kept) if kept is not None else context.reader.open(prefix + file.path)
        except OSError as error:
            raise TargetError(str(error)) from error
        with stream:
            yield stream

    def compare(name: str) -> dict[str, str | TargetError | None]:
        """One thread reads a table's file at a time."""
        of_table, table = cut.file(name), tables.get(name)
        if of_table is None:
            return {file.path: "the cut has no Parquet of this table" for file in by_table[name]}
        if table is None:
            return {}  # its own finding says why
        questions = {file.path: f"rendering|{file.sha256}|{of_table.sha256}" for file in by_table[name]}
        asked = [file for file in by_table[name] if questions[file.path] not in context.memory]
        found = contradictions(asked, opened, table)
        context.memory.update({questions[path]: "equal" for path, problem in found.items() if problem is None})
        return found

    with ThreadPoolExecutor(WORKERS) as pool:
        for problems in pool.map(compare, sorted(by_table)):
            for path, problem in problems.items():
                if isinstance(problem, TargetError):
                    context.report.add("FILE_UNREADABLE", prefix + path, str(problem))
                elif problem is not None:
                    context.report.add(_CODES[path.endswith(WORKBOOK)], prefix + path, problem)


def contradictions(
    files: Sequence[CutFile], opened: Callable[[CutFile], AbstractContextManager[BinaryIO]], table: SealedTable
) -> dict[str, str | TargetError | None]:
    """How CSV files and workbooks differ from their table.

    Args:
        files: signed entries of the cut; the files of the target have their digests.
        opened: gives the bytes of one of them; raises TargetError.
        table: read by no other thread.

    Returns:
        By path: what differs, the error of the target, or None if nothing differs.
    """
    makers = {file.path: _maker(file, opened(file), table.names) for file in files if ".spreadsheet." not in file.path}
    errors = _made_again(makers, table.batches())
    found: dict[str, str | TargetError | None] = {}
    for file in files:
        error = errors.get(file.path)
        try:
            if isinstance(error, TargetError):
                raise error
            if file.path.endswith(WORKBOOK) or (file.path in errors and error is None):
                found[file.path] = _told(error)
            else:
                with opened(file) as stream:
                    found[file.path] = _of_csv(file.path, stream, table)
        except TargetError as unread:
            found[file.path] = unread
    return found


def _maker(file: CutFile, opened: AbstractContextManager[BinaryIO], names: Sequence[str]) -> _Maker:
    if file.path.endswith(WORKBOOK):
        return _workbook_again(file.path.removeprefix("data/").removesuffix(WORKBOOK), opened, names)
    return _csv_again(file, opened, names)


def _made_again(makers: Mapping[str, _Maker], batches: Iterable[pa.RecordBatch]) -> dict[str, Exception | None]:
    """Give the rows to each maker; by key, the error that ended it, or None. No rows are read when all have ended."""
    ended: dict[str, Exception | None] = {}

    def give(rows: pa.RecordBatch | None) -> None:
        given = None if rows is None else (rows, text_columns(rows))
        for path in makers.keys() - ended.keys():
            try:
                makers[path].send(given)
            except StopIteration:
                ended[path] = None
            except _WRONG as error:
                ended[path] = error

    try:
        give(None)
        for rows in batches:
            if len(ended) == len(makers):
                break
            give(rows)
        give(None)
    except _WRONG as error:
        for path in makers.keys() - ended.keys():
            makers[path].close()
            ended[path] = error
    return ended


def _told(error: Exception | None) -> str | None:
    if error is None or isinstance(error, DiffersError):
        return str(error) if error else None
    return f"it cannot be read: {type(error).__name__}"


def _csv_again(file: CutFile, opened: AbstractContextManager[BinaryIO], names: Sequence[str]) -> _Maker:
    with ExitStack() as until_made:
        part: _SameDigest | SamePart = _SameDigest(file)
        if file.path.endswith(".gz"):
            part = SamePart(file.path, gzip.GzipFile(fileobj=until_made.enter_context(opened)))
        part.write(csv_header(names))
        while (given := (yield)) is not None:
            part.write(csv_records(*given))
        part.end()


def _of_csv(path: str, stream: BinaryIO, table: SealedTable) -> str | None:
    names = table.names
    twin = ".spreadsheet." in path
    try:
        plain = cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if path.endswith(".gz") else stream
        begin = BOM_UTF8 if twin else b""
        head = plain.read(len(begin) + sum(2 * len(name.encode()) + 3 for name in names) + 2)
        header = head.removeprefix(begin).decode(errors="replace")
        if next(csv.reader(StringIO(header, newline="")), None) != names:
            return "its columns are not those of the Parquet"
        reader = pacsv.open_csv(
            _Begun(head, plain),
            pacsv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )
        rows, number = table.in_order(), 0
        for batch in reader:
            expected = rows.take(batch.num_rows, batch.nbytes)
            if expected.num_rows < batch.num_rows:
                return "it has more rows than the Parquet"
            for name, cells in zip(names, batch.columns, strict=True):
                if not _same(cells, text_column(name, expected.column(name)), twin=twin):
                    return f"{name} differs in the rows {number + 1} to {number + batch.num_rows}"
            number += batch.num_rows
        return "it has fewer rows than the Parquet" if rows.take(1, 0).num_rows else None
    except (*UNREADABLE, csv.Error, CanonicalError, EOFError, zlib.error) as error:
        return f"it cannot be read: {type(error).__name__}"


class _Begun:
    """A stream whose beginning was read already: a header of a million columns must not reach Arrow."""

    closed = False

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def read(self, count: int = -1) -> bytes:
        """The next bytes; fewer than `count` do not mean the end."""
        head, self._head = self._head, b""
        return head or self._rest.read(count)


def not_the_workbook(
    title: str, stream: BinaryIO, names: Sequence[str], batches: Iterable[pa.RecordBatch]
) -> str | None:
    """How a workbook differs from the workbook of the rows; None if it does not.

    Args:
        title: title of its sheet.
        stream: its bytes, which a trusted key signed.
        names: of the columns.
        batches: the rows.
    """
    return _told(_made_again({title: _workbook_again(title, nullcontext(stream), names)}, batches)[title])


def _workbook_again(title: str, opened: AbstractContextManager[BinaryIO], names: Sequence[str]) -> _Maker:
    with opened as stream, same_parts(stream) as parts, Workbook(parts, title, names) as book:
        while (given := (yield)) is not None:
            book.add(*given)


class _SameDigest:
    """Compares the digest of written bytes with the signed digest, so that the file is not read again."""

    def __init__(self, file: CutFile) -> None:
        self._file, self._left, self._sha256 = file, file.bytes, hashlib.sha256()

    def write(self, data: bytes | memoryview, /) -> None:
        """Hash the next bytes; no more of them than the file has."""
        self._left -= len(data)
        self._sha256.update(data)
        if self._left < 0:
            self.end()

    def end(self) -> None:
        """All bytes were given."""
        if self._left or self._sha256.hexdigest() != self._file.sha256:
            raise DiffersError(f"{self._file.path} is not what the table makes")


def _same(cells: pa.Array, texts: pa.Array, *, twin: bool) -> bool:
    if not cells.is_null().equals(texts.is_null()):
        return False
    same = pc.equal(cells, texts)
    if twin:
        same = pc.or_(same, pc.equal(cells, concatenated("'", texts)))
    return pc.all(same, min_count=0).as_py() is not False
