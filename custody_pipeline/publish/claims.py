"""Who seals next: one object below `sealing/` that only compare-and-swap changes.

Belongs here: the claim and the unsigned bundle in it. Does not: signing and writing what was claimed (sealer.py).

`sealing/head` holds the log's size and root, and the bundle that is being sealed, if one is. A home that wants to seal
a night first puts its files below `sealing/<id>/`, where no other home writes. Then it changes `sealing/head` in three
swaps, each on the condition that the object is still the one that was read (`If-Match`):

1. commit: `pending` becomes the unsigned bundle, which lists the staged files with their digests. The night has its
   place in the log. Nothing is signed before.
2. agree: `agreed` becomes the `cut.json` with its timestamp. Two homes that complete the same bundle would make
   different ones, and only one may be signed.
3. release: `pending` and `agreed` become null, with the log's new size and root.

The winner of the commit, or the next home, does 2 and 3. There is no time limit: a claim ends only when it is
completed.

Anybody who can write to the bucket can write a claim. A home therefore completes only what a home with the log's keys
signed: the bundle together with the head that it extends, and the agreed `cut.json` together with its bundle. These
signed notes begin with `custody-claim/v1`. They state nothing about the log, and no verifier of a set reads them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.manifest import Clock
from custody_pipeline.evidence.cut.seal import CLAIM, SEALING, Agreed, Bundle, Claimed
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.log.note import NoteError, Signer, parse, sign
from custody_pipeline.evidence.reader import CLAIM_BYTES
from custody_pipeline.io.clock import http_date
from custody_pipeline.io.concurrency import batches
from custody_pipeline.io.objects import CHANGED, error_code, get_object, put_bytes, read_up_to
from custody_pipeline.io.s3 import S3Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NOTE = "custody-claim/v1"
_JSON = "application/json"
_SECOND = timedelta(seconds=1)
# The most keys that one DeleteObjects accepts.
_MOST_DELETED = 1_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """The content of `sealing/head`, as it was read.

    Attributes:
        head: of the log, before the pending bundle.
        pending: a bundle that was committed and is not sealed yet.
        agreed: the pending bundle's `cut.json`, once a home has made one.
        clock: of this machine, compared with the store's when the state was read.
        published_etag: of `log/checkpoint`, if it was read and stated the same head.
    """

    head: Head
    pending: Bundle | None
    agreed: Agreed | None
    etag: str
    clock: Clock | None = field(default=None, compare=False)
    published_etag: str | None = field(default=None, compare=False)

    def is_of(self, bundle: Bundle) -> bool:
        """Whether the claim is still for this bundle; bundles are compared by id."""
        return self.pending is not None and self.pending.id == bundle.id


def clock_compared(asked: datetime, date: str, answered: datetime | None = None) -> Clock | None:
    """This machine's clock compared with a server's.

    Args:
        asked: when the server was asked, by this machine's clock.
        date: the `Date` header of its answer: whole seconds, rounded down.
        answered: when the answer arrived; default: now.

    Returns:
        None if the server stated no time.
    """
    told = http_date(date)
    if told is None:
        return None
    # The server answered between the two times: only a date outside of them is a difference.
    ahead, behind = asked - told - _SECOND, told - (answered or datetime.now(UTC))
    return Clock(
        "system", "store", round(max(ahead, timedelta()) / _SECOND) - round(max(behind, timedelta()) / _SECOND)
    )


class SealingError(Exception):
    """The bucket changed unexpectedly. The message says what was found; nothing was overwritten."""


def sign_bundle(bundle: Bundle, head: Head, signers: Sequence[Signer]) -> Bundle:
    """The bundle with the signature of the home that commits it, for the next place after `head` and no other."""
    return msgspec.structs.replace(bundle, signature=sign(_bundle_text(bundle, head), signers).data.decode())


def sign_agreed(agreed: Agreed, bundle: Bundle, signers: Sequence[Signer]) -> Agreed:
    """The agreed `cut.json`, with the signature of the home that made it, for `bundle` and no other."""
    return msgspec.structs.replace(agreed, signature=sign(_agreed_text(agreed, bundle), signers).data.decode())


def _bundle_text(bundle: Bundle, head: Head) -> bytes:
    data = msgspec.json.encode(msgspec.structs.replace(bundle, signature=""))
    return f"{_NOTE}\n{head.origin}\n{head.size} {head.root.hex()}\n{_sha256(data)}  pending\n".encode()


def _agreed_text(agreed: Agreed, bundle: Bundle) -> bytes:
    data = msgspec.json.encode(msgspec.structs.replace(agreed, signature=""))
    return f"{_NOTE}\n{_sha256(bundle.signature.encode())}  pending\n{_sha256(data)}  agreed\n".encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Claims:
    """The claims of one published prefix."""

    client: S3Client
    place: S3Location
    origin: str

    def read(self) -> State | None:
        """The state; None where no home has used claims yet.

        Raises:
            SealingError: the object is no claim.
        """
        at, asked = self.place / CLAIM, datetime.now(UTC)
        answer = get_object(self.client, at)
        if answer is None:
            return None
        data = read_up_to(answer["Body"], CLAIM_BYTES + 1)
        try:
            if len(data) > CLAIM_BYTES:
                raise ValueError(f"more than {CLAIM_BYTES:,} bytes")
            stored = msgspec.json.decode(data, type=Claimed)
            head = Head(self.origin, stored.size, bytes.fromhex(stored.root))
        except (ValueError, RecursionError) as error:
            raise self._foreign(f"this is no claim ({error})") from error
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        return State(head, stored.pending, stored.agreed, answer["ETag"], clock_compared(asked, date))

    def check_bundle(self, bundle: Bundle, head: Head, signers: Sequence[Signer]) -> None:
        """Raise SealingError unless one of the signers' keys signed the bundle for the place after `head`."""
        self._check(bundle.signature, _bundle_text(bundle, head), signers)

    def check_agreed(self, agreed: Agreed, bundle: Bundle, signers: Sequence[Signer]) -> None:
        """Raise SealingError unless one of the signers' keys signed this for `bundle`."""
        self._check(agreed.signature, _agreed_text(agreed, bundle), signers)

    def _check(self, signature: str, text: bytes, signers: Sequence[Signer]) -> None:
        try:
            note = parse(signature.encode())
            note.verified_by([signer.verifier for signer in signers])
        except NoteError as error:
            raise self._foreign(f"no key of this log signed it ({error})") from error
        if note.text != text:
            raise self._foreign("it was signed for something else")

    def _foreign(self, what: str) -> SealingError:
        return SealingError(
            f"{self.place / CLAIM}: {what}; nothing was sealed. Somebody who can write to the bucket may have written "
            "it, or an earlier version of this program: find out, remove the object, then run the night again"
        )

    def begin(self, head: Head) -> None:
        """Create the state for a log that has `head`; another home may have created it meanwhile."""
        self._put(head, None, None, {"IfNoneMatch": "*"})

    def commit(self, state: State, bundle: Bundle) -> State | None:
        """Claim the next place in the log. None: the claim was refused; the state is another one by now."""
        return self._put(state.head, bundle, None, {"IfMatch": state.etag})

    def agree(self, state: State, agreed: Agreed) -> State | None:
        """Propose the pending bundle's `cut.json`. None: refused, as another home did so before or has finished."""
        return self._put(state.head, state.pending, agreed, {"IfMatch": state.etag})

    def release(self, state: State, head: Head) -> None:
        """End the claim of `state`, which is sealed; another home may have ended it already."""
        self._put(head, None, None, {"IfMatch": state.etag})

    def _put(
        self, head: Head, pending: Bundle | None, agreed: Agreed | None, condition: dict[str, Any]
    ) -> State | None:
        data = msgspec.json.encode(Claimed(head.size, head.root.hex(), pending, agreed))
        try:
            put = put_bytes(self.client, data, self.place / CLAIM, ContentType=_JSON, **condition)
        except ClientError as error:
            if error_code(error) in CHANGED:
                return None
            raise
        return State(head, pending, agreed, put.etag)

    def folder(self, bundle_id: str) -> S3Location:
        """Where the files of a bundle are staged."""
        return self.place / f"{SEALING}{bundle_id}"

    def remove(self, bundle: Bundle) -> None:
        """Remove the staged files: they are in the cut by now, or lost their claim."""
        folder = self.folder(bundle.id)
        for files in batches(bundle.draft.files, _MOST_DELETED):
            objects: list[Any] = [{"Key": (folder / file.path).key} for file in files]
            answer = self.client.delete_objects(Bucket=folder.bucket, Delete={"Objects": objects, "Quiet": True})
            # S3 answers 200 even if it kept some objects. The night is sealed in any case.
            if kept := answer.get("Errors"):
                logger.warning("%d staged files stay below %s: %s.", len(kept), folder, kept[0].get("Code"))
