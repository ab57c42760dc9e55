"""Links from exported audio to captures: the audio's digest, the newest capture, and the sidecar beside the audio.

Belongs here: finding a conversation's audio in the export bucket, link documents. Does not: captures.

A recording is usually exported hours after its conversation. Links are therefore made with the capture, if the audio is
there already, and by the nightly run, after it hashed the night's audio (`AudioLinker.link_hashed`). Each recording is
linked once; its link document states the facts known at that time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.capture.captured import CONVERSATION, captures_of, link_key, readable
from custody_pipeline.capture.sidecar import SIGNATURE, SidecarError, presign_put, put_presigned
from custody_pipeline.extract.export_keys import parse_key
from custody_pipeline.extract.export_listing import night_prefixes
from custody_pipeline.extract.export_objects import ObjectReader
from custody_pipeline.extract.receipts import FetchFailure
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.document_store import DocumentStore
from custody_pipeline.io.objects import listed
from custody_pipeline.io.s3 import S3Location, encryption_headers, s3_client
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Audio:
    """One exported media object; without a digest, its latest version is hashed when it is linked."""

    conversation_id: str
    recording_id: str
    bucket: str
    key: str
    version_id: str | None = None
    bytes: int | None = None
    sha256: str | None = None


class AudioLinker:
    """Links recordings of one export bucket."""

    def __init__(self, s3: S3Client, settings: Settings, store: DocumentStore) -> None:
        """Put the parts together.

        Raises:
            SettingsError: no export bucket is set, or sidecars go to an evidence place that is not set.
        """
        self._s3, self._store = s3, store
        self._place = S3Location.parse(settings.require("export_url"))
        self._objects = ObjectReader(settings, self._place.bucket)
        self._sidecars = _sidecar_places(settings)
        self._signer, self._encryption = s3_client(settings, signature_version=SIGNATURE), encryption_headers(settings)
        self._prefixes: dict[date, list[str]] = {}

    def link(self, conversation_id: str, start: datetime) -> int:
        """Link the recordings of a conversation whose audio is there; returns how many were newly linked.

        A recording that cannot be linked now is left to the next time: a capture must not wait for an export bucket.
        """
        day = start.astimezone(UTC).date()
        try:
            found = list(self._find(conversation_id, start))
        except (BotoCoreError, ClientError) as error:
            logger.warning("The audio of conversation %s is linked later: %s", conversation_id, type(error).__name__)
            return 0
        return sum(self._link_now(day, audio) for audio in found)

    def link_hashed(self, day: date, exported: Iterable[Audio]) -> int:
        """Link recordings whose audio is hashed already, for the nightly run.

        Args:
            day: UTC day on which the conversations began.
            exported: audio with digests; conversations that were not captured are ignored.

        Returns:
            The number of recordings that were newly linked.
        """
        captured = {found[1] for key in captures_of(self._store, day) if (found := CONVERSATION.search(key))}
        return sum(self._link_now(day, audio) for audio in exported if audio.conversation_id in captured)

    def _link_now(self, day: date, audio: Audio) -> bool:
        try:
            return self._link(day, audio)
        except (SidecarError, OSError, BotoCoreError, ClientError) as error:
            reason = str(error) if isinstance(error, SidecarError) else type(error).__name__
            logger.warning("The audio of conversation %s is linked later: %s", audio.conversation_id, reason)
            return False

    def _find(self, conversation_id: str, start: datetime) -> Iterator[Audio]:
        start = start.astimezone(UTC)
        for night in self._night(start.date()):
            for hour in dict.fromkeys((f"{start.hour}", f"{start.hour:02d}")):
                prefix = f"{night}hour={hour}/conversation_id={conversation_id}/"
                for key, item in listed(self._s3, S3Location(self._place.bucket), prefix):
                    parsed = parse_key(key)
                    if parsed.role == "media" and parsed.recording_id and item["Size"]:
                        yield Audio(conversation_id, parsed.recording_id, self._place.bucket, key)

    def _night(self, day: date) -> list[str]:
        if day not in self._prefixes:
            found = night_prefixes(self._s3, self._place, day).found
            if not found:
                return []
            self._prefixes[day] = found
        return self._prefixes[day]

    def _link(self, day: date, audio: Audio) -> bool:
        conversation_id = audio.conversation_id
        key = link_key(day, conversation_id, audio.recording_id)
        if self._store.read(key) is not None:
            return False
        hashed = audio if audio.sha256 else self._hashed(audio)
        if hashed is None:
            logger.warning("The audio of recording %s cannot be hashed yet.", audio.recording_id)
            return False
        described = {name: getattr(hashed, name) for name in ("bucket", "key", "version_id", "bytes", "sha256")}
        capture = self._newest_capture(day, conversation_id)
        fields: dict[str, Any] = {
            "conversation_id": conversation_id,
            "recording_id": audio.recording_id,
            "linked_at": utc_now().isoformat(timespec="microseconds"),
            "audio": described,
            "capture": capture,
        }
        fields = {"kind": "custody.link/1", **fields, "sidecar": self._put_sidecar(audio, fields)}
        return self._store.create(key, orjson.dumps(fields))

    def _hashed(self, audio: Audio) -> Audio | None:
        version = self._s3.head_object(Bucket=audio.bucket, Key=audio.key).get("VersionId")
        digests = self._objects.digest("links", audio.key, version)
        if isinstance(digests, FetchFailure):
            return None
        return replace(audio, version_id=version, bytes=digests.size, sha256=digests.sha256)

    def _newest_capture(self, day: date, conversation_id: str) -> dict[str, Any] | None:
        for key in reversed(list(captures_of(self._store, day, conversation_id))):
            content, document = readable(self._store, key) or (b"", {})
            # An answer that was no conversation is kept, but is no capture.
            if document and document.get("conversation_state", "ok") == "ok":
                return {
                    "uri": self._store.uri(key),
                    "observed_at": document.get("observed_at"),
                    "conversation_sha256": document.get("conversation_sha256"),
                    "document_sha256": hashlib.sha256(content).hexdigest(),
                }
        return None

    def _put_sidecar(self, audio: Audio, fields: Mapping[str, Any]) -> dict[str, str] | None:
        if self._sidecars is None:
            return None
        content = orjson.dumps({"kind": "custody.sidecar/1", **fields})
        where = self._sidecars(audio)
        permission = presign_put(self._signer, where, content, encryption=self._encryption)
        return {"uri": str(where), "outcome": put_presigned(permission, content)}


def _sidecar_places(settings: Settings) -> Callable[[Audio], S3Location] | None:
    """The place of each recording's sidecar: its folder in the export bucket, or the same key in the evidence place."""
    if settings.sidecar_place == "off":
        return None
    evidence = S3Location.parse(settings.require("sidecar_url")) if settings.sidecar_place == "evidence" else None

    def place(audio: Audio) -> S3Location:
        key = f"{audio.key.rpartition('/')[0]}/{audio.recording_id}.custody.json"
        return evidence / key if evidence else S3Location(audio.bucket, key)

    return place
