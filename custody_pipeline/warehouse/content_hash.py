"""The content hash of a night: equal content gives an equal hash.

Belongs here: which tables and rows count as content. Does not: what follows from a change (publish).
"""

from __future__ import annotations

import hashlib
from datetime import date

import duckdb

from custody_pipeline.warehouse.sql_text import quoted, table_columns

# The tables that a night publishes, in the order in which its content is hashed.
PUBLISHED_TABLES = (
    "chain_of_custody", "custom_data", "gaps", "custody_events", "reconciliation", "access_events", "tag_quality",
)  # fmt: skip
LIVE_TABLES = ("nights", "agents")
"""Published as they are known now, and not sealed: one describes all nights, the other names that may change."""

_YOUNGER = ("access_events", "tag_quality")

# Events that say nothing new of a recording: what they are about is in the other tables, and counted there.
NO_CONTENT = ("accessed", "exception", "joined", "published", "rechecked", "verified")
_DIGESTS_AT_ONCE = 100_000


def night_content_sha256(con: duckdb.DuckDBPyConnection, night: date) -> str:
    """SHA-256 over every published row of a night, in order; equal content gives an equal hash.

    Left out: `revision`, which counts publications; events that looking at the night leaves behind (`NO_CONTENT`),
    which would make each publication the reason of the next; and the numbering of events, which counts those too.
    Columns that are null all night do not count, so that a column of a later mapping changes no earlier night.
    """
    digests = [f"{table} {_table_sha256(con, table, night)}" for table in PUBLISHED_TABLES]
    # A night without a row of a table that is younger than published nights has the content that it had.
    digests = [line for line in digests if line.removesuffix(" empty") not in _YOUNGER]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _table_sha256(con: duckdb.DuckDBPyConnection, table: str, night: date) -> str:
    names = [name for name in sorted(table_columns(con, f"custody.{table}")) if name not in {"revision", "sequence"}]
    rows = "partition_date = $night"
    if table == "custody_events":
        rows += f" AND action NOT IN {NO_CONTENT}"
    elif table == "access_events":  # collecting a night is an access, too
        rows += " AND NOT is_own_collection"
    counts = con.execute(
        f"SELECT {', '.join(f'count({quoted(name)})' for name in names)} FROM custody.{table} WHERE {rows}",
        {"night": night},
    ).fetchone()
    filled = [quoted(name) for name, count in zip(names, counts or (), strict=True) if count]
    if not filled:
        return "empty"
    # Rows as digests, sorted: DuckDB's sort spills, and sorted digests need no other order.
    digests = con.execute(
        f"SELECT sha256(to_json(struct_pack({', '.join(f'{name} := {name}' for name in filled)}))) AS digest "
        f"FROM custody.{table} WHERE {rows} ORDER BY digest",
        {"night": night},
    ).to_arrow_reader(_DIGESTS_AT_ONCE)
    whole = hashlib.sha256()
    for batch in digests:
        # Text of one length lies in one piece: as if each were taken by itself.
        column, size = batch.column(0), 2 * whole.digest_size
        text = memoryview(column.buffers()[2])
        whole.update(text[column.offset * size : (column.offset + len(column)) * size])
    return whole.hexdigest()
