"""The analysts' snapshot: `analyst.duckdb`, replaced after each night.

Belongs here: writing the copy and putting it in place, and the list of the nights that the retention policy leaves out
of it (`$CUSTODY_HOME/retention/snapshot.json`). Does not: the warehouse itself, which analysts never open; when a night
is left out (forgetting).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import orjson

from custody_pipeline.io.whole_file import read_json, write_whole
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import literal, quoted, table_columns, transaction

# Rows per row group in the snapshot, a quarter of DuckDB's default: a night rewrites the last group of each table.
# After a thousand small nights, the snapshot takes 0.2 s instead of 0.6 s. Must be a multiple of 2,048.
SNAPSHOT_ROW_GROUP = 30_720
SNAPSHOT_STORAGE_VERSION = "v1.0.0"
_UNFINISHED = "analyst-"
_COUNTS = {"coverage", "nights", "reconciliation", "tag_quality"}
"""Tables about nights: they name no recording and hold no personal data."""


def nights_left_out(settings: Settings) -> frozenset[date]:
    """Nights for which the snapshot has no rows about recordings.

    Raises:
        DamagedFileError: the list is not as it was written. The next snapshot would show what the policy leaves out.
    """
    path = _left_out_path(settings)
    return frozenset(read_json(path, list[date])) if path.exists() else frozenset()


def leave_out(settings: Settings, nights: Iterable[date]) -> None:
    """Leave these nights out as well, from the next snapshot on."""
    everything = sorted({*nights_left_out(settings), *nights})
    write_whole(_left_out_path(settings), orjson.dumps([night.isoformat() for night in everything]))


def _left_out_path(settings: Settings) -> Path:
    return settings.home / "retention/snapshot.json"


class SnapshotError(Exception):
    """The snapshot cannot be read as it was written. The message says what to do."""


def snapshot_for_analysts(con: duckdb.DuckDBPyConnection, settings: Settings, night: date | None = None) -> Path:
    """Write `analyst.duckdb` (schema `custody`, with comments) beside the old one, then put it in its place.

    A session that has the old file open continues to read it; the next one reads the new file. The file is read-only.
    A `.wal` beside it, from a session that opened it for writing nevertheless, is removed with the old file.

    With a night, only changes are written, into a copy of the last snapshot: that night, and each night with more or
    fewer rows in some table or another row in `custody.nights`. Everything is written if there is no snapshot, if
    somebody else changed it, or if a table, a column or a comment differs. For nights that the retention policy leaves
    out, the snapshot has only the counts.

    Args:
        con: the warehouse, open for writing.
        night: the night that was modelled last; everything is written if None.
    """
    target, left_out = settings.analyst_path, nights_left_out(settings)
    folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=target.parent))
    try:
        fresh = folder / target.name
        keep = night is not None and _is_as_we_left_it(con, target)
        if keep:
            shutil.copyfile(target, fresh)
        # Analysts may use another version of DuckDB.
        how = f"ROW_GROUP_SIZE {SNAPSHOT_ROW_GROUP}, STORAGE_VERSION '{SNAPSHOT_STORAGE_VERSION}'"
        con.execute(f"ATTACH {literal(str(fresh))} AS analyst ({how})")
        try:
            if keep and night is not None and _shape(con, "analyst") == _shape(con):
                _replace_nights(con, night, left_out)
            else:
                con.execute("DROP SCHEMA IF EXISTS analyst.custody CASCADE")
                _copy_custody(con, left_out)
        finally:
            con.execute("DETACH analyst")
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.chmod(0o400)
        # DuckDB would replay a session's writes to the old snapshot on any new file of the same name.
        log_beside(target).unlink(missing_ok=True)
        fresh.replace(target)
        con.execute(
            "CREATE OR REPLACE TABLE raw.analyst_snapshot AS SELECT ?::BIGINT AS bytes, ?::BIGINT AS modified_ns",
            _seen(target),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def unfinished_snapshots(settings: Settings) -> list[Path]:
    """Folders with the snapshot that a killed process was writing. The caller has the warehouse for itself."""
    target = settings.analyst_path
    files = {target.name, log_beside(target).name}
    found = (path for path in target.parent.glob(f"{_UNFINISHED}*") if path.is_dir() and not path.is_symlink())
    return [folder for folder in found if {path.name for path in folder.iterdir()} <= files]


def log_beside(snapshot: Path) -> Path:
    """The log in which DuckDB keeps a session's writes to a snapshot until they are in the file."""
    return snapshot.with_name(f"{snapshot.name}.wal")


