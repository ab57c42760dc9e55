"""Removing landing files from the landing place, some time after they were sealed in cuts.

Belongs here: deciding which, and removing them. Does not: published files, and files that no cut holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from filelock import FileLock

from custody_pipeline.evidence.cut.manifest import CutError, cut_prefix, read_cut
from custody_pipeline.evidence.log.note import NoteError, Verifier
from custody_pipeline.evidence.reader import TargetError
from custody_pipeline.io.objects import digest, head
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.sealed_landing import landing_files, landing_path
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass
class Tidied:
    """The files that were removed (or would be), and why the others stay.

    Attributes:
        kept: reason → number of files.
    """

    removed: list[str] = field(default_factory=list)
    bytes: int = 0
    kept: Counter[str] = field(default_factory=Counter)


def tidy_landing(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    keys: Sequence[Verifier],
    *,
    now: datetime | None = None,
    client: S3Client | None = None,
    dry_run: bool = False,
    nights: Collection[date] | None = None,
) -> Tidied:
    """Remove landing files of nights whose newest cut was sealed more than `landing_days` days ago, or of `nights`.

    A file is removed only if a cut that one of `keys` signed lists its SHA-256, and the bucket holds those bytes. The
    server's digest of the object is compared, or, if there is none, a digest computed from its bytes.

    Args:
        con: the warehouse; it is only read.
        settings: `CUSTODY_PUBLISH_URL` must be set.
        now: UTC; the clock's if None.
        nights: only these, whenever they were sealed.

    Raises:
        SettingsError: no published place.
        botocore.exceptions.BotoCoreError, ClientError: S3 cannot be reached.
    """
    place = S3Location.parse(settings.require("publish_url"))
    client = client or s3_client(settings)
    before = (now or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None) - timedelta(days=settings.landing_days)
    result = Tidied()
    folder = settings.home.absolute() / "publish"
    folder.mkdir(parents=True, exist_ok=True)
    # A night that is being published reads these files.
    with FileLock(folder / "lock"):
        for night, revisions, published_at in _nights(con):
            if nights is not None and night not in nights:
                continue
            files = [(uri, sha256) for uri, sha256 in landing_files(con, night) if _size(client, uri) is not None]
            if nights is None and published_at > before:
                result.kept["sealed too recently"] += len(files)
                continue
            held = _held(client, place, night, revisions, keys) if files else {}
            for uri, sha256 in files:
                reason = _reason(client, held.get(landing_path(uri)), sha256)
                if reason is not None:
                    result.kept[reason] += 1
                    continue
                result.removed.append(uri)
                result.bytes += _size(client, uri) or 0
                if not dry_run:
                    _remove(client, uri)
    return result


def _nights(con: duckdb.DuckDBPyConnection) -> list[tuple[date, list[int], datetime]]:
    return con.execute(
        "SELECT partition_date, list(DISTINCT revision), max(published_at) FROM raw.publications "
        "GROUP BY partition_date ORDER BY partition_date"
    ).fetchall()


def _held(
    client: S3Client, place: S3Location, night: date, revisions: Sequence[int], keys: Sequence[Verifier]
) -> dict[str, list[tuple[S3Location, str]]]:
    """Path in a cut → its places and digests in signed cuts of the night."""
    reader = S3Reader(client, place)
    held: dict[str, list[tuple[S3Location, str]]] = {}
    for revision in revisions:
        prefix = cut_prefix(night.isoformat(), revision)
        try:
            cut = read_cut(reader, prefix, keys)
        except (FileNotFoundError, TargetError, NoteError, CutError):
            continue  # nothing proves its content; `custody verify` reports the error
        for file in cut.files if cut.prefix == prefix else ():
            held.setdefault(file.path, []).append((place / (prefix + file.path), file.sha256))
    return held


def _reason(client: S3Client, held: list[tuple[S3Location, str]] | None, sha256: str) -> str | None:
    """The reason why a file stays; None if a cut has its bytes."""
    sealed = [at for at, listed in held or () if listed == sha256]
    if not sealed:
        return "in no sealed cut"
    stored = (head(client, at) for at in sealed)
    if any(found is not None and digest(client, found) == sha256 for found in stored):
        return None
    return "listed in a cut, whose copy is gone or altered"


def _size(client: S3Client, uri: str) -> int | None:
    """The file's size; None if it is gone."""
    if uri.startswith("s3://"):
        found = head(client, S3Location.parse(uri))
        return found.bytes if found else None
    path = Path(uri)
    return path.stat().st_size if path.exists() else None


def _remove(client: S3Client, uri: str) -> None:
    if uri.startswith("s3://"):
        at = S3Location.parse(uri)
        client.delete_object(Bucket=at.bucket, Key=at.key)
    else:
        Path(uri).unlink()
