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
"""Published in their present state, and not sealed: `nights` describes all nights, and names of agents may change."""

_YOUNGER = ("access_events", "tag_quality")

# Actions left out of the content hash: they record that the night was looked at, not that its data changed. Hashing
# them would make each publication the cause of the next.
NO_CONTENT = ("accessed", "exception", "joined", "published", "rechecked", "verified")
_DIGESTS_AT_ONCE = 100_000


def night_content_sha256(con: duckdb.DuckDBPyConnection, night: date) -> str:
    """SHA-256 over every published row of a night, in order; equal content gives an equal hash.

    Left out are `revision`, which counts publications; the events in `NO_CONTENT`; and the numbers of events, which
    count those events too. Columns that are null for the whole night do not count, so that a column of a later mapping
    changes no earlier night.
    """
    digests = [f"{table} {_table_sha256(con, table, night)}" for table in PUBLISHED_TABLES]
    # A table that was added after nights were published does not change the hash of a night without rows in it.
    digests = [line for line in digests if line.removesuffix(" empty") not in _YOUNGER]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _table_sha256(con: duckdb.DuckDBPyConnection, table: str, night: date) -> str:
    names = [name for name in sorted(table_columns(con, f"custody.{table}")) if name not in {"revision", "sequence"}]
    rows = "partition_date = $night"
    if table == "custody_events":
        rows += f" AND action NOT IN {NO_CONTENT}"
    elif table == "access_events":  # the collection of a night is an access too
        rows += " AND NOT is_own_collection"
    counts = con.execute(
        f"SELECT {', '.join(f'count({quoted(name)})' for name in names)} FROM custody.{table} WHERE {rows}",
        {"night": night},
    ).fetchone()
    filled = [quoted(name) for name, count in zip(names, counts or (), strict=True) if count]
    if not filled:
        return "empty"
    # Rows become digests, which are sorted: DuckDB's sort spills to disk, and digests need no other order.
    digests = con.execute(
        f"SELECT sha256(to_json(struct_pack({', '.join(f'{name} := {name}' for name in filled)}))) AS digest "
        f"FROM custody.{table} WHERE {rows} ORDER BY digest",
        {"night": night},
    ).to_arrow_reader(_DIGESTS_AT_ONCE)
    whole = hashlib.sha256()
    for batch in digests:
        # Texts of equal length are contiguous in memory, so one update equals an update for each.
        column, size = batch.column(0), 2 * whole.digest_size
        text = memoryview(column.buffers()[2])
        whole.update(text[column.offset * size : (column.offset + len(column)) * size])
    return whole.hexdigest()
