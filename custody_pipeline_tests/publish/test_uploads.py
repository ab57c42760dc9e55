"""Uploads against a real S3 server, and what that server really guarantees; moto would pass some of it falsely."""

from __future__ import annotations

import base64
import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import boto3
import duckdb
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from custody_pipeline.evidence.cut.manifest import Clock, decode_cut
from custody_pipeline.evidence.reader import TargetError, read
from custody_pipeline.io import objects as objects_module
from custody_pipeline.io.objects import (
    OccupiedError,
    Stored,
    UploadError,
    Uploads,
    copy_object,
    digest,
    head,
    put_bytes,
    put_file,
)
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.current_copies import remove_others
from custody_pipeline.publish.publication import publish_night
from custody_pipeline_tests.publish.killing import Replaced
from custody_pipeline_tests.publish.nights import NIGHT, NOW, change_recording

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.settings import Settings
    from custody_pipeline.simulator.local_s3 import S3Endpoint

pytestmark = pytest.mark.server


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encoded(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def refused(call: Any, *codes: str) -> None:
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] in codes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.csv"
    path.write_bytes(b"some rows")
    return path


@pytest.fixture
def to(bucket: str) -> S3Location:
    return S3Location(bucket, "csv/gaps/date=2026-11-02/gaps.csv")


# --- our uploads ------------------------------------------------------------------------------------------------------


def test_a_file_is_stored_with_its_sha256_and_version(s3: S3Client, file: Path, to: S3Location) -> None:
    stored = put_file(s3, file, sha256(b"some rows"), to)
    found = head(s3, to)
    assert found is not None
    assert found == stored
    assert (found.sha256, found.bytes) == (sha256(b"some rows"), 9)
    assert found.version_id


def test_a_file_that_changed_since_it_was_hashed_is_refused_and_nothing_is_stored(
    s3: S3Client, file: Path, to: S3Location
) -> None:
    with pytest.raises(UploadError, match="SHA-256"):
        put_file(s3, file, sha256(b"other rows"), to)
    assert head(s3, to) is None


def test_a_server_that_stores_other_bytes_is_found_out(s3: S3Client, file: Path, to: S3Location) -> None:
    def lie(put: Any, **request: Any) -> Any:
        request.pop("ChecksumSHA256")
        return put(**{**request, "Body": b"something else", "ChecksumAlgorithm": "SHA256"})

    client: Any = Replaced(s3, put_object=lie)
    with pytest.raises(UploadError, match="was put"):
        put_file(client, file, sha256(b"some rows"), to)


def test_a_server_that_tells_no_checksum_is_read_back(s3: S3Client, file: Path, to: S3Location) -> None:
    def say_less(call: Any, **request: Any) -> Any:
        answer = call(**request)
        answer.pop("ChecksumSHA256", None)
        return answer

    silent: Any = Replaced(s3, put_object=say_less, head_object=say_less)
    assert put_file(silent, file, sha256(b"some rows"), to).sha256 == sha256(b"some rows")


def test_putting_once_takes_the_same_bytes_and_refuses_others(s3: S3Client, file: Path, to: S3Location) -> None:
    first = put_file(s3, file, sha256(b"some rows"), to, once=True)
    assert put_file(s3, file, sha256(b"some rows"), to, once=True) == first
    file.write_bytes(b"other")
    with pytest.raises(OccupiedError, match="other bytes"):
        put_file(s3, file, sha256(b"other"), to, once=True)
    assert put_bytes(s3, b"some rows", to, once=True).version_id == first.version_id
    with pytest.raises(OccupiedError):
        put_bytes(s3, b"other", to, once=True)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_module, "SINGLE_PUT_BYTES", 6 << 20)
    monkeypatch.setattr(objects_module, "PART_BYTES", 5 << 20)


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_goes_in_parts_and_every_byte_is_verified(s3: S3Client, file: Path, to: S3Location) -> None:
    data = bytes(range(256)) * (12 << 12)
    file.write_bytes(data)
    stored = put_file(s3, file, sha256(data), to, once=True)
    found = head(s3, to)
    assert found is not None
    assert found.sha256 is None
    assert digest(s3, found) == stored.sha256 == sha256(data)
    assert s3.head_object(Bucket=to.bucket, Key=to.key)["Metadata"]["sha256"] == sha256(data)
    assert put_file(s3, file, sha256(data), to, once=True).sha256 == sha256(data)


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_that_changed_is_refused_and_leaves_no_parts(s3: S3Client, file: Path, to: S3Location) -> None:
    file.write_bytes(b"x" * (11 << 20))
    with pytest.raises(UploadError, match="changed since it was written"):
        put_file(s3, file, sha256(b"other"), to)
    assert head(s3, to) is None
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=to.bucket)


