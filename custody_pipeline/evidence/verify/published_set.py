"""Verification of a published prefix, of one cut, of one file, of one proof.

Belongs here: what only the whole answers: that the log is one, that every leaf of it is explained by a cut that is
there, that nothing was removed from its end. Does not: the inside of a cut (one_cut.py).

It reads bytes through a `Reader` and trusts nothing but the public keys that are given. Whatever it cannot read or does
not know makes the verdict "not verified"; nothing found is never "valid".
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.proof import PROOF_SUFFIX, ProofFileError, read_proof
from custody_pipeline.evidence.cut.seal import HEAD, LOG, SEALING
from custody_pipeline.evidence.log.checkpoint import Checkpoint, Head, cosigned_by, read_checkpoint, verify_checkpoint
from custody_pipeline.evidence.log.cosignatures import COSIGNED, cosigned_path, seen_at
from custody_pipeline.evidence.log.keys import rotated_keys
from custody_pipeline.evidence.log.merkle import HASH_BYTES, complete_root
from custody_pipeline.evidence.log.note import NoteError, Verifier
from custody_pipeline.evidence.log.tiles import (
    CACHED_TILES,
    TILE_PREFIX,
    WIDTH,
    TileError,
    TileTree,
    tile_path,
    tile_paths,
)
from custody_pipeline.evidence.reader import Entry, FolderReader, Reader, TargetError, read
from custody_pipeline.evidence.verify.findings import Report, Severity
from custody_pipeline.evidence.verify.one_cut import CheckedCut, Context, Progress, check_cut, digest

_CUT_FOLDER = re.compile(r"cuts/date=\d{4}-\d{2}-\d{2}/r\d{4}/")
_WORKERS = 8
_TILE_WORKERS = 16
_MEDIA_WORKERS = 16


class MediaReader(Protocol):
    """Read access to the export bucket."""

    def sha256(self, uri: str, version_id: str | None) -> str:
        """SHA-256 of an object's bytes, hex.

        Raises:
            FileNotFoundError: no such object or version.
            TargetError: it could not be read.
        """
        ...


@dataclass(frozen=True)
class Media:
    """Which recordings to compare with their digests: all, or `sample` of every night, chosen by chance."""

    reader: MediaReader
    mode: Literal["sample", "all"] = "sample"
    sample: int = 25


def verify(
    reader: Reader,
    *,
    public_keys: Sequence[Verifier],
    pinned: Sequence[bytes] = (),
    timestamp_roots: Sequence[bytes] = (),
    witnesses: Sequence[Verifier] = (),
    quorum: int | None = None,
    media: Media | None = None,
    progress: Progress | None = None,
    memory: MutableMapping[str, str] | None = None,
) -> Report:
    """Verify a target: a published prefix, a cut's folder, or a folder with a proof in it.

    Args:
        reader: the target.
        public_keys: the log's keys; without one the answer is never "verified".
        pinned: checkpoints of this log that one has kept from earlier.
        timestamp_roots: PEM root certificates of timestamp authorities.
        witnesses: keys of witnesses (`check_witness_keys`) that are trusted.
        quorum: how many of them must have cosigned the log's head; all of them when None.
        media: how to compare recordings with their digests; not at all when None.
        progress: called with what is counted (bytes of files, recordings), how many are done, and how many there are.
        memory: what an interrupted run has established, to be kept by the caller; a plain dict does.

    Returns:
        A report. Whatever is wrong with the target is a finding, not an exception.
    """
    report = Report(reader.name)
    memory = {} if memory is None else memory
    context = Context(
        reader,
        public_keys,
        timestamp_roots,
        report,
        progress,
        memory,
        media=media is not None,
        witnesses=witnesses,
        quorum=len(witnesses) if quorum is None else quorum,
    )
    if not public_keys:
        report.add("NO_PUBLIC_KEY")
    try:
        entries = {entry.path: entry for entry in reader.list()}
    except (TargetError, OSError) as error:
        report.add("TARGET_UNREADABLE", "", str(error))
        return report
    context.bytes_total = sum(entry.size for entry in entries.values())
    _follow_rotations(context, entries)
    pins = _pins(context, pinned)
    if any(path.startswith((LOG, "cuts/")) for path in entries):
        checked = _verify_prefix(context, entries, pins)
    elif cuts.CUT_JSON in entries:
        checked = [check_cut(context, "", entries, None)]
        report.add("LOG_NOT_HERE")
        _pinned_without_log(report, pins, checked)
    else:
        proofs = [path for path in entries if path.endswith(PROOF_SUFFIX)]
        for path in proofs:
            _verify_proof_file(context, path, pins)
        if not proofs:
            report.add("NOTHING_FOUND")
            for pin in pins:
                if pin.size:
                    report.add("PINNED_AHEAD", "", f"{pin.size} leaves pinned, nothing found")
        checked = []
    if media is not None:
        _check_media(context, media, [item for item in checked if item is not None])
    return report


def verify_path(path: Path, **options: object) -> Report:
    """Verify a folder, a cut, a file of a cut, a checkpoint or a proof on this machine; options as for `verify`."""
    if path.is_dir() or not path.exists():
        return verify(FolderReader(path), **options)  # type: ignore[arg-type]
    folder = next((parent for parent in path.absolute().parents if (parent / cuts.CUT_JSON).is_file()), None)
    if path.name.endswith(PROOF_SUFFIX) or folder is None:
        return verify_file(FolderReader(path.absolute().parent), path.name, **options)  # type: ignore[arg-type]
    return verify_file(FolderReader(folder), path.absolute().relative_to(folder).as_posix(), **options)  # type: ignore[arg-type]


def verify_file(
    reader: Reader,
    path: str,
    *,
    public_keys: Sequence[Verifier],
    pinned: Sequence[bytes] = (),
    timestamp_roots: Sequence[bytes] = (),
    witnesses: Sequence[Verifier] = (),
    quorum: int | None = None,
    progress: Progress | None = None,
    **_: object,
) -> Report:
    """Verify one file: a proof, a checkpoint, or a file of a cut (the reader's root is then the cut's folder)."""
    report = Report(f"{reader.name}/{path}")
    quorum = len(witnesses) if quorum is None else quorum
    context = Context(reader, public_keys, timestamp_roots, report, progress, witnesses=witnesses, quorum=quorum)
    if not public_keys:
        report.add("NO_PUBLIC_KEY")
    pins = _pins(context, pinned)
    if path.endswith(PROOF_SUFFIX):
        _verify_proof_file(context, path, pins)
        return report
    try:
        entries = {entry.path: entry for entry in reader.list()}
    except (TargetError, OSError) as error:
        report.add("TARGET_UNREADABLE", "", str(error))
        return report
    if cuts.CUT_JSON in entries:
        _verify_file_of_cut(context, path, entries)
    elif path.rpartition("/")[2] == cuts.CHECKPOINT:
        _verify_log_checkpoint(context, path)
    else:
        report.add("NOTHING_FOUND", path, "neither a proof, nor a checkpoint, nor a file of a cut")
    return report


def _follow_rotations(context: Context, entries: Iterable[str]) -> None:
    """Trust the keys that trusted keys have handed over to. A statement that says otherwise changes nothing."""
    for path in sorted(path for path in entries if path.rpartition("/")[2] == cuts.ROTATION):
        try:
            data = read(context.reader, path)
        except (TargetError, OSError):
            continue  # the cut lists the file, and its check reports it
        for origin in {key.name for key in context.keys}:
            with suppress(NoteError):
                new = [key for key in rotated_keys(data, origin, context.keys) if key not in context.keys]
                context.keys = [*context.keys, *new]
                for key in new:
                    context.report.facts[f"key handed over to {key.name}+{key.key_id.hex()}"] = f"{path} says so"


# --- the published prefix ---------------------------------------------------------------------------------------------


def _verify_prefix(context: Context, entries: Mapping[str, Entry], pins: Sequence[Head]) -> list[CheckedCut | None]:
    report = context.report
    folders: dict[str, dict[str, Entry]] = {}
    other: dict[str, Entry] = {}
    for path, entry in entries.items():
        match = _CUT_FOLDER.match(path)
        if match:
            folders.setdefault(match[0], {})[path.removeprefix(match[0])] = entry
        else:
            other[path] = entry
    head = _verify_log_checkpoint(context, HEAD)
    tree = TileTree(context.reader, head.size, LOG) if head else None
    if head and tree and not _tiles_lead_to_root(context, tree, head):
        tree = None
    context.tree = tree
    checked = [
        _in_log(context, check_cut(context, place, folders[place], place), head, tree) for place in sorted(folders)
    ]
    known = [item for item in checked if item is not None]
    if head:
        _check_coverage(report, known, head)
        _check_pins(context, pins, head, tree)
    _check_cosigned(context, other, head, tree)
    _check_revisions(report, known)
    _check_nights(report, known)
    _check_tiles_listed(context, other, head, tree, known)
    _check_copies(context, other, known)
    if not pins:
        report.add("NO_PINNED_CHECKPOINT")
    return checked


def _verify_log_checkpoint(context: Context, path: str) -> Head | None:
    report = context.report
    report.total["checkpoints"] += 1
    data = context.read(path, "LOG_CHECKPOINT_MISSING")
    if data is None:
        return None
    try:
        checkpoint = read_checkpoint(data)
    except NoteError as error:
        report.add("LOG_CHECKPOINT_WRONG", path, str(error))
        return None
    head = checkpoint.head
    report.facts["log"] = f"{head.origin}, {head.size} leaves, root {head.root.hex()}"
    if context.keys:
        try:
            context.trusted(checkpoint.note.verified_by(context.keys))
            report.valid["checkpoints"] += 1
        except NoteError as error:
            unknown = "none of the given public keys" in str(error)
            report.add("LOG_SIGNED_BY_OTHERS" if unknown else "LOG_CHECKPOINT_WRONG", path, str(error))
    _check_witnesses(context, path, checkpoint)
    return head


def _check_witnesses(context: Context, path: str, checkpoint: Checkpoint) -> None:
    """Name the given witnesses that cosigned, and count them."""
    if not context.witnesses:
        return
    try:
        times = cosigned_by(checkpoint, context.witnesses)
    except NoteError as error:
        context.report.add("COSIGNATURE_WRONG", path, str(error))
        return
    context.report.total["witnesses"] += len(context.witnesses)
    context.report.valid["witnesses"] += len(times)
    for name, time in times.items():
        context.report.facts[f"seen by {name}"] = seen_at(time)
    if len(times) < context.quorum:
        detail = f"{len(times)} of {len(context.witnesses)}, {context.quorum} are needed"
        context.report.add("NOT_WITNESSED", path, detail)


def _check_cosigned(context: Context, other: Mapping[str, Entry], head: Head | None, tree: TileTree | None) -> None:
    """Every checkpoint that was cosigned must be a head of this log; whoever cosigned it holds the same."""
    report = context.report
    for path in sorted(path for path in other if path.startswith(COSIGNED)):
        report.total["cosigned checkpoints"] += 1
        data = context.read(path, "FILE_MISSING")
        if data is None:
            continue
        try:
            checkpoint = read_checkpoint(data)
            if context.keys:
                checkpoint.note.verified_by(context.keys)
            cosigned_by(checkpoint, context.witnesses)
            if path != cosigned_path(checkpoint.head.size):
                raise NoteError(f"it is of {checkpoint.head.size} leaves")
        except NoteError as error:
            report.add("COSIGNATURE_WRONG", path, str(error))
            continue
        old = checkpoint.head
        if head is None:
            continue
        if (old.origin, old.size > head.size) != (head.origin, False):
            report.add("COSIGNED_INCONSISTENT", path, f"{old.origin} {old.size}; the log is {head.origin} {head.size}")
        elif tree is not None and tree.root(old.size) != old.root:
            report.add("COSIGNED_INCONSISTENT", path, f"another root at {old.size} leaves")
        elif tree is not None:
            report.valid["cosigned checkpoints"] += 1


def _tiles_lead_to_root(context: Context, tree: TileTree, head: Head) -> bool:
    """Recompute every tile above the leaves and the root. True if all is as signed."""
    report = context.report
    roots: dict[tuple[int, int], bytes] = {}
    sound = True
    for level, index, width in _fetched(tree, tile_paths(tree.size)):
        report.total["tiles"] += 1
        try:
            data = tree.tile(level, index)
        except TileError as error:
            report.add("TILE_MISSING" if "missing" in str(error) else "TILE_WRONG", "", str(error))
            sound = False
            continue
        except (TargetError, OSError) as error:
            report.add("FILE_UNREADABLE", LOG + tile_path(level, index, width), str(error))
            sound = False
            continue
        hashes = [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]
        below = [roots.get((level - 1, index * WIDTH + i)) for i in range(width)] if level else hashes
        if any(lower is not None and lower != upper for lower, upper in zip(below, hashes, strict=True)):
            report.add(
                "TILE_WRONG", LOG + tile_path(level, index, width), "its hashes are not those of the tiles below"
            )
            sound = False
            continue
        if width == WIDTH:
            roots[level, index] = complete_root(hashes)
        report.valid["tiles"] += 1
    if sound and tree.root() != head.root:
        report.add("LOG_ROOT_WRONG", HEAD, f"root {head.root.hex()} signed, the tiles lead to {tree.root().hex()}")
        sound = False
    return sound


def _fetched(tree: TileTree, tiles: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """The tiles, in order, many of them read at a time: of a year's log there are a hundred thousand."""

    def fetch(tile: tuple[int, int, int]) -> None:
        with suppress(TileError, TargetError, OSError):  # whoever asks for the tile meets the error again
            tree.tile(*tile[:2])

    waiting = iter(tiles)
    with ThreadPoolExecutor(_TILE_WORKERS) as pool:
        while part := list(islice(waiting, CACHED_TILES // 2)):
            list(pool.map(fetch, part))
            yield from part


def _in_log(context: Context, item: CheckedCut | None, head: Head | None, tree: TileTree | None) -> CheckedCut | None:
    """Compare a cut with the log that is there."""
    if item is None or head is None:
        return item
    report, log, path = context.report, item.cut.log, item.prefix + cuts.CUT_JSON
    if log.origin != head.origin:
        report.add("LOG_ORIGIN_DIFFERS", path, f"{log.origin}; the log is {head.origin}")
        return item
    if log.size > head.size:
        report.add("LOG_BEHIND_CUT", path, f"{log.size} leaves signed with the cut, {head.size} in the log")
        return item
    try:
        _compare_leaves(context, item, head)
        if tree is not None and item.head is not None and item.head.size <= tree.size:
            before = log.previous_root == tree.root(log.first).hex()
            if not before or tree.root(item.head.size) != item.head.root:
                report.add("LOG_FORKED", path, f"another root at {log.first if not before else item.head.size} leaves")
    except TileError:
        pass  # the tile has its own finding
    except (TargetError, OSError) as error:
        report.add("FILE_UNREADABLE", path, str(error))
    return item


def _compare_leaves(context: Context, item: CheckedCut, head: Head) -> None:
    log, tree = item.cut.log, TileTree(context.reader, head.size, LOG)
    if len(item.leaves) != log.records + 1:
        return  # RECORD_COUNT says so
    differing: list[int] = []
    for _, index, _ in _fetched(tree, ((0, i, WIDTH) for i in range(log.first // WIDTH, -(-log.size // WIDTH)))):
        start, end = max(log.first, index * WIDTH), min(log.size, (index + 1) * WIDTH)
        ours = item.leaves[start - log.first : end - log.first]
        pairs = zip(ours, tree.leaves(start, end), strict=True)
        differing += [start - log.first + i for i, (our, their) in enumerate(pairs) if our != their]
    for number in differing[:5]:
        name = cuts.CUT_JSON if number == log.records else f"{cuts.RECORDS}, line {number + 1}"
        context.report.add("RECORD_NOT_IN_LOG", item.prefix + name, f"leaf {log.first + number}")


def _check_coverage(report: Report, known: Sequence[CheckedCut], head: Head) -> None:
    """Every leaf of the log must belong to exactly one cut that is there."""
    position = 0
    for item in sorted(known, key=lambda item: item.cut.log.first):
        log = item.cut.log
        if log.origin != head.origin:
            continue
        if log.first > position:
            report.add("LEAVES_UNEXPLAINED", "", f"leaves {position} to {log.first - 1}, before {item.prefix}")
        elif log.first < position:
            report.add("CUTS_OVERLAP", item.prefix, f"leaf {log.first} belongs to a cut before")
        position = max(position, log.size)
    if position < head.size:
        report.add("LEAVES_UNEXPLAINED", "", f"leaves {position} to {head.size - 1}, the newest")


def _check_revisions(report: Report, known: Sequence[CheckedCut]) -> None:
    nights: dict[str, dict[int, CheckedCut]] = {}
    for item in known:
        nights.setdefault(item.cut.night, {})[item.cut.revision] = item
    for night, revisions in nights.items():
        for revision in range(1, max(revisions)):
            if revision not in revisions:
                report.add("REVISION_MISSING", cuts.cut_prefix(night, revision))
        for item in revisions.values():
            superseded = item.cut.supersedes
            before = revisions.get(superseded.revision) if superseded else None
            if superseded and before and before.sha256 != superseded.sha256:
                detail = f"sha256 {superseded.sha256} superseded, {before.sha256} found"
                report.add("SUPERSEDED_WRONG", item.prefix + cuts.CUT_JSON, detail)


def _check_nights(report: Report, known: Sequence[CheckedCut]) -> None:
    nights = {date.fromisoformat(item.cut.night) for item in known}
    if not nights:
        return
    first, last = min(nights), max(nights)
    report.facts["nights"] = f"{len(nights)}, from {first} to {last}"
    holes = [night for night in (first + timedelta(days=i) for i in range((last - first).days)) if night not in nights]
    if holes:
        report.add("NIGHT_WITHOUT_CUT", "", f"{len(holes)}, the first is {holes[0]}")


def _check_tiles_listed(
    context: Context,
    other: Mapping[str, Entry],
    head: Head | None,
    tree: TileTree | None,
    known: Sequence[CheckedCut],
) -> None:
    """Files under log/ and cuts/ that belong to nothing. Partial tiles of earlier heads may stay, if they are true."""
    report = context.report
    now = {LOG + tile_path(*tile) for tile in tile_paths(head.size)} if head else set()
    earlier = {
        LOG + tile_path(*tile): tile
        for size in {item.cut.log.size for item in known if head and item.cut.log.size < head.size}
        for tile in _right_edge(size)
    }
    for path in other:
        if path.startswith("cuts/"):
            report.add("FILE_EXTRA", path)
        if not path.startswith(LOG) or path.startswith(COSIGNED) or path == HEAD or path in now:
            continue
        if not path.startswith(LOG + TILE_PREFIX):
            report.add("FILE_EXTRA", path)
        elif path not in earlier:
            report.add("TILE_UNEXPECTED", path)
    if tree is None:
        return
    for path in sorted(set(other) & set(earlier) - now):
        level, index, width = earlier[path]
        data = context.read(path, "TILE_MISSING")
        if data is not None and data != tree.tile(level, index)[: width * HASH_BYTES]:
            report.add("TILE_WRONG", path, "a tile of an earlier head is not a part of this log")


def _right_edge(size: int) -> Iterable[tuple[int, int, int]]:
    level = 0
    while size:
        if size % WIDTH:
            yield level, size // WIDTH, size % WIDTH
        size //= WIDTH
        level += 1


def copies(cut: cuts.Cut) -> dict[str, cuts.CutFile]:
    """Where the convenience copies of a cut's tables belong: path in the published prefix → file of the cut."""
    places = {}
    for file in cut.files:
        folder, _, name = file.path.partition("/")
        table, _, suffix = name.partition(".")
        kind = suffix.removesuffix(".gz").rpartition(".")[2]
        if folder == "data" and kind in {"parquet", "csv"}:
            places[f"{kind}/{table}/date={cut.night}/{name}"] = file
    return places


def _check_copies(context: Context, other: Mapping[str, Entry], known: Sequence[CheckedCut]) -> None:
    report = context.report
    newest: dict[str, cuts.Cut] = {}
    for item in sorted(known, key=lambda item: item.cut.revision):
        newest[item.cut.night] = item.cut
    expected = {path: file for cut in newest.values() for path, file in copies(cut).items()}
    present = {path: entry for path, entry in other.items() if not path.startswith((LOG, "cuts/", SEALING))}
    pointers = {f"current/date={night}.json": cut for night, cut in newest.items()}
    for path in sorted(set(present) - set(expected)):
        if path in pointers:
            _check_pointer(context, path, pointers[path])
        else:
            report.add("FILE_EXTRA", path)
    if not set(present) & set(expected):
        report.add("COPIES_NOT_HERE")
        return
    for path in sorted(set(expected) - set(present)):
        report.add("COPY_MISSING", path)
    found = sorted(set(present) & set(expected))
    with ThreadPoolExecutor(_WORKERS) as pool:
        digests = list(pool.map(lambda path: digest(context, "", present[path]), found))
    report.total["copies"] += len(expected)
    for path, sha256 in zip(found, digests, strict=True):
        if sha256 == expected[path].sha256:
            report.valid["copies"] += 1
        elif sha256 is not None:
            report.add("COPY_DIFFERS", path, f"sha256 {expected[path].sha256} sealed, {sha256} found")


def _check_pointer(context: Context, path: str, newest: cuts.Cut) -> None:
    """`current/date=….json` must name the newest revision and that revision's digests."""
    sealed = {file.sha256 for file in copies(newest).values()}
    data = context.read(path, "COPY_MISSING")
    if data is None:
        return
    try:
        pointer = json.loads(data)
        named = {file["sha256"] for file in pointer["files"]}
        if pointer["revision"] == newest.revision and named == sealed:
            return
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    context.report.add("COPY_DIFFERS", path, f"it does not name revision {newest.revision} and its files")


# --- pinned checkpoints -----------------------------------------------------------------------------------------------


def _pins(context: Context, pinned: Sequence[bytes]) -> list[Head]:
    heads = []
    for data in pinned:
        try:
            checkpoint = read_checkpoint(data)
            if context.keys:
                checkpoint.note.verified_by(context.keys)
            heads.append(checkpoint.head)
        except NoteError as error:
            context.report.add("PINNED_WRONG", "", str(error))
    return heads


def _check_pins(context: Context, pins: Sequence[Head], head: Head, tree: TileTree | None) -> None:
    report = context.report
    for pin in pins:
        report.total["pinned checkpoints"] += 1
        if pin.origin != head.origin:
            report.add("LOG_ORIGIN_DIFFERS", "", f"pinned {pin.origin}; the log is {head.origin}")
        elif pin.size > head.size:
            report.add("PINNED_AHEAD", "", f"{pin.size} leaves pinned, {head.size} found")
        elif pin.size == head.size and pin.root != head.root:
            report.add("PINNED_FORKED", "", f"another root at {pin.size} leaves")
        elif tree is not None:
            if tree.root(pin.size) != pin.root:
                report.add("PINNED_FORKED", "", f"another root at {pin.size} leaves")
            else:
                report.valid["pinned checkpoints"] += 1


def _pinned_without_log(report: Report, pins: Sequence[Head], checked: Sequence[CheckedCut | None]) -> None:
    """One cut alone: a pinned checkpoint can be compared only at the sizes that the cut knows."""
    for pin in pins:
        for item in checked:
            if item is None or item.head is None:
                continue
            known = {item.cut.log.first: bytes.fromhex(item.cut.log.previous_root), item.head.size: item.head.root}
            if pin.size in known and known[pin.size] != pin.root:
                report.add("PINNED_FORKED", "", f"another root at {pin.size} leaves")


# --- one file, one proof, media ---------------------------------------------------------------------------------------


def _verify_file_of_cut(context: Context, path: str, entries: Mapping[str, Entry]) -> None:
    report = context.report
    data = context.read(cuts.CUT_JSON, "CUT_INCOMPLETE")
    signature = context.read(cuts.SIGNATURE, "CUT_UNSIGNED")
    if data is None or signature is None:
        return
    try:
        cut = cuts.decode_cut(data)
        if context.keys:
            context.trusted(cuts.verify_cut_signature(data, signature, cut.prefix, context.keys))
    except NoteError as error:
        unknown = "none of the given public keys" in str(error)
        report.add("CUT_SIGNED_BY_OTHERS" if unknown else "CUT_SIGNATURE_WRONG", cuts.SIGNATURE, str(error))
        return
    except cuts.CutError as error:
        report.add("CUT_ALTERED", cuts.CUT_JSON, str(error))
        return
    report.add("ONLY_ONE_FILE")
    report.total["files"] += 1
    if path in cuts.SEAL_FILES:
        if path not in {cuts.CUT_JSON, cuts.SIGNATURE}:
            report.add("NOTHING_FOUND", path, "verify the whole cut for that")
            return
        report.valid["files"] += 1
        return
    file = cut.file(path)
    if file is None:
        report.add("FILE_EXTRA", path)
    elif path not in entries:
        report.add("FILE_MISSING", path)
    elif entries[path].size != file.bytes:
        report.add("FILE_SIZE", path, f"{file.bytes} bytes sealed, {entries[path].size} found")
    else:
        context.bytes_total = file.bytes
        sha256 = digest(context, "", entries[path])
        if sha256 == file.sha256:
            report.valid["files"] += 1
        elif sha256 is not None:
            report.add("FILE_ALTERED", path, f"sha256 {file.sha256} sealed, {sha256} found")


def _verify_proof_file(context: Context, path: str, pins: Sequence[Head]) -> None:
    report = context.report
    report.total["proofs"] += 1
    data = context.read(path, "FILE_MISSING")
    if data is None:
        return
    try:
        proof = read_proof(data)
        proof.check_inclusion()
        if context.keys:
            verify_checkpoint(proof.checkpoint.note.data, context.keys)
            context.trusted(proof.checkpoint.note.verified_by(context.keys))
        _check_witnesses(context, path, proof.checkpoint)
    except ProofFileError as error:
        report.add("PROOF_MALFORMED", path, str(error))
        return
    except NoteError as error:
        unknown = "none of the given public keys" in str(error)
        report.add("LOG_SIGNED_BY_OTHERS" if unknown else "LOG_CHECKPOINT_WRONG", path, str(error))
        return
    except ValueError as error:
        report.add("PROOF_WRONG", path, str(error))
        return
    head = proof.checkpoint.head
    for pin in pins:
        if pin.size == head.size and pin.root != head.root:
            report.add("PINNED_FORKED", path, f"another root at {pin.size} leaves")
    report.facts["log"] = f"{head.origin}, {head.size} leaves, root {head.root.hex()}"
    for name in ("partition_date", "conversation_id", "recording_id", "media_sha256", "custody_status"):
        report.facts[name] = proof.row.get(name) or "-"
    report.facts["leaf"] = f"{proof.index}, {proof.leaf.hex()}"
    if not [finding for finding in report.of(Severity.ERROR) if finding.path == path]:
        report.valid["proofs"] += 1


def _check_media(context: Context, media: Media, known: Sequence[CheckedCut]) -> None:
    report = context.report
    newest = {item.cut.night: item for item in sorted(known, key=lambda item: item.cut.revision)}
    wanted = []
    for item in newest.values():
        rows = item.media
        if media.mode == "sample" and len(rows) > media.sample:
            rows = random.SystemRandom().sample(rows, media.sample)
        wanted += rows
    report.total["recordings"] += len(wanted)
    with ThreadPoolExecutor(_MEDIA_WORKERS) as pool:
        compared = pool.map(lambda row: _compare_media(context, media.reader, *row), wanted)
        for number, (code, uri, detail) in enumerate(compared, 1):
            if context.progress is not None:
                context.progress("recordings", number, len(wanted))
            if code:
                report.add(code, uri, detail)
            else:
                report.valid["recordings"] += 1


def _compare_media(
    context: Context, reader: MediaReader, uri: str, version: str | None, expected: str | None
) -> tuple[str, str, str]:
    if expected is None:
        return "MEDIA_WITHOUT_DIGEST", uri, ""
    # A version never changes; what has none may, and is read again.
    question = f"media|{uri}|{version}" if version not in {None, "null"} else None
    found = context.memory.get(question) if question else None
    try:
        found = found or reader.sha256(uri, version)
    except FileNotFoundError:
        return "MEDIA_MISSING", uri, ""
    except (TargetError, OSError) as error:
        return "MEDIA_UNREADABLE", uri, str(error)
    if question:
        context.memory[question] = found
    if found != expected:
        return "MEDIA_CHANGED", uri, f"sha256 {expected} sealed, {found} found"
    return "", uri, ""
