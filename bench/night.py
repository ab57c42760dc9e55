"""A night's `raw` tables without a bucket: what stages behind the collection start from.

The API's part is collected from the simulated organisation over HTTP; the bucket's part is landed as its listing would
say it, since putting a hundred thousand objects would only heat the disk.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import duckdb
from pydantic import SecretStr

from custody_pipeline.capture.night_captures import collect_captures
from custody_pipeline.extract.catalog import collect_catalog
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.conversations import collect_conversations, collect_details
from custody_pipeline.extract.export_keys import parse_key
from custody_pipeline.extract.exports import collect_exports
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.extract.recordings import collect_recordings
from custody_pipeline.load.pipeline import load
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.pending_reads import conversations_to_read, recordings_to_read
from custody_pipeline.night import Night, model
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.calls import Conversation
from custody_pipeline.simulator.exporter import ExportObject, export_objects
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.warehouse.connection import Warehouse

NIGHT = date(2026, 11, 2)
BUCKET = "bench-exports"
NO_LIMIT = 1_000_000_000  # requests a minute


@dataclass(frozen=True)
class LoadedNight:
    """A warehouse whose `raw` tables hold one night, and nothing else.

    Attributes:
        settings: with which it was made.
        recordings: media objects of the night.
        requests: that the API was asked.
        single_reads: conversations that the bulk job could not give whole.
        landing: the place of its landing files, also for copies of the warehouse.
    """

    settings: Settings
    recordings: int
    requests: int
    single_reads: int
    landing: Path | None = None


def organization(size: int) -> Organization:
    """The organisation of every stage: healthy, of the seed of the demo."""
    return Organization(night=NIGHT, size=size, faults=FaultPlan.none())


def api_settings(home: Path, base_url: str) -> Settings:
    """Settings whose API is the simulated organisation, without a limit of our own."""
    return Settings(
        home=home,
        genesys_domain=base_url,
        genesys_client_id="custody-demo",
        genesys_client_secret=SecretStr("custody-demo-secret"),
        genesys_requests_per_minute=NO_LIMIT,
        manifest_source="recording_jobs",
    )


@cache
def loaded_night(size: int) -> LoadedNight:
    """A night of `size` conversations, collected and loaded once for all stages; copy it, it is not yours to change.

    The warehouse has the tables and views of a deployment that modelled a night before.
    """
    home = Path(tempfile.mkdtemp(prefix="custody-bench-night-"))
    atexit.register(shutil.rmtree, home)
    shutil.copyfile(_deployment(), home / "warehouse.duckdb")
    return _load_night(organization(size), home)


@cache
def _deployment() -> Path:
    """The warehouse of a deployment that modelled the night before."""
    home = Path(tempfile.mkdtemp(prefix="custody-bench-deployment-"))
    atexit.register(shutil.rmtree, home)
    settings = api_settings(home, "http://127.0.0.1")
    with Warehouse(settings).open() as con:
        model_night_before(con, settings)
    return settings.warehouse_path


def model_night_before(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Make every table and view of the warehouse, by modelling a night of which nothing was collected."""
    model(con, Night(settings, load_mapping(settings.mapping_path), NIGHT - timedelta(days=1)))


@cache
def modelled_night(size: int) -> LoadedNight:
    """`loaded_night`, with every table of the night made; copy it, it is not yours to change."""
    home = tempfile.mkdtemp(prefix="custody-bench-night-")
    atexit.register(shutil.rmtree, home)
    loaded = loaded_night(size)
    settings = copy_of(loaded, Path(home))
    with Warehouse(settings).open() as con:
        model(con, Night(settings, load_mapping(settings.mapping_path), NIGHT))
    return replace(loaded, settings=settings)


def copy_of(night: LoadedNight, folder: Path) -> Settings:
    """Copy the night's warehouse into `folder`; returns the settings for that folder."""
    shutil.copyfile(night.settings.warehouse_path, folder / "warehouse.duckdb")
    return night.settings.model_copy(update={"home": folder})


