"""What was exported: the export bucket's objects and sidecars, the recording jobs, the gateway's manifests.

Belongs here: reading them, and deriving from a key what an object is. Does not: digests of media (media.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.extract.documents import MAX_DOCUMENT_BYTES, items_of, text_of, value_of
from custody_pipeline.extract.export_objects import ObjectReader
from custody_pipeline.extract.genesys_errors import FAILED, ShortList, UnexpectedAnswer
from custody_pipeline.extract.receipts import FetchFailure
from custody_pipeline.io.clock import utc
from custody_pipeline.io.concurrency import in_order
from custody_pipeline.io.objects import error_code, pages_of
from custody_pipeline.io.s3 import S3Location, bucket_region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.extract.collector import Collector, Load
    from custody_pipeline.extract.receipts import Landing

JOBS = "/api/v2/recording/jobs"
READS_IN_FLIGHT = 16
_DAY_FOLDERS = ("year", "month", "day")
# How many folders may be above `year=`, and how many folders are searched: a bucket may hold anything.
MAX_DEPTH = 4
MAX_FOLDERS = 1_000

MEDIA_EXTENSIONS = frozenset({"opus", "ogg", "wav", "mp3", "mp4", "webm", "zip", "eml", "pcm", "m4a"})

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_RECORDING = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_NIGHT_KEY = re.compile(
    r"(?:(?P<above>.*)/)?year=(?P<year>\d{4})/month=(?P<month>\d{1,2})/day=(?P<day>\d{1,2})"
    r"(?:/hour=(?P<hour>\d{1,2}))?(?:/conversation_id=(?P<conversation>[^/]*))?/(?P<name>[^/]+)",
    re.DOTALL,
)
_SIDECAR_NAME = re.compile(r"(?P<recording>[^.]+?)(?:\.[A-Za-z0-9]{1,8})?(?:_metadata)?\.json", re.DOTALL)

# Documents beside recordings that describe no recording.
_HELPERS = frozenset({"conversation.json", "manifest.json", "transcript.json"})

Role = Literal["media", "sidecar", "other"]
KeyFinding = Literal["unsafe_key", "bad_conversation_id", "unrecognised"]


class BucketUnreachableError(Exception):
    """The export bucket cannot be listed: nothing of the night's exports can be collected."""


@dataclass(frozen=True)
class ExportKey:
    """The object that a key names. Identifiers are None unless they are safe in a path, a URL or a query.

    An object without a finding is a recording's media, a recording's sidecar, or neither of them (role `other`).
    """

    role: Role
    finding: KeyFinding | None = None
    organization_id: str | None = None
    conversation_id: str | None = None
    recording_id: str | None = None
    extension: str | None = None
    path_date: date | None = None
    path_hour: int | None = None


def is_conversation_id(text: str) -> bool:
    """True for a UUID in its 36-character form, the only form that may enter a URL or a key."""
    return _UUID.fullmatch(text) is not None


def parse_key(key: str) -> ExportKey:
    """Derive from an object's key (within the bucket) what the object is.

    The layout is `{organizationId}/year=Y/month=M/day=D/hour=H/conversation_id={id}/{recordingId}.opus` with its
    sidecar `….opus_metadata.json`, `…_metadata.json` or `….json`; month, day and hour with or without a zero. The
    media's name is the recording's id; an extension is usual, not promised (the vendor's help page of the export).
    """
    if _is_unsafe(key):
        return ExportKey("other", "unsafe_key")
    if key.endswith("/") or _is_helper(key.rpartition("/")[2]):
        return ExportKey("other")
    match = _NIGHT_KEY.fullmatch(key)
    if match is None:
        return ExportKey("other", "unrecognised")
    above = (match["above"] or "").rsplit("/", 1)[-1]
    organization = above if _UUID.fullmatch(above) else None
    try:
        path_date = date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        return ExportKey("other", "unrecognised", organization)
    hour = int(match["hour"]) if match["hour"] is not None else None
    if hour is not None and hour > 23:
        return ExportKey("other", "unrecognised", organization, path_date=path_date)
    role, recording, extension = _parse_name(match["name"])
    conversation, finding = match["conversation"], None
    if conversation is not None and not is_conversation_id(conversation):
        conversation, finding = None, "bad_conversation_id"
    elif conversation is None or role == "other":
        role, recording, extension, finding = "other", None, None, "unrecognised"
    conversation, recording = (name and _as_the_api_writes(name) for name in (conversation, recording))
    return ExportKey(role, finding, organization, conversation, recording, extension, path_date, hour)  # type: ignore[arg-type]


def _as_the_api_writes(name: str) -> str:
    """A UUID in small letters, as in the API's documents; any other name as it is."""
    return name.lower() if _UUID.fullmatch(name) else name


def _is_unsafe(key: str) -> bool:
    segments = key.split("/")
    return (
        any(segment in {"", ".", ".."} for segment in segments[:-1])
        or segments[-1] in {".", ".."}
        or "\\" in key
        or any(ord(character) < 32 or ord(character) == 127 for character in key)
    )


