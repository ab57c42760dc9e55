"""Landing files → `raw` tables: DuckDB reads the documents into typed columns, dlt appends the Arrow batches.

Python touches no document on this way. When DuckDB refuses one because it has another shape than declared, the load
looks for it line by line, keeps it as a row whose `document_state` says so, and loads all others.

Belongs here: creating and filling `raw`. Does not: collecting, or reading `raw` back (worklists.py).
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import orjson

from custody_pipeline.extract.fidelity import DocumentState, document
from custody_pipeline.extract.inflight import in_order
from custody_pipeline.extract.landing import LandingWriter, as_readable, read_lines, without_document
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.sql_models import SQL_DIR, read_select

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import dlt
    import pyarrow as pa
    from dlt.extract import DltResource, DltSource

    from custody_pipeline.extract.landing import LandedFile

# Raw tables by the function that collects them. fetch_failures and extraction_receipts come with every group.
RAW_TABLES: dict[str, tuple[str, ...]] = {
    "exports": ("export_objects", "export_sidecars", "export_jobs", "export_failures", "export_manifests"),
    "details": ("conversation_details",),
    "catalog": ("published_scripts", "queues", "divisions"),
    "recordings": ("recording_metadata", "orphan_recordings"),
    "conversations": ("conversations", "conversation_attributes"),
    "media": ("media_digests",),
    "captures": ("captures", "conversation_events"),
}
BOOKKEEPING = ("fetch_failures", "extraction_receipts")

# A thousand rows make files twice as large; a hundred thousand wide ones cost memory.
BATCH_ROWS = 20_000
BLOCK_LINES = 2_048
# A file (128 MiB of lines) is parsed by one core: so many are at once, if DuckDB may have as many threads.
FILES_AT_ONCE = 4

_DLT_TYPES: dict[str, dict[str, Any]] = {
    "VARCHAR": {"data_type": "text"},
    "BIGINT": {"data_type": "bigint"},
    "INTEGER": {"data_type": "bigint", "precision": 32},
    "BOOLEAN": {"data_type": "bool"},
    "DATE": {"data_type": "date"},
    "TIMESTAMP": {"data_type": "timestamp", "timezone": False, "precision": 6},
}


# dlt raises the threshold to 1 GB, for the whole database: every row would be written twice, to the log and then to the
# file, instead of to the file alone. This is DuckDB's own.
_CHECKPOINTS = "SET GLOBAL checkpoint_threshold = '16MiB'"

# Columns of raw tables that were found, or made, to fit their SQL files in this process: table → name → type.
_FITTING: dict[str, dict[str, str]] = {}


class _RefusedError(Exception):
    """DuckDB refuses a document that does not fit its declared type. The cause may quote the document: never shown."""


class RawSchemaError(Exception):
    """A raw table in the warehouse has another type for a column than its SQL file."""


@dataclass(frozen=True)
class LoadSummary:
    """What `load` did: rows by raw table, and how long it took in seconds."""

    rows: dict[str, int]
    seconds: float


def all_raw_tables() -> tuple[str, ...]:
    """Every raw table that this package fills, without the schema."""
    return (*(table for group in RAW_TABLES.values() for table in group), *BOOKKEEPING)


@cache
def _select(table: str) -> str:
    return read_select(SQL_DIR / "raw" / f"{table}.sql")


# --- tables ----------------------------------------------------------------------------------------------------------


def create_raw_tables(con: duckdb.DuckDBPyConnection, tables: Iterable[str] | None = None) -> None:
    """Create the raw tables that are not there, with the types that their SQL files give; add columns that are new.

    Raises:
        RawSchemaError: a column's type differs from its SQL file's.
    """
    wanted = tuple(tables or all_raw_tables())
    cursor = _utc_cursor(con)
    # What SQL files give does not change while we run, and binding them all costs more than the rest of an opening.
    there = _raw_columns(cursor)
    if all(table in _FITTING and there.get(table) == _FITTING[table] for table in wanted):
        return
    cursor.execute("CREATE SCHEMA IF NOT EXISTS raw")
    with tempfile.TemporaryDirectory(prefix="custody-empty-") as folder:
        empty = Path(folder) / "empty.ndjson.gz"
        empty.write_bytes(gzip.compress(b"", mtime=0))
        # Not None: DuckDB would give a column that it can foresee to be null the type of nothing.
        arguments = {"partition_date": date.min, "landing_id": "", "folder": "", "files": [str(empty)]}
        for table in wanted:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS raw.{table} AS "
                f"SELECT *, NULL::VARCHAR AS _dlt_load_id FROM ({_select(table)}) LIMIT 0",
                arguments,
            )
            _fit_columns(cursor, table, arguments)
    there = _raw_columns(cursor)
    _FITTING.update((table, there[table]) for table in wanted)


def _raw_columns(cursor: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table, name, kind in cursor.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = 'raw'"
    ).fetchall():
        found.setdefault(table, {})[name] = kind
    return found


def _fit_columns(cursor: duckdb.DuckDBPyConnection, table: str, arguments: dict[str, Any]) -> None:
    there = _columns_of(cursor, table)
    answer = cursor.execute(f"SELECT * FROM ({_select(table)}) LIMIT 0", arguments)
    for name, kind, *_ in answer.description or []:
        if name not in there:
            cursor.execute(f'ALTER TABLE raw.{table} ADD COLUMN "{name}" {kind}')
        elif there[name] != str(kind):
            raise RawSchemaError(
                f"raw.{table}.{name} is {there[name]} in the warehouse and {kind} in sql/raw/{table}.sql: "
                "load into a new warehouse from the landing files"
            )


def _columns_of(cursor: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    return {name: str(kind) for name, kind, *_ in cursor.execute(f"DESCRIBE raw.{table}").fetchall()}


def _utc_cursor(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    cursor = con.cursor()
    # A time without a zone is UTC, whatever this machine's zone is.
    cursor.execute("SET TimeZone = 'UTC'")
    return cursor


# --- documents -> Arrow ----------------------------------------------------------------------------------------------


def batches(con: duckdb.DuckDBPyConnection, landing: Landing) -> Iterator[pa.RecordBatch]:
    """The rows of a landing's files, in the files' order; some files are parsed ahead."""
    with tempfile.TemporaryDirectory(prefix="custody-load-") as scratch:

        def rows_of(asked: tuple[LandedFile, duckdb.DuckDBPyConnection]) -> list[pa.RecordBatch]:
            file, cursor = asked
            local = _readable_copy(file.local, Path(scratch)) if file.encoded else file.local
            with cursor:
                try:
                    return list(_read(cursor, landing, [local]))
                except _RefusedError:
                    return list(_read_tolerantly(cursor, landing, local, Path(scratch)))

        (threads,) = con.cursor().execute("SELECT current_setting('threads')").fetchone() or (1,)
        at_once = min(FILES_AT_ONCE, threads)
        asked = ((file, _utc_cursor(con)) for file in landing.files)
        for _, found in in_order(rows_of, asked, workers=at_once, ahead=at_once):
            yield from found


def _read(
    cursor: duckdb.DuckDBPyConnection, landing: Landing, files: Sequence[Path], table: str | None = None
) -> Iterator[pa.RecordBatch]:
    arguments = {
        "partition_date": landing.night,
        "landing_id": landing.landing_id,
        "folder": landing.folder if table is None else landing.place.uri(f"{table}/date={landing.night.isoformat()}"),
        "files": [str(file) for file in files],
    }
    try:
        yield from cursor.execute(_select(table or landing.resource), arguments).to_arrow_reader(BATCH_ROWS)
    except (duckdb.InvalidInputException, duckdb.ConversionException):
        raise _RefusedError from None
    except (OSError, ValueError) as error:
        # Behind the first batch pyarrow raises what DuckDB says as an error of its own.
        if str(error).startswith(("Invalid Input Error", "Conversion Error")):
            raise _RefusedError from None
        raise


def _readable_copy(file: Path, scratch: Path) -> Path:
    """A copy in which documents with line breaks stand as documents."""
    return _write(scratch, file.name, (as_readable(line) for line in read_lines(file)))


def _write(scratch: Path, name: str, lines: Iterable[bytes]) -> Path:
    # The file's own name in a folder of its own: document URIs are formed from it.
    copy = Path(tempfile.mkdtemp(dir=scratch)) / name
    with gzip.open(copy, "wb", compresslevel=1) as target:
        for line in lines:
            target.write(line)
    return copy


def _read_tolerantly(
    cursor: duckdb.DuckDBPyConnection, landing: Landing, file: Path, scratch: Path
) -> Iterator[pa.RecordBatch]:
    block: list[bytes] = []
    for line in read_lines(file):
        block.append(line)
        if len(block) == BLOCK_LINES:
            yield from _read_block(cursor, landing, file.name, block, scratch)
            block = []
    yield from _read_block(cursor, landing, file.name, block, scratch)


def _read_block(
    cursor: duckdb.DuckDBPyConnection, landing: Landing, name: str, block: list[bytes], scratch: Path
) -> Iterator[pa.RecordBatch]:
    if not block:
        return
    copy = _write(scratch, name, block)
    try:
        found = list(_read(cursor, landing, [copy]))
    except _RefusedError:
        if len(block) == 1:
            # Without its document nothing is left to refuse: a second refusal is a fault of the SQL file.
            alone = _write(scratch, name, [without_document(block[0], DocumentState.WRONG_SHAPE)])
            yield from _read(cursor, landing, [alone])
            return
        middle = len(block) // 2
        yield from _read_block(cursor, landing, name, block[:middle], scratch)
        yield from _read_block(cursor, landing, name, block[middle:], scratch)
    else:
        yield from found
    finally:
        shutil.rmtree(copy.parent)


# --- dlt -------------------------------------------------------------------------------------------------------------


def raw_source(
    con: duckdb.DuckDBPyConnection | None, landings: Sequence[Landing], *, tables: Sequence[str] = ()
) -> DltSource:
    """A dlt source with one resource per raw table of the landings (and of `tables`, for definitions without any).

    Every column's type is declared and frozen: dlt neither guesses a type, renames a key nor opens a document.
    Without a connection the resources are empty and untyped: enough to be described.
    """
    import dlt
    from dlt.common.schema.utils import new_table

    by_table: dict[str, list[Landing]] = {table: [] for table in tables}
    for landing in landings:
        by_table.setdefault(landing.resource, []).append(landing)
    if con is not None:
        create_raw_tables(con, by_table)

    schema = dlt.Schema("raw")
    if con is not None:
        # dlt lets a table that is new to its schema take any column, whatever the contract: so none is new.
        for table in by_table:
            schema.update_table(new_table(table, columns=list(_dlt_columns(con, table).values())))

    @dlt.source(schema=schema, max_table_nesting=0)
    def raw() -> list[DltResource]:
        return [_resource(con, table, found) for table, found in by_table.items()]

    return raw()


def _resource(con: duckdb.DuckDBPyConnection | None, table: str, landings: Sequence[Landing]) -> Any:
    import dlt

    def rows() -> Iterator[Any]:
        for landing in landings:
            landing.rows = 0
            if con is None:
                continue
            declared = _arrow_schema(con, table)
            for batch in batches(con, landing):
                _refuse_another_shape(table, declared, batch.schema)
                landing.rows += batch.num_rows
                yield batch
        yield dlt.mark.materialize_table_schema()

    return dlt.resource(
        rows,
        name=table,
        write_disposition="append",
        columns=_dlt_columns(con, table) if con is not None else {},
        schema_contract={"tables": "evolve", "columns": "freeze", "data_type": "freeze"},
        file_format="parquet",
    )


def _arrow_schema(con: duckdb.DuckDBPyConnection, table: str) -> pa.Schema:
    reader = con.cursor().execute(f"SELECT * EXCLUDE (_dlt_load_id) FROM raw.{table} LIMIT 0").to_arrow_reader()
    return reader.schema


def _refuse_another_shape(table: str, declared: pa.Schema, found: pa.Schema) -> None:
    # dlt's own contract lets an Arrow column of another type pass with a warning.
    for field in found:
        index = declared.get_field_index(field.name)
        if index < 0 or declared.field(index).type != field.type:
            raise RawSchemaError(f"raw.{table} takes no column {field.name} of type {field.type}")


def _dlt_columns(con: duckdb.DuckDBPyConnection, table: str) -> Any:
    # Nested types are "json" to dlt, which leaves them as they are in the table created beforehand.
    return {
        name: {"name": name, "nullable": name != "_dlt_load_id", **_DLT_TYPES.get(kind, {"data_type": "json"})}
        for name, kind in _columns_of(con.cursor(), table).items()
    }


@contextmanager
def raw_pipeline(con: duckdb.DuckDBPyConnection, landings: Sequence[Landing]) -> Iterator[dlt.Pipeline]:
    """A dlt pipeline into `raw` of `con`, with a name and a working folder of its own.

    Nothing is shared between runs, so a killed one leaves nothing behind that a later one would load again: its folder
    is removed here, its rows have no receipt. dlt works on its own cursors; `con` keeps its settings.
    """
    import dlt
    from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

    dlt.config["normalize.parquet_normalizer.add_dlt_load_id"] = True
    dlt.config["runtime.dlthub_telemetry"] = False
    with _working_folder(con) as folder:
        names = sorted({landing.resource for landing in landings}) or ["nothing"]
        nights = sorted({landing.night.isoformat() for landing in landings})
        pipeline = dlt.pipeline(
            "_".join(["raw", names[0], *(night.replace("-", "") for night in nights[:1])]),
            pipelines_dir=str(folder),
            destination=dlt.destinations.duckdb(DuckDbCredentials(con.cursor(), statements=[_CHECKPOINTS])),
            dataset_name="raw",
        )
        # Neither state nor schema is taken from earlier runs.
        pipeline.config.restore_from_destination = False
        yield pipeline


@contextmanager
def _working_folder(con: duckdb.DuckDBPyConnection) -> Iterator[Path]:
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
    # Only one process can have the warehouse open for writing: folders of others are those of dead ones.
    for folder in place.iterdir():
        if folder.name.partition("-")[0] != str(os.getpid()):
            shutil.rmtree(folder, ignore_errors=True)


def load(con: duckdb.DuckDBPyConnection, landings: Sequence[Landing]) -> LoadSummary:
    """Append the landings to their raw tables, then write their receipts.

    Raises:
        RawSchemaError: the warehouse's tables have other types than the SQL files.
        dlt.pipeline.exceptions.PipelineStepFailed: the load failed; no receipt was written, so nothing of it is seen.
    """
    started = time.monotonic()
    if any(landing.files for landing in landings):
        with raw_pipeline(con, landings) as pipeline:
            pipeline.run(raw_source(con, [landing for landing in landings if landing.files])).raise_on_failed_jobs()
    write_receipts(con, landings)
    rows: dict[str, int] = {}
    for landing in landings:
        rows[landing.resource] = rows.get(landing.resource, 0) + (landing.rows or 0)
    return LoadSummary(rows, time.monotonic() - started)


# --- receipts --------------------------------------------------------------------------------------------------------


def write_receipts(con: duckdb.DuckDBPyConnection, landings: Sequence[Landing]) -> None:
    """Make loaded landings current: their receipts and failures become rows, all at once.

    Call it after the landings' rows are in `raw`. A receipt lands as a file first, like everything else.
    """
    create_raw_tables(con, dict.fromkeys([*BOOKKEEPING, *(landing.resource for landing in landings)]))
    cursor = _utc_cursor(con)
    cursor.begin()
    try:
        for landing in landings:
            receipt = _land_receipt(landing)
            _insert(cursor, landing, "extraction_receipts", receipt)
            if landing.failure_files:
                _insert(cursor, landing, "fetch_failures", [file.local for file in landing.failure_files])
        cursor.commit()
    except BaseException:
        cursor.rollback()
        raise


def _land_receipt(landing: Landing) -> list[Path]:
    content = orjson.dumps(landing.as_receipt())
    with LandingWriter(landing.place, "extraction_receipts", landing.night, landing.landing_id) as writer:
        at = landing.finished_at or landing.started_at
        writer.add({}, f"custody:{landing.resource}", at, document(content))
    return [file.local for file in writer.files]


def _insert(cursor: duckdb.DuckDBPyConnection, landing: Landing, table: str, files: Sequence[Path]) -> None:
    for batch in _read(cursor, landing, files, table):
        cursor.register("received", batch)
        cursor.execute(f"INSERT INTO raw.{table} BY NAME SELECT * FROM received")
        cursor.unregister("received")
