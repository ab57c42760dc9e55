"""Checkpoints (https://c2sp.org/tlog-checkpoint): a log's size and root hash, signed.

Belongs here: the format, and the rule that two inconsistent heads are never signed. Does not: tiles, cuts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from custody_pipeline.evidence.log.merkle import EMPTY_ROOT, HASH_BYTES, ProofError, verify_consistency
from custody_pipeline.evidence.log.note import (
    Note,
    NoteError,
    OtherLogError,
    Signer,
    Verifier,
    check_origin,
    from_base64,
    parse,
    sign,
)


class InconsistentHeadError(Exception):
    """The head to be signed does not extend one that was signed before. Nothing was signed."""


@dataclass(frozen=True)
class Head:
    """A tree: its log, number of leaves and root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> bytes:
        """The checkpoint's note text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()

    @classmethod
    def empty(cls, origin: str) -> Head:
        """A log's head before its first leaf."""
        return cls(origin, 0, EMPTY_ROOT)


@dataclass(frozen=True)
class Checkpoint:
    """A head and the note that states it."""

    head: Head
    note: Note


@lru_cache(maxsize=2)
def read_checkpoint(data: bytes) -> Checkpoint:
    """Read a checkpoint without checking its signatures. The proofs of a package all end with the same one.

    Raises:
        NoteError: not a checkpoint, to the letter of the specification.
    """
    note = parse(data)
    lines = note.text.decode()[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise NoteError("a checkpoint has at least three lines, none empty")
    origin, size, root = lines[:3]
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", size):
        raise NoteError("a checkpoint's second line is the tree size in decimal")
    digest = from_base64(root, "the root hash on a checkpoint's third line")
    if len(digest) != HASH_BYTES:
        raise NoteError("a checkpoint's root hash is 32 bytes in base64")
    return Checkpoint(Head(origin, int(size), digest), note)


def verify_checkpoint(data: bytes, keys: Sequence[Verifier], origin: str | None = None) -> Checkpoint:
    """Read a checkpoint and check that its log signed it.

    Args:
        keys: the log's keys (a witness's cosignature is not the log's signature).
        origin: the required first line; None allows any.

    Raises:
        NoteError: malformed, of another log (`OtherLogError`), signed by no known key (`UnknownSignerError`), or with a
            wrong signature of a known one.
    """
    checkpoint = read_checkpoint(data)
    if origin is not None and checkpoint.head.origin != origin:
        raise OtherLogError(f"a checkpoint of {checkpoint.head.origin}, not of {origin}")
    check_origin(checkpoint.head.origin, checkpoint.note.verified_by(keys))
    return checkpoint


def cosigned_by(checkpoint: Checkpoint, witnesses: Sequence[Verifier]) -> dict[str, int]:
    """The known witnesses that cosigned a checkpoint.

    Returns:
        Witness name → time of its cosignature, seconds since 1970.

    Raises:
        NoteError: a known witness's cosignature is wrong.
    """
    note = checkpoint.note
    return {key.name: key.check(note.text, found.signature) or 0 for key, found in note.signed_by(witnesses)}


def sign_checkpoint(head: Head, signers: Sequence[Signer], signed_before: Head, proof: Sequence[bytes]) -> Checkpoint:
    """Sign a head that extends the one signed before.

    Args:
        head: the head to sign.
        signers: the log's current key, and during a rotation the next one as well.
        signed_before: the newest head that was ever signed, published or not; `Head.empty` for a new log.
        proof: RFC 6962 consistency proof from `signed_before` to `head`.

    Raises:
        InconsistentHeadError: `head` does not extend `signed_before`.
    """
    if head.origin != signed_before.origin:
        raise InconsistentHeadError(f"the log was {signed_before.origin} and cannot become {head.origin}")
    try:
        verify_extension(signed_before, head, proof)
    except ProofError as error:
        raise InconsistentHeadError(
            f"{head.origin}: a tree of {head.size} leaves was to be signed, but one of {signed_before.size} leaves was "
            f"signed before and is no prefix of it ({error}). Find out which log is the true one before sealing again."
        ) from error
    return Checkpoint(head, sign(head.text, signers))


def verify_extension(old: Head, new: Head, proof: Sequence[bytes]) -> None:
    """Check that `new` extends `old`; every tree extends the empty one.

    Raises:
        ProofError: it does not, or the proof does not show it.
    """
    if old.size == 0 < new.size:
        if old.root != EMPTY_ROOT or proof:
            raise ProofError("a tree without leaves has one root and needs no proof")
        return
    verify_consistency(old.size, new.size, proof, old.root, new.root)


def witness_request(old: int, proof: Sequence[bytes], checkpoint: Checkpoint) -> bytes:
    """Old size, consistency proof and checkpoint, as a witness takes them (c2sp.org/tlog-witness, add-checkpoint)."""
    lines = [f"old {old}"] + [base64.b64encode(item).decode() for item in proof] + ["", ""]
    return "\n".join(lines).encode() + checkpoint.note.data


def read_witness_request(data: bytes) -> tuple[int, list[bytes], Checkpoint]:
    """Old size, consistency proof and (unverified) checkpoint.

    Raises:
        NoteError: malformed.
    """
    first, separator, rest = data.partition(b"\n\n")
    lines = first.decode("ascii", "replace").split("\n")
    match = re.fullmatch(r"old (0|[1-9][0-9]{0,18})", lines[0])
    if not match or not separator:
        raise NoteError("a consistency proof begins with `old` and a size, and an empty line ends it")
    proof = [from_base64(line, "a line of the consistency proof") for line in lines[1:]]
    checkpoint = read_checkpoint(rest)
    if witness_request(int(match[1]), proof, checkpoint) != data:
        raise NoteError("the consistency proof is not in its canonical form, for example its base64")
    return int(match[1]), proof, checkpoint
