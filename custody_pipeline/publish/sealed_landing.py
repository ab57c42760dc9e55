"""The night's landing files → its cut, unchanged.

Belongs here: which files the night's receipts name, and putting them. Does not: their content (extract/).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.manifest import Receipt
from custody_pipeline.io.objects import Stored, UploadError, Uploads, copy_object, digest, fetch, head, put_file
from custody_pipeline.io.progress import report
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.io.whole_file import sha256_of
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import rows_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class LandingFile:
    """A landing file as its receipt names it.

    Attributes:
        uri: local path or `s3://…`.
        sha256: hex, as computed when it was written.
    """

    uri: str
    sha256: str

    @property
    def path(self) -> str:
        """Its path in the cut."""
        return landing_path(self.uri)


@dataclass(frozen=True)
class NightReceipts:
    """The receipts of the loads that a night's rows were made from, and what they agree on."""

    for_cut: tuple[Receipt, ...]
    files: tuple[LandingFile, ...]
    organization_id: str | None
    collector: str | None
    git_revision: str | None


def landing_of(con: duckdb.DuckDBPyConnection, night: date) -> NightReceipts:
    """The receipts of the loads that are read, and of each resource's newest load, with their landing files.

    If the newest load of a resource failed, its rows are those of the load before, and both receipts are given.
    """
    rows = rows_of(con, query("publish/receipts_of_night"), {"night": night})
    files: list[LandingFile] = []
    receipts: list[Receipt] = []
    for row in rows:
        landed = [LandingFile(file["uri"], file["sha256"]) for file in row["landing_files"] or ()]
        files += landed
        receipts.append(_receipt(row, landed))
    return NightReceipts(
        for_cut=tuple(receipts),
        files=tuple({file.path: file for file in files}.values()),
        organization_id=_one(row["organization_id"] for row in rows),
        collector=_one(row["collector"] for row in rows),
        git_revision=_one(row["git_revision"] for row in rows),
    )


def landing_files(con: duckdb.DuckDBPyConnection, night: date) -> list[tuple[str, str]]:
    """(URI, SHA-256) of the landing files of every load of a night, as the receipts name them."""
    return con.execute(
        "SELECT DISTINCT file.uri, file.sha256 FROM ("
        "SELECT unnest(landing_files) AS file FROM raw.extraction_receipts WHERE partition_date = $night) ORDER BY ALL",
        {"night": night},
    ).fetchall()


def landing_path(uri: str) -> str:
    """`…/<resource>/date=…/<name>` → its path in the cut. Failures have their own folder."""
    resource, _, name = uri.rsplit("/", 3)[1:]
    return f"landing/{resource}/{name}"


def _receipt(row: dict[str, Any], landed: list[LandingFile]) -> Receipt:
    counts = {name: row[name] for name in ("asked", "documents", "rows", "failures", "requests", "retries")}
    return Receipt(
        resource=row["resource"],
        state=row["receipt_state"],
        **counts,
        started_at=rfc3339(row["started_at"]),
        finished_at=rfc3339(row["finished_at"]),
        data_available_until=rfc3339(row["data_available_until"]),
        detail=row["detail"],
        landing=tuple(sorted({file.path for file in landed})),
    )


def _one(values: Any) -> str | None:
    """The known values, sorted and joined by commas; None if there are none."""
    known = sorted({value for value in values if value})
    return ", ".join(known) or None


def rfc3339(moment: datetime | None) -> str | None:
    """A time of the warehouse (UTC without a zone) in the form of cuts, to the microsecond."""
    return None if moment is None else f"{moment.isoformat(timespec='microseconds')}Z"


def put_landing(
    client: S3Client, receipts: NightReceipts, folder: S3Location, previous: S3Location | None
) -> dict[str, Stored]:
    """Stage the landing files of a cut.

    Args:
        folder: a new folder for them.
        previous: the cut of the revision before; a file that it has is copied from there.

    Returns:
        Path within the cut → what is stored.

    Raises:
        UploadError: a file is gone, or its bytes are not those that were received.
    """
    with Uploads(client) as uploads:
        futures = {
            file.path: uploads.submit(_put_one, client, file, folder / file.path, previous and previous / file.path)
            for file in receipts.files
        }
        for done, future in enumerate(futures.values()):
            report("publishing landing files", done, len(futures))
            future.result()
    return {path: future.result() for path, future in futures.items()}


def _put_one(client: S3Client, file: LandingFile, to: S3Location, previous: S3Location | None) -> Stored:
    kept = head(client, previous) if previous else None
    if kept is not None and digest(client, kept) == file.sha256:
        return copy_object(client, Stored(kept.location, file.sha256, kept.bytes, kept.etag, kept.version_id), to)
    with tempfile.TemporaryDirectory() as folder:
        try:
            local = on_this_machine(client, file.uri, Path(folder))
            found = sha256_of(local)
        except (OSError, ClientError) as error:
            raise UploadError(
                f"landing file {file.uri} cannot be read ({type(error).__name__}), and no earlier cut has it; "
                "collect the night again"
            ) from error
        if found != file.sha256:
            raise UploadError(
                f"landing file {file.uri} was altered since it was received: SHA-256 {found}, "
                f"its receipt says {file.sha256}. Collect the night again and find out who wrote to it."
            )
        return put_file(client, local, file.sha256, to, ContentType="application/gzip")


def on_this_machine(client: S3Client, uri: str, folder: Path) -> Path:
    """The file itself if it is on a local disk; otherwise a copy in `folder` of the object in S3."""
    if not uri.startswith("s3://"):
        return Path(uri)
    at, copy = S3Location.parse(uri), folder / "landing"
    fetch(client, at, copy)
    return copy
