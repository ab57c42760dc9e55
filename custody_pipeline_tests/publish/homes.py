"""Homes that publish to one prefix: a warehouse and a folder of its own each, keys that all share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import duckdb

from custody_pipeline.evidence.log.keys import new_key, write_new_key
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.settings import Settings
from custody_pipeline_tests.publish.nights import NIGHT, NOW, TWO_TABLES, insert_receipt, insert_recording

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

BUCKET = "custody-published"
RECORDINGS = 3


class Home:
    """One of several homes, with a night of three recordings in its warehouse."""

    def __init__(self, folder: Path, keys: Path, empty_warehouse: Path, bucket: str = BUCKET) -> None:
        shutil.copytree(keys, folder / "keys")
        self._is_at(folder, bucket)
        self.collect(empty_warehouse)

    @classmethod
    def at(cls, folder: Path, bucket: str) -> Home:
        """The existing home in `folder`."""
        home = cls.__new__(cls)
        home._is_at(folder, bucket)
        return home

    def _is_at(self, folder: Path, bucket: str) -> None:
        self.folder, self.night = folder, NIGHT
        self.settings = Settings(home=folder, publish_url=f"s3://{bucket}/prod", operator=folder.name)

    def collect(self, empty_warehouse: Path) -> None:
        """Begin with a fresh warehouse that holds one night; the home's memory of the log stays."""
        shutil.copy(empty_warehouse, self.folder / "warehouse.duckdb")
        with self.open() as con:
            for number in range(RECORDINGS):
                insert_recording(con, number)
            insert_receipt(con, self.folder / "landing")

    def open(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.folder / "warehouse.duckdb"))

    def move_to(self, night: date) -> None:
        """Move all rows of this home's warehouse to another night, which it then publishes."""
        self.night = night
        with self.open() as con:
            tables = con.execute(
                "SELECT schema_name || '.' || table_name FROM duckdb_columns() SEMI JOIN duckdb_tables() "
                "USING (schema_name, table_name) WHERE column_name = 'partition_date'"
            ).fetchall()
            for (table,) in tables:
                con.execute(f"UPDATE {table} SET partition_date = ?", [night])

    def publish(self, client: Any, night: date | None = None) -> int:
        with self.open() as con:
            return publish_night(
                con, self.settings, night or self.night, tables=TWO_TABLES, client=client, now=NOW
            ).revision


def write_keys(folder: Path) -> Path:
    """The keys that all homes of a test share."""
    folder.mkdir()
    write_new_key(folder / "demo.key", new_key("custody.local", demo=True))
    (folder / "salt").write_text("5a" * 32)
    return folder
