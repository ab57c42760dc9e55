"""Collecting exports: buckets in any state, jobs, sidecars and digests."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.stub import Stubber
from duckdb import DuckDBPyConnection
from obstore.exceptions import PermissionDeniedError

from custody_pipeline.capture.night_captures import collect_captures
from custody_pipeline.extract import export_listing, export_objects, exports
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.export_keys import parse_key
from custody_pipeline.extract.export_objects import ObjectReader
from custody_pipeline.extract.exports import BucketUnreachableError, collect_exports, touches
from custody_pipeline.extract.media import MediaObject, ObjectVersion, collect_media
from custody_pipeline.extract.receipts import FetchFailure
from custody_pipeline.io.objects import pages_of
from custody_pipeline.load.pipeline import load
from custody_pipeline.models.pending_reads import known_digests, media_objects
from custody_pipeline.settings import Settings
from custody_pipeline_tests.extract.conftest import Api, reply
from custody_pipeline_tests.proxy import Answer, running_proxy

NewCollector = Callable[..., Collector]
NewSettings = Callable[..., Settings]

NIGHT = date(2026, 11, 2)
ORG = "0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f"
C1, C2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
LETTERS = "abcdefab-cdef-4abc-8def-abcdefabcdef"
R1, R2 = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
HOUR = f"{ORG}/year=2026/month=11/day=2/hour=3"
DIGEST = base64.b64encode(hashlib.sha256(b"what S3 has").digest()).decode()
NOW = datetime(2026, 11, 3)
J1, J2, J3 = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")


@pytest.mark.parametrize(
    ("key", "role", "finding", "conversation", "recording"),
    [
        (f"{HOUR}/conversation_id={C1}/{R1}.opus", "media", None, C1, R1),
        (f"{ORG}/year=2026/month=01/day=02/hour=03/conversation_id={C1}/{R1}.WAV", "media", None, C1, R1),
        (f"some/prefix/{HOUR}/conversation_id={C1}/{R1}.opus", "media", None, C1, R1),
        (f"{HOUR}/conversation_id={C1}/{R1}.opus_metadata.json", "sidecar", None, C1, R1),
        (f"{HOUR}/conversation_id={C1}/{R1}_metadata.json", "sidecar", None, C1, R1),
        (f"{HOUR}/conversation_id={C1}/{R1}.json", "sidecar", None, C1, R1),
        (f"{HOUR}/conversation_id={C1}/notes.txt", "other", "unrecognised", None, None),
        (f"{HOUR}/conversation_id={C1}/{R1}", "media", None, C1, R1),
        (f"{HOUR}/conversation_id={C1}/rec_123.opus", "other", "unrecognised", None, None),
        (f"{HOUR}/conversation_id={C1}/{R1}.flac", "other", "unrecognised", None, None),
        (f"{HOUR}/conversation_id={C1}/part=1/{R1}.opus", "other", "unrecognised", None, None),
        (f"{HOUR}/conversation_id={C1}/manifest.json", "other", None, None, None),
        (f"{HOUR}/conversation_id={C1}/", "other", None, None, None),
        (f"{HOUR}/x.flac", "other", "unrecognised", None, None),
        (f"{ORG}/year=2026/month=11/day=2/hour=99/conversation_id={C1}/{R1}.opus", "other", "unrecognised", None, None),
        (f"{HOUR}/{R1}.opus", "other", "unrecognised", None, None),
        (f"{HOUR}/conversation_id=nobody/{R1}.opus", "media", "bad_conversation_id", None, R1),
        (f"{HOUR}/conversation_id=' OR 1=1 --/{R1}.opus", "media", "bad_conversation_id", None, R1),
        (f"{HOUR}/conversation_id=../../{R1}.opus", "other", "unsafe_key", None, None),
        (f"{HOUR}/conversation_id={C1}/..", "other", "unsafe_key", None, None),
        (f"{HOUR}//conversation_id={C1}/{R1}.opus", "other", "unsafe_key", None, None),
        (f"{HOUR}/conversation_id={C1}\\x/{R1}.opus", "other", "unsafe_key", None, None),
        (f"{HOUR}/conversation_id={C1}/{R1}\n.opus", "other", "unsafe_key", None, None),
        (f"{ORG}/year=2026/month=13/day=2/hour=3/conversation_id={C1}/{R1}.opus", "other", "unrecognised", None, None),
        (f"{HOUR}/conversation_id={C1}/{R1.upper()}.opus", "media", None, C1, R1),
        (f"{HOUR}/conversation_id={LETTERS.upper()}/{R1}.opus", "media", None, LETTERS, R1),
        ("readme.txt", "other", "unrecognised", None, None),
    ],
)
def test_a_key_says_what_its_object_is(
    key: str, role: str, finding: str | None, conversation: str | None, recording: str | None
) -> None:
    parsed = parse_key(key)
    found = (parsed.role, parsed.finding, parsed.conversation_id if role != "other" else None, parsed.recording_id)
    assert found == (role, finding, conversation, recording)


def test_a_key_gives_its_folders() -> None:
    parsed = parse_key(f"x/{HOUR}/conversation_id={C1}/{R1}.opus")
    assert (parsed.organization_id, parsed.path_date, parsed.path_hour, parsed.extension) == (ORG, NIGHT, 3, "opus")


@pytest.fixture
def collector(bucket: Any, moto_url: str, settings: NewSettings) -> NewCollector:
    def make(**values: Any) -> Collector:
        known = {
            "export_url": f"s3://{bucket.name}", "s3_endpoint_url": moto_url, "s3_region": "eu-central-1"
        }  # fmt: skip
        return Collector(settings(**(known | values)), NIGHT)

    return make


def objects(con: DuckDBPyConnection, columns: str = "object_key") -> list[Any]:
    return con.execute(f"SELECT {columns} FROM raw.export_objects ORDER BY object_key, last_modified").fetchall()


@pytest.mark.parametrize("prefix", ["", "genesys/prod/"])
def test_the_night_is_found_padded_or_not_and_no_other_night_is(
    bucket: Any, con: DuckDBPyConnection, collector: NewCollector, prefix: str
) -> None:
    wanted = [
        f"{prefix}{ORG}/year=2026/month=11/day=02/hour=03/conversation_id={C1}/{R1}.opus",
        f"{prefix}{ORG}/year=2026/month=11/day=2/hour=3/conversation_id={C2}/{R2}.opus",
        f"{prefix}{ORG}/year=2026/month=11/day=2/readme.txt",
        f"{prefix}another/year=2026/month=11/day=2/hour=3/conversation_id={C1}/{R1}.opus",
    ]
    others = [
        f"{prefix}{ORG}/year=2026/month=11/day=20/hour=3/conversation_id={C1}/{R1}.opus",
        f"{prefix}{ORG}/year=2026/month=1/day=2/hour=3/conversation_id={C1}/{R1}.opus",
        f"{prefix}unknown/folder/file.bin",
        f"{prefix}loose.txt",
    ]
    for key in wanted + others:
        bucket.put_object(Key=key, Body=b"x")
    with collector() as made:
        load(con, collect_exports(made))
    assert objects(con) == [(key,) for key in sorted(wanted)]


def test_every_version_and_delete_marker_is_listed(
    bucket: Any, con: DuckDBPyConnection, collector: NewCollector
) -> None:
    key = f"{HOUR}/conversation_id={C1}/{R1}.opus"
    bucket.put_object(Key=key, Body=b"one")
    bucket.put_object(Key=key, Body=b"other")
    bucket.Object(key).delete()
    with collector() as made:
        load(con, collect_exports(made))
    rows = objects(con, "is_latest, is_delete_marker, object_bytes, version_id IS NOT NULL, conversation_id")
    assert sorted(rows, key=str) == [
        (False, False, 3, True, C1), (False, False, 5, True, C1), (True, True, None, True, C1)
    ]  # fmt: skip


@pytest.mark.parametrize("bucket", [False], indirect=True)
def test_a_bucket_without_versioning_is_read_all_the_same(
    bucket: Any, con: DuckDBPyConnection, collector: NewCollector
) -> None:
    bucket.put_object(Key=f"{HOUR}/conversation_id={C1}/{R1}.opus", Body=b"audio")
    with collector() as made:
        landing, *others = collect_exports(made)
        load(con, [landing, *others])
        load(con, collect_media(made, {}, media_objects(con, NIGHT)))
    assert objects(con, "is_latest, object_bytes") == [(True, 5)]
    assert con.execute("SELECT sha256 FROM raw.media_digests").fetchall() == [(hashlib.sha256(b"audio").hexdigest(),)]
    assert (landing.state, str(landing.detail)[:31]) == ("complete", "versioning of the bucket is off")


@pytest.mark.parametrize("bucket", [False], indirect=True)
@pytest.mark.parametrize("then", [lambda item: item.put(Body=b"again"), lambda item: item.delete()])
def test_what_was_put_before_versioning_is_hashed_under_its_own_version(
    bucket: Any,
    con: DuckDBPyConnection,
    collector: NewCollector,
    monkeypatch: pytest.MonkeyPatch,
    then: Callable[[Any], object],
) -> None:
    monkeypatch.setattr(export_objects, "_SECOND", timedelta())  # the second write is of the same second
    item = bucket.Object(f"{HOUR}/conversation_id={C1}/{R1}.opus")
    item.put(Body=b"audio")
    bucket.Versioning().enable()
    then(item)
    with collector() as made:
        load(con, collect_exports(made))
        load(con, landings := collect_media(made, {}, media_objects(con, NIGHT)))
    found = con.execute("SELECT sha256 FROM raw.media_digests WHERE version_id = 'null'").fetchall()
    assert found == [(hashlib.sha256(b"audio").hexdigest(),)]
    assert landings[0].state == "complete"


@pytest.mark.parametrize("bucket", [False], indirect=True)
def test_a_version_from_before_versioning_is_not_taken_for_the_one_that_was_put_over_it(
    bucket: Any, moto_url: str, settings: NewSettings
) -> None:
    """As fixity, verification and productions read it. S3 names the version of an answer (x-amz-version-id)."""
    item = bucket.Object("a.opus")
    item.put(Body=b"audio")
    bucket.Versioning().enable()
    item.put(Body=b"put over it")
    reader = ObjectReader(settings(s3_endpoint_url=moto_url, s3_region="eu-central-1"), bucket.name)
    assert reader.read("x", "a.opus", "null", most=99) == b"audio"


@pytest.mark.parametrize(
    ("status", "code", "permanent", "advice"),
    [
        (400, "ExpiredToken", False, "renew"),
        (400, "InvalidToken", False, "renew"),
        (403, "InvalidAccessKeyId", False, "renew"),
        (403, "RequestTimeTooSkewed", False, "synchronise"),
        (400, "KMS.ThrottlingException", False, "run again"),
        (400, "KMS.DisabledException", True, "enable its KMS key"),
        (403, "InvalidObjectState", True, "restore it"),
        (403, "AccessDenied", True, "allow s3:GetObject"),
    ],
)
def test_a_refusal_that_is_not_about_the_object_leaves_the_night_open(
    bucket: Any, moto_url: str, settings: NewSettings, status: int, code: str, permanent: bool, advice: str
) -> None:
    """The codes and their statuses are those of AWS ("Error responses" of the Amazon S3 API reference)."""
    bucket.put_object(Key="a.opus", Body=b"audio")
    with running_proxy(moto_url) as proxy:
        body = f"<Error><Code>{code}</Code><Message>x</Message></Error>".encode()
        proxy.answer = lambda request: Answer(status, body) if request.method == "GET" else None
        reader = ObjectReader(settings(s3_endpoint_url=proxy.url, s3_region="eu-central-1"), bucket.name)
        failure = reader.read("export_sidecars", "a.opus", None, most=99)
    assert isinstance(failure, FetchFailure)
    assert (failure.http_status, failure.error_code, failure.permanent) == (status, code, permanent)
    assert advice in failure.message


@pytest.mark.parametrize("key", ["a//b.opus", "a/./b.opus", "a/../b.opus", "a\tb.opus"])
def test_a_key_that_the_reader_cannot_name_is_a_failure(
    bucket: Any, moto_url: str, settings: NewSettings, key: str
) -> None:
    """S3 takes any UTF-8 as a key; obstore takes no such path."""
    reader = ObjectReader(settings(s3_endpoint_url=moto_url, s3_region="eu-central-1"), bucket.name)
    for failure in (reader.read("x", key, None, most=9), reader.digest("x", key, None), reader.probe(key)):
        assert isinstance(failure, FetchFailure)
        assert (failure.error_code, failure.permanent) == ("UnsafeKey", True)


REFUSED = "older versions were not shown"


@pytest.mark.parametrize(
    ("code", "versioning", "state", "told"),
    [
        ("AccessDenied", "Enabled", "partial", REFUSED),
        ("AccessDenied", "Suspended", "partial", REFUSED),
        ("AccessDenied", "AccessDenied", "partial", REFUSED),
        ("AccessDenied", None, "complete", "versioning of the bucket is off"),
        ("MethodNotAllowed", "Enabled", "partial", REFUSED),
        ("NotImplemented", "NotImplemented", "complete", "versioning of the bucket is off"),
        (None, "Suspended", "complete", "versioning of the bucket is suspended"),
        (None, "Enabled", "complete", "None"),
        (None, "AccessDenied", "complete", "whether the bucket keeps versions is not known"),
    ],
)
def test_versions_that_cannot_be_listed_are_told_and_hide_nothing_only_where_there_are_none(
    bucket: Any,
    con: DuckDBPyConnection,
    collector: NewCollector,
    monkeypatch: pytest.MonkeyPatch,
    code: str | None,
    versioning: str | None,
    state: str,
    told: str,
) -> None:
    bucket.put_object(Key=f"{HOUR}/conversation_id={C1}/{R1}.opus", Body=b"audio")
    with collector() as made:

        def refuse(**_: Any) -> None:
            raise ClientError({"Error": {"Code": str(code)}}, "ListObjectVersions")

        def status(**_: Any) -> dict[str, str]:
            if versioning in {"Enabled", "Suspended", None}:
                return {"Status": versioning} if versioning else {}
            raise ClientError({"Error": {"Code": versioning}}, "GetBucketVersioning")

        monkeypatch.setattr(made.s3, "get_bucket_versioning", status)
        if code:
            monkeypatch.setattr(made.s3, "list_object_versions", refuse)
        landing, *others = collect_exports(made)
        load(con, [landing, *others])
    assert objects(con, "version_id IS NULL, is_latest, object_bytes") == [(code is not None, True, 5)]
    assert (landing.state, str(landing.detail)[: len(told)]) == (state, told)


def test_sidecars_land_as_they_are_and_only_the_current_version(
    bucket: Any, con: DuckDBPyConnection, collector: NewCollector
) -> None:
    good = f"{HOUR}/conversation_id={C1}/{R1}.opus_metadata.json"
    bucket.put_object(Key=good, Body=b"{}")
    bucket.put_object(Key=good, Body=json.dumps({"conversationId": C1, "durationMs": 7}, indent=2).encode())
    bucket.put_object(Key=f"{HOUR}/conversation_id={C2}/{R2}_metadata.json", Body=b"")
    deleted = f"{HOUR}/conversation_id={C2}/{R1}.json"
    bucket.put_object(Key=deleted, Body=b"{}")
    bucket.Object(deleted).delete()
    with collector() as made:
        landings = {landing.resource: landing for landing in collect_exports(made)}
        load(con, list(landings.values()))
    rows = con.execute(
        "SELECT key_recording_id, document_state, conversation_id, duration_ms FROM raw.export_sidecars ORDER BY 1"
    ).fetchall()
    assert rows == [(R1, "ok", C1, 7), (R2, "empty", None, None)]
    assert landings["export_sidecars"].asked == 2


def test_a_sidecar_that_is_too_large_is_a_failure_row(
    bucket: Any,
    con: DuckDBPyConnection,
    collector: NewCollector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exports, "MAX_DOCUMENT_BYTES", 2)
    key = f"{HOUR}/conversation_id={C1}/{R1}.json"
    bucket.put_object(Key=key, Body=b"x" * 9)
    with collector() as made:
        load(con, collect_exports(made))
    assert con.execute("SELECT resource, subject_id, permanent FROM raw.fetch_failures").fetchall() == [
        ("export_sidecars", key, True)
    ]


@pytest.mark.parametrize("keys", [["readme.txt"], ["a/b/c/d/e/year=2026/x"], ["1/x", "2/x", "3/x", "4/x"]])
def test_a_bucket_whose_exports_are_not_found_is_partial_and_says_so(
    bucket: Any, collector: NewCollector, monkeypatch: pytest.MonkeyPatch, keys: list[str]
) -> None:
    for key in keys:
        bucket.put_object(Key=key, Body=b"x")
    monkeypatch.setattr(export_listing, "MAX_FOLDERS", 3 if len(keys) > 1 else 1_000)
    with collector() as made:
        landing, *_ = collect_exports(made)
    told = "more than 3 folders" if len(keys) > 1 else "no year=… folder"
    assert (landing.resource, landing.state) == ("export_objects", "partial")
    assert told in str(landing.detail)


def test_folders_that_are_too_deep_to_be_searched_are_told(bucket: Any, collector: NewCollector) -> None:
    for key in (f"{HOUR}/conversation_id={C1}/{R1}.opus", "a/b/c/d/year=2026/month=11/day=2/x"):
        bucket.put_object(Key=key, Body=b"x")
    with collector() as made:
        landing, *_ = collect_exports(made)
    assert (landing.state, landing.documents) == ("complete", 1)
    assert "1 folders lie 4 levels below" in str(landing.detail)


def test_objects_of_which_none_can_be_read_are_one_failed_source(
    bucket: Any, collector: NewCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> object:
        raise PermissionDeniedError

    keys = [f"{HOUR}/conversation_id={C1}/{name}.{kind}" for name in (R1, R2) for kind in ("opus", "json")]
    for key in keys:
        bucket.put_object(Key=key, Body=b"{}")
    versions = [MediaObject(ObjectVersion(bucket.name, key, None, None, None, 2)) for key in keys if "opus" in key]
    monkeypatch.setattr(ObjectReader, "_get", refused)
    monkeypatch.setattr(ObjectReader, "_refusal", lambda *_: (403, "AccessDenied"))
    with collector() as made:
        listed, sidecars, *_ = collect_exports(made)
        (media,) = collect_media(made, {}, versions)
        (one,) = collect_media(made, {}, versions[:1])
    assert [landing.state for landing in (listed, sidecars, media, one)] == ["complete", "failed", "failed", "complete"]
    assert str(media.detail).startswith("none of 2 objects could be read: s3://")


def test_a_bucket_that_is_not_there_stops_the_night(collector: NewCollector) -> None:
    with (
        collector(export_url="s3://no-such-bucket") as made,
        pytest.raises(BucketUnreachableError, match=r"no-such-bucket.*CUSTODY_EXPORT_URL"),
    ):
        collect_exports(made)


def test_a_token_that_has_expired_is_named(bucket: Any, moto_url: str, collector: NewCollector) -> None:
    """S3 answers 400, to HEAD without a body ("Error responses" of the Amazon S3 API reference: ExpiredToken)."""
    with running_proxy(moto_url) as proxy:
        told = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
        proxy.answer = lambda request: Answer(400, b"" if request.method == "HEAD" else told)
        with collector(s3_endpoint_url=proxy.url) as made, pytest.raises(BucketUnreachableError, match="ExpiredToken"):
            collect_exports(made)


def test_without_the_api_its_resources_say_so(bucket: Any, con: DuckDBPyConnection, collector: NewCollector) -> None:
    bucket.put_object(Key=f"{HOUR}/conversation_id={C1}/{R1}.opus", Body=b"x")
    with collector() as made:
        load(con, collect_exports(made) + collect_captures(made))
    rows = con.execute("SELECT resource, receipt_state FROM raw.extraction_receipts ORDER BY resource").fetchall()
    assert rows == [
        ("captures", "complete"), ("conversation_events", "complete"), ("export_failures", "not_configured"),
        ("export_jobs", "not_configured"), ("export_manifests", "not_configured"), ("export_objects", "complete"),
        ("export_sidecars", "complete"),
    ]  # fmt: skip


def test_every_media_version_is_hashed_once_and_never_again(
    bucket: Any, con: DuckDBPyConnection, collector: NewCollector
) -> None:
    key = f"{HOUR}/conversation_id={C1}/{R1}.opus"
    for body in (b"one", b"", b"x" * 3_000_000):
        bucket.put_object(Key=key, Body=body)
    bucket.put_object(Key=f"{HOUR}/conversation_id={C1}/{R1}.json", Body=b"{}")
    with collector() as made:
        load(con, collect_exports(made))
        (first,) = collect_media(made, known_digests(con, NIGHT), media_objects(con, NIGHT))
        load(con, [first])
        (second,) = collect_media(made, known_digests(con, NIGHT), media_objects(con, NIGHT))
        load(con, [second])
    rows = con.execute(
        "SELECT object_bytes, sha256, md5, method, count(*), count(DISTINCT hashed_at) "
        "FROM raw.media_digests GROUP BY ALL ORDER BY 1"
    ).fetchall()
    assert rows == [
        (len(body), hashlib.sha256(body).hexdigest(), hashlib.md5(body, usedforsecurity=False).hexdigest(), "streamed",
         2, 1)
        for body in (b"", b"one", b"x" * 3_000_000)
    ]  # fmt: skip
    assert (first.requests, second.requests) == (3, 0)


def test_an_object_that_was_written_again_since_it_was_listed_has_no_digest(
    bucket: Any, con: DuckDBPyConnection, collector: NewCollector
) -> None:
    bucket.put_object(Key="x.opus", Body=b"audio")
    with collector() as made:
        (landing,) = collect_media(made, {}, [MediaObject(ObjectVersion(bucket.name, "x.opus", None, None, NOW, 3))])
        load(con, [landing])
    assert con.execute("SELECT sha256, error FROM raw.media_digests").fetchall() == [(None, "unreadable")]
    assert (landing.state, [failure.message for failure in landing.failures]) == (
        "partial",
        ["5 bytes, 3 when it was listed; run again"],
    )


@pytest.mark.parametrize("server_sha256", [False, True])
@pytest.mark.parametrize("bucket", [False], indirect=True)
def test_other_bytes_of_the_same_length_are_not_taken_for_those_that_were_listed(
    bucket: Any, con: DuckDBPyConnection, collector: NewCollector, server_sha256: bool
) -> None:
    key = f"{HOUR}/conversation_id={C1}/{R1}.opus"
    bucket.put_object(Key=key, Body=b"audio")
    with collector() as made:
        load(con, collect_exports(made))
        listed = [(media.version, media.version.last_modified) for media in media_objects(con, NIGHT)]
        objects = [
            MediaObject(replace(version, last_modified=modified - timedelta(seconds=1)), server_sha256)
            for version, modified in listed
            if modified is not None
        ]
        (before,) = collect_media(made, {}, objects)
        bucket.put_object(Key=key, Body=b"other", ChecksumAlgorithm="SHA256")
        (after,) = collect_media(made, {}, objects)
    assert (before.state, before.failures) == ("complete", [])
    assert after.state == "partial"
    assert [failure.message.partition(": ")[2] for failure in after.failures] == [
        "written again since it was listed; run again"
    ]


def test_hashing_that_was_killed_is_resumed(bucket: Any, con: DuckDBPyConnection, collector: NewCollector) -> None:
    for recording in (R1, R2):
        bucket.put_object(Key=f"{HOUR}/conversation_id={C1}/{recording}.opus", Body=recording.encode())
    with collector() as made:
        load(con, collect_exports(made))
        objects, kept = media_objects(con, NIGHT), dict[str, str]()
        collect_media(made, {}, objects[:1], kept)  # and killed: nothing was loaded
        (landing,) = collect_media(made, known_digests(con, NIGHT), objects, kept)
        load(con, [landing])
    rows = con.execute("SELECT sha256, md5, hashed_at FROM raw.media_digests ORDER BY object_key").fetchall()
    assert [row[:2] for row in rows] == [
        (hashlib.sha256(body).hexdigest(), hashlib.md5(body, usedforsecurity=False).hexdigest())
        for body in (R1.encode(), R2.encode())
    ]
    assert rows[0][2] < rows[1][2]
    assert len(kept) == 2


def test_a_composite_checksum_or_an_etag_is_never_taken_for_a_digest(
    bucket: Any, moto_url: str, con: DuckDBPyConnection, collector: NewCollector
) -> None:
    key = f"{HOUR}/conversation_id={C1}/{R1}.opus"
    s3 = boto3.client("s3", endpoint_url=moto_url, region_name="eu-central-1")
    upload = s3.create_multipart_upload(Bucket=bucket.name, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
    parts: list[Any] = []
    for number, body in enumerate((b"a" * 5 * 1024 * 1024, b"b"), start=1):
        part = s3.upload_part(
            Bucket=bucket.name, Key=key, PartNumber=number, UploadId=upload, Body=body, ChecksumAlgorithm="SHA256"
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(Bucket=bucket.name, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    with collector() as made:
        load(con, collect_exports(made))
        load(con, collect_media(made, {}, media_objects(con, NIGHT)))
        believed = [MediaObject(media.version, server_sha256=True) for media in media_objects(con, NIGHT)]
        load(con, collect_media(made, {}, believed))
    digest = hashlib.sha256(b"a" * 5 * 1024 * 1024 + b"b").hexdigest()
    assert con.execute("SELECT sha256, method FROM raw.media_digests").fetchall() == [(digest, "streamed")] * 2


@pytest.mark.parametrize(
    ("head", "taken"),
    [
        ({"ChecksumSHA256": DIGEST, "ChecksumType": "FULL_OBJECT"}, True),
        ({"ChecksumSHA256": DIGEST}, False),
        ({"ChecksumSHA256": DIGEST, "ChecksumType": "COMPOSITE"}, False),
        ({"ChecksumSHA256": f"{DIGEST}-2"}, False),
        ({"ChecksumSHA256": "AAAA", "ChecksumType": "FULL_OBJECT"}, False),
        ({"ChecksumSHA256": "?"}, False),
        ({"ChecksumCRC32": "AAAAAA=="}, False),
        ({}, False),
    ],
)
def test_only_the_servers_sha256_of_the_whole_object_spares_reading_it(
    bucket: Any, collector: NewCollector, head: dict[str, str], taken: bool
) -> None:
    key = f"{HOUR}/conversation_id={C1}/{R1}.opus"
    version = bucket.put_object(Key=key, Body=b"audio").version_id
    media = MediaObject(ObjectVersion(bucket.name, key, version, "e", NOW, 5), server_sha256=True)
    with collector() as made:
        stub = Stubber(made.s3)
        asked = {"Bucket": bucket.name, "Key": key, "VersionId": version, "ChecksumMode": "ENABLED"}
        stub.add_response("head_object", {"ContentLength": 5, **head}, asked)
        with stub:
            (landing,) = collect_media(made, {}, [media])
    (line,) = [line for file in landing.files for line in gzip.decompress(file.local.read_bytes()).splitlines()]
    row = json.loads(line)["document"]
    assert (row["method"], row["md5"] is None) == (("server", True) if taken else ("streamed", False))
    assert row["sha256"] == (hashlib.sha256(b"what S3 has") if taken else hashlib.sha256(b"audio")).hexdigest()


def test_an_object_that_is_gone_is_a_row_and_the_others_are_hashed(
    bucket: Any, con: DuckDBPyConnection, collector: NewCollector
) -> None:
    for recording in (R1, R2):
        bucket.put_object(Key=f"{HOUR}/conversation_id={C1}/{recording}.opus", Body=b"audio")
    with collector() as made:
        load(con, collect_exports(made))
        bucket.object_versions.filter(Prefix=f"{HOUR}/conversation_id={C1}/{R1}").delete()
        (landing,) = collect_media(made, {}, media_objects(con, NIGHT))
        load(con, [landing])
    rows = con.execute("SELECT sha256 IS NOT NULL, error FROM raw.media_digests ORDER BY object_key").fetchall()
    assert rows == [(False, "NoSuchKey"), (True, None)]
    assert landing.state == "partial"


# --- jobs and manifests ----------------------------------------------------------------------------------------------


def job(job_id: str, interval: str | None, action: str = "EXPORT", integration: str = "i1") -> dict[str, Any]:
    query: dict[str, Any] = {"action": action, "integrationId": integration}
    if interval:
        query["conversationQuery"] = {"interval": interval}
    return {"id": job_id, "state": "FULFILLED", "totalSkippedRecordings": 3, "recordingJobsQuery": query}


def test_a_job_touches_the_night_when_its_interval_overlaps_it() -> None:
    start, end = datetime(2026, 11, 2), datetime(2026, 11, 3)
    overlaps = {
        "2026-11-01T00:00:00.000Z/2026-11-02T00:00:00.000Z": False,
        "2026-11-01T00:00:00.000Z/2026-11-02T00:00:00.001Z": True,
        "2026-11-02T23:59:59.999Z/2026-11-03T23:00:00.000Z": True,
        "2026-11-03T00:00:00.000Z/2026-11-04T00:00:00.000Z": False,
        "2026-10-01T00:00:00.000Z/2026-12-01T00:00:00.000Z": True,
        "2026-11-01T01:00:00.000-02:00/2026-11-01T22:00:00.001-02:00": True,
        "2026-11-02T00:00:00.000+02:00/2026-11-02T02:00:00.000+02:00": False,
        "2026-11-03T00:00:00.000Z/2026-11-02T00:00:00.000Z": True,
        "2026-11-01T00:00:00.000Z": True,
        "0001-01-01T00:00:00+23:00/2026-11-03": True,
        "nonsense": True,
        None: True,
    }
    assert {interval: touches(job(J1, interval), start, end) for interval in overlaps} == overlaps


def test_jobs_of_the_night_land_with_their_failed_recordings(
    api: Api, con: DuckDBPyConnection, api_settings: NewSettings
) -> None:
    night = "2026-11-02T00:00:00.000Z/2026-11-03T00:00:00.000Z"
    ours, foreign, elsewhen = job(J1, night), job(J2, night, integration="i2"), job(J3, "2026-10-01/2026-10-02")
    api.on(
        "/api/v2/recording/jobs",
        reply({"entities": [ours, foreign], "pageCount": 2}),
        reply({"entities": [ours, elsewhen], "pageCount": 2}),
    )
    api.on(f"/api/v2/recording/jobs/{J1}", reply(ours))
    failed = {"conversation": {"id": C1}, "recording": {"id": R1}}
    api.on(
        f"/api/v2/recording/jobs/{J1}/failedrecordings",
        reply({"entities": [failed], "pageCount": 3}),
        reply({"entities": [], "pageCount": 3}),
        reply({"entities": [failed], "pageCount": 3}),
    )
    with Collector(api_settings(integration_id="I1 ", manifest_source="recording_jobs"), NIGHT) as made:
        load(con, collect_exports(made))
    jobs = con.execute("SELECT job_id, total_skipped, interval_start FROM raw.export_jobs").fetchall()
    assert jobs == [(J1, 3, datetime(2026, 11, 2))]
    assert con.execute("SELECT job_id, conversation_id, recording_id FROM raw.export_failures").fetchall() == [
        (J1, C1, R1)
    ]
    states = dict(con.execute("SELECT resource, receipt_state FROM raw.extraction_receipts").fetchall())
    assert states["export_objects"] == "not_configured"
    assert states["export_jobs"] == "complete"


def test_a_gateways_manifests_land_with_metadata_asked_for(
    api: Api, con: DuckDBPyConnection, api_settings: NewSettings
) -> None:
    api.on("/api/v2/recording/jobs", reply({"entities": []}))
    listed = [
        {"conversationId": C1, "recordingId": R1, "custom_data": {}},
        {"conversationId": C2, "recordingId": R2, "custom_data": {"a": "1"}},
        {"conversationId": C2, "recordingId": R1},
    ]
    api.on("/api/v2/recordings/recordingexports/e1", reply({"id": "e1", "recordings": listed}))
    chosen = api_settings(manifest_source="recordingexports", recordingexports_ids=("e1", "e2", "../x"))
    with Collector(chosen, NIGHT) as made:
        load(con, collect_exports(made))
    rows = con.execute(
        "SELECT conversation_id, recording_id, has_tags_field, tags FROM raw.export_manifests"
    ).fetchall()
    assert sorted(rows) == [(C1, R1, True, {}), (C2, R1, False, None), (C2, R2, True, {"a": "1"})]
    assert api.asked[-1].query == {"includeMetadata": "true"}
    failures = con.execute("SELECT subject_id, http_status FROM raw.fetch_failures ORDER BY 1").fetchall()
    assert failures == [("", None), ("e2", 404)]


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({}, "complete"), ({"pageCount": 1, "total": 1, "nextUri": None}, "complete"), ({"pageCount": 2}, "partial"),
        ({"total": 2}, "partial"), ({"nextUri": "/api/v2/x?pageNumber=2"}, "partial"), ({"cursor": "x"}, "partial"),
    ],
)  # fmt: skip
def test_a_manifest_that_states_more_than_it_has_is_not_whole(
    api: Api, api_settings: NewSettings, more: dict[str, Any], state: str
) -> None:
    api.on("/api/v2/recording/jobs", reply({"entities": []}))
    api.on("/api/v2/recordings/recordingexports/e1", reply({"entities": [{"recordingId": R1}], **more}))
    with Collector(api_settings(manifest_source="recordingexports", recordingexports_ids=("e1",)), NIGHT) as made:
        landing = collect_exports(made)[-1]
    assert (landing.resource, landing.state, landing.documents) == ("export_manifests", state, 1)


def test_the_jobs_of_every_user_are_asked_for_and_one_that_is_not_known_leaves_its_failures_unknown(
    api: Api, api_settings: NewSettings
) -> None:
    api.on("/api/v2/recording/jobs", reply({"entities": [job(J1, None)]}))
    with Collector(api_settings(manifest_source="recording_jobs"), NIGHT) as made:
        states = {landing.resource: landing.state for landing in collect_exports(made)}
    assert (
        next(asked.query for asked in api.asked if asked.path == "/api/v2/recording/jobs")["showOnlyMyJobs"] == "false"
    )
    assert (states["export_jobs"], states["export_failures"]) == ("partial", "partial")


@pytest.mark.parametrize(("stated", "state"), [(1, "complete"), (None, "complete"), (2, "partial"), ("1", "partial")])
def test_a_job_that_states_more_failures_than_it_lists_leaves_its_failures_partial(
    api: Api, api_settings: NewSettings, stated: object, state: str
) -> None:
    made_job = job(J1, "2026-11-02T00:00:00.000Z/2026-11-03T00:00:00.000Z") | {"totalFailedRecordings": stated}
    api.on("/api/v2/recording/jobs", reply({"entities": [made_job]}))
    api.on(f"/api/v2/recording/jobs/{J1}", reply(made_job))
    failed = {"conversation": {"id": C1}, "recording": {"id": R1}}
    api.on(f"/api/v2/recording/jobs/{J1}/failedrecordings", reply({"entities": [failed, failed]}))
    with Collector(api_settings(manifest_source="recording_jobs"), NIGHT) as made:
        states = {landing.resource: landing.state for landing in collect_exports(made)}
    assert states["export_failures"] == state


@pytest.mark.parametrize("answer", [{}, {"IsTruncated": True, "Versions": []}])
@pytest.mark.parametrize("operation", ["list_objects_v2", "list_object_versions"])
def test_a_listing_that_is_none_or_ends_too_early_is_no_empty_one(
    collector: NewCollector, operation: str, answer: dict[str, Any]
) -> None:
    with collector() as made, Stubber(made.s3) as stubbed:
        answer = {name: value for name, value in answer.items() if operation != "list_objects_v2" or name != "Versions"}
        stubbed.add_response(operation, answer)
        with pytest.raises(BotoCoreError, match="no whole listing"):
            list(pages_of(made.s3, operation, Bucket="exports"))
