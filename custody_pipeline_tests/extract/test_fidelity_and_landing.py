"""Bytes in, the same bytes out: whatever they are."""

from __future__ import annotations

import gzip
import hashlib
import json
import stat
import subprocess
import sys
import tempfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from custody_pipeline.extract.documents import MAX_DOCUMENT_BYTES, DocumentState, document, items_of, text_of, value_of
from custody_pipeline.extract.landing_files import (
    Bucket,
    Folder,
    LandingError,
    LandingWriter,
    as_readable,
    content_of,
    line_of,
    read_lines,
)
from custody_pipeline.extract.verbatim import with_verbatim_tags
from custody_pipeline.io.document_store import FolderStore
from custody_pipeline.io.held_folder import held_folder, remove_left
from custody_pipeline.io.night_keys import LocalWrapping, NightKeyError, NightKeys
from custody_pipeline_tests.extract.landed import read_document

NIGHT = date(2026, 11, 2)
NOW = datetime(2026, 11, 3, 2, 30, 0, 123456)


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (b'{"a":"007"}', "ok"),
        (b'{\n "a": 1\r\n}', "ok"),
        (b'{"a":"nul \\u0000"}', "ok"),
        (b'{"a":123456789012345678901234567890}', "ok"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"a":"\xe4"}', "not_utf8"),
        (b'\xef\xbb\xbf{"a":1}', "ok"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}', "not_json"),
        (b'{"a":NaN}', "not_json"),
        (b'{"a":"\\ud800"}', "ok"),
        (b"<html>", "not_json"),
        (b'{"a":1}{"a":2}', "not_json"),
        (b'{"a":{"b":"cu', "truncated"),
        (b'{"a":"cut in \xc3', "truncated"),
        (b"[" * 2000 + b"]" * 2000, "too_deep"),
        (b'"' + b"x" * MAX_DOCUMENT_BYTES + b'"', "too_large"),
    ],
)
def test_each_kind_of_bytes_has_its_state_and_is_hashed(content: bytes, state: str) -> None:
    found = document(content)
    assert found.state == state
    assert found.sha256 == hashlib.sha256(content).hexdigest()


HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            b'{"a":1}',
            b'{"state":"ok","bytes":3,"document":{}}',
            b'{\n"document_base64":"eA=="}',
            b"null",
            b"}",
            b'"\\"}"',
        ]
    ),
)
KEYS = st.dictionaries(
    st.sampled_from(["conversation_id", "object_key", "page_sha256"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)


@given(st.lists(st.tuples(HOSTILE, KEYS, st.text(st.characters(exclude_categories=["Cs"]), max_size=40)), max_size=6))
@hypothesis_settings(max_examples=60, deadline=None)
def test_every_document_comes_back_byte_for_byte(documents: list[tuple[bytes, dict[str, Any], str]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        with LandingWriter(Folder(root), "export_sidecars", NIGHT, "L1") as writer:
            for content, keys, source_uri in documents:
                writer.add(keys, source_uri, NOW, document(content))
        uris = [f"{file.uri}#L{row}" for file in writer.files for row in range(1, file.lines + 1)]
        assert [read_document(uri) for uri in uris] == [content for content, *_ in documents]
        for file in writer.files:
            assert hashlib.sha256(file.local.read_bytes()).hexdigest() == file.sha256


def test_a_document_stands_verbatim_at_the_end_of_its_line(tmp_path: Path) -> None:
    with LandingWriter(Folder(str(tmp_path)), "conversations", NIGHT, "L1") as writer:
        writer.add({"conversation_id": "c"}, "https://api/x", NOW, document(b'{ "a" :1.10}'))
        writer.add({"conversation_id": "c"}, "https://api/x", NOW, document(b"\xff"))
    lines = gzip.decompress((tmp_path / "conversations/date=2026-11-02/L1.ndjson.gz").read_bytes()).splitlines()
    digest = hashlib.sha256(b'{ "a" :1.10}').hexdigest()
    assert lines[0].decode() == (
        '{"k":{"conversation_id":"c"},"row":1,"source_uri":"https://api/x",'
        f'"fetched_at":"2026-11-03T02:30:00.123456","sha256":"{digest}","bytes":12,"state":"ok",'
        '"document":{ "a" :1.10}}'
    )
    assert lines[1].endswith(b'"state":"not_utf8","document_base64":"/w=="}')


def test_equal_documents_make_equal_files_in_numbered_parts(tmp_path: Path) -> None:
    made = []
    for folder in ("a", "b"):
        with LandingWriter(Folder(str(tmp_path / folder)), "queues", NIGHT, "L1", part_bytes=300) as writer:
            for number in range(4):
                writer.add({"id": str(number)}, "u", NOW, document(b'{"id":1}'))
        made.append([(Path(file.uri).name, file.sha256) for file in writer.files])
    assert made[0] == made[1]
    assert [name for name, _ in made[0]] == ["L1.ndjson.gz", "L1-0002.ndjson.gz"]


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.one_of(
                st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
            ),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        ),
        max_size=5,
    ),
    st.sampled_from([None, 1]),
    st.sampled_from(["attributes", "custom_data", "customData"]),
)
def test_no_value_of_a_tag_is_rewritten(tags: dict[str, Any], indent: int | None, name: str) -> None:
    written = {key: json.dumps(value, indent=indent) for key, value in tags.items()}
    texts = (json.dumps(key) + ": " + text for key, text in written.items())
    content = ('{"x": 1.10, "' + name + '" :{' + ", ".join(texts) + "}}").encode()
    read = json.loads(with_verbatim_tags(content))
    assert read["x"] == 1.1
    for key, value in read[name].items():
        if isinstance(tags[key], str) or tags[key] is None:
            assert value == tags[key]
        else:
            assert written[key] == (value if isinstance(value, str) else json.dumps(value))
            assert isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 10**18)


