"""Listing the export bucket: the folders that can hold a night, and every version of the objects in them.

Belongs here: listing no more than a night, and the limits of a listing. Does not: the meaning of an object
(export_keys.py), landing the rows (exports.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.io.objects import error_code, folders_below, pages_of
from custody_pipeline.io.s3 import S3Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mypy_boto3_s3 import S3Client

_DAY_FOLDERS = ("year", "month", "day")
# How many folders may be above `year=`, and how many folders are searched: a bucket may hold anything.
MAX_DEPTH = 4
MAX_FOLDERS = 1_000


@dataclass(frozen=True)
class Prefixes:
    """Prefixes that can hold a night's objects, or folders that hold `year=…` folders.

    Attributes:
        problem: why some or all of them may be missing; empty if none is.
        remark: the places that were not searched although some objects were found.
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
    looked_into, level = 0, [place.folder]
    for _ in range(MAX_DEPTH):
        below: list[str] = []
        for folder in level:
            looked_into += 1
            if looked_into > MAX_FOLDERS:
                return Prefixes(found, f"{place} has more than {MAX_FOLDERS} folders, and the rest was not searched")
            children = folders_below(s3, place.bucket, folder)
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
        for child in folders_below(s3, bucket, folder):
            if match := name.fullmatch(child[len(folder) :]):
                numbered.setdefault(int(match[1]), []).append(child)
    found = (_oldest_below(s3, bucket, children, (*above, number)) for number, children in sorted(numbered.items()))
    return next((night for night in found if night is not None), None)


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
    """The limits of a listing of overwritten and deleted objects: whether the bucket lists versions, and a sentence.

    Args:
        refused: S3's codes of the listings of versions that were refused.

    Returns:
        False and a sentence of a bucket that keeps no versions, or may keep none: no right to list would show more.
        True and a sentence if older versions are hidden, or may be. An empty sentence if the listing showed all.
    """
    try:
        status: str = s3.get_bucket_versioning(Bucket=bucket).get("Status", "off")
    except (ClientError, BotoCoreError):
        # A server without a listing of versions keeps no versions that a client could read.
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
