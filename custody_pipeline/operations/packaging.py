"""`custody package`: chosen recordings for the other side, self-contained, recorded as a custody event.

Belongs here: fetching what goes in, and recording that it went. Does not: the layout (evidence/package.py).
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import tempfile
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

from custody_pipeline.evidence.cut.manifest import CUT_JSON, ROTATION, SIGNATURE, CutError, open_cut
from custody_pipeline.evidence.cut.proof import prove_all
from custody_pipeline.evidence.log.keys import keys_of_rotation
from custody_pipeline.evidence.log.note import NoteError
from custody_pipeline.evidence.package.bag import close_package, write_records
from custody_pipeline.evidence.package.layout import ATTACHED, Absent
from custody_pipeline.evidence.reader import MANIFEST_BYTES, NOTE_BYTES, TargetError, read
from custody_pipeline.extract.landing_files import LandingError, content_of
from custody_pipeline.io.concurrency import in_order
from custody_pipeline.io.progress import report
from custody_pipeline.models.reasons import REASONS
from custody_pipeline.models.run import refresh_events
from custody_pipeline.operations.verification import BucketMedia, open_target, public_keys
from custody_pipeline.publish.sealing import load_sealing
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from custody_pipeline.evidence.cut.manifest import CutFile
    from custody_pipeline.evidence.cut.proof import RecordProof
    from custody_pipeline.evidence.log.note import Verifier
    from custody_pipeline.evidence.reader import Reader
    from custody_pipeline.settings import Settings

_CHUNK = 1 << 20
_FETCHES_IN_FLIGHT = 16
_URIS = {"audio": ("object_uri", "object_version_id"), "documents": ("sidecar_uri", None)}
_SENTENCES = {reason.code: reason.sentence for reason in REASONS}
_Key = tuple[str, str]


class PackageError(Exception):
    """The package cannot be made as asked. Nothing was written; the message says what to do."""


def package(
    settings: Settings,
    target: str,
    folder: Path,
    *,
    recordings: Sequence[str] | None,
    night: date | None,
    reason: str,
    operator: str | None = None,
) -> dict[str, Any]:
    """Write a package. It is in place only once the custody events of its recordings are recorded.

    Args:
        settings: this deployment's.
        target: the published place.
        folder: the package; must not exist.
        recordings: which; None for a whole night.
        night: look only there.
        reason: why it is produced, for the custody event: a matter, a request.
        operator: who produces it; the setting or the login name otherwise.

    Returns:
        `{"folder", "recordings", "files", "bytes", "sha256", "without", "lost"}`: `sha256` is the manifest's, `without`
        counts by kind what is not in the package, and `lost` how much of that was sealed and could not be had. Each is
        in `data/missing.json` with its reason.

    Raises:
        PackageError: the folder exists.
        RecordNotFoundError, ProofError, TileError, NoteError, TargetError: see `evidence.proof.prove_all`.
        SettingsError, WarehouseError: see there.
    """
    folder = folder.absolute()
    if folder.exists():
        raise PackageError(f"{folder} is there already; name a folder that is not")
    reader = open_target(settings, target)
    keys, day = public_keys(settings, []), night.isoformat() if night else None
    proofs = prove_all(reader, recordings, keys, night=day)
    actor = Actor.of(settings)
    actor = replace(actor, operator=operator or actor.operator)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        made = fill_package(
            settings,
            reader,
            draft,
            proofs,
            _names(proofs),
            reason=reason,
            actor=actor,
            night=None if recordings else day,
        )
        files = [path for path in draft.rglob("*") if path.is_file()]
        result = {
            "folder": str(folder),
            "recordings": len(proofs),
            "files": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "sha256": made.sha256,
            "without": dict(Counter(item.kind for item in made.absent)),
            "lost": sum(item.sha256 is not None for item in made.absent),
        }
        record_packaged(settings, actor, proofs, reason, folder.name, made.sha256)
        make_private(draft)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return result


@dataclass(frozen=True)
class Made:
    """A package that is written. `sha256`: of its tag manifest, hex; `absent`: what it does not hold."""

    sha256: str
    absent: list[Absent]


def fill_package(
    settings: Settings,
    reader: Reader,
    draft: Path,
    proofs: Sequence[RecordProof],
    names: Sequence[str],
    *,
    reason: str,
    actor: Actor,
    night: str | None = None,
) -> Made:
    """Write a package into a folder. Files that an attempt before left there are kept if they are what was sealed.

    Args:
        settings: this deployment's.
        reader: the published place.
        draft: the folder.
        proofs: of its recordings.
        names: of their files, without a suffix.
        reason: why, for `bag-info.txt`.
        actor: who.
        night: all recordings of this night were asked for.
    """
    keys, signers = public_keys(settings, []), load_sealing(settings).signers
    absent = _attach(BucketMedia(settings), reader, keys, dict(zip(names, proofs, strict=True)), draft)
    write_records(draft, names, proofs, signers, absent, night=night, rotations=_rotations(reader, keys))
    now = datetime.now(UTC)
    info = {"Bagging-Date": f"{now:%Y-%m-%d}", "Contact-Name": actor.operator, "External-Description": reason}
    return Made(close_package(draft, signers, info), absent)


def make_private(folder: Path) -> None:
    """Nobody but the owner may read what is produced."""
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)


def _names(proofs: Iterable[RecordProof]) -> list[str]:
    """File names from recording ids; a number keeps those apart that would be one."""
    names: dict[str, None] = {}
    for proof in proofs:
        name = wanted = re.sub(r"[^A-Za-z0-9_-]", "_", str(proof.row["recording_id"]))[:120]
        number = 1
        while name in names:
            number += 1
            name = f"{wanted}-{number}"
        names[name] = None
    return list(names)


@dataclass(frozen=True)
class _Wanted:
    """A file of the package, to be fetched from the export bucket."""

    name: str
    kind: str
    row: dict[str, str | None]
    folder: Path

    @property
    def sha256(self) -> str | None:
        return self.row.get(ATTACHED[self.kind])

    @property
    def uri(self) -> str:
        return self.row.get(_URIS[self.kind][0]) or ""

    @property
    def version_id(self) -> str | None:
        column = _URIS[self.kind][1]
        return self.row.get(column) if column else None

    @property
    def path(self) -> Path:
        suffix = re.sub(r"[^A-Za-z0-9]", "", self.uri.rpartition("/")[2].rpartition(".")[2]) or "bin"
        return self.folder / f"{self.name}.{suffix}"


def _rotations(reader: Reader, keys: Sequence[Verifier]) -> list[bytes]:
    """The statements by which the log's keys were handed over, each once."""
    found: dict[bytes, None] = {}
    for entry in reader.list("cuts/"):
        if entry.path.endswith("/" + ROTATION):
            data = read(reader, entry.path, NOTE_BYTES)
            with suppress(NoteError):
                old, new = keys_of_rotation(data, keys[0].name)
                # This home may hold the newest key alone: who holds an older one needs the statement all the same.
                if set(keys) & {*old, *new}:
                    found[data] = None
    return list(found)


