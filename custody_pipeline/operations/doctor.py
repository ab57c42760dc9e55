"""`custody doctor`: everything that a night needs, tried against the real services: ok or not, and what to do.

Belongs here: probes that leave nothing behind. Does not: repairs.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError
from filelock import Timeout

from custody_pipeline.alerts import alerted_reasons
from custody_pipeline.evidence.cut.seal import SEALING
from custody_pipeline.evidence.log.keys import SigningKeyError
from custody_pipeline.extract.export_objects import ObjectReader
from custody_pipeline.extract.exports import folders_above_years, oldest_night
from custody_pipeline.extract.gdpr_requests import REQUESTS
from custody_pipeline.extract.genesys import GenesysClient, entities_of
from custody_pipeline.extract.genesys_errors import Forbidden, GenesysError
from custody_pipeline.extract.recordings import RETENTION, retention_pages
from custody_pipeline.io.night_keys import NightKeyError, night_keys_of
from custody_pipeline.io.objects import error_code, pages_of
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.models.mapping_file import MappingError, load_mapping
from custody_pipeline.operations.lock_probe import probe_lock
from custody_pipeline.publish.sealing import TimestampUnavailableError, load_signing_key, timestamper
from custody_pipeline.settings import Settings, SettingsError, load_settings
from custody_pipeline.warehouse.connection import Warehouse, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from mypy_boto3_s3 import S3Client

State = Literal["ok", "warning", "not ok", "not configured"]

# The requests of a night, and the permission for each (from the vendor's API pages).
PERMISSIONS = {
    "/api/v2/recording/jobs": "recording:job:view",
    "/api/v2/analytics/conversations/details/jobs/availability": "analytics:conversationDetail:view",
    "/api/v2/orphanrecordings": "recording:orphan:view",
    "/api/v2/routing/queues": "routing:queue:view",
    "/api/v2/scripts/published": "scripts:publishedScript:view",
}
_READING = "s3:ListBucket, s3:GetObject"
# S3's codes, and those of answers to HEAD, which have no body to name one.
_DENIED = {"AccessDenied", "403", "Forbidden"}
_ABSENT = {"NoSuchBucket", "404"}
_UNKNOWN_IDENTITY = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_ELSEWHERE = {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}

CLOCK_TOLERANCE = timedelta(seconds=60)
MINIMUM_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Line:
    """One line of the report; `advice` says what to do when `state` is not ok."""

    check: str
    state: State
    found: str
    advice: str = ""


def examine(*, probe: bool = False) -> Iterator[Line]:
    """Every line of the report, as soon as it is known.

    Args:
        probe: also try the publish bucket's lock on an object of a few bytes.
    """
    try:
        settings = load_settings()
        alerted_reasons(settings)
    except SettingsError as error:
        for problem in str(error).splitlines():
            yield Line("settings", "not ok", problem, "Correct or unset this variable, and run custody doctor again.")
        return
    yield Line("settings", "ok", "every CUSTODY_… variable is a known setting and has a valid value")
    yield from _home(settings)
    yield from _warehouse(settings)
    yield _mapping(settings)
    yield from _organization(settings)
    yield from _export_bucket(settings)
    yield from _sealing(settings)
    if settings.night_key_file or settings.night_key_kms:
        yield _night_keys(settings)
    yield from _publish_bucket(settings, probe=probe)
    yield from _shared_buckets(settings)


def _home(settings: Settings) -> Iterator[Line]:
    advice = "Set CUSTODY_HOME to a folder you may write."
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        yield Line("home", "not ok", f"{settings.home}: {error.strerror}", advice)
        return
    if not os.access(settings.home, os.W_OK):
        yield Line("home", "not ok", f"{settings.home} is not writable", advice)
        return
    free = shutil.disk_usage(settings.home).free
    found = f"{settings.home}, {free / 1024**3:.1f} GiB free"
    if free < MINIMUM_FREE_BYTES:
        yield Line("home", "warning", found, "Free some space: DuckDB spills to this disk.")
    else:
        yield Line("home", "ok", found)


def _warehouse(settings: Settings) -> Iterator[Line]:
    if settings.nights_url or not settings.warehouse_path.exists() or not os.access(settings.home, os.W_OK):
        return
    try:
        with Warehouse(settings, lock_timeout=0).open(read_only=True):
            yield Line("warehouse", "ok", f"{settings.warehouse_path.name} can be opened")
    except WarehouseError as error:
        if isinstance(error.__cause__, Timeout):
            yield Line("warehouse", "ok", f"a run holds {settings.warehouse_path.name}")
        else:
            advice = "Close the program that has it open, or move a damaged file away and run custody rebuild."
            yield Line("warehouse", "not ok", str(error).split(";")[0], advice)


def _mapping(settings: Settings) -> Line:
    try:
        mapping = load_mapping(settings.mapping_path)
    except (MappingError, OSError) as error:
        return Line("mapping", "not ok", str(error), "Correct the file, or point CUSTODY_MAPPING_PATH at another.")
    return Line("mapping", "ok", f"{settings.mapping_path.name}: {len(mapping.output_columns)} tag columns")


def _organization(settings: Settings) -> Iterator[Line]:
    if not settings.api_configured:
        found = "no API: every answer that needs it will be SOURCE_NOT_CONFIGURED"
        advice = "Set CUSTODY_GENESYS_DOMAIN, CUSTODY_GENESYS_CLIENT_ID and CUSTODY_GENESYS_CLIENT_SECRET."
        yield Line("login", "not configured", found, advice)
        return
    with GenesysClient(settings) as client:
        try:
            identity = client.identity()
        except GenesysError as error:
            yield Line("login", "not ok", str(error), error.advice)
            return
        yield Line("login", "ok", f"{identity} in {identity.organization_name or identity.organization_id}")
        for path, permission in PERMISSIONS.items():
            yield _permission(client, path, permission)
        # Without this permission the night is whole, but erased conversations have no reason of their own.
        erasures = _permission(client, REQUESTS, "gdpr:request:view")
        yield erasures if erasures.state == "ok" else replace(erasures, state="warning")
        yield _list_of_recordings(client, settings.retention_pages)
        yield _divisions(client)


def _permission(client: GenesysClient, path: str, permission: str) -> Line:
    check = f"permission {permission}"
    try:
        client.get(path, pageSize=1)
    except Forbidden:
        return Line(check, "not ok", f"GET {path} is refused", f"Grant {permission} to the OAuth client's role.")
    except GenesysError as error:
        return Line(check, "not ok", str(error), error.advice)
    return Line(check, "ok", f"GET {path}")


def _list_of_recordings(client: GenesysClient, pages: int) -> Line:
    """Whether the list of all recordings can be read, and how soon it has a new recording."""
    check = "list of all recordings"
    if not pages:
        advice = "Unset CUSTODY_RETENTION_PAGES: without the list no night is established."
        return Line(check, "not configured", "CUSTODY_RETENTION_PAGES is 0", advice)
    try:
        threshold, answers = retention_pages(client)
        entities_of(next(answers))
    except Forbidden:
        found, advice = f"GET {RETENTION} is refused", "Grant recording:recording:view to the OAuth client's role."
        return Line(check, "not ok", found, advice)
    except GenesysError as error:
        return Line(check, "not ok", str(error), error.advice)
    if threshold:
        found = f"takes a threshold of {threshold} day and not of 0: a recheck establishes a night after two days"
        return Line(check, "warning", found, "Nothing to do: keep the rechecks on (every_recheck).")
    return Line(check, "ok", "takes a threshold of 0 days: a recheck establishes a night after one day")


def _divisions(client: GenesysClient) -> Line:
    try:
        names = [
            str(item.get("name"))
            for page in client.pages("/api/v2/authorization/divisions", pageSize=100)
            for item in page.json().get("entities", [])
        ]
    except GenesysError as error:
        advice = "Grant authorization:division:view to see which divisions count."
        return Line("divisions", "warning", str(error), advice)
    advice = "" if names else "Give the client's role every division whose calls must be produced."
    return Line("divisions", "ok" if names else "not ok", f"sees {len(names)}: {', '.join(names[:8])}", advice)


def _export_bucket(settings: Settings) -> Iterator[Line]:
    if settings.export_url is None:
        advice = "export CUSTODY_EXPORT_URL=s3://acme-call-exports"
        yield Line("export bucket", "not ok", "CUSTODY_EXPORT_URL is not set", advice)
        return
    place, client = S3Location.parse(settings.export_url), s3_client(settings)
    try:
        reading = _exports(settings, client, place)
    except (ClientError, BotoCoreError) as error:
        reading = _refused("export bucket", "CUSTODY_EXPORT_URL", _READING, error)
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


def _sealing(settings: Settings) -> Iterator[Line]:
    yield _signing_key(settings)
    if settings.timestamp_url is None:
        advice = "Set CUSTODY_TIMESTAMP_URL: only a third party's timestamp says when a night was sealed."
        yield Line("sealing timestamp", "warning", "no timestamp authority", advice)
    else:
        yield _timestamp(settings.timestamp_url)
    hold = ", and a legal hold" if settings.legal_hold else ""
    if settings.lock_mode is None:
        advice = "Set CUSTODY_LOCK_MODE and CUSTODY_LOCK_DAYS: a cut without a retention can be deleted."
        yield Line("sealing lock", "warning", f"no retention{hold}", advice)
    else:
        yield Line("sealing lock", "ok", f"{settings.lock_mode}, {settings.lock_days} days{hold}")


def _night_keys(settings: Settings) -> Line:
    check = "night keys"
    advice = "Correct the setting, or allow kms:Encrypt and kms:Decrypt: until then, nothing is collected or captured."
    try:
        keys = night_keys_of(settings)
        keys.probe()
        known = keys.nights()
    except NightKeyError as error:
        return Line(check, "not ok", str(error), advice)
    except (BotoCoreError, ClientError) as error:
        return _refused(check, "CUSTODY_NIGHT_KEYS_URL", "s3:GetObject, s3:ListBucket and s3:PutObject", error)
    found = f"a key was wrapped and unwrapped; {len(known)} nights have one in {settings.night_keys}"
    if settings.night_keys_url is None:
        return Line(check, "warning", found, "Lost with the home, they are lost for good: set CUSTODY_NIGHT_KEYS_URL.")
    return Line(check, "ok", found)


def _timestamp(url: str) -> Line:
    try:
        timestamper(url)(b"custody doctor\n")
    except TimestampUnavailableError as error:
        found = f"{url} gave no timestamp ({type(error.__cause__).__name__})"
        return Line("sealing timestamp", "not ok", found, "Correct CUSTODY_TIMESTAMP_URL, or allow the way to it.")
    return Line("sealing timestamp", "ok", f"{url} answers")


def _signing_key(settings: Settings) -> Line:
    check, advice = "sealing key", "Make one with custody key new, and set CUSTODY_SIGNING_KEY_FILE."
    try:
        signer = load_signing_key(settings)
        if signer is not None:
            signer.sign(b"custody doctor\n")  # a key in KMS may be readable but not usable
    except SigningKeyError as error:
        return Line(check, "not ok", str(error), advice)
    if signer is None:
        return Line(check, "warning", "none is set: the first night makes one that says DEMO", advice)
    found = f"{signer.verifier.name}, sha256:{signer.verifier.fingerprint}"
    if signer.verifier.demo:
        return Line(check, "warning", found, advice)
    return Line(check, "ok", found)


def _publish_bucket(settings: Settings, *, probe: bool) -> Iterator[Line]:
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


def _shared_buckets(settings: Settings) -> Iterator[Line]:
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
    mode = settings.lock_mode or "GOVERNANCE"
    try:
        for attempt in probe_lock(client, place, mode):
            yield Line(f"probe: {attempt.name}", "ok" if attempt.ok else "not ok", attempt.found, attempt.advice)
    except BotoCoreError as error:
        yield Line("probe", "not ok", type(error).__name__, "Check the AWS credentials and CUSTODY_S3_ENDPOINT_URL.")


def _try(check: str, variable: str, probe: Callable[[], str], permissions: str) -> Line:
    """One request to S3."""
    try:
        return Line(check, "ok", probe())
    except (ClientError, BotoCoreError) as error:
        return _refused(check, variable, permissions, error)


def _refused(check: str, variable: str, permissions: str, error: ClientError | BotoCoreError) -> Line:
    if isinstance(error, BotoCoreError):
        return Line(check, "not ok", type(error).__name__, "Check the AWS credentials and CUSTODY_S3_ENDPOINT_URL.")
    code = error_code(error)
    advice = f"Look up {code} in the documentation of your S3."
    for codes, action in (
        (_DENIED, f"Allow {permissions} to these credentials; docs/policies has whole policies."),
        (_ABSENT, f"There is no such bucket: create it, or correct {variable}."),
        (_UNKNOWN_IDENTITY, "Check the AWS credentials: this S3 does not know them, or they have expired."),
        (_ELSEWHERE, "Set CUSTODY_S3_REGION to the bucket's region."),
    ):
        if code in codes:
            advice = action
    return Line(check, "not ok", f"{code}: {error.operation_name}", advice)


def _below(place: S3Location) -> str:
    """The prefix that the night lists: credentials may be limited to it."""
    return f"{place.key}/" if place.key else ""


def _listed(client: S3Client, place: S3Location) -> str:
    page = next(pages_of(client, "list_objects_v2", Bucket=place.bucket, Prefix=_below(place), MaxKeys=1))
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
    key = next((item["Key"] for page in pages for item in page.get("Contents", []) if item.get("Size")), None)
    failure = ObjectReader(settings, place.bucket).probe(key) if key else None
    if failure is not None:
        return Line(check, "not ok", failure.message, f"Allow {_READING} and kms:Decrypt to these credentials.")
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
    next(pages_of(client, "list_object_versions", Bucket=place.bucket, Prefix=_below(place), MaxKeys=1))
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
    listing = client.list_objects_v2(Bucket=place.bucket, Prefix=_below(place), MaxKeys=1)
    answer = listing["ResponseMetadata"]["HTTPHeaders"].get("date")
    if answer is None:
        return Line("clock", "warning", "S3 did not say what time it is", "Compare this machine's clock with another.")
    server = datetime.strptime(answer, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    skew = abs(datetime.now(UTC) - server)
    if skew > CLOCK_TOLERANCE:
        found = f"{skew.total_seconds():.0f} s away from S3's"
        return Line("clock", "not ok", found, "Synchronise this machine's clock.")
    return Line("clock", "ok", f"within {skew.total_seconds():.0f} s of S3's")
