"""S3 in memory (moto), and its objects, read without a request, which would take 20 ms."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeKey, s3_backends

from custody_pipeline.io.s3 import new_session
from custody_pipeline_tests.publish.homes import BUCKET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client


@contextmanager
def s3_in_memory() -> Iterator[S3Client]:
    """moto, with a versioned bucket `custody-published`."""
    with mock_aws():
        client: S3Client = new_session().client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        yield client


def objects(bucket: str = BUCKET) -> dict[str, bytes]:
    """Every object below the prefix `prod/`, by the rest of its key, in the order of keys."""
    held = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket].keys
    found = {key: item.value for key, item in sorted(held.items()) if isinstance(item, FakeKey)}
    return {key.removeprefix("prod/"): data for key, data in found.items() if key.startswith("prod/")}
