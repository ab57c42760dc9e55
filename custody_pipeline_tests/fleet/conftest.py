from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from custody_pipeline.fleet import night_objects, shards
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.settings import Settings
from custody_pipeline_tests.publish.homes import write_keys

if TYPE_CHECKING:
    from pathlib import Path

    from custody_pipeline.simulator.local_s3 import S3Endpoint


@pytest.fixture
def settings(server: S3Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of workers that share a bucket of this test; each has a home of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    keys, bucket = write_keys(tmp_path / "keys"), tmp_path.name.replace("_", "-")[:60].strip("-")
    found = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "s3_endpoint_url": server.url,
            "s3_region": server.region,
            "nights_url": f"s3://{bucket}/nights",
            "landing_url": f"s3://{bucket}/landing",
            "publish_url": f"s3://{bucket}/published",
            "signing_key_file": keys / "demo.key",
            "salt_secret": (keys / "salt").read_text(),
        }
    )
    # All workers have one client: making it takes longer than most of its requests.
    client = s3_client(found)
    client.create_bucket(Bucket=bucket)
    monkeypatch.setattr(night_objects, "s3_client", lambda _: client)
    # Forget the runs of earlier tests in this process.
    monkeypatch.setattr(shards, "_OURS", set())
    return found
