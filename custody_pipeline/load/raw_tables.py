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

import duckdb

from custody_pipeline.warehouse.sql_files import SQL_DIR, create_macros, read_select
from custody_pipeline.warehouse.sql_text import create_table, table_columns

# Raw tables by the function that collects them. fetch_failures and extraction_receipts come with every group.
RAW_TABLES: dict[str, tuple[str, ...]] = {
    "exports": ("export_objects", "export_sidecars", "export_jobs", "export_failures", "export_manifests"),
    "details": ("conversation_details",),
    "catalog": ("published_scripts", "queues", "divisions", "users", "listed_recordings"),
    "recordings": ("recording_metadata", "orphan_recordings", "recording_audits"),
    "conversations": ("conversations", "conversation_attributes", "gdpr_requests"),
    "media": ("media_digests",),
    "captures": ("captures", "conversation_events"),
}

BOOKKEEPING = ("fetch_failures", "extraction_receipts")


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
    """Create missing raw tables with the types that their SQL files give, and add new columns.

    Raises:
        RawSchemaError: a column's type differs from its SQL file's.
    """
    cursor = con.cursor()
    cursor.execute("CREATE SCHEMA IF NOT EXISTS raw")
    for table in tables or all_raw_tables():
        _fit_columns(cursor, table, _given_columns()[table])


def _fit_columns(cursor: duckdb.DuckDBPyConnection, table: str, given: dict[str, str]) -> None:
    for name, kind in table_columns(cursor, f"raw.{table}").items():
        if kind != given.get(name, kind):
            raise RawSchemaError(
                f"raw.{table}.{name} is {kind} in the warehouse and {given[name]} in sql/raw/{table}.sql: "
                "load into a new warehouse from the landing files"
            )
    create_table(cursor, f"raw.{table}", given)


@cache
def _given_columns() -> dict[str, dict[str, str]]:
    """The columns of each raw table by its SQL file: table → name → type.

    All tables in one database: creating a database takes ten times as long as these queries.
    """
    with tempfile.TemporaryDirectory(prefix="custody-empty-") as folder, duckdb.connect() as con:
        empty = Path(folder) / "empty.ndjson.gz"
        empty.write_bytes(gzip.compress(b"", mtime=0))
        # Not None: DuckDB would infer no type for a column that is always null.
        arguments = {"partition_date": date.min, "landing_id": "", "folder": "", "files": [str(empty)]}
        cursor = utc_cursor(con)
        described = {
            table: cursor.execute(f"DESCRIBE {raw_select(table)}", arguments).fetchall() for table in all_raw_tables()
        }
    return {
        table: {name: kind for name, kind, *_ in columns} | {"_dlt_load_id": "VARCHAR"}
        for table, columns in described.items()
    }


def utc_cursor(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A cursor whose time zone is UTC."""
    cursor = con.cursor()
    # A time without a zone is UTC, whatever this machine's zone is.
    cursor.execute("SET TimeZone = 'UTC'")
    create_macros(cursor)
    return cursor
