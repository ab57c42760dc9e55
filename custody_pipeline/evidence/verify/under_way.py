"""Files below `sealing/`: seals under way. Nothing there is evidence, and no check depends on it.

Belongs here: the names and the claim. Does not: staged files' bytes, which nobody has sealed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import msgspec

from custody_pipeline.evidence.cut.forgotten_key import KEY_STATEMENT
from custody_pipeline.evidence.cut.manifest import ROTATION
from custody_pipeline.evidence.cut.removal import STATEMENT
from custody_pipeline.evidence.cut.seal import CLAIM, SEALING, Claimed
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.reader import CLAIM_BYTES
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.copies import without_duplicates

_ALONE = "|".join(map(re.escape, (ROTATION, STATEMENT, KEY_STATEMENT)))
_STAGED = re.compile(rf"{SEALING}[0-9a-f]{{32}}/(?:{_ALONE}|(?:data|landing|report|remains)/.+)", re.DOTALL)


def check_under_way(context: Context, paths: Iterable[str], head: Head | None) -> None:
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
    elif claimed.root != context.tree.root(claimed.size).hex():
        context.report.add("CLAIM_WRONG", CLAIM, f"another root at {claimed.size} leaves")
