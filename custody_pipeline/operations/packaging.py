"""`custody package`: a self-contained package of chosen recordings for the other side, recorded as a custody event.

Belongs here: the order of the steps, and the custody events. Does not: the layout (evidence/package/layout.py), or
fetching the files (attached_files.py, sealed_documents.py).
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from custody_pipeline.evidence.cut.manifest import ROTATION
from custody_pipeline.evidence.cut.proof import Prover, RecordNotFoundError, RecordProof
from custody_pipeline.evidence.cut.removal import REASON
from custody_pipeline.evidence.log.checkpoint import Checkpoint
from custody_pipeline.evidence.log.keys import keys_of_rotation
from custody_pipeline.evidence.log.note import NoteError, Verifier
from custody_pipeline.evidence.package.bag import PackageWriter, WrittenRecord
from custody_pipeline.evidence.package.layout import ATTACHED, Absent, reasons_in
from custody_pipeline.evidence.reader import NOTE_BYTES, Reader, read
from custody_pipeline.fleet.overview import record_acts
from custody_pipeline.io.concurrency import in_order
from custody_pipeline.io.progress import report
from custody_pipeline.models.reasons import REASONS
from custody_pipeline.operations.attached_files import Attached, Item, fetch_all
from custody_pipeline.operations.package_register import Packed, keep_package, new_package, registered, remove_abandoned
from custody_pipeline.operations.sealed_documents import write_sealed
from custody_pipeline.operations.verification import BucketMedia, open_target, public_keys
from custody_pipeline.publish.sealing import load_sealing
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.erasures import erased_conversations
from custody_pipeline.warehouse.ledger import Act, Actor

FETCHES_IN_FLIGHT = 16
_SENTENCES = {reason.code: reason.sentence for reason in REASONS}


class PackageError(Exception):
    """The package cannot be made. Nothing was written; the message says what to do."""


def package(
    settings: Settings,
    target: str,
    folder: Path,
    *,
    recordings: Sequence[str] | None,
    night: date | None,
    reason: str,
    keys: Set[tuple[str, str]] = frozenset(),
    operator: str | None = None,
    recipient: str = "",
) -> dict[str, Any]:
    """Write a package. It gets its name only after it is registered and its recordings' custody events are recorded.

    Args:
        folder: the package; must not exist.
        recordings: which, of every conversation that has one of this id; None, without `keys`, for a whole night.
        night: look only there.
        keys: conversation and recording of others.
        reason: why it is produced, for the custody event: a matter, a request.
        operator: who produces it; default: the setting, or the login name.

    Returns:
        `{"folder", "recordings", "files", "bytes", "sha256", "without", "lost"}`. `sha256` is the tag manifest's.
        `without` counts, by kind, files that are not in the package. `lost` counts those of them that were sealed and
        could not be read as they were sealed. `data/missing.json` lists each with its reason.

    Raises:
        PackageError: the folder exists, or a recording of it was erased meanwhile.
        RecordNotFoundError, ProofError, TileError, NoteError, TargetError: see `evidence.cut.proof.Prover.each`.
        SettingsError, WarehouseError: see there.
    """
    folder = folder.absolute()
    if folder.exists():
        raise PackageError(f"{folder} is there already; name a folder that is not")
    remove_abandoned(settings)
    reader = open_target(settings, target)
    prover, day = Prover(reader, public_keys(settings, [])), night.isoformat() if night else None
    actor = Actor.of(settings)
    actor = replace(actor, operator=operator or actor.operator)
    named = [*(recordings or ()), *sorted({recording for _, recording in keys})]
    proofs = _chosen(prover.each(named or None, day), recordings or (), keys) if keys else prover.each(recordings, day)
    begun = new_package(actor.operator, recipient, reason, folder)
    packed: list[Packed] = []
    shown: set[str] = set()

    def pack(item: Item, _: Attached) -> None:
        packed.append(Packed(*item.key))
        if REASON not in reasons_in(item.proof.row):
            shown.add(item.key[1].lower())

    with registered(settings, begun):
        made = fill_package(
            settings,
            reader,
            prover.checkpoint,
            begun.draft,
            _named(proofs),
            pack,
            reason=reason,
            actor=actor,
            night=None if named else day,
            asked=named,
            total=len(named) or None,
        )
        files = [path for path in begun.draft.rglob("*") if path.is_file()]
        result = {
            "folder": str(folder),
            "recordings": len(packed),
            "files": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "sha256": made.sha256,
            "without": dict(made.without),
            "lost": made.lost,
        }
        acts = (packaged(msgspec.structs.astuple(item), reason, folder.name, made.sha256) for item in packed)
        record_acts(settings, actor, acts)
        make_private(begun.draft)
        finished = msgspec.structs.replace(begun, recordings=tuple(packed), sha256=made.sha256)
        keep_package(settings, finished)
        begun.draft.rename(folder)
        # An erasure that began meanwhile either finds this folder, or is found here.
        if shown & erased_conversations(settings):
            shutil.rmtree(folder)
            raise PackageError("a recording of this package was erased meanwhile: nothing was written; make it again")
    return result


@dataclass
class Made:
    """A written package.

    Attributes:
        without: number of files that are not in it, by kind.
        lost: how many of these were sealed, and could not be read as they were sealed.
    """

    sha256: str
    without: Counter[str]
    lost: int


def fill_package(
    settings: Settings,
    reader: Reader,
    checkpoint: Checkpoint,
    draft: Path,
    items: Iterable[Item],
    packed: Callable[[Item, Attached], object],
    *,
    reason: str,
    actor: Actor,
    asked: Iterable[str],
    total: int | None,
    night: str | None = None,
) -> Made:
    """Write a package into a folder, record by record.

    Recordings that an earlier attempt left in `data/audio` are kept if they are as they were sealed. Everything else in
    the folder must be of this attempt.

    Args:
        checkpoint: the head that the proofs lead to.
        items: the records. The documents of masked records are withheld as well.
        packed: called with each item and its audio, when its files are written.
        asked: recording ids that were asked for.
        total: the number of items, if it is known.
        night: all recordings of this night were asked for.
    """
    keys, signers = public_keys(settings, []), load_sealing(settings).signers
    draft.mkdir(parents=True, exist_ok=True)
    for kind in ATTACHED:
        (draft / "data" / kind).mkdir(parents=True, exist_ok=True)
    rotations = _rotations(reader, keys, checkpoint.head.origin)
    with PackageWriter(draft, checkpoint, signers, night=night, asked=asked, rotations=rotations) as writer:
        made = _fill(settings, reader, keys, draft, items, packed, writer, total)
        now = datetime.now(UTC)
        info = {"Bagging-Date": f"{now:%Y-%m-%d}", "Contact-Name": actor.operator, "External-Description": reason}
        made.sha256 = writer.close(info)
    return made


def _fill(
    settings: Settings,
    reader: Reader,
    keys: Sequence[Verifier],
    draft: Path,
    items: Iterable[Item],
    packed: Callable[[Item, Attached], object],
    writer: PackageWriter,
    total: int | None,
) -> Made:
    """Fetch and write every item, and remove other files of an earlier attempt. Returns what `Made` counts."""
    made, lost = Made("", Counter(), 0), list[tuple[Absent, str, Path]]()
    left = {path.name for path in (draft / "data/audio").iterdir()}
    media, before = BucketMedia(settings), frozenset(left)

    def write(item: Item) -> tuple[WrittenRecord, list[Attached]]:
        return writer.write(item.name, item.proof, item.masked), fetch_all(media, draft, before, item)

    def leave_out(absent: Absent) -> None:
        writer.leave_out(absent)
        made.without[absent.kind] += 1
        made.lost += absent.sha256 is not None

    for done, (item, (written, files)) in enumerate(in_order(write, items, workers=FETCHES_IN_FLIGHT)):
        report("packaging", done, total)
        writer.record(written)
        for file in files:
            if file.is_here:
                writer.list_file(file.place, str(file.sha256), file.size)
                left.discard(file.path.name)
                continue
            row = item.masked.row if item.masked else item.proof.row
            absent = Absent.of(row, file.kind, item.name, file.why, _SENTENCES)
            if file.kind == "documents" and absent.sha256:
                lost.append((absent, item.key[0], file.path))
            else:
                leave_out(absent)
        packed(item, next(file for file in files if file.kind == "audio"))
    # A document that the bucket no longer has as it was sealed may be in a sealed landing file.
    sealed = ((path, night, str(absent.sha256)) for absent, night, path in lost)
    write_sealed(settings, reader, keys, sealed, ("export_sidecars",))
    for absent, _, path in lost:
        if path.exists():
            writer.list_file(path.relative_to(draft).as_posix(), str(absent.sha256), path.stat().st_size)
        else:
            leave_out(absent)
    if total:
        report("packaging", total, total)
    for name in left:
        (draft / "data/audio" / name).unlink(missing_ok=True)
    return made


def make_private(folder: Path) -> None:
    """Let only the owner read a package."""
    for place, folders, files in os.walk(folder):
        for names, mode in ((folders, 0o700), (files, 0o600)):
            for name in names:
                os.chmod(os.path.join(place, name), mode)  # noqa: PTH101, PTH118 - tens of thousands


def _chosen(
    proofs: Iterable[RecordProof], recordings: Sequence[str], keys: Set[tuple[str, str]]
) -> Iterator[RecordProof]:
    """Without records of conversations that were not chosen: two conversations may claim one recording.

    Raises:
        RecordNotFoundError: raised at the end: the recording of a chosen conversation is not sealed.
    """
    of_any, missing = set(recordings), set(keys)
    for proof in proofs:
        key = str(proof.row["conversation_id"]), str(proof.row["recording_id"])
        if key in keys or key[1] in of_any:
            missing.discard(key)
            yield proof
    if missing:
        raise RecordNotFoundError(f"recording {min(missing)[1]} of conversation {min(missing)[0]} is not sealed")


def _named(proofs: Iterable[RecordProof]) -> Iterator[Item]:
    """File names from recording ids. A number distinguishes equal names, also on file systems that ignore case."""
    taken: set[str] = set()
    for proof in proofs:
        name = wanted = re.sub(r"[^A-Za-z0-9_-]", "_", str(proof.row["recording_id"]))[:120]
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{wanted}-{number}"
        taken.add(name.casefold())
        yield Item(name, proof)


def _rotations(reader: Reader, keys: Sequence[Verifier], origin: str) -> list[bytes]:
    """The rotation statements that lead to keys of this home, each once.

    This home may have only the newest key, but the holder of an older key needs every statement from there on.
    """
    stated: dict[bytes, set[Verifier]] = {}
    for entry in reader.list("cuts/"):
        if entry.path.endswith("/" + ROTATION):
            data = read(reader, entry.path, NOTE_BYTES)
            with suppress(NoteError):
                old, new = keys_of_rotation(data, origin)
                stated[data] = {*old, *new}
    found, known = list[bytes](), set(keys)
    while more := [data for data in stated if data not in found and stated[data] & known]:
        found += more
        known.update(*(stated[data] for data in more))
    return found


def packaged(key: tuple[str, str, str], reason: str, place: str, sha256: str, how: str = "signed BagIt package") -> Act:
    """The custody event of a recording that is handed over.

    Args:
        key: night, conversation, recording.
        place: name of the package.
        sha256: of the manifest that stands for all files.
    """
    night, conversation_id, recording_id = key
    return Act(
        date.fromisoformat(night),
        "packaged",
        what="audio, documents, record and proof",
        why=reason,
        how=how,
        where_at=place,
        sha256_after=sha256,
        conversation_id=conversation_id,
        recording_id=recording_id,
    )
