"""Objects of the export bucket, many at a time, through obstore.

boto3 reads about 260 small objects a second, with any number of threads. obstore with 8 to 32 requests in flight reads
five times as many, with a quarter of the CPU time.

Belongs here: reading and hashing objects, and what each failure means. Does not: which objects are read, or their
content.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import obstore
from botocore.exceptions import BotoCoreError, ClientError
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

from custody_pipeline.extract.receipts import FetchFailure
from custody_pipeline.io.objects import OTHER_TIME, UNKNOWN_IDENTITY, error_code
from custody_pipeline.io.s3 import s3_client, s3_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client
    from obstore import GetResult

    from custody_pipeline.settings import Settings

ARCHIVED = "InvalidObjectState"
"""S3's code for an object in Glacier that is not restored."""
_UNUSABLE_KEY = {"KMS.DisabledException", "KMS.KMSInvalidStateException", "KMS.NotFoundException"}
"""S3's codes for an object whose KMS key is disabled, will be deleted, or is gone."""
_BUSY = {"KMS.ThrottlingException", "ThrottlingException", "Throttling"}
"""KMS's answer to too many requests, which S3 passes on with the status 400."""
_NO_BUCKET = "<Code>NoSuchBucket</Code>"
"""In the answer of S3, which obstore repeats, but as for an object that is not there."""

_SECOND = timedelta(seconds=1)
_UNREAD = (BaseError, OSError, ValueError)
"""What obstore raises. ValueError: for a key with an empty segment, `.`, `..` or a control character."""

CHUNK_BYTES = 1024 * 1024
WHOLE_BYTES = 4 * CHUNK_BYTES  # one call instead of several, because many threads hash at once


@dataclass(frozen=True)
class Digests:
    """Hashes of all bytes of one object version, lower-case hex, and how many bytes there were."""

    sha256: str
    md5: str | None
    size: int


class Listed(NamedTuple):
    """An object as it was listed: its ETag without quotes, and its last modification, UTC without a zone."""

    etag: str | None
    modified: datetime | None

    def was_replaced_by(self, etag: str | None, modified: datetime) -> bool:
        """Whether an answer is about an object that was written since: another ETag, and of a later second.

        The ETag alone does not decide: some servers list another one than they answer.
        """
        if not self.etag or self.modified is None or (etag or "").strip('"') == self.etag:
            return False
        return modified.astimezone(UTC).replace(tzinfo=None) >= self.modified.replace(microsecond=0) + _SECOND


