"""The objects in moto, read without a request, which would take 20 ms."""

from __future__ import annotations

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeKey, s3_backends

from custody_pipeline_tests.publish.homes import BUCKET


def objects(bucket: str = BUCKET) -> dict[str, bytes]:
    """Every object below the prefix `prod/`, by the rest of its key, in the order of keys."""
    held = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket].keys
    found = {key: item.value for key, item in sorted(held.items()) if isinstance(item, FakeKey)}
    return {key.removeprefix("prod/"): data for key, data in found.items() if key.startswith("prod/")}
