"""The rows that nights share: a few rows of a few tables, in one Parquet object per night.

A row is JSON text with the name of its table and the type of its row. So one object holds any table, and workers of two
versions can read a table that got a column.

Belongs here: which rows are shared, writing and copying them. Does not: where the objects are (night_objects.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import duckdb

from custody_pipeline.warehouse.sql_text import literal, quoted, table_columns, transaction

# The values in the night's snapshots, each once. A value is left out if an earlier night shared it and no night has
# contradicted it since: twenty thousand users, repeated by every night, would be gigabytes. Only earlier nights count,
# so that two nights never both leave out a value.
_CATALOG = """
    WITH others AS (
        SELECT o.partition_date, o.{id} AS id, row({columns}) AS said, (coalesce("sequence", 0), landing_id) AS load
        FROM {table} AS o
        INNER JOIN raw.extraction_receipts USING (partition_date, landing_id)
        WHERE partition_date <> $night AND receipt_state IN ('complete', 'partial')
    )

    SELECT d.*
    FROM {table} AS d
    INNER JOIN raw.extraction_receipts USING (partition_date, landing_id)
    LEFT JOIN (SELECT id, arg_max(said, load) AS said FROM others GROUP BY id) AS newest ON newest.id = d.{id}
    WHERE partition_date = $night AND receipt_state IN ('complete', 'partial')
        AND NOT (
            row({columns}) IN (SELECT said FROM others WHERE partition_date < $night)
            AND ({any_version} OR row({columns}) IS NOT DISTINCT FROM newest.said)
        )
    QUALIFY row_number() OVER (PARTITION BY row({columns}) ORDER BY "sequence" DESC, landing_id DESC) = 1
"""


def _catalog(table: str, *columns: str, any_version: bool = False) -> str:
    return _CATALOG.format(table=table, id=columns[0], columns=", ".join(columns), any_version=str(any_version).lower())


_OF_NIGHT = "FROM {table} WHERE partition_date = $night"

SHARED = {
    "raw.extraction_receipts": _OF_NIGHT,
    "raw.publications": _OF_NIGHT,
    "raw.published_columns": _OF_NIGHT
    + " AND revision = (SELECT max(revision) FROM raw.published_columns WHERE partition_date = $night)",
    "raw.acts": _OF_NIGHT
    + " AND conversation_id = '' AND (action IN ('exception', 'rechecked') OR action = 'verified' AND why = 'fixity')",
    "raw.fixity_checks": _OF_NIGHT + " AND result IN ('changed', 'gone')",
    "raw.published_scripts": _catalog(
        "raw.published_scripts", "script_id", "version_id", "script_name", "published_date", any_version=True
    ),
    "raw.queues": _catalog("raw.queues", "queue_id", "queue_name"),
    "raw.users": _catalog("raw.users", "user_id", "user_name", "email", "division_name"),
    "custody.nights": _OF_NIGHT,
    "custody.coverage": _OF_NIGHT,
    "custody.tag_quality": _OF_NIGHT,
    "custody.agents": _OF_NIGHT,
    "staging.carried_over": _OF_NIGHT,
    "staging.night_organizations": _OF_NIGHT,
}
"""Tables whose rows every night and every reader gets, with the SELECT of a night's rows."""

NEAR = {"staging.placed_ids": _OF_NIGHT, "staging.recording_nights": _OF_NIGHT}
"""Tables with a row for each recording: only neighbours read them."""

ALERTS_OF_NIGHT = "SELECT * FROM raw.alerts_sent EXCEPT ALL SELECT * FROM custody_taken_alerts"
"""The alerts that runs of this night sent. The night of an alert may be another one, which nobody ran."""


