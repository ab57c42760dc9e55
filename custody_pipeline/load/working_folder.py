"""A folder for temporary files of a load, beside the warehouse.

Belongs here: its place. Does not: what is in it (pipeline.py, parsing.py).
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from custody_pipeline.io.held_folder import held_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb


@contextmanager
def working_folder(con: duckdb.DuckDBPyConnection) -> Iterator[Path]:
    """A new folder beside the warehouse `con`; in the system's temporary folder for one in memory."""
    place = _beside_the_warehouse(con)
    if place is None:
        with tempfile.TemporaryDirectory(prefix="custody-dlt-") as temporary:
            yield Path(temporary)
    else:
        with held_folder(place) as folder:
            yield folder


def _beside_the_warehouse(con: duckdb.DuckDBPyConnection) -> Path | None:
    found = (
        con.cursor().execute("SELECT path FROM duckdb_databases() WHERE database_name = current_database()").fetchone()
    )
    return Path(found[0]).parent / "dlt" if found and found[0] else None
