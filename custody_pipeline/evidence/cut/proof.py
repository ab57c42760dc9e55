"""One record with its proof: a C2SP tlog-proof (https://c2sp.org/tlog-proof).

Belongs here: finding a record, writing and reading the file, checking inclusion. Does not: who signed the checkpoint
(verify.py).

The `extra` line carries the salted record: the file discloses one call, and nothing about any other.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

import orjson
import rfc8785

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.records import SALT_MEMBER, leaf_hash
from custody_pipeline.evidence.cut.seal import HEAD, LOG
from custody_pipeline.evidence.log.checkpoint import Checkpoint, read_checkpoint, verify_checkpoint
from custody_pipeline.evidence.log.merkle import inclusion_proof, verify_inclusion
from custody_pipeline.evidence.log.note import NoteError, Verifier
from custody_pipeline.evidence.log.tiles import TileTree
from custody_pipeline.evidence.reader import MANIFEST_BYTES, NOTE_BYTES, Reader, read

PROOF_SUFFIX = ".tlog-proof"
_FIRST_LINE = "c2sp.org/tlog-proof@v1"


class ProofFileError(ValueError):
    """A file is no tlog-proof with a salted record."""


class RecordNotFoundError(LookupError):
    """No sealed night has this recording."""


@dataclass(frozen=True)
class RecordProof:
    """A record, its place in a log, and the log's checkpoint (not yet believed).

    Attributes:
        record: the salted record, RFC 8785 JSON.
        index: of its leaf.
        path: RFC 6962 inclusion proof.
        checkpoint: of the log.
        row: the record's columns without the salt, read from `record`.
        revision: of the night, whose cut holds the record; None for a proof that was read from a file.
        newest: the newest revision of that night when the proof was made.
    """

    record: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint
    row: dict[str, str | None] = field(init=False)
    revision: int | None = field(default=None, compare=False)
    newest: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "row", _row(self.record))

    @property
    def leaf(self) -> bytes:
        """The record's leaf hash."""
        return leaf_hash(self.record)

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        lines = [_FIRST_LINE, f"extra {base64.b64encode(self.record).decode()}", f"index {self.index}"]
        lines += [base64.b64encode(item).decode() for item in self.path]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint.note.data

    def check_inclusion(self) -> None:
        """Check that the record is in the tree of the checkpoint.

        Raises:
            ProofError: it is not.
        """
        head = self.checkpoint.head
        verify_inclusion(self.leaf, self.index, head.size, self.path, head.root)


def _row(record: bytes) -> dict[str, str | None]:
    try:
        row: dict[str, str | None] = orjson.loads(record)
        canonical = isinstance(row, dict) and rfc8785.dumps(row) == record
    except (ValueError, RecursionError) as error:
        raise ProofFileError("the extra line holds no record") from error
    if not canonical or not all(value is None or isinstance(value, str) for value in row.values()):
        raise ProofFileError("the extra line holds no record in the form of RFC 8785 with strings and nulls")
    if not re.fullmatch(r"[0-9a-f]{64}", row.pop(SALT_MEMBER, None) or ""):
        raise ProofFileError("the record has no salt")
    return row


def read_proof(data: bytes) -> RecordProof:
    """Read a proof file without believing it.

    Raises:
        ProofFileError: malformed.
    """
    first, separator, rest = data.partition(b"\n\n")
    try:
        lines = first.decode("ascii").split("\n")
        if len(lines) < 3 or lines[0] != _FIRST_LINE or not separator or not lines[1].startswith("extra "):
            raise ProofFileError(f"the file does not begin with {_FIRST_LINE}, an extra and an index line")
        index = re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines[2])
        if not index:
            raise ProofFileError("the index line is malformed")
        record, *path = (base64.b64decode(line, validate=True) for line in (lines[1][6:], *lines[3:]))
        proof = RecordProof(record, int(index[1]), tuple(path), read_checkpoint(rest))
    except (UnicodeDecodeError, binascii.Error, NoteError) as error:
        raise ProofFileError(str(error)) from error
    if proof.data != data:
        raise ProofFileError("the file is not in its one form, for example its base64")
    return proof


def prove(
    reader: Reader, recording_id: str, keys: Sequence[Verifier], *, night: str | None = None
) -> list[RecordProof]:
    """Proofs of a recording's newest record.

    Args:
        reader: the published prefix.
        recording_id: as in `chain_of_custody`.
        keys: the log's public keys; the checkpoint and each proof are checked before they are handed over.
        night: look only there (`YYYY-MM-DD`); all nights otherwise.

    Returns:
        One proof per row that has this recording id: two when two conversations claim it.

    Raises:
        RecordNotFoundError: no sealed night has it.
        ProofError, TileError, NoteError: the log is not sound; verify it.
        TargetError: it could not be read.
    """
    return prove_all(reader, [recording_id], keys, night=night)


def prove_all(
    reader: Reader, recording_ids: Sequence[str] | None, keys: Sequence[Verifier], *, night: str | None = None
) -> list[RecordProof]:
    """Proofs of the newest records of several recordings, or of every recording of a night's newest revision.

    Args:
        reader: the published prefix.
        recording_ids: as in `chain_of_custody`; None for all of `night`.
        keys: as for `prove`.
        night: look only there (`YYYY-MM-DD`); all nights otherwise.

    Raises:
        RecordNotFoundError: a recording is in no sealed night, or the night has none.
        ProofError, TileError, NoteError, TargetError: as for `prove`.
    """
    checkpoint = verify_checkpoint(read(reader, HEAD, NOTE_BYTES), keys)
    tree = TileTree(reader, checkpoint.head.size, LOG)
    missing = None if recording_ids is None else set(recording_ids)
    found: list[RecordProof] = []
    newest: dict[str, int] = {}
    for folder in _newest_first(reader, night):
        data = read(reader, folder + cuts.CUT_JSON, MANIFEST_BYTES)
        cut, _ = cuts.open_cut(data, read(reader, folder + cuts.SIGNATURE, NOTE_BYTES), keys)
        log = cut.log
        if log.size > checkpoint.head.size:
            continue
        newest.setdefault(cut.night, cut.revision)
        here = []
        for number, record in _records_of(reader, folder, missing):
            index = log.first + number
            path = tuple(inclusion_proof(tree.node, index, tree.size))
            here.append(RecordProof(record, index, path, checkpoint, cut.revision, newest[cut.night]))
        found += here
        if missing is None:
            break
        missing -= {str(proof.row["recording_id"]) for proof in here}
        if not missing:
            break
    if missing or not found:
        what = f"recording {', '.join(sorted(missing))}" if missing else "a recording"
        raise RecordNotFoundError(f"{reader.name}: no sealed night{f' {night}' if night else ''} has {what}")
    for proof in found:
        proof.check_inclusion()
    return found


def _newest_first(reader: Reader, night: str | None) -> list[str]:
    """Folders of cuts."""
    prefix = f"cuts/date={night}/" if night else "cuts/"
    paths = (entry.path for entry in reader.list(prefix))
    return sorted(
        (path.removesuffix(cuts.CUT_JSON) for path in paths if path.endswith("/" + cuts.CUT_JSON)), reverse=True
    )


def _records_of(reader: Reader, folder: str, wanted: Set[str] | None) -> Iterator[tuple[int, bytes]]:
    """Lines of a cut's records and their numbers; those of `wanted` recordings only, unless it is None."""
    with reader.open(folder + cuts.RECORDS) as stream:
        for number, line in enumerate(stream):
            record = line.removesuffix(b"\n")
            if wanted is None or orjson.loads(record).get("recording_id") in wanted:
                yield number, record
