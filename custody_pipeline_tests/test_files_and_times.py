"""Small things that everything rests on: dates as servers write them, folders of nights, files that are whole."""

from __future__ import annotations

import base64
import errno
import hashlib
import itertools
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import duckdb
import pytest
from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError

from custody_pipeline.capture.captured import captured_addresses
from custody_pipeline.cli.shared import print_json
from custody_pipeline.evidence.reader import TargetError
from custody_pipeline.forgetting.places import DamagedLinkError, sidecars_of
from custody_pipeline.io import document_store, objects
from custody_pipeline.io.clock import http_date, night_in, utc
from custody_pipeline.io.document_store import BucketStore, DocumentTooLargeError, FolderStore
from custody_pipeline.io.escaping import folded
from custody_pipeline.io.http import retry_after
from custody_pipeline.io.objects import Stored, UploadError, copy_object, fetch, put_bytes
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.io.whole_file import found_in, write_whole
from custody_pipeline.load.raw_tables import utc_cursor
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.landed import GoneError, Sources, landed_receipts
from custody_pipeline.publish.readback import read_back
from custody_pipeline.settings import Settings, load_settings
from custody_pipeline.settings.reading import all_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client


@pytest.mark.parametrize("key", ["a\tb/c\nd", "é %20+?x=1#y;z", "", " a ", "\x1f"])
def test_an_address_in_s3_keeps_every_character_of_its_key(key: str) -> None:
    at = S3Location("bucket", key)
    assert S3Location.parse(str(at)) == at


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-02T10:00:00.000+0000", "2026-11-02T10:00Z", "2026-11-02T10:00+0530", "2026-11-02T10:00-05:00",
        "2026-11-02T10:00", "2026-11-02T10:00:00", "2026-11-02 10:00:00.123456789Z", "2026-11-02", "2026-11-02T1:00Z",
        "yesterday at ten:", "1767225600000", "",
    ],
)  # fmt: skip
def test_the_models_read_a_moment_as_the_collector_does(written: str) -> None:
    with duckdb.connect() as con:
        assert utc_cursor(con).execute("SELECT utc_moment(?)", [written]).fetchone() == (utc(written),)


@pytest.mark.usefixtures("far_from_utc")
def test_a_date_of_a_header_is_utc_wherever_the_machine_is() -> None:
    assert http_date("Mon, 02 Nov 2026 10:00:00 GMT") == datetime(2026, 11, 2, 10, tzinfo=UTC)
    assert http_date("Mon, 02 Nov 2026 10:00:00 -0000") == datetime(2026, 11, 2, 10, tzinfo=UTC)
    assert http_date("Mon, 02 Nov 2026 10:00:00 +0100") == datetime(2026, 11, 2, 9, tzinfo=UTC)
    ended = format_datetime(datetime.now(UTC) - timedelta(hours=1)).replace("+0000", "-0000")
    assert retry_after({"Retry-After": ended}) == 0.0


@pytest.mark.parametrize("ahead", [-400, 0, 400])
def test_a_date_until_which_to_wait_is_by_the_servers_clock(ahead: int) -> None:
    now = datetime.now(UTC) + timedelta(days=ahead)
    headers = {
        "Date": format_datetime(now, usegmt=True),
        "Retry-After": format_datetime(now + timedelta(seconds=90), usegmt=True),
    }
    assert retry_after(headers) == 90.0


@pytest.mark.parametrize(
    "text", ["", "soon", "Mon, 02 Nov 99999999999999999999 10:00:00 GMT", "31 Dec 9999 23:0:0 -2359"]
)
def test_a_header_that_is_no_date_says_nothing(text: str) -> None:
    assert http_date(text) is None
    assert retry_after({"Retry-After": text}) is None


@pytest.mark.parametrize("name", ["date=", "date=2026-11-31", "date=20261102", "date=2026-W45-1", "2026-11-02", "x=1"])
def test_a_foreign_folder_is_no_night(name: str, tmp_path: Path) -> None:
    assert (night_in(name), night_in("date=2026-11-02")) == (None, date(2026, 11, 2))
    for folder in (name, "date=2026-11-02"):
        (tmp_path / "extraction_receipts" / folder).mkdir(parents=True)
        (tmp_path / "extraction_receipts" / folder / "1.ndjson.gz").touch()
    settings = Settings(home=tmp_path, landing_url=str(tmp_path))
    found = landed_receipts(Sources(settings, cast("S3Client", None), S3Location("b"), tmp_path))
    assert list(found) == [date(2026, 11, 2)]


