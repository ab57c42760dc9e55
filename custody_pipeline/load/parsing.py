"""Landing files → Arrow batches: DuckDB reads the documents into typed columns.

Python reads no document here. If a document does not fit the declared type, DuckDB refuses the file. The load then
finds the document line by line, keeps it as a row whose `document_state` says so, and loads all others.

Belongs here: reading files into batches. Does not: tables (raw_tables.py), dlt (source.py).
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from custody_pipeline.extract.documents import DocumentState
from custody_pipeline.extract.landing_files import as_readable, read_lines, without_document
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.io.concurrency import in_order
from custody_pipeline.io.encrypted_files import PIECE_BYTES, is_encrypted, opened
from custody_pipeline.load.raw_tables import raw_select, utc_cursor
from custody_pipeline.load.working_folder import working_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from custody_pipeline.extract.landing_files import LandedFile
    from custody_pipeline.io.night_keys import NightKeys


# A thousand rows make files twice as large; a hundred thousand wide ones cost memory.
BATCH_ROWS = 20_000
BLOCK_LINES = 2_048

# One core parses a file (128 MiB of lines): so many files are parsed in parallel, if DuckDB has as many threads.
FILES_AT_ONCE = 4


class RefusedError(Exception):
    """DuckDB refuses a document that does not fit its declared type. Never show the cause, which may quote it."""


def batches(con: duckdb.DuckDBPyConnection, landing: Landing) -> Iterator[pa.RecordBatch]:
    """The rows of a landing's files, in the files' order; some files are parsed ahead."""
    with working_folder(con) as scratch:

        def rows_of(asked: tuple[LandedFile, duckdb.DuckDBPyConnection]) -> list[pa.RecordBatch]:
            file, cursor = asked
            local = _readable(file, landing.place.keys, scratch)
            with cursor:
                try:
                    return list(read_files(cursor, landing, [local]))
                except RefusedError:
                    # Merge the batches: dlt takes as long for a batch of one row as for one of a thousand.
                    rows: pa.Table = pa.Table.from_batches(_read_tolerantly(cursor, landing, local, scratch))
                    return list(rows.combine_chunks().to_batches(BATCH_ROWS))

        (threads,) = con.cursor().execute("SELECT current_setting('threads')").fetchone() or (1,)
        at_once = min(FILES_AT_ONCE, threads)
        asked = ((file, utc_cursor(con)) for file in landing.files)
        for _, found in in_order(rows_of, asked, workers=at_once, ahead=at_once):
            yield from found


def insert_files(cursor: duckdb.DuckDBPyConnection, landing: Landing, files: Sequence[Path], table: str) -> None:
    """Insert the rows of a landing's files into another raw table than its own. Raises as `read_files` does."""
    with _refusing():
        cursor.execute(f"INSERT INTO raw.{table} BY NAME {raw_select(table)}", _arguments(landing, files, table))


def read_files(cursor: duckdb.DuckDBPyConnection, landing: Landing, files: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """The rows of a landing's files, as the SQL file of its table reads them.

    Raises:
        RefusedError: DuckDB cannot read a document as its declared type.
    """
    arguments = _arguments(landing, files, landing.resource)
    with _refusing():
        yield from cursor.execute(raw_select(landing.resource), arguments).to_arrow_reader(BATCH_ROWS)


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise RefusedError for every form in which DuckDB refuses a document."""
    try:
        yield
    except (duckdb.InvalidInputException, duckdb.ConversionException):
        raise RefusedError from None
    except (OSError, ValueError) as error:
        # After the first batch pyarrow raises DuckDB's message as an error of another class. DuckDB cuts the value that
        # it quotes, sometimes inside a character: its own class cannot be made of such a message.
        message = error.object if isinstance(error, UnicodeDecodeError) else str(error).encode()
        if message.startswith((b"Invalid Input Error", b"Conversion Error")):
            raise RefusedError from None
        raise


def _arguments(landing: Landing, files: Sequence[Path], table: str) -> dict[str, object]:
    return {
        "partition_date": landing.night,
        "landing_id": landing.landing_id,
        # As in the cut: paths of this machine are not published.
        "folder": f"landing/{table}",
        "files": [str(file) for file in files],
    }


@contextmanager
def plain_files(con: duckdb.DuckDBPyConnection, landing: Landing, files: Iterable[LandedFile]) -> Iterator[list[Path]]:
    """Local files that DuckDB can read; of an encrypted file, a copy beside the warehouse, removed after the block."""
    with ExitStack() as stack:
        found = []
        for file in files:
            local = file.local
            if is_encrypted(local):
                local = _opened_copy(local, landing.place.keys, stack.enter_context(working_folder(con)))
            found.append(local)
        yield found


def _readable(file: LandedFile, keys: NightKeys, scratch: Path) -> Path:
    """The file, or a decrypted copy whose documents a parser can read."""
    if file.adapted:
        return _write(scratch, file.local.name, (as_readable(line) for line in read_lines(file.local, keys)))
    return _opened_copy(file.local, keys, scratch) if is_encrypted(file.local) else file.local


def _opened_copy(file: Path, keys: NightKeys, scratch: Path) -> Path:
    copy = Path(tempfile.mkdtemp(dir=scratch)) / file.name
    with opened(file, keys.named) as content, copy.open("wb") as target:
        shutil.copyfileobj(content, target, PIECE_BYTES)
    return copy


def _write(scratch: Path, name: str, lines: Iterable[bytes]) -> Path:
    # Keep the file's name, in a new folder: document URIs are formed from it.
    copy = Path(tempfile.mkdtemp(dir=scratch)) / name
    with gzip.open(copy, "wb", compresslevel=1) as target:
        for line in lines:
            target.write(line)
    return copy


def _read_tolerantly(
    cursor: duckdb.DuckDBPyConnection, landing: Landing, file: Path, scratch: Path
) -> Iterator[pa.RecordBatch]:
    block: list[bytes] = []
    for line in read_lines(file):
        block.append(line)
        if len(block) == BLOCK_LINES:
            yield from _read_block(cursor, landing, file.name, block, scratch)
            block = []
    yield from _read_block(cursor, landing, file.name, block, scratch)


def _read_block(
    cursor: duckdb.DuckDBPyConnection, landing: Landing, name: str, block: list[bytes], scratch: Path
) -> Iterator[pa.RecordBatch]:
    if not block:
        return
    copy = _write(scratch, name, block)
    try:
        found = list(read_files(cursor, landing, [copy]))
    except RefusedError:
        if len(block) == 1:
            # Without its document nothing is left to refuse: a second refusal is a fault of the SQL file.
            alone = _write(scratch, name, [without_document(block[0], DocumentState.WRONG_SHAPE)])
            yield from read_files(cursor, landing, [alone])
            return
        middle = len(block) // 2
        yield from _read_block(cursor, landing, name, block[:middle], scratch)
        yield from _read_block(cursor, landing, name, block[middle:], scratch)
    else:
        yield from found
    finally:
        shutil.rmtree(copy.parent)
