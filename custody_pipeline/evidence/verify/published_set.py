"""The published set as a whole: there is one log, and each of its leaves belongs to a cut that is there.

Files below `sealing/` are seals under way. Nothing there is evidence, and no check depends on it.

Belongs here: checks across cuts, the claim. Does not: the inside of a cut (one_cut.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import msgspec

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import ROTATION
from custody_pipeline.evidence.cut.removal import KEY_STATEMENT, STATEMENT
from custody_pipeline.evidence.cut.seal import CLAIM, HEAD, SEALING, Claimed
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.log.tiles import WIDTH, TileError, TileTree
from custody_pipeline.evidence.reader import CLAIM_BYTES, Entry, TargetError
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.copies import check_copies, without_duplicates
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.heads import check_cosigned, check_pins, trusted_checkpoint, verify_head
from custody_pipeline.evidence.verify.log_tiles import check_log_files, fetched, sound_tree
from custody_pipeline.evidence.verify.one_cut import CheckedCut, check_cut
from custody_pipeline.evidence.verify.removals import UNKNOWN_CUT, check_forgotten_keys, read_removals
from custody_pipeline.evidence.verify.rotations import check_retired
from custody_pipeline.evidence.verify.times import check_freshness, check_times

_CUT_FOLDER = re.compile(r"cuts/date=\d{4}-\d{2}-\d{2}/r\d{4}/", re.ASCII)

_ALONE = "|".join(map(re.escape, (ROTATION, STATEMENT, KEY_STATEMENT)))
_STAGED = re.compile(rf"{SEALING}[0-9a-f]{{32}}/(?:{_ALONE}|(?:data|landing|report|remains)/.+)", re.DOTALL)


def verify_prefix(context: Context, entries: Mapping[str, Entry], pins: Sequence[Head]) -> list[CheckedCut]:
    """Check a published prefix; the cuts that a trusted key signed."""
    report = context.report
    folders: dict[str, dict[str, Entry]] = {}
    other: dict[str, Entry] = {}
    for path, entry in entries.items():
        match = _CUT_FOLDER.match(path)
        if match:
            folders.setdefault(match[0], {})[path.removeprefix(match[0])] = entry
        else:
            other[path] = entry
    checkpoint = verify_head(context, HEAD)
    head = checkpoint.head if checkpoint else None
    if head:
        context.tree = sound_tree(context, other, head)
    context.since = _verified_before(context)
    context.removals = read_removals(context, folders)
    checked = [check_cut(context, place, folders[place], place) for place in sorted(folders)]
    known = [item for item in checked if item is not None]
    check_forgotten_keys(context, [item.cut for item in known])
    if head:
        for item in known:
            _check_in_log(context, item, head)
        _check_coverage(report, known, head)
        check_pins(context, pins, head.origin, head.size, {head.size: head.root}, whole=True)
        check_cosigned(context, other, head)
        check_log_files(context, other, head, known)
    check_times(context, known)
    if checkpoint:
        newest = {item.cut.log.size: item for item in known}.get(checkpoint.head.size)
        stated = (newest.cut, newest.timestamp) if newest else ()
        check_freshness(context, checkpoint.head.size, *stated)
    check_retired(context, known, checkpoint)
    _check_revisions(report, known)
    _check_nights(report, known)
    check_copies(context, other, known)
    _check_under_way(context, other, head)
    if context.since and report.not_read:
        report.add("NOT_READ_AGAIN", "", f"cuts: {len(report.not_read)}, up to leaf {context.since.size - 1}")
    if not pins:
        report.add("NO_PINNED_CHECKPOINT")
    return known


def _verified_before(context: Context) -> Head | None:
    """The head up to which the caller verified the set before; None unless the published log extends it."""
    if context.options.since is None or context.tree is None:
        return None
    checkpoint = trusted_checkpoint(context, "", context.options.since, "PINNED_WRONG", "PINNED_WRONG")
    if checkpoint is None or checkpoint.head.size > context.tree.size:
        return None
    head = checkpoint.head
    return head if context.root_at(head.size) == head.root else None


def _check_in_log(context: Context, item: CheckedCut, head: Head) -> None:
    """Compare a cut with the log that is there."""
    report, log, tree, path = context.report, item.cut.log, context.tree, item.prefix + cuts.CUT_JSON
    if log.origin != head.origin:
        report.add("LOG_ORIGIN_DIFFERS", path, f"{log.origin}; the log is {head.origin}")
    elif log.size > head.size:
        report.add("LOG_BEHIND_CUT", path, f"{log.size} leaves signed with the cut, {head.size} in the log")
    elif tree is not None:
        try:
            _compare_leaves(context, item, tree)
            before = log.previous_root == tree.root(log.first).hex()
            if not before or (item.head is not None and tree.root(log.size) != item.head.root):
                report.add("LOG_FORKED", path, f"another root at {log.size if before else log.first} leaves")
        except (TargetError, TileError) as error:
            report.add("FILE_UNREADABLE", path, str(error))


def _compare_leaves(context: Context, item: CheckedCut, tree: TileTree) -> None:
    log = item.cut.log
    if len(item.leaves) != log.records + 1:
        return  # RECORD_COUNT says so
    differing: list[int] = []
    for _, index, _ in fetched(tree, ((0, i, WIDTH) for i in range(log.first // WIDTH, -(-log.size // WIDTH)))):
        start, end = max(log.first, index * WIDTH), min(log.size, (index + 1) * WIDTH)
        ours = item.leaves[start - log.first : end - log.first]
        pairs = zip(ours, tree.leaves(start, end), strict=True)
        differing += [start - log.first + i for i, (our, their) in enumerate(pairs) if our != their]
    for number in differing[:5]:
        name = cuts.CUT_JSON if number == log.records else f"{cuts.RECORDS}, line {number + 1}"
        context.report.add("RECORD_NOT_IN_LOG", item.prefix + name, f"leaf {log.first + number}")


def _check_coverage(report: Report, known: Sequence[CheckedCut], head: Head) -> None:
    """Every leaf of the log must belong to exactly one cut that is there, unless there are cuts that cannot be read."""
    position, unknown = 0, report.unread(*UNKNOWN_CUT)
    for item in sorted(known, key=lambda item: item.cut.log.first):
        log = item.cut.log
        if log.origin != head.origin:
            continue
        if log.first > position and not unknown:
            report.add("LEAVES_UNEXPLAINED", "", f"leaves {position} to {log.first - 1}, before {item.prefix}")
        elif log.first < position:
            report.add("CUTS_OVERLAP", item.prefix, f"leaf {log.first} belongs to a cut before")
        position = max(position, log.size)
    if position < head.size and not unknown:
        report.add("LEAVES_UNEXPLAINED", "", f"leaves {position} to {head.size - 1}, the newest")


def _check_revisions(report: Report, known: Sequence[CheckedCut]) -> None:
    nights: dict[str, dict[int, CheckedCut]] = {}
    for item in known:
        nights.setdefault(item.cut.night, {})[item.cut.revision] = item
    for night, revisions in nights.items():
        for revision in range(1, max(revisions)):
            prefix = cuts.cut_prefix(night, revision)
            if revision not in revisions and not report.unread(*UNKNOWN_CUT, below=prefix):
                report.add("REVISION_MISSING", prefix)
        for item in revisions.values():
            superseded = item.cut.supersedes
            before = revisions.get(superseded.revision) if superseded else None
            if superseded and before and before.sha256 != superseded.sha256:
                detail = f"sha256 {superseded.sha256} superseded, {before.sha256} found"
                report.add("SUPERSEDED_WRONG", item.prefix + cuts.CUT_JSON, detail)


def _check_nights(report: Report, known: Sequence[CheckedCut]) -> None:
    nights = {date.fromisoformat(item.cut.night) for item in known}
    if not nights:
        return
    first, last = min(nights), max(nights)
    report.facts["nights"] = f"{len(nights)}, from {first} to {last}"
    holes = [night for night in (first + timedelta(days=i) for i in range((last - first).days)) if night not in nights]
    if holes:
        report.add("NIGHT_WITHOUT_CUT", "", f"{len(holes)}, the first is {holes[0]}")


def _check_under_way(context: Context, paths: Iterable[str], head: Head | None) -> None:
    """Report staged files, and files that are no part of a seal. The claim must name a head of this log."""
    report, staged = context.report, 0
    for path in sorted(path for path in paths if path.startswith(SEALING)):
        if path == CLAIM:
            _check_claim(context, head)
        elif _STAGED.fullmatch(path):
            staged += 1
        else:
            report.add("FILE_EXTRA", path)
    if staged:
        report.add("SEALING_UNDER_WAY", SEALING, f"{staged} files")


def _check_claim(context: Context, head: Head | None) -> None:
    data = context.read(CLAIM, "FILE_MISSING", CLAIM_BYTES)
    if data is None or head is None or context.tree is None:
        return
    try:
        claimed = msgspec.json.decode(data, type=Claimed)
        json.loads(data, object_pairs_hook=without_duplicates)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        context.report.add("CLAIM_WRONG", CLAIM, str(error))
        return
    if not 0 <= claimed.size <= head.size:
        context.report.add("CLAIM_WRONG", CLAIM, f"{claimed.size} leaves claimed, {head.size} in the log")
    elif (root := context.root_at(claimed.size)) is not None and claimed.root != root.hex():
        context.report.add("CLAIM_WRONG", CLAIM, f"another root at {claimed.size} leaves")
