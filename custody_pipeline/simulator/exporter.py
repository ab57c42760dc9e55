"""The vendor's exporter: writes a night's recordings into an S3 bucket, with the planted faults.

Belongs here: keys, sidecars, versions and deletions as they appear in the bucket. Does not: making the client and the
bucket, which the caller passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import obstore
import orjson

from custody_pipeline.io.concurrency import batches
from custody_pipeline.simulator import api_documents as documents
from custody_pipeline.simulator.audio import CONTENT_TYPES, media_bytes
from custody_pipeline.simulator.calls import Conversation, Recording
from custody_pipeline.simulator.identity import number, uuid_for
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.structure import ORGANIZATION_ID

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Store

_BATCH = 256
_JSON = "application/json"
_FUTURE = timedelta(days=365 * 73)


@dataclass(frozen=True)
class ExportObject:
    """One step on one key: a body to put, or None to delete the key."""

    key: str
    body: bytes | None
    content_type: str


def export_night(
    organization: Organization,
    s3_client: S3Client,
    bucket: str,
    prefix: str = "",
    store: S3Store | None = None,
    since: datetime | None = None,
) -> int:
    """Write the night's export, as it stands at the organisation's `now`.

    Args:
        s3_client: a boto3 client; several threads use it.
        bucket: an existing bucket; without versioning `OBJECT_CHANGED` and part of `DUPLICATE_EXPORT` leave no trace.
        prefix: before the organisation's folder; no leading slash.
        store: an obstore store of the same bucket; uploads go through it, several times faster than boto3's.
        since: write only the objects exported after this moment, to continue an export of an earlier `now`.

    Returns:
        The bytes of all puts. Writing the same night again puts the same bytes under the same keys; a bucket with
        versions keeps both versions.
    """
    root = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def put(item: ExportObject) -> None:
        if item.body is None:
            s3_client.delete_object(Bucket=bucket, Key=root + item.key)
        elif store is not None:
            obstore.put(store, root + item.key, item.body, attributes={"Content-Type": item.content_type})
        else:
            s3_client.put_object(Bucket=bucket, Key=root + item.key, Body=item.body, ContentType=item.content_type)

    def write(index: int) -> int:
        size = 0
        for item in export_objects(organization.conversation(index), since):
            put(item)
            size += len(item.body or b"")
        return size

    with ThreadPoolExecutor(8, thread_name_prefix="exporter") as pool:
        return sum(sum(pool.map(write, batch)) for batch in batches(range(organization.size), _BATCH))


def folder(conversation: Conversation, *, padded: bool = False) -> str:
    """The folder of a conversation's recordings: UTC of its start, numbers without leading zeros unless `padded`."""
    start = conversation.start
    month, day, hour = (f"{part:02d}" if padded else str(part) for part in (start.month, start.day, start.hour))
    return f"{ORGANIZATION_ID}/year={start.year}/month={month}/day={day}/hour={hour}/conversation_id={conversation.id}/"


def export_objects(conversation: Conversation, since: datetime | None = None) -> Iterator[ExportObject]:
    """The steps of the exporter for one conversation; steps on one key keep their order."""
    for item in conversation.recordings:
        if item.exported_date is not None and (since is None or item.exported_date > since):
            yield from _recording_objects(conversation, item)


def _recording_objects(conversation: Conversation, item: Recording) -> Iterator[ExportObject]:
    variety = number("export-variety", conversation.id) % 100
    padded = variety < 4
    path = folder(conversation, padded=padded)
    media = _media(path, item)
    sidecar = ExportObject(path + _sidecar_name(item, variety), _sidecar_body(conversation, item, variety), _JSON)
    missing = item.faults.get("OBJECT_MISSING")
    if missing is not None:
        if missing == 1:
            yield media
            yield ExportObject(media.key, None, "")
        return
    if "OBJECT_EMPTY" in item.faults:
        media = ExportObject(media.key, b"", media.content_type)
    if "OBJECT_CHANGED" in item.faults:
        yield ExportObject(media.key, media_bytes(f"{item.id} before", item.extension), media.content_type)
    yield media
    has_sidecar = not item.faults.keys() & {"SIDECAR_MISSING", "REGION_MISMATCH"}
    if has_sidecar:
        yield sidecar
    if "DUPLICATE_EXPORT" in item.faults:
        again = path if item.faults["DUPLICATE_EXPORT"] else folder(conversation, padded=not padded)
        yield _media(again, item)
        if has_sidecar:
            yield ExportObject(again + _sidecar_name(item, variety), sidecar.body, _JSON)


def _media(path: str, item: Recording) -> ExportObject:
    return ExportObject(
        f"{path}{item.id}.{item.extension}", media_bytes(item.id, item.extension), CONTENT_TYPES[item.extension]
    )


def _sidecar_name(item: Recording, variety: int) -> str:
    if 10 <= variety < 14:
        return f"{item.id}_metadata.json"
    if 14 <= variety < 16:
        return f"{item.id}.json"
    return f"{item.id}.{item.extension}_metadata.json"


def _sidecar_body(conversation: Conversation, item: Recording, variety: int) -> bytes:
    if conversation.fault is None and variety == 20:
        return orjson.dumps(documents.details(conversation))
    document = documents.sidecar(conversation, item, fraction=variety >= 30)
    if "EXPORT_DROPPED_TAGS" in conversation.faults:
        forms: tuple[tuple[str, object], ...] = (("custom_data", {}), ("customData", None), ("attributes", {}))
        name, value = forms[conversation.faults["EXPORT_DROPPED_TAGS"]]
        document[name] = value
    if "DOCUMENTS_DISAGREE" in item.faults:
        name = ("conversationId", "recordingId")[item.faults["DOCUMENTS_DISAGREE"]]
        document[name] = uuid_for("somebody else's", item.id)
    if "TIMESTAMP_SUSPECT" in item.faults:
        document |= _impossible_times(item)
    body = orjson.dumps(document)
    form = item.faults.get("SIDECAR_UNREADABLE")
    return body if form is None else _unreadable(body, form)


def _impossible_times(item: Recording) -> dict[str, str]:
    """End before start; outside the hour of the path; in the future; without a zone."""
    start, end, form = item.start, item.end, item.faults["TIMESTAMP_SUSPECT"]
    if form == 0:
        start, end = end, start
    elif form == 1:
        start, end = start - timedelta(hours=5), end - timedelta(hours=5)
    elif form == 2:
        start, end = start + _FUTURE, end + _FUTURE
    times = documents.export_time(start), documents.export_time(end)
    if form == 3:
        times = times[0].removesuffix("+0000"), times[1].removesuffix("+0000")
    return {"startTime": times[0], "endTime": times[1]}


def _unreadable(body: bytes, form: int) -> bytes:
    """Empty; cut in the middle; Latin-1; not JSON; JSON of another shape."""
    if form == 0:
        return b""
    if form == 1:
        return body[: len(body) // 2]
    if form == 2:
        return body.replace(b'"Edge"', '"Zürich Edge"'.encode("latin-1"))
    return b"<html><body>503 Service Unavailable</body></html>" if form == 3 else b"[" + body + b"]"
