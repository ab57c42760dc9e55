"""Key rotations: a trusted key names its successor, and no longer signs alone.

Belongs here: rotation statements of a target. Does not: making one (evidence/log/keys.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.seal import HEAD
from custody_pipeline.evidence.log.checkpoint import Checkpoint
from custody_pipeline.evidence.log.keys import rotated_keys
from custody_pipeline.evidence.log.note import NoteError, Verifier
from custody_pipeline.evidence.reader import NOTE_BYTES
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.one_cut import CheckedCut


def follow_rotations(context: Context, paths: Iterable[str]) -> None:
    """Trust each key that a trusted key names as its successor. Any other statement changes nothing.

    A later key may lie before an earlier one: nights are not sealed in the order of their dates.
    """
    statements = sorted(path for path in paths if path.rpartition("/")[2] == cuts.ROTATION)
    known = 0
    while known < len(context.keys):
        known = len(context.keys)
        # Anybody may have added any number of statements, so they are read again and not kept.
        for path in (path for path in statements if path not in context.rotated):
            data = context.read_ahead(path, NOTE_BYTES)
            for origin in {key.name for key in context.keys} if data is not None else ():
                with suppress(NoteError):
                    context.rotated[path] = rotated_keys(data or b"", origin, context.keys)
            for key in context.rotated.get(path, ((), ()))[1]:
                if key not in context.keys:
                    context.keys.append(key)
                    context.report.facts[f"key handed over to {key.name}+{key.key_id.hex()}"] = f"{path} says so"


def check_retired(context: Context, known: Sequence[CheckedCut], head: Checkpoint | None) -> None:
    """From the cut of a rotation statement on, a new key must sign every cut and the head of the log.

    A key that was handed over cannot hand itself over again: the statement of a thief would name another successor.
    """
    current: list[Verifier] | None = None
    for item in sorted(known, key=lambda item: item.cut.log.first):
        stated = context.rotated.get(item.prefix + cuts.ROTATION)
        if stated and item.cut.file(cuts.ROTATION) and (current is None or {*stated[0], *stated[1]} & set(current)):
            current = stated[1]
        if current is not None and not set(current) & set(item.signers):
            context.report.add("KEY_RETIRED", item.prefix + cuts.SIGNATURE)
    if head is not None and current is not None and not set(current) & set(head.note.verified_by(context.keys)):
        context.report.add("KEY_RETIRED", HEAD)
