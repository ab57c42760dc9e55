"""A record that goes into a package, and its files: fetched, and compared with what was sealed.

Belongs here: audio and sidecar of one record, from the bucket. Does not: the package (packaging.py), documents from
sealed landing files (sealed_documents.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError

from custody_pipeline.evidence.cut.proof import RecordProof
from custody_pipeline.evidence.package.layout import ATTACHED, Masked
from custody_pipeline.evidence.reader import TargetError
from custody_pipeline.io.whole_file import sha256_of
from custody_pipeline.operations.verification import BucketMedia

_URIS = {"audio": ("object_uri", "object_version_id"), "documents": ("sidecar_uri", None)}


@dataclass(frozen=True)
class Item:
    """A record that goes into a package. `name`: of its files, without a suffix; `masked`: if fields are withheld."""

    name: str
    proof: RecordProof
    masked: Masked | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Night, conversation and recording."""
        row = self.proof.row
        return str(row["partition_date"]), str(row["conversation_id"]), str(row["recording_id"])


@dataclass
class Attached:
    """A file that belongs to a record, if the record has one.

    Attributes:
        kind: `audio` or `documents`.
        path: the local file.
        place: the path below the package, with slashes.
        sha256: as sealed, hex; None if the record was sealed without it.
        why: the reason that it is not here; None if it is here, or if there was nothing to fetch.
        size: bytes that are here.
    """

    kind: str
    path: Path
    place: str
    sha256: str | None
    uri: str
    version_id: str | None
    why: str | None = None
    size: int = 0

    @classmethod
    def of(cls, item: Item, kind: str, draft: Path) -> Attached:
        """The file of one kind of an item."""
        row = item.masked.row if item.masked else item.proof.row
        column, version = _URIS[kind]
        uri = row.get(column) or ""
        _, dot, end = uri.rpartition("/")[2].rpartition(".")
        suffix = (dot and re.sub(r"[^A-Za-z0-9]", "", end)) or "bin"
        place = f"data/{kind}/{item.name}.{suffix}"
        return cls(kind, draft / place, place, row.get(ATTACHED[kind]), uri, row.get(version) if version else None)

    @property
    def is_here(self) -> bool:
        """Whether it was sealed, and was read as it was sealed."""
        return bool(self.sha256 and self.uri) and self.why is None


def fetch_all(media: BucketMedia, draft: Path, left: frozenset[str], item: Item) -> list[Attached]:
    """Fetch the files of a record. A file that could not be read as it was sealed has the reason in `why`.

    `left`: names of the recordings in `draft` that an earlier attempt fetched.
    """
    files = [Attached.of(item, kind, draft) for kind in ATTACHED]
    for file in files:
        if file.sha256 and file.uri:
            is_left = file.kind == "audio" and file.path.name in left
            file.why = None if is_left and _is_as_sealed(file) else _fetch(media, file)
        elif item.masked and ATTACHED[file.kind] in item.masked.columns:
            file.why = "withheld: it has fields that the matter masks"
    return files


def _fetch(media: BucketMedia, file: Attached) -> str | None:
    """Copy an object. Returns the reason if it could not be read, or if its bytes are not those that were sealed."""
    found = None
    try:
        digests = media.save(file.uri, file.version_id, file.path)
        found, file.size = digests.sha256, digests.size
    except FileNotFoundError:
        return f"{file.uri}: no such object or version"
    except (TargetError, BotoCoreError) as error:
        why = str(error) if isinstance(error, TargetError) else type(error).__name__
        return why if why.startswith(file.uri) else f"{file.uri}: {why}"
    finally:
        if found != file.sha256:
            file.path.unlink(missing_ok=True)
    return None if found == file.sha256 else f"{file.uri}: sha256 {file.sha256} was sealed, {found} is there"


def _is_as_sealed(file: Attached) -> bool:
    """Whether the local bytes are those that were sealed; sets `size`."""
    file.size = file.path.stat().st_size
    return sha256_of(file.path) == file.sha256
