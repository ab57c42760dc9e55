"""A prefix in S3 as `custody_pipeline.evidence` reads it.

Belongs here: listing and opening. Does not: what the files mean (evidence/), writing them (io/objects.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO, IOBase
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError
from botocore.response import StreamingBody

from custody_pipeline.evidence.reader import Entry, ObjectLock, TargetError
from custody_pipeline.io.objects import ABSENT, NO_LOCK, error_code, listed, read_up_to
from custody_pipeline.io.s3 import S3Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_IN_MEMORY_BYTES = 8 << 20
_LOCK_HEADERS = ("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus")


class S3Reader:
    """Read access to everything below a prefix (the protocols `evidence.reader.Reader` and `LockReader`)."""

    def __init__(self, client: S3Client, place: S3Location) -> None:
        self._client, self._place, self.name = client, place, str(place)
        self._locks: dict[str, Mapping[str, Any]] = {}

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object whose key continues the prefix with `prefix`."""
        with _explained(self.name):
            for path, found in listed(self._client, self._place, prefix):
                yield Entry(path, found["Size"], found["ETag"])

    def open(self, path: str, version_id: str | None = None) -> BinaryIO:
        """A stream of an object's bytes: of its newest version, unless another one is named."""
        at = self._place / path
        version: Any = {"VersionId": version_id} if version_id not in {None, "null"} else {}
        with _explained(f"{self.name}/{path}", ABSENT):
            answer = self._client.get_object(Bucket=at.bucket, Key=at.key, **version)
            self._locks[path] = {name: answer.get(name) for name in _LOCK_HEADERS}
            if answer["ContentLength"] <= _IN_MEMORY_BYTES:
                return BytesIO(answer["Body"].read())
            return cast("BinaryIO", _Body(answer["Body"], f"{self.name}/{path}"))

    def lock(self, path: str) -> ObjectLock:
        """The lock of an object's newest version.

        A lock is known from reading the object, if there is one. Otherwise S3 is asked. Without the permission to read
        locks, the answer is the same as without a lock.
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
        with _explained(f"{self.name}/{path}"):
            try:
                answer = getattr(self._client, method)(Bucket=at.bucket, Key=at.key)
            except ClientError as error:
                if error_code(error) in NO_LOCK:
                    return {}
                raise
        return answer.get(name) or {}


class _Body(IOBase):
    """The body of an answer. S3's exceptions while it is read are those of a `Reader` as well."""

    def __init__(self, body: StreamingBody, name: str) -> None:
        self._body, self._name = body, name

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int | None = None) -> bytes:
        """The next bytes, or all that are left. Raises TargetError."""
        with _explained(self._name):
            return self._body.read() if size is None or size < 0 else read_up_to(self._body, size)

    def close(self) -> None:
        """Also close the answer."""
        self._body.close()
        super().close()


@contextmanager
def _explained(what: str, absent: Collection[str] = ()) -> Iterator[None]:
    """Turn S3's exceptions into those of a `Reader`; `absent`: codes that mean that there is no such file."""
    try:
        yield
    except ClientError as error:
        if error_code(error) in absent:
            raise FileNotFoundError(what) from error
        raise TargetError(f"{what}: {error}") from error
    except BotoCoreError as error:
        raise TargetError(f"{what}: {error}") from error
