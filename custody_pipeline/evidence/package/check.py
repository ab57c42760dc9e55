"""Checking a package: one signature covers every file, through two lists of digests.

Belongs here: the signature, the lists and the digests. Does not: what the files state (package_content.py), single
proofs (evidence/verify/single_files.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain
from pathlib import Path

from custody_pipeline.evidence.log.note import Note, NoteError, check_origin, parse
from custody_pipeline.evidence.package import layout
from custody_pipeline.evidence.package.package_content import check_content
from custody_pipeline.evidence.reader import MANIFEST_BYTES, NOTE_BYTES, Entry, FolderReader
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import digest
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.rotations import follow_rotations
from custody_pipeline.evidence.verify.target import regular_files

_LINE = re.compile(rb"([0-9a-f]{64})  ([^\r\n]+)\n")
_WORKERS = 2
HELD_BYTES = 128 << 20
"""So many bytes of a package's records, proofs and tables are held between their digest and their check."""
_HELD_FILE = 1 << 23


def is_package(path: Path) -> bool:
    """Whether a folder is marked as a package; `verify_package` checks it."""
    marks = (layout.BAGIT, layout.TAG_MANIFEST, layout.SIGNATURE)
    return path.is_dir() and any((path / name).exists() for name in marks)


def verify_package(folder: Path, options: Options) -> Report:
    """Check a package: the signature, every file, every proof, and everything that one file states about another.

    The checkpoint of the proofs must have its quorum of witnesses, and must agree with every pin.
    """
    context = Context(FolderReader(folder), options, Report(str(folder)))
    entries = regular_files(context)
    if entries is not None and context.keys:
        context.bytes_total = sum(entry.size for entry in entries.values())
        check_package(context, entries)
    return context.report


def check_package(context: Context, entries: Mapping[str, Entry]) -> None:
    """Check a package whose files are listed already (`entries`)."""
    if any(path.startswith(("cuts/", "log/")) or path == "cut.json" for path in entries):
        context.report.add("TARGET_AMBIGUOUS")
    follow_rotations(context, [path for path in entries if path.startswith(layout.ROTATIONS)])
    trusted = signed_list(context, layout.SCHEMA, layout.SIGNATURE, layout.TAG_MANIFEST)
    if trusted is None:
        return
    data, note = trusted
    signature = {layout.TAG_MANIFEST, layout.SIGNATURE}
    tags = {path: entry for path, entry in entries.items() if not path.startswith("data/") and path not in signature}
    large = [path for path, entry in sorted(tags.items()) if entry.size > MANIFEST_BYTES]
    for path in large:
        context.report.add("FILE_TOO_LARGE", path)
    if large:
        return
    listed = listed_in(context, layout.TAG_MANIFEST, data)
    found = check_listed(context, listed, tags)
    if set(listed) != set(layout.TAG_FILES):
        context.report.add("PACKAGE_INCONSISTENT", layout.TAG_MANIFEST, "it does not list the three tag files")
    if set(listed) != set(layout.TAG_FILES) or found != listed:
        return  # the following checks depend on these files
    payload = {path: entry for path, entry in entries.items() if path.startswith("data/")}
    manifest = context.read(layout.MANIFEST, "FILE_MISSING", MANIFEST_BYTES)
    if manifest is None:
        return
    signed = listed_in(context, layout.MANIFEST, manifest)
    if not _is_of_signed_size(context, [entry for path, entry in payload.items() if path in signed], len(signed)):
        return
    digests = check_listed(context, signed, payload)
    # Only files that are as they were signed are parsed. Audio and documents are never parsed.
    if all(digests.get(path) == sha256 for path, sha256 in signed.items() if not layout.is_attached(path)):
        check_content(context, note, payload, digests)


def signed_list(
    context: Context, schema: str, signature_path: str, path: str, limit: int = NOTE_BYTES, more: str = ""
) -> tuple[bytes, Note] | None:
    """A list of digests and the note over it, if a trusted key signed this list.

    Args:
        context: the running verification; its report gets the findings.
        schema: first line of the note.
        signature_path: the note.
        path: the list, as the note names it.
        limit: the most bytes that the list may have.
        more: a pattern for the text of the note after the digest.
    """
    signature = context.read(signature_path, "PACKAGE_UNSIGNED")
    data = context.read(path, "FILE_MISSING", limit)
    if signature is None or data is None:
        return None
    trusted: Note | None = None
    with context.signature(signature_path, "PACKAGE_UNSIGNED", "PACKAGE_ALTERED"):
        note = parse(signature)
        signers = note.verified_by(context.keys)
        lines = note.text.decode().split("\n", 2)
        check_origin(lines[1] if len(lines) > 1 else "", signers)
        listed = re.escape(f"{hashlib.sha256(data).hexdigest()}  {path}\n")
        if lines[0] != schema or not re.fullmatch(listed + more, lines[-1]):
            raise NoteError("it was made for another list")
        trusted = note
        context.report.signed_by(signers)
    return None if trusted is None else (data, trusted)


