"""`custody package`: chosen recordings for the other side, self-contained, recorded as a custody event.

Belongs here: fetching what goes in, and recording that it went. Does not: the layout (evidence/package.py).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custody_pipeline.actor import Actor
from custody_pipeline.acts import Act, append_acts
from custody_pipeline.commands.verify import BucketMedia, open_target, public_keys
from custody_pipeline.evidence.package import ATTACHED, close_package, write_records
from custody_pipeline.evidence.proof import prove_all
from custody_pipeline.evidence.target import TargetError
from custody_pipeline.publish.sealing import load_sealing
from custody_pipeline.warehouse import Warehouse, refresh_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from custody_pipeline.evidence.proof import RecordProof
    from custody_pipeline.settings import Settings

_CHUNK = 1 << 20
_URIS = {"audio": ("object_uri", "object_version_id"), "documents": ("sidecar_uri", None)}


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
        `{"folder", "recordings", "files", "bytes", "sha256"}`, the last of the manifest.

    Raises:
        PackageError: the folder exists, or a recording cannot be had as it was sealed.
        RecordNotFoundError, ProofError, TileError, NoteError, TargetError: see `evidence.proof.prove_all`.
        SettingsError, WarehouseError: see there.
    """
    folder = folder.absolute()
    if folder.exists():
        raise PackageError(f"{folder} is there already; name a folder that is not")
    proofs = prove_all(
        open_target(settings, target), recordings, public_keys(settings, []), night=night.isoformat() if night else None
    )
    actor, now = Actor.of(settings), datetime.now(UTC)
    actor = replace(actor, operator=operator or actor.operator)
    signers = load_sealing(settings).signers
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        names = _names(proofs)
        media = BucketMedia(settings)
        for name, proof in zip(names, proofs, strict=True):
            for kind, column in ATTACHED.items():
                _fetch(media, proof, kind, proof.row.get(column), draft / "data" / kind / name)
        write_records(draft, names, proofs, signers)
        info = {"Bagging-Date": f"{now:%Y-%m-%d}", "Contact-Name": actor.operator, "External-Description": reason}
        sha256 = close_package(draft, signers, info)
        files = [path for path in draft.rglob("*") if path.is_file()]
        result = {
            "folder": str(folder),
            "recordings": len(proofs),
            "files": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "sha256": sha256,
        }
        _record(settings, actor, proofs, reason, folder, sha256)
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return result


def _names(proofs: Iterable[RecordProof]) -> list[str]:
    """File names from recording ids; a number keeps those apart that would be one."""
    names: list[str] = []
    for proof in proofs:
        name = wanted = re.sub(r"[^A-Za-z0-9_-]", "_", str(proof.row["recording_id"]))[:120]
        number = 1
        while name in names:
            number += 1
            name = f"{wanted}-{number}"
        names.append(name)
    return names


def _fetch(media: BucketMedia, proof: RecordProof, kind: str, sealed: str | None, to: Path) -> None:
    """Copy an object whose digest the record has; its bytes must still be those."""
    uri_column, version_column = _URIS[kind]
    uri = proof.row.get(uri_column)
    if not sealed or not uri:
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    suffix = re.sub(r"[^A-Za-z0-9]", "", uri.rpartition("/")[2].rpartition(".")[2]) or "bin"
    sha256 = hashlib.sha256()
    try:
        with (
            media.open(uri, proof.row.get(version_column) if version_column else None) as source,
            to.with_name(f"{to.name}.{suffix}").open("wb") as out,
        ):
            while chunk := source.read(_CHUNK):
                sha256.update(chunk)
                out.write(chunk)
    except (FileNotFoundError, TargetError) as error:
        raise PackageError(
            f"{uri} cannot be read ({error}). Restore it, or name the recordings that are to go in with --recording."
        ) from error
    if sha256.hexdigest() != sealed:
        raise PackageError(
            f"{uri}: sha256 {sealed} was sealed, {sha256.hexdigest()} is there. Find the version that was sealed; "
            "custody verify --media all lists every object that differs."
        )


def _record(
    settings: Settings, actor: Actor, proofs: Sequence[RecordProof], reason: str, folder: Path, sha256: str
) -> None:
    acts = [
        Act(
            date.fromisoformat(str(proof.row["partition_date"])),
            "packaged",
            what="audio, documents, record and proof",
            why=reason,
            how="signed BagIt package",
            where_at=str(folder),
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
