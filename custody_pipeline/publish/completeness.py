"""A night's claim of completeness, which is sealed with the night, and the sources that it rests on.

Belongs here: reading it from the warehouse. Does not: deciding it (sql/custody/nights.sql, sql/custody/coverage.sql).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb

from custody_pipeline.evidence.cut.manifest import Completeness, Coverage
from custody_pipeline.publish.sealed_landing import rfc3339
from custody_pipeline.warehouse.sql_text import table_columns


@dataclass(frozen=True)
class Stated:
    """A night's claim of completeness, and the sources that it rests on."""

    completeness: Completeness
    coverage: tuple[Coverage, ...]


def completeness_of(con: duckdb.DuckDBPyConnection, night: date) -> Stated:
    """From `custody.nights` and `custody.coverage`; before the night was modelled nothing is established."""
    if "completeness" not in table_columns(con, "custody.nights"):
        return Stated("not_established", ())
    row = con.execute(
        "SELECT completeness FROM custody.nights WHERE partition_date = $night", {"night": night}
    ).fetchone()
    coverage = con.execute(
        "SELECT source, state, is_needed, sees, complete_until, detail FROM custody.coverage "
        "WHERE partition_date = $night ORDER BY source",
        {"night": night},
    ).fetchall()
    return Stated(
        row[0] if row else "not_established",
        tuple(
            Coverage(source, state, needed, sees, rfc3339(until), detail)
            for source, state, needed, sees, until, detail in coverage
        ),
    )
