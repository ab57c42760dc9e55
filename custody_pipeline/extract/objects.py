"""Objects of the export bucket, many at a time, through obstore.

boto3 reads about 260 small objects a second whatever the threads; obstore, with 8 to 32 in flight, five times that at a
quarter of the CPU.

Belongs here: reading and hashing objects, and what each failure of that means. Does not: which objects, or what is in
them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

from custody_pipeline.extract.receipts import FetchFailure
from custody_pipeline.io.s3 import s3_store

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult

    from custody_pipeline.settings import Settings

CHUNK_BYTES = 1024 * 1024
WHOLE_BYTES = 4 * CHUNK_BYTES  # one step instead of several, for what is hashed in many threads at once


@dataclass(frozen=True)
class Digests:
    """Hashes of all bytes of one object version, lower-case hex, and how many bytes there were."""

    sha256: str
    md5: str | None
    size: int


class ObjectReader:
    """Reads object versions of one bucket; safe to use from several threads."""

    def __init__(self, settings: Settings, bucket: str):
        self._store = s3_store(settings, bucket)
        self._bucket = bucket

    def read(self, resource: str, key: str, version_id: str | None, *, most: int) -> bytes | FetchFailure:
        """The whole object, or why not. An object of more than `most` bytes is a failure, read no further."""
        try:
            result = self._get(key, version_id)
            if result.meta["size"] > most:
                return FetchFailure(resource, key, f"{result.meta['size']} bytes; at most {most} are read")
            return bytes(result.bytes())
        except (BaseError, OSError) as error:
            return self._failure(resource, key, error)

    def digest(self, resource: str, key: str, version_id: str | None, *, md5: bool = True) -> Digests | FetchFailure:
        """Hash the object while it streams, or say why not. Never more than a few chunks are in memory.

        MD5 serves comparison with other people's lists, not security, and costs more than SHA-256.
        """
        sha256, size = hashlib.sha256(), 0
        other = hashlib.md5(usedforsecurity=False) if md5 else None
        try:
            result = self._get(key, version_id)
            small = result.meta["size"] <= WHOLE_BYTES
            for chunk in (result.bytes(),) if small else result.stream(min_chunk_size=CHUNK_BYTES):
                view = memoryview(chunk)
                sha256.update(view)
                if other is not None:
                    other.update(view)
                size += len(view)
            if size != result.meta["size"]:
                return FetchFailure(
                    resource, key, f"{size} of {result.meta['size']} bytes came; run again", permanent=False
                )
        except (BaseError, OSError) as error:
            return self._failure(resource, key, error)
        return Digests(sha256.hexdigest(), other.hexdigest() if other else None, size)

    def _get(self, key: str, version_id: str | None) -> GetResult:
        # An unversioned bucket lists the version "null", which not every server takes back.
        options: GetOptions = {"version": version_id} if version_id not in {None, "null"} else {}
        return obstore.get(self._store, key, options=options)

    def _failure(self, resource: str, key: str, error: Exception) -> FetchFailure:
        uri = f"s3://{self._bucket}/{key}"
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return FetchFailure(
                resource, key, f"{uri}: access denied; allow s3:GetObject and s3:GetObjectVersion", 403, "AccessDenied"
            )
        if isinstance(error, NotFoundError | FileNotFoundError):
            return FetchFailure(resource, key, f"{uri}: gone since it was listed; run again", 404, "NoSuchKey", False)
        return FetchFailure(resource, key, f"{uri}: {type(error).__name__}; run again", permanent=False)
