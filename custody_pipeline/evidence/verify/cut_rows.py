"""The rows of a cut: each record against its row and its leaf, and the counts that cut.json states.

Belongs here: everything that decodes a table. Does not: digests of files (cut_files.py).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import Cut
from custody_pipeline.evidence.cut.records import CanonicalError, leaf_hash, lines_of, record_blocks, strings
from custody_pipeline.evidence.cut.removal import REASON, STATEMENT, is_rendering
from custody_pipeline.evidence.log.tiles import TileError
from custody_pipeline.evidence.reader import Entry, TargetError
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import CHUNK, WORKERS, is_table
from custody_pipeline.evidence.verify.removals import remaining_leaves, unknown_removals
from custody_pipeline.evidence.verify.sealed_table import UNREADABLE, Rows, SealedTable

_RECORD_BYTES_AT_ONCE = 4 << 20
_RECORDING = ("conversation_id", "recording_id")
_SALT = re.compile(rb'"_salt":"([0-9a-f]{64})"')
_FINDINGS_PER_FILE = 5


class RecordCheck:
    """The records of one cut, read once, in order. `unread`: they could not be read to their end."""

    def __init__(self, context: Context, prefix: str, cut: Cut, entry: Entry | None) -> None:
        self._context = context
        self._prefix, self._path = prefix, prefix + cuts.RECORDS
        self._entry = entry
        self._cut = cut
        self._wrong = 0
        self._unreadable = False
        self.unread = False
        self.sha256: str | None = None
        self.media: list[tuple[str, str | None, str | None]] = []

    def check(self, table: SealedTable | None) -> list[bytes]:
        """The leaves of the records; with a table, each record is compared with its row."""
        report, expected = self._context.report, self._cut.log.records
        report.total["records"] += expected
        file = self._cut.file(cuts.RECORDS)
        if self._entry is None and file and self._context.removals.removed(self._prefix, file.path, file.sha256):
            return self._remaining()
        if self._entry is None and unknown_removals(report, self._cut.night):
            self.unread = True
            return []
        leaves = self._remembered()
        if leaves is None:
            leaves = self._read(table)
        if self.unread:
            return leaves
        rows = table.rows if table is not None else expected
        equal = table is not None and self.sha256 is not None and not (self._wrong or self._unreadable)
        if not len(leaves) == expected == rows:
            detail = f"{expected} leaves sealed, {len(leaves)} records, {rows} rows"
            report.add("RECORD_COUNT", self._path, detail)
        elif equal and (question := self._question()):
            self._context.memory[question] = f"{self.sha256} {_sha256(leaves)}"
        if table is not None and not self._unreadable:
            report.valid["records"] += max(0, min(len(leaves), rows, expected) - self._wrong)
            self.media = self._media(table) if self._context.options.media else []
        return leaves

    def _remaining(self) -> list[bytes]:
        """The leaves of records that were removed as a signed statement says."""
        leaves = remaining_leaves(self._context, self._prefix, self._cut) or []
        self.unread = not leaves and bool(self._context.report.unread(f"/{cuts.RECORDS}"))
        if leaves and len(leaves) != self._cut.log.records:
            self._context.report.add(
                "RECORD_COUNT", self._path, f"{self._cut.log.records} sealed, {len(leaves)} remain"
            )
        return leaves

    def _question(self) -> str | None:
        """The key of these leaves in the memory. The table was compared with its sealed digest before."""
        table = self._cut.file(cuts.TABLE)
        if self._entry is None or not self._entry.stamp or table is None:
            return None
        return f"records|{self._path}|{self._entry.size}|{self._entry.stamp}|{table.sha256}|{self._cut.log.first}"

    def _remembered(self) -> list[bytes] | None:
        """The leaves of records that an interrupted run has compared, read from the log, which must have them."""
        question, tree, log = self._question(), self._context.tree, self._cut.log
        if question is None or question not in self._context.memory or tree is None or log.size > tree.size:
            return None
        sha256, leaves_sha256 = self._context.memory[question].split()
        try:
            leaves = list(tree.leaves(log.first, log.cut_index))
        except (TileError, TargetError, OSError):
            return None
        if _sha256(leaves) != leaves_sha256:
            return None
        self._context.advance(self._entry.size if self._entry else 0)
        self.sha256 = sha256
        return leaves

    def _read(self, table: SealedTable | None) -> list[bytes]:
        report = self._context.report
        leaves: list[bytes] = []
        try:
            # Arrow and SHA-256 release the interpreter lock, so a few batches at once are faster; more take memory.
            with ThreadPoolExecutor(WORKERS) as pool:
                waiting: deque[Future[list[bytes]]] = deque()
                start, rows = 0, table.in_order() if table is not None else None
                for block in self._blocks():
                    lines = block.count(b"\n") + (not block.endswith(b"\n"))
                    waiting.append(pool.submit(self._leaves, block, self._take(rows, lines, len(block)), start))
                    start += lines
                    if len(waiting) >= WORKERS:
                        leaves += waiting.popleft().result()
                for future in waiting:
                    leaves += future.result()
        except FileNotFoundError:
            report.add("FILE_MISSING", self._path)
        except (TargetError, OSError) as error:
            report.add("FILE_UNREADABLE", self._path, str(error))
            self.unread = True
        return leaves

    def _take(self, rows: Rows | None, count: int, size: int) -> pa.Table | None:
        if rows is None or self._unreadable:
            return None
        try:
            return rows.take(count, size)
        except UNREADABLE as error:
            self._table_unreadable(error)
            return None

    def _table_unreadable(self, error: Exception) -> None:
        self._unreadable = True
        self._context.report.add("TABLE_UNREADABLE", self._prefix + cuts.TABLE, type(error).__name__)

    def _media(self, table: SealedTable) -> list[tuple[str, str | None, str | None]]:
        names = ["object_uri", "object_version_id", "media_sha256"]
        if not set(names) <= set(table.names):
            return []
        try:
            found = [row for batch in table.batches(names) for row in _texts(batch, names)]
        except UNREADABLE as error:
            self._table_unreadable(error)
            return []
        return [(uri, version, sha256) for uri, version, sha256 in found if uri]

    def _blocks(self) -> Iterator[bytes]:
        """The file in parts that end with a line; no more of it than was signed."""
        parts: list[bytes] = []
        size, file = 0, self._cut.file(cuts.RECORDS)
        rest_of_file = file.bytes if file else 0
        sha256 = hashlib.sha256()
        with self._context.reader.open(self._path) as stream:
            while chunk := stream.read(min(CHUNK, rest_of_file)):
                rest_of_file -= len(chunk)
                sha256.update(chunk)
                self._context.advance(len(chunk))
                size += len(chunk)
                end = chunk.rfind(b"\n") + 1 if size >= _RECORD_BYTES_AT_ONCE else 0
                parts.append(chunk[:end] if end else chunk)
                if end:
                    yield b"".join(parts)
                    parts, size = [chunk[end:]], len(chunk) - end
        self.sha256 = sha256.hexdigest()
        if rest := b"".join(parts):
            yield rest

    def _leaves(self, block: bytes, rows: pa.Table | None, start: int) -> list[bytes]:
        lines = lines_of(block)
        if rows is not None:
            self._compare(block, lines, rows, start)
        return [leaf_hash(line) for line in lines]

    def _compare(self, block: bytes, lines: list[bytes], rows: pa.Table, start: int) -> None:
        lines = lines[: rows.num_rows]
        try:
            records = b"".join(record_blocks(rows, [_salt(line) for line in lines]))
        except CanonicalError as error:
            self._context.report.add("TABLE_UNREADABLE", self._path, str(error))
            self._wrong += len(lines)
            return
        if records == block:
            return
        for number, (line, row) in enumerate(zip(lines, lines_of(records), strict=True), start=start + 1):
            if line != row:
                self._wrong += 1
                if self._wrong <= _FINDINGS_PER_FILE:
                    self._context.report.add("RECORD_ALTERED", self._path, f"line {number} is not row {number}")


def _sha256(leaves: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(leaves)).hexdigest()


def _salt(line: bytes) -> str:
    """The salt of a record, unchecked and perhaps empty: the comparison of the whole line decides."""
    if line.startswith(b'{"_salt":"'):
        return line[10:74].decode("ascii", "replace")
    match = _SALT.search(line)
    return match[1].decode() if match else ""


def check_counts(context: Context, prefix: str, cut: Cut, tables: Mapping[str, SealedTable]) -> None:
    """Compare the counts in cut.json with the rows in the Parquet files that are as sealed, and the rows' night."""
    tabled = [file.path for file in cut.files if is_table(file.path)]
    named = {path.removeprefix("data/").removesuffix(".parquet") for path in tabled}
    if named != set(cut.counts):
        detail = f"counts of {', '.join(sorted(named ^ set(cut.counts)))}"
        context.report.add("COUNT_WRONG", prefix + cuts.CUT_JSON, detail)
    for listed in cut.files:
        sealed = cut.log.records if listed.path == cuts.RECORDS else None
        if is_rendering(listed.path):
            sealed = cut.counts.get(listed.path.removeprefix("data/").partition(".")[0])
        if None not in (listed.rows, sealed) and listed.rows != sealed:
            detail = f"{listed.rows} in the list of files, {sealed} in the counts or in the log"
            context.report.add("COUNT_WRONG", prefix + listed.path, detail)
    for path, table in tables.items():
        if not is_table(path):
            _check_remaining_rows(context, prefix, path, cut, table)
            continue
        name, file, rows = path.removeprefix("data/").removesuffix(".parquet"), cut.file(path), table.rows
        if file is None or not rows == file.rows == cut.counts.get(name):
            detail = f"{rows} rows, {file and file.rows} in the list of files, {cut.counts.get(name)} in the counts"
            context.report.add("COUNT_WRONG", prefix + path, detail)
            continue  # no more rows are read than were signed
        if path == cuts.TABLE and rows != cut.log.records:
            continue  # RECORD_COUNT says so
        try:
            _check_rows(context, prefix + path, cut, table, of_recordings=path == cuts.TABLE)
        except UNREADABLE as error:
            context.report.add("TABLE_UNREADABLE", prefix + path, type(error).__name__)


