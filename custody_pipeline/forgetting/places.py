"""Places with data of conversations besides warehouse and cuts: captures, spool, sidecars, copies.

Belongs here: finding and removing data there. Does not: rows (warehouse_rows.py), sealed files (sealed.py).
"""

from __future__ import annotations

import gzip
import lzma
import sqlite3
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, TYPE_CHECKING

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.extract.erased import names_any
from custody_pipeline.forgetting.object_versions import remove_versions, versions_of
from custody_pipeline.forgetting.warehouse_rows import packaged_elsewhere
from custody_pipeline.io.clock import night_in
from custody_pipeline.io.concurrency import in_order
from custody_pipeline.io.escaping import escaped
from custody_pipeline.io.night_keys import NightForgottenError
from custody_pipeline.io.objects import folders_below, listed
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.io.whole_file import found_in, remove_folder
from custody_pipeline.matters.register import Register, Volume, acted_for, register_of
from custody_pipeline.operations.package_register import packages_of, remove_abandoned, remove_package
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LISTED_AT_ONCE = 8
CAPTURE_KINDS = ("captures", "events", "links", "claims")
_SCRATCH = ("interrupted", "publish", "reports", "dlt", "landing-spools", "spill", "rebuild", "sheets")
"""Folders of the home whose files are made again when needed."""

_ELSEWHERE = ("dagster", "erasures", "keys", "matters", "package-register", "published", "s3")
"""Folders of the home that hold only ids, or that another step handles."""

_DATABASES = {".duckdb", ".db", ".sqlite"}
"""Files whose content only their own program can read."""

_PACKED = (
    b"7z\xbc\xaf\x27\x1c", b"BZh", b"%PDF-", b"CPN1", b"PAR1", b"PK\x03\x04", b"Rar!", b"\x04\x22\x4d\x18",
    b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xd0\xcf\x11\xe0", b"\xfd7zXZ",
)  # fmt: skip
"""The beginnings of packed or encrypted content, in which an id would not be found."""

_CHUNK = 16 << 20
_OVERLAP = 512


_STATES = {
    "here": "the folder is here and goes",
    "removed": "the folder was removed from here before",
    "gone": "not there any more: look where it was moved to",
    "altered": "what is there is not what was made: look at it; it stays",
}


class DamagedLinkError(Exception):
    """A link document cannot be read. The message names it, and says what to do."""


@dataclass(frozen=True)
class Place:
    """A place with data.

    Attributes:
        kind: `warehouse`, `landing`, `cut`, `current`, `capture`, `spool`, `sidecar`, `audio`, `production`,
            `package`, `file`.
    """

    kind: str
    where: str
    items: int = 1
    note: str = ""


# --- captures ---------------------------------------------------------------------------------------------------------


def capture_keys(settings: Settings, client: S3Client, ids: Set[str]) -> Iterator[str]:
    """Keys of capture documents of these conversations, of every night.

    An event that does not say when its call began lies under the day of the event itself, which may be any.
    """
    return (key for key in captured_keys(settings, client, None) if _conversation_of(key) in ids)


def captured_keys(settings: Settings, client: S3Client, nights: Set[str] | None) -> Iterator[str]:
    """Keys of all capture documents of these nights; None: of every night."""
    if settings.captures.startswith("s3://"):
        yield from _in_bucket(client, S3Location.parse(settings.captures), nights)
        return
    root = Path(settings.captures)
    for folder in _folders({"*"} if nights is None else nights):
        yield from (path.relative_to(root).as_posix() for path in found_in(root, f"{folder}*/*"))


def _in_bucket(client: S3Client, root: S3Location, nights: Set[str] | None) -> Iterator[str]:
    if nights is None:
        whole = [one for kind in CAPTURE_KINDS for one in folders_below(client, root.bucket, f"{root.folder}{kind}/")]
        folders = [one.removeprefix(root.folder) for one in whole]
    else:
        folders = _folders(nights)

    def keys_below(folder: str) -> list[str]:
        return [key for key, _ in listed(client, root, folder)]

    for _, keys in in_order(keys_below, folders, workers=_LISTED_AT_ONCE):
        yield from keys


