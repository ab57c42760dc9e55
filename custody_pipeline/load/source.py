"""Arrow batches → dlt: one source with one resource per raw table.

Belongs here: the declared columns and their contract. Does not: running a pipeline (pipeline.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

from custody_pipeline.extract.receipts import Landing
from custody_pipeline.load.parsing import batches
from custody_pipeline.load.raw_tables import RawSchemaError, create_raw_tables
from custody_pipeline.warehouse.sql_text import table_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from dlt.extract import DltResource, DltSource


_DLT_TYPES: dict[str, dict[str, Any]] = {
    "VARCHAR": {"data_type": "text"},
    "BIGINT": {"data_type": "bigint"},
    "INTEGER": {"data_type": "bigint", "precision": 32},
    "BOOLEAN": {"data_type": "bool"},
    "DATE": {"data_type": "date"},
    "TIMESTAMP": {"data_type": "timestamp", "timezone": False, "precision": 6},
}


def raw_source(con: duckdb.DuckDBPyConnection, landings: Sequence[Landing]) -> DltSource:
    """A dlt source with one resource per raw table of the landings.

    Every column's type is declared and frozen: dlt neither guesses a type, renames a key nor opens a document.
    """
    import dlt
    from dlt.common.schema.utils import new_table

    by_table: dict[str, list[Landing]] = {}
    for landing in landings:
        by_table.setdefault(landing.resource, []).append(landing)
    create_raw_tables(con, by_table)

    schema = dlt.Schema("raw")
    # Declare each table first: for a table that is new to its schema, dlt ignores the contract and accepts any column.
    for table in by_table:
        schema.update_table(new_table(table, columns=list(_dlt_columns(con, table).values())))

    @dlt.source(schema=schema, max_table_nesting=0)
    def raw() -> list[DltResource]:
        return [_resource(con, table, found) for table, found in by_table.items()]

    return raw()


def _resource(con: duckdb.DuckDBPyConnection, table: str, landings: Sequence[Landing]) -> Any:
    import dlt

    def rows() -> Iterator[Any]:
        for landing in landings:
            landing.rows = 0
            declared = _arrow_schema(con, table)
            for batch in batches(con, landing):
                _refuse_another_shape(table, declared, batch.schema)
                landing.rows += batch.num_rows
                yield batch
            if not landing.rows:
                # Every document was erased. For a table without a batch, dlt would invent a column.
                yield declared.empty_table()
        yield dlt.mark.materialize_table_schema()

    return dlt.resource(
        rows,
        name=table,
        write_disposition="append",
        schema_contract={"tables": "evolve", "columns": "freeze", "data_type": "freeze"},
        file_format="parquet",
    )


def _arrow_schema(con: duckdb.DuckDBPyConnection, table: str) -> pa.Schema:
    reader = con.cursor().execute(f"SELECT * EXCLUDE (_dlt_load_id) FROM raw.{table} LIMIT 0").to_arrow_reader()
    return reader.schema


def _refuse_another_shape(table: str, declared: pa.Schema, found: pa.Schema) -> None:
    # dlt's contract only warns of an Arrow column of another type.
    for field in found:
        index = declared.get_field_index(field.name)
        if index < 0 or declared.field(index).type != field.type:
            raise RawSchemaError(f"raw.{table} takes no column {field.name} of type {field.type}")


def _dlt_columns(con: duckdb.DuckDBPyConnection, table: str) -> Any:
    # Nested types are "json" to dlt, which leaves them as they are in the table created beforehand.
    return {
        name: {"name": name, "nullable": name != "_dlt_load_id", **_DLT_TYPES.get(kind, {"data_type": "json"})}
        for name, kind in table_columns(con.cursor(), f"raw.{table}").items()
    }