class ObjectReader:
    """Reads object versions of one bucket; safe to use from several threads."""

    def __init__(self, settings: Settings, bucket: str):
        self._store = s3_store(settings, bucket)
        self._settings, self._bucket = settings, bucket

    def read(self, resource: str, key: str, version_id: str | None, *, most: int) -> bytes | FetchFailure:
        """The whole object, or the failure. An object of more than `most` bytes is a failure; reading stops there."""
        try:
            result = self._get(key, version_id)
            if result.meta["size"] > most:
                return FetchFailure(resource, key, f"{result.meta['size']} bytes; at most {most} are read")
            return bytes(result.bytes())
        except _UNREAD as error:
            return self._failure(resource, key, version_id, error)

    def digest(
        self,
        resource: str,
        key: str,
        version_id: str | None,
        *,
        listed: Listed | None = None,
        md5: bool = True,
        out: BinaryIO | None = None,
    ) -> Digests | FetchFailure:
        """Hash the object while it streams, or return the failure. Only a few chunks are in memory at a time.

        MD5 is for comparison with lists made by others, not for security; it costs more than SHA-256.

        Args:
            listed: an object that was written again since then is a failure.

        Raises:
            OSError: `out` cannot be written.
        """
        sha256, size = hashlib.sha256(), 0
        other = hashlib.md5(usedforsecurity=False) if md5 else None
        for chunk in self._chunks(resource, key, version_id, listed):
            if isinstance(chunk, FetchFailure):
                return chunk
            sha256.update(chunk)
            if other is not None:
                other.update(chunk)
            if out is not None:
                out.write(chunk)
            size += len(chunk)
        return Digests(sha256.hexdigest(), other.hexdigest() if other else None, size)

    def _chunks(
        self, resource: str, key: str, version_id: str | None, listed: Listed | None
    ) -> Iterator[memoryview | FetchFailure]:
        """The object's bytes as they arrive; if they end too early, the failure comes last."""
        size = 0
        try:
            result = self._get(key, version_id, listed)
            if listed and listed.was_replaced_by(result.meta["e_tag"], result.meta["last_modified"]):
                uri = f"s3://{self._bucket}/{key}"
                yield FetchFailure(
                    resource, key, f"{uri}: written again since it was listed; run again", permanent=False
                )
                return
            small = result.meta["size"] <= WHOLE_BYTES
            for chunk in (result.bytes(),) if small else result.stream(min_chunk_size=CHUNK_BYTES):
                view = memoryview(chunk)
                size += len(view)
                yield view
        except _UNREAD as error:
            yield self._failure(resource, key, version_id, error)
            return
        if size != result.meta["size"]:
            yield FetchFailure(resource, key, f"{size} of {result.meta['size']} bytes came; run again", permanent=False)

    def probe(self, key: str) -> FetchFailure | None:
        """Read the first byte of an object that is not empty; returns the failure, if any."""
        try:
            obstore.get_range(self._store, key, start=0, length=1)
        except _UNREAD as error:
            return self._failure("probe", key, None, error)
        return None

    def _get(self, key: str, version_id: str | None, listed: Listed | None = None) -> GetResult:
        if version_id is None:
            return obstore.get(self._store, key)
        # What was put without versioning has the version "null", which not every server accepts in a request. If the
        # bucket keeps versions since then, the key may have a newer version, which S3 names, or a delete marker.
        if version_id == "null":
            with suppress(NotFoundError, FileNotFoundError):
                found = obstore.get(self._store, key)
                named_otherwise = found.meta["version"] not in {None, "null"}
                if not (
                    named_otherwise
                    or (listed and listed.was_replaced_by(found.meta["e_tag"], found.meta["last_modified"]))
                ):
                    return found
        return obstore.get(self._store, key, options={"version": version_id})

    def _failure(self, resource: str, key: str, version_id: str | None, error: Exception) -> FetchFailure:
        uri = f"s3://{self._bucket}/{key}"
        if _NO_BUCKET in str(error):  # says nothing of any object: another S3 may be meant
            what = f"{uri}: this S3 has no such bucket; check CUSTODY_S3_ENDPOINT_URL and CUSTODY_EXPORT_URL"
            return FetchFailure(resource, key, what, None, "NoSuchBucket", False)
        if isinstance(error, NotFoundError | FileNotFoundError):
            return FetchFailure(resource, key, f"{uri}: gone since it was listed; run again", 404, "NoSuchKey", False)
        if isinstance(error, ValueError):
            return FetchFailure(resource, key, f"{uri}: a key of this form cannot be read", None, "UnsafeKey")
        status, code = self._refusal(key, version_id)
        refused = isinstance(error, PermissionDeniedError | UnauthenticatedError)
        if code is None and refused:
            status, code = 403, "AccessDenied"
        for codes, advice, permanent in (
            ({ARCHIVED}, "archived; restore it, then run again", True),
            (UNKNOWN_IDENTITY, "S3 does not know the AWS credentials, or they have expired; renew, run again", False),
            (OTHER_TIME, "synchronise this machine's clock, then run again", False),
            (_BUSY, "KMS gets too many requests; run again", False),
            (_UNUSABLE_KEY, "enable its KMS key, or cancel the key's deletion, then run again", True),
        ):
            if code in codes:
                told = advice if code == ARCHIVED else f"{code}; {advice}"
                return FetchFailure(resource, key, f"{uri}: {told}", status, code, permanent)
        if code is not None:
            what = f"{uri}: {code}; allow s3:GetObject, s3:GetObjectVersion and kms:Decrypt"
            return FetchFailure(resource, key, what, status, code)
        return FetchFailure(resource, key, f"{uri}: {type(error).__name__}; run again", permanent=False)

    def _refusal(self, key: str, version_id: str | None) -> tuple[int | None, str | None]:
        """S3's status and code for a read that it refuses permanently: obstore reports neither."""
        version: Any = {"VersionId": version_id} if version_id not in {None, "null"} else {}
        try:
            self._client.get_object(Bucket=self._bucket, Key=key, Range="bytes=0-0", **version)
        except ClientError as error:
            status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
            return (status, error_code(error)) if status in {400, 403} else (None, None)
        except BotoCoreError:
            pass
        return None, None

    @cached_property
    def _client(self) -> S3Client:
        return s3_client(self._settings)
