"""`erasure.json` and `forgotten-key.json`: what was removed of a night, why, and on whose authority.

Belongs here: the form of the statements, written and read strictly, and the remaining lines of a records file. Does
not: deciding what is removed (forgetting/), checking a statement against a set (evidence/verify/removals.py).

A statement is a file of a cut of the night. `cut.json` lists its digest, so the cut's signature and its leaf in the log
cover it.

`erasure.json` is in the cut that holds the night without the erased content. A file of an earlier revision may be
missing only if such a statement names it. The removed file's rows of other conversations stay, in a file of the same
cut below `remains/rNNNN/`.

`forgotten-key.json` is sealed before the key is removed. The files that it names stay as they are, and nobody can open
them any more: every digest, signature and proof holds as before.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
import rfc8785

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import Count, CutError, Hex256, Revision, Strict
from custody_pipeline.evidence.cut.records import leaf_hash
from custody_pipeline.evidence.cut.workbook import WORKBOOK

SCHEMA = "custody-erasure/v1"
STATEMENT = "erasure.json"
REMAINS = "remains/"
REASON = "ERASED"
"""Gap reason of the row that stands for an erased recording."""

KEY_STATEMENT = "forgotten-key.json"
_Hex128 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_PLACEHOLDER = b'{"_erased":"'
_ERASED = re.compile(rb'\{"_erased":"([0-9a-f]{64})"\}')


class ErasedRecording(Strict, frozen=True, order=True):
    """A recording whose content was erased; its row stays without personal data."""

    conversation_id: str
    recording_id: str


class RemovedFile(Strict, frozen=True):
    """A file of an earlier revision that is removed, in all its versions.

    Attributes:
        revision: the revision whose cut lists the file.
        path: of the file in that cut.
        sha256: its sealed digest, hex.
        remains: path, in the cut that holds the statement, of the file's rows of other conversations; None if other
            files have the same rows (`is_derived`).
    """

    revision: Revision
    path: str
    bytes: Count
    sha256: Hex256
    remains: str | None


class RemovedLeaf(Strict, frozen=True):
    """A leaf of the log whose record is gone. `index`: in the log."""

    index: Count
    conversation_id: str
    recording_id: str


class Stated(Strict, frozen=True):
    """The fields that statements about one night share.

    Attributes:
        id: 32 hex digits; of the request, which may concern several nights.
        night: UTC day, `YYYY-MM-DD`.
        revision: of the cut that holds the statement.
        asked_at: when the removal was asked for, UTC, RFC 3339.
        stated_at: when the statement was made, UTC, RFC 3339: when the cut was sealed.
        authority: the right or order that demands the removal.
    """

    id: str
    night: str
    revision: Revision
    asked_at: str
    stated_at: str
    operator: str
    reason: str
    authority: str


class Statement(Stated, frozen=True):
    """What was removed of one night.

    Attributes:
        selected_by: kinds of conditions (`conversations`, `number`, `tag`, `policy`, `vendor`), never their values.
        conversations: those of the request, sorted.
        recordings: the recordings of these conversations, sorted. Each has a row with the reason `ERASED` in this cut.
        files: those that were removed, ordered by revision and path.
        leaves: of removed records, ordered by index.
        counts: kind of place → how many items were removed there.
    """

    selected_by: tuple[str, ...]
    conversations: tuple[str, ...]
    recordings: tuple[ErasedRecording, ...]
    files: tuple[RemovedFile, ...]
    leaves: tuple[RemovedLeaf, ...]
    counts: dict[str, Count]
    schema: Literal["custody-erasure/v1"] = "custody-erasure/v1"


class EncryptedFile(Strict, frozen=True):
    """A file of one of the night's cuts that only this key opened. `revision`: of that cut."""

    revision: Revision
    path: str
    bytes: Count
    sha256: Hex256


