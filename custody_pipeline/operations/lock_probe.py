"""`custody doctor --probe-lock`: whether the bucket keeps sealed objects, tried on an object of a few bytes.

Belongs here: the probe and the meaning of its answers. Does not: reading the bucket's configuration (bucket_probes.py).

One version of a few bytes stays below `probe/`, hidden by a delete marker and locked for `PROBE_RETENTION`; so does a
delete marker of its own, if these credentials may not delete versions. Nothing stays in a bucket without Object Lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from custody_pipeline.io.objects import error_code
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.operations.doctor_line import Line

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROBE_RETENTION = timedelta(minutes=10)
_BODY = b"custody doctor --probe-lock\n"

LockMode = Literal["GOVERNANCE", "COMPLIANCE"]


def probe_lock(client: S3Client, place: S3Location, mode: LockMode) -> Iterator[Line]:
    """Lock a fresh object in `mode`, then try to overwrite it, to shorten its retention and to delete it.

    Raises:
        botocore.exceptions.BotoCoreError: S3 cannot be reached.
    """
    at = place / f"probe/{uuid.uuid4().hex}"
    where: dict[str, Any] = {"Bucket": at.bucket, "Key": at.key}
    until = datetime.now(UTC) + PROBE_RETENTION
    try:
        locked, version = True, _put(client, where, ObjectLockMode=mode, ObjectLockRetainUntilDate=until)
        yield Line("probe: lock a new object", "ok", f"{at} is locked ({mode})")
    except ClientError as error:
        locked = False
        advice = "Create the bucket with Object Lock, and allow s3:PutObject and s3:PutObjectRetention."
        yield Line("probe: lock a new object", "not ok", error_code(error), advice)
        try:
            version = _put(client, where)
        except ClientError as refused:
            yield Line("probe: write", "not ok", error_code(refused), "Allow s3:PutObject.")
            return
    try:
        yield _refused(
            "overwrite",
            lambda: _put(client, where, IfNoneMatch="*"),
            "The server ignores If-None-Match: seal into a bucket that knows conditional writes.",
        )
        if locked:
            deletes = _may_delete(client, {**where, "Key": f"{at.key}-marker"})
            # A store without versions names none.
            which = where if version is None else {**where, "VersionId": version}
            yield from _against_lock(client, which, mode, until, may_delete=deletes)
    finally:
        _clean_up(client, where, None if locked else version)


def _may_delete(client: S3Client, where: dict[str, Any]) -> bool:
    """Whether a delete marker can be deleted: S3 gives one answer to a lock and a missing permission.

    No lock protects a delete marker; any other version may have the bucket's default retention.
    """
    try:
        client.delete_object(**where, VersionId=client.delete_object(**where).get("VersionId", "null"))
    except ClientError:
        return False
    return True


def _against_lock(
    client: S3Client, which: dict[str, Any], mode: LockMode, until: datetime, *, may_delete: bool
) -> Iterator[Line]:
    shorter: Any = {"Mode": mode, "RetainUntilDate": until - PROBE_RETENTION / 2}
    keeps = "The server does not keep its locks: seal into another bucket."
    yield _refused("shorten the lock", lambda: client.put_object_retention(**which, Retention=shorter), keeps)
    line = _refused("delete the version", lambda: client.delete_object(**which), keeps)
    if line.state == "ok" and not may_delete:
        found = f"{line.found}, and so for a delete marker, which no lock protects: this does not show the lock"
        advice = "Probe with credentials that may delete versions (s3:DeleteObjectVersion)."
        line = Line(line.check, "warning", found, advice)
    yield line
    yield _refused(
        "delete the version, bypassing the lock",
        lambda: client.delete_object(**which, BypassGovernanceRetention=True),
        "Deny s3:BypassGovernanceRetention to everyone, or set CUSTODY_LOCK_MODE=COMPLIANCE.",
    )


def _put(client: S3Client, where: dict[str, Any], **more: Any) -> str | None:
    # Object Lock requires a checksum of the request.
    return client.put_object(**where, Body=_BODY, ChecksumAlgorithm="SHA256", **more).get("VersionId")


def _refused(name: str, attempt: Callable[[], object], advice: str) -> Line:
    check = f"probe: {name}"
    try:
        attempt()
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if 400 <= status < 500:
            return Line(check, "ok", f"refused ({error_code(error)})")
        found = f"the server failed ({error_code(error)})"
        return Line(check, "not ok", found, "Run custody doctor --probe-lock again.")
    return Line(check, "not ok", "the bucket let it happen", advice)


def _clean_up(client: S3Client, where: dict[str, Any], version: str | None) -> None:
    """Hide the probe; remove it if nothing locks it. Without the permission to delete, it stays, and does no harm."""
    with suppress(ClientError):
        if version is not None:
            client.delete_object(**where, VersionId=version)
        else:
            client.delete_object(**where)
