"""`custody status`: every night of the warehouse.

Belongs here: one line a night. Does not: the story of a single recording (explain).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from custody_pipeline.commands.summary import NightSummary, night_summary

if TYPE_CHECKING:
    from rich.console import Console

    from custody_pipeline.settings import Settings


def nights(settings: Settings) -> list[NightSummary]:
    """Summaries of all nights, newest first; none when there is no warehouse yet."""
    if not settings.warehouse_path.exists():
        return []
    from custody_pipeline.warehouse import Warehouse

    with Warehouse(settings).open(read_only=True) as con:
        days = con.execute(
            """
            SELECT partition_date FROM custody.chain_of_custody
            UNION SELECT partition_date FROM raw.publications
            ORDER BY 1 DESC
            """
        ).fetchall()
        return [summary for (day,) in days if (summary := night_summary(con, day)) is not None]


def print_nights(console: Console, found: list[NightSummary]) -> None:
    """The table on a terminal; what to do when it is empty."""
    from rich.table import Table

    if not found:
        console.print("No night yet. Try: custody demo, or custody run --date 2026-11-02")
        return
    table = Table("night", "state", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("rev", "recordings", "complete", "gaps", "excluded", "unexplained"):
        table.add_column(name, justify="right")
    for night in found:
        numbers = (night.recordings, night.complete, night.gaps, night.excluded, night.unexplained)
        table.add_row(str(night.night), night.state or "–", str(night.revision or "–"), *map(str, numbers))
    console.print(table)
