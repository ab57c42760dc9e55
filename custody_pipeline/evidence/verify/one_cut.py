"""The check of one cut: files, signature, timestamp, records, counts, and that it leads to the head it was signed with.

Belongs here: everything that a cut's own folder answers. Does not: the log and the other cuts (verify.py).
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import Cut, CutError, Lock
from custody_pipeline.evidence.cut.records import CanonicalError, Records, leaf_hash, lines_of, record_blocks
from custody_pipeline.evidence.cut.timestamp import TimestampError, verify_timestamp
from custody_pipeline.evidence.log.checkpoint import (
    Checkpoint,
    Head,
    read_checkpoint,
    read_witness_request,
    verify_extension,
)
from custody_pipeline.evidence.log.merkle import ProofError
from custody_pipeline.evidence.log.note import NoteError, Verifier
from custody_pipeline.evidence.log.tiles import TileError, TileTree
from custody_pipeline.evidence.reader import Entry, LockReader, Reader, TargetError, read
from custody_pipeline.evidence.verify.findings import Report, Severity

CHUNK = 1 << 18
_RECORD_BYTES_AT_ONCE = 4 << 20
_SALT = re.compile(rb'"_salt":"([0-9a-f]{64})"')
_WORKERS = 4
_FINDINGS_PER_FILE = 5
_ROWS_AT_ONCE = 4096
_UNREADABLE = (pa.ArrowException, OSError, ValueError)

Progress = Callable[[str, int, int], None]


@dataclass
class Context:
    """What a verification carries along.

    Attributes:
        reader: the target.
        keys: public keys that are trusted; empty means that no signature can be checked.
        timestamp_roots: PEM certificates of timestamp authorities.
        report: where findings go.
        progress: called with what is counted, how many are done, and how many there are.
        memory: what an earlier, interrupted run has established; keys hold sizes and stamps of the files.
        media: whether recordings will be compared, so that the cuts must name theirs.
        tree: the published log, when its tiles lead to its signed root.
        witnesses: keys of witnesses that are trusted.
        quorum: how many of them must have cosigned.
    """

    reader: Reader
    keys: Sequence[Verifier]
    timestamp_roots: Sequence[bytes]
    report: Report
    progress: Progress | None = None
    memory: MutableMapping[str, str] = field(default_factory=dict)
    media: bool = False
    tree: TileTree | None = None
    witnesses: Sequence[Verifier] = ()
    quorum: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, count: int) -> None:
        """Tell how far the check is; called from several threads."""
        with self._lock:
            self.bytes_done += count
            if self.progress is not None:
                self.progress("bytes", min(self.bytes_done, self.bytes_total), self.bytes_total)

    def read(self, path: str, missing: str) -> bytes | None:
        """A small file's bytes, or None with a finding."""
        try:
            return read(self.reader, path)
        except FileNotFoundError:
            self.report.add(missing, path)
        except TargetError as error:
            self.report.add("FILE_UNREADABLE", path, str(error))
        return None

    def trusted(self, signers: Sequence[Verifier]) -> None:
        """Name the keys that signed."""
        for key in signers:
            self.report.facts[f"signed by {key.name}+{key.key_id.hex()}"] = f"sha256 {key.fingerprint}"
            if key.demo:
                self.report.add("DEMO_KEY", "", key.name)


@dataclass(frozen=True)
class CheckedCut:
    """A cut whose cut.json could be read.

    Attributes:
        prefix: where it lies in the target.
        cut: what it says.
        sha256: of its cut.json.
        leaves: of its records as they are, and of cut.json.
        head: of its checkpoint, when there is one.
        media: (object URI, version id, sha256) of its recordings, where they are asked for.
    """

    prefix: str
    cut: Cut
    sha256: str
    leaves: list[bytes]
    head: Head | None
    media: list[tuple[str, str | None, str | None]]


