"""Stage `diagnosis`: a night with every fault planted and a million observations of tags, from `raw` to every answer.

The size is the number of observations, the unit that the diagnosis works on. The night is a simulated one with a sixth
of its conversations faulty, repeated with ids of its own until it is large enough: about six observations a
conversation and four a recording, as its scripts and flows set them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb

from bench.load import same_rows
from bench.measure import Prepared, Stage
from bench.night import NIGHT, LoadedNight, copy_of, loaded_night
from custody_pipeline.models.mapping import load_mapping
from custody_pipeline.models.run import run_models
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline.warehouse.sql_files import load_models

CONVERSATIONS = 1_000

# Columns that make a row another conversation's, by raw table.
OWN = {
    "conversation_details": ("conversation_id", "document_sha256", "document_uri"),
    "conversations": ("key_conversation_id", "conversation_id", "document_sha256", "document_uri"),
    "conversation_attributes": ("key_conversation_id", "conversation_id", "document_sha256", "document_uri"),
    "recording_metadata": (
        "key_conversation_id", "conversation_id", "recording_id", "document_sha256", "document_uri",
    ),
    "export_objects": ("conversation_id", "recording_id", "object_key", "document_sha256", "document_uri"),
    "export_sidecars": (
        "key_conversation_id", "key_recording_id", "conversation_id", "recording_id", "object_key", "document_sha256",
        "document_uri",
    ),
    "export_failures": ("conversation_id", "recording_id", "document_sha256", "document_uri"),
    "media_digests": ("object_key", "sha256", "document_sha256", "document_uri"),
    "orphan_recordings": ("conversation_id", "recording_id", "orphan_id", "document_sha256", "document_uri"),
    "fetch_failures": ("subject_id", "document_sha256", "document_uri"),
}  # fmt: skip


@contextmanager
def _prepared(size: int, folder: Path) -> Iterator[Prepared]:
    folder.mkdir()
    small = loaded_night(CONVERSATIONS, FaultPlan.every())
    settings = copy_of(small, folder)
    night = LoadedNight(settings, small.recordings, small.requests, small.single_reads)
    _model(settings)
    with Warehouse(settings).open() as con:
        observations = _count(con)
        _repeat(con, max(1, round(size / observations)))
    _model(settings)
    with Warehouse(settings).open(read_only=True) as con:
        observations = _count(con)
    yield Prepared(
        partial(_ours, night),
        partial(_floor, night),
        _same,
        rows=observations,
        bytes=settings.warehouse_path.stat().st_size,
    )


def _count(con: duckdb.DuckDBPyConnection) -> int:
    row = con.execute("SELECT count(*) FROM staging.tag_observations").fetchone()
    assert row is not None
    return int(row[0])


def _repeat(con: duckdb.DuckDBPyConnection, times: int) -> None:
    for table, columns in OWN.items():
        own = ", ".join(f"{name} || '~' || copy AS {name}" for name in columns)
        con.execute(
            f"INSERT INTO raw.{table} SELECT t.* REPLACE ({own}) FROM raw.{table} AS t, range(1, {times}) AS r(copy)"
        )


def _model(settings: Settings) -> None:
    models, mapping = load_models(), load_mapping(settings.mapping_path)
    with Warehouse(settings).open() as con:
        run_models(con, models, NIGHT, mapping, settings)


def _ours(night: LoadedNight, folder: Path) -> Callable[[], object]:
    return partial(_model, copy_of(night, folder))


def _floor(night: LoadedNight, folder: Path) -> Callable[[], object]:
    """Only writing the answers: the published tables, as another run found them, into an empty warehouse."""
    source = night.settings.warehouse_path

    def work() -> None:
        with duckdb.connect(str(folder / "warehouse.duckdb"), config={"preserve_insertion_order": False}) as con:
            con.execute(f"ATTACH '{source}' AS source (READ_ONLY); CREATE SCHEMA custody")
            for table in PUBLISHED_TABLES:
                con.execute(f"CREATE TABLE custody.{table} AS FROM source.custody.{table}")

    return work


def _same(ours: Path, floor: Path) -> None:
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{ours / 'warehouse.duckdb'}' AS ours (READ_ONLY)")
        con.execute(f"ATTACH '{floor / 'warehouse.duckdb'}' AS floor (READ_ONLY)")
        for table in PUBLISHED_TABLES:
            same_rows(con, f"SELECT * FROM ours.custody.{table}", f"SELECT * FROM floor.custody.{table}")


STAGE = Stage(
    "diagnosis",
    "raw → every staging and custody table of a night in which everything goes wrong, by run_models",
    "writing the same published tables, already known, to a DuckDB file",
    _prepared,
    sizes=(1_000_000,),
    rounds=1,
)
