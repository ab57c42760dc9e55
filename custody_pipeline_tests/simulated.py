"""A simulated night in a real bucket and behind a real API, collected and modelled in this process, without Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from custody_pipeline.io.s3 import s3_client, s3_store
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.night import Night, collect, model
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.demo import ensure_bucket
from custody_pipeline.simulator.exporter import export_night
from custody_pipeline.simulator.local_s3 import S3Endpoint
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline_tests import ready_warehouse


@dataclass(frozen=True)
class Vendor:
    """A simulated vendor: the organisation's API and the bucket it exports to."""

    settings: Settings
    server: SimulatorServer | None


@contextmanager
def vendor(
    organization: Organization, s3: S3Endpoint, home: Path, *, bucket: str, api: bool = True, **more: object
) -> Iterator[Vendor]:
    """Export the night into a new bucket, and serve the organisation until the block ends.

    `home` gets a warehouse, unless each night has its own (`nights_url`).
    """
    known = {"home": home, "export_url": f"s3://{bucket}", "s3_endpoint_url": s3.url, "s3_region": s3.region, **more}
    settings = Settings.model_validate(known)
    if settings.nights_url is None:
        ready_warehouse.lay(home, settings.mapping_path)
    client = s3_client(settings)
    ensure_bucket(client, bucket, lock=False)
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
    one = Night(settings, load_mapping(settings.mapping_path), night)
    collect(one)
    with one.warehouse.open() as con:
        model(con, one)


def rows(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    """The rows of a query of the warehouse."""
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as con:
        return con.execute(sql).fetchall()
