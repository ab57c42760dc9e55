"""The exports: the export bucket's objects and sidecars, the recording jobs, the gateway's manifests.

Belongs here: collecting them. Does not: listing the bucket (export_listing.py), what a key says (export_keys.py),
digests of media (media.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.extract.collector import Collector, Load
from custody_pipeline.extract.documents import MAX_DOCUMENT_BYTES, items_of, readable_value_of, text_of
from custody_pipeline.extract.export_keys import RECORDING_ID, is_conversation_id, parse_key
from custody_pipeline.extract.export_listing import list_versions, night_prefixes, unseen_versions
from custody_pipeline.extract.export_objects import ObjectReader
from custody_pipeline.extract.genesys_errors import FAILED, ShortList, UnexpectedAnswer
from custody_pipeline.extract.receipts import FetchFailure, Landing
from custody_pipeline.io.clock import utc
from custody_pipeline.io.concurrency import in_order
from custody_pipeline.io.objects import error_code
from custody_pipeline.io.s3 import S3Location, bucket_region

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

JOBS = "/api/v2/recording/jobs"
READS_IN_FLIGHT = 16


class BucketUnreachableError(Exception):
    """The export bucket cannot be listed: nothing of the night's exports can be collected."""


# --- the bucket ------------------------------------------------------------------------------------------------------


def _region(s3: S3Client, bucket: str) -> str | None:
    try:
        return bucket_region(s3, bucket)
    except ClientError as error:
        raise BucketUnreachableError(f"s3://{bucket} answered {error_code(error)}: check CUSTODY_EXPORT_URL") from error
    except BotoCoreError as error:
        raise BucketUnreachableError(
            f"s3://{bucket}: {error}. Check CUSTODY_EXPORT_URL, CUSTODY_S3_ENDPOINT_URL and the AWS credentials"
        ) from error


def _collect_bucket(collector: Collector) -> list[Landing]:
    """List the night's objects, and read their sidecars meanwhile. Only a few sidecars are in memory at a time."""
    place = S3Location.parse(collector.settings.require("export_url"))
    region = _region(collector.s3, place.bucket)
    reader = ObjectReader(collector.settings, place.bucket)
    with collector.load("export_objects") as objects, collector.load("export_sidecars", asked=0) as sidecars:

        def listed() -> Iterator[dict[str, Any]]:
            prefixes = night_prefixes(collector.s3, place, collector.night)
            refused: set[str] = set()
            for prefix in prefixes.found:
                for row in list_versions(collector.s3, place.bucket, prefix, refused):
                    keys = _add_object(objects, row, region)
                    if keys["object_role"] == "sidecar" and row["is_latest"] and not row["is_delete_marker"]:
                        yield {**row, **keys}
            are_hidden, unseen = unseen_versions(collector.s3, place.bucket, refused)
            objects.incomplete = bool(prefixes.problem) or are_hidden
            objects.landing.detail = "; ".join(filter(None, (prefixes.problem, prefixes.remark, unseen))) or None

        def read(row: dict[str, Any]) -> bytes | FetchFailure:
            return reader.read("export_sidecars", row["object_key"], row["version_id"], most=4 * MAX_DOCUMENT_BYTES)

        try:
            for row, content in in_order(read, listed(), workers=READS_IN_FLIGHT):
                _add_sidecar(sidecars, row, content)
        except (ClientError, BotoCoreError) as error:
            raise BucketUnreachableError(
                f"{place} cannot be listed: {str(error).rstrip('.')}. custody doctor says what to do; the credentials "
                "need s3:ListBucket and s3:ListBucketVersions"
            ) from error
    sidecars.landing.fail_if_nothing_was_read(sidecars.landing.asked or 0)
    return [objects.landing, sidecars.landing]


def _add_object(load: Load, row: dict[str, Any], region: str | None) -> dict[str, Any]:
    parsed = parse_key(row["object_key"])
    keys = {
        "bucket_region": region,
        "organization_id": parsed.organization_id,
        "conversation_id": parsed.conversation_id,
        "recording_id": parsed.recording_id,
        "object_role": parsed.role,
        "media_extension": parsed.extension,
        "path_date": parsed.path_date,
        "path_hour": parsed.path_hour,
        "key_finding": parsed.finding,
    }
    load.add_made(keys, f"s3://{row['bucket']}/{row['object_key']}", row)
    return keys


def _add_sidecar(load: Load, row: dict[str, Any], content: bytes | FetchFailure) -> None:
    load.landing.asked = (load.landing.asked or 0) + 1
    load.landing.requests += 1
    if isinstance(content, FetchFailure):
        load.add_failure(content)
        return
    names = ("bucket", "object_key", "version_id", "conversation_id", "recording_id")
    load.add({name: row[name] for name in names}, f"s3://{row['bucket']}/{row['object_key']}", content)


# --- the recording jobs ----------------------------------------------------------------------------------------------


def _inside(document: object, *names: str) -> object:
    """The value at a path of field names; None if one of the fields is missing."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def touches(job: object, start: datetime, end: datetime) -> bool:
    """True when the job's interval overlaps [start, end) (UTC without a zone), or cannot be read."""
    query = _inside(job, "recordingJobsQuery")
    interval = _inside(query, "agedConversationInterval") or _inside(query, "conversationQuery", "interval")
    moments = [utc(part.strip()) for part in str(interval).split("/")]
    first, last = moments if len(moments) == 2 else (None, None)
    # An interval that ends before it begins is none either.
    return first is None or last is None or last < first or (first < end and last > start)


