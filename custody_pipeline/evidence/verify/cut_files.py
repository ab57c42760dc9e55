"""The files of a cut: present, of the sealed size and digest, locked as they were.

Belongs here: bytes of files. Does not: what the rows in them say (cut_rows.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import Cut, CutFile, Lock
from custody_pipeline.evidence.cut.removal import is_rendering, original_path
from custody_pipeline.evidence.reader import Entry, LockReader, TargetError
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.removals import unknown_removals
from custody_pipeline.evidence.verify.sealed_table import UNREADABLE, SealedTable

CHUNK = 1 << 18
WORKERS = 4
KEPT_BYTES = 128 << 20
"""So many bytes of a cut's workbooks and compressed CSV files are kept in memory until they are compared; the others
are read again. A plain CSV is not read again: the digest of the CSV that its table gives is compared."""


def check_files(
    context: Context, prefix: str, cut: Cut, entries: Mapping[str, Entry]
) -> tuple[dict[str, SealedTable], dict[str, bytes | None]]:
    """Check presence of every file, and size and digest of all but the records, which are read with their leaves.

    Returns:
        The tables, and what an erasure left of tables, whose Parquet files are as sealed and can be opened; and the
        paths of all files that are as sealed, with their bytes if those were kept.
    """
    report, listed = context.report, _expected(context, prefix, cut, entries)
    report.total["files"] += len(listed)
    report.total["bytes"] += sum(file.bytes for file in listed.values())
    present = [path for path in listed if path in entries and path != cuts.RECORDS]
    kept = _kept([file for file in cut.files if is_rendering(file.path) and not file.path.endswith(".csv")])

    def look(path: str) -> tuple[str | None, SealedTable | str | bytes | None]:
        entry, file = entries[path], listed[path]
        if entry.size != file.bytes:
            return None, None
        known = _question(prefix + path, entry)
        has_rows = is_table(original_path(path))
        if not has_rows and (path not in kept or known in context.memory):
            return digest(context, prefix, entry), None
        data = context.read(prefix + path, "FILE_MISSING", file.bytes)
        if data is None:
            return None, None
        context.advance(len(data))
        sha256 = hashlib.sha256(data).hexdigest()
        if has_rows:
            return sha256, _parquet(data) if sha256 == file.sha256 else None
        if entry.stamp:
            context.memory[known] = sha256
        return sha256, data

    # The largest first, so that no thread is left alone with it at the end.
    present.sort(key=lambda path: -entries[path].size)
    with ThreadPoolExecutor(WORKERS) as pool:
        looked = dict(zip(present, pool.map(look, present), strict=True))
    tables: dict[str, SealedTable] = {}
    as_sealed: dict[str, bytes | None] = {}
    for path, (sha256, content) in sorted(looked.items()):
        if not compare_file(context, prefix, cut, entries[path], sha256):
            continue
        as_sealed[path] = content if isinstance(content, bytes) else None
        if isinstance(content, str):
            report.add("TABLE_UNREADABLE", prefix + path, content)
        elif isinstance(content, SealedTable):
            tables[path] = content
    _check_presence(context, prefix, cut, listed, entries)
    return tables, as_sealed


def check_sizes(context: Context, prefix: str, cut: Cut, entries: Mapping[str, Entry]) -> None:
    """Check that every file of a cut is there with its sealed size, without reading any."""
    listed = _expected(context, prefix, cut, entries)
    for path in sorted(listed.keys() & entries.keys()):
        compare_file(context, prefix, cut, entries[path], None)
    _check_presence(context, prefix, cut, listed, entries)


def _expected(context: Context, prefix: str, cut: Cut, entries: Mapping[str, Entry]) -> dict[str, CutFile]:
    """Files of the cut by path, without those that a statement removed; a finding if one of these is still there."""
    report, removals = context.report, context.removals
    stated = {file.path for file in cut.files if removals.removed(prefix, file.path, file.sha256)}
    if unfinished := stated & entries.keys():
        report.add("ERASURE_UNFINISHED", prefix, f"{len(unfinished)} files, such as {min(unfinished)}")
    removed = stated - entries.keys()
    if removed:
        report.total["files erased"] += len(removed)
        report.valid["files erased"] += len(removed)
    return {file.path: file for file in cut.files if file.path not in removed}


def _check_presence(
    context: Context, prefix: str, cut: Cut, listed: Mapping[str, CutFile], entries: Mapping[str, Entry]
) -> None:
    """A finding for every file that is missing, lies elsewhere in the cut's folder, or does not belong there."""
    report, unknown = context.report, unknown_removals(context.report, cut.night)
    extra = {path for path in entries if path not in listed and path not in cuts.SEAL_FILES}
    strays = {entries[path].size: path for path in sorted(extra, reverse=True)}
    for path in sorted(listed.keys() - entries.keys()):
        # Only a file of the sealed size is read: at most as many bytes as were sealed.
        stray = strays.get(listed[path].bytes)
        if stray is None or digest(context, prefix, entries[stray]) != listed[path].sha256:
            if not unknown:
                report.add("FILE_MISSING", prefix + path)
        else:
            report.add("FILE_MOVED", prefix + path, f"found at {stray}")
            extra.discard(stray)
            del strays[listed[path].bytes]
    for path in sorted(extra):
        report.add("FILE_EXTRA", prefix + path)