def refuse_other_writes(snapshot: Path) -> None:
    """Raise SnapshotError if another program wrote to the snapshot: DuckDB would show these writes to readers."""
    if (log := log_beside(snapshot)).exists():
        raise SnapshotError(
            f"another program had {snapshot} open for writing, and left {log.name}: close that program, then remove "
            f"{log.name}; analysts open the snapshot with duckdb -readonly"
        )


def _seen(path: Path) -> tuple[int, int]:
    there = path.stat()
    return there.st_size, there.st_mtime_ns


def _is_as_we_left_it(con: duckdb.DuckDBPyConnection, path: Path) -> bool:
    if not path.exists() or not table_columns(con, "raw.analyst_snapshot"):
        return False
    return con.execute("SELECT bytes, modified_ns FROM raw.analyst_snapshot").fetchall() == [_seen(path)]


def _shape(con: duckdb.DuckDBPyConnection, database: str | None = None) -> list[tuple[Any, ...]]:
    """Tables and columns of a database's schema `custody`, with types and comments."""
    return con.execute(query("snapshot/shape"), {"database": database}).fetchall()


def _kept(table: str, left_out: frozenset[date]) -> str:
    """The condition for the rows of a table that belong in the snapshot."""
    if not left_out or table in _COUNTS:
        return "true"
    return f"partition_date NOT IN ({', '.join(f'DATE {literal(str(night))}' for night in sorted(left_out))})"


def _replace_nights(con: duckdb.DuckDBPyConnection, night: date, left_out: frozenset[date]) -> None:
    """Bring the attached snapshot up to date for `night` and for every other night that changed since."""
    tables = {quoted(name): _kept(name, left_out) for name in dict.fromkeys(row[0] for row in _shape(con))}
    changed = {night}
    for table, kept in tables.items():
        rows = f"FROM {{}} WHERE {kept}"
        if table != '"nights"':
            rows = f"SELECT partition_date, count(*) {rows} GROUP BY ALL"
        both = [rows.format(f"{schema}.{table}") for schema in ("custody", "analyst.custody")]
        for one, other in (both, both[::-1]):
            changed |= {row[0] for row in con.execute(f"({one}) EXCEPT ({other})").fetchall()}
    with transaction(con):
        for table, kept in tables.items():
            for day in sorted(changed):
                con.execute(f"DELETE FROM analyst.custody.{table} WHERE partition_date = ?", [day])
                con.execute(
                    f"INSERT INTO analyst.custody.{table} BY NAME FROM custody.{table} "
                    f"WHERE partition_date = ? AND {kept}",
                    [day],
                )


def _copy_custody(con: duckdb.DuckDBPyConnection, left_out: frozenset[date]) -> None:
    tables = con.execute(
        "SELECT table_name, comment FROM duckdb_tables() "
        "WHERE database_name = current_database() AND schema_name = 'custody' ORDER BY table_name"
    ).fetchall()
    with transaction(con):
        con.execute("CREATE SCHEMA analyst.custody")
        for table, comment in tables:
            name = quoted(table)
            con.execute(f"CREATE TABLE analyst.custody.{name} AS FROM custody.{name} WHERE {_kept(table, left_out)}")
            if comment:
                con.execute(f"COMMENT ON TABLE analyst.custody.{quoted(table)} IS {literal(comment)}")
            columns = con.execute(
                "SELECT column_name, comment FROM duckdb_columns() WHERE database_name = current_database() "
                "AND schema_name = 'custody' AND table_name = ? AND comment IS NOT NULL",
                [table],
            ).fetchall()
            for column, text in columns:
                con.execute(f"COMMENT ON COLUMN analyst.custody.{quoted(table)}.{quoted(column)} IS {literal(text)}")
