"""The tag mapping as tables of the warehouse, for SQL.

Belongs here: the two tables, and filling them for a night. Does not: the mapping's file (mapping_file.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.warehouse.sql_text import transaction

if TYPE_CHECKING:
    from datetime import date

    import duckdb


def write_mapping(con: duckdb.DuckDBPyConnection, mapping: TagMapping, night: date) -> None:
    """Write the mapping of one night to `staging.tag_mapping` and `staging.accepted_scripts`."""
    create_mapping_tables(con)
    # The row without a column holds the general order of purposes.
    tags: list[tuple[Any, ...]] = [
        (night, mapping.sha256, -1, None, [], None, list(mapping.purposes), False, [], [], [])
    ]
    for position, tag in enumerate(mapping.columns):
        place = (list(tag.names), tag.path, list(tag.purposes), tag.required)
        conditions = (list(tag.flows), list(tag.queues), list(tag.scripts))
        tags.append((night, mapping.sha256, position, tag.output_column, *place, *conditions))
    scripts: list[tuple[Any, ...]] = [
        (night, script.script_id, script.name, version) for script in mapping.scripts for version in script.versions
    ]
    _replace_night(con, "staging.tag_mapping", night, tags)
    _replace_night(con, "staging.accepted_scripts", night, scripts)


def _replace_night(con: duckdb.DuckDBPyConnection, table: str, night: date, rows: list[tuple[Any, ...]]) -> None:
    """Replace a night's rows, unless they are there already: each modelling step of a run calls this."""
    there = con.execute(f"SELECT * FROM {table} WHERE partition_date = ?", [night]).fetchall()
    if sorted(map(repr, there)) == sorted(map(repr, rows)):
        return
    with transaction(con):
        con.execute(f"DELETE FROM {table} WHERE partition_date = ?", [night])
        if rows:
            con.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def create_mapping_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Create the two tables that `write_mapping` fills, if they are not there."""
    con.execute(
        "CREATE TABLE IF NOT EXISTS staging.tag_mapping (partition_date DATE, mapping_sha256 VARCHAR, "
        "position INTEGER, column_name VARCHAR, names VARCHAR[], json_path VARCHAR, purposes VARCHAR[], "
        "required BOOLEAN, flows VARCHAR[], queues VARCHAR[], scripts VARCHAR[])"
    )
    con.execute(
        "CREATE TABLE IF NOT EXISTS staging.accepted_scripts (partition_date DATE, script_id VARCHAR, "
        "script_name VARCHAR, version_id VARCHAR)"
    )
