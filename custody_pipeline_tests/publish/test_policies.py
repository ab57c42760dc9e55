"""The IAM policies in docs/policies allow the calls that are made, and no others."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from custody_pipeline.evidence.verify import verify
from custody_pipeline.objectstore import S3Location
from custody_pipeline.publish.night import publish_night
from custody_pipeline.publish.reader import S3Reader
from custody_pipeline_tests.publish.nights import NIGHT, NOW, change_recording

if TYPE_CHECKING:
    import duckdb
    import pytest
    from mypy_boto3_s3 import S3Client

    from custody_pipeline.settings import Settings

POLICIES = Path(__file__).parents[2] / "docs/policies"

# Operations whose permission has another name, or that need several (the vendor's list of S3 API permissions).
ACTIONS = {"HeadObject": "GetObject", "ListObjectsV2": "ListBucket", "CopyObject": "PutObject"}

# Needed by what an ordinary night does not do.
RARE = {
    "s3:AbortMultipartUpload": "a table of more than 512 MiB whose upload fails",
    "s3:DeleteObject": "files that a killed run left without a cut.json, copies of another compression; versions stay",
}

Call = tuple[str, str]


def record(client: S3Client) -> set[Call]:
    """(action, ARN) of every call from now on."""
    calls: set[Call] = set()

    def note(params: dict[str, Any], model: Any, **_: object) -> None:
        bucket, key = f"arn:aws:s3:::{params['Bucket']}", params.get("Key")
        arn = f"{bucket}/{key}" if key else bucket
        action = ACTIONS.get(model.name, model.name)
        calls.add((f"s3:{action}{'Version' if action == 'GetObject' and 'VersionId' in params else ''}", arn))
        if source := params.get("CopySource"):
            path, _, version = unquote(source).partition("?versionId=")
            calls.add((f"s3:GetObject{'Version' if version else ''}", f"arn:aws:s3:::{path}"))
        if "ObjectLockMode" in params:
            calls.add(("s3:PutObjectRetention", arn))
        if "ObjectLockLegalHoldStatus" in params:
            calls.add(("s3:PutObjectLegalHold", arn))

    client.meta.events.register("before-parameter-build.s3", note)
    return calls


def statements(name: str) -> list[dict[str, Any]]:
    text = (POLICIES / name).read_text().replace("acme-custody", "custody-published")
    found: list[dict[str, Any]] = json.loads(text)["Statement"]
    for statement in found:
        for field in ("Action", "Resource"):
            statement[field] = [statement[field]] if isinstance(statement[field], str) else statement[field]
    return found


def covers(statement: dict[str, Any], call: Call) -> bool:
    return call[0] in statement["Action"] and any(fnmatchcase(call[1], pattern) for pattern in statement["Resource"])


def refused(name: str, calls: set[Call]) -> set[Call]:
    return {call for call in calls if not any(covers(statement, call) for statement in statements(name))}


def unneeded(name: str, calls: set[Call]) -> set[str]:
    return {action for statement in statements(name) for action in statement["Action"]} - {call[0] for call in calls}


def test_publishing_and_verifying_need_just_what_their_policies_allow(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTODY_LOCK_MODE", "COMPLIANCE")
    monkeypatch.setenv("CUSTODY_LEGAL_HOLD", "true")
    calls = record(memory_s3)
    for _ in range(2):
        publish_night(con, settings, NIGHT, tables=("chain_of_custody", "gaps"), client=memory_s3, now=NOW)
        change_recording(con, 0, "no")
    assert len(calls) > 20
    assert refused("publisher.json", calls) == set()
    assert unneeded("publisher.json", calls) <= set(RARE)
    denied = [statement for statement in statements("published-bucket.json") if "Condition" not in statement]
    assert [call for call in calls for statement in denied if covers(statement, call)] == []

    calls.clear()
    verify(S3Reader(memory_s3, S3Location("custody-published", "prod")), public_keys=[])
    assert refused("auditor.json", calls) == set()
    assert unneeded("auditor.json", calls) == set()
