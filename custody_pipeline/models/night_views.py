"""Views that show a model only one night of the warehouse.

A model is a bare SELECT that reads `schema.table` and names no night. While a model runs, these names mean views in the
in-memory catalogue `_NIGHT`. Each view compares `partition_date` with variables of the connection. DuckDB treats
variables as constants, so the comparison happens in the scan.

A table without `partition_date` is shown whole, and so are the tables in `WHOLE`.

Belongs here: the views. Does not: running models (run.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import duckdb

from custody_pipeline.warehouse.sql_files import create_macros
from custody_pipeline.warehouse.sql_text import literal, table_columns

# Tables in which a model compares the night with other nights.
WHOLE = frozenset(
    {
        "raw.published_columns",
        "staging.carried_over",
        "staging.night_organizations",
        "staging.placed_ids",
        "staging.recording_nights",
    }
)

# A database file of this name could not be attached.
_NIGHT = "custody_one_night"

# The column with the row's conversation: the one that was asked for, otherwise the one that the row names.
_OWNERS = ("key_conversation_id", "conversation_id")


@dataclass(frozen=True)
class IdRange:
    """Conversation ids from `first` and before `end`; None: no limit."""

    first: str | None = None
    end: str | None = None

    @property
    def condition(self) -> str:
        """An SQL condition for rows of these conversations; a row without a conversation belongs to the first range."""
        # DuckDB compares with constants early, before it groups by conversation.
        if self.first is None:
            return f"coalesce(conversation_id, '') < '{self.end}'"
        return f"conversation_id >= '{self.first}'" + (f" AND conversation_id < '{self.end}'" if self.end else "")


EVERY_ID = IdRange()


def catalog(con: duckdb.DuckDBPyConnection) -> str:
    """The name of the connection's catalogue, quoted."""
    (name,) = con.execute("SELECT current_database()").fetchone() or ("",)
    return f'"{name}"'


def show(con: duckdb.DuckDBPyConnection, keys: Iterable[str], shown: set[str] | None = None) -> None:
    """Create the views of these tables, again if a table changed, and the macros that models call.

    Args:
        shown: tables whose views are up to date; `keys` are added. None: no view is up to date.
    """
    missing = sorted(set(keys) - (shown or set()))
    if not shown:
        create_macros(con)
        con.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {_NIGHT} (READ_WRITE)")
    if missing:
        warehouse = catalog(con)
        schemas = sorted({key.partition(".")[0] for key in missing})
        making = [f"CREATE SCHEMA IF NOT EXISTS {_NIGHT}.{schema}" for schema in schemas]
        for key in missing:
            where = " AND ".join(_conditions(key, table_columns(con, key)))
            making.append(
                f"CREATE OR REPLACE VIEW {_NIGHT}.{key} AS FROM {warehouse}.{key} {where and 'WHERE'} {where}"
            )
        con.execute(";".join(making))
    if shown is not None:
        shown.update(missing)


def _conditions(key: str, columns: Iterable[str]) -> Iterator[str]:
    if "partition_date" in columns and key not in WHOLE:
        yield "partition_date >= getvariable('window_start') AND partition_date < getvariable('window_end')"
    owner = next((name for name in _OWNERS if name in columns), None)
    if owner is not None:
        # A row without a conversation belongs to every range of ids.
        yield (
            f"({owner} IS NULL OR {owner} = '' OR "
            f"(getvariable('first_id') IS NULL OR {owner} >= getvariable('first_id')::VARCHAR) "
            f"AND (getvariable('end_id') IS NULL OR {owner} < getvariable('end_id')::VARCHAR))"
        )


@contextmanager
def reading(con: duckdb.DuckDBPyConnection, start: date, end: date) -> Iterator[str]:
    """Within the block, `schema.table` is the view of the table: its rows of the nights in [start, end).

    Yields:
        The warehouse's own catalogue, to qualify a table that is written.
    """
    warehouse = catalog(con)
    con.execute(
        f"SET VARIABLE window_start = DATE '{start}'; SET VARIABLE window_end = DATE '{end}'; "
        f"SET VARIABLE warehouse = {literal(warehouse[1:-1])}; USE {_NIGHT}"
    )
    try:
        yield warehouse
    finally:
        con.execute(f"USE {warehouse}")


@contextmanager
def restricted(con: duckdb.DuckDBPyConnection, ids: IdRange) -> Iterator[None]:
    """Within the block, views show only the rows of these conversations, and rows without a conversation."""
    con.execute("SET VARIABLE first_id = ?", [ids.first])
    con.execute("SET VARIABLE end_id = ?", [ids.end])
    try:
        yield
    finally:
        con.execute("RESET VARIABLE first_id")
        con.execute("RESET VARIABLE end_id")