def _attach(
    media: BucketMedia, reader: Reader, keys: Sequence[Verifier], proofs: dict[str, RecordProof], draft: Path
) -> list[Absent]:
    """Fetch audio and documents whose digests the records have; what cannot be had as it was sealed is returned."""
    wanted = [
        _Wanted(name, kind, proof.row, draft / "data" / kind) for name, proof in proofs.items() for kind in ATTACHED
    ]
    for kind in ATTACHED:
        (draft / "data" / kind).mkdir(parents=True, exist_ok=True)
    refused: dict[_Key, str] = {}
    for done, (item, why) in enumerate(in_order(partial(_fetch, media), wanted, workers=_FETCHES_IN_FLIGHT)):
        report("packaging", done, len(wanted))
        if why is not None:
            refused[item.name, item.kind] = why
    report("packaging", len(wanted), len(wanted))
    lost = [item for item in wanted if (item.name, item.kind) in refused]
    for item in _received(reader, keys, [item for item in lost if item.kind == "documents"]):
        del refused[item.name, item.kind]
    return [
        Absent.of(item.row, item.kind, item.name, refused.get((item.name, item.kind)), _SENTENCES)
        for item in wanted
        if not item.path.exists()
    ]


def _fetch(media: BucketMedia, item: _Wanted) -> str | None:
    """Copy an object; its bytes must still be those that were sealed.

    Returns:
        Why it could not be had; None if it was, or if nothing was sealed.
    """
    if not item.sha256 or not item.uri:
        return None
    if item.path.exists() and _sha256(item.path) == item.sha256:
        return None
    sha256 = hashlib.sha256()
    try:
        with media.open(item.uri, item.version_id) as source, item.path.open("wb") as out:
            while chunk := source.read(_CHUNK):
                sha256.update(chunk)
                out.write(chunk)
    except FileNotFoundError:
        return f"{item.uri}: no such object or version"
    except (TargetError, BotoCoreError) as error:
        item.path.unlink(missing_ok=True)
        return f"{item.uri}: {error}" if isinstance(error, TargetError) else f"{item.uri}: {type(error).__name__}"
    if sha256.hexdigest() != item.sha256:
        item.path.unlink()
        return f"{item.uri}: sha256 {item.sha256} was sealed, {sha256.hexdigest()} is there"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _received(reader: Reader, keys: Sequence[Verifier], lost: Sequence[_Wanted]) -> list[_Wanted]:
    """Write documents whose bytes a signed cut of the night has as they were received, and return which."""
    by_night: dict[str, dict[str, list[_Wanted]]] = {}
    for item in lost:
        by_night.setdefault(str(item.row["partition_date"]), {}).setdefault(str(item.sha256), []).append(item)
    found: list[_Wanted] = []
    for night, by_sha256 in by_night.items():
        for path, file in _sealed_sidecars(reader, keys, night):
            for content in _documents(reader, path, file) if by_sha256 else ():
                for item in by_sha256.pop(hashlib.sha256(content).hexdigest(), ()):
                    item.path.write_bytes(content)
                    found.append(item)
    return found