def write_shared(con: duckdb.DuckDBPyConnection, night: date, tables: dict[str, str], to: Path) -> None:
    """Write the night's rows of `tables` that are in the warehouse as Parquet: table_name, kind, row."""
    # An object without rows has the columns too.
    parts = ["SELECT ''::VARCHAR AS table_name, ''::VARCHAR AS kind, ''::VARCHAR AS row WHERE $night IS NULL"]
    for table, rows in tables.items():
        if columns := table_columns(con, table):
            kind = literal(_kind(columns))
            parts.append(
                f"SELECT {literal(table)} AS table_name, {kind} AS kind, to_json(r)::VARCHAR AS row "
                f"FROM ({rows.format(table=table)}) AS r"
            )
    if "raw.publications" in tables and table_columns(con, "raw.alerts_sent"):
        kind = literal(_kind(table_columns(con, "raw.alerts_sent")))
        own = ALERTS_OF_NIGHT if table_columns(con, "custody_taken_alerts") else "FROM raw.alerts_sent"
        parts.append(f"SELECT 'raw.alerts_sent', {kind}, to_json(r)::VARCHAR FROM ({own}) AS r")
    con.execute(
        f"COPY ({' UNION ALL '.join(parts)}) TO {literal(str(to))} (FORMAT parquet, COMPRESSION zstd)", {"night": night}
    )


def take_over(
    con: duckdb.DuckDBPyConnection, night: date | None, files: Sequence[Path], *, modelled: bool = True
) -> None:
    """Replace the rows of all other nights by the rows in their objects.

    Args:
        night: the warehouse's own night; None: all nights are others.
        modelled: False in a warehouse with only the night's raw part: the rows of the models' tables are then copied
            from its own object, so that they are still shared if the models do not run.
    """
    with transaction(con):
        con.execute("CREATE TEMP TABLE shared_rows (table_name VARCHAR, kind VARCHAR, row VARCHAR)")
        if files:
            con.execute(
                "INSERT INTO shared_rows FROM read_parquet($files, hive_partitioning = false)",
                {"files": list(map(str, files))},
            )
        found = con.execute("SELECT table_name, arg_max(kind, strlen(kind)) FROM shared_rows GROUP BY ALL").fetchall()
        kinds = dict(found)
        for table in [*SHARED, *NEAR, "raw.alerts_sent"]:
            if table in kinds and not table_columns(con, table):
                con.execute(f"CREATE TABLE {table} AS SELECT unnest(NULL::{kinds[table]}) LIMIT 0")
            if not (columns := table_columns(con, table)):
                continue
            if table == "raw.alerts_sent":
                _take_over_alerts(con, columns)
                continue
            own = None if not modelled and not table.startswith("raw.") else night
            con.execute(f"DELETE FROM {table} WHERE partition_date IS DISTINCT FROM ?", [own])
            rows = f"{_shared(table, columns)} WHERE r.partition_date IS DISTINCT FROM ?"
            con.execute(f"INSERT INTO {table} BY NAME {rows}", [own])
        con.execute("DROP TABLE shared_rows")


def _take_over_alerts(con: duckdb.DuckDBPyConnection, columns: dict[str, str]) -> None:
    """Copy the alerts of other nights' runs; the alerts of this night's own runs stay."""
    if table_columns(con, "custody_taken_alerts"):
        con.execute("CREATE OR REPLACE TEMP TABLE own AS FROM raw.alerts_sent EXCEPT ALL FROM custody_taken_alerts")
        con.execute("DELETE FROM raw.alerts_sent")
        con.execute("INSERT INTO raw.alerts_sent FROM own")
    con.execute(f"CREATE OR REPLACE TABLE custody_taken_alerts AS {_shared('raw.alerts_sent', columns)}")
    con.execute("INSERT INTO raw.alerts_sent FROM custody_taken_alerts")


def _shared(table: str, columns: dict[str, str]) -> str:
    """A SELECT of a table's shared rows, with these columns."""
    # Not strict: an object of an older version lacks columns, one of a newer version has more.
    row = f"SELECT TRY_CAST(row::JSON AS {_kind(columns)}) AS r FROM shared_rows WHERE table_name = {literal(table)}"
    return f"SELECT unnest(r) FROM ({row})"


def _kind(columns: dict[str, str]) -> str:
    return f"STRUCT({', '.join(f'{quoted(name)} {kind}' for name, kind in columns.items())})"
