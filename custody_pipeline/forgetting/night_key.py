"""The key of a night: the files that it opens, the holds on them, the statement of its forgetting, its removal.

Belongs here: one night's key. Does not: the order of the steps (erase.py), keys and encrypted files (io/).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from custody_pipeline.evidence.cut.manifest import CutFile
from custody_pipeline.evidence.cut.removal import (
    KEY_STATEMENT,
    EncryptedFile,
    KeyStatement,
    encode_statement,
    is_landing,
)
from custody_pipeline.extract.landing_files import RECEIPTS
from custody_pipeline.forgetting import places
from custody_pipeline.forgetting.finder import (
    Asked,
    Found,
    NothingToEraseError,
    holders,
    landing_uris,
    lock_sentences,
    sealed_night,
)
from custody_pipeline.forgetting.object_versions import remove_versions, versions_of
from custody_pipeline.forgetting.places import Place
from custody_pipeline.forgetting.sealed import SealedNight
from custody_pipeline.io.encrypted_files import HEADER_BYTES, MAGIC
from custody_pipeline.io.night_keys import FORGOTTEN, Forgotten, key_path, night_keys_of
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.publish.revision_files import MoreFile
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.erasures import Request

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FEW = 3


class NotEncryptedError(Exception):
    """Forgetting the key would leave files of the night readable. The message says which, and what to do."""


def find_key(con: duckdb.DuckDBPyConnection, settings: Settings, client: S3Client, asked: Asked, night: date) -> Found:
    """The files that the key of a night opens, and the holds on them.

    Raises:
        NothingToEraseError: the night has no key, or none any more.
        NotEncryptedError: files of the night are not encrypted.
        SettingsError: no key is set.
    """
    keys = night_keys_of(settings)
    if not keys.on:
        raise SettingsError("no night has a key: CUSTODY_NIGHT_KEY_FILE and CUSTODY_NIGHT_KEY_KMS are not set")
    if (gone := keys.forgotten(night)) is not None:
        raise NothingToEraseError(
            f"the key of {night} was forgotten by request {gone.request}; custody erase --resume ends one that was "
            "interrupted"
        )
    if night not in keys.nights():
        raise NothingToEraseError(f"{night} has no key: nothing of it is encrypted in {settings.night_keys}")
    request = asked.request(settings, ("night",), [night], conversations=(), recordings=(), forget_key=True)
    return found_by_key(con, settings, client, request)


def found_by_key(con: duckdb.DuckDBPyConnection, settings: Settings, client: S3Client, request: Request) -> Found:
    """The present files and holds of a request to forget a key. Raises NotEncryptedError."""
    found = tuple(_opened_by_key(settings, client, request))
    return Found(request, found, tuple(_held(con, settings, client, request, found)))


def _opened_by_key(settings: Settings, client: S3Client, request: Request) -> Iterator[Place]:
    """Files that the key of the request's night opens, and the key itself.

    Sidecars beside audio are named as well: they are not encrypted.
    """
    (night,), plain, captured = request.nights, [], []
    for place, header in _headers(settings, client, night):
        if header.startswith(MAGIC):
            yield place
        else:
            plain.append(place.where)
        if place.kind == "capture":
            captured.append(place.where)
    if plain:
        raise NotEncryptedError(
            f"{len(plain)} files of {night} are not encrypted, such as {', '.join(plain[:_FEW])}: without the key they "
            "could be read as before. Erase the night's conversations instead: custody erase --conversations"
        )
    for uri in places.sidecars_of(settings, client, captured):
        yield Place("sidecar", uri, note="holds tags, is not encrypted, and stays")
    yield Place("key", f"{settings.night_keys}/{key_path(date.fromisoformat(night))}")


def _headers(settings: Settings, client: S3Client, night: str) -> Iterator[tuple[Place, bytes]]:
    for uri in landing_uris(settings, client, night):
        if uri.rsplit("/", 3)[1] != RECEIPTS:
            yield Place("landing", uri), _header(client, uri)
    for key in places.captured_keys(settings, client, {night}):
        yield Place("capture", key), _header(client, f"{settings.captures}/{key}")
    if settings.publish_url is not None:
        sealed = sealed_night(settings, client, night)
        for path in (cut.prefix + file.path for cut in sealed.cuts() for file in sealed.there(cut, is_landing)):
            yield Place("cut", path), _header(client, f"{settings.publish_url.rstrip('/')}/{path}")


def _header(client: S3Client, uri: str) -> bytes:
    if not uri.startswith("s3://"):
        with Path(uri).open("rb") as file:
            return file.read(HEADER_BYTES)
    at = S3Location.parse(uri)
    return client.get_object(Bucket=at.bucket, Key=at.key, Range=f"bytes=0-{HEADER_BYTES - 1}")["Body"].read()


def _held(
    con: duckdb.DuckDBPyConnection, settings: Settings, client: S3Client, request: Request, found: Sequence[Place]
) -> Iterator[str]:
    """The holds on the night's key, a sentence each: holds on its conversations, locks on its files."""
    (night,) = request.nights
    rows = con.execute(
        "SELECT DISTINCT conversation_id FROM custody.chain_of_custody "
        "WHERE partition_date = ? AND conversation_id <> '' ORDER BY ALL",
        [night],
    ).fetchall()
    captured = {
        place.where.split("conversation_id=")[-1].partition("/")[0] for place in found if place.kind == "capture"
    }
    yield from dict.fromkeys(holders(settings, sorted({row[0] for row in rows} | captured)).values())
    roots = {"capture": settings.captures, "cut": (settings.publish_url or "").rstrip("/")}
    uris = [f"{roots[place.kind]}/{place.where}" if place.kind in roots else place.where for place in found]
    versions = [
        version for uri in uris if uri.startswith("s3://") for version in versions_of(client, S3Location.parse(uri))
    ]
    yield from lock_sentences(client, versions, bypass_governance=request.bypass_governance)