def check_cut(context: Context, prefix: str, entries: Mapping[str, Entry], place: str | None) -> CheckedCut | None:
    """Check a cut.

    Args:
        context: the verification.
        prefix: the cut's folder in the target, with a trailing slash, or empty.
        entries: the folder's files by path relative to it.
        place: the folder that cut.json must name; None when the folder's place is not known.
    """
    report = context.report
    report.total["cuts"] += 1
    before = len(report.of(Severity.ERROR))
    data = context.read(prefix + cuts.CUT_JSON, "CUT_INCOMPLETE")
    if data is None:
        return None
    context.advance(len(data))
    try:
        cut = cuts.decode_cut(data)
    except CutError as error:
        report.add("CUT_MALFORMED", prefix + cuts.CUT_JSON, str(error))
        return None
    if place is not None and cut.prefix != place:
        report.add("CUT_MISPLACED", prefix, f"cut.json says {cut.prefix}")
    _check_signature(context, prefix, cut, data)
    _check_timestamp(context, prefix, cut, data, entries)
    tables = _check_files(context, prefix, cut, entries)
    table = tables.get(cuts.TABLE)
    if cut.file(cuts.TABLE) is None:
        report.add("CUT_MALFORMED", prefix + cuts.CUT_JSON, f"{cuts.TABLE} is not listed")
    records = _Records(context, prefix, cut, entries.get(cuts.RECORDS))
    leaves = [*records.check(table), leaf_hash(data)]
    if cuts.RECORDS in entries:
        _compare_file(context, prefix, cut, entries[cuts.RECORDS], records.sha256)
    head = _check_checkpoint(context, prefix, cut, leaves)
    _check_locks(context, prefix, cut, entries)
    _check_counts(context, prefix, cut, tables)
    if len(report.of(Severity.ERROR)) == before:
        report.valid["cuts"] += 1
    report.cuts[prefix] = hashlib.sha256(data).hexdigest()
    return CheckedCut(prefix, cut, report.cuts[prefix], leaves, head, records.media)


def _check_signature(context: Context, prefix: str, cut: Cut, data: bytes) -> None:
    path = prefix + cuts.SIGNATURE
    signature = context.read(path, "CUT_UNSIGNED")
    if signature is None or not context.keys:
        return
    try:
        context.trusted(cuts.verify_cut_signature(data, signature, cut.prefix, context.keys))
    except NoteError as error:
        unknown = "none of the given public keys" in str(error)
        context.report.add("CUT_SIGNED_BY_OTHERS" if unknown else "CUT_SIGNATURE_WRONG", path, str(error))
    except CutError as error:
        context.report.add("CUT_ALTERED", path, str(error))


def _check_timestamp(context: Context, prefix: str, cut: Cut, data: bytes, entries: Mapping[str, Entry]) -> None:
    path = prefix + cuts.TIMESTAMP
    if not cut.timestamped:
        if cuts.TIMESTAMP in entries:
            context.report.add("FILE_EXTRA", path, "cut.json says that no timestamp was made")
        context.report.add("NOT_TIMESTAMPED")
        return
    response = context.read(path, "TIMESTAMP_MISSING")
    if response is None:
        return
    if not context.timestamp_roots:
        context.report.add("TIMESTAMP_NOT_CHECKED", path)
        return
    try:
        time = verify_timestamp(response, data, context.timestamp_roots)
    except TimestampError as error:
        context.report.add("TIMESTAMP_WRONG", path, str(error))
        return
    context.report.facts[f"timestamp of {cut.night} r{cut.revision:04d}"] = time.isoformat()


# --- files ------------------------------------------------------------------------------------------------------------


def _check_files(context: Context, prefix: str, cut: Cut, entries: Mapping[str, Entry]) -> dict[str, pq.ParquetFile]:
    """Check presence of every file, and size and digest of all but the records, whose bytes are read with their leaves.

    Returns:
        The tables whose Parquet files are as sealed and can be opened.
    """
    report = context.report
    listed = {file.path: file for file in cut.files}
    report.total["files"] += len(listed)
    report.total["bytes"] += sum(file.bytes for file in cut.files)
    extra = {path for path in entries if path not in listed and path not in cuts.SEAL_FILES}
    missing = {path for path in listed if path not in entries}
    present = [path for path in listed if path not in missing and path != cuts.RECORDS]

    def look(path: str) -> tuple[str | None, pq.ParquetFile | str | None]:
        entry, file = entries[path], listed[path]
        if not _is_table(path) or entry.size != file.bytes:
            return digest(context, prefix, entry), None
        data = context.read(prefix + path, "FILE_MISSING")
        if data is None:
            return None, None
        context.advance(len(data))
        sha256 = hashlib.sha256(data).hexdigest()
        return sha256, _parquet(data) if sha256 == file.sha256 else None

    # The largest first, so that no thread is left alone with it at the end.
    present.sort(key=lambda path: -entries[path].size)
    with ThreadPoolExecutor(_WORKERS) as pool:
        looked = dict(zip(present, pool.map(look, present), strict=True))
    tables: dict[str, pq.ParquetFile] = {}
    for path, (sha256, table) in sorted(looked.items()):
        if _compare_file(context, prefix, cut, entries[path], sha256) and table is not None:
            if isinstance(table, str):
                report.add("TABLE_UNREADABLE", prefix + path, table)
            else:
                tables[path] = table
    strays = {path: digest(context, prefix, entries[path]) for path in extra} if missing else {}
    for path in sorted(missing):
        moved = next((stray for stray, found in strays.items() if found == listed[path].sha256), None)
        if moved is None:
            report.add("FILE_MISSING", prefix + path)
        else:
            report.add("FILE_MOVED", prefix + path, f"found at {moved}")
            extra.discard(moved)
    for path in sorted(extra):
        report.add("FILE_EXTRA", prefix + path)
    return tables


