"""A simulated night in a real bucket and behind a real API, collected and modelled in this process, without Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from custody_pipeline.capture.night_captures import collect_captures
from custody_pipeline.extract.catalog import collect_catalog
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.conversations import collect_conversations, collect_details
from custody_pipeline.extract.exports import collect_exports
from custody_pipeline.extract.media import collect_media
from custody_pipeline.extract.recordings import collect_recordings
from custody_pipeline.io.s3 import s3_client, s3_store
from custody_pipeline.load.pipeline import load
from custody_pipeline.models.mapping import load_mapping
from custody_pipeline.models.pending_reads import known_digests, media_objects, read_worklists
from custody_pipeline.models.run import run_models
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.exporter import create_export_bucket, export_night
from custody_pipeline.simulator.local_s3 import S3Endpoint
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.sql_files import load_models


@dataclass(frozen=True)
class Vendor:
    """A simulated vendor: the organisation's API and the bucket it exports to."""

    settings: Settings
    server: SimulatorServer | None


@contextmanager
def vendor(
    organization: Organization, s3: S3Endpoint, home: Path, *, bucket: str, api: bool = True, **more: object
) -> Iterator[Vendor]:
    """Export the night into a new bucket, and serve the organisation until the block ends."""
    known = {"home": home, "export_url": f"s3://{bucket}", "s3_endpoint_url": s3.url, "s3_region": s3.region, **more}
    settings = Settings.model_validate(known)
    client = s3_client(settings)
    create_export_bucket(client, bucket)
    export_night(organization, client, bucket, store=s3_store(settings, bucket))
    if not api:
        yield Vendor(settings, None)
        return
    with SimulatorServer(organization, rate_limit=10**9) as server:
        access = {
            "genesys_domain": server.base_url,
            "genesys_client_id": "custody-demo",
            "genesys_client_secret": "custody-demo-secret",
            "genesys_requests_per_minute": 10**9,
        }
        yield Vendor(Settings.model_validate(known | access), server)


def run(settings: Settings, night: date) -> None:
    """Collect the night and bring every model up to date, in the order of the nightly job."""
    mapping = load_mapping(settings.mapping_path)
    with Warehouse(settings).open() as con, Collector(settings, night) as collector:
        load(con, [*collect_exports(collector), *collect_details(collector), *collect_catalog(collector)])
        wanted = read_worklists(con, settings, night, mapping.columns)
        load(
            con,
            [
                *collect_recordings(collector, list(wanted.recordings)),
                *collect_conversations(collector, wanted.conversations),
                *collect_captures(collector),
                *collect_media(collector, known_digests(con, night), media_objects(con, night)),
            ],
        )
        run_models(con, load_models(), night, mapping, settings)


def rows(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    """What the warehouse answers."""
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as con:
        return con.execute(sql).fetchall()
