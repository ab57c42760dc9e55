"""`custody doctor`: whether the buckets are there, may be used, keep versions, and honour conditions and locks.

Belongs here: requests to S3 that leave nothing behind, and what its refusals mean. Does not: trying the lock itself
(lock_probe.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.evidence.cut.seal import SEALING
from custody_pipeline.extract.export_keys import parse_key
from custody_pipeline.extract.export_listing import folders_above_years, oldest_night
from custody_pipeline.extract.export_objects import ObjectReader
from custody_pipeline.io.clock import http_date
from custody_pipeline.io.objects import OTHER_TIME, UNKNOWN_IDENTITY, error_code, pages_of
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.operations.doctor_line import Line
from custody_pipeline.operations.endings import without_answer
from custody_pipeline.operations.lock_probe import probe_lock
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_READING = "s3:ListBucket, s3:GetObject"
# S3's codes, and those of answers to HEAD, which have no body to name one.
_DENIED = {"AccessDenied", "403", "Forbidden"}
_ABSENT = {"NoSuchBucket", "404"}
_ELSEWHERE = {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_SYNCHRONISE = "Synchronise this machine's clock."
_CLOCK_TOLERANCE = timedelta(seconds=60)


def export_bucket(settings: Settings) -> Iterator[Line]:
    """The bucket that Genesys Cloud exports to; S3's clock."""
    if settings.export_url is None:
        advice = "export CUSTODY_EXPORT_URL=s3://acme-call-exports"
        yield Line("export bucket", "not ok", "CUSTODY_EXPORT_URL is not set", advice)
        return
    place, client = S3Location.parse(settings.export_url), s3_client(settings)
    try:
        reading = _exports(settings, client, place)
    except (ClientError, BotoCoreError) as error:
        reading = refusal("export bucket", "CUSTODY_EXPORT_URL", _READING, error)
    yield reading
    if reading.state == "not ok":
        return
    yield _versioning(client, place, "export bucket versioning", "CUSTODY_EXPORT_URL")
    versions = _try(
        "export bucket versions", "CUSTODY_EXPORT_URL", lambda: _versions(client, place), "s3:ListBucketVersions"
    )
    # Without this permission the night reads the newest versions, cannot see overwritten or deleted objects, and is
    # not established.
    yield versions if versions.state == "ok" else replace(versions, state="warning")
    yield _first_night(client, place, settings.first_night)
    yield _clock(client, place)


def publish_bucket(settings: Settings, *, probe: bool) -> Iterator[Line]:
    """The published place; `probe`: also try the lock."""
    if settings.publish_url is None:
        advice = "export CUSTODY_PUBLISH_URL=s3://acme-custody/prod"
        yield Line("publish bucket", "not ok", "CUSTODY_PUBLISH_URL is not set", advice)
        return
    place, client = S3Location.parse(settings.publish_url), s3_client(settings)
    listing = _try("publish bucket", "CUSTODY_PUBLISH_URL", lambda: _listed(client, place), _READING)
    yield listing
    if listing.state == "ok":
        yield _versioning(client, place, "publish bucket versioning", "CUSTODY_PUBLISH_URL")
        yield _conditional_writes(client, place, "publish bucket claims", "CUSTODY_PUBLISH_URL")
        yield _lock(client, place, settings)
        if probe:
            yield from _probe(client, place, settings)


def shared_buckets(settings: Settings) -> Iterator[Line]:
    """The places that several workers share."""
    if settings.nights_url is not None:
        client = s3_client(settings)
        nights, landing = S3Location.parse(settings.nights_url), S3Location.parse(settings.landing)
        yield _conditional_writes(client, nights, "nights bucket claims", "CUSTODY_NIGHTS_URL")
        yield _try("landing bucket", "CUSTODY_LANDING_URL", lambda: _listed(client, landing), _READING)


