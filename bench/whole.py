"""Stage `night`: one night through Dagster, from HTTP and S3 to the sealed cut, against its floors one after the other.

The simulated organisation, without its rate limit, and the S3 server are the same for both. The floor is a script that
collects the same things with the same number of requests in flight (a listing, every sidecar, the digests of all
media, the pages of the bulk job, the single reads that ours makes), lets DuckDB read the landing files, runs
`model.sql` and publishes as the floor of `publish` does. Collecting has a line of its own: over HTTP both wait for the
same servers. Imports count on neither side; opening Dagster's instance, which has seen a night before, counts as ours.

Stage `small night` is a night of ten conversations as `custody run` does it, from the start of its process to the end:
what a night costs besides its work, imports included.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import obstore
import requests

from bench.load import same_rows
from bench.measure import Apart, Prepared, Stage
from bench.model import SAME, model_by_hand
from bench.night import (
    BUCKET,
    NIGHT,
    NO_LIMIT,
    LoadedNight,
    api_settings,
    model_night_before,
    modelled_night,
    organization,
)
from bench.publish import PUBLISHED, copy_tables, fetch_cut, in_bucket, publish_once, put_plainly
from custody_pipeline.defs.instance import open_instance, run_night
from custody_pipeline.extract.conversations import FIRST_POLL, JOBS, PAGE_SIZE
from custody_pipeline.extract.exports import READS_IN_FLIGHT
from custody_pipeline.extract.media import HASHES_IN_FLIGHT
from custody_pipeline.io.s3 import s3_client, s3_store
from custody_pipeline.load.raw_tables import create_raw_tables
from custody_pipeline.night import COLLECT
from custody_pipeline.settings import Settings, load_settings
from custody_pipeline.simulator.demo import ensure_bucket
from custody_pipeline.simulator.exporter import export_night
from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.sql_files import SQL_DIR, create_macros, read_model

# What does not depend on when and where it was collected.
CONTENT = (
    "conversation_id", "recording_id", "session_id", "user_ids", "agent_names", "queue_names", "conversation_start",
    "recording_start", "duration_ms", "export_job_id", "object_bytes", "media_sha256", "sidecar_sha256",
    "conversation_sha256", "script_id", "script_version", "custom_data", "custom_data_source",
)  # fmt: skip


@dataclass(frozen=True)
class _Place:
    """Where both find the night, and where they publish."""

    endpoint: S3Endpoint
    api: str


@contextmanager
def _prepared(size: int, folder: Path, *, ours: Callable[[_Place, Path], Callable[[], object]]) -> Iterator[Prepared]:
    night = modelled_night(size)
    with LocalS3(folder / "server") as endpoint, SimulatorServer(organization(size), rate_limit=NO_LIMIT) as simulator:
        client = endpoint.client()
        ensure_bucket(client, BUCKET, lock=False)
        client.create_bucket(Bucket=PUBLISHED)
        settings = in_bucket(night.settings, endpoint)
        exported = export_night(organization(size), client, BUCKET, store=s3_store(settings, BUCKET))
        fetch_cut(publish_once(night, endpoint, folder / "first"), endpoint, folder / "bytes")
        place = _Place(endpoint, simulator.base_url)
        yield Prepared(
            partial(ours, place),
            partial(_floor, place, night, folder / "bytes"),
            _same,
            rows=night.recordings,
            bytes=exported,
        )


def _settle(place: _Place, folder: Path) -> None:
    """Make `folder` the home of a deployment that has seen a night, and its settings those of this process."""
    settings = in_bucket(
        api_settings(folder, place.api),
        place.endpoint,
        export_url=f"s3://{BUCKET}",
        publish_url=f"s3://{PUBLISHED}/{folder.parent.name}/{folder.name}",
        manifest_source="bucket",
    )
    for name, value in settings.model_dump(exclude_defaults=True).items():
        secret = getattr(value, "get_secret_value", None)
        os.environ[f"CUSTODY_{name.upper()}"] = secret() if secret else str(value)

    with open_instance(settings), Warehouse(settings).open() as con:
        # Dagster's instance, tables and views are there, as on every night but the first.
        model_night_before(con, settings)


def _ours(place: _Place, folder: Path) -> Callable[[], object]:
    _settle(place, folder)

    def work() -> Apart:
        watch = Stopwatch()
        for group, collect in list(COLLECT.items()):
            COLLECT[group] = watch.around(collect)
        result = run_night(load_settings(), NIGHT)
        assert result.success, (result.failed_steps, result.failed_checks)
        return Apart(collecting=watch.seconds)

    return work


class Stopwatch:
    """Adds up the seconds of the calls that it is put around."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def _small_night(place: _Place, folder: Path) -> Callable[[], object]:
    _settle(place, folder)
    command = [str(Path(sys.executable).with_name("custody")), "run", "--date", NIGHT.isoformat()]

    def work() -> None:
        subprocess.run(command, check=True, capture_output=True)

    return work


# --- the floor -------------------------------------------------------------------------------------------------------