def _is_helper(name: str) -> bool:
    return name in _HELPERS or name.endswith(".custody.json")  # the latter are live capture's links


def _parse_name(name: str) -> tuple[Role, str | None, str | None]:
    if name.endswith(".json"):
        match = _SIDECAR_NAME.fullmatch(name)
        if match and _RECORDING.fullmatch(match["recording"]):
            return "sidecar", match["recording"], None
        return "other", None, None
    if _UUID.fullmatch(name):
        return "media", name, None
    stem, _, extension = name.rpartition(".")
    if extension.lower() in MEDIA_EXTENSIONS and _RECORDING.fullmatch(stem):
        return "media", stem, extension.lower()
    return "other", None, None


# --- the bucket ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prefixes:
    """Prefixes that can hold a night's objects, or folders that hold `year=…` folders.

    Attributes:
        problem: why some or all may be missing; empty if none is.
        remark: what was not searched although some were found.
    """

    found: list[str]
    problem: str = ""
    remark: str = ""


def night_prefixes(s3: S3Client, place: S3Location, night: date) -> Prefixes:
    """Prefixes that can hold the night's objects: for each organisation's folder, padded and unpadded.

    Only folders are listed (with a delimiter), down to the one that holds `year=…`: never the bucket's history.
    """
    days = dict.fromkeys(
        f"year={night.year}/month={month}/day={day}/"
        for month in (f"{night.month}", f"{night.month:02d}")
        for day in (f"{night.day}", f"{night.day:02d}")
    )
    above = folders_above_years(s3, place)
    return replace(above, found=[f"{folder}{day}" for folder in above.found for day in days])


def folders_above_years(s3: S3Client, place: S3Location) -> Prefixes:
    """The folders that hold `year=…` folders."""
    found: list[str] = []
    looked_into, level = 0, [f"{place.key}/" if place.key else ""]
    for _ in range(MAX_DEPTH):
        below: list[str] = []
        for folder in level:
            looked_into += 1
            if looked_into > MAX_FOLDERS:
                return Prefixes(found, f"{place} has more than {MAX_FOLDERS} folders, and the rest was not searched")
            children = _folders_in(s3, place.bucket, folder)
            names = [child[len(folder) :] for child in children]
            if any(name.startswith("year=") for name in names):
                found.append(folder)
            below += [c for c, name in zip(children, names, strict=True) if not name.startswith("year=")]
        level = below
    if not found:
        return Prefixes(found, f"{place} has no year=… folder: nothing was exported there")
    remark = f"{len(level)} folders lie {MAX_DEPTH} levels below {place} and were not searched" if level else ""
    return Prefixes(found, remark=remark)


def oldest_night(s3: S3Client, place: S3Location) -> date | None:
    """The oldest day that has a folder in the bucket; None if none has. Lists the folders on the way to it."""
    return _oldest_below(s3, place.bucket, folders_above_years(s3, place).found, ())


def _oldest_below(s3: S3Client, bucket: str, folders: Sequence[str], above: tuple[int, ...]) -> date | None:
    if len(above) == len(_DAY_FOLDERS):
        try:
            return date(*above)
        except (ValueError, OverflowError):
            return None
    name = re.compile(_DAY_FOLDERS[len(above)] + r"=(\d+)/")
    numbered: dict[int, list[str]] = {}  # padded and unpadded folders of one month, of several organisations
    for folder in folders:
        for child in _folders_in(s3, bucket, folder):
            if match := name.fullmatch(child[len(folder) :]):
                numbered.setdefault(int(match[1]), []).append(child)
    found = (_oldest_below(s3, bucket, children, (*above, number)) for number, children in sorted(numbered.items()))
    return next((night for night in found if night is not None), None)


def _folders_in(s3: S3Client, bucket: str, folder: str) -> list[str]:
    """The folders right below a folder, as whole prefixes."""
    pages = pages_of(s3, "list_objects_v2", Bucket=bucket, Prefix=folder, Delimiter="/")
    return [child["Prefix"] for page in pages for child in page.get("CommonPrefixes", [])]


# S3's codes of a listing of versions that is not allowed, or that the server does not have.
_DENIED, _NOT_OFFERED = "AccessDenied", frozenset({"NotImplemented", "MethodNotAllowed", "501"})


def list_versions(s3: S3Client, bucket: str, prefix: str, refused: set[str]) -> Iterator[dict[str, Any]]:
    """Every version and delete marker under `prefix`, as plain rows.

    Without permission to list versions, or where the server has none, the current objects (`version_id` null). The
    code of the refusal is then added to `refused`.
    """
    try:
        first = True
        for page in pages_of(s3, "list_object_versions", Bucket=bucket, Prefix=prefix):
            first = False
            for version in page.get("Versions", []):
                yield _row(bucket, dict(version), version["VersionId"], is_latest=version["IsLatest"])
            for marker in page.get("DeleteMarkers", []):
                yield _row(bucket, dict(marker), marker["VersionId"], is_latest=marker["IsLatest"], is_marker=True)
    except ClientError as error:
        code = error_code(error)
        if not first or code not in {_DENIED, *_NOT_OFFERED}:
            raise
        refused.add(code)
        for current in pages_of(s3, "list_objects_v2", Bucket=bucket, Prefix=prefix):
            for item in current.get("Contents", []):
                yield _row(bucket, dict(item), None, is_latest=True)