def test_an_exception_leaves_no_unfinished_file(tmp_path: Path) -> None:
    def break_off() -> None:
        with LandingWriter(Folder(str(tmp_path)), "queues", NIGHT, "L1") as writer:
            writer.add({}, "u", NOW, document(b"{}"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "line", [b"", b"{}", b'{"k":{},"bytes":1,"state":"ok"}', b'{"bytes":1,"state":"ok","document":{']
)
def test_what_is_no_landing_line_is_refused(line: bytes) -> None:
    with pytest.raises(LandingError):
        content_of(line)


def test_landing_files_can_lie_in_a_bucket(bucket: Any, moto_url: str, tmp_path: Path) -> None:
    s3 = boto3.client("s3", endpoint_url=moto_url, region_name="eu-central-1")
    place = Bucket(f"s3://{bucket.name}/landing", s3, tmp_path)
    with LandingWriter(place, "queues", NIGHT, "L1") as writer:
        writer.add({}, "u", NOW, document(b'{"a":\n1}'))
    (file,) = writer.files
    assert file.uri == f"s3://{bucket.name}/landing/queues/date=2026-11-02/L1.ndjson.gz"
    assert read_document(f"{file.uri}#L1", s3) == b'{"a":\n1}'
    assert file.local.exists()
    place.close()
    assert not file.local.exists()


def test_local_copies_of_a_killed_process_are_removed_and_those_of_another_stay(tmp_path: Path) -> None:
    kill = "import os, sys, signal; os.kill(os.getpid(), signal.SIGKILL)"
    hold = "from pathlib import Path; from custody_pipeline.io.held_folder import held_folder; "
    hold += f"folder = held_folder(Path({str(tmp_path)!r})); (folder.__enter__() / 'copy').write_text('of a caller'); "
    subprocess.run([sys.executable, "-c", hold + kill], check=False)
    (left,) = tmp_path.glob("*/copy")
    with held_folder(tmp_path) as mine:
        assert not left.exists()
        with held_folder(tmp_path) as another:
            assert mine.exists()
            assert stat.S_IMODE(another.stat().st_mode) == 0o700
        remove_left(tmp_path)
        assert set(tmp_path.iterdir()) == {mine, mine.with_suffix(".lock")}
    assert list(tmp_path.iterdir()) == []


def test_encrypted_landing_files_go_to_a_bucket_as_they_are_and_parts_of_a_load_with_them(
    bucket: Any, moto_url: str, tmp_path: Path
) -> None:
    s3 = boto3.client("s3", endpoint_url=moto_url, region_name="eu-central-1")
    keys = NightKeys(LocalWrapping([bytes(32)]), FolderStore(tmp_path))
    place = Bucket(f"s3://{bucket.name}/landing", s3, tmp_path / "spools", keys)
    with LandingWriter(place, "queues", NIGHT, "L1", part_bytes=1) as writer:
        writer.add({}, "u", NOW, document(b'{"of":"a caller"}'))
        writer.add({}, "u", NOW, document(b'{"of":"another"}'))
    with LandingWriter(place, "extraction_receipts", NIGHT, "L1") as receipt:
        receipt.add({}, "u", NOW, document(b'{"told":1}'))
    for file, content in zip(writer.files, (b'{"of":"a caller"}', b'{"of":"another"}'), strict=True):
        there = s3.get_object(Bucket=bucket.name, Key=file.uri.partition(f"{bucket.name}/")[2])["Body"].read()
        assert there[:4] == b"CPN1"
        assert (len(there), hashlib.sha256(there).hexdigest()) == (file.size, file.sha256)
        assert [content_of(line) for line in read_lines(file.local, keys)] == [content]
        with pytest.raises(NightKeyError):
            list(read_lines(file.local))
    assert read_document(f"{receipt.files[0].uri}#L1", s3) == b'{"told":1}'
    place.close()


def test_a_page_is_split_into_its_own_bytes() -> None:
    page = b'{"conversations": [ {"a" : 1.10} ,{"a":"\\u00e4"}], "cursor":"x"}'
    assert items_of(page, "conversations") == [b'{"a" : 1.10}', b'{"a":"\\u00e4"}']
    assert items_of(b'{"cursor":"x"}', "conversations") == []
    assert items_of(b"[]", "conversations") is None


@pytest.mark.parametrize(
    ("item", "state"),
    [
        (b'{"conversationId":"x","a":"\\ud83d ],[ \\" }"}', DocumentState.OK),
        (b'{"conversationId":"x","a":NaN}', DocumentState.NOT_JSON),
        (b'{"conversationId":"x","a":' + b"[" * 5_000 + b"]" * 5_000 + b"}", DocumentState.TOO_DEEP),
        (b'{"conversationId":"x","a":"\xff"}', DocumentState.NOT_UTF8),
    ],
    ids=["lone surrogate", "NaN", "deep", "no UTF-8"],
)
def test_an_item_that_cannot_be_read_takes_no_other_with_it(item: bytes, state: DocumentState) -> None:
    page = b'{"cursor":"c", "conversations": [ {"a":1} ,' + item + b', {"b":[2,{}]}] }'
    assert items_of(page, "conversations") == [b'{"a":1}', item, b'{"b":[2,{}]}']
    assert document(item).state == state
    assert value_of(page, "cursor") == "c"
    assert value_of(item, "conversationId") == "x"


@pytest.mark.parametrize("name", [b"Z\xfcrich", b"a\\sb", b"a\\u00"])
def test_a_name_that_is_no_json_spoils_no_other_field(name: bytes) -> None:
    page = b'{"%s":1,"conversations":[{"%s":1},2],"cursor":"x"}' % (name, name)
    assert items_of(page, "conversations") == [b'{"%s":1}' % name, b"2"]
    assert value_of(page, "cursor") == "x"
    assert text_of(b'{"%s":1,"id":"a"}' % name, "id") == "a"


def test_a_field_of_captures_that_is_no_base64_is_left_as_it_is() -> None:
    content = b'{"custom_attributes_base64":"A"}'
    assert with_verbatim_tags(content) is content


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (rb"\ud83d", "\\ud83d"),
        (rb"x\uDE00\n", "x\\uDE00\n"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\ud83d\ud83d\ude00", "\\ud83d\U0001f600"),
        (rb"\\ud83d", "\\ud83d"),
        (rb"\\\ud83d", "\\\\ud83d"),
        (rb"\ud8", None),
        (rb'\ud8","b":"', None),
    ],
)
def test_half_of_a_surrogate_pair_is_read_as_it_is_written(text: bytes, read: str | None) -> None:
    content = b'{"a":"' + text + b'"}'
    doc = document(content)
    assert doc.state == (DocumentState.NOT_JSON if read is None else DocumentState.OK)
    assert doc.content == content
    line = line_of(1, {}, "u", datetime(2026, 11, 3), doc)
    assert content_of(line) == content
    if read is not None:
        assert orjson.loads(as_readable(line))["document"] == {"a": read}


@pytest.mark.parametrize(
    "page",
    [
        b'{"conversations":null}',
        b'{"conversations":5}',
        b'{"conversations":[NaN',
        b'{"conversations":[NaN,"]}',
        b'{"conversations":{"a":NaN}}',
        b"{NaN}",
        b"NaN",
    ],
)
def test_a_page_that_cannot_be_cut_is_no_page(page: bytes) -> None:
    assert items_of(page, "conversations") is None


@pytest.mark.parametrize("page", [b'{"cursor":"\\ud83d"}', b'{"cursor":NaN}', b"[]", b"NaN"])
def test_a_cursor_that_cannot_be_read_is_not_the_end_of_a_listing(page: bytes) -> None:
    with pytest.raises(ValueError, match="`cursor` cannot be read"):
        value_of(page, "cursor")
