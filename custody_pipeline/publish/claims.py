"""Who seals next: one object below `sealing/` that is changed by compare-and-swap alone.

Belongs here: the claim and the unsigned bundle it names. Does not: signing and writing what was claimed (sealer.py).

`sealing/head` holds the log's size and root, and the bundle that is being sealed, if one is. A home that wants to seal
a night first puts its files and an unsigned bundle below `sealing/<id>/`, where nobody else writes. Then it swaps
`pending` from nothing to its id, on the condition that the object is still the one it read (`If-Match`). That swap is
the commit: it fixes the night's place in the log. Nothing is signed before it. The winner, or whoever comes next, then
carries the bundle out; every step of that may be repeated by several homes at once. At the end `pending` becomes
nothing again, with the new size and root. No time limit takes part: a claim ends only when it was carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.seal import SEALING, Draft
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.publish.uploads import put_bytes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from custody_pipeline.io.s3 import S3Location

STATE = SEALING + "head"
BUNDLE = "bundle.json"

_JSON = "application/json"
_LOST = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    size: int
    root: str
    pending: str | None


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A night that is ready to be sealed, before it has a place in the log.

    Attributes:
        draft: what will be in `cut.json`; the files have no object versions yet.
        content_types: path within the cut → content type.
        keys: verifier keys that must sign, the current one first. Another home's keys would give another cut.
    """

    draft: Draft
    content_types: dict[str, str]
    keys: list[str]


@dataclass(frozen=True)
class State:
    """What `sealing/head` says. `pending`: the id of a bundle that was committed and is not carried out yet."""

    head: Head
    pending: str | None
    etag: str


@dataclass(frozen=True)
class Claims:
    """The claims of one published prefix."""

    client: S3Client
    place: S3Location
    origin: str

    def read(self) -> State | None:
        """The state; None where no home has used claims yet."""
        at = self.place / STATE
        try:
            answer = self.client.get_object(Bucket=at.bucket, Key=at.key)
        except ClientError as error:
            if _code(error) in _ABSENT:
                return None
            raise
        stored = msgspec.json.decode(answer["Body"].read(), type=_Stored)
        head = Head(self.origin, stored.size, bytes.fromhex(stored.root))
        return State(head, stored.pending, answer["ETag"])

    def begin(self, head: Head) -> None:
        """Create the state for a log that has `head`; another home may have created it meanwhile."""
        self._put(head, None, {"IfNoneMatch": "*"})

    def commit(self, state: State, bundle_id: str) -> bool:
        """Claim the next place in the log. False: another home was first, and the state is another one."""
        return self._put(state.head, bundle_id, {"IfMatch": state.etag})

    def release(self, state: State, head: Head) -> None:
        """Say that the claim of `state` was carried out; another home may have said so already."""
        self._put(head, None, {"IfMatch": state.etag})

    def _put(self, head: Head, pending: str | None, condition: dict[str, Any]) -> bool:
        data = msgspec.json.encode(_Stored(head.size, head.root.hex(), pending))
        try:
            put_bytes(self.client, data, self.place / STATE, ContentType=_JSON, **condition)
        except ClientError as error:
            if _code(error) in _LOST:
                return False
            raise
        return True

    def folder(self, bundle_id: str) -> S3Location:
        """Where a bundle and its files are staged."""
        return self.place / f"{SEALING}{bundle_id}"

    def put_bundle(self, bundle_id: str, bundle: Bundle) -> None:
        """Put an unsigned bundle; its files are staged already."""
        put_bytes(self.client, msgspec.json.encode(bundle), self.folder(bundle_id) / BUNDLE, ContentType=_JSON)

    def bundle(self, bundle_id: str) -> Bundle:
        """A bundle that was committed."""
        at = self.folder(bundle_id) / BUNDLE
        return msgspec.json.decode(self.client.get_object(Bucket=at.bucket, Key=at.key)["Body"].read(), type=Bundle)

    def remove(self, bundle_id: str) -> None:
        """Remove what was staged; it is in the cut by now, or lost its claim."""
        prefix = self.folder(bundle_id)
        for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=prefix.bucket, Prefix=f"{prefix.key}/"
        ):
            for entry in page.get("Contents", []):
                self.client.delete_object(Bucket=prefix.bucket, Key=entry["Key"])


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
