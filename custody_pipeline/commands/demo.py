"""`custody demo`: one night of a simulated organisation, collected over HTTP and S3 like a real one.

Belongs here: starting the simulated vendor and a local S3 server, and the settings that point at them. Does not: the
night itself, which is the same as anywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from custody_pipeline.local_s3 import LocalS3
from custody_pipeline.objectstore import s3_client
from custody_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date
    from pathlib import Path

PUBLISH_BUCKET = "custody-demo-dataset"


@dataclass(frozen=True)
class DemoOrganization:
    """Which organisation is simulated: everything else follows from these."""

    night: date
    size: int
    seed: int

    @property
    def export_bucket(self) -> str:
        """One bucket an organisation, so that nights of differing organisations never mix."""
        return f"genesys-export-s{self.seed}-n{self.size}"


@contextmanager
def demo_environment(home: Path, demo: DemoOrganization, say: Callable[[str], None]) -> Iterator[Settings]:
    """Run the simulated organisation and S3 until the block ends; the environment points at them meanwhile."""
    before = dict(os.environ)
    say("starting a local S3 server")
    with LocalS3(home) as endpoint:
        os.environ.update(
            AWS_ACCESS_KEY_ID=endpoint.access_key,
            AWS_SECRET_ACCESS_KEY=endpoint.secret_key,
            CUSTODY_HOME=str(home),
            CUSTODY_S3_ENDPOINT_URL=endpoint.url,
            CUSTODY_S3_REGION=endpoint.region,
            CUSTODY_EXPORT_URL=f"s3://{demo.export_bucket}",
            CUSTODY_PUBLISH_URL=f"s3://{PUBLISH_BUCKET}",
        )
        try:
            export_once(home, demo, say)
            say("starting the simulated organisation")
            with simulator_process(home, demo) as base_url:
                os.environ.update(
                    CUSTODY_GENESYS_DOMAIN=base_url,
                    CUSTODY_GENESYS_CLIENT_ID="custody-demo",
                    CUSTODY_GENESYS_CLIENT_SECRET="custody-demo-secret",  # noqa: S106 - the simulator's, not a secret
                )
                yield load_settings()
        finally:
            os.environ.clear()
            os.environ.update(before)


def export_once(home: Path, demo: DemoOrganization, say: Callable[[str], None]) -> None:
    """Let the vendor's exporter write the night, unless it has: exporting again would add object versions."""
    from custody_pipeline.simulator.exporter import export_night
    from custody_pipeline.simulator.organization import Organization

    marker = home / "demo" / f"{demo.export_bucket}-{demo.night}.exported"
    if marker.exists():
        return
    client = s3_client(load_settings())
    for bucket in (demo.export_bucket, PUBLISH_BUCKET):
        ensure_bucket(client, bucket)
    empty_bucket(client, demo.export_bucket)
    say("exporting the night's recordings to S3, as the vendor does")
    export_night(Organization(seed=demo.seed, night=demo.night, size=demo.size), client, demo.export_bucket)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
