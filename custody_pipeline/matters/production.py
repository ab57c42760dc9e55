"""`custody matter produce`: numbered volumes of sealed recordings, each with its own signature.

Belongs here: the order of the steps. Does not: which recordings go into which volume (volume_plan.py), or how a volume
is written (volume_writer.py).
"""

from __future__ import annotations

from pathlib import Path

from custody_pipeline.io.process import give_back
from custody_pipeline.matters.matter import Matter
from custody_pipeline.matters.register import Register
from custody_pipeline.matters.standing import Standing
from custody_pipeline.matters.volume_plan import as_it_must_be_written, begun, plan
from custody_pipeline.matters.volume_writer import ProducedVolume, VolumeWriter
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.ledger import Actor


def produce(
    settings: Settings, target: str, matter: Matter, register: Register, standing: Standing, to: Path, actor: Actor
) -> list[ProducedVolume]:
    """Finish volumes that were begun, or write the next: recordings that no volume has in their present sealed state.

    Args:
        settings: this deployment's.
        target: the published place.
        matter: what to produce.
        register: the matter's.
        standing: of the matter.
        to: the folder that gets a folder for each new volume.
        actor: who produces.

    Returns:
        The volumes, oldest first.

    Raises:
        MatterStateError: nothing is new, a volume's place is taken, or another command acts for the matter.
        RecordNotFoundError: a recording is not sealed.
        ProofError, TileError, NoteError, TargetError: see `evidence.cut.proof.prove`.
    """
    with register.alone():
        numbers = begun(register, matter, standing, to) or plan(settings, target, matter, register, standing, to)
        made = []
        for volume in register.each():  # one volume's recordings in memory at a time
            if volume.number in numbers:
                to_write = as_it_must_be_written(volume, matter)
                made.append(VolumeWriter(settings, target, matter, register, standing, actor, to_write).write())
                give_back()
        return made
