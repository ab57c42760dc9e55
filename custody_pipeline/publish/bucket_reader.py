"""A prefix in S3 as `custody_pipeline.evidence` reads it.

Belongs here: listing and opening. Does not: what the files mean (evidence/), writing them (uploads.py).
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.evidence.reader import Entry, ObjectLock, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.io.s3 import S3Location

_IN_MEMORY_BYTES = 8 << 20
_LOCK_HEADERS = ("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus")
_NO_LOCK = {
    "InvalidRequest",
    "NoSuchObjectLegalHold",
    "NoSuchObjectLockConfiguration",
    "ObjectLockConfigurationNotFoundError",
}


class S3Reader:
    """Read access to everything below a prefix (the protocols `evidence.target.Reader` and `LockReader`)."""

    def __init__(self, client: S3Client, place: S3Location) -> None:
        self._client = client
        self._place = place
        self._locks: dict[str, Mapping[str, Any]] = {}

    @property
    def name(self) -> str:
        """The prefix as an `s3://` URL."""
        return str(self._place)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object whose key continues the prefix with `prefix`."""
        root = f"{self._place.key}/" if self._place.key else ""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._place.bucket, Prefix=root + prefix)
        try:
            for page in pages:
                for found in page.get("Contents", []):
                    yield Entry(found["Key"].removeprefix(root), found["Size"], found["ETag"])
        except (BotoCoreError, ClientError) as error:
            raise TargetError(f"{self.name}: {error}") from error

    def open(self, path: str) -> BinaryIO:
        """A stream of an object's bytes."""
        at = self._place / path
        try:
            answer = self._client.get_object(Bucket=at.bucket, Key=at.key)
            self._locks[path] = {name: answer.get(name) for name in _LOCK_HEADERS}
            if answer["ContentLength"] <= _IN_MEMORY_BYTES:
                return BytesIO(answer["Body"].read())
            return cast("BinaryIO", answer["Body"])
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404", "NotFound"}:
                raise FileNotFoundError(f"{self.name}/{path}") from error
            raise TargetError(f"{self.name}/{path}: {error}") from error
        except BotoCoreError as error:
            raise TargetError(f"{self.name}/{path}: {error}") from error

    def lock(self, path: str) -> ObjectLock:
        """The lock of an object's newest version.

        Reading the object told it already, if there is one. Else it is asked for: whoever may not read locks is told
        nothing, as if there were none.
        """
        seen = self._locks.get(path, {})
        mode, until, hold = (seen.get(name) for name in _LOCK_HEADERS)
        if mode is None or until is None:
            retention = self._ask(path, "get_object_retention", "Retention")
            mode, until = retention.get("Mode"), retention.get("RetainUntilDate")
        if hold is None:
            hold = self._ask(path, "get_object_legal_hold", "LegalHold").get("Status")
        return ObjectLock(mode, until, hold == "ON")

    def _ask(self, path: str, method: str, name: str) -> Mapping[str, Any]:
        at = self._place / path
        try:
            answer = getattr(self._client, method)(Bucket=at.bucket, Key=at.key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _NO_LOCK:
                return {}
            raise TargetError(f"{self.name}/{path}: {error}") from error
        except BotoCoreError as error:
            raise TargetError(f"{self.name}/{path}: {error}") from error
        return answer.get(name) or {}
