"""`custody matter receipt`: to whom a volume was handed.

Belongs here: the event of the matter, and the custody events of the volume's recordings. Does not: volumes
(volume_writer.py).
"""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from pathlib import Path

import orjson

from custody_pipeline.evidence.package.signed_volume import LIST, LIST_FACT
from custody_pipeline.fleet.overview import record_acts
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.escaping import escaped
from custody_pipeline.matters.matter import Matter
from custody_pipeline.matters.register import MatterStateError, Register, Volume
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.ledger import Act, Actor

_MAX_VERDICT = 200


def record_receipt(
    settings: Settings,
    matter: Matter,
    register: Register,
    volume: str,
    receiver: str,
    how: str,
    when: datetime | None,
    confirmation: Path | None,
    actor: Actor,
) -> int:
    """Record that a volume was handed over.

    Args:
        receiver: name and role of the person who got it.
        when: UTC; now if None.
        confirmation: a file that is kept beside the matter, with its digest. The matter's event names the verdict of
            `custody verify --json` on the other side.

    Returns:
        The number of its recordings.

    Raises:
        MatterStateError: there is no such volume, it is not finished, the time has not come, is before it was made or
            after an erasure removed it, or the confirmation cannot be read or is of another volume.
    """
    found = next((item for item in register.volumes() if item.name == volume and item.is_finished), None)
    if found is None:
        names = ", ".join(item.name for item in register.volumes() if item.is_finished) or "none"
        raise MatterStateError(f"{matter.name} has no finished volume {volume!r}; there are {names}")
    now = utc_now()
    at = when.replace(tzinfo=None) if when else now
    if at > now:
        raise MatterStateError(f"{at:%Y-%m-%dT%H:%M:%SZ} has not come yet: --when is UTC")
    made = next((str(event["at"]) for event in register.events() if event.get("sha256") == found.sha256), "")
    if f"{at:%Y-%m-%d}" < made[:10]:
        raise MatterStateError(f"{volume} was made on {made[:10]}, after {at:%Y-%m-%d}: --when is UTC")
    if found.removed_at and f"{at:%Y-%m-%dT%H:%M:%SZ}" > found.removed_at:
        raise MatterStateError(f"an erasure removed {volume} at {found.removed_at}: --when is UTC, and before that")
    kept, verdict = _keep(register, found, confirmation) if confirmation else (None, "")
    acts = [
        Act(
            date.fromisoformat(item.night),
            "packaged",
            what=f"{volume}, handed over to {receiver}",
            why=matter.why,
            how=how,
            where_at=kept[0] if kept else volume,
            sha256_before=found.sha256,
            sha256_after=kept[1] if kept else found.sha256,
            conversation_id=item.conversation_id,
            recording_id=item.recording_id,
            occurred_at=at,
        )
        for item in found.recordings
    ]
    record_acts(settings, actor, acts)
    details = {"confirmation": kept[0], "sha256": kept[1]} if kept else {}
    register.note(
        actor, f"handed {volume} to {receiver}, {how}{verdict}", handed_at=f"{at:%Y-%m-%dT%H:%M:%SZ}", **details
    )
    return len(acts)


def _keep(register: Register, volume: Volume, confirmation: Path) -> tuple[tuple[str, str], str]:
    """Copy a confirmation beside the matter. Returns its name there and its SHA-256, and its verdict in words."""
    try:
        data = confirmation.read_bytes()
    except OSError as error:
        raise MatterStateError(f"{confirmation} cannot be read: {error.strerror}") from error
    verdict, sha256 = _verdict(data, volume), hashlib.sha256(data).hexdigest()
    name = f"{volume.name}-{sha256[:12]}{confirmation.suffix}"
    folder = register.folder / "receipts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return (name, sha256), verdict


def _verdict(data: bytes, volume: Volume) -> str:
    """The verdict in the output of `custody verify --json`; empty if the confirmation is something else."""
    try:
        report = orjson.loads(data)
        verdict, facts = str(report["verdict"]), dict(report["facts"])
    except (KeyError, TypeError, ValueError):
        return ""
    name, sha256 = str(facts.get("production", volume.name)), facts.get(LIST_FACT)
    if name != volume.name:
        raise MatterStateError(f"the confirmation is of {name[:_MAX_VERDICT]!r}, not of {volume.name}")
    if sha256 not in (None, volume.sha256):
        raise MatterStateError(f"the confirmation is of a {volume.name} that is not this one: its {LIST} is another")
    said = f"; custody verify there: {escaped(verdict[:_MAX_VERDICT])}"
    return said if sha256 else f"{said} (it does not say of which production)"
