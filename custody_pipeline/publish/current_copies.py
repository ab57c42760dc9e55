"""The current copies of a night, below `parquet/`, `csv/`, `spreadsheet/` and `report/`, and `current/date=….json`.

Belongs here: which files of a cut have copies, making and repairing the copies inside S3. Does not: when that is done
(publication.py).

S3 replaces one object at a time, so a reader of five current copies may see files of two revisions. A reader that needs
one revision reads the pointer, and then the files of the cut that it names: those never change.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import orjson

from custody_pipeline.evidence.cut.manifest import (
    CUT_JSON,
    REPORT,
    Completeness,
    Cut,
    CutError,
    CutFile,
    Revision,
    pointer_path,
)
from custody_pipeline.evidence.cut.workbook import WORKBOOK
from custody_pipeline.evidence.reader import POINTER_BYTES, TooLargeError, read
from custody_pipeline.evidence.verify.copies import TOPS
from custody_pipeline.io.objects import Stored, Uploads, copy_object, digest, head, listed, put_bytes
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.tables import COMPRESSED, SUFFIXES, file_name

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONTENT_TYPES: dict[str, str] = {
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv; charset=utf-8",
    WORKBOOK: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".ndjson": "application/x-ndjson",
    ".html": "text/html; charset=utf-8",
    # No Content-Encoding: clients would unpack the file, and its digest would differ from the sealed one.
    ".gz": "application/gzip",
}


@dataclass(frozen=True)
class PublishedFile:
    """A current copy.

    Attributes:
        sha256: hex.
        rows: without the header.
    """

    table_name: str
    format: str
    uri: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Publication:
    """A revision of a night.

    Attributes:
        content_sha256: the next run compares it, to find out whether the content changed.
        complete: the night's claim; None for a night that an earlier version published.
        cut: `s3://…/cut.json` of the revision.
        report: the files of the night's report in the cut.
        changed: False when there was nothing to publish.
        repaired: current copies that were missing or altered, and were put again.
    """

    night: date
    revision: int
    content_sha256: str
    complete: Completeness | None
    files: tuple[PublishedFile, ...]
    cut: str
    cut_sha256: str
    report: tuple[CutFile, ...] = ()
    changed: bool = True
    repaired: tuple[str, ...] = ()


class PointerError(CutError):
    """A file below `current/` is no pointer to a night."""


class NamedFile(msgspec.Struct):
    """A file that a pointer names."""

    table_name: str
    format: str


class Pointer(msgspec.Struct):
    """The content of `current/date=….json`. It is not signed. `complete`: earlier versions wrote true or false."""

    night: date
    revision: Revision
    complete: str | bool | None = None
    files: tuple[NamedFile, ...] = ()


def read_pointer(reader: S3Reader, path: str) -> Pointer:
    """A pointer, whose night is the one in its name.

    Raises:
        PointerError: it is none.
        FileNotFoundError, TargetError: it is missing, or cannot be read.
    """
    try:
        pointer = msgspec.json.decode(read(reader, path, POINTER_BYTES), type=Pointer)
        if path != pointer_path(pointer.night.isoformat()):
            raise ValueError(f"it is of {pointer.night}")
    except (ValueError, RecursionError, TooLargeError) as error:
        what = f"{reader.name}/{path} is no pointer to a night ({error})"
        raise PointerError(f"{what}; run the night again: that writes it") from error
    return pointer


def publication_of(
    cut: Cut, cut_sha256: str, content: str, place: S3Location, night: date, tables: Sequence[str]
) -> Publication:
    """The publication of a sealed cut below `place`; `content` is the content's hash."""
    files = []
    for table, kind, compressed in itertools.product(tables, SUFFIXES, (False, True)):
        name = file_name(table, kind, compressed=compressed)
        found = cut.file(f"data/{name}")
        if found is not None and (kind == "csv" or not compressed):
            uri = str(place / current_key(table, name, night))
            files.append(PublishedFile(table, kind, uri, found.sha256, found.bytes, found.rows or 0))
    at = place / (cut.prefix + CUT_JSON)
    complete = None if isinstance(cut.complete, bool) else cut.complete
    report = tuple(file for file in cut.files if file.path.startswith(REPORT))
    return Publication(night, cut.revision, content, complete, tuple(files), str(at), cut_sha256, report)


