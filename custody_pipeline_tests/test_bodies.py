"""Bodies that drip, break off or are endless, from a server that sends bytes as they are."""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
import pytest
from botocore.exceptions import BotoCoreError

from custody_pipeline.alerts.alert import DeliveryError
from custody_pipeline.alerts.delivery import Http, Patience
from custody_pipeline.alerts.servicenow import ServiceNowChannel
from custody_pipeline.capture.sidecar import PresignedPut, put_presigned
from custody_pipeline.evidence.reader import TargetError, read
from custody_pipeline.extract.genesys import GenesysClient
from custody_pipeline.extract.genesys_errors import LoginError, NoAnswer
from custody_pipeline.flows.document import FlowError
from custody_pipeline.flows.export import _download
from custody_pipeline.io import http, s3
from custody_pipeline.io.document_store import BucketStore
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.publish import bucket_reader
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.claims import Claims
from custody_pipeline.publish.sealed_writes import SealedWrites
from custody_pipeline.publish.sealing import TimestampUnavailableError, timestamper
from custody_pipeline.settings import Settings
from custody_pipeline_tests.raw_answers import answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

DRIPS = (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 100)
PLACE = S3Location("bucket", "prefix")
DOCUMENT = b'{"night": "2026-11-02", "tags": "' + b"a" * 4000 + b'"}'
HALF = (
    b'HTTP/1.1 200 OK\r\nETag: "e"\r\nx-amz-checksum-type: FULL_OBJECT\r\nContent-Length: %d\r\n'
    b"x-amz-checksum-sha256: %s\r\n\r\n%s"
    % (len(DOCUMENT), base64.b64encode(hashlib.sha256(DOCUMENT).digest()), DOCUMENT[:2000])
)


def api_of(url: str) -> GenesysClient:
    settings = Settings(genesys_domain=url, genesys_client_id="i", genesys_client_secret="s")
    return GenesysClient(settings, sleep=lambda _: None)


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda url: api_of(url).get("/api/v2/x"), NoAnswer),
        (lambda url: Http("webhook", Patience(max_attempts=1)).request("POST", url, data=b"x"), DeliveryError),
        (lambda url: timestamper(url)(b"x"), TimestampUnavailableError),
        (lambda url: _download(url, url, "flow"), FlowError),
    ],
    ids=["api", "alert", "timestamp", "flow"],
)
def test_a_body_that_drips_has_an_end(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], object], error: type[Exception]
) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 0.2)
    monkeypatch.setattr("custody_pipeline.extract.genesys.MAX_ATTEMPTS", 1)
    begun = time.monotonic()
    with answering(*DRIPS, pause=0.05) as url, pytest.raises(error):
        ask(url)
    assert time.monotonic() - begun < 4


def test_a_body_that_nobody_needs_is_not_waited_for() -> None:
    with answering(*DRIPS, pause=0.05) as url:
        begun = time.monotonic()
        assert put_presigned(PresignedPut(PLACE, url, {}), b"x") == "written"
        assert time.monotonic() - begun < 2


def test_an_answer_without_an_end_is_no_alert_that_was_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custody_pipeline.alerts.delivery.MOST_BYTES", 10)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100) as url, pytest.raises(DeliveryError, match="ValueError"):
        Http("webhook", Patience(max_attempts=1)).request("POST", url, data=b"x")


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_is_whole_however_it_comes(size: int, chunked: bool) -> None:
    content = b'{"a": "' + b"b" * 300 + b'"}'
    body = gzip.compress(content)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
    if chunked:
        parts = [b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""]]
        head += b"Transfer-Encoding: chunked\r\n\r\n"
    else:
        head += b"Content-Length: %d\r\n\r\n" % len(body)
    with answering(head, *parts) as url, http.Session() as session, session.get(url, stream=True) as response:
        assert http.body_of(response, 1000) == content


@pytest.mark.parametrize(
    "read_it",
    [
        lambda s3: BucketStore(s3, PLACE).read("captures/x.json"),
        lambda s3: Claims(s3, PLACE, "log").read(),
        lambda s3: SealedWrites(s3, PLACE).log_head(),
        lambda s3: read(S3Reader(s3, PLACE), "cuts/x", 100_000),
    ],
    ids=["document", "claim", "checkpoint", "file"],
)
def test_half_an_object_is_no_object(monkeypatch: pytest.MonkeyPatch, read_it: Callable[[S3Client], object]) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setattr(bucket_reader, "_IN_MEMORY_BYTES", 0)
    with answering(HALF) as url, pytest.raises((BotoCoreError, TargetError), match="2000"):
        read_it(s3_client(Settings(s3_endpoint_url=url, s3_region="us-east-1")))


def test_a_recording_may_take_longer_than_a_read_that_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setattr(s3, "STALLED", timedelta(seconds=1))
    head = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nLast-Modified: Mon, 02 Nov 2026 00:00:00 GMT\r\nContent-Length: 8\r\n\r\n'
    with answering(head, *[b"x"] * 8, pause=0.25) as url:
        store = s3.s3_store(Settings(s3_endpoint_url=url, s3_region="us-east-1"), "bucket")
        # Each answer is whole only without a second request: the server knows no ranges.
        assert bytes(obstore.get(store, "recording").bytes()) == b"x" * 8


def test_a_token_that_no_header_can_carry_is_no_token() -> None:
    body = '{"access_token": "tok\u20acn"}'.encode()
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as url,
        pytest.raises(LoginError, match="no access_token"),
    ):
        api_of(url).get("/api/v2/x")


def test_a_user_of_any_alphabet_can_log_in() -> None:
    settings = Settings(
        alert_servicenow_url="https://acme.service-now.com",
        alert_servicenow_user="Łukasz",
        alert_servicenow_password="€",
    )
    with answering(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"result":[]}') as url:
        channel = ServiceNowChannel(
            Http("servicenow", Patience(max_attempts=1)), settings.model_copy(update={"alert_servicenow_url": url})
        )
        assert channel._find(["key"]) == {}


def test_a_ca_bundle_that_is_missing_stops_one_channel_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(DeliveryError):
        Http("webhook", Patience(max_attempts=1)).request("POST", "https://127.0.0.1:9", data=b"x")