def _is_table(path: str) -> bool:
    return path.startswith("data/") and path.endswith(".parquet")


def _parquet(data: bytes) -> pq.ParquetFile | str:
    """A table of which nothing is decoded yet, or what went wrong."""
    try:
        return pq.ParquetFile(pa.BufferReader(data))
    except _UNREADABLE as error:
        return type(error).__name__


def _compare_file(context: Context, prefix: str, cut: Cut, entry: Entry, found: str | None) -> bool:
    """Compare a file's size and digest with the sealed ones; no digest means that there is a finding already."""
    path = entry.path.removeprefix(prefix)
    file = cut.file(path)
    if file is None:
        return False
    if entry.size != file.bytes:
        context.report.add("FILE_SIZE", prefix + path, f"{file.bytes} bytes sealed, {entry.size} found")
    elif found is not None and found != file.sha256:
        context.report.add("FILE_ALTERED", prefix + path, f"sha256 {file.sha256} sealed, {found} found")
    elif found is not None:
        context.report.valid["files"] += 1
        context.report.valid["bytes"] += file.bytes
        return True
    return False


def digest(context: Context, prefix: str, entry: Entry) -> str | None:
    """SHA-256 of a file in hex, or None with a finding; remembered where the reader gives stamps.

    `entry.path` is relative to `prefix`.
    """
    path = prefix + entry.path.removeprefix(prefix)
    known = f"sha256|{path}|{entry.size}|{entry.stamp}"
    if entry.stamp and known in context.memory:
        context.advance(entry.size)
        return context.memory[known]
    sha256 = hashlib.sha256()
    try:
        with context.reader.open(path) as stream:
            while chunk := stream.read(CHUNK):
                sha256.update(chunk)
                context.advance(len(chunk))
    except (TargetError, OSError) as error:
        context.report.add("FILE_UNREADABLE", path, str(error))
        return None
    if entry.stamp:
        context.memory[known] = sha256.hexdigest()
    return sha256.hexdigest()


def _check_locks(context: Context, prefix: str, cut: Cut, entries: Mapping[str, Entry]) -> None:
    """Compare the locks of the cut's objects with the one that was put on them, until it ends."""
    sealed, reader, report = cut.lock, context.reader, context.report
    if not isinstance(sealed, Lock):
        return
    if not isinstance(reader, LockReader):
        report.add("LOCKS_NOT_HERE")
        return
    until = datetime.fromisoformat(sealed.until) if sealed.until else None
    if until is not None and until <= datetime.now(UTC):
        until = None
    listed = sorted(path for path in entries if cut.file(path) is not None or path in cuts.SEAL_FILES)
    report.total["locks"] += len(listed)

    def compare(path: str) -> tuple[str, str] | None:
        try:
            found = reader.lock(prefix + path)
        except TargetError as error:
            return "LOCK_UNREADABLE", str(error)
        if until is not None and (found.until is None or found.until < until):
            return "LOCK_WEAKENED", f"{sealed.mode} until {sealed.until} sealed, {found.mode} until {found.until} found"
        if until is not None and sealed.mode == "COMPLIANCE" != found.mode:
            return "LOCK_WEAKENED", f"{sealed.mode} sealed, {found.mode} found"
        if sealed.legal_hold and not found.legal_hold:
            return "LOCK_WEAKENED", "its legal hold was lifted"
        return None

    with ThreadPoolExecutor(_WORKERS) as pool:
        for path, problem in zip(listed, pool.map(compare, listed), strict=True):
            if problem is None:
                report.valid["locks"] += 1
            else:
                report.add(problem[0], prefix + path, problem[1])


# --- records ----------------------------------------------------------------------------------------------------------