def test_files_of_one_stem_are_written_at_once(tmp_path: Path) -> None:
    def write(number: int) -> None:
        write_whole(tmp_path / f"same.{number % 8}", bytes([number % 8]) * 4096)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(64)))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        f"same.{number}": bytes([number]) * 4096 for number in range(8)
    }


def test_a_file_that_cannot_be_replaced_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "taken/full").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_whole(tmp_path / "taken", b"1")
    assert os.listdir(tmp_path) == ["taken"]  # noqa: PTH208 - hidden files too


class Conflict:
    """Answers each put with 409. `there`: whether the object exists, the second time that S3 is asked."""

    def __init__(self, there: bool) -> None:
        self.there, self.asked = there, 0

    def put_object(self, **_: Any) -> Any:
        raise ClientError(_answer("ConditionalRequestConflict", 409), "PutObject")

    def head_object(self, **_: Any) -> Any:
        self.asked += 1
        if not self.there or self.asked < 2:
            raise ClientError(_answer("404", 404), "HeadObject")
        return {"ContentLength": 1, "ETag": '"1"'}


def _answer(code: str, status: int) -> Any:
    return {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


def test_a_conflict_does_not_say_that_a_document_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "UNFINISHED_SECONDS", 0.3)
    assert not BucketStore(cast("S3Client", Conflict(there=True)), S3Location("b")).create("k", b"1")
    with pytest.raises(ClientError, match="Conflict"):
        BucketStore(cast("S3Client", Conflict(there=False)), S3Location("b")).create("k", b"1")


@pytest.mark.server
def test_an_object_that_is_larger_than_any_document_is_refused(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.create_bucket(Bucket="documents")
    store = BucketStore(s3, S3Location("documents"))
    store.create("k", b"1234")
    monkeypatch.setattr(document_store, "MOST_BYTES", 4)
    assert store.read("k") == b"1234"
    monkeypatch.setattr(document_store, "MOST_BYTES", 3)
    with pytest.raises(DocumentTooLargeError, match="k has more than 3 bytes"):
        store.read("k")


@pytest.mark.parametrize(
    "failure", [ResponseStreamingError(error="reset"), IncompleteReadError(actual_bytes=1, expected_bytes=2)]
)
def test_an_answer_that_breaks_off_is_an_error_of_the_target(failure: Exception) -> None:
    body = Mock(read=Mock(side_effect=[b"x", failure]))
    client = Mock(get_object=Mock(return_value={"ContentLength": 1 << 30, "Body": body}))
    with S3Reader(client, S3Location("b")).open("data/x") as stream:
        assert stream.read(1) == b"x"
        with pytest.raises(TargetError, match="s3://b/data/x"):
            stream.read(1)
    body.close.assert_called_once()


@pytest.mark.parametrize("write", ["put", "copy"])
@pytest.mark.parametrize(
    ("found", "expected"), [(b"1", None), (b"2", "other bytes|not hold the same"), (None, "no other|not hold")]
)
def test_an_object_that_another_process_is_writing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, write: str, found: bytes | None, expected: str | None
) -> None:
    monkeypatch.setattr(objects, "UNFINISHED_SECONDS", 0.3)
    conflict = ClientError(_answer("ConditionalRequestConflict", 409), "PutObject")
    absent: Any = ClientError(_answer("404", 404), "HeadObject")
    checksum = base64.b64encode(hashlib.sha256(found or b"").digest()).decode()
    there = {"ContentLength": 1, "ETag": '"1"', "ChecksumSHA256": checksum}
    answers = itertools.repeat(absent) if found is None else iter([absent, there])
    client: Any = Mock(
        put_object=Mock(side_effect=conflict),
        copy_object=Mock(side_effect=conflict),
        head_object=Mock(side_effect=answers),
    )
    source, to = Stored(S3Location("b", "s"), hashlib.sha256(b"1").hexdigest(), 1, "", None), S3Location("b", "k")
    with pytest.raises(UploadError, match=expected) if expected else nullcontext():
        if write == "put":
            put_bytes(client, b"1", to, once=True)
        else:
            copy_object(client, source, to, once=True)


