"""A folder for temporary files of a load. The next load removes a folder that a killed load left behind.

Belongs here: making and removing it. Does not: what is in it (pipeline.py, parsing.py).
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

_in_use: set[Path] = set()
"""Folders of this process's loads: several may run at once."""


@contextmanager
def working_folder(con: duckdb.DuckDBPyConnection) -> Iterator[Path]:
    """A new folder beside the warehouse `con`; in the system's temporary folder for one in memory."""
    place = _beside_the_warehouse(con)
    if place is None:
        with tempfile.TemporaryDirectory(prefix="custody-dlt-") as temporary:
            yield Path(temporary)
        return
    place.mkdir(parents=True, exist_ok=True)
    # Only one process can have the warehouse open for writing, so folders of others are left from killed processes.
    for left in set(place.iterdir()) - _in_use:
        shutil.rmtree(left, ignore_errors=True)
    folder = place / secrets.token_hex(8)
    _in_use.add(folder)
    try:
        folder.mkdir(0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _in_use.discard(folder)


def _beside_the_warehouse(con: duckdb.DuckDBPyConnection) -> Path | None:
    found = (
        con.cursor().execute("SELECT path FROM duckdb_databases() WHERE database_name = current_database()").fetchone()
    )
    return Path(found[0]).parent / "dlt" if found and found[0] else None
