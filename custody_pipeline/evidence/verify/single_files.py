"""One file by itself: a proof, or a file of a cut.

Belongs here: checks that need no published set. Does not: a checkpoint (heads.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.proof import Commitment, ProofFileError, RecordProof, read_proof
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.log.merkle import ProofError
from custody_pipeline.evidence.reader import MANIFEST_BYTES, Entry
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import compare_file, digest
from custody_pipeline.evidence.verify.heads import check_pins, check_witnesses, trusted_checkpoint
from custody_pipeline.evidence.verify.one_cut import open_cut
from custody_pipeline.evidence.verify.times import check_freshness

_Proof = TypeVar("_Proof", RecordProof, Commitment)
_KEY = ("partition_date", "conversation_id", "recording_id")


def verify_file_of_cut(context: Context, path: str, entries: Mapping[str, Entry], pins: Iterable[Head]) -> None:
    """Check one file of the cut whose folder is the target, and no other file."""
    report = context.report
    opened = open_cut(context, "")
    if opened is None:
        return
    cut = opened[0]
    report.add("ONLY_ONE_FILE")
    report.total["files"] += 1
    roots = {cut.log.first: bytes.fromhex(cut.log.previous_root), cut.log.cut_index: bytes.fromhex(cut.log.root)}
    check_pins(context, pins, cut.log.origin, cut.log.size, roots)
    if context.quorum:
        report.add("NOT_WITNESSED", path, "one file of a cut shows no head of the log")
    check_freshness(context, cut.log.size, cut)
    file, entry = cut.file(path), entries.get(path)
    if path in {cuts.CUT_JSON, cuts.SIGNATURE}:
        report.valid["files"] += 1
    elif path in cuts.SEAL_FILES:
        report.add("NOTHING_FOUND", path, "verify the whole cut for that")
    elif file is None:
        report.add("FILE_EXTRA", path)
    elif entry is None:
        report.add("FILE_MISSING", path)
    else:
        context.bytes_total = file.bytes
        compare_file(context, "", cut, entry, digest(context, "", entry) if entry.size == file.bytes else None)


def verify_proofs(context: Context, paths: Iterable[str], pins: Sequence[Head]) -> None:
    """Check proofs that are no part of a package. They cannot show which revision is the newest.

    Of two records of one recording in one log, the one with the lower index was replaced.
    """
    newest: dict[tuple[str | None, ...], tuple[int, str]] = {}
    for path in sorted(paths):
        proof = verify_proof_file(context, path, pins, read_proof)
        if proof is None:
            continue
        context.report.add("PROOF_ALONE", path)
        context.report.facts["leaf"] = f"{proof.index}, {proof.leaf.hex()}"
        for name in (*_KEY, "media_sha256", "custody_status"):
            context.report.facts[name] = proof.row.get(name) or "-"
        key = (proof.checkpoint.head.origin, *(proof.row.get(name) for name in _KEY))
        older, newer = sorted([(proof.index, path), newest.get(key, (proof.index, path))])
        newest[key] = newer
        if older[0] != newer[0]:
            context.report.add("REVISION_SUPERSEDED", older[1], f"{newer[1]} is of a newer revision")


def verify_proof_file(
    context: Context, path: str, pins: Iterable[Head], read_file: Callable[[bytes], _Proof]
) -> _Proof | None:
    """Check a record's proof, or a commitment; None with a finding unless it is in a log that a trusted key signed."""
    report = context.report
    report.total["proofs"] += 1
    data = context.read(path, "FILE_MISSING", MANIFEST_BYTES)
    if data is None:
        return None
    try:
        proof = read_file(data)
        note = proof.checkpoint.note.data
        if not trusted_checkpoint(context, path, note, "LOG_SIGNED_BY_OTHERS", "LOG_CHECKPOINT_WRONG"):
            return None
        proof.check_inclusion()
        if isinstance(proof, RecordProof) and not proof.row:
            raise ProofFileError("the record is empty")
    except ProofFileError as error:
        report.add("PROOF_MALFORMED", path, str(error))
        return None
    except ProofError as error:
        report.add("PROOF_WRONG", path, str(error))
        return None
    head = proof.checkpoint.head
    check_witnesses(context, path, proof.checkpoint)
    check_freshness(context, head.size)
    check_pins(context, pins, head.origin, head.size, {head.size: head.root})
    report.facts["log"] = f"{head.origin}, {head.size} leaves, root {head.root.hex()}"
    report.valid["proofs"] += 1
    return proof