class _Records:
    """The records of one cut, read once, in order."""

    def __init__(self, context: Context, prefix: str, cut: Cut, entry: Entry | None) -> None:
        self._context = context
        self._path = prefix + cuts.RECORDS
        self._entry = entry
        self._cut = cut
        self._wrong = 0
        self._unreadable = False
        self.sha256: str | None = None
        self.media: list[tuple[str, str | None, str | None]] = []

    def check(self, table: pq.ParquetFile | None) -> list[bytes]:
        """The leaves of the records; each record is compared with its row when the table is at hand."""
        report, expected = self._context.report, self._cut.log.records
        report.total["records"] += expected
        leaves = self._remembered()
        if leaves is None:
            leaves = self._read(table)
        rows = table.metadata.num_rows if table is not None else expected
        if not len(leaves) == expected == rows:
            detail = f"{expected} leaves sealed, {len(leaves)} records, {rows} rows"
            report.add("RECORD_COUNT", self._path, detail)
        elif (
            table is not None
            and not self._wrong
            and not self._unreadable
            and self.sha256
            and (question := self._question())
        ):
            self._context.memory[question] = f"{self.sha256} {_sha256(leaves)}"
        if table is not None and not self._unreadable:
            report.valid["records"] += max(0, min(len(leaves), rows, expected) - self._wrong)
            self.media = self._media(table) if self._context.media else []
        return leaves

    def _question(self) -> str | None:
        """What an interrupted run's answer depends on; the table has been compared with its sealed digest by now."""
        table = self._cut.file(cuts.TABLE)
        if self._entry is None or not self._entry.stamp or table is None:
            return None
        return f"records|{self._path}|{self._entry.size}|{self._entry.stamp}|{table.sha256}|{self._cut.log.first}"

    def _remembered(self) -> list[bytes] | None:
        """The leaves of records that an interrupted run has compared: taken from the log, where they must be."""
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

    def _read(self, table: pq.ParquetFile | None) -> list[bytes]:
        report = self._context.report
        leaves: list[bytes] = []
        try:
            # Arrow and SHA-256 leave the interpreter lock, so two batches at once pay; more would only hold memory.
            with ThreadPoolExecutor(_WORKERS) as pool:
                waiting: deque[Future[list[bytes]]] = deque()
                start, rows = 0, _Rows(table) if table is not None else None
                for block in self._blocks():
                    lines = block.count(b"\n") + (not block.endswith(b"\n"))
                    waiting.append(pool.submit(self._leaves, block, self._take(rows, lines), start))
                    start += lines
                    if len(waiting) >= _WORKERS:
                        leaves += waiting.popleft().result()
                for future in waiting:
                    leaves += future.result()
        except FileNotFoundError:
            report.add("FILE_MISSING", self._path)
        except (TargetError, OSError) as error:
            report.add("FILE_UNREADABLE", self._path, str(error))
        return leaves

    def _take(self, rows: _Rows | None, count: int) -> pa.Table | None:
        if rows is None or self._unreadable:
            return None
        try:
            return rows.take(count)
        except _UNREADABLE as error:
            self._table_unreadable(error)
            return None

    def _table_unreadable(self, error: Exception) -> None:
        self._unreadable = True
        path = self._path.removesuffix(cuts.RECORDS) + cuts.TABLE
        self._context.report.add("TABLE_UNREADABLE", path, type(error).__name__)

    def _media(self, table: pq.ParquetFile) -> list[tuple[str, str | None, str | None]]:
        names = ["object_uri", "object_version_id", "media_sha256"]
        if not set(names) <= set(table.schema_arrow.names):
            return []
        try:
            columns = [column.to_pylist() for column in table.read(names).select(names).columns]
        except _UNREADABLE as error:
            self._table_unreadable(error)
            return []
        return [(uri, version, sha256) for uri, version, sha256 in zip(*columns, strict=True) if uri]

    def _blocks(self) -> Iterator[bytes]:
        """The file in parts that end with a line."""
        parts: list[bytes] = []
        size = 0
        sha256 = hashlib.sha256()
        with self._context.reader.open(self._path) as stream:
            while chunk := stream.read(CHUNK):
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
            records = Records(list(record_blocks(rows, [_salt(line) for line in lines])))
        except CanonicalError as error:
            self._context.report.add("TABLE_UNREADABLE", self._path, str(error))
            self._wrong += len(lines)
            return
        if len(records.blocks) == 1 and records.blocks[0].equals(pa.py_buffer(block)):
            return
        for number, (line, row) in enumerate(zip(lines, records.lines, strict=True), start=start + 1):
            if line != row:
                self._wrong += 1
                if self._wrong <= _FINDINGS_PER_FILE:
                    self._context.report.add("RECORD_ALTERED", self._path, f"line {number} is not row {number}")


def _sha256(leaves: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(leaves)).hexdigest()


