"""Checking a package: one signature covers every file, and the files do not contradict each other.

Belongs here: every check of a package. Does not: single proofs (evidence/verify/single_files.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec

from custody_pipeline.evidence.cut.manifest import ROTATION
from custody_pipeline.evidence.cut.proof import COMMITMENT_SUFFIX, PROOF_SUFFIX
from custody_pipeline.evidence.cut.records import SALT_MEMBER
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.log.keys import parse_public_keys
from custody_pipeline.evidence.log.note import Note, NoteError, check_origin, parse
from custody_pipeline.evidence.package.layout import (
    ATTACHED,
    BAG_INFO,
    BAGIT,
    CHECKPOINT,
    INSTRUCTIONS,
    MANIFEST,
    MISSING,
    PUBLIC_KEYS,
    RECORDS,
    ROTATIONS,
    SCHEMA,
    SIGNATURE,
    STATEMENT,
    TAG_FILES,
    TAG_MANIFEST,
    Absent,
    Included,
    Statement,
    reasons_in,
)
from custody_pipeline.evidence.reader import MANIFEST_BYTES, NOTE_BYTES, Entry, FolderReader
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.copies import without_duplicates
from custody_pipeline.evidence.verify.cut_files import digest
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.heads import read_pins
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.rotations import follow_rotations
from custody_pipeline.evidence.verify.single_files import verify_commitment_file, verify_proof_file
from custody_pipeline.evidence.verify.target import regular_files

_LINE = re.compile(rb"([0-9a-f]{64})  ([^\r\n]+)\n")
_T = TypeVar("_T")
_WORKERS = 2
HELD_BYTES = 128 << 20
"""So many bytes of a package's records, proofs and tables are held between their digest and their check."""
_HELD_FILE = 1 << 23


def is_package(path: Path) -> bool:
    """Whether a folder is marked as a package; `verify_package` checks it."""
    return path.is_dir() and any((path / name).exists() for name in (BAGIT, TAG_MANIFEST, SIGNATURE))


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
    follow_rotations(context, [path for path in entries if path.startswith(ROTATIONS)])
    trusted = signed_list(context, SCHEMA, SIGNATURE, TAG_MANIFEST)
    if trusted is None:
        return
    _, note = trusted
    tags = {path: entry for path, entry in entries.items() if not path.startswith("data/")}
    del tags[TAG_MANIFEST], tags[SIGNATURE]
    large = [path for path, entry in sorted(tags.items()) if entry.size > MANIFEST_BYTES]
    for path in large:
        context.report.add("FILE_TOO_LARGE", path)
    if large:
        return
    listed = _listed(context, TAG_MANIFEST)
    found = _check_manifest(context, listed, tags)
    if set(listed) != set(TAG_FILES):
        context.report.add("PACKAGE_INCONSISTENT", TAG_MANIFEST, "it does not list the three tag files")
    if set(listed) != set(TAG_FILES) or found != listed:
        return  # the following checks depend on these files
    payload = {path: entry for path, entry in entries.items() if path.startswith("data/")}
    signed = _listed(context, MANIFEST)
    if not _is_of_signed_size(context, [entry for path, entry in payload.items() if path in signed], len(signed)):
        return
    digests = _check_manifest(context, signed, payload)
    # Only files that are as they were signed are parsed. Audio and documents are never parsed.
    if all(digests.get(path) == sha256 for path, sha256 in signed.items() if not _is_attached(path)):
        _check_content(context, note, payload, digests)


def _is_attached(path: str) -> bool:
    return path.startswith(tuple(f"data/{kind}/" for kind in ATTACHED))


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


def _listed(context: Context, manifest: str) -> dict[str, str]:
    """Path → SHA-256 of the files in a manifest."""
    return listed_in(context, manifest, context.read(manifest, "FILE_MISSING", MANIFEST_BYTES) or b"")


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


def _check_manifest(context: Context, listed: Mapping[str, str], files: Mapping[str, Entry]) -> dict[str, str]:
    """Compare files with what a manifest lists; files that it does not list are not read.

    Returns:
        Path → SHA-256, as found, of the files that are listed.
    """
    report = context.report
    report.total["files"] += len(listed)
    digests = {}
    there = digests_of(context, [files[path] for path in listed if path in files])
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


def digests_of(context: Context, entries: Sequence[Entry]) -> dict[str, str | None]:
    """Path → SHA-256 of files; None with a finding.

    Files that are parsed later are held until then, as many as there is room for: each is read once. Threads take turns
    in the list of files: a task for each file takes longer.
    """
    room, held = HELD_BYTES, set[str]()
    for entry in entries:
        if entry.size <= _HELD_FILE and not _is_attached(entry.path) and (room := room - entry.size) >= 0:
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
    info = (context.read(BAG_INFO, "FILE_MISSING") or b"").decode(errors="replace")
    oxum = re.search(r"(?m)^Payload-Oxum: ([0-9]{1,18})\.([0-9]{1,18})$", info)
    found = sum(entry.size for entry in payload)
    if oxum is None or found > int(oxum[1]):
        context.report.add("FILE_SIZE", "data", f"{oxum[1] if oxum else 'no'} bytes signed, {found} found")
        return False
    if int(oxum[2]) != listed:
        context.report.add("PACKAGE_INCONSISTENT", BAG_INFO, f"{oxum[2]} files, but the manifest lists {listed}")
    for name in ("Bagging-Date", "Contact-Name", "External-Description"):
        for line in info.splitlines():
            if line.startswith(f"{name}: "):
                context.report.facts[name] = line.partition(": ")[2]
    return True