def _conditional_writes(client: S3Client, place: S3Location, check: str, setting: str) -> Line:
    """Whether S3 refuses a write whose condition is false: only then may several homes seal or check in at once."""
    at = place / f"{SEALING}doctor-{uuid4().hex}"
    versions: list[str] = []

    def put(body: bytes, **condition: Any) -> str:
        answer = client.put_object(Bucket=at.bucket, Key=at.key, Body=body, **condition)
        versions.append(answer.get("VersionId", ""))
        return answer.get("ETag", "")

    def refused(**condition: str) -> bool:
        try:
            put(b"again", **condition)
        except ClientError as error:
            if error_code(error) in {"PreconditionFailed", "412"}:
                return True
            raise
        return False

    def remove() -> None:
        """Remove every version; a version that a default retention of the bucket locks is hidden."""
        try:
            for version in versions:
                which: Any = {"VersionId": version} if version else {}
                client.delete_object(Bucket=at.bucket, Key=at.key, **which)
        except ClientError:
            client.delete_object(Bucket=at.bucket, Key=at.key)

    def tried() -> str:
        try:
            first = put(b"first", IfNoneMatch="*")
            second = put(b"second", IfMatch=first)
            kept = refused(IfNoneMatch="*") and refused(IfMatch=first) and second != first
        finally:
            remove()
        return "writes under a condition are honoured" if kept else ""

    line = _try(check, setting, tried, "s3:PutObject and s3:DeleteObject")
    if line.state == "ok" and not line.found:
        advice = "Use an S3 that honours If-Match and If-None-Match: without them two homes can damage the log."
        return Line(check, "not ok", "a write under a condition that does not hold was accepted", advice)
    return line


def _probe(client: S3Client, place: S3Location, settings: Settings) -> Iterator[Line]:
    try:
        yield from probe_lock(client, place, settings.lock_mode or "GOVERNANCE")
    except BotoCoreError as error:
        yield Line("probe", "not ok", *without_answer(error))


def _try(check: str, variable: str, probe: Callable[[], str], permissions: str) -> Line:
    """One request to S3."""
    try:
        return Line(check, "ok", probe())
    except (ClientError, BotoCoreError) as error:
        return refusal(check, variable, permissions, error)


def refusal(check: str, variable: str, permissions: str, error: ClientError | BotoCoreError) -> Line:
    """What an error of S3 means.

    Args:
        variable: the setting that names the place.
        permissions: those that the request needs.
    """
    if isinstance(error, BotoCoreError):
        return Line(check, "not ok", *without_answer(error))
    code = error_code(error)
    advice = f"Look up {code} in the documentation of your S3."
    for codes, action in (
        (_DENIED, f"Allow {permissions} to these credentials; docs/policies has whole policies."),
        (_ABSENT, f"There is no such bucket: create it, or correct {variable}."),
        (UNKNOWN_IDENTITY, "Check the AWS credentials: this S3 does not know them, or they have expired."),
        (OTHER_TIME, _SYNCHRONISE),
        (_ELSEWHERE, "Set CUSTODY_S3_REGION to the bucket's region."),
    ):
        if code in codes:
            advice = action
    return Line(check, "not ok", f"{code}: {error.operation_name}", advice)


def _listed(client: S3Client, place: S3Location) -> str:
    page = next(pages_of(client, "list_objects_v2", Bucket=place.bucket, Prefix=place.folder, MaxKeys=1))
    listed = page.get("Contents", [])
    if not listed:
        return f"{place} can be listed, and is empty"
    client.head_object(Bucket=place.bucket, Key=listed[0]["Key"])
    return f"{place} can be listed and read"