def switch(client: S3Client, place: S3Location, publication: Publication, *, only_damaged: bool = False) -> list[str]:
    """Make the current copies those of the publication; `chain_of_custody` last, then the pointer.

    Returns:
        URIs of what was put.
    """
    cut = S3Location.parse(publication.cut.removesuffix(f"/{CUT_JSON}"))

    def copy(name: str, file: PublishedFile | CutFile, to: S3Location) -> Stored | None:
        if only_damaged:
            there = head(client, to)
            if there is not None and there.bytes == file.bytes and digest(client, there) == file.sha256:
                return None
        original = Stored(cut / name, file.sha256, file.bytes, "", None)
        return copy_object(
            client,
            original,
            to,
            ContentType=CONTENT_TYPES[Path(name).suffix],
            Metadata={"sha256": file.sha256, "revision": str(publication.revision)},
        )

    def copy_table(file: PublishedFile) -> Stored | None:
        to = S3Location.parse(file.uri)
        copied = copy(f"data/{Path(to.key).name}", file, to)
        if copied is not None:
            remove_others(client, to)
        return copied

    folder = place / f"{REPORT}date={publication.night}"
    put: list[str] = []
    for last in (False, True):
        with Uploads(client) as uploads:
            copies = [
                (file.uri, uploads.submit(copy_table, file))
                for file in publication.files
                if (file.table_name == "chain_of_custody") == last
            ]
            for page in () if last else publication.report:
                to = folder / page.path.removeprefix(REPORT)
                copies.append((str(to), uploads.submit(copy, page.path, page, to)))
        put += [uri for uri, future in copies if future.result() is not None]
    if publication.revision > 1 and not only_damaged:
        _remove_other_pages(client, place, publication)
    pointer = _pointer(publication)
    at = place / pointer_path(publication.night.isoformat())
    there = head(client, at) if only_damaged else None
    if there is None or digest(client, there) != hashlib.sha256(pointer).hexdigest():
        put_bytes(client, pointer, at, ContentType="application/json")
    return put


def remove_others(client: S3Client, copy: S3Location) -> None:
    """Remove files that earlier settings and versions left beside a CSV: engines read the whole folder."""
    if copy.key.endswith((COMPRESSED, ".csv")):
        folder = f"{copy.key.rpartition('/')[0]}/"
        for key in [found["Key"] for _, found in listed(client, S3Location(copy.bucket, ""), folder)]:
            if key != copy.key:
                client.delete_object(Bucket=copy.bucket, Key=key)


def _remove_other_pages(client: S3Client, place: S3Location, publication: Publication) -> None:
    """Remove files of an earlier revision's report that this one does not have."""
    pages = f"{REPORT}date={publication.night}/"
    kept = {pages + file.path.removeprefix(REPORT) for file in publication.report}
    for path in [entry.path for entry in S3Reader(client, place).list(pages)]:
        if path not in kept:
            at = place / path
            client.delete_object(Bucket=at.bucket, Key=at.key)


def current_key(table: str, name: str, night: date) -> str:
    """Key of the current copy of the file `name`, below the published prefix."""
    top = TOPS[name.removesuffix(COMPRESSED).rpartition(".")[2]]
    return f"{top}/{table}/date={night}/{name}"


def _pointer(publication: Publication) -> bytes:
    document = {
        "night": publication.night.isoformat(),
        "revision": publication.revision,
        "complete": publication.complete,
        "cut": publication.cut,
        "cut_sha256": publication.cut_sha256,
        "files": [asdict(file) for file in publication.files],
    }
    return msgspec.json.format(orjson.dumps(document), indent=1) + b"\n"
