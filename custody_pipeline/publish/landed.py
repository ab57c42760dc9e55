"""Reading landing files again: loads as their receipts describe them, from the landing place or from a cut.

Belongs here: finding a load's files. Does not: loading them (load), which loads are wanted (operations/rebuild.py,
fleet/shards.py).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.manifest import CUT_JSON, SIGNATURE, Cut, CutError, decode_cut, open_cut
from custody_pipeline.evidence.cut.records import leaf_hash
from custody_pipeline.evidence.cut.removal import KEY_STATEMENT
from custody_pipeline.evidence.cut.seal import HEAD, LOG
from custody_pipeline.evidence.log.checkpoint import Head, verify_checkpoint
from custody_pipeline.evidence.log.merkle import ProofError, inclusion_proof, verify_inclusion
from custody_pipeline.evidence.log.note import NoteError, UnknownSignerError, Verifier
from custody_pipeline.evidence.log.tiles import TileError, TileTree
from custody_pipeline.evidence.reader import MANIFEST_BYTES, NOTE_BYTES, Reader, TargetError, read
from custody_pipeline.extract.landing_files import (
    RECEIPTS,
    Folder,
    LandedFile,
    content_of,
    errors_that_name,
    read_lines,
)
from custody_pipeline.extract.receipts import Collectors, Landing
from custody_pipeline.io.clock import night_in
from custody_pipeline.io.encrypted_files import is_encrypted
from custody_pipeline.io.night_keys import NightKeys, night_keys_of
from custody_pipeline.io.objects import ABSENT, error_code, listed
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.io.whole_file import found_in, sha256_of
from custody_pipeline.publish.sealed_landing import landing_path, on_this_machine
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CUTS = "cuts/"


_GONE = {*ABSENT, "NoSuchBucket"}


class GoneError(Exception):
    """A landing file, named by its URI, is gone."""


@dataclass(frozen=True)
class SealedCut:
    """A sealed cut and the SHA-256 of its `cut.json`."""

    cut: Cut
    sha256: str


@dataclass
class Sources:
    """Where documents come from: the landing place and the published one."""

    settings: Settings
    client: S3Client
    place: S3Location
    scratch: Path
    cuts: dict[date, list[SealedCut]] = field(default_factory=dict)

    def fetch(self, uri: str, sha256: str, night: date) -> Path:
        """A landing file by its digest, from the landing place or from a cut of its night.

        Raises:
            GoneError: neither place has the file as it was received, or its key was forgotten.
            ClientError, OSError: a place cannot be read, and no other place has the file: it may be there.
        """
        trouble: Exception | None = None
        cuts = [self.place / (one.cut.prefix + landing_path(uri)) for one in self.cuts.get(night, ())]
        for candidate in (uri, *map(str, cuts)):
            try:
                path = on_this_machine(self.client, candidate, self.folder())
                if sha256_of(path) != sha256:
                    continue
                if is_encrypted(path) and self.is_forgotten(night):
                    raise GoneError(uri)
                return under_its_name(path, uri)
            except FileNotFoundError:
                continue
            except OSError as error:
                trouble = error
            except ClientError as error:
                if error_code(error) not in _GONE:
                    trouble = error
        raise trouble or GoneError(uri)

    def is_forgotten(self, night: date) -> bool:
        """Whether the night's key was forgotten, as a cut or the place of the keys states."""
        stated = any(one.cut.file(KEY_STATEMENT) for one in self.cuts.get(night, ()))
        return stated or self.keys.forgotten(night) is not None

    @cached_property
    def keys(self) -> NightKeys:
        """The keys of the nights."""
        return night_keys_of(self.settings)

    def folder(self) -> Path:
        """A new folder for a copy."""
        return Path(tempfile.mkdtemp(dir=self.scratch))


class _Origin(Folder):
    """A landing place whose URIs have the form of those in receipts; nothing is written there."""

    def __init__(self, root: str, keys: NightKeys):
        super().__init__(root, keys)
        self._url = root

    def uri(self, relative: str) -> str:
        return f"{self._url}/{relative}"


def cuts_by_night(reader: Reader, keys: Sequence[Verifier], night: date | None = None) -> dict[date, list[SealedCut]]:
    """Every cut by its night, in the order of the revisions.

    Args:
        reader: the published place. Anybody who can write to it may have put a folder there that looks like a cut.
        keys: the log's keys; one of them must have signed the log's head, or the cut itself.

    Raises:
        TargetError: a cut is no leaf of the log, or the log is not sound.
    """
    found: dict[date, list[SealedCut]] = {}
    prefix = f"{CUTS}date={night}/" if night else CUTS
    sealed = SealedCuts(reader, keys)
    for path in sorted(entry.path for entry in reader.list(prefix) if entry.path.endswith(f"/{CUT_JSON}")):
        one = sealed.read(path)
        found.setdefault(date.fromisoformat(one.cut.night), []).append(one)
    return found


