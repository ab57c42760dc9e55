"""Checking a package: one signature covers every file, and the files do not contradict each other.

Belongs here: every check of a package. Does not: single proofs (evidence/verify/single_files.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from custody_pipeline.evidence.cut.manifest import ROTATION
from custody_pipeline.evidence.cut.proof import PROOF_SUFFIX, RecordProof
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
)
from custody_pipeline.evidence.reader import MANIFEST_BYTES, Entry, FolderReader
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import digest
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.heads import read_pins
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.rotations import follow_rotations
from custody_pipeline.evidence.verify.single_files import verify_proof_file
from custody_pipeline.evidence.verify.target import regular_files

_LINE = re.compile(r"([0-9a-f]{64})  ([^\r\n]+)")
_T = TypeVar("_T")


def is_package(path: Path) -> bool:
    """Whether a folder says that it is one; `verify_package` decides."""
    return path.is_dir() and any((path / name).exists() for name in (BAGIT, TAG_MANIFEST, SIGNATURE))


def verify_package(folder: Path, options: Options) -> Report:
    """Check a package: the signature, every file, every proof, and all that one file says of another.

    The checkpoint of the proofs must have its quorum of witnesses, and agree with every pin.
    """
    context = Context(FolderReader(folder), options, Report(str(folder)))
    entries = regular_files(context)
    if entries is None or not context.keys:
        return context.report
    context.bytes_total = sum(entry.size for entry in entries.values())
    if any(path.startswith(("cuts/", "log/")) or path == "cut.json" for path in entries):
        context.report.add("TARGET_AMBIGUOUS")
    follow_rotations(context, [path for path in entries if path.startswith(ROTATIONS)])
    note = _check_signature(context)
    if note is None:
        return context.report
    tags = {path: entry for path, entry in entries.items() if not path.startswith("data/")}
    del tags[TAG_MANIFEST], tags[SIGNATURE]
    large = [path for path, entry in sorted(tags.items()) if entry.size > MANIFEST_BYTES]
    for path in large:
        context.report.add("FILE_TOO_LARGE", path)
    if large:
        return context.report
    listed = _check_manifest(context, _listed(context, TAG_MANIFEST), tags)
    if set(listed) != set(TAG_FILES):
        context.report.add("PACKAGE_INCONSISTENT", TAG_MANIFEST, "it does not list the three tag files")
        return context.report
    payload = {path: entry for path, entry in entries.items() if path.startswith("data/")}
    signed = _listed(context, MANIFEST)
    if not _is_of_signed_size(context, [entry for path, entry in payload.items() if path in signed]):
        return context.report
    _check_content(context, note, payload, _check_manifest(context, signed, payload))
    return context.report


def _check_signature(context: Context) -> Note | None:
    """The signature's note, if a trusted key signed the tag manifest that is there."""
    signature = context.read(SIGNATURE, "PACKAGE_UNSIGNED")
    manifest = context.read(TAG_MANIFEST, "FILE_MISSING")
    if signature is None or manifest is None:
        return None
    trusted: Note | None = None
    with context.signature(SIGNATURE, "PACKAGE_UNSIGNED", "PACKAGE_ALTERED"):
        note = parse(signature)
        signers = note.verified_by(context.keys)
        lines = note.text.decode().split("\n")
        check_origin(lines[1] if len(lines) > 1 else "", signers)
        if lines[0] != SCHEMA or lines[2:] != [f"{hashlib.sha256(manifest).hexdigest()}  {TAG_MANIFEST}", ""]:
            raise NoteError("it was made for another tag manifest")
        trusted = note
        context.report.signed_by(signers)
    return trusted


def _listed(context: Context, manifest: str) -> dict[str, str]:
    """Path → SHA-256 of the files in a manifest."""
    data = context.read(manifest, "FILE_MISSING", MANIFEST_BYTES) or b""
    matches = [_LINE.fullmatch(line) for line in data.decode(errors="replace").split("\n")[:-1]]
    listed = {match[2]: match[1] for match in matches if match}
    if len(listed) != len(matches) or not listed:
        context.report.add("PACKAGE_INCONSISTENT", manifest, "a line is malformed, or a file is listed twice")
    return listed


def _check_manifest(context: Context, listed: Mapping[str, str], files: Mapping[str, Entry]) -> dict[str, str]:
    """Compare files with what a manifest lists; files that it does not list are not read.

    Returns:
        Path → SHA-256, as found, of the files that are listed.
    """
    report = context.report
    report.total["files"] += len(listed)
    digests = {}
    for path, sha256 in listed.items():
        found = digest(context, "", files[path]) if path in files else None
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