def _load_night(night: Organization, home: Path) -> LoadedNight:
    with SimulatorServer(night, rate_limit=NO_LIMIT) as server:
        settings = api_settings(home, server.base_url)
        # Later readers of these settings need the bucket.
        bucket_too = {"manifest_source": "bucket", "export_url": f"s3://{BUCKET}"}
        later = Settings.model_validate({**settings.model_dump(), **bucket_too})
        with Collector(settings, NIGHT) as collector, Warehouse(settings).open() as con:
            bucket = _land_bucket(collector, night)
            api = [landing for landing in collect_exports(collector) if landing.state != "not_configured"]
            load(con, [*bucket, *api, *collect_details(collector), *collect_catalog(collector)])
            wanted = conversations_to_read(con, later, NIGHT, load_mapping(settings.mapping_path).columns)
            load(
                con,
                [
                    *collect_recordings(collector, list(recordings_to_read(con, later, NIGHT))),
                    *collect_conversations(collector, wanted),
                    *collect_captures(collector),
                ],
            )
            assert collector.client is not None
            return LoadedNight(
                later,
                recordings=_count(con, "SELECT count(*) FROM raw.media_digests"),
                requests=collector.client.counters.requests,
                single_reads=len(wanted),
                landing=Path(later.landing),
            )


def _count(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = con.execute(sql).fetchone()
    assert row is not None
    return int(row[0])


def _land_bucket(collector: Collector, night: Organization) -> list[Landing]:
    written = datetime.combine(NIGHT + timedelta(days=1), datetime.min.time()) + timedelta(hours=1)
    with (
        collector.load("export_objects") as objects,
        collector.load("export_sidecars") as sidecars,
        collector.load("media_digests") as digests,
    ):
        for conversation in night.conversations():
            versions = list(_versions(conversation))
            for place, (item, version) in enumerate(versions):
                latest = all(item.key != later.key for later, _ in versions[place + 1 :])
                listed = _listed(item, version, written) | {"is_latest": latest}
                key = parse_key(item.key)
                uri = f"s3://{BUCKET}/{item.key}"
                keys = {
                    "bucket_region": "us-east-1",
                    "organization_id": key.organization_id,
                    "conversation_id": key.conversation_id,
                    "recording_id": key.recording_id,
                    "object_role": key.role,
                    "media_extension": key.extension,
                    "path_date": key.path_date,
                    "path_hour": key.path_hour,
                    "key_finding": key.finding,
                }
                objects.add_made(keys, uri, listed)
                if key.role == "media" and item.body is not None:
                    digests.add_made({}, uri, _digest(item, listed, written))
                elif key.role == "sidecar" and latest:
                    names = {name: listed[name] for name in ("bucket", "object_key", "version_id")}
                    sidecars.add(
                        {**names, "conversation_id": key.conversation_id, "recording_id": key.recording_id},
                        uri,
                        item.body or b"",
                    )
    return [load.landing for load in (objects, sidecars, digests)]


def _versions(conversation: Conversation) -> Iterator[tuple[ExportObject, int]]:
    """What was put or deleted, in order, each with its number among the versions of its key."""
    seen: Counter[str] = Counter()
    for item in export_objects(conversation):
        yield item, seen[item.key]
        seen[item.key] += 1


def _listed(item: ExportObject, version: int, written: datetime) -> dict[str, object]:
    body = item.body or b""
    return {
        "bucket": BUCKET,
        "object_key": item.key,
        "version_id": hashlib.md5(f"{item.key} {version}".encode(), usedforsecurity=False).hexdigest(),
        "is_delete_marker": item.body is None,
        "object_bytes": len(body),
        "etag": hashlib.md5(body, usedforsecurity=False).hexdigest(),
        "last_modified": written + timedelta(minutes=version),
        "checksum_algorithm": None,
        "checksum_type": None,
    }


def _digest(item: ExportObject, listed: dict[str, object], written: datetime) -> dict[str, object]:
    names = ("bucket", "object_key", "version_id", "etag", "last_modified", "object_bytes")
    return {
        **{name: listed[name] for name in names},
        "sha256": hashlib.sha256(item.body or b"").hexdigest(),
        "md5": listed["etag"],
        "method": "streamed",
        "hashed_at": written + timedelta(hours=1),
    }