@dataclass
class SealedCuts:
    """Distinguishes the cuts of a log from folders that somebody else put into the bucket.

    Attributes:
        keys: the log's present keys.
    """

    reader: Reader
    keys: Sequence[Verifier]

    def read(self, path: str) -> SealedCut:
        """The cut whose `cut.json` is at `path`: signed by one of the keys, or a leaf of the log that one signed.

        Raises:
            TargetError: it is neither.
        """
        data = read(self.reader, path, MANIFEST_BYTES)
        try:
            cut = self._signed(path, data) or self._in_log(data)
            if path != cut.prefix + CUT_JSON:
                raise CutError(f"it is {cut.prefix}")
        except (NoteError, CutError, ProofError, TileError, FileNotFoundError) as error:
            raise TargetError(
                f"{self.reader.name}/{path}: no key of this log sealed it ({error}). Somebody who can write to the "
                "bucket may have put it there: see custody verify, and move it away"
            ) from error
        return SealedCut(cut, hashlib.sha256(data).hexdigest())

    def _signed(self, path: str, data: bytes) -> Cut | None:
        """None if another key than the present ones signed it."""
        with suppress(UnknownSignerError):
            return open_cut(data, read(self.reader, path.removesuffix(CUT_JSON) + SIGNATURE, NOTE_BYTES), self.keys)[0]
        return None

    def _in_log(self, data: bytes) -> Cut:
        """The cut as a leaf of the log, whichever key signed it."""
        cut, (head, tree) = decode_cut(data), self._log
        place = cut.log.cut_index
        verify_inclusion(leaf_hash(data), place, head.size, inclusion_proof(tree.node, place, head.size), head.root)
        return cut

    @cached_property
    def _log(self) -> tuple[Head, TileTree]:
        head = verify_checkpoint(read(self.reader, HEAD, NOTE_BYTES), self.keys).head
        return head, TileTree(self.reader, head.size, LOG)


def landed_receipts(sources: Sources, night: date | None = None) -> dict[date, list[str]]:
    """The URIs of the receipts' landing files by night, in the order of the loads; `night`: only this night."""
    folder = f"date={night}" if night else "date="
    landing, found = sources.settings.landing, dict[date, list[str]]()
    if landing.startswith("s3://"):
        root = S3Location.parse(landing)
        uris = [str(root / path) for path, _ in listed(sources.client, root, f"{RECEIPTS}/{folder}")]
    else:
        uris = [str(path) for path in found_in(Path(landing, RECEIPTS), f"{folder}*/[!.]*.ndjson.gz")]
    for uri in sorted(uris, key=lambda uri: uri.rsplit("/", 1)[1]):
        if (day := night_in(uri.rsplit("/", 2)[1])) is not None:
            found.setdefault(day, []).append(uri)
    return found


def landing_at(sources: Sources, night: date, receipt: Path, uri: str) -> tuple[Landing, Path]:
    """A load as its receipt's landing file describes it, with local copies of its files, and the local receipt."""
    with errors_that_name(uri):
        (line,) = read_lines(receipt)
        told: dict[str, Any] = orjson.loads(content_of(line))
    landing = Landing(
        resource=told["resource"],
        night=night,
        landing_id=uri.rsplit("/", 1)[1].removesuffix(".ndjson.gz"),
        who=Collectors(**{name: told[name] for name in Collectors.__dataclass_fields__}),
        place=_Origin(uri.rsplit("/", 3)[0], sources.keys),
        state=told["receipt_state"],
    )
    for named in told["landing_files"]:
        local = sources.fetch(named["uri"], named["sha256"], night)
        is_failure = named["uri"].rsplit("/", 3)[1] == "fetch_failures"
        # Whether a document has line breaks is not in the receipt: any file may hold one.
        landed = LandedFile(named["uri"], local, named["sha256"], named["bytes"], 0, adapted=1)
        (landing.failure_files if is_failure else landing.files).append(landed)
    return landing, under_its_name(receipt, uri)


def under_its_name(path: Path, uri: str) -> Path:
    """The file under the name in its URI, from which the URIs of its documents are made."""
    name = uri.rsplit("/", 1)[1]
    return path if path.name == name else path.rename(path.with_name(name))