def _check_content(context: Context, note: Note, payload: Mapping[str, Entry], digests: Mapping[str, str]) -> None:
    report = context.report
    statement = _decoded(context, STATEMENT, Statement)
    absent = _decoded(context, MISSING, tuple[Absent, ...]) or ()
    if statement is None:
        return
    if (origin := note.text.decode().split("\n")[1]) != statement.origin:
        report.add("PACKAGE_INCONSISTENT", STATEMENT, f"{origin} signed for records of {statement.origin}")
    _check_keys(context, note)
    _check_names(context, statement, payload)
    missing = {(item.kind, item.name): item for item in absent}
    checkpoint = context.read(CHECKPOINT, "FILE_MISSING")
    records = _Records(context, statement, read_pins(context), checkpoint, _attached(digests), missing)
    asked = set(statement.asked)
    if not statement.night and (absent_ids := asked - {item.recording_id for item in statement.records}):
        report.add("PACKAGE_INCONSISTENT", STATEMENT, f"{min(absent_ids)} was asked for, and no record is here")
    for item in statement.records:
        if item.night != statement.night and (statement.night or item.recording_id not in asked):
            report.add("PACKAGE_INCONSISTENT", STATEMENT, f"nobody asked for {item.name}")
        if item.masked:
            records.check_masked(item)
        else:
            records.check_whole(item)
    if not statement.records:
        report.add("NOTHING_FOUND", RECORDS, "the package has no proof")
    if (statement.left_out, len(missing)) != (len(absent), len(absent)):
        report.add("PACKAGE_INCONSISTENT", MISSING, f"{statement.left_out} stated, {len(missing)} listed")
    for kind, name in sorted(missing.keys() - {(kind, item.name) for kind in ATTACHED for item in statement.records}):
        report.add("PACKAGE_INCONSISTENT", MISSING, f"{kind} of {name}: no record of the package is about it")
    report.facts["scope"] = f"{statement.night or 'chosen recordings'}, {len(statement.records)} recordings"


@dataclass
class _Records:
    """The records of a package, checked one by one: each by itself, and against the others."""

    context: Context
    statement: Statement
    pins: Sequence[Head]
    checkpoint: bytes | None
    attached: Mapping[str, Mapping[str, str]]
    """Audio and documents: path without its suffix → path → SHA-256."""
    missing: Mapping[tuple[str, str], Absent]
    places: dict[int, str] = field(default_factory=dict)
    columns: dict[tuple[str, int], set[str]] = field(default_factory=dict)

    def check_whole(self, item: Included) -> None:
        """A record that is shown whole: it is the record of its proof."""
        path = f"{RECORDS}{item.name}.json"
        proof = verify_proof_file(self.context, f"{RECORDS}{item.name}{PROOF_SUFFIX}", self.pins)
        if proof is None:
            return
        record = self.context.read(path, "FILE_MISSING", MANIFEST_BYTES)
        if record is not None and record != proof.record:
            self._inconsistent(path, "it is not the record of the proof")
        if proof.checkpoint.note.data != self.checkpoint:
            self._inconsistent(CHECKPOINT, f"the proof of {item.name} leads to another head")
        self._check_row(item, proof.checkpoint.head, proof.index, proof.row)

    def check_masked(self, item: Included) -> None:
        """A record with withheld fields: the commitment is in the log, and the other fields contradict nothing."""
        path = f"{RECORDS}{item.name}.json"
        commitment = verify_commitment_file(self.context, f"{RECORDS}{item.name}{COMMITMENT_SUFFIX}", self.pins)
        row = _decoded(self.context, path, dict[str, str | None])
        if commitment is None or row is None:
            return
        if commitment.checkpoint.note.data != self.checkpoint:
            self._inconsistent(CHECKPOINT, f"the commitment of {item.name} leads to another head")
        if row.keys() & {SALT_MEMBER, *item.masked}:
            self._inconsistent(path, "it shows what the package says is withheld, or the salt")
        self._check_row(item, commitment.checkpoint.head, commitment.index, row)
        self.context.report.add("RECORD_MASKED", path, ", ".join(item.masked))

    def _inconsistent(self, path: str, detail: str) -> None:
        self.context.report.add("PACKAGE_INCONSISTENT", path, detail)

    def _check_row(self, item: Included, head: Head, index: int, row: Mapping[str, str | None]) -> None:
        """Compare the shown columns of a record with the statement, its attached files, and other records."""
        path, statement = f"{RECORDS}{item.name}.json", self.statement
        stated = (item.recording_id, item.conversation_id, item.night, statement.origin, statement.size, statement.root)
        proven = (row.get("recording_id"), row.get("conversation_id"), row.get("partition_date"))
        if stated != (*proven, head.origin, head.size, head.root.hex()) or item.revision > item.newest:
            self._inconsistent(STATEMENT, f"it contradicts the proof of {item.name}")
        elif item.revision < item.newest:
            detail = f"revision {item.revision} of {item.night}; {item.newest} was the newest"
            self.context.report.add("REVISION_SUPERSEDED", path, detail)
        for kind, column in ATTACHED.items():
            self._check_attached(item.name, kind, column, row)
        other = self.places.setdefault(index, item.name)
        if other != item.name:
            self._inconsistent(STATEMENT, f"{other} and {item.name} are one record of the log")
        all_columns = {*row, *item.masked}
        if self.columns.setdefault((item.night, item.revision), all_columns) != all_columns:
            self._inconsistent(path, "it lacks columns that other records of its night have")

    def _check_attached(self, name: str, kind: str, column: str, row: Mapping[str, str | None]) -> None:
        """Compare the files of one kind that are attached to a record with the digest in it."""
        report, stem, sealed = self.context.report, f"data/{kind}/{name}", row.get(column)
        files, absent = self.attached.get(stem, {}), self.missing.get((kind, name))
        if not files and absent is not None:
            if not _is_of_record(absent, sealed, row):
                self._inconsistent(MISSING, f"{kind} of {name}: the record says otherwise")
            if sealed:
                report.add("PACKAGE_INCOMPLETE", stem, absent.why or "")
        elif not files and sealed:
            report.add("FILE_MISSING", stem, f"the record says {column} {sealed}")
        elif not files:
            self._inconsistent(MISSING, f"{kind} of {name}: neither here nor listed")
        for path, sha256 in files.items():
            if sha256 != sealed:
                report.add("MEDIA_CHANGED", path, f"{column} {sealed} sealed, {sha256} found")
            if absent is not None:
                self._inconsistent(MISSING, f"{path} is here")


