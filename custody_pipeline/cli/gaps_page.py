"""Gaps on a terminal: each reason once, with its recordings below it.

Belongs here: words and widths. Does not: finding the gaps (operations/explain.py).
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from custody_pipeline.cli.shared import numbered, say, tell
from custody_pipeline.io.clock import utc_now

_INDENT = 14
_NO_RECORDING = ("source:", "object:", "organization:")


def print_gaps(rows: list[dict[str, Any]]) -> None:
    """Print the gaps in the given order, grouped by reason. No line is wider than the terminal."""
    for reason, group in groupby(rows, lambda row: (row["reason"], row["severity"])):
        found = list(group)
        others = any((row["recording_id"] or "").startswith(_NO_RECORDING) for row in found)
        tell(f"{reason[0]}  {reason[1]}, {numbered(len(found), 'gap' if others else 'recording')}")
        tell(f"  {found[0]['sentence']}", 2)
        tell(f"  → {found[0]['next_action']}", 4)
        deadlines = {_deadline(row) for row in found}
        shared = deadlines.pop() if len(deadlines) == 1 else ""
        if shared:
            tell(f"  {shared}", 2)
        for row in found:
            tell(f"  {row['partition_date']}  {row['recording_id'] or '-'}", _INDENT)
            tell(f"{'':{_INDENT}}conversation {row.get('conversation_id') or '-'}", _INDENT)
            what = [", ".join(row.get("tag_keys") or ()) or row.get("detail") or "", "" if shared else _deadline(row)]
            if details := "; ".join(filter(None, what)):
                tell(f"{'':{_INDENT}}{details}", _INDENT)
        tell("")
    print(numbered(len(rows), "gap"))  # noqa: T201


def warn_of_unsettled(nights: int, what_says: str) -> None:
    """Say on stderr that an answer rests on nights that failed, are missing or are not established."""
    if nights:
        which = "1 night is" if nights == 1 else f"{nights} nights are"
        say(f"{which} failed, missing or not established: more may be missing than {what_says}; see custody status")


def _deadline(row: dict[str, Any]) -> str:
    if until := row.get("recoverable_until"):
        return f"until {until:%Y-%m-%d %H:%M} UTC"
    if until := row.get("recheck_until"):
        return f"{'was ' * (until < utc_now())}rechecked until {until:%Y-%m-%d %H:%M} UTC"
    return ""
