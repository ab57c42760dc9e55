"""Capture documents as the worker writes them → raw tables."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from botocore.exceptions import ClientError

from custody_pipeline.capture.captured import Reading, conversation_facts, write_capture, write_event
from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.capture.messages import Message
from custody_pipeline.capture.night_captures import collect_captures
from custody_pipeline.capture.spool import Spool
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.documents import document
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.document_store import MOST_BYTES, FolderStore
from custody_pipeline.load.pipeline import load
from custody_pipeline.load.raw_tables import create_raw_tables
from custody_pipeline.models.pending_reads import last_day
from custody_pipeline.settings import Settings
from custody_pipeline_tests.capture.conftest import CONVERSATION, PARTICIPANT, attribute_event, conversation
from custody_pipeline_tests.publish.nights import insert

NIGHT = date(2026, 11, 2)
OTHER = "22222222-2222-4333-8444-555555555555"
SEEN = datetime(2026, 11, 2, 10, 5, tzinfo=UTC)


@contextmanager
def loaded(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse with the night's captures and events; of the conversations, the night has one."""
    with Collector(Settings(home=home, export_url="s3://unused"), NIGHT) as collector, duckdb.connect() as con:
        create_raw_tables(con)
        load(con, collect_captures(collector, lambda ids: ids & {CONVERSATION}))
        yield con


@pytest.mark.parametrize(
    ("answer", "typed", "state"),
    [
        (
            b'{"results":[{"customAttributes":{"B":7,"A":"x"}},{"customAttributes":{"A":null}}]}',
            [("A", "x"), ("A", None), ("B", "7")],
            "ok",
        ),
        (
            b'{"results":[{"customAttributes":{"A": 1.10, "B": {"c": [1E2]}}}]}',
            [("A", "1.10"), ("B", '{"c": [1E2]}')],
            "ok",
        ),
        (b'{"results":[]}', [], "ok"),
        (b"<html>", None, "not_json"),
        (b"\xff", None, "not_json"),
        (b'["results"]', None, "wrong_shape"),
        (b'{"results":{}}', None, "wrong_shape"),
        (b"{}", None, "ok"),
        (b"null", None, "wrong_shape"),
        (b'{"message":"down","code":"internal.server.error","status":500}', None, "wrong_shape"),
        (b'{"results":[{"customAttributes":{"A":"x"}},7]}', [("A", "x")], "wrong_shape"),
        (b'{"results":[{"customAttributes":["A"]}]}', [], "wrong_shape"),
        (
            b'{"results":[{"customAttributes":{"A":"x","A":"y"}},{"customAttributes":{"B":"z"}}]}',
            [("B", "z")],
            "duplicate_key",
        ),
        (None, None, None),
    ],
)
def test_a_capture_and_its_event_are_loaded_with_typed_attributes_as_text(
    tmp_path: Path, answer: bytes | None, typed: list[tuple[str, str | None]] | None, state: str | None
) -> None:
    store, body = FolderStore(tmp_path / "captures"), attribute_event().replace(b'"yes"', b'"yes", "Cleared": null')
    event, content = parse_event(body), conversation(**{"Legal-Hold": "yes"})
    content = content.replace(b'"yes"', b'"yes", "Version": 1.10, "Cleared": null')
    facts = conversation_facts(CONVERSATION, document(content))
    write_capture(store, Reading(CONVERSATION, SEEN, content, answer), facts, event, SEEN)
    write_event(store, event, body, received_at=SEEN, start=facts.start, outcome="captured")

    with loaded(tmp_path) as con:
        ((participants, attributes, typed_state),) = con.execute(
            "SELECT participants, typed_attributes, typed_state FROM raw.captures"
        ).fetchall()
        assert con.execute("SELECT source_uri[:14] FROM raw.captures").fetchone() == ("captures/date=",)
        told = con.execute("SELECT outcome, recording_id, attributes FROM raw.conversation_events").fetchall()
    assert [(leg["participant_id"], leg["attributes"]) for leg in participants] == [
        (PARTICIPANT, {"Legal-Hold": "yes", "Version": "1.10", "Cleared": None})
    ]
    found = None if attributes is None else [(item["key"], item["value"]) for item in attributes]
    assert (found, typed_state) == (typed, state)
    assert told == [("captured", None, {"Legal-Hold": "yes", "Cleared": None})]


@pytest.mark.parametrize(
    ("before", "start", "state"),
    [
        (b"\xef\xbb\xbf", "2026-11-02T10:00:00Z", "ok"), (b"", "9999-12-31T23:59:59-10:00", "wrong_shape"),
        (b"", "0001-01-01T00:00:00+10:00", "wrong_shape"),
    ],
)  # fmt: skip
def test_no_conversation_ends_the_worker(before: bytes, start: str, state: str) -> None:
    content = before + json.dumps({"id": CONVERSATION, "startTime": start, "participants": []}).encode()
    assert conversation_facts(CONVERSATION, document(content)).state == state


