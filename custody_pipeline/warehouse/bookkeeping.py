"""The pipeline's records of its own work: tables of `raw` that Python fills.

Belongs here: creating all of them, and appending to those about publications. Does not: who did what (ledger.py),
erasures (erasures.py), the fixity checks themselves (operations/fixity.py).
"""

from __future__ import annotations

from datetime import date, datetime

import duckdb

from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline.warehouse.erasures import create_erasures
from custody_pipeline.warehouse.ledger import create_acts
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import create_table

FIXITY_COLUMNS = {
    "partition_date": ("DATE", "UTC day of the conversation's start"),
    "bucket": ("VARCHAR", "the export bucket"),
    "object_key": ("VARCHAR", "key within the bucket"),
    "version_id": ("VARCHAR", "version; null where the bucket keeps none"),
    "object_bytes": ("BIGINT", "size when it was hashed first"),
    "sha256_before": ("VARCHAR", "SHA-256 it should have"),
    "sha256": ("VARCHAR", "SHA-256 of the bytes that are there; null when they could not be read"),
    "result": ("VARCHAR", "unchanged, changed, gone (told once) or unreadable (tried again the next time)"),
    "error": ("VARCHAR", "why it could not be read"),
    "checked_at": ("TIMESTAMP", "when it was read (UTC)"),
    "operator": ("VARCHAR", "who ran the check"),
    "tool_version": ("VARCHAR", "version of custody_pipeline"),
    "git_revision": ("VARCHAR", "its commit, where it ran from a work tree"),
    "position": ("BIGINT", "order among checks, acts and publications; null for checks of earlier versions"),
}
"""The columns of `raw.fixity_checks`: type and meaning."""


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
    create_table(con, "raw.fixity_checks", {name: kind for name, (kind, _) in FIXITY_COLUMNS.items()})


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
        f"INSERT INTO raw.row_versions BY NAME {query('publish/rows_of_revision')}",
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
        f"INSERT INTO raw.published_columns BY NAME {query('publish/columns_of_revision')}",
        {"night": night, "revision": revision, "published_at": published_at, "tables": list(PUBLISHED_TABLES)},
    )