def is_table(path: str) -> bool:
    """Whether a file of a cut is a table."""
    return path.startswith("data/") and path.endswith(".parquet")


def _kept(files: Iterable[CutFile]) -> set[str]:
    """The files whose bytes are kept: as many as there is room for, the smallest first."""
    room, kept = KEPT_BYTES, set[str]()
    for file in sorted(files, key=lambda file: file.bytes):
        room -= file.bytes
        if room < 0:
            break
        kept.add(file.path)
    return kept


def _parquet(data: bytes) -> SealedTable | str:
    """The table, of which only dictionaries are decoded so far; or the name of the error."""
    try:
        return SealedTable(data)
    except UNREADABLE as error:
        return type(error).__name__


def compare_file(context: Context, prefix: str, cut: Cut, entry: Entry, found: str | None) -> bool:
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
    known = _question(path, entry)
    if entry.stamp and known in context.memory:
        context.advance(entry.size)
        return context.memory[known]
    sha256 = hashlib.sha256()
    try:
        with context.reader.open(path) as stream:
            rest = entry.size
            while chunk := stream.read(min(CHUNK, rest + 1)):
                rest -= len(chunk)
                if rest < 0:
                    raise TargetError("the file grows while it is read")
                sha256.update(chunk)
                context.advance(len(chunk))
    except (TargetError, OSError) as error:
        context.report.add("FILE_UNREADABLE", path, str(error))
        return None
    if entry.stamp:
        context.memory[known] = sha256.hexdigest()
    return sha256.hexdigest()


def _question(path: str, entry: Entry) -> str:
    """The key of a file's digest in the memory: everything that the digest depends on."""
    return f"sha256|{path}|{entry.size}|{entry.stamp}"


def check_locks(context: Context, prefix: str, cut: Cut, entries: Mapping[str, Entry]) -> None:
    """Compare the locks of the cut's objects with the lock that was set when they were sealed, until that ends."""
    sealed, reader, report = cut.lock, context.reader, context.report
    if not isinstance(sealed, Lock):
        return
    if not isinstance(reader, LockReader):
        report.add("LOCKS_NOT_HERE")
        return
    until = datetime.fromisoformat(sealed.until) if sealed.until else None
    if until is not None and until <= datetime.now(UTC):
        until = None
    listed = sorted({file.path for file in cut.files}.union(cuts.SEAL_FILES).intersection(entries))
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

    with ThreadPoolExecutor(WORKERS) as pool:
        for path, problem in zip(listed, pool.map(compare, listed), strict=True):
            if problem is None:
                report.valid["locks"] += 1
            else:
                report.add(problem[0], prefix + path, problem[1])
