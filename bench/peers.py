"""Stage `peers`: the documents of the bulk job → DuckDB as others do it, beside ours and the floor of `load`.

dlt as it comes nests: a table for each list in the documents, a row for each of their items. pandas' json_normalize
makes one flat table of conversations, one of sessions and one of segments. Neither keeps what the tables of ours hold
(names of tags as they were set, hashes, bytes); both are shown for their cost alone.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dlt
import duckdb
import orjson
import pandas as pd

from bench.load import STAGE as LOAD
from bench.load import contenders, land_details
from bench.measure import Prepared, Stage
from bench.night import organization
from custody_pipeline.settings import Settings


@contextmanager
def _prepared(size: int, folder: Path) -> Iterator[Prepared]:
    landing, received = land_details(Settings(home=folder), organization(size))
    files = [file.local for file in landing.files]
    ours, floor, same = contenders(landing, folder)
    peers = {"dlt as it comes": partial(_nested_by_dlt, files), "json_normalize": partial(_normalized, files)}
    yield Prepared(ours, floor, same, rows=size, bytes=received, peers=peers)


def _documents(files: list[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        with gzip.open(file) as lines:
            for line in lines:
                yield orjson.loads(line)["document"]


def _nested_by_dlt(files: list[Path], folder: Path) -> Callable[[], object]:
    dlt.config["runtime.dlthub_telemetry"] = False
    pipeline = dlt.pipeline(
        "nested",
        pipelines_dir=str(folder / "dlt"),
        destination=dlt.destinations.duckdb(str(folder / "nested.duckdb")),
        dataset_name="raw",
    )

    def work() -> None:
        pipeline.run(_documents(files), table_name="conversation_details").raise_on_failed_jobs()

    return work


def _normalized(files: list[Path], folder: Path) -> Callable[[], object]:
    def work() -> None:
        documents = list(_documents(files))
        people = [
            {**person, "conversationId": document["conversationId"]}
            for document in documents
            for person in document["participants"]
        ]
        sessions = pd.json_normalize(
            people, "sessions", ["conversationId", "participantId", "purpose", ["attributes"]], errors="ignore"
        )
        tables = {
            "conversations": pd.json_normalize(documents),
            "sessions": sessions,
            "segments": pd.json_normalize(people, ["sessions", "segments"], ["conversationId", "participantId"]),
        }
        with duckdb.connect(str(folder / "normalized.duckdb")) as con:
            for name, frame in tables.items():
                con.register("frame", frame.astype("string"))
                con.execute(f"CREATE TABLE {name} AS SELECT * FROM frame")
                con.unregister("frame")

    return work


STAGE = Stage("peers", LOAD.ours, LOAD.floor, _prepared, sizes=(20_000,), rounds=1)