def test_the_key_of_an_event_has_a_whole_year_so_that_it_is_of_a_night(tmp_path: Path) -> None:
    store, body, moment = FolderStore(tmp_path), attribute_event(), datetime(1, 1, 2, tzinfo=UTC)
    write_event(store, parse_event(body), body, received_at=SEEN, start=moment, outcome="captured")
    assert [key.split("/")[1] for key in store.keys("events/")] == ["date=0001-01-02"]


def test_a_capture_and_an_event_with_a_name_twice_are_kept_and_give_no_tag(tmp_path: Path) -> None:
    store, body = FolderStore(tmp_path / "captures"), attribute_event().replace(b'"yes"', b'"yes", "Legal-Hold": "no"')
    content = conversation(**{"Legal-Hold": "yes"}).replace(b'"yes"', b'"yes", "Legal-Hold": "no"')
    event, facts = parse_event(body), conversation_facts(CONVERSATION, document(content))
    write_capture(store, Reading(CONVERSATION, SEEN, content, None), facts, event, SEEN)
    write_event(store, event, body, received_at=SEEN, start=facts.start, outcome="captured")
    with loaded(tmp_path) as con:
        captured = con.execute("SELECT document_state, participants FROM raw.captures").fetchall()
        told = con.execute("SELECT document_state, attributes FROM raw.conversation_events").fetchall()
    assert captured == [("duplicate_key", [])]
    assert told == [("duplicate_key", None)]


