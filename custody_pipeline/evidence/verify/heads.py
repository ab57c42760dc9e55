"""Heads of the log: the published head, heads that witnesses cosigned, and heads that the caller kept.

Belongs here: signatures of checkpoints and their comparison. Does not: the tiles below a head (log_tiles.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from custody_pipeline.evidence.log.checkpoint import Checkpoint, Head, cosigned_by, verify_checkpoint
from custody_pipeline.evidence.log.cosignatures import COSIGNED, cosigned_path, seen_at
from custody_pipeline.evidence.log.note import NoteError
from custody_pipeline.evidence.reader import Entry
from custody_pipeline.evidence.verify.context import Context


def verify_head(context: Context, path: str) -> Checkpoint | None:
    """The head of the log in a file; None with a finding unless a trusted key signed it."""
    report = context.report
    report.total["checkpoints"] += 1
    data = context.read(path, "LOG_CHECKPOINT_MISSING")
    if data is None:
        return None
    checkpoint = trusted_checkpoint(context, path, data, "LOG_SIGNED_BY_OTHERS", "LOG_CHECKPOINT_WRONG")
    if checkpoint is None:
        return None
    report.valid["checkpoints"] += 1
    head = checkpoint.head
    report.facts["log"] = f"{head.origin}, {head.size} leaves, root {head.root.hex()}"
    check_witnesses(context, path, checkpoint)
    return checkpoint


def trusted_checkpoint(context: Context, path: str, data: bytes, unknown: str, wrong: str) -> Checkpoint | None:
    """A checkpoint that a trusted key signed; None with the finding `unknown` or `wrong` otherwise."""
    question = len(context.keys), data  # a rotation adds keys, whose signatures count as well then
    found = context.trusted.get(question)
    if found is not None:
        return found
    with context.signature(path, unknown, wrong):
        found = verify_checkpoint(data, context.keys)
        context.report.signed_by(found.note.verified_by(context.keys))
        context.trusted[question] = found
    return found


def check_witnesses(context: Context, path: str, checkpoint: Checkpoint) -> None:
    """Name the given witnesses that cosigned, and count them."""
    report, witnesses = context.report, context.options.witnesses
    if not witnesses:
        return
    try:
        times = cosigned_by(checkpoint, witnesses)
    except NoteError as error:
        report.add("COSIGNATURE_WRONG", path, str(error))
        return
    context.cosigned[checkpoint.head.size] = times
    report.total["witnesses"] += len(witnesses)
    report.valid["witnesses"] += len(times)
    for name, time in times.items():
        report.facts[f"seen by {name}"] = seen_at(time)
    if len(times) < context.quorum:
        report.add("NOT_WITNESSED", path, f"{len(times)} of {len(witnesses)}, {context.quorum} are needed")


def check_cosigned(context: Context, other: Mapping[str, Entry], head: Head) -> None:
    """Every checkpoint that was cosigned must be a head of this log; each witness holds the same."""
    report = context.report
    for path in sorted(path for path in other if path.startswith(COSIGNED)):
        report.total["cosigned checkpoints"] += 1
        data = context.read(path, "FILE_MISSING")
        if data is None:
            continue
        try:
            checkpoint = verify_checkpoint(data, context.keys)
            times = cosigned_by(checkpoint, context.options.witnesses)
        except NoteError as error:
            report.add("COSIGNATURE_WRONG", path, str(error))
            continue
        old, signers = checkpoint.head, checkpoint.note.verified_by(context.keys)
        if len(checkpoint.note.signatures) == len(signers):
            report.add("COSIGNATURE_WRONG", path, "nobody cosigned it")
        elif path != cosigned_path(old.size):
            report.add("COSIGNATURE_WRONG", path, f"a checkpoint of {old.size} leaves")
        elif (old.origin, old.size > head.size) != (head.origin, False):
            report.add("COSIGNED_INCONSISTENT", path, f"{old.origin} {old.size}; the log is {head.origin} {head.size}")
        elif (root := context.root_at(old.size)) is not None and root != old.root:
            report.add("COSIGNED_INCONSISTENT", path, f"another root at {old.size} leaves")
        elif root is not None:
            report.valid["cosigned checkpoints"] += 1
            # The head itself may have been cosigned again, later than this copy.
            context.cosigned[old.size] = times | context.cosigned.get(old.size, {})


def read_pins(context: Context) -> list[Head]:
    """The pinned checkpoints that a trusted key signed; a finding for every other one."""
    heads = []
    since = context.options.since
    for data in (*context.options.pinned, *([] if since is None else [since])):
        checkpoint = trusted_checkpoint(context, "", data, "PINNED_WRONG", "PINNED_WRONG")
        if checkpoint is not None:
            heads.append(checkpoint.head)
    return heads


def check_pins(
    context: Context, pins: Iterable[Head], origin: str, size: int, known: Mapping[int, bytes], *, whole: bool = False
) -> None:
    """Compare pinned heads with the roots that the target proves.

    Args:
        context: the verification; its tree knows every earlier root.
        pins: signed by a trusted key.
        origin: the log of the target.
        size: leaves of the newest head of the target.
        known: size → root that the target proves without a tree.
        whole: the target is all that is published, so that it must be as long as the pin.
    """
    report = context.report
    for pin in pins:
        report.total["pinned checkpoints"] += 1
        root = known.get(pin.size)
        if root is None and pin.size <= size:
            root = context.root_at(pin.size)
        if pin.origin != origin:
            report.add("LOG_ORIGIN_DIFFERS", "", f"pinned {pin.origin}; the log is {origin}")
        elif pin.size > size and whole:
            report.add("PINNED_AHEAD", "", f"{pin.size} leaves pinned, {size} found")
        elif root is None:
            report.add("PIN_NOT_COMPARED", "", f"{pin.size} leaves pinned, {size} found")
        elif pin.root != root:
            report.add("PINNED_FORKED", "", f"another root at {pin.size} leaves")
        else:
            report.valid["pinned checkpoints"] += 1