def _check_remaining_rows(context: Context, prefix: str, path: str, cut: Cut, table: SealedTable) -> None:
    """What an erasure left of a table has as many rows as are stated, all of the night, none of what was erased."""
    file = cut.file(path)
    if file is not None and file.rows not in (None, table.rows):
        context.report.add("COUNT_WRONG", prefix + path, f"{table.rows} rows, {file.rows} in the list of files")
        return  # no more rows are read than were signed
    stated = next((item.statement for item in context.removals.found if item.prefix == prefix), None)
    erased = set(stated.conversations) if stated else set[str]()
    try:
        _check_rows(context, prefix + path, cut, table, of_recordings=False)
        for batch in table.batches(["conversation_id"]) if "conversation_id" in table.names else ():
            if erased & {text for (text,) in _texts(batch, ["conversation_id"])}:
                context.report.add("ERASURE_WRONG", prefix + path, "rows of a conversation remain that was erased")
                return
    except UNREADABLE as error:
        context.report.add("TABLE_UNREADABLE", prefix + path, type(error).__name__)


def check_tombstones(context: Context, prefix: str, cut: Cut, table: SealedTable | None, *, alone: bool) -> None:
    """Each recording that this cut's statement names has a row that says so, and no other row says so.

    Args:
        context: the verification.
        prefix: of the cut.
        cut: its content.
        table: its chain of custody, if it is as sealed.
        alone: the other cuts of the night, which may hold earlier statements, are not here.
    """
    if table is None:
        return
    report, path = context.report, prefix + cuts.TABLE
    try:
        there = set(_erased_rows(table))
    except UNREADABLE as error:
        report.add("TABLE_UNREADABLE", path, type(error).__name__)
        return
    removals = context.removals
    if unknown_removals(report, cut.night):
        return
    if stated := next((item.statement for item in removals.found if item.prefix == prefix), None):
        missing = {(item.conversation_id, item.recording_id) for item in stated.recordings} - there
        if missing:
            detail = f"{len(missing)} recordings have no row with the reason {REASON}"
            report.add("ERASURE_WRONG", prefix + STATEMENT, detail)
    if not alone and (unstated := there - removals.names(cut.night)):
        report.add("ERASURE_UNSTATED", path, f"{len(unstated)} rows")


