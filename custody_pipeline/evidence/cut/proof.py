"""One record with its proof: a C2SP tlog-proof (https://c2sp.org/tlog-proof).

Belongs here: finding a record, writing and reading the file, checking inclusion. Does not: who signed the checkpoint
(evidence/verify).

The `extra` line holds the salted record: the file discloses one call and nothing about other calls.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

import orjson
import rfc8785

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.records import SALT_MEMBER, leaf_hash
from custody_pipeline.evidence.cut.seal import HEAD, LOG
from custody_pipeline.evidence.log.checkpoint import Checkpoint, read_checkpoint, verify_checkpoint
from custody_pipeline.evidence.log.merkle import ProofError, inclusion_proof, verify_inclusion
from custody_pipeline.evidence.log.note import NoteError, Verifier, from_base64
from custody_pipeline.evidence.log.tiles import TileTree
from custody_pipeline.evidence.reader import (
    NOTE_BYTES,
    POINTER_BYTES,
    Reader,
    TargetError,
    TooLargeError,
    read,
    signed_lines,
)

PROOF_SUFFIX = ".tlog-proof"
COMMITMENT_SUFFIX = ".tlog-commitment"
_LONGEST_PATH = 64 * 45 + 32
"""Bytes of the index line and the path: at most 64 hashes of 44 characters, since no log has 2^64 leaves."""
_FIRST_LINE = "c2sp.org/tlog-proof@v1"
_COMMITMENT = b"custody-commitment/v1 "
_VALUES = {str, type(None)}


class ProofFileError(ValueError):
    """A file is no tlog-proof with a salted record."""


class RecordNotFoundError(LookupError):
    """No sealed night has this recording."""


@dataclass(frozen=True)
class RecordProof:
    """A record, its place in a log, and the log's checkpoint, whose signature is not checked yet.

    Attributes:
        record: the salted record, RFC 8785 JSON.
        index: position of its leaf in the log.
        path: RFC 6962 inclusion proof.
        revision: the revision whose cut holds the record; None for a proof that was read from a file.
        newest: the newest revision of that night when the proof was made.
    """

    record: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint
    revision: int | None = field(default=None, compare=False)
    newest: int | None = field(default=None, compare=False)

    @cached_property
    def row(self) -> dict[str, str | None]:
        """The record's columns without the salt. Parsed on first use: a caller first checks that the record is sealed.

        Raises:
            ProofFileError: the record is malformed.
        """
        return _row(self.record)

    @property
    def leaf(self) -> bytes:
        """The record's leaf hash."""
        return leaf_hash(self.record)

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return _file(self.record, self.index, self.path, self.checkpoint)

    @property
    def commitment(self) -> Commitment:
        """The same proof without the record."""
        return Commitment(self.leaf, self.index, self.path, self.checkpoint)

    def check_inclusion(self) -> None:
        """Check that the record is in the tree of the checkpoint.

        Raises:
            ProofError: it is not.
        """
        self.commitment.check_inclusion()


@dataclass(frozen=True)
class Commitment:
    """The place of a record in a log, without the record: the salted hash does not reveal the record.

    If the record is shown later, as a `RecordProof`, its leaf can be compared. Attributes as of `RecordProof`.
    """

    leaf: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return _file(_COMMITMENT + self.leaf.hex().encode(), self.index, self.path, self.checkpoint)

    def check_inclusion(self) -> None:
        """Check that a record with this hash is in the tree of the checkpoint.

        Raises:
            ProofError: none is.
        """
        head = self.checkpoint.head
        verify_inclusion(self.leaf, self.index, head.size, self.path, head.root)


def _file(extra: bytes, index: int, path: Sequence[bytes], checkpoint: Checkpoint) -> bytes:
    lines = [_FIRST_LINE, f"extra {base64.b64encode(extra).decode()}", f"index {index}"]
    lines += [base64.b64encode(item).decode() for item in path]
    return ("\n".join(lines) + "\n\n").encode() + checkpoint.note.data


def _row(record: bytes) -> dict[str, str | None]:
    try:
        row: dict[str, str | None] = orjson.loads(record)
        canonical = isinstance(row, dict) and set(map(type, row.values())) <= _VALUES
        canonical = canonical and (_is_plainly_canonical(row, record) or rfc8785.dumps(row) == record)
    except (ValueError, RecursionError) as error:
        raise ProofFileError("the extra line holds no record") from error
    if not canonical:
        raise ProofFileError("the extra line holds no record in the form of RFC 8785 with strings and nulls")
    if not re.fullmatch(r"[0-9a-f]{64}", row.pop(SALT_MEMBER, None) or ""):
        raise ProofFileError("the record has no salt")
    return row


