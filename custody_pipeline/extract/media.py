"""Media objects → SHA-256 and MD5 of every version.

Belongs here: `media_digests`. Does not: comparing digests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import orjson
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.export_objects import ARCHIVED, Listed, ObjectReader
from custody_pipeline.extract.receipts import FetchFailure, Landing
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.concurrency import in_order

HASHES_IN_FLIGHT = 16


@dataclass(frozen=True)
class ObjectVersion:
    """One version of one object, as listed. Two listings of the same bytes are equal."""

    bucket: str
    object_key: str
    version_id: str | None
    etag: str | None
    last_modified: datetime | None
    object_bytes: int | None

    @property
    def listed(self) -> Listed | None:
        """What tells that the object was written again; None for a named version, which stays."""
        return Listed(self.etag, self.last_modified) if self.version_id in {None, "null"} else None


@dataclass(frozen=True)
class MediaObject:
    """A version to be hashed; `server_sha256` when S3 says that it holds a SHA-256 of the whole object."""

    version: ObjectVersion
    server_sha256: bool = False


@dataclass(frozen=True)
class KnownDigest:
    """A digest taken earlier; `md5` is None where the server's own SHA-256 was taken."""

    sha256: str
    md5: str | None
    method: str
    hashed_at: datetime


def collect_media(
    collector: Collector,
    known: Mapping[ObjectVersion, KnownDigest],
    objects: Sequence[MediaObject],
    cache: MutableMapping[str, str] | None = None,
) -> list[Landing]:
    """Land `media_digests`: one row per object version, hashed now or in an earlier load.

    A version that was hashed before, and is listed again with the same etag, size and time, is not read again: its row
    repeats the earlier digest with its time. A failure is a row with `error`, and a row of `fetch_failures`; so is an
    object that was written again since it was listed.

    Args:
        known: digests of earlier loads.
        cache: keeps each digest as soon as it is computed, so that a killed run is resumed; the caller ends it when the
            digests are loaded.
    """
    kept = cache if cache is not None else {}
    if collector.settings.export_url is None:
        return [collector.not_configured("media_digests", "set CUSTODY_EXPORT_URL")]
    with collector.load("media_digests", asked=len(objects)) as load:
        readers = {
            bucket: ObjectReader(collector.settings, bucket) for bucket in {media.version.bucket for media in objects}
        }

        def digest(media: MediaObject) -> KnownDigest | FetchFailure:
            version = media.version
            if earlier := known.get(version):
                return earlier
            question = orjson.dumps(version).decode()
            if answer := kept.get(question):
                return msgspec.json.decode(answer, type=KnownDigest)
            taken = _taken(collector, readers[version.bucket], media)
            if isinstance(taken, KnownDigest):
                kept[question] = orjson.dumps(taken).decode()
            return taken

        for media, found in in_order(digest, objects, workers=HASHES_IN_FLIGHT):
            version, row = media.version, dict(vars(media.version))
            if isinstance(found, FetchFailure):
                error = (
                    "archived; restore it (InvalidObjectState)" if found.error_code == ARCHIVED else found.error_code
                )
                row |= {"error": error or "unreadable", "hashed_at": None}
                load.add_failure(found)
            else:
                row |= vars(found)
                load.landing.requests += version not in known
            load.add_made({}, f"s3://{version.bucket}/{version.object_key}", row)
    load.landing.fail_if_nothing_was_read(len(objects))
    return [load.landing]


def _taken(collector: Collector, reader: ObjectReader, media: MediaObject) -> KnownDigest | FetchFailure:
    """The server's digest of a version, or one of the bytes that are read now."""
    version = media.version
    if media.server_sha256 and (sha256 := _server_sha256(collector, version)):
        return KnownDigest(sha256, None, "server", utc_now())
    found = reader.digest("media_digests", version.object_key, version.version_id, listed=version.listed)
    if isinstance(found, FetchFailure):
        return found
    if found.size != version.object_bytes is not None:
        message = f"{found.size} bytes, {version.object_bytes} when it was listed; run again"
        return FetchFailure("media_digests", version.object_key, message, permanent=False)
    return KnownDigest(found.sha256, found.md5, "streamed", utc_now())


def _server_sha256(collector: Collector, version: ObjectVersion) -> str | None:
    """The server's SHA-256 of the whole object; None for a composite one (of parts) or none at all."""
    arguments = {"VersionId": version.version_id} if version.version_id not in {None, "null"} else {}
    try:
        head = collector.s3.head_object(
            Bucket=version.bucket,
            Key=version.object_key,
            ChecksumMode="ENABLED",
            **arguments,  # type: ignore[arg-type]
        )
        checksum = head.get("ChecksumSHA256", "")
        if head.get("ContentLength") != version.object_bytes:
            return None
        if (listed := version.listed) and listed.was_replaced_by(head.get("ETag"), head["LastModified"]):
            return None
        # A server that does not state the kind may mean the checksum of the parts' checksums.
        if head.get("ChecksumType") != "FULL_OBJECT" or "-" in checksum:
            return None
        digest = base64.b64decode(checksum, validate=True)
        return digest.hex() if len(digest) == hashlib.sha256().digest_size else None
    except (ClientError, BotoCoreError, binascii.Error):
        return None  # streaming the object finds the cause
