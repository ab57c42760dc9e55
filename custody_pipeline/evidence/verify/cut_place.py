"""The place of a cut in the log: its records lead from the head before it to the head that was signed with it.

Belongs here: what the checkpoint in the folder of a cut proves. Does not: the published log (published_set.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import Cut
from custody_pipeline.evidence.log.checkpoint import Checkpoint, Head, read_witness_request, verify_extension
from custody_pipeline.evidence.log.merkle import ProofError
from custody_pipeline.evidence.log.note import NoteError
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.heads import trusted_checkpoint


def check_place(context: Context, prefix: str, cut: Cut, leaves: Sequence[bytes]) -> Checkpoint | None:
    """Recompute the log's root from the frontier, the records and cut.json; compare with the signed one.

    Returns:
        The checkpoint that was signed with the cut; None when there is none that a trusted key signed.
    """
    report = context.report
    try:
        frontier = cut.log.frontier_before()
        if frontier.root().hex() != cut.log.previous_root:
            raise ProofError("the frontier does not lead to previous_root")
    except ProofError as error:
        report.add("CUT_INCONSISTENT", prefix + cuts.CUT_JSON, str(error))
        return None
    frontier.extend(leaves[:-1])
    if frontier.root().hex() != cut.log.root:
        report.add("RECORD_NOT_IN_LOG", prefix + cuts.RECORDS, "the records do not lead to the root in cut.json")
    frontier.append(leaves[-1])
    path = prefix + cuts.CHECKPOINT
    data = context.read(path, "CUT_CHECKPOINT_MISSING")
    if data is None:
        return None
    checkpoint = trusted_checkpoint(context, path, data, "CUT_CHECKPOINT_WRONG", "CUT_CHECKPOINT_WRONG")
    if checkpoint is None:
        return None
    head = checkpoint.head
    if (head.origin, head.size) != (cut.log.origin, cut.log.size):
        detail = f"{head.origin} {head.size} signed, {cut.log.origin} {cut.log.size} in cut.json"
        report.add("CUT_CHECKPOINT_WRONG", path, detail)
    elif head.root != frontier.root():
        report.add("RECORD_NOT_IN_LOG", path, "the records and cut.json do not lead to the signed root")
    _check_consistency(context, prefix, cut, checkpoint)
    return checkpoint


def known_roots(cut: Cut, leaves: Sequence[bytes], sizes: Iterable[int]) -> dict[int, bytes]:
    """The root of the log at those of `sizes` that lie between the head before a cut and the head after it."""
    roots = {}
    for size in sizes:
        if cut.log.first <= size <= cut.log.size:
            frontier = cut.log.frontier_before()
            frontier.extend(leaves[: size - cut.log.first])
            roots[size] = frontier.root()
    return roots


def _check_consistency(context: Context, prefix: str, cut: Cut, checkpoint: Checkpoint) -> None:
    path = prefix + cuts.CONSISTENCY
    data = context.read(path, "CONSISTENCY_WRONG")
    if data is None:
        return
    try:
        size, proof, copy = read_witness_request(data)
        if size != cut.log.first or copy.note != checkpoint.note:
            raise ProofError("it is for other heads than the cut's")
        old = Head(cut.log.origin, size, bytes.fromhex(cut.log.previous_root))
        verify_extension(old, checkpoint.head, proof)
    except (NoteError, ProofError) as error:
        context.report.add("CONSISTENCY_WRONG", path, str(error))
