"""Rows of conversations in the warehouse: finding, copying and deleting them; writing the file without their bytes.

Belongs here: the DuckDB file. Does not: files beside it (places.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

import duckdb

from custody_pipeline.matters.register import alone
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import LOCK_TIMEOUT_SECONDS, STORAGE_VERSION, busy, spill_path
from custody_pipeline.warehouse.snapshot import unfinished_snapshots
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import literal, quoted, table_columns, transaction

_ID_COLUMNS = ("conversation_id", "key_conversation_id", "recording_id", "entity_id", "subject_id")
_TEXT_COLUMNS = ("source_uri", "object_key", "where_at")
_KEPT = ("raw.erasures", "raw.extraction_receipts", "raw.publications")
_NAMED = "regexp_extract(lower({column}), 'conversation(?:_id=|s/)([^/?#]+)', 1)"
_IDS = "(SELECT id FROM erased_ids)"
_CHAIN = (
    "partition_date", "conversation_id", "recording_id", "media_type", "media_subtype", "media_sha256", "object_uri",
    "sidecar_uri", "row_sha256", "custody_status", "gap_reasons", "ani", "dnis", "user_ids", "queue_ids", "queue_names",
    "custom_data", "custom_data_state", "conversation_sha256", "conversation_start", "recording_start",
)  # fmt: skip
"""The columns in conditions of an erasure or a policy, and the columns of a found recording."""


def _conditions(con: duckdb.DuckDBPyConnection, ids: Iterable[str]) -> dict[str, str]:
    """Table → the condition for rows of these conversations (`ids` in lower case)."""
    con.execute("CREATE OR REPLACE TEMP TABLE erased_ids AS SELECT unnest($ids::VARCHAR[]) AS id", {"ids": sorted(ids)})
    rows = con.execute(query("forgetting/text_columns")).fetchall()
    found = {}
    for table, columns in rows:
        conditions = [f"lower({quoted(name)}) IN {_IDS}" for name in _ID_COLUMNS if name in columns]
        conditions += [f"{_NAMED.format(column=quoted(name))} IN {_IDS}" for name in _TEXT_COLUMNS if name in columns]
        if conditions and table not in _KEPT:
            found[table] = " OR ".join(conditions)
    return found


def rows_held(con: duckdb.DuckDBPyConnection, ids: Iterable[str]) -> dict[str, int]:
    """Table → rows of these conversations; tables without one are left out. `ids`: in lower case."""
    found: dict[str, int] = {}
    for table, condition in _conditions(con, ids).items():
        (count,) = con.execute(f"SELECT count(*) FROM {table} WHERE {condition}").fetchone() or (0,)
        if count:
            found[table] = count
    return found


def conversations_held(con: duckdb.DuckDBPyConnection, ids: Iterable[str]) -> set[str]:
    """Which of these ids have a row in the warehouse."""
    found: set[str] = set()
    for table in _conditions(con, ids):
        columns = [name for name in _ID_COLUMNS[:2] if name in table_columns(con, table)]
        for name in columns:
            rows = con.execute(f"SELECT DISTINCT lower({name}) FROM {table} WHERE lower({name}) IN {_IDS}").fetchall()
            found |= {row[0] for row in rows}
    return found


def nights_held(con: duckdb.DuckDBPyConnection, ids: Iterable[str]) -> list[date]:
    """Nights in which some table has a row of these conversations."""
    nights = set()
    for table, condition in _conditions(con, ids).items():
        if "partition_date" in table_columns(con, table):
            rows = con.execute(f"SELECT DISTINCT partition_date FROM {table} WHERE {condition}").fetchall()
            nights |= {row[0] for row in rows if row[0] is not None}
    return sorted(nights)


def recordings_of(con: duckdb.DuckDBPyConnection, ids: Iterable[str]) -> list[tuple[date, str, str]]:
    """(night, conversation, recording) of every row that was ever modelled or published of these conversations."""
    _conditions(con, ids)
    return con.execute(query("forgetting/recordings")).fetchall()


def packaged_elsewhere(con: duckdb.DuckDBPyConnection, ids: Iterable[str]) -> list[tuple[str, str, int, str]]:
    """Packages in custody events: SHA-256, name, number of recordings of these conversations, who and why."""
    _conditions(con, ids)
    return con.execute(query("forgetting/packages")).fetchall()


def exported(con: duckdb.DuckDBPyConnection, ids: Iterable[str]) -> list[str]:
    """Objects of these conversations in the export bucket, by the listings of the nights."""
    _conditions(con, ids)
    objects = "SELECT DISTINCT 's3://' || bucket || '/' || object_key FROM raw.export_objects"
    rows = con.execute(f"{objects} WHERE lower(conversation_id) IN {_IDS} ORDER BY ALL").fetchall()
    return [row[0] for row in rows]


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


def delete_rows(con: duckdb.DuckDBPyConnection, ids: Iterable[str]) -> None:
    """Delete every row of these conversations, in one transaction."""
    conditions = _conditions(con, ids)
    with transaction(con):
        for table, condition in conditions.items():
            con.execute(f"DELETE FROM {table} WHERE {condition}")


class Renewed(NamedTuple):
    """A rewritten landing file: its URI, SHA-256 and bytes."""

    uri: str
    sha256: str
    size: int


def rename_digests(con: duckdb.DuckDBPyConnection, night: date, renewed: dict[str, Renewed]) -> None:
    """Make the night's receipts name rewritten landing files. `renewed`: by the URI before."""
    if not renewed:
        return
    con.execute(
        """
        UPDATE raw.extraction_receipts
        SET landing_files = list_transform(landing_files, lambda file: coalesce($renewed[file.uri], file))
        WHERE partition_date = $night
            AND len(list_filter(landing_files, lambda file: map_contains($renewed, file.uri))) > 0
        """.replace("$renewed", _map_of(renewed)),
        {"night": night},
    )