def _is_plainly_canonical(row: Mapping[str, str | None], record: bytes) -> bool:
    """A quick check that a record is in the form of RFC 8785, in a hundredth of the time; False means: not known.

    orjson writes texts and nulls in the form of RFC 8785. ASCII names have the same order by bytes and by UTF-16.
    """
    return "".join(row).isascii() and orjson.dumps(row, option=orjson.OPT_SORT_KEYS) == record


def read_proof(data: bytes) -> RecordProof:
    """Read a proof file, without checking the proof and without parsing the record.

    Raises:
        ProofFileError: malformed.
    """
    record, index, path, checkpoint = _read(data)
    return RecordProof(record, index, path, checkpoint)


def read_commitment(data: bytes) -> Commitment:
    """Read a commitment file, without checking it.

    Raises:
        ProofFileError: malformed.
    """
    extra, index, path, checkpoint = _read(data)
    if not re.fullmatch(_COMMITMENT + rb"[0-9a-f]{64}", extra):
        raise ProofFileError("the extra line holds no commitment")
    return Commitment(bytes.fromhex(extra.removeprefix(_COMMITMENT).decode()), index, path, checkpoint)


def _read(data: bytes) -> tuple[bytes, int, tuple[bytes, ...], Checkpoint]:
    """The content of a file: extra, index, path and checkpoint."""
    end, path_at = data.find(b"\n\n"), data.find(b"\n", len(_FIRST_LINE) + 1)
    if end - path_at > _LONGEST_PATH or len(data) - end > NOTE_BYTES:
        raise ProofFileError("the path or the checkpoint is longer than in any log")
    first, separator, rest = data.partition(b"\n\n")
    try:
        lines = first.decode("ascii").split("\n")
        if len(lines) < 3 or lines[0] != _FIRST_LINE or not separator or not lines[1].startswith("extra "):
            raise ProofFileError(f"the file does not begin with {_FIRST_LINE}, an extra and an index line")
        index = re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines[2])
        if not index:
            raise ProofFileError("the index line is malformed")
        extra, *path = (from_base64(line, "a line") for line in (lines[1][6:], *lines[3:]))
        checkpoint = read_checkpoint(rest)
    except (UnicodeDecodeError, NoteError) as error:
        raise ProofFileError(str(error)) from error
    if _file(extra, int(index[1]), path, checkpoint) != data:
        raise ProofFileError("the file is not in its canonical form, for example its base64")
    return extra, int(index[1]), tuple(path), checkpoint


@dataclass(frozen=True)
class SealedRecord:
    """A record of a signed cut, before the proof that it is in the log.

    Attributes:
        row: its columns, and the salt.
        index: position of its leaf in the log.
        revision: the revision whose cut holds the record.
        newest: the newest revision of that night.
    """

    record: bytes
    row: Mapping[str, str | None]
    index: int
    revision: int
    newest: int