def _sealed_sidecars(reader: Reader, keys: Sequence[Verifier], night: str) -> Iterator[tuple[str, CutFile]]:
    """The landing files of sidecars that signed cuts of a night list."""
    for entry in list(reader.list(f"cuts/date={night}/")):
        folder = entry.path.removesuffix(CUT_JSON)
        if folder == entry.path:
            continue
        with suppress(NoteError, CutError, TargetError, FileNotFoundError):
            data = read(reader, entry.path, MANIFEST_BYTES)
            cut, _ = open_cut(data, read(reader, folder + SIGNATURE, NOTE_BYTES), keys)
            for file in cut.files:
                if file.path.startswith("landing/export_sidecars/"):
                    yield folder + file.path, file


def _documents(reader: Reader, path: str, file: CutFile) -> Iterator[bytes]:
    """The documents of a landing file whose bytes are as sealed, until the first that cannot be read.

    `custody verify` is for saying why.
    """
    with suppress(LandingError, EOFError, OSError, TargetError, zlib.error):
        data = read(reader, path, file.bytes)
        if hashlib.sha256(data).hexdigest() == file.sha256:
            with gzip.open(BytesIO(data)) as lines:
                for line in lines:
                    yield content_of(line)


def record_packaged(
    settings: Settings,
    actor: Actor,
    proofs: Sequence[RecordProof],
    reason: str,
    place: str,
    sha256: str,
    how: str = "signed BagIt package",
) -> None:
    """Leave a custody event for every recording that goes out. `sha256`: of the manifest that stands for all files."""
    acts = [
        Act(
            date.fromisoformat(str(proof.row["partition_date"])),
            "packaged",
            what="audio, documents, record and proof",
            why=reason,
            how=how,
            where_at=place,
            sha256_after=sha256,
            conversation_id=str(proof.row["conversation_id"]),
            recording_id=str(proof.row["recording_id"]),
        )
        for proof in proofs
    ]
    with Warehouse(settings).open() as con:
        append_acts(con, actor, acts)
        for night in sorted({act.night for act in acts}):
            refresh_events(con, night)
