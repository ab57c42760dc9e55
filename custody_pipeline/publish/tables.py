"""One table and night of the warehouse → Parquet, CSV and workbook, on local disk.

Belongs here: the bytes of the files. Does not: where they go (revision_files.py, io/objects.py), the rows
(sql/custody).

All files of a table are written in one pass over its ordered rows, a batch at a time, so memory does not grow with the
night, and equal rows give equal bytes. A cell of the CSV has the same text as the value in a sealed record
(`evidence.cut.records`): what an expert reads in the CSV is what was hashed.

`evidence.cut.csv_text` says how a CSV is written. It can be compressed (`.csv.gz`): gzip without a name or a time, so
that equal rows stay equal bytes.

The workbook has the same rows for people: `evidence.cut.workbook` says what its cells hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from custody_pipeline.evidence.cut.csv_text import csv_header, csv_records
from custody_pipeline.evidence.cut.records import salted_records, text_columns
from custody_pipeline.evidence.cut.workbook import workbook_in
from custody_pipeline.io.gzipped import gzipped
from custody_pipeline.io.whole_file import HashedFile
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import quoted

Format = Literal["parquet", "csv", "spreadsheet", "records"]

SUFFIXES: dict[Format, str] = {"parquet": ".parquet", "csv": ".csv", "spreadsheet": ".xlsx"}
RECORDS_NAME = "records.ndjson"
COMPRESSED = ".gz"

_BATCH_ROWS = 16_384  # also the rows of a Parquet row group; a multiple of DuckDB's vectors
_CSV_ROWS = 4_096


@dataclass(frozen=True)
class Column:
    """A column of the warehouse: DuckDB type and comment."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class PublishedTable:
    """A table of schema `custody`."""

    name: str
    description: str
    columns: tuple[Column, ...]
    order: tuple[str, ...]


@dataclass(frozen=True)
class ExportedFile:
    """A file on local disk.

    Attributes:
        sha256: of its bytes, hex.
        rows: without the header.
    """

    table: str
    format: Format
    path: Path
    sha256: str
    bytes: int
    rows: int


def file_name(table: str, kind: Format, *, compressed: bool) -> str:
    """The name of a table's file; with `compressed`, that of a CSV ends in `.gz`."""
    return f"{table}{SUFFIXES[kind]}{COMPRESSED if compressed and kind == 'csv' else ''}"


class TableError(Exception):
    """A table cannot be published. The message names it and what is wrong."""


def describe_table(con: duckdb.DuckDBPyConnection, name: str, grain: Sequence[str] = ()) -> PublishedTable:
    """The table `custody.<name>` with its columns and comments.

    Args:
        grain: columns that identify a row and order the files; without them, all columns order them.

    Raises:
        TableError: there is no such table, or it lacks a column of the grain.
    """
    columns = tuple(Column(*row) for row in con.execute(query("publish/columns"), {"name": name}).fetchall())
    names = [column.name for column in columns]
    if not columns:
        raise TableError(f"the warehouse has no table custody.{name}; run the model first")
    missing = [column for column in (*grain, "partition_date") if column not in names]
    if missing:
        raise TableError(f"custody.{name} has no column {', '.join(missing)}")
    comment = con.execute(query("publish/comment"), {"name": name}).fetchone()
    return PublishedTable(name, (comment and comment[0]) or "", columns, tuple(grain) or tuple(names))


def export_table(
    con: duckdb.DuckDBPyConnection,
    table: PublishedTable,
    night: date,
    folder: Path,
    *,
    revision: int,
    compressed: bool = False,
    salt_secret: bytes | None = None,
) -> list[ExportedFile]:
    """Write the night's rows of a table into `folder`.

    Args:
        folder: an existing folder; files in it are overwritten.
        revision: the night's revision, named in the Parquet.
        salt_secret: when given, the salted records are written too (`records.ndjson`).

    Returns:
        The files: parquet, csv, spreadsheet, and records if asked for.

    Raises:
        CanonicalError: a column has a type without a canonical text (floating point, binary).
        duckdb.Error: the rows cannot be read.
    """
    batches = _ordered_rows(con, table, night)
    about = {"night": night.isoformat(), "revision": str(revision)}
    return write_table(batches, table, folder, about, compressed=compressed, salt_secret=salt_secret)


def write_table(
    batches: pa.RecordBatchReader,
    table: PublishedTable,
    folder: Path,
    about: Mapping[str, str],
    *,
    compressed: bool = False,
    salt_secret: bytes | None = None,
) -> list[ExportedFile]:
    """Write rows of a table into `folder`; `about` goes into the Parquet's metadata. Otherwise as `export_table`."""
    names = {kind: folder / file_name(table.name, kind, compressed=compressed) for kind in SUFFIXES}
    if salt_secret is not None:
        names["records"] = folder / RECORDS_NAME
    schema = _described(batches.schema, table, about)
    rows = 0
    with ExitStack() as stack:
        outs = {kind: stack.enter_context(HashedFile(path.open("wb"))) for kind, path in names.items()}
        parquet = stack.enter_context(
            pq.ParquetWriter(pa.PythonFile(outs["parquet"], mode="w"), schema, compression="zstd")
        )
        csv = stack.enter_context(gzipped(outs["csv"])) if compressed else outs["csv"]
        csv.write(csv_header(schema.names))
        book = stack.enter_context(workbook_in(outs["spreadsheet"], table.name, schema.names))
        # Making text costs more than everything else together, and Arrow releases the interpreter lock meanwhile.
        pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="text"))

        def texts_of(rows: pa.RecordBatch) -> memoryview:
            texts = text_columns(rows)
            book.add(rows, texts)
            return csv_records(rows, texts)

        for batch in batches:
            texts = pool.map(texts_of, [batch.slice(at, _CSV_ROWS) for at in range(0, batch.num_rows, _CSV_ROWS)])
            parquet.write_batch(batch.cast(schema))
            if salt_secret is not None:
                outs["records"].write(salted_records(pa.Table.from_batches([batch]), salt_secret))
            for text in texts:
                csv.write(text)
            rows += batch.num_rows
    return [
        ExportedFile(table.name, kind, names[kind], out.sha256.hexdigest(), out.size, rows)
        for kind, out in outs.items()
    ]


def _ordered_rows(con: duckdb.DuckDBPyConnection, table: PublishedTable, night: date) -> pa.RecordBatchReader:
    columns = [quoted(column.name) for column in table.columns]
    order = ", ".join(f"{quoted(name)} NULLS FIRST" for name in table.order)
    source = f"custody.{quoted(table.name)}"
    sql = f"SELECT {', '.join(columns)} FROM {source} WHERE partition_date = $night ORDER BY {order}"
    return con.execute(sql, {"night": night}).to_arrow_reader(_BATCH_ROWS)


def _described(schema: pa.Schema, table: PublishedTable, about: Mapping[str, str]) -> pa.Schema:
    """The schema with descriptions: of the columns in their fields, of the table among the file's key-value pairs."""
    described = {column.name: column.description for column in table.columns}
    fields = [field.with_metadata({"description": described[field.name]}) for field in schema]
    metadata = {
        "title": f"custody.{table.name}",
        "description": table.description,
        **about,
        "columns": "\n".join(f"{name}: {text}" for name, text in described.items()),
    }
    return pa.schema(fields, metadata)
