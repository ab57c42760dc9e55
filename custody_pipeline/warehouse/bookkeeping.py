"""The pipeline's records of its own work: tables of `raw` that Python fills.

Belongs here: creating all of them, and appending to those about publications. Does not: who did what (ledger.py),
fixity checks (fixity_table.py), erasures (erasures.py).
"""

from __future__ import annotations

from datetime import date, datetime

import duckdb

from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline.warehouse.erasures import create_erasures
from custody_pipeline.warehouse.fixity_table import create_fixity_checks
from custody_pipeline.warehouse.ledger import create_acts


def create_bookkeeping(con: duckdb.DuckDBPyConnection) -> None:
    """Create the three schemas and the tables that the pipeline fills about itself, if they are not there."""
    con.execute("SET TimeZone = 'UTC'")
    for schema in ("raw", "staging", "custody"):
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    con.execute(
        "CREATE TABLE IF NOT EXISTS raw.publications (partition_date DATE, revision INTEGER, content_sha256 VARCHAR, "
        "published_at TIMESTAMP, files STRUCT(table_name VARCHAR, format VARCHAR, uri VARCHAR, "
        "sha256 VARCHAR, bytes BIGINT, rows BIGINT)[], operator VARCHAR, tool_version VARCHAR)"
    )
    con.execute(
        "CREATE TABLE IF NOT EXISTS raw.row_versions (partition_date DATE, conversation_id VARCHAR, "
        "recording_id VARCHAR, row_sha256 VARCHAR, revision INTEGER)"
    )
    con.execute(
        "CREATE TABLE IF NOT EXISTS raw.published_columns (partition_date DATE, revision INTEGER, "
        "published_at TIMESTAMP, table_name VARCHAR, column_name VARCHAR, data_type VARCHAR)"
    )
    for column in ("git_revision", "cut_uri", "cut_sha256", "completeness"):
        con.execute(f"ALTER TABLE raw.publications ADD COLUMN IF NOT EXISTS {column} VARCHAR")
    con.execute("ALTER TABLE raw.publications ADD COLUMN IF NOT EXISTS position BIGINT")
    create_acts(con)
    create_erasures(con)
    create_fixity_checks(con)


def count_rows_as_next(con: duckdb.DuckDBPyConnection, night: date, *, revision: int) -> None:
    """Move the night's new and changed rows to the next revision: this one was published without them."""
    con.execute(
        "UPDATE custody.chain_of_custody SET revision = $revision + 1 "
        "WHERE partition_date = $night AND revision = $revision",
        {"night": night, "revision": revision},
    )


def append_row_versions(con: duckdb.DuckDBPyConnection, night: date, *, revision: int) -> int:
    """Record in `raw.row_versions` the content of the night's rows that are new or changed.

    Args:
        con: the warehouse, within the transaction that records the publication.
        revision: of the publication. The SQL model gave these rows the number that follows the last publication.

    Returns:
        The number of these rows.
    """
    inserted = con.execute(
        """
        INSERT INTO raw.row_versions BY NAME
        SELECT partition_date, conversation_id, recording_id, row_sha256, revision
        FROM custody.chain_of_custody
        WHERE partition_date = $night AND revision = $revision
        ORDER BY conversation_id, recording_id
        """,
        {"night": night, "revision": revision},
    ).fetchone()
    return int(inserted[0]) if inserted else 0


def append_published_columns(
    con: duckdb.DuckDBPyConnection, night: date, *, revision: int, published_at: datetime
) -> None:
    """Record in `raw.published_columns` what readers of this publication rely on: each column and its type.

    Args:
        con: the warehouse, within the transaction that records the publication.
        published_at: when (UTC, without a zone).
    """
    con.execute(
        """
        INSERT INTO raw.published_columns
        SELECT $night, $revision::INTEGER, $published_at::TIMESTAMP, table_name, column_name, data_type
        FROM duckdb_columns()
        WHERE database_name = current_database() AND schema_name = 'custody' AND list_contains($tables, table_name)
        """,
        {"night": night, "revision": revision, "published_at": published_at, "tables": list(PUBLISHED_TABLES)},
    )