class KeyStatement(Stated, frozen=True):
    """The statement that a night's key was forgotten. The key is removed after it was sealed.

    Attributes:
        key_id: the id of the key, which the header of each file names; 32 hex digits.
        wrapped_sha256: of the document that held the wrapped key, hex.
        files: of this night's cuts, ordered by revision and path.
        captures: how many documents of the capture place the key opened.
    """

    id: _Hex128
    key_id: _Hex128
    wrapped_sha256: Hex256
    files: tuple[EncryptedFile, ...]
    captures: Count
    schema: Literal["custody-forgotten-key/v1"] = "custody-forgotten-key/v1"


def encode_statement(statement: Statement | KeyStatement) -> bytes:
    """The bytes of a statement: RFC 8785 JSON.

    Raises:
        CutError: the statement contradicts itself.
    """
    name = STATEMENT if isinstance(statement, Statement) else KEY_STATEMENT
    for moment in ("asked_at", "stated_at"):
        if not cuts.is_moment(getattr(statement, moment)):
            raise CutError(f"{name}: {moment} is no time with a zone")
    named = [(file.revision, file.path) for file in statement.files]
    if named != sorted(set(named)) or not all(cuts.is_safe_path(path) for _, path in named):
        raise CutError(f"{name}: files are not ordered, one is there twice, or a path is not safe")
    if isinstance(statement, Statement):
        keys: dict[str, list[Any]] = {"leaves": [leaf.index for leaf in statement.leaves]}
        keys |= {"conversations": [*statement.conversations], "recordings": [*statement.recordings]}
        for kind, items in keys.items():
            if items != sorted(set(items)):
                raise CutError(f"{name}: {kind} are not ordered, or one is there twice")
    return rfc8785.dumps(msgspec.to_builtins(statement))


def decode_statement(data: bytes) -> Statement:
    """Read an `erasure.json`.

    Raises:
        CutError: not RFC 8785 JSON of this schema, to the byte, or it contradicts itself.
    """
    return cuts.decode_strictly(STATEMENT, data, Statement, encode_statement)


def decode_key_statement(data: bytes) -> KeyStatement:
    """Read a `forgotten-key.json`; otherwise as `decode_statement`."""
    return cuts.decode_strictly(KEY_STATEMENT, data, KeyStatement, encode_statement)


def remains_path(revision: int, path: str) -> str:
    """Where a cut keeps the rows of other conversations from the file `path` of an earlier revision."""
    return path if path.startswith(REMAINS) else f"{REMAINS}r{revision:04d}/{path}"


def original_path(path: str) -> str:
    """The path of a file in the cut that held it first: `remains/r0001/data/x` → `data/x`."""
    return path.split("/", 2)[2] if path.startswith(REMAINS) else path


def is_derived(path: str) -> bool:
    """Whether nothing of a removed file must be kept, because remaining records and tables have the same rows."""
    return path == cuts.TABLE or path.startswith(cuts.REPORT) or is_rendering(path)


def is_rendering(path: str) -> bool:
    """Whether a file of a cut is a table as CSV or as a workbook."""
    return path.startswith("data/") and path.removesuffix(".gz").endswith((".csv", WORKBOOK))


def placeholder(record: bytes) -> bytes:
    """The line that replaces an erased record: only its leaf. A placeholder stays unchanged."""
    if record.startswith(_PLACEHOLDER):
        return record
    return _PLACEHOLDER + leaf_hash(record).hex().encode() + b'"}'


def remaining_leaf(line: bytes) -> tuple[bytes, bool]:
    """The leaf of a line of a remaining records file, and whether its record was erased.

    Raises:
        ValueError: a placeholder without a leaf.
    """
    if not line.startswith(_PLACEHOLDER):
        return leaf_hash(line), False
    found = _ERASED.fullmatch(line)
    if found is None:
        raise ValueError("no leaf")
    return bytes.fromhex(found[1].decode()), True


def is_landing(path: str) -> bool:
    """Whether a file of a cut is a landing file, or what an erasure left of one."""
    return original_path(path).startswith("landing/")
