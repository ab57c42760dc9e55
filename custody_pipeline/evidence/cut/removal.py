"""`erasure.json`: what was removed from earlier revisions of a night, why, and on whose authority.

Belongs here: the form of the statement, written and read strictly, and the remaining lines of a records file. Does not:
deciding what is removed (forgetting/), checking a statement against a set (evidence/verify/removals.py).

The statement is a file of the cut that holds the night without the erased content. `cut.json` lists its digest, so the
cut's signature and its leaf in the log cover it. A file of an earlier revision may be missing only if such a statement
names it. The removed file's rows of other conversations stay, in a file of the same cut below `remains/rNNNN/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

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


class Statement(Strict, frozen=True):
    """What was removed of one night.

    Attributes:
        id: 32 hex digits; of the request, which may concern several nights.
        night: UTC day, `YYYY-MM-DD`.
        revision: of the cut that holds the statement.
        asked_at: when the removal was asked for, UTC, RFC 3339.
        stated_at: when the statement was made, UTC, RFC 3339: when the cut was sealed.
        authority: the right or order that demands the removal.
        selected_by: kinds of conditions (`conversations`, `number`, `tag`, `policy`, `vendor`), never their values.
        conversations: those of the request, sorted.
        recordings: the recordings of these conversations, sorted. Each has a row with the reason `ERASED` in this cut.
        files: those that were removed, ordered by revision and path.
        leaves: of removed records, ordered by index.
        counts: kind of place → how many items were removed there.
    """

    id: str
    night: str
    revision: Revision
    asked_at: str
    stated_at: str
    operator: str
    reason: str
    authority: str
    selected_by: tuple[str, ...]
    conversations: tuple[str, ...]
    recordings: tuple[ErasedRecording, ...]
    files: tuple[RemovedFile, ...]
    leaves: tuple[RemovedLeaf, ...]
    counts: dict[str, Count]
    schema: Literal["custody-erasure/v1"] = "custody-erasure/v1"


def encode_statement(statement: Statement) -> bytes:
    """The bytes of `erasure.json`: RFC 8785 JSON.

    Raises:
        CutError: the statement contradicts itself.
    """
    _check(statement)
    return rfc8785.dumps(msgspec.to_builtins(statement))


def decode_statement(data: bytes) -> Statement:
    """Read an `erasure.json`.

    Raises:
        CutError: not RFC 8785 JSON of this schema, to the byte, or it contradicts itself.
    """
    return cuts.decode_strictly(STATEMENT, data, Statement, encode_statement)


def check_times_and_files(name: str, statement: Any, files: Iterable[tuple[int, str]]) -> None:
    """The checks that statements share: their times, and the order of the files (revision, path) that they name.

    Raises:
        CutError: the statement `name` fails one.
    """
    for moment in ("asked_at", "stated_at"):
        try:
            known = datetime.fromisoformat(getattr(statement, moment)).utcoffset() is not None
        except ValueError:
            known = False
        if not known:
            raise CutError(f"{name}: {moment} is no time with a zone")
    named = list(files)
    if named != sorted(set(named)) or not all(cuts.is_safe_path(path) for _, path in named):
        raise CutError(f"{name}: files are not ordered, one is there twice, or a path is not safe")


def _check(statement: Statement) -> None:
    check_times_and_files(STATEMENT, statement, ((file.revision, file.path) for file in statement.files))
    for kind in ("conversations", "recordings"):
        items = getattr(statement, kind)
        if list(items) != sorted(set(items)):
            raise CutError(f"{STATEMENT}: {kind} are not sorted, or one is there twice")
    indexes = [leaf.index for leaf in statement.leaves]
    if indexes != sorted(set(indexes)):
        raise CutError(f"{STATEMENT}: leaves are not ordered, or one is there twice")


def remains_path(revision: int, path: str) -> str:
    """Where a cut keeps the rows of other conversations from the file `path` of an earlier revision."""
    return path if path.startswith(REMAINS) else f"{REMAINS}r{revision:04d}/{path}"


def original_path(path: str) -> str:
    """The path of a file in the cut that held it first: `remains/r0001/data/x` → `data/x`."""
    return path.split("/", 2)[2] if path.startswith(REMAINS) else path


def is_derived(path: str) -> bool:
    """Whether nothing of a removed file must be kept, because remaining records and tables have the same rows."""
    name = path.removesuffix(".gz")
    rendered = path.startswith("data/") and name.endswith((".csv", WORKBOOK))
    return path == cuts.TABLE or path.startswith(cuts.REPORT) or rendered


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