def test_a_notification_gives_the_tags_of_each_participant(tmp_path: Path) -> None:
    legs = [{"id": PARTICIPANT, "attributes": {"Legal-Hold": "true"}}, {"id": OTHER, "attributes": {"Consent": "yes"}}]
    for participants in (legs, legs[:1], [{"id": OTHER, "attributes": {"Consent": "no"}}]):
        topic = f"v2.users.{OTHER}.conversations"
        body = json.dumps(
            {"topicName": topic, "eventBody": {"id": CONVERSATION, "participants": participants}}
        ).encode()
        event, place = parse_event(body), FolderStore(tmp_path / "captures")
        write_event(place, event, body, received_at=SEEN, start=SEEN, outcome="captured")
    with loaded(tmp_path) as con:
        told = con.execute("SELECT participant_id, attributes FROM raw.conversation_events").fetchall()
    expected = [(PARTICIPANT, {"Legal-Hold": "true"}), (OTHER, {"Consent": "yes"}), (OTHER, {"Consent": "no"})]
    assert sorted(told, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("depth", [10, 500, 1000])
def test_a_name_that_stands_twice_is_noticed_however_deep_or_it_is_too_deep_to_tell(depth: int) -> None:
    deep = b', "more": ' + b"[" * depth + b'{"a": 1, "a": 2}' + b"]" * depth + b"}"
    event = parse_event(attribute_event().rstrip().removesuffix(b"}") + deep)
    facts = conversation_facts(CONVERSATION, document(conversation().rstrip().removesuffix(b"}") + deep))
    told = {"duplicate_key"} if depth < 500 else {"duplicate_key", "too_deep"}  # by the version of Python
    assert {event.state, facts.state} <= told
    assert (event.attributes, facts.participants) == (None, [])


def test_an_event_of_a_conversation_that_could_not_be_read_is_of_the_conversations_night(tmp_path: Path) -> None:
    """Filed under the day of the event, because nobody knew when the conversation had begun."""
    store = FolderStore(tmp_path / "captures")
    for body in (attribute_event(), attribute_event(conversation_id=OTHER)):
        next_day = SEEN + timedelta(days=1)
        event = replace(parse_event(body), event_time=next_day)
        write_event(store, event, body, received_at=next_day, start=None, outcome="conversation_not_found")
    with loaded(tmp_path) as con:
        found = con.execute("SELECT conversation_id, outcome FROM raw.conversation_events").fetchall()
    assert found == [(CONVERSATION, "conversation_not_found")]


@pytest.mark.parametrize(
    ("content", "size"), [(b"CPN1", 4), (b"CPN1" + b"2026-11-02" + bytes(100), 114), (b"{}", MOST_BYTES + 1)]
)
def test_a_document_that_cannot_be_opened_hides_none_of_the_others(tmp_path: Path, content: bytes, size: int) -> None:
    store, body = FolderStore(tmp_path / "captures"), attribute_event()
    event, facts = parse_event(body), conversation_facts(CONVERSATION, document(conversation()))
    write_capture(store, Reading(CONVERSATION, SEEN, conversation(), None), facts, event, SEEN)
    name = f"captures/date=2026-11-02/conversation_id={OTHER}/20261102T100500.000000Z.json"
    store.create(name, content)
    os.truncate(tmp_path / "captures" / name, size)
    with Collector(Settings(home=tmp_path, export_url="s3://unused"), NIGHT) as collector:
        captures, events = collect_captures(collector)
    assert (captures.state, captures.documents, events.state) == ("partial", 1, "complete")
    assert [failure.subject_id for failure in captures.failures] == [name]


@pytest.mark.parametrize("error", [PermissionError(), ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")])
def test_a_document_that_may_not_be_read_hides_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    store = FolderStore(tmp_path / "captures")
    for name in (CONVERSATION, OTHER):
        content = conversation(name)
        facts = conversation_facts(name, document(content))
        event = parse_event(attribute_event(name))
        write_capture(store, Reading(name, SEEN, content, None), facts, event, SEEN)
    whole = FolderStore.read

    def read(self: FolderStore, key: str) -> bytes | None:
        if OTHER in key:
            raise error
        return whole(self, key)

    monkeypatch.setattr(FolderStore, "read", read)
    with Collector(Settings(home=tmp_path, export_url="s3://unused"), NIGHT) as collector:
        captures, _ = collect_captures(collector)
    assert (captures.state, captures.documents, len(captures.failures)) == ("partial", 1, 1)


def test_a_capture_place_that_may_not_be_listed_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver of another user made the folders, for example. pathlib takes them for empty ones."""
    content, event = conversation(), parse_event(attribute_event())
    facts = conversation_facts(CONVERSATION, document(content))
    write_capture(FolderStore(tmp_path / "captures"), Reading(CONVERSATION, SEEN, content, None), facts, event, SEEN)
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if CONVERSATION in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with Collector(Settings(home=tmp_path, export_url="s3://unused"), NIGHT) as collector:
        captures, events = collect_captures(collector)
    assert (captures.state, captures.documents, events.state) == ("failed", 0, "complete")
    assert captures.failures[0].message.startswith("the capture place cannot be listed: PermissionError; check")


@pytest.mark.parametrize(
    ("told", "day"),
    [
        (SEEN + timedelta(days=400), NIGHT), (SEEN - timedelta(days=31), NIGHT), (datetime(1, 1, 1, tzinfo=UTC), NIGHT),
        (SEEN - timedelta(days=3), NIGHT - timedelta(days=3)),
    ],
)  # fmt: skip
def test_an_event_of_an_impossible_time_is_of_the_day_on_which_it_came(
    tmp_path: Path, told: datetime, day: date
) -> None:
    store, body = FolderStore(tmp_path), attribute_event()
    event = replace(parse_event(body), event_time=told)
    write_event(store, event, body, received_at=SEEN, start=None, outcome="conversation_not_found")
    assert [key.split("/")[1] for key in store.keys("events/")] == [f"date={day}"]


def test_events_of_a_conversation_that_lasts_for_days_are_of_the_night_in_which_it_began(tmp_path: Path) -> None:
    store, settings = FolderStore(tmp_path / "captures"), Settings(home=tmp_path, export_url="s3://unused")
    for days, name in ((1, CONVERSATION), (5, CONVERSATION), (5, OTHER)):
        at, body = SEEN + timedelta(days=days), attribute_event(name, attributes={"Day": str(days)})
        event = replace(parse_event(body), event_time=at)
        write_event(store, event, body, received_at=at, start=None, outcome="conversation_forbidden")
    with Collector(settings, NIGHT) as collector, duckdb.connect() as con:
        create_raw_tables(con)
        assert last_day(con, NIGHT) == NIGHT + timedelta(days=1)
        today = min(utc_now().date(), NIGHT + timedelta(days=30))
        for name, end, last in (
            (OTHER, SEEN, NIGHT + timedelta(days=1)),
            (CONVERSATION, None, today),
            (CONVERSATION, SEEN + timedelta(days=5), NIGHT + timedelta(days=5)),
        ):
            row = {"partition_date": NIGHT, "conversation_id": name, "conversation_end": end}
            insert(con, "raw.conversation_details", **row)
            assert last_day(con, NIGHT) == last
        _, events = collect_captures(collector, lambda ids: ids & {CONVERSATION}, last)
    assert events.documents == 2


@pytest.mark.parametrize(
    ("received", "state"), [(SEEN, "partial"), (SEEN + timedelta(days=1), "complete"), (None, "complete")]
)
def test_events_that_wait_in_the_queue_leave_the_source_not_whole(
    tmp_path: Path, received: datetime | None, state: str
) -> None:
    settings = Settings(home=tmp_path, export_url="s3://unused")
    with closing(Spool(settings.spool_path)) as spool:
        if received is not None:
            spool.put([Message("waits", CONVERSATION, attribute_event(), received)])
    with Collector(settings, NIGHT) as collector:
        _, events = collect_captures(collector)
    assert (events.state, "wait since" in (events.detail or "")) == (state, state == "partial")
