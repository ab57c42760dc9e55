"""Removing every version of objects, in buckets with and without Object Lock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.stub import ANY, Stubber

from custody_pipeline.forgetting.object_versions import LockedError, Version, remove_versions, versions_of
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.simulator.local_s3 import S3Endpoint
from custody_pipeline_tests.proxy import Answer, Request, running_proxy

# The words of AWS; the servers of the tests take the header in any bucket.
REFUSAL = (
    b"<Error><Code>InvalidArgument</Code><Message>x-amz-bypass-governance-retention is only applicable to Object Lock "
    b"enabled buckets.</Message></Error>"
)


@pytest.mark.server
@pytest.mark.parametrize("locking", [True, False])
def test_a_governance_lock_is_bypassed_only_in_a_bucket_that_can_have_one(server: S3Endpoint, locking: bool) -> None:
    def refused(request: Request) -> Answer | None:
        bypasses = any(name.lower() == "x-amz-bypass-governance-retention" for name in request.headers)
        return Answer(400, REFUSAL) if bypasses and not locking else None

    bucket = f"erased-{uuid4().hex[:8]}"
    lock: Any = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=1)}
    with running_proxy(server.url) as proxy:
        client = replace(server, url=proxy.url).client()
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=locking)
        client.put_object(Bucket=bucket, Key="a", Body=b"x")
        if locking:
            client.put_object_retention(Bucket=bucket, Key="a", Retention=lock)
        proxy.answer = refused
        place = S3Location(bucket, "a")
        remove_versions(client, versions_of(client, place), bypass_governance=True)
        assert list(versions_of(client, place)) == []


def test_a_version_that_is_gone_since_it_was_listed_is_removed() -> None:
    """DeleteObjects names it among its errors (NoSuchVersion), beside those that S3 keeps."""
    client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="y")
    version = Version("b", "a", "v1", latest=True, marker=False)
    with Stubber(client) as stubber:
        for code in ("NoSuchVersion", "AccessDenied"):
            answer: Any = {"Errors": [{"Key": "a", "VersionId": "v1", "Code": code}]}
            stubber.add_response("delete_objects", answer, {"Bucket": "b", "Delete": ANY})
        remove_versions(client, [version], bypass_governance=False)
        with pytest.raises(LockedError, match="S3 keeps 1 versions"):
            remove_versions(client, [version], bypass_governance=False)
