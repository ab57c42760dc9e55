"""Exported audio tied to what was captured: its digest, the newest capture, and the sidecar beside it.

Belongs here: finding a conversation's audio in the export bucket, link documents. Does not: captures themselves.

A recording is usually exported hours after its conversation, so links are made when the capture is (if the audio is
there already) and again for whole days (`AudioLinker.link_day`, called by the nightly run). Each recording is linked
once; its link document says what was known at that moment.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.capture.documents import captures_of, link_key
from custody_pipeline.capture.settings import CaptureSettings
from custody_pipeline.capture.sidecar import SidecarError, presign_put, put_presigned, signing_client
from custody_pipeline.capture.store import DocumentStore
from custody_pipeline.extract.exports import night_prefixes, parse_key
from custody_pipeline.extract.objects import ObjectReader
from custody_pipeline.extract.receipts import FetchFailure
from custody_pipeline.objectstore import S3Location
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Audio:
    """One exported media object."""

    bucket: str
    key: str
    version_id: str | None
    recording_id: str


class AudioLinker:
    """Links recordings of one export bucket."""

    def __init__(
        self,
        s3: S3Client,
        settings: Settings,
        capture: CaptureSettings,
        store: DocumentStore,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Put the parts together.

        Raises:
            SettingsError: no export bucket is set, or sidecars go to an evidence place that is not set.
        """
        self._s3, self._store, self._clock = s3, store, clock
        self._place = S3Location.parse(settings.require("export_url", "s3://acme-exports"))
        self._objects = ObjectReader(settings, self._place.bucket)
        self._sidecars = _sidecar_places(capture)
        self._signer = signing_client(settings)
        self._expires = capture.sidecar_expiry_seconds
        self._prefixes: dict[date, list[str]] = {}

    def link(self, conversation_id: str, start: datetime) -> int:
        """Link the recordings of a conversation whose audio is there; returns how many were newly linked.

        What cannot be linked now stays unlinked for the next time: a capture must not wait for an export bucket.
        """
        linked = 0
        try:
            for audio in self._find(conversation_id, start):
                linked += self._link(conversation_id, start.astimezone(UTC).date(), audio)
        except (SidecarError, BotoCoreError, ClientError) as error:
            reason = str(error) if isinstance(error, SidecarError) else type(error).__name__
            logger.warning("The audio of conversation %s is linked later: %s", conversation_id, reason)
        return linked

    def link_day(self, day: date) -> int:
        """Link what can be linked of every conversation captured on `day`; returns how many recordings were."""
        linked, seen = 0, set[str]()
        for key in captures_of(self._store, day):
            conversation_id = key.split("conversation_id=")[1].partition("/")[0]
            if conversation_id in seen:
                continue
            seen.add(conversation_id)
            document = orjson.loads(self._store.read(key) or b"{}")
            if start := document.get("conversation_start"):
                linked += self.link(conversation_id, datetime.fromisoformat(start).replace(tzinfo=UTC))
        return linked

    def _find(self, conversation_id: str, start: datetime) -> Iterator[Audio]:
        start = start.astimezone(UTC)
        pages = self._s3.get_paginator("list_objects_v2")
        for night in self._night(start.date()):
            for hour in dict.fromkeys((f"{start.hour}", f"{start.hour:02d}")):
                prefix = f"{night}hour={hour}/conversation_id={conversation_id}/"
                for page in pages.paginate(Bucket=self._place.bucket, Prefix=prefix):
                    for item in page.get("Contents", []):
                        parsed = parse_key(item["Key"])
                        if parsed.role == "media" and parsed.recording_id and item["Size"]:
                            yield Audio(self._place.bucket, item["Key"], None, parsed.recording_id)

    def _night(self, day: date) -> list[str]:
        if day not in self._prefixes:
            found = night_prefixes(self._s3, self._place, day)
            if not found:
                return []
            self._prefixes[day] = found
        return self._prefixes[day]

    def _link(self, conversation_id: str, day: date, audio: Audio) -> bool:
        key = link_key(day, conversation_id, audio.recording_id)
        if self._store.read(key) is not None:
            return False
        head = self._s3.head_object(Bucket=audio.bucket, Key=audio.key)
        version = head.get("VersionId")
        digests = self._objects.digest("links", audio.key, version)
        if isinstance(digests, FetchFailure):
            logger.warning("The audio of recording %s cannot be hashed yet.", audio.recording_id)
            return False
        described = {
            "bucket": audio.bucket,
            "key": audio.key,
            "version_id": version,
            "bytes": digests.size,
            "sha256": digests.sha256,
        }
        capture = self._newest_capture(day, conversation_id)
        moment = f"{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%dT%H:%M:%S.%f}"
        fields: dict[str, Any] = {
            "conversation_id": conversation_id,
            "recording_id": audio.recording_id,
            "linked_at": moment,
            "audio": described,
            "capture": capture,
        }
        fields = {"kind": "custody.link/1", **fields, "sidecar": self._put_sidecar(audio, fields)}
        return self._store.create(key, orjson.dumps(fields))

    def _newest_capture(self, day: date, conversation_id: str) -> dict[str, Any] | None:
        keys = list(captures_of(self._store, day, conversation_id))
        content = self._store.read(keys[-1]) if keys else None
        if content is None:
            return None
        document = orjson.loads(content)
        return {
            "uri": self._store.uri(keys[-1]),
            "observed_at": document["observed_at"],
            "conversation_sha256": document["conversation_sha256"],
            "document_sha256": hashlib.sha256(content).hexdigest(),
        }

    def _put_sidecar(self, audio: Audio, fields: Mapping[str, Any]) -> dict[str, str] | None:
        if self._sidecars is None:
            return None
        content = orjson.dumps({"kind": "custody.sidecar/1", **fields})
        where = self._sidecars(audio)
        permission = presign_put(self._signer, where, content, expires_seconds=self._expires)
        return {"uri": str(where), "outcome": put_presigned(permission, content)}


def _sidecar_places(capture: CaptureSettings) -> Callable[[Audio], S3Location] | None:
    """Where each recording's sidecar goes: its folder in the export bucket, or the same key in the evidence place."""
    if capture.sidecar_place == "off":
        return None
    evidence = S3Location.parse(capture.require_sidecar_url()) if capture.sidecar_place == "evidence" else None

    def place(audio: Audio) -> S3Location:
        key = f"{audio.key.rpartition('/')[0]}/{audio.recording_id}.custody.json"
        return evidence / key if evidence else S3Location(audio.bucket, key)

    return place
