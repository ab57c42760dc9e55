"""Every write to S3 asks for the server-side encryption of the settings; without them the bucket's own applies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import obstore
import pytest

from custody_pipeline.capture.sidecar import SIGNATURE, presign_put, put_presigned
from custody_pipeline.io.s3 import S3Location, encryption_headers, s3_client, s3_store
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.settings import Settings, SettingsError, load_settings
from custody_pipeline_tests.proxy import Answer, Request, running_proxy
from custody_pipeline_tests.publish.nights import NIGHT

if TYPE_CHECKING:
    import duckdb
    from mypy_boto3_s3 import S3Client

KEY = "arn:aws:kms:us-east-1:111122223333:key/k"
ASKED = "x-amz-server-side-encryption"
ASKED_KEY = "x-amz-server-side-encryption-aws-kms-key-id"
ANSWER = Answer(200, b"<Result><UploadId>u</UploadId><ETag>e</ETag></Result>")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


def requests_of_every_write(**encryption: str) -> list[Request]:
    """A put, a copy, a multipart upload, a pre-signed put and one by obstore; then a read of each client."""
    with running_proxy("http://127.0.0.1:9") as s3:
        s3.answer = lambda _: ANSWER
        settings = Settings.model_validate({"s3_endpoint_url": s3.url, "s3_region": "us-east-1", **encryption})
        client = s3_client(settings, signature_version=SIGNATURE)
        client.put_object(Bucket="b", Key="put", Body=b"x")
        client.copy_object(Bucket="b", Key="copy", CopySource="b/put")
        client.create_multipart_upload(Bucket="b", Key="parts")
        asked = encryption_headers(settings)
        permission = presign_put(client, S3Location("b", "signed"), b"x", encryption=asked)
        assert all(name in permission.url for name in asked)
        put_presigned(permission, b"x")
        client.get_object(Bucket="b", Key="put")
        client.close()
        store = s3_store(settings, "b")
        with pytest.raises(obstore.exceptions.BaseError):  # the answer names no ETag
            obstore.put(store, "obstore", b"x", use_multipart=False)
        return s3.requests


@pytest.mark.parametrize(
    ("encryption", "expected"),
    [
        ({"sse": "aws:kms", "sse_kms_key_id": KEY}, ("aws:kms", KEY)),
        ({"sse": "AES256"}, ("AES256", None)),
        ({}, (None, None)),
    ],
)
def test_each_kind_of_write_has_the_headers_and_a_read_has_none(
    encryption: dict[str, str], expected: tuple[str | None, str | None]
) -> None:
    requests = requests_of_every_write(**encryption)
    written = {
        request.path: (request.headers.get(ASKED), request.headers.get(ASKED_KEY))
        for request in requests
        if request.method not in {"GET", "HEAD"}
    }
    assert written == dict.fromkeys(["/b/put", "/b/copy", "/b/parts", "/b/signed", "/b/obstore"], expected)
    assert [request.path for request in requests if request.method == "GET" and ASKED in request.headers] == []


def test_every_object_of_a_published_night_is_encrypted_as_the_settings_say(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish_night(con, settings.model_copy(update={"sse": "aws:kms", "sse_kms_key_id": KEY}), NIGHT)
    found = memory_s3.list_objects_v2(Bucket="custody-published")["Contents"]
    assert len(found) > 20
    heads = [memory_s3.head_object(Bucket="custody-published", Key=entry["Key"]) for entry in found]
    assert {(head["ServerSideEncryption"], head["SSEKMSKeyId"]) for head in heads} == {("aws:kms", KEY)}


def test_a_key_without_its_encryption_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_SSE_KMS_KEY_ID", KEY)
    with pytest.raises(SettingsError, match="CUSTODY_SSE_KMS_KEY_ID needs CUSTODY_SSE"):
        load_settings()
