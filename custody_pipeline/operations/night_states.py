"""`custody status`: every night of the warehouse.

Belongs here: one summary a night. Does not: the story of a single recording (explain.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from custody_pipeline.operations.summary import NightSummary, night_summary

if TYPE_CHECKING:
    from custody_pipeline.settings import Settings


def nights(settings: Settings) -> list[NightSummary]:
    """Summaries of all nights, newest first; none when there is no warehouse yet."""
    if not settings.warehouse_path.exists():
        return []
    from custody_pipeline.warehouse.connection import Warehouse

    with Warehouse(settings).open(read_only=True) as con:
        days = con.execute(
            """
            SELECT partition_date FROM custody.chain_of_custody
            UNION SELECT partition_date FROM raw.publications
            ORDER BY 1 DESC
            """
        ).fetchall()
        return [summary for (day,) in days if (summary := night_summary(con, day)) is not None]