def _salt(line: bytes) -> str:
    """The salt of a record, or nothing that could be one; the comparison of the whole line decides."""
    if line.startswith(b'{"_salt":"'):
        return line[10:74].decode("ascii", "replace")
    match = _SALT.search(line)
    return match[1].decode() if match else ""


class _Rows:
    """A table's rows from the first to the last, so that memory does not grow with the night."""

    def __init__(self, table: pq.ParquetFile) -> None:
        self._batches = table.iter_batches(_ROWS_AT_ONCE)
        self._rest = pa.Table.from_batches([], table.schema_arrow)

    def take(self, count: int) -> pa.Table:
        """The next `count` rows; fewer at the end."""
        while self._rest.num_rows < count and (batch := next(self._batches, None)) is not None:
            self._rest = pa.concat_tables([self._rest, pa.Table.from_batches([batch])])
        taken, self._rest = self._rest.slice(0, count), self._rest.slice(count)
        return taken


# --- the place in the log ---------------------------------------------------------------------------------------------


def _check_checkpoint(context: Context, prefix: str, cut: Cut, leaves: Sequence[bytes]) -> Head | None:
    """Recompute the log's root from the frontier, the records and cut.json; compare with what was signed."""
    report = context.report
    try:
        frontier = cut.log.frontier_before()
        if frontier.root().hex() != cut.log.previous_root:
            raise ProofError("the frontier does not lead to previous_root")
    except ProofError as error:
        report.add("CUT_INCONSISTENT", prefix + cuts.CUT_JSON, str(error))
        return None
    frontier.extend(leaves[:-1])
    if frontier.root().hex() != cut.log.root:
        report.add("RECORD_NOT_IN_LOG", prefix + cuts.RECORDS, "the records do not lead to the root in cut.json")
    frontier.append(leaves[-1])

    path = prefix + cuts.CHECKPOINT
    data = context.read(path, "CUT_CHECKPOINT_MISSING")
    if data is None:
        return None
    try:
        checkpoint = read_checkpoint(data)
        if context.keys:
            checkpoint.note.verified_by(context.keys)
    except NoteError as error:
        report.add("CUT_CHECKPOINT_WRONG", path, str(error))
        return None
    head = checkpoint.head
    if (head.origin, head.size) != (cut.log.origin, cut.log.size):
        detail = f"{head.origin} {head.size} signed, {cut.log.origin} {cut.log.size} in cut.json"
        report.add("CUT_CHECKPOINT_WRONG", path, detail)
    elif head.root != frontier.root():
        report.add("RECORD_NOT_IN_LOG", path, "the records and cut.json do not lead to the signed root")
    _check_consistency(context, prefix, cut, checkpoint)
    return head


def _check_consistency(context: Context, prefix: str, cut: Cut, checkpoint: Checkpoint) -> None:
    path = prefix + cuts.CONSISTENCY
    data = context.read(path, "CONSISTENCY_WRONG")
    if data is None:
        return
    try:
        size, proof, copy = read_witness_request(data)
        if size != cut.log.first or copy.head != checkpoint.head:
            raise ProofError("it is for other heads than the cut's")
        old = Head(cut.log.origin, size, bytes.fromhex(cut.log.previous_root))
        verify_extension(old, checkpoint.head, proof)
    except (NoteError, ProofError) as error:
        context.report.add("CONSISTENCY_WRONG", path, str(error))


# --- counts -----------------------------------------------------------------------------------------------------------


def _check_counts(context: Context, prefix: str, cut: Cut, tables: Mapping[str, pq.ParquetFile]) -> None:
    """Compare the counts in cut.json with the rows in the Parquet files that are as sealed."""
    for path, table in tables.items():
        name, file, rows = path.removeprefix("data/").removesuffix(".parquet"), cut.file(path), table.metadata.num_rows
        if path == cuts.TABLE:
            try:
                if _statuses(table) != cut.statuses:
                    detail = "the custody_status of the rows and cut.json differ"
                    context.report.add("COUNT_WRONG", prefix + path, detail)
            except _UNREADABLE as error:
                context.report.add("TABLE_UNREADABLE", prefix + path, type(error).__name__)
        if file is None or not rows == file.rows == cut.counts.get(name):
            detail = f"{rows} rows, {file and file.rows} in the list of files, {cut.counts.get(name)} in the counts"
            context.report.add("COUNT_WRONG", prefix + path, detail)


def _statuses(table: pq.ParquetFile) -> dict[str, int]:
    if "custody_status" not in table.schema_arrow.names:
        return {}
    counted = pc.value_counts(table.read(["custody_status"]).column("custody_status"))
    return {str(item["values"].as_py()): item["counts"].as_py() for item in counted}
