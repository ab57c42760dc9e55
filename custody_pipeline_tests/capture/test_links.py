"""Sidecars and links against a real S3 server, which refuses what is not exactly what was signed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from custody_pipeline.capture.captured import Reading, conversation_facts, write_capture
from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.capture.links import Audio, AudioLinker
from custody_pipeline.capture.sidecar import SIGNATURE, SidecarError, presign_put, put_presigned
from custody_pipeline.extract.documents import document
from custody_pipeline.io.document_store import BucketStore, DocumentStore, FolderStore, open_store
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint
from custody_pipeline_tests.capture.conftest import CONVERSATION, attribute_event, conversation

pytestmark = pytest.mark.server

ORGANIZATION = "0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f"
RECORDING = "77777777-2222-4333-8444-555555555555"
AUDIO = b"OggS not really audio"
DAY = date(2026, 11, 2)
START = datetime(2026, 11, 2, 9, 58, tzinfo=UTC)
CONTENT = b'{"a":1}'


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Endpoint]:
    with LocalS3(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def s3(endpoint: S3Endpoint) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", endpoint.access_key)
        patched.setenv("AWS_SECRET_ACCESS_KEY", endpoint.secret_key)
        settings = Settings(s3_endpoint_url=endpoint.url, s3_region=endpoint.region)
        client = s3_client(settings, signature_version=SIGNATURE)
        yield client
        client.close()


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    name = f"b{abs(hash(request.node.name)):x}"
    s3.create_bucket(Bucket=name)
    return name


def exists(s3: Any, where: S3Location) -> bool:
    return bool(s3.list_objects_v2(Bucket=where.bucket, Prefix=where.key).get("Contents"))


def test_a_presigned_put_writes_exactly_what_was_signed_once(s3: Any, bucket: str) -> None:
    where = S3Location(bucket, "x/r.custody.json")
    permission = presign_put(s3, where, CONTENT)
    assert put_presigned(permission, CONTENT) == "written"
    assert put_presigned(permission, CONTENT) == "already_there"
    assert s3.get_object(Bucket=bucket, Key=where.key)["Body"].read() == CONTENT


@pytest.mark.parametrize(
    "changed",
    [
        {"content": b'{"a":2}'},
        {"content": b'{"a":22}'},
        {"header": ("Content-Type", "text/html")},
        {"header": ("If-None-Match", None)},
        {"header": ("x-amz-checksum-sha256", None)},
        {"header": ("x-amz-checksum-sha256", "A" * 43 + "=")},
        {"url": ("X-Amz-Signature=", "X-Amz-Signature=0")},
        {"url": ("X-Amz-Expires=60", "X-Amz-Expires=6000")},
        {"url": ("r.custody.json", "other.custody.json")},
    ],
)
def test_anything_else_than_what_was_signed_is_refused(s3: Any, bucket: str, changed: dict[str, Any]) -> None:
    permission = presign_put(s3, S3Location(bucket, "x/r.custody.json"), CONTENT)
    headers = dict(permission.headers)
    if "header" in changed:
        name, value = changed["header"]
        headers = {key: text for key, text in (headers | {name: value}).items() if text is not None}
    content = changed.get("content", CONTENT)
    headers["Content-Length"] = str(len(content))
    url = permission.url.replace(*changed["url"]) if "url" in changed else permission.url
    with pytest.raises(SidecarError, match=r"HTTP 40[03]"):
        put_presigned(replace(permission, url=url, headers=headers), content)
    assert not exists(s3, S3Location(bucket, "x"))


def test_a_client_that_would_sign_less_is_refused(endpoint: S3Endpoint, bucket: str) -> None:
    client = endpoint.client()
    with pytest.raises(ValueError, match="Signature Version 4"):
        presign_put(client, S3Location(bucket, "x"), CONTENT)
    client.close()


def test_an_expired_permission_is_refused(s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            "botocore.auth.get_current_datetime", lambda remove_tzinfo=True: datetime(2026, 1, 1, tzinfo=UTC)
        )
        permission = presign_put(s3, S3Location(bucket, "x/r.custody.json"), CONTENT)
    assert "X-Amz-Date=20260101" in permission.url
    with pytest.raises(SidecarError, match="HTTP 403"):
        put_presigned(permission, CONTENT)


def test_the_url_is_in_no_representation_exception_or_log(
    s3: Any, bucket: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "custody_pipeline")
    permission = presign_put(s3, S3Location(bucket, "x"), CONTENT)

    def lost(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError(f"no route to {permission.url}")

    monkeypatch.setattr(requests.Session, "put", lost)
    with pytest.raises(SidecarError, match="no answer") as caught:
        put_presigned(permission, CONTENT)
    assert caught.value.__suppress_context__
    for text in (repr(permission), str(caught.value), caplog.text):
        assert "X-Amz" not in text


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3: Any, bucket: str) -> DocumentStore:
    return open_store(str(tmp_path)) if request.param == "folder" else open_store(f"s3://{bucket}/some/place", s3)


def test_a_store_writes_a_document_once(store: DocumentStore) -> None:
    assert store.read("captures/a.json") is None
    assert store.create("captures/a.json", b"1")
    assert not store.create("captures/a.json", b"2")
    assert store.create("captures/deep/b.json", b"3")
    assert store.create("links/c.json", b"4")
    assert store.read("captures/a.json") == b"1"
    assert list(store.keys("captures/")) == ["captures/a.json", "captures/deep/b.json"]
    assert list(store.keys("captures/d")) == ["captures/deep/b.json"]
    assert list(store.keys("nothing/")) == []


def test_the_two_stores_are_chosen_by_url(s3: Any, tmp_path: Path) -> None:
    assert isinstance(open_store("s3://b/p", s3), BucketStore)
    assert isinstance(open_store(str(tmp_path)), FolderStore)
    with pytest.raises(ValueError, match="needs an S3 client"):
        open_store("s3://b/p")


def test_a_folder_store_stays_in_its_folder(tmp_path: Path) -> None:
    for key in ("../outside.json", "/outside.json", "a/../../outside.json"):
        with pytest.raises(ValueError, match="stays below"):
            FolderStore(tmp_path / "place").create(key, b"")


class Night:
    """A captured conversation, an export bucket, and a linker for both."""

    def __init__(self, s3: Any, endpoint: S3Endpoint, bucket: str, tmp_path: Path) -> None:
        self.s3, self.bucket = s3, bucket
        self.settings = Settings(
            export_url=f"s3://{bucket}/export", s3_endpoint_url=endpoint.url, s3_region="us-east-1", home=tmp_path
        )
        self.store = FolderStore(tmp_path / "place")
        content = conversation(**{"Legal-Hold": "yes"})
        reading = Reading(CONVERSATION, datetime(2026, 11, 2, 10, 5, tzinfo=UTC), content, None)
        facts = conversation_facts(CONVERSATION, document(content))
        self.capture_key = write_capture(
            self.store, reading, facts, parse_event(attribute_event()), datetime(2026, 11, 2, 10, 4, tzinfo=UTC)
        )
        self.content = content

    def export(self, name: str = f"{RECORDING}.opus", *, month: str = "11", day: str = "2", hour: str = "9") -> str:
        folder = f"export/{ORGANIZATION}/year=2026/month={month}/day={day}/hour={hour}/conversation_id={CONVERSATION}"
        self.s3.put_object(Bucket=self.bucket, Key=f"{folder}/{name}", Body=AUDIO)
        return folder

    def linker(self, **settings: Any) -> AudioLinker:
        return AudioLinker(self.s3, self.settings.model_copy(update=settings), self.store)

    def links(self) -> list[dict[str, Any]]:
        return [json.loads(self.store.read(key) or b"") for key in self.store.keys(f"links/date={DAY}/")]


@pytest.fixture
def night(s3: Any, endpoint: S3Endpoint, bucket: str, tmp_path: Path) -> Night:
    return Night(s3, endpoint, bucket, tmp_path)


@pytest.mark.parametrize("by_the_night", [False, True])
def test_audio_is_linked_once_it_is_there_and_only_once(night: Night, by_the_night: bool) -> None:
    linker = night.linker(sidecar_place="beside")
    assert linker.link(CONVERSATION, START) == 0
    folder = night.export()
    digest = hashlib.sha256(AUDIO).hexdigest()
    hashed = Audio(
        CONVERSATION, RECORDING, night.bucket, f"{folder}/{RECORDING}.opus", None, bytes=len(AUDIO), sha256=digest
    )
    assert night.store.create(f"captures/date={DAY}/notes.json", b"somebody else's")
    of_nobody = replace(hashed, conversation_id="99999999-2222-4333-8444-555555555555")

    def links() -> int:
        return linker.link_hashed(DAY, [of_nobody, hashed]) if by_the_night else linker.link(CONVERSATION, START)

    assert [links(), links()] == [1, 0]
    (link,) = night.links()
    assert link["audio"]["sha256"] == hashlib.sha256(AUDIO).hexdigest()
    assert link["audio"]["bytes"] == len(AUDIO)
    assert link["capture"]["conversation_sha256"] == hashlib.sha256(night.content).hexdigest()
    captured = night.store.read(night.capture_key or "") or b""
    assert link["capture"]["document_sha256"] == hashlib.sha256(captured).hexdigest()
    assert link["sidecar"] == {
        "uri": f"s3://{night.bucket}/{folder}/{RECORDING}.custody.json",
        "outcome": "written",
    }


def test_the_sidecar_names_the_hash_of_the_audio_and_of_the_metadata(night: Night) -> None:
    folder = night.export()
    night.linker(sidecar_place="beside").link(CONVERSATION, START)
    content = night.s3.get_object(Bucket=night.bucket, Key=f"{folder}/{RECORDING}.custody.json")["Body"].read()
    sidecar = json.loads(content)
    assert sidecar["kind"] == "custody.sidecar/1"
    assert (sidecar["conversation_id"], sidecar["recording_id"]) == (CONVERSATION, RECORDING)
    assert sidecar["audio"]["sha256"] == hashlib.sha256(AUDIO).hexdigest()
    assert sidecar["capture"]["conversation_sha256"] == hashlib.sha256(night.content).hexdigest()


@pytest.mark.parametrize("hour", ["9", "09"])
def test_padded_and_unpadded_folders_are_found(night: Night, hour: str) -> None:
    night.export(day="02" if hour == "09" else "2", hour=hour)
    assert night.linker().link(CONVERSATION, START) == 1


def test_sidecars_can_go_to_an_evidence_place(night: Night, s3: Any) -> None:
    folder = night.export()
    night.linker(sidecar_place="evidence", sidecar_url=f"s3://{night.bucket}/evidence").link(CONVERSATION, START)
    assert exists(s3, S3Location(night.bucket, f"evidence/{folder}/{RECORDING}.custody.json"))
    assert not exists(s3, S3Location(night.bucket, f"{folder}/{RECORDING}.custody.json"))


def test_a_sidecar_is_no_audio_and_other_files_are_not_linked(night: Night) -> None:
    night.export(f"{RECORDING}.opus_metadata.json")
    night.export("readme.txt")
    assert night.linker(sidecar_place="beside").link(CONVERSATION, START) == 0


def test_an_export_bucket_that_cannot_be_read_does_not_stop_capture(
    night: Night, caplog: pytest.LogCaptureFixture
) -> None:
    night.settings = night.settings.model_copy(update={"export_url": "s3://there-is-no-such-bucket"})
    assert night.linker().link(CONVERSATION, START) == 0
    assert "is linked later" in caplog.text


def test_a_missing_place_is_a_setting_error(night: Night) -> None:
    with pytest.raises(SettingsError, match="CUSTODY_SIDECAR_URL"):
        night.linker(sidecar_place="evidence")
    night.settings = night.settings.model_copy(update={"export_url": None})
    with pytest.raises(SettingsError, match="CUSTODY_EXPORT_URL"):
        night.linker()
