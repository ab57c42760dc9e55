"""The append-only table `raw.fixity_checks`.

Belongs here: its columns. Does not: the checks (operations/fixity.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from custody_pipeline.warehouse.sql_text import create_table

if TYPE_CHECKING:
    import duckdb


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


def create_fixity_checks(con: duckdb.DuckDBPyConnection) -> None:
    """Create `raw.fixity_checks` if it is not there."""
    create_table(con, "raw.fixity_checks", {name: kind for name, (kind, _) in FIXITY_COLUMNS.items()})
