"""The dlt pipeline into `raw`, and the receipts that make a load current.

Belongs here: running a load. Does not: collecting, or reading `raw` back (models/pending_reads.py).
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import orjson

from custody_pipeline.extract.documents import document
from custody_pipeline.extract.landing_files import RECEIPTS, LandingWriter
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.load.parsing import insert_files, plain_files
from custody_pipeline.load.raw_tables import BOOKKEEPING, create_raw_tables, utc_cursor
from custody_pipeline.load.source import raw_source
from custody_pipeline.load.working_folder import working_folder
from custody_pipeline.warehouse.sql_text import literal, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import dlt


# DuckDB's own default. dlt raises it to 1 GB for the whole database: every row would be written twice, first to the log
# and then to the file.
_CHECKPOINTS = "SET GLOBAL checkpoint_threshold = '16MiB'"

# Compressed. A load of more takes every core, also into a warehouse that was opened small.
LARGE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class LoadSummary:
    """What `load` did: rows by raw table, and how long it took in seconds."""

    rows: dict[str, int]
    seconds: float


@contextmanager
def raw_pipeline(con: duckdb.DuckDBPyConnection, landings: Sequence[Landing]) -> Iterator[dlt.Pipeline]:
    """A dlt pipeline into `raw` of `con`, with a new name and working folder.

    Runs share nothing, so a later run never loads what a killed run left behind: its folder is removed here, and its
    rows have no receipt. dlt works on its own cursors; `con` keeps its settings.
    """
    import dlt

    from custody_pipeline.load.dlt_context import own_settings

    with own_settings(), working_folder(con) as folder:
        names = sorted({landing.resource for landing in landings}) or ["nothing"]
        nights = sorted({landing.night.isoformat() for landing in landings})
        pipeline = dlt.pipeline(
            "_".join(["raw", names[0], *(night.replace("-", "") for night in nights[:1])]),
            pipelines_dir=str(folder),
            destination=_destination(con),
            dataset_name="raw",
        )
        # Neither state nor schema is taken from earlier runs.
        pipeline.config.restore_from_destination = False
        yield pipeline


def _destination(con: duckdb.DuckDBPyConnection) -> Any:
    from dlt.destinations import duckdb as dlt_duckdb
    from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
    from dlt.destinations.impl.duckdb.duck import DuckDbClient, DuckDbCopyJob

    class CopyJob(DuckDbCopyJob):
        """Loads without hive partitioning, which would make a part of the path (`date=2026-11-02`) a column."""

        def run(self) -> None:
            client = self._job_client.sql_client
            table = client.make_qualified_table_name(self.load_table_name)
            rows = f"read_parquet({literal(self._file_path)}, union_by_name = true, hive_partitioning = false)"
            client.execute_sql(f"INSERT INTO {table} BY NAME SELECT * FROM {rows}")

    class Client(DuckDbClient):
        def create_load_job(self, *asked: Any, **named: Any) -> Any:
            job = super().create_load_job(*asked, **named)
            return CopyJob(job._file_path) if isinstance(job, DuckDbCopyJob) else job

    credentials = DuckDbCredentials(con.cursor(), statements=[_CHECKPOINTS])
    known = dlt_duckdb(credentials).capabilities()

    class Destination(dlt_duckdb):
        """Knows DuckDB's capabilities. dlt would resolve its settings for them thirty times a load."""

        def capabilities(self, config: Any = None, naming: Any = None) -> Any:
            return self.adjust_capabilities(known.copy(), config, naming)

        @property
        def client_class(self) -> type[DuckDbClient]:
            return Client

    return Destination(credentials, destination_name="duckdb")


def load(
    con: duckdb.DuckDBPyConnection, landings: Sequence[Landing], receipts: Mapping[str, Path] | None = None
) -> LoadSummary:
    """Append the landings to their raw tables, then write their receipts.

    Args:
        con: the warehouse, open for writing.
        landings: in the order of their collection.
        receipts: the landing files of receipts that landed before, by landing id. None: the receipts land now.

    Raises:
        RawSchemaError: the warehouse's tables have other types than the SQL files.
        dlt.pipeline.exceptions.PipelineStepFailed: the load failed. Without a receipt its rows are not visible.
    """
    started = time.monotonic()
    if sum(file.size for landing in landings for file in landing.files) > LARGE_BYTES:
        con.execute("RESET threads")
    if any(landing.files for landing in landings):
        with raw_pipeline(con, landings) as pipeline:
            pipeline.run(raw_source(con, [landing for landing in landings if landing.files])).raise_on_failed_jobs()
    write_receipts(con, landings, receipts)
    rows: dict[str, int] = {}
    for landing in landings:
        rows[landing.resource] = rows.get(landing.resource, 0) + (landing.rows or 0)
    return LoadSummary(rows, time.monotonic() - started)


def write_receipts(
    con: duckdb.DuckDBPyConnection, landings: Sequence[Landing], receipts: Mapping[str, Path] | None = None
) -> None:
    """Make loaded landings current: write their receipts and failures as rows, in one transaction.

    Call it after the landings' rows are in `raw`. A receipt is first written as a landing file, like every document.
    Its sequence number orders the loads, so a clock that was set back has no effect: one process holds the warehouse.
    """
    create_raw_tables(con, dict.fromkeys([*BOOKKEEPING, *(landing.resource for landing in landings)]))
    cursor = utc_cursor(con)
    with transaction(cursor):
        (last,) = cursor.execute("SELECT coalesce(max(sequence), 0) FROM raw.extraction_receipts").fetchone() or (0,)
        for sequence, landing in enumerate(landings, start=last + 1):
            landing.sequence = sequence
            # A receipt that landed before holds its own sequence.
            receipt = _land_receipt(landing) if receipts is None else [receipts[landing.landing_id]]
            insert_files(cursor, landing, receipt, RECEIPTS)
            if landing.failure_files:
                with plain_files(con, landing, landing.failure_files) as files:
                    insert_files(cursor, landing, files, "fetch_failures")


def _land_receipt(landing: Landing) -> list[Path]:
    content = orjson.dumps(landing.as_receipt())
    with LandingWriter(landing.place, RECEIPTS, landing.night, landing.landing_id) as writer:
        at = landing.finished_at or landing.started_at
        writer.add({}, f"custody:{landing.resource}", at, document(content))
    return [file.local for file in writer.files]