def _folders(nights: Set[str]) -> list[str]:
    return [f"{kind}/date={night}/" for kind in CAPTURE_KINDS for night in sorted(nights)]


def captured_by_night(settings: Settings, client: S3Client) -> dict[date, set[str]]:
    """Night → conversations of its capture documents; an event may lie under the day after its conversation."""
    found: dict[date, set[str]] = {}
    for key in captured_keys(settings, client, None):
        if (night := night_in(key.split("/")[1])) is not None:
            found.setdefault(night, set()).add(_conversation_of(key))
    return found


def _conversation_of(key: str) -> str:
    return key.split("conversation_id=")[-1].partition("/")[0].lower()


def sidecars_of(settings: Settings, client: S3Client, keys: list[str]) -> list[str]:
    """URIs of the sidecars that were written beside audio or into the evidence place, by the link documents."""
    found, store = [], capture_place(settings, client)
    for key in keys:
        if not key.startswith("links/"):
            continue
        with suppress(NightForgottenError):  # the place of the sidecar cannot be read any more
            try:
                sidecar = orjson.loads(store.read(key) or b"{}").get("sidecar")
            except (ValueError, AttributeError) as error:
                raise DamagedLinkError(
                    f"{store.uri(key)} is not as it was written, so the place of a sidecar is not known: look at it, "
                    "remove the sidecar, move the file away, and run the command again"
                ) from error
            if isinstance(sidecar, dict) and sidecar.get("uri"):
                found.append(sidecar["uri"])
    return found


def remove_captures(settings: Settings, client: S3Client, keys: list[str], *, bypass_governance: bool = False) -> None:
    """Remove capture documents, in all versions."""
    for key in keys:
        if settings.captures.startswith("s3://"):
            found = versions_of(client, S3Location.parse(settings.captures) / key)
            remove_versions(client, found, bypass_governance=bypass_governance)
        else:
            path = Path(settings.captures, key)
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()


# --- spool ------------------------------------------------------------------------------------------------------------


def spooled(settings: Settings, ids: Set[str]) -> int:
    """The number of events of these conversations whose bodies are still in the local spool."""
    if not settings.spool_path.exists():
        return 0
    with closing(sqlite3.connect(settings.spool_path)) as database:
        rows = database.execute("SELECT conversation_id FROM events WHERE length(body) > 0").fetchall()
    return sum(str(row[0]).lower() in ids for row in rows)


def remove_spooled(settings: Settings, ids: Set[str]) -> None:
    """Forget the bodies of events, remember their ids, and write the file again: SQLite keeps freed pages."""
    if not settings.spool_path.exists():
        return
    with closing(sqlite3.connect(settings.spool_path, timeout=60, isolation_level=None)) as database:
        found = database.execute("SELECT seq, conversation_id FROM events").fetchall()
        gone = [(seq,) for seq, name in found if str(name).lower() in ids]
        database.execute("BEGIN IMMEDIATE")
        database.executemany(
            "UPDATE events SET state = 'done', body = x'', receipt = NULL, reason = NULL, "
            "done_at = coalesce(done_at, received_at) WHERE seq = ?",
            gone,
        )
        database.execute("COMMIT")
        # Handled events of any conversation leave their bodies in free pages, too.
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# --- productions ------------------------------------------------------------------------------------------------------


def productions(settings: Settings, ids: Set[str]) -> Iterator[Place]:
    """Volumes that hold these conversations, and to whom they were handed."""
    for register, volume, number in _volumes_with(settings, ids):
        given = "; ".join(register.handovers(volume))
        note = f"{given}: nobody can call that back from here" if given else "not handed over"
        told = f"{volume.name} of matter {register.folder.name}; {note}; {_STATES[volume.state()]}"
        yield Place("production", volume.folder, number, told)


def _volumes_with(settings: Settings, ids: Set[str]) -> Iterator[tuple[Register, Volume, int]]:
    """Volumes that hold these conversations, with their register and the number of their recordings."""
    for name in acted_for(settings):
        register = register_of(settings, name)
        for volume in register.volumes():
            if number := sum(item.conversation_id.lower() in ids for item in (*volume.recordings, *volume.lost)):
                yield register, volume, number