def _is_ours(job: object, integration_id: str | None) -> bool:
    """Jobs of another integration export to another bucket; jobs that delete or archive concern every bucket."""
    query = _inside(job, "recordingJobsQuery")
    named = _inside(query, "integrationId")
    is_named = str(named).strip().lower() == (integration_id or "").strip().lower()
    return integration_id is None or _inside(query, "action") != "EXPORT" or named is None or is_named


def _collect_jobs(collector: Collector) -> list[Landing]:
    client = collector.require_client()
    exports: dict[str, object] = {}  # the recordings that each job states as not exported
    with collector.load("export_jobs") as jobs:
        try:
            for job_id in _jobs_of_the_night(collector, jobs):
                path = f"{JOBS}/{job_id}"
                try:
                    answer = client.whole(path)
                except FAILED as error:
                    jobs.fail(job_id, error)
                    jobs.incomplete = True
                    continue
                jobs.add({"job_id": job_id}, collector.api_uri(path), answer.body)
                # If the job cannot be read, raw.export_jobs says so.
                exports[job_id] = readable_value_of(answer.body, "totalFailedRecordings") or 0
        except FAILED as error:
            jobs.fail("jobs", error)
            jobs.incomplete = True
    with collector.load("export_failures") as failures:
        failures.incomplete = jobs.incomplete  # jobs that are not known were not asked for what failed
        for job_id, stated in exports.items():
            _collect_failed_recordings(collector, failures, job_id, stated)
    return [jobs.landing, failures.landing]


def _jobs_of_the_night(collector: Collector, load: Load) -> Iterator[str]:
    start, end = collector.window
    seen: set[str | None] = set()
    # The vendor does not say whose jobs are listed without this parameter. Any user may have started an export.
    for content in collector.require_client().entities(JOBS, pageSize=100, showOnlyMyJobs=False):
        job_id = text_of(content, "id")
        if job_id is None or not is_conversation_id(job_id):
            load.fail("jobs", UnexpectedAnswer(f"GET {JOBS}", "unexpected shape: a job without an id", body=content))
            load.incomplete = True
            continue
        if job_id in seen:
            continue
        seen.add(job_id)
        try:
            job: object = orjson.loads(content)
        except orjson.JSONDecodeError:
            job = None  # the single read has the error
        if touches(job, start, end) and _is_ours(job, collector.settings.integration_id):
            yield job_id


def _collect_failed_recordings(collector: Collector, load: Load, job_id: str, stated: object) -> None:
    """Land the job's list. It is not whole if it is shorter than the job states, or the job states no number."""
    path = f"{JOBS}/{job_id}/failedrecordings"
    seen: set[bytes] = set()
    try:
        for content in collector.require_client().entities(path, pageSize=100):
            if content not in seen:
                seen.add(content)
                load.add({"job_id": job_id}, collector.api_uri(path), content)
        if not isinstance(stated, int) or stated > len(seen):
            raise ShortList(f"GET {path}", f"{len(seen)} recordings came; the job states {stated}")
    except FAILED as error:
        load.fail(job_id, error)
        load.incomplete = True


# --- the gateway's manifests -----------------------------------------------------------------------------------------


def _collect_manifests(collector: Collector) -> Landing:
    settings = collector.settings
    if settings.manifest_source != "recordingexports":
        return collector.not_configured("export_manifests", "CUSTODY_MANIFEST_SOURCE is not recordingexports")
    client = collector.require_client()
    with collector.load("export_manifests", asked=len(settings.recordingexports_ids)) as load:
        for export_id in settings.recordingexports_ids:
            if not RECORDING_ID.fullmatch(export_id):
                load.add_failure(FetchFailure("export_manifests", "", "an id in CUSTODY_RECORDINGEXPORTS_IDS is no id"))
                continue
            path = f"/api/v2/recordings/recordingexports/{export_id}"
            try:
                answer = client.whole(path, includeMetadata=True)
            except FAILED as error:
                load.fail(export_id, error)
            else:
                load.add({"export_id": export_id}, collector.api_uri(path), answer.body)
                if _goes_on(answer.body):
                    load.fail(export_id, ShortList(answer.request, "the manifest goes on, and has no other page"))
    return load.landing


def _goes_on(manifest: bytes) -> bool:
    """True for a manifest that states more pages or recordings than it has: the interface gives one answer."""
    items = next((items for name in ("entities", "recordings") if (items := items_of(manifest, name))), [])
    stated = {name: readable_value_of(manifest, name) for name in ("pageCount", "total", "nextUri", "cursor")}
    more = any(isinstance(stated[name], str) and stated[name] for name in ("nextUri", "cursor"))
    return more or any(
        isinstance(number := stated[name], int) and number > least
        for name, least in (("pageCount", 1), ("total", len(items)))
    )


def collect_exports(collector: Collector) -> list[Landing]:
    """Land what was exported: bucket objects, their sidecars, jobs, their failures, manifests.

    Raises:
        LoginError: the API refuses the client.
        BucketUnreachableError: the export bucket cannot be listed.
    """
    if collector.settings.export_url or collector.settings.manifest_source == "bucket":
        landings = _collect_bucket(collector)
    else:
        of_bucket = ("export_objects", "export_sidecars")
        landings = [collector.not_configured(name, "set CUSTODY_EXPORT_URL") for name in of_bucket]
    if collector.client is None:
        of_api = ("export_jobs", "export_failures", "export_manifests")
        return landings + [collector.api_not_configured(name) for name in of_api]
    return [*landings, *_collect_jobs(collector), _collect_manifests(collector)]