def _floor(place: _Place, night: LoadedNight, same_bytes: Path, folder: Path) -> Callable[[], object]:
    settings = in_bucket(night.settings, place.endpoint)
    put = put_plainly(settings, same_bytes)
    assert night.landing is not None, "a loaded night has landing files"
    landing = night.landing
    singles = _paths_of_single_reads(night)
    path = folder / "warehouse.duckdb"
    with duckdb.connect(str(path)) as con:
        create_raw_tables(con)

    def work() -> Apart:
        watch = Stopwatch()
        watch.around(_collect_bucket)(settings)
        watch.around(_collect_api)(place.api, singles, folder)
        _load(landing, path)
        model_by_hand(path)
        (folder / "files").mkdir()
        copy_tables(path, folder / "files", schema="main", names=SAME)
        put()
        return Apart(collecting=watch.seconds)

    return work


def _paths_of_single_reads(night: LoadedNight) -> list[str]:
    with duckdb.connect(str(night.settings.warehouse_path), read_only=True) as con:
        found = con.execute(
            "SELECT key_conversation_id FROM raw.conversations "
            "UNION ALL SELECT DISTINCT key_conversation_id || '/recordingmetadata' FROM raw.recording_metadata"
        ).fetchall()
    return [f"/api/v2/conversations/{name}" for (name,) in found]


def _collect_bucket(settings: Settings) -> None:
    client, store = s3_client(settings), s3_store(settings, BUCKET)
    keys = [
        version["Key"]
        for page in client.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
        for version in page.get("Versions", [])
    ]

    def digest(key: str) -> tuple[str, str]:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        for chunk in obstore.get(store, key).stream():
            sha256.update(chunk)
            md5.update(chunk)
        return sha256.hexdigest(), md5.hexdigest()

    with ThreadPoolExecutor(READS_IN_FLIGHT) as pool:
        list(pool.map(lambda key: bytes(obstore.get(store, key).bytes()), (k for k in keys if k.endswith(".json"))))
    with ThreadPoolExecutor(HASHES_IN_FLIGHT) as pool:
        list(pool.map(digest, (key for key in keys if not key.endswith(".json"))))


def _collect_api(api: str, singles: list[str], folder: Path) -> None:
    session = requests.Session()
    grant = {"grant_type": "client_credentials"}
    answer = session.post(f"{api}/oauth/token", grant, auth=("custody-demo", "custody-demo-secret"))
    session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    interval = f"{NIGHT}T00:00:00.000Z/{NIGHT.replace(day=NIGHT.day + 1)}T00:00:00.000Z"
    query: dict[str, Any] = {"interval": interval, "startOfDayIntervalMatching": True}
    job = session.post(f"{api}{JOBS}", json=query).json()["jobId"]
    while session.get(f"{api}{JOBS}/{job}").json()["state"] != "FULFILLED":
        time.sleep(FIRST_POLL)
    page: dict[str, Any] = {"cursor": None}
    with gzip.open(folder / "pages.gz", "wb", compresslevel=3) as kept:
        while "cursor" in page:
            more = {"cursor": page["cursor"]} if page["cursor"] else {}
            answer = session.get(f"{api}{JOBS}/{job}/results", params={"pageSize": PAGE_SIZE, **more})
            kept.write(answer.content)
            page = answer.json()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: session.get(f"{api}{path}").content, singles))


def _landing_id(file: Path) -> str:
    """`{time}-{eight hex digits}`, without the number of a later part."""
    return "-".join(file.name.partition(".")[0].split("-")[:2])


def _load(landing: Path, warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute("SET TimeZone = 'UTC'")
        create_macros(con)
        for place in sorted(landing.glob(f"*/date={NIGHT}")):
            resource = place.parent.name
            select = read_model(SQL_DIR / "raw" / f"{resource}.sql").sql
            for landing_id, files in groupby(sorted(place.glob("*.ndjson.gz")), _landing_id):
                given = {"partition_date": NIGHT, "landing_id": landing_id, "folder": str(place)}
                into = f"INSERT INTO raw.{resource} BY NAME {select}"
                con.execute(into, {**given, "files": [str(file) for file in files]})


def _same(ours: Path, floor: Path) -> None:
    columns = ", ".join(CONTENT)
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{ours / 'warehouse.duckdb'}' AS ours (READ_ONLY)")
        con.execute(f"ATTACH '{floor / 'warehouse.duckdb'}' AS floor (READ_ONLY)")
        same_rows(
            con,
            f"SELECT {columns} FROM ours.custody.chain_of_custody",
            f"SELECT {columns} FROM floor.main.chain_of_custody",
        )


_FLOOR = "a script that does the same bare: reads, DuckDB over the landing files, model.sql, COPY and plain PUTs"

STAGE = Stage(
    "night",
    "one night through Dagster: collected over HTTP and S3 (apart), loaded, modelled, checked, sealed, published",
    _FLOOR,
    partial(_prepared, ours=_ours),
    goals={20_000: 1.4, 100_000: 1.3},
    seconds=4.0,
    sizes=(20_000,),
)
SMALL = Stage(
    "small night",
    "`custody run` from the shell, a night of ten conversations: imports, Dagster's instance, every step",
    _FLOOR,
    partial(_prepared, ours=_small_night),
    sizes=(10,),
    seconds=4.0,
)
