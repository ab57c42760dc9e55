"""Objects of a bucket, removed in all their versions.

Belongs here: versions, their locks, their removal. Does not: which objects (sealed.py, places.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from custody_pipeline.io.concurrency import batches
from custody_pipeline.io.objects import ABSENT, NO_LOCK, error_code, pages_of
from custody_pipeline.io.s3 import S3Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MOST_DELETED = 1_000
_WORKERS = 16


class LockedError(Exception):
    """S3 keeps a version that should be removed. The message says which, and why."""


@dataclass(frozen=True)
class Version:
    """A version of an object, or a delete marker. `written`: when, by the store's clock."""

    bucket: str
    key: str
    version_id: str
    latest: bool
    marker: bool
    written: datetime | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}?versionId={self.version_id}"


@dataclass(frozen=True)
class Hold:
    """A hold on a version. `mode`: GOVERNANCE, COMPLIANCE, or None for a legal hold."""

    version: Version
    mode: str | None
    until: datetime | None

    def __str__(self) -> str:
        if self.mode is None:
            return f"a legal hold on {self.version}, until somebody lifts it"
        return f"an Object Lock retention ({self.mode}) on {self.version} until {self.until:%Y-%m-%d %H:%M} UTC"


def versions_of(client: S3Client, place: S3Location, *, below: bool = False) -> Iterator[Version]:
    """Every version and delete marker of an object, newest first; of all objects below `place` with `below`."""
    prefix = f"{place.key}/" if below and place.key else place.key
    for page in pages_of(client, "list_object_versions", Bucket=place.bucket, Prefix=prefix):
        for kind in ("Versions", "DeleteMarkers"):
            for item in page.get(kind, []):
                if below or item["Key"] == place.key:
                    marker = kind == "DeleteMarkers"
                    names = place.bucket, item["Key"], item["VersionId"]
                    yield Version(*names, bool(item["IsLatest"]), marker, item["LastModified"])


def holds_on(client: S3Client, versions: Iterable[Version], now: datetime) -> list[Hold]:
    """The retentions and legal holds in force. A bucket without Object Lock is asked only once."""
    asked = [version for version in versions if not version.marker]
    locking = {bucket for bucket in {version.bucket for version in asked} if _can_lock(client, bucket)}
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="holds") as pool:
        found = pool.map(
            lambda version: list(_holds_on(client, version, now)),
            [version for version in asked if version.bucket in locking],
        )
        return [hold for holds in found for hold in holds]


def _can_lock(client: S3Client, bucket: str) -> bool:
    try:
        answer = client.get_object_lock_configuration(Bucket=bucket).get("ObjectLockConfiguration", {})
    except ClientError as error:
        return error_code(error) not in NO_LOCK
    return answer.get("ObjectLockEnabled") == "Enabled"


def _holds_on(client: S3Client, version: Version, now: datetime) -> Iterator[Hold]:
    retention = _answer(client.get_object_retention, version, "Retention")
    if retention.get("RetainUntilDate") and retention["RetainUntilDate"] > now:
        yield Hold(version, retention.get("Mode"), retention["RetainUntilDate"])
    hold = _answer(client.get_object_legal_hold, version, "LegalHold")
    if hold.get("Status") == "ON":
        yield Hold(version, None, None)


def _answer(ask: Callable[..., Any], version: Version, name: str) -> dict[str, Any]:
    """S3's answer about a lock; empty if there is no lock or no such version. Any other error is raised."""
    try:
        answer = ask(Bucket=version.bucket, Key=version.key, VersionId=version.version_id)
        return dict(answer.get(name) or {})
    except ClientError as error:
        if error_code(error) in NO_LOCK | ABSENT:
            return {}
        raise


def remove_versions(client: S3Client, versions: Iterable[Version], *, bypass_governance: bool) -> None:
    """Remove versions and delete markers.

    Raises:
        LockedError: S3 keeps one of them.
    """
    extra: dict[str, Any] = {"BypassGovernanceRetention": True} if bypass_governance else {}
    for part in batches(list(versions), _MOST_DELETED):
        objects: list[Any] = [{"Key": item.key, "VersionId": item.version_id} for item in part]
        what: Any = {"Bucket": part[0].bucket, "Delete": {"Objects": objects, "Quiet": True}}
        try:
            answer = client.delete_objects(**what, **extra)
        except ClientError as error:
            # In a bucket without Object Lock, S3 refuses the header, and there is nothing to bypass.
            if not extra or error_code(error) != "InvalidArgument":
                raise
            answer = client.delete_objects(**what)
        # What is gone since it was listed needs no removal.
        if kept := [error for error in answer.get("Errors", []) if error.get("Code") not in ABSENT]:
            first = kept[0]
            raise LockedError(
                f"S3 keeps {len(kept)} versions, the first is s3://{part[0].bucket}/{first.get('Key')}: "
                f"{first.get('Code')}. Allow s3:DeleteObjectVersion, or wait until its lock ends; then custody erase "
                "--resume"
            )