def listed_in(context: Context, path: str, data: bytes) -> dict[str, str]:
    """Path → SHA-256 of a list for `sha256sum --check`, up to the first malformed line, which is a finding."""
    listed, is_whole = read_list(data)
    if not is_whole:
        context.report.add("PACKAGE_INCONSISTENT", path, "a line is malformed, or a file is listed twice")
    return listed


def read_list(data: bytes) -> tuple[dict[str, str], bool]:
    """Path → SHA-256 of the lines up to the first malformed one; and whether the list is whole and not empty."""
    listed: dict[str, str] = {}
    for line in BytesIO(data):
        match = _LINE.fullmatch(line)
        try:
            path = match[2].decode() if match else None
        except UnicodeDecodeError:
            path = None
        if match is None or path is None or path in listed:
            return listed, False
        listed[path] = match[1].decode()
    return listed, bool(listed)


def check_listed(context: Context, listed: Mapping[str, str], files: Mapping[str, Entry]) -> dict[str, str]:
    """Compare files with a list of digests; files that it does not name are a finding, and are not read.

    Returns:
        Path → SHA-256, as found, of the files that are listed.
    """
    report = context.report
    report.total["files"] += len(listed)
    digests = {}
    there = _digests_of(context, [files[path] for path in listed if path in files])
    for path, sha256 in listed.items():
        found = there.get(path)
        if path not in files:
            report.add("FILE_MISSING", path)
        elif found == sha256:
            report.valid["files"] += 1
        elif found is not None:
            report.add("FILE_ALTERED", path, f"sha256 {sha256} listed, {found} found")
        if found is not None:
            digests[path] = found
    for path in sorted(set(files) - set(listed)):
        report.add("FILE_EXTRA", path)
    return digests


def _digests_of(context: Context, entries: Sequence[Entry]) -> dict[str, str | None]:
    """Path → SHA-256 of files; None with a finding.

    Files that are parsed later are held until then, as many as there is room for: each is read once. Threads take turns
    in the list of files: a task for each file takes longer.
    """
    room, held = HELD_BYTES, set[str]()
    for entry in entries:
        if entry.size <= _HELD_FILE and not layout.is_attached(entry.path) and (room := room - entry.size) >= 0:
            held.add(entry.path)

    def each(part: Sequence[Entry]) -> list[tuple[str, str | None]]:
        return [(entry.path, _held(context, entry) if entry.path in held else digest(context, "", entry))
                for entry in part]  # fmt: skip

    with ThreadPoolExecutor(_WORKERS) as pool:
        parts = pool.map(each, (entries[start::_WORKERS] for start in range(_WORKERS)))
        return dict(chain.from_iterable(parts))


def _held(context: Context, entry: Entry) -> str | None:
    """SHA-256 of a file whose bytes are held for `Context.read`."""
    data = context.read(entry.path, "FILE_UNREADABLE", entry.size)
    if data is None:
        return None
    context.held[entry.path] = data
    context.advance(len(data))
    return hashlib.sha256(data).hexdigest()


def _is_of_signed_size(context: Context, payload: Iterable[Entry], listed: int) -> bool:
    """`bag-info.txt` is signed and states the bytes and files of the payload: no more are read."""
    data = context.read(layout.BAG_INFO, "FILE_MISSING")
    if data is None:
        return False
    info = data.decode(errors="replace")
    oxum = re.search(r"(?m)^Payload-Oxum: ([0-9]{1,18})\.([0-9]{1,18})$", info)
    found = sum(entry.size for entry in payload)
    if oxum is None or found > int(oxum[1]):
        together = f"all files together: {oxum[1] if oxum else 'no'} bytes signed, {found} found"
        context.report.add("FILE_SIZE", "data", f"{together}; sha256sum --check {layout.MANIFEST} names them")
        return False
    if int(oxum[2]) != listed:
        context.report.add("PACKAGE_INCONSISTENT", layout.BAG_INFO, f"{oxum[2]} files, but the manifest lists {listed}")
    for name in ("Bagging-Date", "Contact-Name", "External-Description"):
        for line in info.splitlines():
            if line.startswith(f"{name}: "):
                context.report.facts[name] = line.partition(": ")[2]
    return True