class Prover:
    """Proofs of many records, one after the other, all for the head that the log had when this object was made.

    Raises:
        NoteError, TargetError: the head is not signed by a key, or could not be read.
    """

    def __init__(self, reader: Reader, keys: Sequence[Verifier]) -> None:
        self._reader, self._keys = reader, keys
        self.checkpoint = verify_checkpoint(read(reader, HEAD, NOTE_BYTES), keys)
        self._tree = TileTree(reader, self.checkpoint.head.size, LOG)

    def each(self, recording_ids: Iterable[str] | None, night: str | None = None) -> Iterator[RecordProof]:
        """Proofs of the newest records of several recordings; None: of every recording of a night's newest revision.

        A recording that two conversations claim has two.

        Args:
            night: look only there (`YYYY-MM-DD`); all nights otherwise.

        Raises:
            RecordNotFoundError: raised at the end: a recording is in no sealed night, or the night has no recording.
            ProofError, TileError, NoteError: the log is not sound; verify it.
            TargetError: it could not be read.
        """
        return map(self.prove, self.sealed(recording_ids, night))

    def sealed(self, recording_ids: Iterable[str] | None, night: str | None = None) -> Iterator[SealedRecord]:
        """The records that `each` proves, without their proofs: `prove` makes these one by one."""
        missing = None if recording_ids is None else set(recording_ids)
        newest: dict[str, int] = {}
        number = 0
        for folder in _newest_first(self._reader, night):
            cut = cuts.read_cut(self._reader, folder, self._keys)
            if cut.log.size > self.checkpoint.head.size:
                continue
            if cut.night not in newest:
                newest[cut.night] = cut.revision
                self._refuse_lost(cut)
            here = set()
            for line, record, row in _records_of(self._reader, folder, cut, missing, newest[cut.night]):
                here.add(str(row["recording_id"]))
                yield SealedRecord(record, row, cut.log.first + line, cut.revision, newest[cut.night])
                number += 1
            if missing is None:
                break
            missing -= here
            if not missing:
                break
        if missing or not number:
            raise RecordNotFoundError(f"{self._reader.name}: no sealed night{f' {night}' if night else ''} has "
                                      f"{_some(sorted(missing or ()))}")  # fmt: skip

    def _refuse_lost(self, cut: cuts.Cut) -> None:
        """Refuse the newest cut that is there, if the night's pointer names a later revision whose cut is gone.

        The pointer is not signed. It tells a loss, and not a removal by somebody who removes the pointer too.
        """
        try:
            revision = orjson.loads(read(self._reader, cuts.pointer_path(cut.night), POINTER_BYTES))["revision"]
            later = revision > cut.revision and cuts.cut_prefix(cut.night, revision) + cuts.CUT_JSON
        except (OSError, TargetError, TooLargeError, ValueError, TypeError, KeyError):
            return
        # Another home may have sealed the revision just now.
        if later and all(entry.path != later for entry in self._reader.list(later)):
            raise ProofError(f"{later} is missing, and the night's pointer names it; verify the set that it is in")

    def prove(self, sealed: SealedRecord) -> RecordProof:
        """The proof of a record, checked.

        Raises:
            ProofError, TileError, TargetError: as for `each`.
        """
        path = tuple(inclusion_proof(self._tree.node, sealed.index, self._tree.size))
        proof = RecordProof(sealed.record, sealed.index, path, self.checkpoint, sealed.revision, sealed.newest)
        proof.check_inclusion()
        return proof


def _some(recording_ids: Sequence[str]) -> str:
    """Recordings in words; the first three of many."""
    if not recording_ids:
        return "a recording"
    more = f" and {len(recording_ids) - 3} more" if len(recording_ids) > 3 else ""
    capitals = any(name != name.lower() for name in recording_ids)
    hint = "; capitals count, and the vendor's ids have none" if capitals else ""
    return f"recording {', '.join(recording_ids[:3])}{more}{hint}"


def _newest_first(reader: Reader, night: str | None) -> list[str]:
    """The folders of cuts, newest night and revision first."""
    prefix = f"cuts/date={night}/" if night else "cuts/"
    paths = (entry.path for entry in reader.list(prefix))
    return sorted(
        (path.removesuffix(cuts.CUT_JSON) for path in paths if path.endswith("/" + cuts.CUT_JSON)), reverse=True
    )


def _records_of(
    reader: Reader, folder: str, cut: cuts.Cut, wanted: Set[str] | None, newest: int
) -> Iterator[tuple[int, bytes, dict[str, str | None]]]:
    """A cut's records: number, line and parsed columns; only `wanted` recordings, unless that is None.

    An earlier revision whose records were removed gives none: the newest revision has a row for every recording.

    Raises:
        ProofError: the file is not as it was sealed, so a recording may be missing from it.
    """
    path, file, sha256 = folder + cuts.RECORDS, cut.file(cuts.RECORDS), hashlib.sha256()
    try:
        records = reader.open(path)
    except FileNotFoundError as error:
        if cut.revision == newest:
            raise ProofError(f"{path} is missing; verify the set that it is in") from error
        return
    with records as stream:
        for number, record in enumerate(signed_lines(stream, file.bytes if file else 0)):
            sha256.update(record + b"\n")
            try:
                row = orjson.loads(record)
                found = wanted is None or row["recording_id"] in wanted
            except (ValueError, TypeError, KeyError) as error:
                raise ProofError(f"{path}, line {number + 1}: no record; verify the set that it is in") from error
            if found:
                yield number, record, row
    if file is None or sha256.hexdigest() != file.sha256:
        raise ProofError(f"{path} is not the file that was sealed; verify the set that it is in")
