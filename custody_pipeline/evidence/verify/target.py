"""Verification of a published set, a cut, a file or a proof: which checks a target needs.

Belongs here: recognising the kinds of targets. Does not: any check.

The bytes come through a `Reader`. Only the given public keys are trusted, and only what one of them signed is opened.
What cannot be read makes the verdict "not verified"; a target with nothing to verify is never "verified".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.proof import PROOF_SUFFIX
from custody_pipeline.evidence.cut.seal import HEAD, LOG
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.reader import NOTE_BYTES, Entry, FolderReader, Reader, TargetError, read
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.exported_media import check_media
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.heads import check_pins, check_witnesses, read_pins, verify_head
from custody_pipeline.evidence.verify.one_cut import CheckedCut, check_cut, known_roots
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.published_set import verify_prefix
from custody_pipeline.evidence.verify.rotations import check_retired, follow_rotations
from custody_pipeline.evidence.verify.single_files import verify_file_of_cut, verify_proofs
from custody_pipeline.evidence.verify.times import check_freshness, check_times

_LISTINGS = 5
_DESKTOP_FILES = {".DS_Store", "Thumbs.db", "desktop.ini"}
_ROWS = ("parquet/", "csv/", "spreadsheet/", "live/")
"""Engines read whole folders below these. All of them skip `.DS_Store`; DuckDB does not skip `._x.parquet`."""


def verify(reader: Reader, options: Options) -> Report:
    """Verify a target: a published prefix, a cut's folder, or a folder with proofs in it.

    Returns:
        A report. Every fault of the target is a finding, not an exception.
    """
    context = Context(reader, options, Report(reader.name))
    entries = _files_of_head(context)
    if entries is None or not context.keys:
        return context.report
    context.bytes_total = sum(entry.size for entry in entries.values())
    follow_rotations(context, entries)
    pins = read_pins(context)
    checked: Sequence[CheckedCut] = ()
    if any(path.startswith((LOG, "cuts/")) for path in entries):
        checked = verify_prefix(context, entries, pins)
    elif cuts.CUT_JSON in entries:
        checked = _verify_lone_cut(context, entries, pins)
    else:
        proofs = [path for path in entries if path.endswith(PROOF_SUFFIX)]
        verify_proofs(context, proofs, pins)
        others = sorted(entries.keys() - set(proofs))
        if proofs and others:
            context.report.add("NOT_COVERED", "", f"{len(others)} files, the first is {others[0]}")
        if not proofs:
            context.report.add("NOTHING_FOUND")
            check_pins(context, [pin for pin in pins if pin.size], pins[0].origin if pins else "", 0, {}, whole=True)
    if options.media is not None:
        check_media(context, options.media, checked)
    if HEAD in context.held and _head(reader) != context.held[HEAD]:
        context.report.add("LOG_GREW", HEAD)
    return context.report


def _files_of_head(context: Context) -> dict[str, Entry] | None:
    """The files of the target, listed while its head stayed the same; `Context.read` gives that head from now on.

    A night that is sealed between the listing and the reading of the head would count as removed.
    """
    head = _head(context.reader)
    for _ in range(_LISTINGS):
        entries, before = regular_files(context), head
        head = _head(context.reader)
        if head == before:
            break
    if head is not None:
        context.held[HEAD] = head
    return entries


def _head(reader: Reader) -> bytes | None:
    """The published head, or None: its check (heads.py) says why it cannot be read."""
    with suppress(TargetError, OSError):
        return read(reader, HEAD, NOTE_BYTES)
    return None


def verify_path(place: Path, options: Options) -> Report:
    """Verify a folder, a cut, a file of a cut, a checkpoint or a proof on this machine."""
    if place.is_dir() or not place.exists():
        return verify(FolderReader(place), options)
    place = place.absolute()
    folder = next((parent for parent in place.parents if (parent / cuts.CUT_JSON).is_file()), place.parent)
    reader, path = FolderReader(folder), place.relative_to(folder).as_posix()
    context = Context(reader, options, Report(f"{reader.name}/{path}"))
    if not context.keys:
        return context.report
    pins = read_pins(context)
    if path.endswith(PROOF_SUFFIX):
        verify_proofs(context, [path], pins)
    elif any(entry.path == cuts.CUT_JSON for entry in reader.list(cuts.CUT_JSON)):
        entries = regular_files(context) or {}
        follow_rotations(context, entries)
        verify_file_of_cut(context, path, entries, pins)
    elif path.rpartition("/")[2] != cuts.CHECKPOINT:
        context.report.add("NOTHING_FOUND", path, "neither a proof, nor a checkpoint, nor a file of a cut")
    elif checkpoint := verify_head(context, path):
        head = checkpoint.head
        check_pins(context, pins, head.origin, head.size, {head.size: head.root})
        check_freshness(context, head.size)
    return context.report


def regular_files(context: Context) -> dict[str, Entry] | None:
    """The files of the target by path; a finding for every link, pipe and device. None if the target is unreadable."""
    try:
        entries = {entry.path: entry for entry in context.reader.list()}
    except (TargetError, OSError) as error:
        context.report.add("TARGET_UNREADABLE", "", str(error))
        return None
    for path, entry in sorted(entries.items()):
        if not entry.regular:
            context.report.add("NOT_A_FILE", path)
        elif _is_of_desktop(path, entries):
            among_rows = path.startswith(_ROWS) and not path.endswith(("/.DS_Store", "/"))
            context.report.add("DESKTOP_FILE_AMONG_ROWS" if among_rows else "DESKTOP_FILE", path)
    return {path: entry for path, entry in entries.items() if entry.regular and not _is_of_desktop(path, entries)}


def _is_of_desktop(path: str, entries: Mapping[str, Entry]) -> bool:
    """A file that a desktop left: macOS keeps attributes of `x` in `._x`; S3's console makes an empty object `x/`."""
    folder, slash, name = path.rpartition("/")
    if not name:
        return entries[path].size == 0
    return name in _DESKTOP_FILES or (name.startswith("._") and f"{folder}{slash}{name[2:]}" in entries)


def _verify_lone_cut(context: Context, entries: Mapping[str, Entry], pins: Sequence[Head]) -> list[CheckedCut]:
    context.report.add("LOG_NOT_HERE")
    item = check_cut(context, "", entries, None)
    if item is None:
        return []
    roots = known_roots(item.cut, item.leaves, [pin.size for pin in pins]) if item.head else {}
    check_pins(context, pins, item.cut.log.origin, item.cut.log.size, roots)
    if item.checkpoint:
        check_witnesses(context, item.prefix + cuts.CHECKPOINT, item.checkpoint)
    check_times(context, [item])
    check_freshness(context, item.cut.log.size, item.cut, item.timestamp)
    check_retired(context, [item], None)
    return [item]
