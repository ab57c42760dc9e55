"""The check of one cut: its signature, its timestamp, its place in the log, and everything that its own folder answers.

Belongs here: the order of the checks of a cut. Does not: the log and the other cuts (published_set.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import Cut, CutAlteredError, CutError
from custody_pipeline.evidence.cut.records import leaf_hash
from custody_pipeline.evidence.cut.removal import KEY_STATEMENT, REMAINS, STATEMENT, is_rendering
from custody_pipeline.evidence.cut.timestamp import TimestampError, verify_timestamp
from custody_pipeline.evidence.log.checkpoint import Checkpoint, Head, read_witness_request, verify_extension
from custody_pipeline.evidence.log.keys import keys_of_rotation
from custody_pipeline.evidence.log.merkle import ProofError
from custody_pipeline.evidence.log.note import NoteError, Verifier
from custody_pipeline.evidence.log.tiles import TileError
from custody_pipeline.evidence.reader import MANIFEST_BYTES, Entry, TargetError
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import check_files, check_locks, check_sizes, compare_file, is_table
from custody_pipeline.evidence.verify.cut_renderings import check_renderings
from custody_pipeline.evidence.verify.cut_rows import RecordCheck, check_counts, check_tombstones
from custody_pipeline.evidence.verify.heads import trusted_checkpoint

_PAGE = re.compile(rf"{cuts.REPORT}(?:report\.html|rows/[^/]+\.csv)")
_NOT_WHOLE = ("partial", "failed")


@dataclass(frozen=True)
class CheckedCut:
    """A cut that a trusted key signed.

    Attributes:
        prefix: its place in the target.
        cut: its content.
        sha256: of its cut.json.
        leaves: leaf hashes of its records as found, and of cut.json.
        checkpoint: the log's checkpoint after it, if a trusted key signed it.
        media: (object URI, version id, sha256) of its recordings, if they are to be compared.
        timestamp: the time of its cut.json that a trusted authority states.
        signers: the trusted keys that signed it.
    """

    prefix: str
    cut: Cut
    sha256: str
    leaves: list[bytes]
    checkpoint: Checkpoint | None
    media: list[tuple[str, str | None, str | None]]
    timestamp: datetime | None
    signers: list[Verifier]

    @property
    def head(self) -> Head | None:
        """The head in its checkpoint."""
        return self.checkpoint.head if self.checkpoint else None


def check_cut(context: Context, prefix: str, entries: Mapping[str, Entry], place: str | None) -> CheckedCut | None:
    """Check a cut. A cut that no trusted key signed is reported and not opened.

    Args:
        context: the verification.
        prefix: the cut's folder in the target, with a trailing slash, or empty.
        entries: the folder's files by path relative to it.
        place: the folder that cut.json must name; None when the folder's place is not known.
    """
    report = context.report
    before = len(report.of(Severity.ERROR))
    opened = open_cut(context, prefix)
    if opened is None:
        report.total["cuts"] += 1
        return None
    cut, data, signers = opened
    if place is not None and cut.prefix != place:
        report.add("CUT_MISPLACED", prefix, f"cut.json says {cut.prefix}")
    timestamp = _check_timestamp(context, prefix, cut, data, entries)
    if (leaves := _leaves_verified_before(context, cut, data)) is not None:
        report.not_read.add(prefix)
        check_sizes(context, prefix, cut, entries)
        checkpoint = check_place(context, prefix, cut, leaves)
        return CheckedCut(prefix, cut, report.cuts[prefix], leaves, checkpoint, [], timestamp, signers)
    report.total["cuts"] += 1
    tables, as_sealed = check_files(context, prefix, cut, entries)
    if cut.file(cuts.TABLE) is None or cut.file(cuts.RECORDS) is None:
        report.add("CUT_MALFORMED", prefix + cuts.CUT_JSON, f"{cuts.TABLE} or {cuts.RECORDS} is not listed")
    records = RecordCheck(context, prefix, cut, entries.get(cuts.RECORDS))
    leaves = [*records.check(tables.get(cuts.TABLE)), leaf_hash(data)]
    if cuts.RECORDS in entries:
        compare_file(context, prefix, cut, entries[cuts.RECORDS], records.sha256)
    checkpoint = check_place(context, prefix, cut, leaves, whole=not records.unread)
    check_locks(context, prefix, cut, entries)
    check_counts(context, prefix, cut, tables)
    _check_completeness(context, prefix, cut)
    check_tombstones(context, prefix, cut, tables.get(cuts.TABLE), alone=place is None)
    check_renderings(context, prefix, cut, as_sealed, tables)
    _check_purposes(context, prefix, cut)
    if cuts.ROTATION in as_sealed:
        _check_rotation(context, prefix, cut)
    if len(report.of(Severity.ERROR)) == before:
        report.valid["cuts"] += 1
    return CheckedCut(prefix, cut, report.cuts[prefix], leaves, checkpoint, records.media, timestamp, signers)


def _leaves_verified_before(context: Context, cut: Cut, data: bytes) -> list[bytes] | None:
    """The leaves, read from the log, of a cut that the caller verified before; None for every other cut."""
    log, tree = cut.log, context.tree
    if context.since is None or tree is None or log.origin != context.since.origin or log.size > context.since.size:
        return None
    try:
        leaves = list(tree.leaves(log.first, log.size))
    except (TargetError, TileError):
        return None
    return leaves if leaves and leaves[-1] == leaf_hash(data) else None


def open_cut(context: Context, prefix: str) -> tuple[Cut, bytes, list[Verifier]] | None:
    """A cut, the bytes of its cut.json, and the trusted keys that signed it; None with a finding if none did."""
    report, path = context.report, prefix + cuts.CUT_JSON
    data = context.read(path, "CUT_INCOMPLETE", MANIFEST_BYTES)
    signature = context.read(prefix + cuts.SIGNATURE, "CUT_UNSIGNED")
    if data is None:
        return None
    context.advance(len(data))
    report.cuts[prefix] = hashlib.sha256(data).hexdigest()
    if signature is None:
        return None
    try:
        with context.signature(prefix + cuts.SIGNATURE, "CUT_SIGNED_BY_OTHERS", "CUT_SIGNATURE_WRONG"):
            cut, signers = cuts.open_cut(data, signature, context.keys)
            report.signed_by(signers)
            return cut, data, signers
    except CutAlteredError as error:
        report.add("CUT_ALTERED", path, str(error))
    except CutError as error:
        report.add("CUT_MALFORMED", path, str(error))
    return None


def _check_completeness(context: Context, prefix: str, cut: Cut) -> None:
    """Nothing is established while a source that could contradict it is not whole, by the coverage or by a receipt."""
    coverage = cut.coverage or ()
    lacking = {i.source for i in coverage if i.state != "whole" and (i.needed or i.state != "not_asked")}
    # The receipts are those of the newest loads, and of the older load whose rows are used where the newest has none.
    states = {item.source: item.state for item in coverage}
    for receipt in cut.receipts:
        state = states.get(receipt.resource)
        if state is None or (state == "whole" and receipt.state in _NOT_WHOLE):
            lacking.add(receipt.resource)
    if cut.complete == "established" and (lacking or not coverage):
        problem = f"{', '.join(sorted(lacking))} is not whole" if lacking else "no source is named"
        context.report.add("COMPLETENESS_WRONG", prefix + cuts.CUT_JSON, f"established, but {problem}")


def _check_purposes(context: Context, prefix: str, cut: Cut) -> None:
    """A finding for each file of a cut whose purpose is unknown."""
    stated = next((item.statement for item in context.removals.found if item.prefix == prefix), None)
    known = {path for receipt in cut.receipts for path in receipt.landing}
    known |= {cuts.RECORDS, cuts.ROTATION, STATEMENT, KEY_STATEMENT}
    known |= {file.remains for file in stated.files if file.remains} if stated else set()
    for file in cut.files:
        path = file.path
        # Without the cuts before it, a statement is not checked, and neither are the files that it names.
        remains = stated is None and cut.file(STATEMENT) is not None and path.startswith(REMAINS)
        if not (path in known or remains or is_table(path) or is_rendering(path) or _PAGE.fullmatch(path)):
            context.report.add("FILE_UNKNOWN", prefix + path)


def _check_rotation(context: Context, prefix: str, cut: Cut) -> None:
    path = prefix + cuts.ROTATION
    data = context.read(path, "FILE_MISSING")
    try:
        if data is not None and path not in context.rotated:
            keys_of_rotation(data, cut.log.origin)
    except NoteError as error:
        context.report.add("ROTATION_WRONG", path, str(error))


def _check_timestamp(
    context: Context, prefix: str, cut: Cut, data: bytes, entries: Mapping[str, Entry]
) -> datetime | None:
    """The time that a trusted authority states for cut.json; None with a finding or a note otherwise."""
    path = prefix + cuts.TIMESTAMP
    if not cut.timestamped:
        if cuts.TIMESTAMP in entries:
            context.report.add("FILE_EXTRA", path, "cut.json says that no timestamp was made")
        context.report.add("NOT_TIMESTAMPED")
        return None
    response = context.read(path, "TIMESTAMP_MISSING")
    if response is None:
        return None
    if not context.options.timestamp_roots:
        context.report.add("TIMESTAMP_NOT_CHECKED", path)
        return None
    try:
        time = verify_timestamp(response, data, context.options.timestamp_roots)
    except TimestampError as error:
        context.report.add("TIMESTAMP_WRONG", path, str(error))
        return None
    context.report.facts[f"timestamp of {cut.night} r{cut.revision:04d}"] = time.isoformat()
    return time


def check_place(
    context: Context, prefix: str, cut: Cut, leaves: Sequence[bytes], *, whole: bool = True
) -> Checkpoint | None:
    """Recompute the log's root from the frontier, the records and cut.json; compare with the signed one.

    Args:
        context: the verification.
        prefix: of the cut.
        cut: its content.
        leaves: of its records and of cut.json.
        whole: all leaves are known; otherwise no root is compared.

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
    if whole and frontier.root().hex() != cut.log.root:
        report.add("RECORD_NOT_IN_LOG", prefix + cuts.RECORDS, "the records do not lead to the root in cut.json")
    frontier.extend(leaves[-1:])
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
    elif whole and head.root != frontier.root():
        report.add("RECORD_NOT_IN_LOG", path, "the records and cut.json do not lead to the signed root")
    _check_consistency(context, prefix, cut, checkpoint)
    return checkpoint


def known_roots(cut: Cut, leaves: Sequence[bytes], sizes: Iterable[int]) -> dict[int, bytes]:
    """The root of the log at those of `sizes` that lie between the head before a cut and the head after it."""
    roots = {}
    for size in sizes:
        if cut.log.first <= size <= cut.log.size and len(leaves) == cut.log.records + 1:
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
