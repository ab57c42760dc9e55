"""Documents of erased conversations among others: what is kept, and what a landing file looks like without them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING

import duckdb
import orjson
import pytest

from custody_pipeline.extract.collector import Load
from custody_pipeline.extract.documents import document
from custody_pipeline.extract.erased import erase_landed, erase_landing, names_any, without_erased
from custody_pipeline.extract.landing_files import Folder, LandingWriter, content_of, read_lines
from custody_pipeline.extract.receipts import Collectors, FetchFailure, Landing
from custody_pipeline.io.whole_file import sha256_of
from custody_pipeline.load.pipeline import load

if TYPE_CHECKING:
    from pathlib import Path

GONE, OTHER = "11111111-2222-4333-8444-555555555555", "aaaaaaaa-2222-4333-8444-555555555555"
IDS = frozenset({GONE})
AT = datetime(2026, 11, 3, 2, 30)
NIGHT = date(2026, 11, 2)


@pytest.mark.parametrize("many", [0, 100])
def test_an_id_is_named_as_a_word_in_any_case(many: int) -> None:
    ids = IDS | {f"{number:08}-2222-4333-8444-555555555555" for number in range(many)}
    for text in (
        GONE,
        GONE.upper(),
        f"conversation_id={GONE}/x",
        f"call-{GONE}",
        f'"{GONE}"',
        f"https://h/conversations/{GONE}?a=1",
    ):
        assert names_any(ids, b"", text.encode())
    assert not names_any(ids, OTHER.encode(), b"")
    assert not names_any(frozenset(), GONE.encode())
    assert names_any({"odd id/7"} | ids, b'{"id": "ODD ID/7"}')
    # An id that is a word must not name what only has the word in a longer one.
    for longer in (b"conversation_id", b"my-conversation", b"conversations"):
        assert not names_any({"conversation"} | ids, longer)
    assert without_erased({"key"} | ids, "captures", {"key": "x"}, "u", b"{}") == b"{}"


@pytest.mark.parametrize(
    ("resource", "keys", "content", "kept"),
    [
        ("conversations", {"conversation_id": GONE}, b"{}", None),
        ("conversations", {"conversation_id": OTHER}, f'{{"consult": "{GONE}"}}'.encode(), True),
        ("captures", {"key": f"captures/date=2026-11-02/conversation_id={GONE}/x.json"}, b"{}", None),
        ("export_failures", {"job_id": "j"}, f'{{"conversation": {{"id": "{GONE}"}}}}'.encode(), None),
        ("conversation_details", {"conversation_id": ""}, f'{{"conversationId": "{GONE}"}}'.encode(), None),
        ("export_sidecars", {"conversation_id": OTHER}, f'{{"conversationId": "{GONE}"}}'.encode(), None),
        ("recording_audits", {"id": "a"}, f'{{"context": {{"conversationId": "{OTHER}"}}}}'.encode(), True),
    ],
)
def test_a_document_is_of_the_conversation_that_it_was_filed_under(
    resource: str, keys: dict[str, str], content: bytes, kept: bool | None
) -> None:
    found = without_erased(IDS, resource, keys, "https://api.example.com/x", content)
    assert found == (content if kept else None)


def test_a_list_of_many_conversations_keeps_the_others() -> None:
    items = [{"conversationId": GONE, "customData": {"n": "1"}}, {"conversationId": OTHER}]
    for content in (items, {"entities": items, "total": 2}):
        kept = without_erased(IDS, "export_manifests", {"export_id": "e"}, "u", orjson.dumps(content))
        assert kept is not None
        assert GONE.encode() not in kept
        assert OTHER.encode() in kept
    assert without_erased(IDS, "export_manifests", {}, "u", GONE.encode()) is None


@pytest.mark.parametrize(
    "page", [b"%s", b'{"total": 2, "entities": %s}', b'\xef\xbb\xbf {"recordings":%s, "entities":null}']
)
@pytest.mark.parametrize("value", [b"1.10", b"12345678901234567890123", b'"\\ud83d"', b"[" * 300 + b"]" * 300])
def test_what_stays_of_a_list_is_as_it_is_written(page: bytes, value: bytes) -> None:
    gone, stays = ({"conversationId": name} for name in (GONE, OTHER))
    other = orjson.dumps(stays)[:-1] + b', "custom_data": {"Version": ' + value + b"}}"
    kept = without_erased(IDS, "export_manifests", {}, "u", page % (b"[" + orjson.dumps(gone) + b" , " + other + b"]"))
    assert kept is not None
    assert (other in kept, GONE.encode() in kept) == (True, False)


def test_a_list_that_names_an_erased_conversation_elsewhere_is_not_kept() -> None:
    page = orjson.dumps({"entities": [{"conversationId": OTHER}], "selfUri": f"/conversations/{GONE}"})
    assert without_erased(IDS, "export_manifests", {}, "u", page) is None


def test_a_failure_stays_without_the_answer_that_names_an_erased_conversation() -> None:
    for named, stays in ((GONE, False), (OTHER, True)):
        answer = f'{{"conversations": {{"conversationId": "{named}"}}}}'.encode()
        failure = FetchFailure("conversation_details", "details job", "unexpected shape", answer=answer, occurred_at=AT)
        content = orjson.dumps(failure.as_document())
        without = orjson.dumps(replace(failure, answer=None).as_document())
        kept = without_erased(IDS, "fetch_failures", {}, "custody:conversation_details", content)
        assert kept == (content if stays else without)
        assert (kept is content) == stays
    of_it = orjson.dumps(FetchFailure("conversations", GONE, "HTTP 404").as_document())
    assert without_erased(IDS, "fetch_failures", {}, "custody:conversations", of_it) is None


def test_a_load_keeps_no_answer_that_names_an_erased_conversation(tmp_path: Path) -> None:
    place = Folder(str(tmp_path))
    landing = Landing("conversation_details", NIGHT, "load", Collectors(None, None, "o", "1", None), place)
    loaded = Load(landing, LandingWriter(place, "conversation_details", NIGHT, "load"), None, IDS)
    for answer in (f'"{GONE}"'.encode(), f'"{OTHER}"'.encode(), None):
        loaded.add_failure(FetchFailure("conversation_details", "details job", "unexpected shape", answer=answer))
    assert [failure.answer for failure in landing.failures] == [None, f'"{OTHER}"'.encode(), None]


def landed(folder: Path, *texts: str) -> Landing:
    place = Folder(str(folder))
    with LandingWriter(place, "recording_audits", NIGHT, "load") as writer:
        for text in texts:
            writer.add({"id": "a"}, "https://api.example.com/audits", AT, document(text.encode()))
    who = Collectors(None, None, "o", "1", None)
    return Landing("recording_audits", NIGHT, "load", who, place, files=writer.files)


def test_a_landing_file_keeps_its_lines_and_their_numbers(tmp_path: Path) -> None:
    one, two, three = json.dumps({"id": GONE, "n": "secret"}), f"not json\n{GONE}", json.dumps({"id": OTHER})
    landing = landed(tmp_path, one, two, three)
    before = landing.files[0]
    assert erase_landing(frozenset({"nobody"}), "recording_audits", before.local, tmp_path / "none") == 0
    assert not (tmp_path / "none").exists()

    erase_landed(landing, IDS)

    (after,) = landing.files
    assert (after.uri, after.local) == (before.uri, before.local)
    assert after.sha256 != before.sha256
    lines = list(read_lines(after.local))
    assert [orjson.loads(line)["row"] for line in lines] == [1, 2, 3]
    assert [orjson.loads(line)["state"] for line in lines] == ["erased", "erased", "ok"]
    assert [content_of(line) for line in lines] == [b"null", b"null", three.encode()]
    with duckdb.connect() as con:
        load(con, [landing])
        told = con.execute("SELECT entity_id, document_uri FROM raw.recording_audits").fetchall()
        assert told == [(None, "landing/recording_audits/load.ndjson.gz#L3")]
    # The same again changes nothing.
    assert erase_landing(IDS, "recording_audits", after.local, tmp_path / "again") == 0


def test_a_load_of_which_everything_was_erased_has_no_row(tmp_path: Path) -> None:
    landing = landed(tmp_path, json.dumps({"id": GONE}))
    erase_landed(landing, IDS)
    with duckdb.connect() as con:
        assert load(con, [landing]).rows == {"recording_audits": 0}
        assert con.execute("SELECT count(*) FROM raw.recording_audits").fetchone() == (0,)


def test_a_load_names_the_file_as_the_erasure_that_ended_meanwhile_left_it(tmp_path: Path) -> None:
    landing = landed(tmp_path, json.dumps({"id": GONE}), json.dumps({"id": OTHER}))
    (file,) = landing.files
    erase_landing(IDS, "recording_audits", file.local, tmp_path / "without")
    (tmp_path / "without").replace(file.local)
    erase_landed(landing, IDS)
    assert [item.sha256 for item in landing.files] == [sha256_of(file.local)]


class Once(frozenset[str]):
    """A set that must not be compared with another one: for each line of a landing file that takes minutes."""

    __hash__ = frozenset.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")


def test_a_large_set_of_ids_is_prepared_once_and_never_compared() -> None:
    names = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(1_000)]
    for ids in (Once(names), Once(names)):
        for _ in range(3):
            assert names_any(ids, f"about {names[7].upper()}".encode())
            assert not names_any(ids, b"about nobody")
