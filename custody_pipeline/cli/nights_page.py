"""The table of nights on a terminal.

Belongs here: words and widths. Does not: finding the nights (operations/status.py).
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from custody_pipeline.cli.shared import tell
from custody_pipeline.cli.summary_page import rests_on
from custody_pipeline.operations.summary import NightSummary
from custody_pipeline.warehouse.night_states import NOT_PUBLISHED

if TYPE_CHECKING:
    from rich.console import Console


def print_nights(console: Console, found: list[NightSummary]) -> None:
    """Print the table, what is not established and why, and what to do."""
    from rich.table import Table

    table = Table("night", "state", box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("rev", "recordings", "complete", "gaps", "excluded", "unexplained"):
        table.add_column(name, justify="right")
    for night in found:
        if night.state != "missing":
            counted = (night.recordings, night.complete, night.gaps, night.excluded, night.unexplained)
            is_counted = night.revision is not None or night.recordings
            numbers = (str(number) if is_counted else "–" for number in counted)
            table.add_row(str(night.night), night.state or "–", str(night.revision or "–"), *numbers)
    if table.row_count:
        console.print(table)
    for night in found:
        if night.detail:
            tell(f"{night.night} failed: {night.detail}")
    for (claim, sources), group in groupby(found, _claim):
        if claim:
            newest, *_, oldest = [night.night for night in group] * 2
            tell(f"{claim}, {oldest if oldest == newest else f'{oldest} to {newest}'}{sources}")
    for is_missing, group in groupby(found, lambda night: night.state == "missing"):
        if is_missing:
            newest, *_, oldest = [night.night for night in group] * 2
            nights = f"it: {oldest}" if oldest == newest else f"them: {oldest} to {newest}"
            tell(f"missing, nobody collected {nights}")
    if any(night.completeness != "established" or night.state in NOT_PUBLISHED for night in found):
        tell("→ Solve the cause, or wait for the vendor, then run the night again: custody help runbooks", 2)


def _claim(night: NightSummary) -> tuple[str, str]:
    """The claim that a collected night cannot make, and the sources that are short; empty if it is established."""
    if night.completeness == "established" or night.state in NOT_PUBLISHED:
        return "", ""
    return night.completeness.replace("_", " "), rests_on(night)
