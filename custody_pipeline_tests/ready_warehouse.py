"""A ready warehouse with every table and no row: creating the tables takes a quarter of a small night."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.run import run_models
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.sql_files import load_models

if TYPE_CHECKING:
    from collections.abc import Callable


def lay(home: Path, mapping: Path | None = None) -> None:
    """Put the warehouse into a home that has none. `mapping`: the file of its columns; None: the shipped one."""
    put(home / "warehouse.duckdb", mapping)


def put(place: Path, mapping: Path | None = None) -> None:
    """Put the warehouse at this path, unless a file is there."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        columns = mapping or Settings(home=place.parent).mapping_path
        shutil.copyfile(_made(columns.read_bytes()), place)


@cache
def _made(mapping: bytes) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ready-warehouse-"))
    remove: Callable[..., None] = shutil.rmtree
    atexit.register(remove, folder, ignore_errors=True)
    settings = Settings(home=folder)
    path = folder / "mapping.yaml"
    path.write_bytes(mapping)
    with Warehouse(settings).open() as con:
        run_models(con, load_models(), date(2026, 1, 1), load_mapping(path), settings)
        # A night creates no table anew if `raw.made_by` says that its models made them.
        tables = con.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database() "
            "AND (schema_name, table_name) <> ('raw', 'made_by')"
        )
        for schema, table in tables.fetchall():
            con.execute(f"DELETE FROM {schema}.{table}")
    return settings.warehouse_path
