"""Rows that a selection reads, from the warehouse: a night's, or all.

Belongs here: copying them. Does not: the selection (matters), which reads the analysts' snapshot elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from custody_pipeline.warehouse.sql_text import table_columns

if TYPE_CHECKING:
    from datetime import date

_CHAIN = (
    "partition_date", "conversation_id", "recording_id", "media_type", "media_subtype", "media_sha256", "object_uri",
    "sidecar_uri", "row_sha256", "custody_status", "gap_reasons", "ani", "dnis", "user_ids", "queue_ids", "queue_names",
    "custom_data", "custom_data_state", "conversation_start", "recording_start",
)  # fmt: skip
"""The columns that the conditions of an erasure or a policy read, and those that a found recording has."""


def readable(con: duckdb.DuckDBPyConnection, night: date | None = None) -> duckdb.DuckDBPyConnection:
    """A connection in memory with what a selection reads of the warehouse `con`; close it.

    A selection closes its connection against the outside, so it must not be the warehouse's.
    """
    memory = duckdb.connect()
    memory.execute("SET enable_progress_bar = false")
    memory.execute("CREATE SCHEMA custody")
    for table, columns in (("chain_of_custody", ", ".join(_CHAIN)), ("agents", "*"), ("divisions", "*")):
        if not table_columns(con, f"custody.{table}"):
            continue
        rows = con.execute(
            f"SELECT {columns} FROM custody.{table} WHERE $night::DATE IS NULL OR partition_date = $night",
            {"night": night},
        ).to_arrow_table()
        memory.register("copied", rows)
        memory.execute(f"CREATE TABLE custody.{table} AS SELECT * FROM copied")
        memory.unregister("copied")
    return memory
