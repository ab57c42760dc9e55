"""The export lies in the bucket as the vendor's does, faults included."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from custody_pipeline.simulator.calls import Conversation
from custody_pipeline.simulator.demo import ensure_bucket
from custody_pipeline.simulator.exporter import export_night, export_objects
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.structure import ORGANIZATION_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

BUCKET = "exports"
SIZE = 260
UNPADDED = re.compile(
    rf"{ORGANIZATION_ID}/year=2026/month=11/day=2/hour=(0|[1-9]\d?)/conversation_id=[0-9a-f-]{{36}}/"
    r"[0-9a-f-]{36}\.(opus|wav|webm)"
)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        ensure_bucket(client, BUCKET, lock=False)
        yield client


def _versions(client: Any, kind: str = "Versions") -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for page in client.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        for item in page.get(kind, []):
            found[item["Key"]].append(item)
    return found


def _faulty(fault: str, form: int = 0) -> Conversation:
    return next(item for item in Organization(size=SIZE).conversations() if (fault, form) in item.faults.items())


def _bodies(conversation: Conversation) -> dict[str, list[bytes | None]]:
    """Steps by key, of the conversation's first recording."""
    found = defaultdict(list)
    for item in export_objects(conversation):
        if conversation.recordings[0].id in item.key:
            found[item.key].append(item.body)
    return found


def _sidecar(conversation: Conversation) -> dict[str, Any]:
    return next(json.loads(body or b"") for key, (body,) in _bodies(conversation).items() if key.endswith(".json"))


def test_the_bucket_holds_what_the_exporter_says_it_wrote(s3: S3Client) -> None:
    organization = Organization(size=SIZE)
    size = export_night(organization, s3, BUCKET)
    steps = [step for item in organization.conversations() for step in export_objects(item)]
    versions, markers = _versions(s3), _versions(s3, "DeleteMarkers")
    assert sum(map(len, versions.values())) == sum(step.body is not None for step in steps)
    assert sum(map(len, markers.values())) == sum(step.body is None for step in steps) > 0
    assert sum(item["Size"] for items in versions.values() for item in items) == size
    media = [key for key in versions if not key.endswith(".json")]
    padded = [key for key in media if not UNPADDED.fullmatch(key)]
    assert 0 < len(padded) < len(media) / 10
    assert all("/day=02/" in key for key in padded)
    live = {key for key in media if any(item["IsLatest"] for item in versions[key])}
    expected = {
        recording.id for item in organization.conversations() for recording in item.recordings if recording.has_object
    }
    assert {re.split(r"[/.]", key)[-2] for key in live} == expected


def test_everything_can_lie_under_a_prefix(s3: S3Client) -> None:
    export_night(Organization(size=3), s3, BUCKET, prefix="/genesys/")
    assert _versions(s3)
    assert all(key.startswith(f"genesys/{ORGANIZATION_ID}/") for key in _versions(s3))


def test_a_later_night_adds_only_what_was_exported_since(s3: S3Client) -> None:
    organization = Organization(size=SIZE)
    later = organization.at(datetime(2026, 11, 5, tzinfo=UTC))
    pending = [item for item in organization.conversations() if item.fault == "EXPORT_PENDING"]
    export_night(later, s3, BUCKET, since=organization.clock)
    assert pending
    assert {re.split(r"[/.]", key)[-2] for key in _versions(s3) if not key.endswith(".json")} == {
        item.recordings[0].id for item in pending
    }


def test_a_healthy_sidecar_names_its_recording_has_plus_zero_times_and_no_tags() -> None:
    organization = Organization(size=SIZE)
    names, fractions = set(), set()
    for conversation in organization.conversations():
        if conversation.fault is not None:
            continue
        for item in export_objects(conversation):
            if not item.key.endswith(".json"):
                continue
            names.add(re.sub(r".*/[0-9a-f-]{36}", "", item.key))
            document = json.loads(item.body or b"")
            if "participants" in document:
                continue
            assert document["conversationId"] == conversation.id
            assert document["recordingId"] in item.key
            assert not {"custom_data", "customData", "attributes"} & document.keys()
            assert re.fullmatch(r"2026-11-0[23]T\d\d:\d\d:\d\d(\.\d{3})?\+0000", document["startTime"])
            fractions.add("." in document["startTime"])
    assert names == {".opus_metadata.json", ".wav_metadata.json", ".webm_metadata.json", "_metadata.json", ".json"}
    assert fractions == {True, False}


