"""DuckDB with one thread, where several processes share the cores: a small night costs a fifth less CPU time then.

The tests do so when pytest runs them in several processes, and the oracle for nights that it runs by the function;
nights that it runs by the command, and every `custody` that a test starts as a program, have all threads.
"""

from __future__ import annotations

from typing import Any

import duckdb


def use_one_thread() -> None:
    """Let every database that this process opens from now on have one thread, unless it asks for a number itself."""
    connect = duckdb.connect

    def connected(*where: Any, **how: Any) -> duckdb.DuckDBPyConnection:
        how["config"] = {"threads": 1, **(how.get("config") or {})}
        return connect(*where, **how)

    duckdb.connect = connected