def _exports(settings: Settings, client: S3Client, place: S3Location) -> Line:
    """Whether there are exports, and whether one of them can be read in the night's way."""
    check = "export bucket"
    folders = folders_above_years(client, place)
    above, problem = folders.found, folders.problem
    if problem:
        advice = "Correct CUSTODY_EXPORT_URL, or wait for the first export job of the AWS S3 integration."
        return Line(check, "warning", problem, advice)
    pages = pages_of(client, "list_objects_v2", Bucket=place.bucket, Prefix=f"{above[0]}year=")
    items = (item for page in pages for item in page.get("Contents", []) if item.get("Size"))
    key = next((item["Key"] for item in items if parse_key(item["Key"]).finding != "unsafe_key"), None)
    failure = ObjectReader(settings, place.bucket).probe(key) if key else None
    if failure is not None:
        allow = f"Allow {_READING} and kms:Decrypt to these credentials."
        denied = failure.error_code in _DENIED
        return Line(check, "not ok", failure.message, allow if denied else "Mend that, and run custody doctor again.")
    return Line(check, "ok", f"{place} can be listed and read")


def _first_night(client: S3Client, place: S3Location, first: date | None) -> Line:
    """The first expected night: of the setting, or by the bucket."""
    if first is not None:
        return Line("first night", "ok", f"{first}")
    oldest = oldest_night(client, place)
    if oldest is None:
        advice = "Set CUSTODY_FIRST_NIGHT to the first night that must be there."
        return Line("first night", "not configured", "CUSTODY_FIRST_NIGHT is not set; the bucket has no night", advice)
    found = f"CUSTODY_FIRST_NIGHT is not set; the oldest night in the bucket is {oldest}"
    return Line("first night", "not configured", found, f"export CUSTODY_FIRST_NIGHT={oldest}")


def _versions(client: S3Client, place: S3Location) -> str:
    next(pages_of(client, "list_object_versions", Bucket=place.bucket, Prefix=place.folder, MaxKeys=1))
    return "overwritten and deleted objects can be listed"


def _versioning(client: S3Client, place: S3Location, check: str, variable: str) -> Line:
    def status() -> str:
        return client.get_bucket_versioning(Bucket=place.bucket).get("Status", "off")

    line = _try(check, variable, status, "s3:GetBucketVersioning")
    if line.state != "ok":
        return replace(line, state="warning")
    if line.found == "Enabled":
        return line
    advice = "Turn versioning on: an overwritten recording is otherwise gone without a trace."
    return Line(check, "warning", line.found, advice)


def _lock(client: S3Client, place: S3Location, settings: Settings) -> Line:
    check, wanted = "publish bucket lock", settings.lock_mode or settings.legal_hold
    try:
        found = client.get_object_lock_configuration(Bucket=place.bucket)["ObjectLockConfiguration"]
    except ClientError as error:
        if error_code(error) in _DENIED:
            advice = "Allow s3:GetBucketObjectLockConfiguration, or prove the lock with custody doctor --probe-lock."
            return Line(check, "warning", "may not be asked for", advice)
        found = {}
    except BotoCoreError as error:
        return Line(check, "warning", type(error).__name__, "Run custody doctor again.")
    if found.get("ObjectLockEnabled") == "Enabled":
        return Line(check, "ok", "Enabled")
    if wanted:
        # Sealing would fail at the first cut.
        advice = "Enable Object Lock on the bucket, or unset CUSTODY_LOCK_MODE and CUSTODY_LEGAL_HOLD."
        return Line(check, "not ok", "off, but cuts are to be locked", advice)
    return Line(check, "warning", "off", "Enable Object Lock on the bucket to keep cuts from being deleted.")


def _clock(client: S3Client, place: S3Location) -> Line:
    listing = client.list_objects_v2(Bucket=place.bucket, Prefix=place.folder, MaxKeys=1)
    answer = listing["ResponseMetadata"]["HTTPHeaders"].get("date")
    server = http_date(answer or "")
    if server is None:
        return Line("clock", "warning", "S3 did not say what time it is", "Compare this machine's clock with another.")
    skew = abs(datetime.now(UTC) - server)
    if skew > _CLOCK_TOLERANCE:
        found = f"{skew.total_seconds():.0f} s away from S3's"
        return Line("clock", "not ok", found, _SYNCHRONISE)
    return Line("clock", "ok", f"within {skew.total_seconds():.0f} s of S3's")
