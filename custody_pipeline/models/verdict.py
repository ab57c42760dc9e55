"""Whether nights are complete, in one sentence: the same in a report and in alerts.

Belongs here: the sentence. Does not: deciding it (sql/custody/nights.sql, sql/custody/coverage.sql).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb

from custody_pipeline.models.reasons import REASONS
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import table_columns


def verdict(states: Sequence[str | None], unexplained: int, sources: Sequence[str]) -> tuple[str, str]:
    """A tone (`good`, `bad` or `odd`) and a sentence.

    Args:
        states: the claim of each night (`established`, …); `failed` if its last run failed; None for a night that was
            never collected.
        unexplained: number of recordings that lack something without a reason.
        sources: the sources that are not whole, but for those that no night needs and that were not asked.
    """
    if unexplained:
        recordings = "1 recording" if unexplained == 1 else f"{unexplained} recordings"
        return "bad", f"No. Of {recordings} something is missing, and nobody knows why."
    if "incomplete" in states:
        return "bad", "No. A source names more than is there or explained; see custody.reconciliation."
    if not any(states):
        return "bad", "No. None of these nights was ever collected."
    if never := states.count(None):
        return "bad", f"No. {never} of {len(states)} nights {'was' if never == 1 else 'were'} never collected."
    if failed := states.count("failed"):
        last = "The last run" if len(states) == 1 else f"The last run of {failed} of {len(states)} nights"
        return "odd", f"It cannot be said yet. {last} failed; see custody status."
    if "not_established" in states:
        known = states.count("not_established")
        nights = (
            "The night is" if len(states) == 1 else f"{known} of {len(states)} nights {'is' if known == 1 else 'are'}"
        )
        which = ", ".join(dict.fromkeys(sources)) or "a source"
        return "odd", f"It cannot be said yet. {nights} not established: {which} did not answer whole."
    return "good", "Yes. Every source that could name a missing recording was asked, answered whole, and agrees."


def verdict_of(con: duckdb.DuckDBPyConnection, night: date, *, failed: bool = False) -> str:
    """The sentence of one night, with its question; empty before the night was modelled.

    Args:
        failed: its last run failed, which `custody.nights` has only after the next publication.
    """
    if "completeness" not in table_columns(con, "custody.nights"):
        return ""
    row = con.execute(
        "SELECT CASE WHEN collected_at IS NULL THEN NULL WHEN $failed OR state = 'failed' THEN 'failed' "
        "ELSE completeness END FROM custody.nights WHERE partition_date = $night",
        {"night": night, "failed": failed},
    ).fetchone()
    # The number of custody.nights is a sum over sources, which overlap.
    ((unexplained,),) = con.execute(
        f"SELECT count(*) FROM ({query('report/recordings')}) WHERE account = 'unexplained'",
        {"first": night, "last": night, "media": [reason.code for reason in REASONS if "media" in reason.explains]},
    ).fetchall()
    sources = con.execute(
        "SELECT DISTINCT source FROM custody.coverage "
        "WHERE state <> 'whole' AND (is_needed OR state <> 'not_asked') AND partition_date = $night ORDER BY source",
        {"night": night},
    ).fetchall()
    return "" if row is None else f"Complete? {verdict([row[0]], unexplained, [source for (source,) in sources])[1]}"