@pytest.mark.parametrize(
    "fault",
    ["EXPORT_FAILED", "EXPORT_EXCLUDED_SENSITIVE", "EXPORT_PENDING", "RECORDING_ARCHIVED", "RECORDING_DELETED"],
)
def test_what_was_not_exported_is_not_in_the_bucket(fault: str) -> None:
    assert not _bodies(_faulty(fault))


def test_a_missing_object_was_never_there_or_was_deleted() -> None:
    assert not _bodies(_faulty("OBJECT_MISSING", 0))
    ((written, deleted),) = _bodies(_faulty("OBJECT_MISSING", 1)).values()
    assert written
    assert deleted is None


def test_an_empty_object_has_a_sidecar() -> None:
    conversation = _faulty("OBJECT_EMPTY")
    bodies = _bodies(conversation)
    assert [body for key, body in bodies.items() if not key.endswith(".json")] == [[b""]]
    assert _sidecar(conversation)["recordingId"] == conversation.recordings[0].id


def test_a_changed_object_has_two_versions_with_different_bytes() -> None:
    (media,) = (body for key, body in _bodies(_faulty("OBJECT_CHANGED")).items() if not key.endswith(".json"))
    before, after = media
    assert before != after


def test_a_duplicate_has_two_keys_or_two_versions_with_the_same_bytes() -> None:
    two_keys = [body for key, body in _bodies(_faulty("DUPLICATE_EXPORT", 0)).items() if not key.endswith(".json")]
    assert len(two_keys) == 2
    assert two_keys[0] == two_keys[1]
    (two_versions,) = (
        body for key, body in _bodies(_faulty("DUPLICATE_EXPORT", 1)).items() if not key.endswith(".json")
    )
    assert len(two_versions) == 2
    assert len(set(two_versions)) == 1


@pytest.mark.parametrize("fault", ["SIDECAR_MISSING", "REGION_MISMATCH"])
def test_a_missing_sidecar_leaves_the_media(fault: str) -> None:
    (key,) = _bodies(_faulty(fault))
    assert not key.endswith(".json")


@pytest.mark.parametrize("form", range(5))
def test_an_unreadable_sidecar_is_no_json_object(form: int) -> None:
    (body,) = next(body for key, body in _bodies(_faulty("SIDECAR_UNREADABLE", form)).items() if key.endswith(".json"))
    try:
        document = json.loads(body or b"")
    except ValueError:
        return
    assert not isinstance(document, dict)


@pytest.mark.parametrize(("form", "field"), [(0, "conversationId"), (1, "recordingId")])
def test_documents_that_disagree_name_somebody_elses_id(form: int, field: str) -> None:
    conversation = _faulty("DOCUMENTS_DISAGREE", form)
    document = _sidecar(conversation)
    expected = {"conversationId": conversation.id, "recordingId": conversation.recordings[0].id}
    assert [name for name, value in expected.items() if document[name] != value] == [field]


@pytest.mark.parametrize("form", range(3))
def test_dropped_tags_leave_an_empty_field(form: int) -> None:
    document = _sidecar(_faulty("EXPORT_DROPPED_TAGS", form))
    (name,) = {"custom_data", "customData", "attributes"} & document.keys()
    assert not document[name]


def test_impossible_times_are_each_impossible_in_their_own_way() -> None:
    swapped, elsewhere, future, zoneless = (_sidecar(_faulty("TIMESTAMP_SUSPECT", form)) for form in range(4))
    assert swapped["endTime"] < swapped["startTime"]
    start = _faulty("TIMESTAMP_SUSPECT", 1).start
    assert not elsewhere["startTime"].startswith(f"{start:%Y-%m-%dT%H}")
    assert future["startTime"] > "2099"
    assert not zoneless["startTime"].endswith("+0000")


def test_an_orphan_object_is_a_recording_that_the_metadata_does_not_have() -> None:
    conversation = _faulty("ORPHAN_OBJECT")
    (stray,) = (item for item in conversation.recordings if not item.in_metadata)
    assert any(stray.id in item.key for item in export_objects(conversation))
