"""Which recordings go into which volume, under which control numbers.

Belongs here: the volumes that were begun, the next ones, and the newest sealed record of a recording. Does not: writing
a volume (volume_writer.py).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import msgspec

from custody_pipeline.evidence.cut.proof import Prover, SealedRecord
from custody_pipeline.evidence.package.signed_volume import LIST
from custody_pipeline.matters.matter import Matter
from custody_pipeline.matters.register import MatterStateError, Produced, Register, Volume
from custody_pipeline.matters.standing import Standing
from custody_pipeline.operations.verification import open_target, public_keys
from custody_pipeline.settings import Settings

_Key = tuple[str, str]


def begun(register: Register, matter: Matter, standing: Standing, to: Path) -> set[int]:
    """Numbers of volumes without their final name. Forgets those that the present matter would not produce like this.

    A volume of which nothing is there any more, as on a disk that was taken away, is written into `to`.

    Raises:
        MatterStateError: a folder of that name is there, or cannot be made.
    """
    begun = {volume.number: volume for volume in register.volumes() if not volume.is_finished}
    for volume in begun.values():
        if Path(volume.folder).exists():
            raise MatterStateError(
                f"{volume.folder} is there, but {volume.name} is not finished: move that folder away"
            )
    asked = {item.key for volume in begun.values() for item in as_it_must_be_written(volume, matter).recordings}
    if asked:
        asked.difference_update(item.key for item in standing.found.produced if item.media_sha256)
    if not asked:
        moved = [_placed(volume, to) for volume in begun.values() if not volume.partial.exists()]
        for volume in moved:
            register.keep(volume)
        _claim(moved)
        return set(begun)
    # The matter was changed since: recordings that it excludes must not be produced. Or one was erased, or lost its
    # audio. Numbers are assigned again.
    for volume in reversed(begun.values()):  # newest first: after a kill here, the remaining numbers have no gap
        shutil.rmtree(volume.partial, ignore_errors=True)
        register.forget(volume)
    return set()


def as_it_must_be_written(volume: Volume, matter: Matter) -> Volume:
    """A registered volume, or as it was begun if it must be made again."""
    if _is_made(volume, matter):
        return volume
    recordings = sorted((*volume.recordings, *volume.lost), key=lambda item: item.order)
    return msgspec.structs.replace(volume, recordings=tuple(recordings), lost=(), sha256=None)


def _is_made(volume: Volume, matter: Matter) -> bool:
    """Whether a volume is recorded for the present matter: only its signature or its name is missing."""
    listed = volume.partial / LIST
    if volume.sha256 is None or volume.matter_sha256 != matter.state_sha256 or not listed.exists():
        return False
    return hashlib.sha256(listed.read_bytes()).hexdigest() == volume.sha256


def plan(settings: Settings, target: str, matter: Matter, register: Register, standing: Standing, to: Path) -> set[int]:
    """Register the next volumes; returns their numbers."""
    wanted = _not_yet_produced(settings, target, matter, register, standing)
    # Numbers have no gap: only the last volumes are ever forgotten, and a lost recording keeps its number.
    used = sum(len(volume.recordings) + len(volume.lost) for volume in register.volumes())
    number = 1 + max((volume.number for volume in register.volumes()), default=0)
    size = matter.form.volume_recordings
    starts = range(0, len(wanted), size)
    begun = (Volume(number + place, "", matter.state_sha256, (), claim=token_hex(4)) for place in range(len(starts)))
    planned = [_placed(volume, to) for volume in begun]
    for volume, start in zip(planned, starts, strict=True):
        recordings = (
            Produced(
                control=f"{matter.form.prefix}{place:0{matter.form.digits}}",
                conversation_id=key[0],
                recording_id=key[1],
                night=now.night,
                media_sha256=now.media_sha256.hex(),
                row_sha256=now.row_sha256.hex(),
                supersedes=supersedes,
            )
            for place, (key, now, supersedes) in enumerate(wanted[start : start + size], 1 + used + start)
        )
        register.keep(msgspec.structs.replace(volume, recordings=tuple(recordings)))
    try:
        _claim(planned)
    except MatterStateError:
        for volume in reversed(planned):
            register.forget(volume)
        raise
    return {volume.number for volume in planned}


def _not_yet_produced(
    settings: Settings, target: str, matter: Matter, register: Register, standing: Standing
) -> list[tuple[_Key, _Sealed, str | None]]:
    """Recordings that no volume has as they are sealed now, in the matter's order.

    Returns:
        The recording, how it is sealed, and the control number under which an earlier volume has it.

    Raises:
        MatterStateError: there is none.
    """
    fresh: dict[_Key, Produced | None] = {}  # and what an earlier volume has of it
    nights: dict[str, set[_Key]] = {}
    before: dict[_Key, Produced] = {}
    for volume in register.volumes():
        is_lost = register.is_lost(volume)
        for made in volume.recordings:
            if is_lost:
                before.setdefault(made.key, msgspec.structs.replace(made, row_sha256=""))
            else:
                before[made.key] = made
    found = False
    for item in standing.found.produced:
        found |= item.media_sha256 is not None
        if item.media_sha256 and _differs(before.get(item.key), item.row_sha256):
            fresh[item.key] = before.get(item.key)
            nights.setdefault(str(item.night), set()).add(item.key)
    if not found:
        raise MatterStateError(f"the selection finds no recording with audio; custody matter show {matter.name}")
    sealed = {
        key: now
        for key, now in _sealed(settings, target, nights)
        if now.media_sha256 and _differs(fresh[key], now.row_sha256.hex())
    }
    if not sealed:
        raise MatterStateError(f"nothing is new: what {matter.name} has with audio was produced as it is sealed now")
    return [(key, sealed[key], was.control if was else None) for key, was in fresh.items() if key in sealed]


def _placed(volume: Volume, to: Path) -> Volume:
    """The volume in a folder where no other one of its name is."""
    folder = (to / volume.name).absolute()
    if folder.exists():
        raise MatterStateError(f"{folder} is there already; name another folder with --to")
    return msgspec.structs.replace(volume, folder=str(folder))


def _claim(planned: Sequence[Volume]) -> None:
    """Make the folders in which planned volumes are written. Another matter may produce into the same folder.

    Raises:
        MatterStateError: another command made one of them, or it cannot be made; none was made.
    """
    for place, volume in enumerate(planned):
        folder = Path(volume.folder)
        try:
            theirs = next(folder.parent.glob(f".{folder.name}.*partial"), None)
            if theirs is None:
                volume.partial.mkdir(parents=True)
                continue
            why = f"{theirs} is there: another production is written there, or was begun"
        except OSError as error:
            why = f"{volume.partial} cannot be made ({error.strerror})"
        for mine in planned[:place]:
            mine.partial.rmdir()
        raise MatterStateError(f"{why}; name another folder with --to")


class _Sealed(NamedTuple):
    """The values that decide whether a recording is produced again: digests as bytes, since there may be many."""

    night: str
    media_sha256: bytes
    row_sha256: bytes


def _sealed(settings: Settings, target: str, nights: Mapping[str, set[_Key]]) -> Iterator[tuple[_Key, _Sealed]]:
    """The newest sealed record of each recording, in short."""
    prover = Prover(open_target(settings, target), public_keys(settings, []))
    for night, keys in nights.items():
        of_night = {key: key for key in keys}
        for sealed in _newest_of(prover, night, keys):
            row = sealed.row
            digests = (bytes.fromhex(row.get(name) or "") for name in ("media_sha256", "row_sha256"))
            yield of_night[key_of(row)], _Sealed(night, *digests)


def _differs(before: Produced | None, row_sha256: str) -> bool:
    return before is None or before.row_sha256 != row_sha256


def key_of(row: Mapping[str, str | None]) -> _Key:
    """Conversation and recording of a sealed row."""
    return str(row["conversation_id"]), str(row["recording_id"])


def newest(prover: Prover, wanted: Iterable[tuple[str, _Key]]) -> Iterator[SealedRecord]:
    """The newest sealed record of each recording, night by night. `wanted`: night, conversation and recording.

    Raises:
        MatterStateError: a conversation's recording is not sealed.
        RecordNotFoundError: a recording is not sealed.
    """
    nights: dict[str, set[_Key]] = {}
    for night, key in wanted:
        nights.setdefault(night, set()).add(key)
    for night, keys in nights.items():
        yield from _newest_of(prover, night, keys)


def _newest_of(prover: Prover, night: str, keys: set[_Key]) -> Iterator[SealedRecord]:
    """As `newest`, of one night; empties `keys`."""
    for sealed in prover.sealed({recording for _, recording in keys}, night):
        if (key := key_of(sealed.row)) in keys:
            keys.remove(key)
            yield sealed
    if keys:
        raise MatterStateError(
            f"{len(keys)} recordings are not sealed, the first is {min(keys)[1]}: "
            f"custody run --date {night}, then again"
        )