def _is_of_signed_size(context: Context, payload: Iterable[Entry]) -> bool:
    """`bag-info.txt` is signed and states how many bytes and files the payload has: no more are read."""
    info = (context.read(BAG_INFO, "FILE_MISSING") or b"").decode(errors="replace")
    oxum = re.search(r"(?m)^Payload-Oxum: ([0-9]{1,18})\.([0-9]{1,18})$", info)
    found = sum(entry.size for entry in payload)
    if oxum is None or found > int(oxum[1]):
        context.report.add("FILE_SIZE", "data", f"{oxum[1] if oxum else 'no'} bytes signed, {found} found")
        return False
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
    _check_keys(context, note)
    _check_names(context, statement, payload)
    checkpoint = context.read(CHECKPOINT, "FILE_MISSING")
    pins = read_pins(context)
    missing = {(item.kind, item.name): item for item in absent}
    for item in statement.records:
        proof = verify_proof_file(context, f"{RECORDS}{item.name}{PROOF_SUFFIX}", pins)
        if proof is None:
            continue
        record = context.read(f"{RECORDS}{item.name}.json", "FILE_MISSING", MANIFEST_BYTES)
        if record is not None and record != proof.record:
            report.add("PACKAGE_INCONSISTENT", f"{RECORDS}{item.name}.json", "it is not the record of the proof")
        if proof.checkpoint.note.data != checkpoint:
            report.add("PACKAGE_INCONSISTENT", CHECKPOINT, f"the proof of {item.name} leads to another head")
        _check_statement(context, statement, item, proof)
        _check_attached(context, item.name, proof, digests, missing)
    if not statement.records:
        report.add("NOTHING_FOUND", RECORDS, "the package has no proof")
    if (statement.left_out, len(missing)) != (len(absent), len(absent)):
        report.add("PACKAGE_INCONSISTENT", MISSING, f"{statement.left_out} stated, {len(missing)} listed")
    report.facts["scope"] = f"{statement.night or 'chosen recordings'}, {len(statement.records)} recordings"


def _decoded(context: Context, path: str, kind: type[_T]) -> _T | None:
    data = context.read(path, "FILE_MISSING", MANIFEST_BYTES)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        context.report.add("PACKAGE_INCONSISTENT", path, str(error))
        return None


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
    names = [item.name for item in statement.records]
    known = {STATEMENT, CHECKPOINT, PUBLIC_KEYS, INSTRUCTIONS, MISSING}
    known |= {f"{RECORDS}{name}{suffix}" for name in names for suffix in (PROOF_SUFFIX, ".json")}
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
    if len(set(names)) != len(names):
        context.report.add("PACKAGE_INCONSISTENT", STATEMENT, "a record is stated twice")


def _check_statement(context: Context, statement: Statement, item: Included, proof: RecordProof) -> None:
    """What the statement says of a record is what the record and its proof say."""
    head, row = proof.checkpoint.head, proof.row
    stated = (item.recording_id, item.conversation_id, item.night, statement.origin, statement.size, statement.root)
    proven = (row.get("recording_id"), row.get("conversation_id"), row.get("partition_date"))
    asked = statement.night == item.night if statement.night else item.recording_id in statement.asked
    if stated != (*proven, head.origin, head.size, head.root.hex()) or not asked or item.revision > item.newest:
        context.report.add("PACKAGE_INCONSISTENT", STATEMENT, f"it contradicts the proof of {item.name}")
    elif item.revision < item.newest:
        detail = f"revision {item.revision} of {item.night}; {item.newest} was the newest"
        context.report.add("REVISION_SUPERSEDED", f"{RECORDS}{item.name}.json", detail)


def _check_attached(
    context: Context,
    name: str,
    proof: RecordProof,
    digests: Mapping[str, str],
    missing: Mapping[tuple[str, str], Absent],
) -> None:
    """Compare what is attached to a record with the digests in it."""
    report = context.report
    for kind, column in ATTACHED.items():
        stem, sealed = f"data/{kind}/{name}", proof.row.get(column)
        files = [path for path in digests if path.rpartition(".")[0] == stem]
        absent = missing.get((kind, name))
        if not files and absent is not None:
            if absent.sha256 != sealed:
                report.add("PACKAGE_INCONSISTENT", MISSING, f"{column} of {name} is {sealed}")
            if sealed:
                report.add("PACKAGE_INCOMPLETE", stem, absent.why or "")
        elif not files and sealed:
            report.add("FILE_MISSING", stem, f"the record says {column} {sealed}")
        for path in files:
            if digests[path] != sealed:
                report.add("MEDIA_CHANGED", path, f"{column} {sealed} sealed, {digests[path]} found")
            if absent is not None:
                report.add("PACKAGE_INCONSISTENT", MISSING, f"{path} is here")
