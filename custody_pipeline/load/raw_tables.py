"""The raw tables: their names, and creating them with the types that `sql/raw` gives.

Belongs here: which tables there are, and fitting them to their SQL files. Does not: filling them (pipeline.py).
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from custody_pipeline.warehouse.sql_files import SQL_DIR, create_macros, read_select

# Raw tables by the function that collects them. fetch_failures and extraction_receipts come with every group.
RAW_TABLES: dict[str, tuple[str, ...]] = {
    "exports": ("export_objects", "export_sidecars", "export_jobs", "export_failures", "export_manifests"),
    "details": ("conversation_details",),
    "catalog": ("published_scripts", "queues", "divisions"),
    "recordings": ("recording_metadata", "orphan_recordings"),
    "conversations": ("conversations", "conversation_attributes"),
    "media": ("media_digests",),
    "captures": ("captures", "conversation_events"),
}

BOOKKEEPING = ("fetch_failures", "extraction_receipts")

# Columns of raw tables that were found, or made, to fit their SQL files in this process: table → name → type.
_FITTING: dict[str, dict[str, str]] = {}


class RawSchemaError(Exception):
    """A raw table in the warehouse has another type for a column than its SQL file."""


def all_raw_tables() -> tuple[str, ...]:
    """Every raw table that this package fills, without the schema."""
    return (*(table for group in RAW_TABLES.values() for table in group), *BOOKKEEPING)


@cache
def raw_select(table: str) -> str:
    """The SELECT of a raw table, without its header."""
    return read_select(SQL_DIR / "raw" / f"{table}.sql")


def create_raw_tables(con: duckdb.DuckDBPyConnection, tables: Iterable[str] | None = None) -> None:
    """Create the raw tables that are not there, with the types that their SQL files give; add columns that are new.

    Raises:
        RawSchemaError: a column's type differs from its SQL file's.
    """
    wanted = tuple(tables or all_raw_tables())
    cursor = utc_cursor(con)
    # What SQL files give does not change while we run, and binding them all costs more than the rest of an opening.
    there = _raw_columns(cursor)
    if all(table in _FITTING and there.get(table) == _FITTING[table] for table in wanted):
        return
    cursor.execute("CREATE SCHEMA IF NOT EXISTS raw")
    with tempfile.TemporaryDirectory(prefix="custody-empty-") as folder:
        empty = Path(folder) / "empty.ndjson.gz"
        empty.write_bytes(gzip.compress(b"", mtime=0))
        # Not None: DuckDB would give a column that it can foresee to be null the type of nothing.
        arguments = {"partition_date": date.min, "landing_id": "", "folder": "", "files": [str(empty)]}
        for table in wanted:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS raw.{table} AS "
                f"SELECT *, NULL::VARCHAR AS _dlt_load_id FROM ({raw_select(table)}) LIMIT 0",
                arguments,
            )
            _fit_columns(cursor, table, arguments)
    there = _raw_columns(cursor)
    _FITTING.update((table, there[table]) for table in wanted)


def _raw_columns(cursor: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table, name, kind in cursor.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = 'raw'"
    ).fetchall():
        found.setdefault(table, {})[name] = kind
    return found


def _fit_columns(cursor: duckdb.DuckDBPyConnection, table: str, arguments: dict[str, Any]) -> None:
    there = columns_of(cursor, table)
    answer = cursor.execute(f"SELECT * FROM ({raw_select(table)}) LIMIT 0", arguments)
    for name, kind, *_ in answer.description or []:
        if name not in there:
            cursor.execute(f'ALTER TABLE raw.{table} ADD COLUMN "{name}" {kind}')
        elif there[name] != str(kind):
            raise RawSchemaError(
                f"raw.{table}.{name} is {there[name]} in the warehouse and {kind} in sql/raw/{table}.sql: "
                "load into a new warehouse from the landing files"
            )


def columns_of(cursor: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Columns of a raw table in order, name → type."""
    return {name: str(kind) for name, kind, *_ in cursor.execute(f"DESCRIBE raw.{table}").fetchall()}


def utc_cursor(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A cursor whose time zone is UTC."""
    cursor = con.cursor()
    # A time without a zone is UTC, whatever this machine's zone is.
    cursor.execute("SET TimeZone = 'UTC'")
    create_macros(cursor)
    return cursor
