"""The published prefix → a local folder, with every checksum compared.

Belongs here: an exact local copy. Does not: verifying it (evidence/verify).
"""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from custody_pipeline.evidence.cut.manifest import is_safe_path
from custody_pipeline.evidence.reader import Entry
from custody_pipeline.io.objects import UploadError
from custody_pipeline.io.progress import report
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.whole_file import write_whole
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK = 1 << 20


@dataclass(frozen=True)
class CopiedFile:
    """A file of the copy.

    Attributes:
        path: relative to the folder, as the key is to the prefix.
        fetched: False when the folder had it already.
    """

    path: str
    bytes: int
    fetched: bool


def read_back(settings: Settings, destination: Path, *, client: S3Client | None = None) -> list[CopiedFile]:
    """Make `destination` a copy of the published prefix: fetch new files, remove files that are gone.

    Args:
        settings: `CUSTODY_PUBLISH_URL` must be set.
        destination: a folder for this copy alone; made if it is not there.

    Returns:
        Every file of the copy, ordered by path.

    Raises:
        UploadError: bytes arrived that do not have the checksum S3 has for them, or a key cannot be a file's path.
        TargetError: the prefix cannot be listed.
    """
    place = S3Location.parse(settings.require("publish_url"))
    client = client or s3_client(settings)
    destination.mkdir(parents=True, exist_ok=True)
    # Beside the copy, not in it: the copy holds nothing but the files in S3.
    stamps_file = destination.with_name(destination.name + ".read-back.json")
    stamps = _stamps(stamps_file)
    entries = sorted(S3Reader(client, place).list(), key=lambda entry: entry.path)
    wanted = {entry.path for entry in entries}
    folders = {str(folder) for path in wanted for folder in PurePosixPath(path).parents}
    for path in sorted(wanted):
        if not is_safe_path(path) or path in folders:
            raise UploadError(f"{place}: the key {path!r} cannot be a file's path")
    # Before new files are fetched: the name of a file may be that of an old folder, or the reverse.
    for old in sorted(destination.rglob("*"), reverse=True):
        path = old.relative_to(destination).as_posix()
        if old.is_dir() and not old.is_symlink():
            if path not in folders:
                old.rmdir()
        elif path not in wanted:
            old.unlink()

    def copy(entry: Entry) -> CopiedFile:
        target = destination / entry.path
        there = target.is_file() and target.stat().st_size == entry.size and stamps.get(entry.path) == entry.stamp
        if not there:
            _fetch(client, place / entry.path, target)
        return CopiedFile(entry.path, entry.size, not there)

    copied: list[CopiedFile] = []
    with ThreadPoolExecutor(8, thread_name_prefix="read-back") as pool:
        for done, file in enumerate(pool.map(copy, entries)):
            report("reading back", done, len(entries))
            copied.append(file)
    write_whole(stamps_file, msgspec.json.encode({entry.path: entry.stamp for entry in entries}))
    return copied


def _stamps(path: Path) -> dict[str, str]:
    """ETag of each file as it was fetched; none if that is not known."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, ValueError):
        return {}


def _fetch(client: S3Client, at: S3Location, target: Path) -> None:
    answer = client.get_object(Bucket=at.bucket, Key=at.key, ChecksumMode="ENABLED")
    hashed = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{uuid4().hex}.partial")  # the name of no other object
    try:
        with partial.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(_CHUNK):
                hashed.update(chunk)
                file.write(chunk)
        checksum = answer.get("ChecksumSHA256", "")
        expected = base64.b64decode(checksum).hex() if checksum and "-" not in checksum else None
        expected = expected or answer["Metadata"].get("sha256")
        if expected and hashed.hexdigest() != expected:
            raise UploadError(f"{at}: bytes with SHA-256 {hashed.hexdigest()} arrived, {expected} was expected")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