def unseen_versions(s3: S3Client, bucket: str, refused: set[str]) -> tuple[bool, str]:
    """What a listing could not show of overwritten and deleted objects: whether the bucket has it, and a sentence.

    Args:
        refused: S3's codes of the listings of versions that were refused.

    Returns:
        False and a sentence of a bucket that keeps no versions, or may keep none: no right to list would show more.
        True and a sentence if older versions are hidden, or may be. An empty sentence if the listing showed all.
    """
    try:
        status: str = s3.get_bucket_versioning(Bucket=bucket).get("Status", "off")
    except (ClientError, BotoCoreError):
        # A server without the listing keeps no versions that anybody could see.
        status = "off" if refused and refused <= _NOT_OFFERED else "unknown"
    if refused and status != "off":
        codes = ", ".join(sorted(refused))
        return (
            True,
            f"older versions were not shown ({codes}), so overwritten and deleted objects: allow s3:ListBucketVersions",
        )
    if status in {"off", "Suspended"}:
        return False, f"versioning of the bucket is {status.lower()}: what was overwritten or deleted leaves no trace"
    if status == "unknown":
        return False, (
            "whether the bucket keeps versions is not known (allow s3:GetBucketVersioning): without them, what was "
            "overwritten or deleted leaves no trace"
        )
    return False, ""


def _row(
    bucket: str, item: dict[str, Any], version_id: str | None, *, is_latest: bool, is_marker: bool = False
) -> dict[str, Any]:
    modified: datetime = item["LastModified"]
    return {
        "bucket": bucket,
        "object_key": item["Key"],
        "version_id": version_id,
        "is_latest": is_latest,
        "is_delete_marker": is_marker,
        "object_bytes": item.get("Size"),
        "etag": (item.get("ETag") or "").strip('"') or None,
        "last_modified": modified.astimezone(UTC).replace(tzinfo=None),
        "checksum_algorithm": ",".join(item.get("ChecksumAlgorithm") or []) or None,
        "checksum_type": item.get("ChecksumType"),
    }


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
                f"{place} cannot be listed: {error}. The credentials need s3:ListBucket and s3:ListBucketVersions"
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
    exports: dict[str, object] = {}  # what each job states that it could not export
    with collector.load("export_jobs") as jobs:
        try:
            for job_id in _jobs_of_the_night(collector, jobs):
                path = f"{JOBS}/{job_id}"
                try:
                    answer = client.get(path)
                except FAILED as error:
                    jobs.fail(job_id, error)
                    jobs.incomplete = True
                    continue
                jobs.add({"job_id": job_id}, collector.api_uri(path), answer.body)
                exports[job_id] = _stated_failures(answer.body)
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


def _stated_failures(job: bytes) -> object:
    try:
        return value_of(job, "totalFailedRecordings") or 0
    except ValueError:
        return 0  # raw.export_jobs says that the job cannot be read


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
            if not _RECORDING.fullmatch(export_id):
                load.add_failure(FetchFailure("export_manifests", "", "an id in CUSTODY_RECORDINGEXPORTS_IDS is no id"))
                continue
            path = f"/api/v2/recordings/recordingexports/{export_id}"
            try:
                answer = client.get(path, includeMetadata=True)
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
    stated = {name: _number_or_text(manifest, name) for name in ("pageCount", "total", "nextUri", "cursor")}
    more = any(isinstance(stated[name], str) and stated[name] for name in ("nextUri", "cursor"))
    return more or any(
        isinstance(number := stated[name], int) and number > least
        for name, least in (("pageCount", 1), ("total", len(items)))
    )


def _number_or_text(document: bytes, field: str) -> object:
    try:
        return value_of(document, field)
    except ValueError:
        return None  # no object: raw.export_manifests says whether it can be read


def collect_exports(collector: Collector) -> list[Landing]:
    """Land what was exported: bucket objects, their sidecars, jobs, their failures, manifests.

    Raises:
        LoginError: the API refuses the client.
        BucketUnreachableError: the export bucket cannot be listed.
    """
    landings = [] if collector.settings.export_url else _bucket_not_configured(collector)
    if collector.settings.export_url:
        landings += _collect_bucket(collector)
    if collector.client is None:
        return landings + [
            collector.api_not_configured(name) for name in ("export_jobs", "export_failures", "export_manifests")
        ]
    return [*landings, *_collect_jobs(collector), _collect_manifests(collector)]


def _bucket_not_configured(collector: Collector) -> list[Landing]:
    if collector.settings.manifest_source == "bucket":
        collector.settings.require("export_url")
    return [collector.not_configured(name, "set CUSTODY_EXPORT_URL") for name in ("export_objects", "export_sidecars")]