def remove_productions(settings: Settings, ids: Set[str]) -> None:
    """Remove the folders of volumes with these conversations, if they are as they were made; the register stays."""
    for register, volume, _ in _volumes_with(settings, ids):
        remove_folder(volume.partial)
        if volume.state() == "here":
            register.remove(volume)


def packages(settings: Settings, con: duckdb.DuckDBPyConnection, ids: frozenset[str]) -> Iterator[Place]:
    """Packages that hold these conversations: who made them, when, for whom, and whether they are still there."""
    known = set()
    for package in packages_of(settings):
        known.add(package.sha256)
        if number := package.holds(ids):
            yield Place("package", package.folder, number, f"{package.told}; {_STATES[package.state()]}")
    for sha256, name, number, told in packaged_elsewhere(con, ids):
        if sha256 not in known:
            yield Place("package", name, number, f"{told}; in no register of this home: look for it and its receiver")


def remove_packages(settings: Settings, ids: frozenset[str]) -> None:
    """Remove the folders of packages with these conversations, if they are as they were made; the register stays."""
    remove_abandoned(settings)
    for package in packages_of(settings):
        if package.holds(ids):
            remove_package(settings, package)


# --- other files of the home ------------------------------------------------------------------------------------------


def files_naming(settings: Settings, ids: Set[str]) -> Iterator[Place]:
    """Files of the home, known to no other step, that name one of these conversations: resume caches, pages, copies."""
    home = settings.home
    known = {settings.warehouse_path, settings.analyst_path, settings.spool_path}
    places = [Path(settings.landing), Path(settings.captures), *(Path(item.folder) for item in packages_of(settings))]
    for path in sorted(home.rglob("*")) if home.is_dir() else ():
        inside = path.relative_to(home).parts
        if inside[0] in _ELSEWHERE or path in known or path.is_symlink() or not path.is_file():
            continue
        if path.suffix in {".lock", ".wal"} or any(path.is_relative_to(place) for place in places):
            continue
        named = _names(path, ids)
        # A file that stays is written down, whatever its name.
        if named is None:
            yield Place("file", escaped(str(path)), 0, "cannot be searched: look at it; it stays")
        elif named and inside[0] in _SCRATCH:
            yield Place("file", str(path))
        elif named:
            yield Place("file", escaped(str(path)), 1, "not made by this product: look at it; it stays")


def remove_files(places: Iterable[Place]) -> None:
    """Remove files that are made again when needed."""
    for place in places:
        if place.kind == "file" and not place.note:
            Path(place.where).unlink(missing_ok=True)


def _names(path: Path, ids: Set[str]) -> bool | None:
    """Whether a file names one of the ids, also packed by gzip, zip (as .xlsx) or Parquet; None if that is unknown."""
    # Reading a zip raises RuntimeError for a member with a password or of another compression.
    if path.suffix in _DATABASES:
        return None
    try:
        with path.open("rb") as plain:
            begin = plain.read(4)
        if begin == b"PAR1":
            with pq.ParquetFile(path) as table:
                return any(names_any(ids, str(rows.to_pylist()).encode()) for rows in table.iter_batches(10_000))
        if begin == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                found = {_in_stream(archive.open(member), ids) for member in archive.infolist()}
                return True if True in found else None if None in found else False
        return _in_stream(gzip.open(path) if begin[:2] == b"\x1f\x8b" else path.open("rb"), ids)
    except (OSError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException):
        return None


def _in_stream(opened: IO[bytes] | gzip.GzipFile, ids: Set[str]) -> bool | None:
    with opened as stream:
        before = b""
        while chunk := stream.read(_CHUNK):
            if not before and chunk.startswith(_PACKED):
                return None
            text = before + chunk
            if names_any(ids, text, text.replace(b"\0", b"")):  # the latter: UTF-16 and UTF-32
                return True
            before = chunk[-_OVERLAP:]
    return False


def counted(places: Iterable[Place]) -> dict[str, int]:
    """Kind of place → items."""
    found: Counter[str] = Counter()
    for place in places:
        found[place.kind] += place.items
    return dict(sorted(found.items()))
