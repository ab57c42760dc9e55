"""How a matter stands, on a terminal.

Belongs here: words and widths. Does not: counting (matters/standing.py).
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from custody_pipeline.cli.shared import numbered
from custody_pipeline.io.escaping import folded
from custody_pipeline.matters.standing import criteria

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from custody_pipeline.matters.matter import Matter
    from custody_pipeline.matters.standing import Night, Standing

_SHOWN = 10


def print_standing(console: Console, matter: Matter, standing: Standing) -> None:
    """The matter on one screen; lists are cut after some lines, `--json` has them whole."""

    def lines(text: str, indent: str, further: str | None = None) -> None:
        console.print(folded(text, console.width, indent, further), markup=False, soft_wrap=True)

    def line(text: str) -> None:
        bare = text.lstrip(" ")
        indent = " " * (len(text) - len(bare))
        lines(bare, indent, indent + "    ")

    found = standing.found
    line(f"{matter.title}  ·  {matter.number or 'no number'}")
    for name, value in criteria(matter):
        line(f"  {name}: {value}")
    audio = sum(item.media_sha256 is not None for item in found.recordings)
    line(f"  found {numbered(len(found.recordings), 'recording')}, {audio} with audio")
    for reason, count in Counter(item.excluded for item in found.recordings if item.excluded).items():
        line(f"  excluded {count}: {reason}")
    if found.repeated:
        line(f"  {numbered(found.repeated, 'line')} of the list repeat{'s' * (found.repeated == 1)} an id")
    for ids, what in (
        (found.unmatched, "in no collected night"),
        (found.elsewhere, "there, but outside of the other conditions"),
        (found.excluded_unmatched, "excluded, but not found by the selection"),
        (found.strangers, "an agent that no collected night has"),
    ):
        for item in ids[:_SHOWN]:
            line(f"  {item}: {what}")
        if len(ids) > _SHOWN:
            line(f"  … and {len(ids) - _SHOWN} more {what}; --json lists all")
    line("Nights")
    for missing, group in groupby(standing.nights, lambda night: night.state == "missing"):
        _print_nights(line, list(group), missing=missing)
    if standing.changed:
        line(f"  published again since the last look: {', '.join(map(str, standing.changed))}")
    line("Gaps" if standing.gaps else "Gaps: none")
    for gap in standing.gaps:
        until = f" until {gap.until:%Y-%m-%d %H:%M} UTC" if gap.until else ""
        had = f"{gap.recoverable} can still be recovered{until}" if gap.recoverable else gap.otherwise
        line(f"  {gap.reason}  {gap.recordings}, {had}")
        lines(gap.sentence, "    ")
        if gap.recoverable:
            lines(f"→ {gap.next_action}", "    ", "      ")
    line(f"Produced {standing.produced}, not yet produced {standing.remaining}")
    if not found.recordings:
        line("the selection finds no recording")
    elif standing.saturated:
        unknown = (
            f", but for {numbered(len(found.unmatched), 'id')} that no collected night has" if found.unmatched else ""
        )
        line(f"saturated: nothing that is missing can be recovered{unknown}")
    else:
        line("not saturated: something can still be recovered, or a night may still grow")


def _print_nights(line: Callable[[str], None], nights: list[Night], *, missing: bool) -> None:
    if missing and len(nights) > _SHOWN:
        line(f"  {nights[0].night} to {nights[-1].night}: never collected → {nights[0].command}, and so on")
        return
    for night in nights:
        # A command stands on a line of its own, so that it can be copied.
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(night.kinds.items())) or "nothing of this matter"
        state = "never collected" if missing else f"{night.state}, revision {night.revision or '–'}, {kinds}"
        line(f"  {night.night}  {state}")
        if night.command:
            line(f"    → {night.command}")
