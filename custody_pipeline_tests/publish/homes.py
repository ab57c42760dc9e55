"""Homes that publish to one prefix: a warehouse and a folder of its own each, keys that all share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import duckdb

from custody_pipeline.evidence.log.keys import new_key, write_new_key
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.settings import Settings
from custody_pipeline_tests.publish.nights import NIGHT, NOW, TWO_TABLES, change_recording, insert_receipt

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

BUCKET = "custody-published"


class Home:
    """One of several homes, with a night of three recordings in its warehouse."""

    def __init__(
        self, folder: Path, keys: Path, recordings: Path, bucket: str = BUCKET, *, night: date = NIGHT
    ) -> None:
        shutil.copytree(keys, folder / "keys")
        self._is_at(folder, bucket)
        self.collect(recordings, night)

    @classmethod
    def at(cls, folder: Path, bucket: str) -> Home:
        """The existing home in `folder`."""
        home = cls.__new__(cls)
        home._is_at(folder, bucket)
        return home

    def _is_at(self, folder: Path, bucket: str) -> None:
        self.folder, self.night = folder, NIGHT
        self.settings = Settings(home=folder, publish_url=f"s3://{bucket}/prod", operator=folder.name)

    def collect(self, recordings: Path, night: date, legal_hold: str | None = None) -> None:
        """Begin with a fresh warehouse that holds one night; the home's memory of the log stays.

        Args:
            recordings: the warehouse to copy.
            night: all rows are moved to it, and this home publishes it.
            legal_hold: in place of a recording's tag value.
        """
        self.night = night
        shutil.copy(recordings, self.folder / "warehouse.duckdb")
        with self.open() as con:
            insert_receipt(con, self.folder / "landing")
            if legal_hold is not None:
                change_recording(con, 1, legal_hold)
            if night != NIGHT:
                _move(con, night)

    def open(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.folder / "warehouse.duckdb"))

    def publish(self, client: Any, night: date | None = None) -> int:
        with self.open() as con:
            return publish_night(
                con, self.settings, night or self.night, tables=TWO_TABLES, client=client, now=NOW
            ).revision


def _move(con: duckdb.DuckDBPyConnection, night: date) -> None:
    tables = con.execute(
        "SELECT schema_name || '.' || table_name FROM duckdb_columns() "
        "SEMI JOIN (FROM duckdb_tables() WHERE estimated_size > 0) USING (schema_name, table_name) "
        "WHERE column_name = 'partition_date'"
    ).fetchall()
    for (table,) in tables:
        con.execute(f"UPDATE {table} SET partition_date = ?", [night])


def write_keys(folder: Path) -> Path:
    """The keys that all homes of a test share."""
    folder.mkdir()
    write_new_key(folder / "demo.key", new_key("custody.local", demo=True))
    (folder / "salt").write_text("5a" * 32)
    return folder
