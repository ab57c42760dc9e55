"""Stage `load`: landed documents → `raw` through dlt, against DuckDB alone reading the same files by the same SELECT.

Neither computes SHA-256: it was taken when the bytes arrived, and both read it from the landing files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dlt  # noqa: F401 - importing it is not loading
import duckdb
import orjson
import sqlalchemy  # noqa: F401 - dlt imports it when it first says where it loads to

from bench.measure import Contender, Prepared, Stage
from bench.night import organization
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.load.pipeline import load
from custody_pipeline.load.raw_tables import create_raw_tables
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.api_documents import details
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.warehouse.sql_files import SQL_DIR, create_macros, read_model

TABLE = "conversation_details"


def land_details(settings: Settings, organization: Organization) -> tuple[Landing, int]:
    """Land the documents of the bulk job; returns the landing and the documents' bytes."""
    size = 0
    with Collector(settings, organization.night) as collector, collector.load(TABLE) as writing:
        for conversation in organization.conversations():
            document = orjson.dumps(details(conversation))
            size += len(document)
            writing.add({"page_sha256": "0" * 64, "job_id": "bench"}, "bench:", document)
    return writing.landing, size


@contextmanager
def _prepared(size: int, folder: Path) -> Iterator[Prepared]:
    landing, received = land_details(Settings(home=folder), organization(size))
    yield Prepared(*contenders(landing, folder), rows=size, bytes=received)


def contenders(landing: Landing, folder: Path) -> tuple[Contender, Contender, Callable[[Path, Path], None]]:
    """Ours, the floor, and what compares them; `folder` takes the warehouse of a deployment, without a night."""
    empty = folder / "empty.duckdb"
    with duckdb.connect(str(empty)) as con:
        create_raw_tables(con)
    return partial(_ours, landing, empty), partial(_floor, landing), _same


def _ours(landing: Landing, empty: Path, folder: Path) -> Callable[[], object]:
    shutil.copyfile(empty, folder / "ours.duckdb")

    def work() -> None:
        with duckdb.connect(str(folder / "ours.duckdb")) as con:
            # Compares the tables with the SQL files, as every run does when it opens the warehouse.
            create_raw_tables(con)
            load(con, [landing])

    return work


def _floor(landing: Landing, folder: Path) -> Callable[[], object]:
    arguments = {
        "partition_date": landing.night,
        "landing_id": landing.landing_id,
        "folder": f"landing/{landing.resource}",
        "files": [str(file.local) for file in landing.files],
    }
    select = read_model(SQL_DIR / "raw" / f"{TABLE}.sql").sql

    def work() -> None:
        with duckdb.connect(str(folder / "floor.duckdb")) as con:
            con.execute("SET TimeZone = 'UTC'")
            create_macros(con)
            con.execute(f"CREATE TABLE floor AS {select}", arguments)

    return work


def _same(ours: Path, floor: Path) -> None:
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{ours / 'ours.duckdb'}' AS ours (READ_ONLY)")
        con.execute(f"ATTACH '{floor / 'floor.duckdb'}' AS floor (READ_ONLY)")
        same_rows(con, f"SELECT * EXCLUDE (_dlt_load_id) FROM ours.raw.{TABLE}", "SELECT * FROM floor.floor")


def same_rows(con: duckdb.DuckDBPyConnection, ours: str, floor: str) -> None:
    """Raise AssertionError unless two SELECTs give the same rows, each as often."""
    for one, other in ((ours, floor), (floor, ours)):
        found = con.execute(f"SELECT * FROM (({one}) EXCEPT ALL ({other})) LIMIT 1").fetchone()
        assert found is None, f"only in one of them: {found}"


STAGE = Stage(
    "load",
    "landing files of the bulk job → raw.conversation_details of a warehouse through dlt, with its receipt",
    "DuckDB alone: CREATE TABLE AS the same SELECT over the same files",
    _prepared,
    goals={20_000: 1.5, 100_000: 1.25},
)
