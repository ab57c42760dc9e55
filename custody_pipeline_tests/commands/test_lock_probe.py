"""The lock is tried against SeaweedFS: moto lets locks be shortened."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from custody_pipeline.io.s3 import S3Location
from custody_pipeline.operations.doctor import examine
from custody_pipeline.operations.lock_probe import probe_lock
from custody_pipeline.simulator.local_s3 import S3Endpoint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def new_bucket(s3: S3Client, *, lock: bool) -> str:
    name = f"custody-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
    return name


def listed(s3: S3Client, bucket: str) -> int:
    return s3.list_objects_v2(Bucket=bucket)["KeyCount"]


def test_a_bucket_with_a_compliance_lock_refuses_everything(s3: S3Client) -> None:
    bucket = new_bucket(s3, lock=True)
    attempts = list(probe_lock(s3, S3Location(bucket, "prod"), "COMPLIANCE"))
    assert [(attempt.check, attempt.state) for attempt in attempts] == [
        ("probe: lock a new object", "ok"),
        ("probe: overwrite", "ok"),
        ("probe: shorten the lock", "ok"),
        ("probe: delete the version", "ok"),
        ("probe: delete the version, bypassing the lock", "ok"),
    ]
    assert listed(s3, bucket) == 0  # hidden, so that nothing extra lies below a published prefix
    versions = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [version["Key"].startswith("prod/probe/") for version in versions] == [True]


def test_an_identity_that_may_bypass_a_governance_lock_is_told_so(s3: S3Client) -> None:
    bucket = new_bucket(s3, lock=True)
    attempts = {attempt.check: attempt for attempt in probe_lock(s3, S3Location(bucket), "GOVERNANCE")}
    wrong = [name for name, attempt in attempts.items() if attempt.state != "ok"]
    assert wrong == ["probe: delete the version, bypassing the lock"]  # the test server's identity is its administrator
    assert "BypassGovernanceRetention" in attempts[wrong[0]].advice


def test_a_default_retention_is_no_missing_permission(s3: S3Client) -> None:
    """It locks whatever is put without a lock, but no delete marker (Amazon S3 user guide, "Object Lock
    considerations": delete markers are not WORM-protected).
    """
    bucket = new_bucket(s3, lock=True)
    rule: Any = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=rule)
    assert [attempt.state for attempt in probe_lock(s3, S3Location(bucket, "prod"), "COMPLIANCE")] == ["ok"] * 5


def test_a_store_that_takes_a_lock_and_keeps_no_versions_is_told_not_to_keep_it(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some S3-compatible servers ignore the headers of a lock that they do not know."""
    put = s3.put_object

    def ignoring(**what: Any) -> Any:
        return put(**{name: value for name, value in what.items() if not name.startswith("ObjectLock")})

    bucket = new_bucket(s3, lock=False)
    monkeypatch.setattr(s3, "put_object", ignoring)
    attempts = {one.check: one.state for one in probe_lock(s3, S3Location(bucket), "COMPLIANCE")}
    assert attempts["probe: delete the version"] == "not ok"
    assert listed(s3, bucket) == 0


def test_a_bucket_without_a_lock_is_told_so_and_left_empty(s3: S3Client) -> None:
    bucket = new_bucket(s3, lock=False)
    first, overwrite = probe_lock(s3, S3Location(bucket), "COMPLIANCE")
    assert first.state == "not ok"
    assert "Object Lock" in first.advice
    assert overwrite.state == "ok"
    assert listed(s3, bucket) == 0


def test_a_refusal_that_a_delete_marker_meets_too_does_not_show_the_lock(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_: object) -> None:
        answer: Any = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(answer, "DeleteObject")

    monkeypatch.setattr(s3, "delete_object", refused)
    attempts = {one.check: one for one in probe_lock(s3, S3Location(new_bucket(s3, lock=True)), "COMPLIANCE")}
    assert attempts["probe: shorten the lock"].state == "ok"
    assert attempts["probe: delete the version"].state == "warning"


@pytest.fixture
def deployment(server: S3Endpoint, s3: S3Client, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> str:
    monkeypatch.setenv("CUSTODY_S3_ENDPOINT_URL", server.url)
    monkeypatch.setenv("CUSTODY_S3_REGION", server.region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    bucket = new_bucket(s3, lock=True)
    monkeypatch.setenv("CUSTODY_PUBLISH_URL", f"s3://{bucket}/prod")
    monkeypatch.setenv("CUSTODY_LOCK_MODE", "COMPLIANCE")
    return bucket


def test_the_doctor_probes_only_when_asked(s3: S3Client, deployment: str) -> None:
    assert not [line for line in examine() if line.check.startswith("probe")]
    assert "Versions" not in s3.list_object_versions(Bucket=deployment)
    probed = [line for line in examine(probe=True) if line.check.startswith("probe")]
    assert [line.state for line in probed] == ["ok"] * 5


def test_the_doctor_shows_how_nights_are_sealed(deployment: str) -> None:
    lines = {line.check: line for line in examine()}
    assert "DEMO" in lines["sealing key"].found
    assert lines["sealing key"].state == "warning"
    assert lines["sealing timestamp"].state == "warning"
    assert lines["sealing lock"].found == "COMPLIANCE, 365 days"
