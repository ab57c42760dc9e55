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
    from custody_pipeline.warehouse.sql_text import table_columns

    with Warehouse(settings).open(read_only=True) as con:
        if not table_columns(con, "custody.chain_of_custody"):
            return []  # the first night failed before it was modelled
        days = con.execute(
            """
            SELECT partition_date FROM custody.chain_of_custody
            UNION SELECT partition_date FROM raw.publications
            ORDER BY 1 DESC
            """
        ).fetchall()
        return [summary for (day,) in days if (summary := night_summary(con, day)) is not None]