def test_a_copy_has_the_bytes_of_the_version_it_was_made_from(s3: S3Client, to: S3Location) -> None:
    source = put_bytes(s3, b"first", to)
    put_bytes(s3, b"second", to)
    copy = copy_object(s3, source, S3Location(to.bucket, "copy"))
    assert s3.get_object(Bucket=to.bucket, Key="copy")["Body"].read() == b"first"
    assert copy.sha256 == sha256(b"first")


def test_a_copy_that_another_home_wrote_over_is_checked_as_it_was_made(s3: S3Client, to: S3Location) -> None:
    def copy_and_be_overtaken(copy: Any, **request: Any) -> Any:
        answer = copy(**request)
        put_bytes(s3, b"the next revision", S3Location(to.bucket, "copy"))
        return answer

    client: Any = Replaced(s3, copy_object=copy_and_be_overtaken)
    source = put_bytes(s3, b"first", to)
    copy = copy_object(client, source, S3Location(to.bucket, "copy"))
    assert head(s3, copy.location, copy.version_id) == copy


def test_a_copy_of_other_bytes_than_expected_is_an_error(s3: S3Client, to: S3Location) -> None:
    source = put_bytes(s3, b"first", to)
    wrong = Stored(to, sha256(b"other"), source.bytes, source.etag, source.version_id)
    with pytest.raises(UploadError, match="same bytes"):
        copy_object(s3, wrong, S3Location(to.bucket, "copy"))