@dataclass
class KeyForgetting:
    """Makes the statement for the next cut of the night (`publish.revision_files.More`)."""

    sealed: SealedNight
    request: Request
    told: Forgotten

    def __call__(self, revision: int, sealed_at: str, folder: Path, there: Sequence[CutFile]) -> list[MoreFile]:
        """The files that the cut of `revision` gets; see `More`."""
        files = [
            EncryptedFile(cut.revision, file.path, file.bytes, file.sha256)
            for cut in self.sealed.cuts()
            if cut.revision < revision
            for file in self.sealed.there(cut, is_landing)
        ]
        files += [
            EncryptedFile(revision, file.path, file.bytes, file.sha256) for file in there if is_landing(file.path)
        ]
        statement = KeyStatement(
            id=self.request.id,
            night=self.sealed.night,
            revision=revision,
            asked_at=self.request.asked_at,
            stated_at=sealed_at,
            operator=self.request.operator,
            reason=self.request.reason,
            authority=self.request.authority,
            key_id=self.told.id,
            wrapped_sha256=self.told.wrapped_sha256,
            files=tuple(sorted(files, key=lambda file: (file.revision, file.path))),
            captures=self.request.counts.get("capture", 0),
        )
        path = folder / KEY_STATEMENT
        path.write_bytes(encode_statement(statement))
        return [MoreFile(KEY_STATEMENT, path)]


def remove_key(settings: Settings, client: S3Client, night: date, *, bypass_governance: bool) -> None:
    """Remove the wrapped key in all versions, and files of a process that was killed while it wrote the key."""
    where = f"{settings.night_keys}/{key_path(night)}"
    if where.startswith("s3://"):
        at = S3Location.parse(where)
        remove_versions(client, versions_of(client, at), bypass_governance=bypass_governance)
        return
    for path in Path(where).parent.iterdir():
        if path.name != FORGOTTEN:
            path.unlink()
