"""Witnesses: other parties that saw the log's head and cosign it (https://c2sp.org/tlog-cosignature).

Belongs here: asking a witness (https://c2sp.org/tlog-witness), reading its answer, adding the cosignature to a
checkpoint. Does not: HTTP, storing (operations/witnesses.py, publish/sealed_writes.py).

A cosigned checkpoint is kept under `log/cosigned/<size>`, because the next night's head replaces it in
`log/checkpoint`. Each is a promise that the log cannot take back: `verify` compares all of them with the log.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from custody_pipeline.evidence.log.checkpoint import Checkpoint, cosigned_by, read_checkpoint, witness_request
from custody_pipeline.evidence.log.merkle import consistency_proof
from custody_pipeline.evidence.log.note import COSIGNATURE_V1, Note, NoteError, Signature, Verifier, parse
from custody_pipeline.evidence.log.tiles import TileTree

COSIGNED = "log/cosigned/"
"""Checkpoints with cosignatures, each named by its size."""

_OFF_SECONDS = 3_600
"""A cut whose sealing is stated later than its cosignature, by more than that, does not verify (TIME_WRONG)."""

Post = Callable[[bytes], tuple[int, bytes]]
"""Send a body to a witness's `add-checkpoint`; status and body of its answer."""


class WitnessError(Exception):
    """A witness gave no usable cosignature. The message has its answer."""


class WitnessContradictsError(WitnessError):
    """A witness knows another log than the one that is published: it was forked, or its end was removed."""


def cosigned_path(size: int) -> str:
    """`log/cosigned/<size>`."""
    return f"{COSIGNED}{size}"


def check_witness_keys(keys: Iterable[Verifier]) -> list[Verifier]:
    """The keys, if all of them are witnesses'.

    Raises:
        NoteError: a key is of another type, or two witnesses have one key: they would be counted twice.
    """
    found = list(dict.fromkeys(keys))
    for key in found:
        if key.kind != COSIGNATURE_V1:
            raise NoteError(f"{key.name}: the key of a log, not of a witness (type 4)")
    if len({key.public_key for key in found}) != len(found):
        raise NoteError("two witnesses have the same public key")
    return found


def add_cosignatures(checkpoint: Checkpoint, data: bytes, witnesses: Sequence[Verifier]) -> Checkpoint:
    """The checkpoint with the cosignatures of known witnesses that `data` holds, in place of earlier ones of theirs.

    Args:
        data: a witness's answer: signature lines, or a whole checkpoint with them.
        witnesses: keys that are trusted; signatures of others are left out.

    Raises:
        WitnessError: an earlier or later head was cosigned.
        NoteError: malformed, another checkpoint, a known witness's cosignature is wrong, or no known witness cosigned.
    """
    note = parse(data if b"\n\n" in data else checkpoint.note.text + b"\n" + data)
    if note.text != checkpoint.note.text:
        other = read_checkpoint(note.data).head
        if other.size != checkpoint.head.size:
            raise WitnessError(
                f"a head of {other.size} leaves was cosigned, and the published one has {checkpoint.head.size}; "
                "ask the witness to cosign log/checkpoint as it is now"
            )
        raise NoteError("another checkpoint was cosigned than the one that is published")
    added: dict[tuple[str, bytes], Signature] = {}
    for witness, signature in note.signed_by(witnesses):
        witness.check(note.text, signature.signature)
        added[witness.name, witness.key_id] = signature
    if not added:
        raise NoteError("it has no cosignature of a known witness")
    kept = [item for item in checkpoint.note.signatures if (item.name, item.key_id) not in added]
    return Checkpoint(checkpoint.head, Note(note.text, (*kept, *added.values())))


def ask_witness(post: Post, tree: TileTree, checkpoint: Checkpoint, witness: Verifier) -> Checkpoint:
    """Ask a witness to cosign a checkpoint, with a proof from the size that it saw last.

    Raises:
        WitnessContradictsError: it has cosigned another log than this one.
        WitnessError: it refused, or its answer is no cosignature of this checkpoint by this key.
    """
    size = 0
    for _ in range(3):
        status, answer = post(witness_request(size, consistency_proof(tree.node, size, tree.size), checkpoint))
        known = re.fullmatch(rb"(0|[1-9][0-9]{0,18})\n", answer)
        if status != 409 or not known or int(known[1]) == size:
            break
        size = int(known[1])  # the size that the witness cosigned last: the proof must begin there
        if size > tree.size:
            raise WitnessContradictsError(
                f"{witness.name} has cosigned this log at {size} leaves, and {tree.size} are here: its end was removed"
            )
    if status != 200:
        # With size 0, nothing is compared. In older versions of the protocol, 409 at the size of the checkpoint says
        # that its root is another one.
        if size and (status == 422 or (status == 409 and size == tree.size)):
            raise WitnessContradictsError(f"{witness.name}: {_CONTRADICTIONS[status]}")
        raise WitnessError(f"{witness.name}: {_REFUSALS.get(status, f'HTTP {status}; ask again later')}")
    try:
        cosigned = add_cosignatures(checkpoint, answer, [witness])
        seen = cosigned_by(cosigned, [witness])[witness.name]
    except NoteError as error:
        raise WitnessError(f"{witness.name}: {error}") from error
    if abs(seen - time.time()) > _OFF_SECONDS:
        raise WitnessError(
            f"{witness.name} says that it is {seen_at(seen)}: its clock or this machine's is wrong. Nothing was "
            "published: such a cosignature contradicts the time of the cut"
        )
    return cosigned


_REFUSALS = {
    403: "the witness does not know the key of this checkpoint (HTTP 403); register the log's public key there",
    404: "the witness does not know this log (HTTP 404); register the log's origin and public key there",
}
_CONTRADICTIONS = {
    409: "the witness has cosigned another root at this size (HTTP 409): somebody forked the log; do not go on",
    422: "the witness refuses the consistency proof (HTTP 422): it has seen another past of this log",
}


def seen_at(seconds: int) -> str:
    """The time of a cosignature (seconds since 1970), for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
