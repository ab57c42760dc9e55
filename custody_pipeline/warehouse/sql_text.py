"""Small tools for SQL text and transactions.

Belongs here: quoting, a transaction as a block, a table's columns. Does not: a statement of the domain.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end of the block; roll back if it raises."""
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()


def table_columns(con: duckdb.DuckDBPyConnection, key: str) -> dict[str, str]:
    """Columns of `schema.name` in order, name → type; empty if it is not there."""
    rows = con.execute(
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name || '.' || table_name = ? ORDER BY column_index",
        [key],
    ).fetchall()
    return dict(rows)


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in single quotes."""
    return "'" + text.replace("'", "''") + "'"