@pytest.fixture
def small_copies(small_parts: None, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Bytes that are copied in three parts."""
    monkeypatch.setattr(objects_module, "SINGLE_COPY_BYTES", 6 << 20)
    monkeypatch.setattr(objects_module, "COPIED_PART_BYTES", 5 << 20)
    return random.Random(5).randbytes(12 << 20)


def test_an_object_that_s3_copies_in_no_single_request_is_copied_in_parts(
    s3: S3Client, file: Path, to: S3Location, small_copies: bytes
) -> None:
    file.write_bytes(small_copies)
    source, copy = put_file(s3, file, sha256(small_copies), to), S3Location(to.bucket, "copy")
    put_bytes(s3, b"second", to)
    client: Any = Replaced(s3, copy_object=lambda *_, **__: pytest.fail("one request copies at most 5 GiB"))
    stored = copy_object(client, source, copy, once=True, ContentType="text/csv", Metadata={"revision": "1"})
    answer = s3.get_object(Bucket=copy.bucket, Key=copy.key)
    assert answer["Body"].read() == small_copies
    assert (answer["ContentType"], answer["Metadata"]) == ("text/csv", {"revision": "1"})
    assert (stored.sha256, stored.version_id, stored.etag) == (source.sha256, answer["VersionId"], answer["ETag"])
    assert copy_object(client, source, copy, once=True) == stored
    other = put_bytes(s3, small_copies[::-1], S3Location(to.bucket, "other"))
    with pytest.raises(UploadError, match="same bytes"):
        copy_object(client, other, copy, once=True)
    assert head(s3, copy, None) == Stored(copy, None, stored.bytes, stored.etag, stored.version_id)
    assert copy_object(client, other, copy).sha256 == other.sha256
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=to.bucket)


def test_a_copy_in_parts_that_fails_leaves_no_parts(s3: S3Client, to: S3Location, small_copies: bytes) -> None:
    def second_fails(copy: Any, **request: Any) -> Any:
        if request["PartNumber"] == 2:
            raise ClientError({"Error": {"Code": "SlowDown"}}, "UploadPartCopy")
        return copy(**request)

    source, copy = put_bytes(s3, small_copies, to), S3Location(to.bucket, "copy")
    client: Any = Replaced(s3, upload_part_copy=second_fails)
    refused(lambda: copy_object(client, source, copy), "SlowDown")
    assert head(s3, copy) is None
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=to.bucket)


def test_uploads_wait_for_all_and_raise_the_first_failure(s3: S3Client, bucket: str, file: Path) -> None:
    good, bad = S3Location(bucket, "good"), S3Location(bucket, "bad")

    def put_both() -> None:
        with Uploads(s3) as uploads:
            uploads.put(file, sha256(b"some rows"), good)
            uploads.put(file, sha256(b"other"), bad)

    with pytest.raises(UploadError, match="bad"):
        put_both()
    assert head(s3, good) is not None


def test_the_reader_lists_opens_and_tells_absent_from_unreachable(
    s3: S3Client, server: S3Endpoint, bucket: str
) -> None:
    put_bytes(s3, b"x" * 9, S3Location(bucket, "prod/a/b"))
    put_bytes(s3, b"y", S3Location(bucket, "production"))
    reader = S3Reader(s3, S3Location(bucket, "prod"))
    assert [(entry.path, entry.size) for entry in reader.list()] == [("a/b", 9)]
    assert read(reader, "a/b") == b"x" * 9
    with pytest.raises(FileNotFoundError):
        reader.open("absent")
    with pytest.raises(TargetError):
        list(S3Reader(s3, S3Location("custody-no-such-bucket")).list())


# --- a night on a bucket with Object Lock -----------------------------------------------------------------------------


@pytest.mark.parametrize("largest_copy", [objects_module.SINGLE_COPY_BYTES, 0])
def test_a_locked_cut_cannot_be_deleted_and_its_lock_not_shortened(
    s3: S3Client,
    bucket: str,
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    largest_copy: int,
) -> None:
    monkeypatch.setattr(objects_module, "SINGLE_COPY_BYTES", largest_copy)
    locked = {"lock_mode": "COMPLIANCE", "lock_days": 2, "legal_hold": True}
    publish_on(s3, bucket, con, settings.model_copy(update=locked))
    found = s3.list_object_versions(Bucket=bucket, Prefix="prod/cuts/")["Versions"]
    assert len(found) >= 20
    soon = datetime.now(UTC) + timedelta(minutes=1)
    for version in found:
        at: Any = {"Bucket": bucket, "Key": version["Key"], "VersionId": version["VersionId"]}
        assert s3.get_object_retention(**at)["Retention"]["Mode"] == "COMPLIANCE"
        assert s3.get_object_legal_hold(**at)["LegalHold"]["Status"] == "ON"
        refused(lambda at=at: s3.delete_object(**at), "AccessDenied")
    shorter: Any = {"Mode": "COMPLIANCE", "RetainUntilDate": soon}
    refused(lambda: s3.put_object_retention(**at, Retention=shorter), "AccessDenied")


@pytest.mark.parametrize("default", ["GOVERNANCE", "COMPLIANCE"])
def test_a_cut_is_locked_in_a_bucket_whose_default_retention_is_longer(
    s3: S3Client, bucket: str, con: duckdb.DuckDBPyConnection, settings: Settings, default: Any
) -> None:
    """S3 refuses to shorten a lock. A lock that is asked for with a copy takes the place of the default in AWS (Amazon
    S3 user guide, "Object Lock considerations"); SeaweedFS ignores it, and keeps the default.
    """
    rule: Any = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": default, "Days": 30}}}
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=rule)
    asked: set[str | None] = set()

    def note(request: Any, **_: Any) -> None:
        if "/prod/cuts/" in request.url:
            asked.add(request.headers.get("x-amz-object-lock-mode"))

    s3.meta.events.register("before-sign.s3.CopyObject", note)
    publish_on(s3, bucket, con, settings.model_copy(update={"lock_mode": "GOVERNANCE", "lock_days": 2}))
    assert asked == {"GOVERNANCE"}


def test_copies_that_were_made_in_parts_are_no_damaged_ones(
    s3: S3Client,
    bucket: str,
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects_module, "SINGLE_COPY_BYTES", 0)
    copies = publish_on(s3, bucket, con, settings).files
    assert publish_on(s3, bucket, con, settings).repaired == ()
    at = S3Location.parse(copies[0].uri)
    put_bytes(s3, b"x" * copies[0].bytes, at)
    assert publish_on(s3, bucket, con, settings).repaired == (copies[0].uri,)


def test_two_revisions_on_a_real_server_leave_the_first_as_it_was(
    s3: S3Client, bucket: str, con: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    publish_on(s3, bucket, con, settings)
    first = s3.list_object_versions(Bucket=bucket, Prefix="prod/cuts/date=2026-11-02/r0001/")["Versions"]
    change_recording(con, 1, "no")
    promising = settings.model_copy(update={"newer_within_days": 3})
    assert publish_on(s3, bucket, con, promising).revision == 2
    assert s3.list_object_versions(Bucket=bucket, Prefix="prod/cuts/date=2026-11-02/r0001/")["Versions"] == first
    reader = S3Reader(s3, S3Location(bucket, "prod"))
    cut = decode_cut(read(reader, "cuts/date=2026-11-02/r0002/cut.json"))
    assert (cut.clock, cut.newer_within_days) == (Clock("system", "store", 0), 3)
    for file in cut.files:
        data = s3.get_object(Bucket=bucket, Key=f"prod/{cut.prefix}{file.path}", VersionId=str(file.version_id))
        assert sha256(data["Body"].read()) == file.sha256


def publish_on(s3: S3Client, bucket: str, con: duckdb.DuckDBPyConnection, settings: Settings) -> Any:
    now = datetime.now(UTC)
    assert now > NOW
    return publish_night(
        con, settings.model_copy(update={"publish_url": f"s3://{bucket}/prod"}), NIGHT, client=s3, now=now
    )


# --- what the local server guarantees ---------------------------------------------------------------------------------


def test_the_server_refuses_a_wrong_checksum(s3: S3Client, bucket: str) -> None:
    refused(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"a", ChecksumSHA256=encoded(b"b")), "BadDigest")


def test_of_many_who_put_once_at_the_same_time_one_succeeds(s3: S3Client, bucket: str) -> None:
    def put(number: int) -> str:
        try:
            s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % number, IfNoneMatch="*")
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "stored"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(put, range(8))) == ["PreconditionFailed"] * 7 + ["stored"]


def test_the_server_replaces_only_the_object_that_was_read(s3: S3Client, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    refused(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=etag), "PreconditionFailed")


def test_an_overwritten_and_a_deleted_object_keep_their_versions(s3: S3Client, bucket: str) -> None:
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    assert s3.delete_object(Bucket=bucket, Key="k")["DeleteMarker"]
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"1"


def test_a_full_object_sha256_for_parts_is_refused_as_by_s3(s3: S3Client, bucket: str) -> None:
    refused(
        lambda: s3.create_multipart_upload(
            Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT"
        ),
        "InvalidRequest",
    )


def test_a_presigned_url_works_and_a_forged_one_does_not(server: S3Endpoint, s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    forger = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key="guessed",
        config=Config(signature_version="s3v4"),
    )
    place: dict[str, Any] = {"Params": {"Bucket": bucket, "Key": "k"}}
    good = s3.generate_presigned_url("get_object", **place)
    forged = forger.generate_presigned_url("get_object", **place)
    assert [requests.get(url, timeout=10).status_code for url in (good, forged)] == [200, 403]
    assert requests.get(f"{server.url}/{bucket}/k", timeout=10).status_code == 403


def test_a_body_that_is_a_stream_is_checked_like_one_in_memory(s3: S3Client, bucket: str) -> None:
    refused(
        lambda: s3.put_object(Bucket=bucket, Key="k", Body=BytesIO(b"a"), ChecksumSHA256=encoded(b"b")), "BadDigest"
    )
    refused(lambda: s3.head_object(Bucket=bucket, Key="k"), "404")


def test_a_folder_of_copies_is_tidied_to_its_last_page() -> None:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    kept = "csv/gaps/date=2026-11-02/gaps.csv"
    others = [f"{kept}.gz", f"{kept}.old"]
    with Stubber(client) as stubbed:
        first = {"IsTruncated": True, "NextContinuationToken": "t", "Contents": [{"Key": kept}, {"Key": others[0]}]}
        stubbed.add_response("list_objects_v2", first)
        stubbed.add_response("list_objects_v2", {"IsTruncated": False, "Contents": [{"Key": others[1]}]})
        for key in others:
            stubbed.add_response("delete_object", {}, {"Bucket": "b", "Key": key})
        remove_others(client, S3Location("b", kept))
        stubbed.assert_no_pending_responses()