def _map_of(renewed: dict[str, Renewed]) -> str:
    """A map as SQL; URIs and digests are quoted."""
    values = (
        f"{literal(before)}: {{'uri': {literal(uri)}, 'sha256': {literal(sha256)}, 'bytes': {size}::BIGINT}}"
        for before, (uri, sha256, size) in renewed.items()
    )
    return f"MAP {{{', '.join(values)}}}"


def compact(settings: Settings) -> None:
    """Write the warehouse into a new file and put it in its place: deleted rows leave bytes in the old file.

    If the process is killed at any point, either the old file or the new one is there, complete.

    Raises:
        WarehouseBusyError: another process held the warehouse for too long.
    """
    path = settings.warehouse_path
    if not path.exists():
        return
    fresh = path.with_name("warehouse.compact.duckdb")
    with alone(path.with_suffix(".lock"), busy(path, LOCK_TIMEOUT_SECONDS), LOCK_TIMEOUT_SECONDS):
        for leftover in (fresh, fresh.with_name(f"{fresh.name}.wal")):
            leftover.unlink(missing_ok=True)
        con = duckdb.connect(config={"storage_compatibility_version": STORAGE_VERSION})
        try:
            con.execute("SET enable_progress_bar = false")
            con.execute("SET preserve_insertion_order = false")
            con.execute(f"ATTACH {literal(str(path))} AS old (READ_WRITE)")
            con.execute(f"ATTACH {literal(str(fresh))} AS new (STORAGE_VERSION '{STORAGE_VERSION}')")
            con.execute("COPY FROM DATABASE old TO new")
            con.execute("DETACH new")
            con.execute("DETACH old")
        finally:
            con.close()
        fresh.replace(path)
        path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
        # Whoever writes there holds the lock, so these are what a killed process left.
        for left in (spill_path(settings), *unfinished_snapshots(settings)):
            shutil.rmtree(left, ignore_errors=True)
