"""What the files of a package state about each other: the statement, the records, their audio and documents.

Belongs here: parsing files that are as they were signed, and comparing them. Does not: the signature and the digests
(check.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from custody_pipeline.evidence.cut.manifest import ROTATION
from custody_pipeline.evidence.cut.proof import (
    COMMITMENT_SUFFIX,
    PROOF_SUFFIX,
    Commitment,
    RecordProof,
    read_commitment,
    read_proof,
)
from custody_pipeline.evidence.cut.records import SALT_MEMBER
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.log.keys import parse_public_keys
from custody_pipeline.evidence.log.note import Note, NoteError
from custody_pipeline.evidence.package import layout
from custody_pipeline.evidence.reader import MANIFEST_BYTES
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.copies import without_duplicates
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.heads import read_pins
from custody_pipeline.evidence.verify.single_files import verify_proof_file

_T = TypeVar("_T")


def check_content(context: Context, note: Note, payload: Iterable[str], digests: Mapping[str, str]) -> None:
    """Check the content of a package.

    Args:
        context: the running verification; its report gets the findings.
        note: the trusted note over the tag manifest.
        payload: the files below `data/`.
        digests: path → SHA-256, as found; as signed too, except those of audio and documents.
    """
    report = context.report
    statement = _decoded(context, layout.STATEMENT, layout.Statement)
    absent = _decoded(context, layout.MISSING, tuple[layout.Absent, ...]) or ()
    if statement is None:
        return
    if (origin := note.text.decode().split("\n")[1]) != statement.origin:
        report.add("PACKAGE_INCONSISTENT", layout.STATEMENT, f"{origin} signed for records of {statement.origin}")
    _check_keys(context, note)
    _check_names(context, statement, payload)
    missing = {(item.kind, item.name): item for item in absent}
    checkpoint = context.read(layout.CHECKPOINT, "FILE_MISSING")
    records = _Records(context, statement, read_pins(context), checkpoint, _attached(digests), missing)
    asked = set(statement.asked)
    if not statement.night and (absent_ids := asked - {item.recording_id for item in statement.records}):
        report.add("PACKAGE_INCONSISTENT", layout.STATEMENT, f"{min(absent_ids)} was asked for, and no record is here")
    for item in statement.records:
        if item.night != statement.night and (statement.night or item.recording_id not in asked):
            report.add("PACKAGE_INCONSISTENT", layout.STATEMENT, f"nobody asked for {item.name}")
        if item.masked:
            records.check_masked(item)
        else:
            records.check_whole(item)
    if not statement.records:
        report.add("NOTHING_FOUND", layout.RECORDS, "the package has no proof")
    _check_missing(report, statement, absent)
    report.facts["scope"] = f"{statement.night or 'chosen recordings'}, {len(statement.records)} recordings"
    if statement.left_out:
        report.facts["not here"] = f"{statement.left_out} of their files: {layout.MISSING} has the reasons"


def _check_missing(report: Report, statement: layout.Statement, absent: Sequence[layout.Absent]) -> None:
    missing = {(item.kind, item.name) for item in absent}
    if (statement.left_out, len(missing)) != (len(absent), len(absent)):
        report.add("PACKAGE_INCONSISTENT", layout.MISSING, f"{statement.left_out} stated, {len(missing)} listed")
    for kind, name in sorted(missing - {(kind, item.name) for kind in layout.ATTACHED for item in statement.records}):
        report.add("PACKAGE_INCONSISTENT", layout.MISSING, f"{kind} of {name}: no record of the package is about it")


@dataclass
class _Records:
    """The records of a package, checked one by one: each by itself, and against the others."""

    context: Context
    statement: layout.Statement
    pins: Sequence[Head]
    checkpoint: bytes | None
    attached: Mapping[str, Mapping[str, str]]
    """Audio and documents: path without its suffix → path → SHA-256."""
    missing: Mapping[tuple[str, str], layout.Absent]
    places: dict[int, str] = field(default_factory=dict)
    columns: dict[tuple[str, int], set[str]] = field(default_factory=dict)

    def check_whole(self, item: layout.Included) -> None:
        """A record that is shown whole: it is the record of its proof."""
        path = f"{layout.RECORDS}{item.name}.json"
        proof = verify_proof_file(self.context, f"{layout.RECORDS}{item.name}{PROOF_SUFFIX}", self.pins, read_proof)
        if proof is None:
            return
        record = self.context.read(path, "FILE_MISSING", MANIFEST_BYTES)
        if record is not None and record != proof.record:
            self._inconsistent(path, "it is not the record of the proof")
        self._check_row(item, proof, proof.row)

    def check_masked(self, item: layout.Included) -> None:
        """A record with withheld fields: the commitment is in the log, and the other fields contradict nothing."""
        path = f"{layout.RECORDS}{item.name}.json"
        place = f"{layout.RECORDS}{item.name}{COMMITMENT_SUFFIX}"
        commitment = verify_proof_file(self.context, place, self.pins, read_commitment)
        row = _decoded(self.context, path, dict[str, str | None])
        if commitment is None or row is None:
            return
        if row.keys() & {SALT_MEMBER, *item.masked}:
            self._inconsistent(path, "it shows what the package says is withheld, or the salt")
        self._check_row(item, commitment, row)
        self.context.report.add("RECORD_MASKED", path, ", ".join(item.masked))

    def _inconsistent(self, path: str, detail: str) -> None:
        self.context.report.add("PACKAGE_INCONSISTENT", path, detail)

    def _check_row(self, item: layout.Included, proof: RecordProof | Commitment, row: Mapping[str, str | None]) -> None:
        """Compare the shown columns of a record with the statement, its attached files, and other records."""
        head = proof.checkpoint.head
        if proof.checkpoint.note.data != self.checkpoint:
            kind = "commitment" if item.masked else "proof"
            self._inconsistent(layout.CHECKPOINT, f"the {kind} of {item.name} leads to another head")
        path, statement = f"{layout.RECORDS}{item.name}.json", self.statement
        stated = (item.recording_id, item.conversation_id, item.night, statement.origin, statement.size, statement.root)
        proven = (row.get("recording_id"), row.get("conversation_id"), row.get("partition_date"))
        if stated != (*proven, head.origin, head.size, head.root.hex()) or item.revision > item.newest:
            self._inconsistent(layout.STATEMENT, f"it contradicts the proof of {item.name}")
        elif item.revision < item.newest:
            detail = f"revision {item.revision} of {item.night}; {item.newest} was the newest"
            self.context.report.add("REVISION_SUPERSEDED", path, detail)
        for kind, column in layout.ATTACHED.items():
            self._check_attached(item.name, kind, column, row)
        other = self.places.setdefault(proof.index, item.name)
        if other != item.name:
            self._inconsistent(layout.STATEMENT, f"{other} and {item.name} are one record of the log")
        all_columns = {*row, *item.masked}
        if self.columns.setdefault((item.night, item.revision), all_columns) != all_columns:
            self._inconsistent(path, "it lacks columns that other records of its night have")

    def _check_attached(self, name: str, kind: str, column: str, row: Mapping[str, str | None]) -> None:
        """Compare the files of one kind that are attached to a record with the digest in it."""
        report, stem, sealed = self.context.report, f"data/{kind}/{name}", row.get(column)
        files, absent = self.attached.get(stem, {}), self.missing.get((kind, name))
        if not files and absent is not None:
            if not _is_of_record(absent, sealed, row):
                self._inconsistent(layout.MISSING, f"{kind} of {name}: the record says otherwise")
            if sealed:
                report.add("PACKAGE_INCOMPLETE", stem, absent.why or "")
        elif not files and sealed and not report.unread("", below=f"{stem}."):
            report.add("FILE_MISSING", stem, f"the record says {column} {sealed}")
        elif not files and not sealed:
            self._inconsistent(layout.MISSING, f"{kind} of {name}: neither here nor listed")
        for path, sha256 in files.items():
            if sha256 != sealed:
                report.add("MEDIA_CHANGED", path, f"{column} {sealed} sealed, {sha256} found")
            if absent is not None:
                self._inconsistent(layout.MISSING, f"{path} is here")


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
    data = context.read(layout.PUBLIC_KEYS, "FILE_MISSING")
    if data is None:
        return
    try:
        named = parse_public_keys(data.decode())
        sound = len(note.verified_by(named)) == len(named) == len(note.signatures)
    except (NoteError, UnicodeDecodeError):
        sound = False
    if not sound:
        context.report.add("PACKAGE_INCONSISTENT", layout.PUBLIC_KEYS, "it does not name the keys that signed")


def _check_names(context: Context, statement: layout.Statement, payload: Iterable[str]) -> None:
    """Every file of the payload has one known purpose."""
    names = {item.name for item in statement.records}
    known = {layout.STATEMENT, layout.CHECKPOINT, layout.PUBLIC_KEYS, layout.INSTRUCTIONS, layout.MISSING}
    known |= {f"{layout.RECORDS}{name}.json" for name in names}
    suffixes = {item.name: COMMITMENT_SUFFIX if item.masked else PROOF_SUFFIX for item in statement.records}
    known |= {f"{layout.RECORDS}{name}{suffix}" for name, suffix in suffixes.items()}
    attached: set[str] = set()
    for path in sorted(payload):
        stem = path.rpartition(".")[0]
        kind, _, name = stem.removeprefix("data/").partition("/")
        if path in known or (path.startswith(layout.ROTATIONS) and path.endswith("/" + ROTATION)):
            continue
        if kind not in layout.ATTACHED or name not in names:
            context.report.add("FILE_EXTRA", path, "no record of the package is about it")
        elif stem in attached:
            context.report.add("PACKAGE_INCONSISTENT", path, "a record has two files of one kind")
        attached.add(stem)
    if len(names) != len(statement.records):
        context.report.add("PACKAGE_INCONSISTENT", layout.STATEMENT, "a record is stated twice")


def _attached(digests: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for path, sha256 in digests.items():
        if layout.is_attached(path):
            found.setdefault(path.rpartition(".")[0], {})[path] = sha256
    return found


def _is_of_record(absent: layout.Absent, sealed: str | None, row: Mapping[str, str | None]) -> bool:
    """Whether `missing.json` repeats what the sealed record says."""
    try:
        reasons = set(layout.reasons_in(row))
    except (ValueError, TypeError):
        return False
    said = absent.sha256, absent.recording_id, absent.conversation_id, set(absent.gap_reasons)
    return said == (sealed, row.get("recording_id"), row.get("conversation_id"), reasons)