def test_an_object_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    body = Mock(read=Mock(side_effect=[b"x", IncompleteReadError(actual_bytes=1, expected_bytes=2)]))
    client = Mock(get_object=Mock(return_value={"Body": body}))
    with pytest.raises(IncompleteReadError):
        fetch(client, S3Location("b", "k"), tmp_path / "new/file")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_copy_of_what_breaks_off_holds_nothing_of_it(tmp_path: Path) -> None:
    listing = {"IsTruncated": False, "Contents": [{"Key": "file", "Size": 2, "ETag": "1"}]}
    body = Mock(iter_chunks=Mock(side_effect=IncompleteReadError(actual_bytes=1, expected_bytes=2)))
    client = Mock(get_object=Mock(return_value={"Body": body}))
    client.get_paginator.return_value.paginate.return_value = [listing]
    with pytest.raises(IncompleteReadError):
        read_back(Settings(publish_url="s3://b"), tmp_path / "copy", client=client)
    assert list((tmp_path / "copy").iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("SlowDown", 503), ClientError), (("ExpiredToken", 400), ClientError), (("AccessDenied", 403), ClientError),
        (("InvalidObjectState", 403), ClientError), (("NoSuchKey", 404), GoneError), (("NoSuchBucket", 404), GoneError),
        (OSError(errno.ENOSPC, "full"), OSError),
    ],
)  # fmt: skip
def test_a_landing_file_that_cannot_be_read_now_does_not_count_as_gone(
    tmp_path: Path, answer: tuple[str, int] | OSError, expected: type[Exception]
) -> None:
    error = answer if isinstance(answer, OSError) else ClientError(_answer(*answer), "GetObject")
    client = Mock(get_object=Mock(side_effect=error))
    sources = Sources(Settings(home=tmp_path), client, S3Location("b"), tmp_path)
    with pytest.raises(expected):
        sources.fetch("s3://landing/queues/date=2026-11-02/1.ndjson.gz", "", date(2026, 11, 2))


def test_documents_are_kept_below_a_folder_whose_address_goes_up(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "deployment" / ".." / "home")
    assert store.create("captures/1.json", b"1")
    assert list(store.keys("captures/")) == ["captures/1.json"]
    with pytest.raises(ValueError, match="stays below"):
        store.create("captures/../../1.json", b"1")


def test_what_is_no_unicode_is_json_all_the_same(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    name = os.fsdecode(b"\xff")
    print_json({"file": Path(name), "all": [name, 1 << 70, None, True], "day": date(2026, 11, 2)})
    told = json.loads(capfdbinary.readouterr().out)
    assert told == {"file": "\\udcff", "all": ["\\udcff", str(1 << 70), None, True], "day": "2026-11-02"}


def test_a_terminal_without_width_gets_text() -> None:
    assert folded("two words", 0) == "two\nwords"


def test_no_list_of_settings_shows_a_password_in_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_TIMESTAMP_URL", "https://me:hidden@tsa.example.com/a@b")
    (shown,) = [row["value"] for row in all_settings(load_settings()) if row["variable"] == "CUSTODY_TIMESTAMP_URL"]
    assert shown == "https://***@tsa.example.com/a@b"


@pytest.mark.parametrize("content", [b"[]", b"{", b'"x"', b'{"conversation_base64": 7}'])
def test_a_capture_that_is_not_as_it_was_written_has_no_addresses(content: bytes, tmp_path: Path) -> None:
    FolderStore(tmp_path).create("captures/date=2026-11-02/conversation_id=c/1.json", content)
    assert captured_addresses(FolderStore(tmp_path), date(2026, 11, 2), ["c"]) == {"c": set()}


def test_a_damaged_link_is_named_to_who_erases(tmp_path: Path) -> None:
    key = "links/date=2026-11-02/conversation_id=c/r.json"
    FolderStore(tmp_path / "captures").create(key, b"[")
    with pytest.raises(DamagedLinkError, match=key):
        sidecars_of(Settings(home=tmp_path), cast("S3Client", None), [key])


@pytest.mark.parametrize(
    "pattern", ["*", "*.json", "*/*", "a*/*.json", "**/*.json", "**/*", "b/c/*", "none/*", "a.json/*"]
)
def test_files_are_found_as_by_glob(tmp_path: Path, pattern: str) -> None:
    for name in ("a.json", "b/c/d.json", "b/c/.hidden.json", "ab/x.json", "ab/y.txt", "empty/more/x"):
        write_whole(tmp_path / name, b"{}")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    found = [path for path in tmp_path.glob(pattern) if "link/" not in path.as_posix()]
    assert sorted(path for path in found_in(tmp_path, pattern) if "link/" not in path.as_posix()) == sorted(found)


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a" / "x.json", b"{}")
    assert found_in(tmp_path / "none", "*") == []
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "a":
            raise PermissionError
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for pattern in ("*/x.json", "**/*.json"):
        with pytest.raises(PermissionError):
            found_in(tmp_path, pattern)
