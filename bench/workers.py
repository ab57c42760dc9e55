"""Stages `night on S3` and `two workers`: what `CUSTODY_NIGHTS_URL` costs a night, and what a second worker gives.

The first runs a night twice without Dagster, collected over HTTP and S3 (apart): by a worker that begins with an empty
home, its landing files and its warehouse on S3, against a home with one warehouse that has seen nights before.

In the second four nights are collected and checked in. Two workers take two of them each, model, check and publish
them into one log, against one worker that takes all four: a ratio of 0.5 is twice the throughput. Imports count on
neither side. One worker alone would use both cores, as its DuckDB does: so each worker is kept on one core, and so is
the one worker; the server may use both.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from bench.load import same_rows
from bench.measure import Apart, Prepared, Stage
from bench.night import BUCKET, NIGHT, NO_LIMIT, api_settings, model_night_before, organization
from bench.publish import PUBLISHED, in_bucket
from bench.whole import CONTENT, Stopwatch
from custody_pipeline.evidence.log.keys import new_key, write_new_key
from custody_pipeline.fleet.night_objects import Nights
from custody_pipeline.io.objects import listed
from custody_pipeline.io.s3 import s3_client, s3_store
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.night import COLLECT, Night, check, collect, model, publish, run
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.demo import ensure_bucket
from custody_pipeline.simulator.exporter import export_night
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.warehouse.connection import Warehouse

DAYS = [NIGHT + timedelta(days=number) for number in range(4)]


def _night_of(settings: Settings, day: date = NIGHT) -> Night:
    return Night(settings, load_mapping(settings.mapping_path), day)


def _on_s3(settings: Settings, keys: Path, prefix: str, **more: object) -> Settings:
    """The settings of workers that share everything below `prefix` of the bucket."""
    shared: dict[str, object] = {
        "nights_url": f"s3://{PUBLISHED}/{prefix}/nights",
        "landing_url": f"s3://{PUBLISHED}/{prefix}/landing",
        "publish_url": f"s3://{PUBLISHED}/{prefix}/published",
        "signing_key_file": keys,
        "salt_secret": "5a" * 32,
    }
    return Settings.model_validate({**settings.model_dump(), **shared, **more})


@contextmanager
def _server(folder: Path) -> Iterator[tuple[S3Endpoint, Path]]:
    """An S3 server with the bucket, and a key to sign with."""
    write_new_key(folder / "keys" / "demo.key", new_key("custody.local", demo=True))
    with LocalS3(folder / "server") as endpoint:
        endpoint.client().create_bucket(Bucket=PUBLISHED)
        yield endpoint, folder / "keys" / "demo.key"


@contextmanager
def _vendor(night: Organization, endpoint: S3Endpoint, bucket: str, home: Path) -> Iterator[tuple[Settings, int]]:
    """The settings for a night that was exported to `bucket`, and the bytes of its export."""
    with SimulatorServer(night, rate_limit=NO_LIMIT) as simulator:
        settings = in_bucket(
            api_settings(home, simulator.base_url), endpoint, export_url=f"s3://{bucket}", manifest_source="bucket"
        )
        client = s3_client(settings)
        ensure_bucket(client, bucket, lock=False)
        exported = export_night(night, client, bucket, store=s3_store(settings, bucket))
        yield settings, exported


# --- a night on S3 ---------------------------------------------------------------------------------------------------


@contextmanager
def _one_prepared(size: int, folder: Path) -> Iterator[Prepared]:
    night = organization(size)
    with _server(folder) as (endpoint, keys), _vendor(night, endpoint, BUCKET, folder) as (settings, exported):
        ours, floor = (partial(_one_night, settings, endpoint, keys, shared) for shared in (True, False))
        yield Prepared(ours, floor, _same_rows, rows=size, bytes=exported)


def _one_night(
    settings: Settings, endpoint: S3Endpoint, keys: Path, shared: bool, folder: Path
) -> Callable[[], object]:
    settings = _on_s3(in_bucket(settings, endpoint), keys, folder.name, home=folder)
    if not shared:
        settings = Settings.model_validate({**settings.model_dump(), "nights_url": None, "landing_url": None})
        with Warehouse(settings).open() as con:
            model_night_before(con, settings)

    def work() -> Apart:
        watch = Stopwatch()
        for group, one in list(COLLECT.items()):
            COLLECT[group] = watch.around(one)
        run(_night_of(settings))
        return Apart(collecting=watch.seconds)

    return work


def _same_rows(ours: Path, floor: Path) -> None:
    columns = ", ".join(CONTENT)
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{ours / 'nights' / str(NIGHT) / 'warehouse.duckdb'}' AS ours (READ_ONLY)")
        con.execute(f"ATTACH '{floor / 'warehouse.duckdb'}' AS floor (READ_ONLY)")
        same_rows(
            con,
            *(
                f"SELECT {columns} FROM {who}.custody.chain_of_custody WHERE partition_date = DATE '{NIGHT}'"
                for who in ("ours", "floor")
            ),
        )


# --- two workers -----------------------------------------------------------------------------------------------------


@contextmanager
def _two_prepared(size: int, folder: Path) -> Iterator[Prepared]:
    with _server(folder) as (endpoint, keys):
        collected = 0
        for day in DAYS:
            night = Organization(night=day, size=size, faults=FaultPlan.none())
            with _vendor(night, endpoint, f"{BUCKET}-{day}", folder / "home") as (settings, exported):
                shared = _on_s3(settings, keys, "collected")
                collect(_night_of(shared, day))
                with _night_of(shared, day).warehouse.open() as con:
                    _night_of(shared, day).warehouse.check_in(con)
                collected += exported
        ours, floor = (partial(_nights, shared, endpoint, workers) for workers in (2, 1))
        yield Prepared(ours, floor, _same_content, rows=size * len(DAYS), bytes=collected)


def _nights(collected: Settings, endpoint: S3Endpoint, workers: int, folder: Path) -> Callable[[], object]:
    place = f"s3://{PUBLISHED}/{folder.name}"
    settings = in_bucket(collected, endpoint, nights_url=f"{place}/nights", publish_url=f"{place}/published")
    source, target = Nights.of(collected), Nights.of(settings)
    for path, _ in listed(source.client, source.place, ""):
        at, to = source.place / path, target.place / path
        target.client.copy_object(Bucket=to.bucket, Key=to.key, CopySource={"Bucket": at.bucket, "Key": at.key})
    # Forked: nobody pays for imports.
    context = multiprocessing.get_context("fork")
    start = context.Event()
    processes = []
    for number in range(workers):
        home = settings.model_copy(update={"home": folder / f"worker-{number}"})
        core = sorted(os.sched_getaffinity(0))[number]
        processes.append(context.Process(target=_work, args=(home, DAYS[number::workers], core, start)))
        processes[-1].start()

    def work() -> None:
        start.set()
        for process in processes:
            process.join()
            assert process.exitcode == 0, "a worker failed"

    return work


def _work(settings: Settings, days: Sequence[date], core: int, start: Any) -> None:
    os.sched_setaffinity(0, {core})
    start.wait()
    for day in days:
        night = _night_of(settings, day)
        with night.warehouse.open() as con:
            model(con, night)
            check(con, night)
            publication, _ = publish(con, night)
        said = {"revision": publication.revision, "content": publication.content_sha256}
        (settings.home.parent / f"{day}.json").write_text(json.dumps(said))


def _same_content(ours: Path, floor: Path) -> None:
    for day in DAYS:
        assert (ours / f"{day}.json").read_text() == (floor / f"{day}.json").read_text(), f"{day} differs"


ONE = Stage(
    "night on S3",
    "one night by a worker with an empty home (`CUSTODY_NIGHTS_URL`): collected over HTTP and S3 (apart), published",
    "the same in a home with one warehouse",
    _one_prepared,
    sizes=(5_000,),
    goals={5_000: 1.1},
)
TWO = Stage(
    "two workers",
    "four nights that are collected: modelled, checked and published by two workers on S3, each kept on one core",
    "the same by one worker that is kept on one core",
    _two_prepared,
    sizes=(500,),
    goals={500: 1 / 1.6},
)