def _erased_rows(table: SealedTable) -> Iterator[tuple[str | None, ...]]:
    """Conversation and recording of the rows whose reasons name an erasure."""
    names = [*_RECORDING, "gap_reasons"]
    if not set(names) <= set(table.names):
        return
    for batch in table.batches(names):
        reasons = batch.column("gap_reasons")
        is_erasure = pc.equal(pc.list_flatten(reasons).cast(pa.large_string()), strings([REASON])[0])
        rows = pc.unique(pc.filter(pc.list_parent_indices(reasons), is_erasure))
        yield from _texts(batch.take(rows), _RECORDING)


def _check_rows(context: Context, path: str, cut: Cut, table: SealedTable, *, of_recordings: bool) -> None:
    """Every row is of the cut's night; a recording has one row, and the statuses are those that cut.json counts.

    The columns are read a batch at a time: the key's owner may have signed few bytes that make many rows.
    """
    wanted = ("partition_date", "custody_status", "revision", *_RECORDING) if of_recordings else ("partition_date",)
    names = [name for name in wanted if name in table.names]
    nights: dict[str, None] = {}
    statuses: Counter[str] = Counter()
    keys: set[tuple[str | None, ...]] = set()
    rows = changed = 0
    newest = str(cut.revision)
    for batch in table.batches(names) if names else ():
        texts = {
            name: (pc.unique(batch.column(name)) if name == "partition_date" else batch.column(name)).cast(pa.string())
            for name in names
        }
        nights |= dict.fromkeys(map(str, texts["partition_date"].to_pylist()) if "partition_date" in texts else ())
        if nights.keys() - {cut.night} or len(statuses) > len(cut.statuses):
            break  # the verdict is certain
        rows += batch.num_rows
        changed += texts["revision"].to_pylist().count(newest) if "revision" in texts else 0
        statuses.update(map(str, texts["custody_status"].to_pylist()) if "custody_status" in texts else ())
        if texts.keys() >= set(_RECORDING):
            keys.update(zip(*(texts[name].to_pylist() for name in _RECORDING), strict=True))
    if set(nights) - {cut.night}:
        context.report.add("ROW_MISPLACED", path, f"{', '.join(list(nights)[:3])} in the night of {cut.night}")
        return
    if of_recordings and statuses != cut.statuses:
        context.report.add("COUNT_WRONG", path, "the custody_status of the rows and cut.json differ")
    stated = cut.supersedes.changed if cut.supersedes else 0  # 0: a cut of an earlier version does not say it
    if of_recordings and stated and stated != changed:
        context.report.add("COUNT_WRONG", path, f"{stated} rows stated as new or changed, {changed} bear this revision")
    if set(_RECORDING) <= set(names) and len(keys) != rows:
        context.report.add("RECORDING_TWICE", path)


def _texts(rows: pa.RecordBatch, names: Sequence[str]) -> Iterator[tuple[str | None, ...]]:
    """The values of columns as text, row by row; an ArrowException for a type that has no text."""
    return zip(*(rows.column(name).cast(pa.string()).to_pylist() for name in names), strict=True)
