"""DuckDB with one thread: a test's night is so small that a second thread costs more than it saves."""

from __future__ import annotations

from typing import Any

import duckdb

connect_with_all_threads = duckdb.connect


def connect(*where: Any, **how: Any) -> duckdb.DuckDBPyConnection:
    """In place of `duckdb.connect`: one thread, unless the caller says how many."""
    how["config"] = {"threads": 1, **(how.get("config") or {})}
    return connect_with_all_threads(*where, **how)