def _decoded(context: Context, path: str, kind: type[_T]) -> _T | None:
    data = context.read(path, "FILE_MISSING", MANIFEST_BYTES)
    if data is None:
        return None
    try:
        found = msgspec.json.decode(data, type=kind)
        # If a key is there twice, one reader takes the first value and another the last.
        json.loads(data, object_pairs_hook=without_duplicates)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        context.report.add("PACKAGE_INCONSISTENT", path, str(error))
        return None
    return found


def _check_keys(context: Context, note: Note) -> None:
    """`public-key.txt` names the keys that signed, and no other."""
    data = context.read(PUBLIC_KEYS, "FILE_MISSING")
    if data is None:
        return
    try:
        named = parse_public_keys(data.decode())
        sound = len(note.verified_by(named)) == len(named) == len(note.signatures)
    except (NoteError, UnicodeDecodeError):
        sound = False
    if not sound:
        context.report.add("PACKAGE_INCONSISTENT", PUBLIC_KEYS, "it does not name the keys that signed")


def _check_names(context: Context, statement: Statement, payload: Iterable[str]) -> None:
    """Every file of the payload has one known purpose."""
    names = {item.name for item in statement.records}
    known = {STATEMENT, CHECKPOINT, PUBLIC_KEYS, INSTRUCTIONS, MISSING}
    known |= {f"{RECORDS}{name}.json" for name in names}
    known |= {f"{RECORDS}{item.name}{COMMITMENT_SUFFIX if item.masked else PROOF_SUFFIX}" for item in statement.records}
    attached: set[str] = set()
    for path in sorted(payload):
        stem = path.rpartition(".")[0]
        kind, _, name = stem.removeprefix("data/").partition("/")
        if path in known or (path.startswith(ROTATIONS) and path.endswith("/" + ROTATION)):
            continue
        if kind not in ATTACHED or name not in names:
            context.report.add("FILE_EXTRA", path, "no record of the package is about it")
        elif stem in attached:
            context.report.add("PACKAGE_INCONSISTENT", path, "a record has two files of one kind")
        attached.add(stem)
    if len(names) != len(statement.records):
        context.report.add("PACKAGE_INCONSISTENT", STATEMENT, "a record is stated twice")


def _attached(digests: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for path, sha256 in digests.items():
        if _is_attached(path):
            found.setdefault(path.rpartition(".")[0], {})[path] = sha256
    return found


def _is_of_record(absent: Absent, sealed: str | None, row: Mapping[str, str | None]) -> bool:
    """Whether `missing.json` repeats what the sealed record says."""
    try:
        reasons = set(reasons_in(row))
    except (ValueError, TypeError):
        return False
    said = absent.sha256, absent.recording_id, absent.conversation_id, set(absent.gap_reasons)
    return said == (sealed, row.get("recording_id"), row.get("conversation_id"), reasons)
