"""A folder for temporary files of a load. The next load removes a folder that a killed load left behind.

Belongs here: making and removing it. Does not: what is in it (pipeline.py, parsing.py).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb


@contextmanager
def working_folder(con: duckdb.DuckDBPyConnection) -> Iterator[Path]:
    """A new folder beside the warehouse `con`; in the system's temporary folder for one in memory."""
    place = _beside_the_warehouse(con)
    if place is None:
        with tempfile.TemporaryDirectory(prefix="custody-dlt-") as folder:
            yield Path(folder)
        return
    place.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(place)
    folder = tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=place)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _beside_the_warehouse(con: duckdb.DuckDBPyConnection) -> Path | None:
    found = (
        con.cursor().execute("SELECT path FROM duckdb_databases() WHERE database_name = current_database()").fetchone()
    )
    return Path(found[0]).parent / "dlt" if found and found[0] else None


def _remove_leftovers(place: Path) -> None:
    # Only one process can have the warehouse open for writing, so other folders are left from killed processes.
    for folder in place.iterdir():
        if folder.name.partition("-")[0] != str(os.getpid()):
            shutil.rmtree(folder, ignore_errors=True)
