"""The catalogue of tampering (evidence/test_tampering.py) in a bucket of a real server, and what only buckets know."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.manifest import cut_prefix
from custody_pipeline.evidence.log.keys import parse_public_keys
from custody_pipeline.evidence.reader import TargetError, read
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.publication import publish_night
from custody_pipeline_tests.evidence.memory_reader import MemoryReader
from custody_pipeline_tests.evidence.published import SIGNER, Publisher, publish
from custody_pipeline_tests.evidence.test_tampering import SCENARIOS, WITNESS
from custody_pipeline_tests.publish.nights import NIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb
    from mypy_boto3_s3 import S3Client

    from custody_pipeline.evidence.verify.findings import Report
    from custody_pipeline.settings import Settings

pytestmark = pytest.mark.server


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def change(s3: Any, bucket: str, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Make the prefix hold `after` where it holds `before`."""
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(s3.put_object, Bucket=bucket, Key=f"prod/{path}", Body=data)
            for path, data in after.items()
            if before.get(path) != data
        ]
        calls += [
            pool.submit(s3.delete_object, Bucket=bucket, Key=f"prod/{path}") for path in before if path not in after
        ]
    for call in calls:
        call.result()


def check(s3: S3Client, bucket: str, original: Publisher) -> Report:
    return verify(
        S3Reader(s3, S3Location(bucket, "prod")),
        Options(
            public_keys=[SIGNER.verifier],
            pinned=[original.sealed[-1].checkpoint.note.data, original.sealed[1].checkpoint.note.data],
            witnesses=[WITNESS.verifier],
            quorum=0,
        ),
    )


def test_every_finding_is_made_in_a_bucket_too(s3: S3Client, bucket: str, tmp_path: Path) -> None:
    original = publish(tmp_path / "original")
    untouched = contents(original.root)
    change(s3, bucket, {}, untouched)
    assert check(s3, bucket, original).status == 0

    missed = []
    # One way to tamper for each finding: all of them are tried on folders, by the same checks.
    first = {code: (name, code, tamper) for name, code, tamper in reversed(SCENARIOS)}
    for number, (name, code, tamper) in enumerate(first.values()):
        copy = Path(shutil.copytree(original.root, tmp_path / str(number) / "copy"))
        tamper(copy)
        tampered = contents(copy)
        change(s3, bucket, untouched, tampered)
        report = check(s3, bucket, original)
        found = {finding.code for finding in report.findings}
        if report.status != 1 or code not in found:
            missed.append((name, code, report.status, found))
        change(s3, bucket, tampered, untouched)
        shutil.rmtree(copy.parent)
    assert missed == []
    assert check(s3, bucket, original).status == 0, "each scenario began with the untouched set"


# --- locks


def sealed_with_lock(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    s3: S3Client,
    bucket: str,
    mode: str,
) -> S3Location:
    locked = {"lock_mode": mode, "lock_days": 2, "legal_hold": True}
    settings = settings.model_copy(update={"publish_url": f"s3://{bucket}/prod", **locked})
    publish_night(con, settings, NIGHT, tables=("chain_of_custody", "gaps"), client=s3)
    return S3Location(bucket, "prod")


def verdict(s3: S3Client, place: S3Location, settings: Settings) -> tuple[int, set[str]]:
    keys = parse_public_keys(next((settings.home / "keys").glob("*.pub")).read_text())
    report = verify(S3Reader(s3, place), Options(public_keys=keys))
    return report.status, {f"{found.code} {found.path.rpartition('/')[2]}" for found in report.of(Severity.ERROR)}


def shorten(s3: S3Client, **at: Any) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    retention: Any = {"Mode": "GOVERNANCE", "RetainUntilDate": soon}
    s3.put_object_retention(**at, Retention=retention, BypassGovernanceRetention=True)


def lift(s3: S3Client, **at: Any) -> None:
    s3.put_object_legal_hold(**at, LegalHold={"Status": "OFF"})


def put_over(s3: S3Client, **at: Any) -> None:
    """The same bytes, so that no digest tells."""
    s3.put_object(**at, Body=s3.get_object(**at)["Body"].read())


def test_a_lock_that_was_weakened_is_found(
    con: duckdb.DuckDBPyConnection, settings: Settings, s3: S3Client, bucket: str
) -> None:
    place = sealed_with_lock(con, settings, s3, bucket, "GOVERNANCE")
    assert verdict(s3, place, settings) == (0, set())
    expected = set()
    for weaken, name in ((shorten, "data/gaps.csv"), (lift, "cut.json"), (put_over, "checkpoint")):
        weaken(s3, Bucket=bucket, Key=f"prod/{cut_prefix(NIGHT.isoformat(), 1)}{name}")
        expected.add(f"LOCK_WEAKENED {name.rpartition('/')[2]}")
        assert verdict(s3, place, settings) == (1, expected)


def test_a_compliance_lock_cannot_be_weakened_and_a_deletion_is_found(
    con: duckdb.DuckDBPyConnection, settings: Settings, s3: S3Client, bucket: str
) -> None:
    place = sealed_with_lock(con, settings, s3, bucket, "COMPLIANCE")
    at: Any = {"Bucket": bucket, "Key": f"prod/{cut_prefix(NIGHT.isoformat(), 1)}data/gaps.csv"}
    with pytest.raises(ClientError):
        shorten(s3, **at)
    assert verdict(s3, place, settings) == (0, set())

    s3.delete_object(**at)  # hides it; the locked version stays below
    assert verdict(s3, place, settings) == (1, {"FILE_MISSING gaps.csv"})


class Denied(S3Reader):
    """May read objects, but not their locks: S3 then leaves the headers out."""

    def _ask(self, path: str, method: str, name: str) -> Mapping[str, Any]:
        raise TargetError(f"{path}: AccessDenied")

    def open(self, path: str, version_id: str | None = None) -> BinaryIO:
        stream = super().open(path)
        self._locks.clear()
        return stream


def test_locks_that_may_not_be_read_or_are_not_there_are_no_verdict(
    con: duckdb.DuckDBPyConnection, settings: Settings, s3: S3Client, bucket: str
) -> None:
    place = sealed_with_lock(con, settings, s3, bucket, "GOVERNANCE")
    keys = parse_public_keys(next((settings.home / "keys").glob("*.pub")).read_text())
    denied = verify(Denied(s3, place), Options(public_keys=keys))
    copied = {entry.path: read(S3Reader(s3, place), entry.path) for entry in S3Reader(s3, place).list()}
    copy = verify(MemoryReader(copied), Options(public_keys=keys))

    assert (denied.status, {found.code for found in denied.of(Severity.UNCHECKED)}) == (2, {"LOCK_UNREADABLE"})
    assert copy.status == 0
    assert "LOCKS_NOT_HERE" in {found.code for found in copy.findings}
