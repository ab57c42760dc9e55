"""Copies of the warehouse's rows for a selection: a night's rows, or all.

Belongs here: copying them. Does not: the selection (matters), which otherwise reads the analysts' snapshot.
"""

from __future__ import annotations

from datetime import date

import duckdb

from custody_pipeline.warehouse.sql_text import table_columns

_CHAIN = (
    "partition_date", "conversation_id", "recording_id", "media_type", "media_subtype", "media_sha256", "object_uri",
    "sidecar_uri", "row_sha256", "custody_status", "gap_reasons", "ani", "dnis", "user_ids", "queue_ids", "queue_names",
    "custom_data", "custom_data_state", "conversation_sha256", "conversation_start", "recording_start",
)  # fmt: skip
"""The columns in conditions of an erasure or a policy, and the columns of a found recording."""


def readable(con: duckdb.DuckDBPyConnection, night: date | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory connection with copies of the rows of the warehouse `con` that a selection reads; close it.

    A selection denies its connection external access, so it must not use the warehouse's connection.
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
