"""Small tools for SQL text and transactions.

Belongs here: quoting, a transaction as a block, a table's columns, rows as dicts. Does not: a statement of the domain.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb


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
    """Columns of the table or view `schema.name` in order, name → type; empty if it is not there."""
    with contextlib.suppress(duckdb.CatalogException):
        # Without a statement, which takes DuckDB four times as long; but no view is found so.
        table = con.table(key)
        return dict(zip(table.columns, map(str, table.types), strict=True))
    with contextlib.suppress(duckdb.CatalogException):
        return dict(con.execute("SELECT name, type FROM pragma_table_info(?)", [key]).fetchall())
    return {}


def create_table(con: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, str]) -> None:
    """Create a table of columns (name → type), or add the columns that an earlier version lacks, in this order."""
    there = table_columns(con, table)
    if not there:
        declared = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
        con.execute(f"CREATE TABLE {table} ({declared})")
        return
    for name in [name for name in columns if name not in there]:
        con.execute(f"ALTER TABLE {table} ADD COLUMN {quoted(name)} {columns[name]}")


def rows_of(con: duckdb.DuckDBPyConnection, sql: str, values: object = None) -> list[dict[str, Any]]:
    """The rows of a statement's answer, each as column → value. `values`: of its parameters."""
    answer = con.execute(sql, values)
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in single quotes."""
    return "'" + text.replace("'", "''") + "'"
