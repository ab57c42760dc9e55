"""Every envelope gives the same event; everything else gives a code."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody_pipeline.capture.envelopes import ATTRIBUTES_TOPIC, EnvelopeError, parse_event
from custody_pipeline_tests.capture.conftest import CONVERSATION, EVENT_TIME_MS, PARTICIPANT, attribute_event

RECORDING = "77777777-2222-4333-8444-555555555555"
BODY = {
    "eventTime": EVENT_TIME_MS,
    "conversationId": CONVERSATION,
    "participantId": PARTICIPANT,
    "attributes": {"Legal-Hold": "yes"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def parse(document: Any) -> Any:
    return parse_event(json.dumps(document).encode())


def code(document: Any) -> str:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(EnvelopeError) as caught:
        parse_event(raw)
    return caught.value.code


def test_an_eventbridge_event_keeps_its_id_and_its_moment() -> None:
    event = parse_event(attribute_event(event_id="6efd5506-aaaa-bbbb-cccc-567890abcdef"))
    assert event.event_id == "6efd5506-aaaa-bbbb-cccc-567890abcdef"
    assert event.topic == ATTRIBUTES_TOPIC
    assert (event.conversation_id, event.participant_id) == (CONVERSATION, PARTICIPANT)
    assert event.event_time == datetime(2026, 11, 2, 10, 0, 0, 123000, tzinfo=UTC)
    assert event.attributes == {"Legal-Hold": "yes"}


@pytest.mark.parametrize(
    "document",
    [
        {"topicName": f"v2.detail.events.conversation.{CONVERSATION}.attributes", "version": "2", "eventBody": BODY},
        {"topicName": ATTRIBUTES_TOPIC, "eventBody": BODY, "metadata": {"CorrelationId": "x"}},
        BODY,
        BODY | {"eventTime": str(EVENT_TIME_MS)},
        BODY | {"eventTime": "2026-11-02T10:00:00.123Z"},
        BODY | {"eventTime": "2026-11-02T11:00:00.123+0100", "conversationId": CONVERSATION.upper()},
    ],
)
def test_the_same_change_is_recognised_through_every_door(document: dict[str, Any]) -> None:
    assert parse(document).change_id == parse_event(attribute_event()).change_id


@pytest.mark.parametrize("name", ["event", "eventName", "eventType", "type", "topic"])
@pytest.mark.parametrize("nested", [None, "data", "payload"])
def test_the_recording_hook_is_taken_under_each_of_its_names(name: str, nested: str | None) -> None:
    ids = {"conversationId": CONVERSATION, "recordingId": RECORDING}
    event = parse({name: "conversation:recordings:created", **({nested: ids} if nested else ids)})
    assert (event.topic, event.conversation_id, event.recording_id) == (
        "conversation:recordings:created",
        CONVERSATION,
        RECORDING,
    )
    assert event.event_time is None


def test_a_bare_end_has_no_known_topic_because_agents_and_queues_end_alike() -> None:
    body = {"eventTime": EVENT_TIME_MS, "conversationId": CONVERSATION, "disconnectType": "CLIENT"}
    assert parse(body).topic == "unknown"


@pytest.mark.parametrize("of", ["users", "routing.queues"])
@pytest.mark.parametrize("media", ["", ".calls"])
def test_a_notification_of_a_users_or_queues_conversations_names_its_conversation(of: str, media: str) -> None:
    topic = f"v2.{of}.{RECORDING}.conversations{media}"
    event = parse({"topicName": topic, "version": "2", "eventBody": {"id": CONVERSATION, "participants": []}})
    assert (event.topic, event.conversation_id) == (f"v2.{of}.{{id}}.conversations{media}", CONVERSATION)
    with pytest.raises(EnvelopeError, match="bad_conversation_id"):
        parse({"topicName": topic, "eventBody": {"participants": []}})


NOTIFICATION = {"topicName": f"v2.users.{RECORDING}.conversations", "eventBody": {"id": CONVERSATION}}


def notification(*participants: Any) -> Any:
    return parse({**NOTIFICATION, "eventBody": {"id": CONVERSATION, "participants": list(participants)}})


def test_a_notification_has_the_attributes_of_each_participant() -> None:
    agent = {"id": PARTICIPANT, "purpose": "agent", "attributes": {"Legal-Hold": "true", "Count": 1.5}}
    customer = {"id": RECORDING, "attributes": {"Consent": "yes"}}
    event = notification(agent, {"id": CONVERSATION, "attributes": {}}, customer)
    assert [(one.participant_id, one.attributes) for one in event.by_participant()] == [
        (PARTICIPANT, {"Legal-Hold": "true", "Count": "1.5"}),
        (RECORDING, {"Consent": "yes"}),
    ]
    assert len({one.change_id for one in event.by_participant()}) == 2
    later = notification(agent | {"attributes": {"Legal-Hold": "false"}})
    assert later.by_participant()[0].change_id != event.by_participant()[0].change_id
    assert notification({"id": PARTICIPANT, "attributes": {}}).by_participant() == [
        notification({"id": PARTICIPANT, "attributes": {}})
    ]


def test_a_notification_by_eventbridge_is_one_as_well() -> None:
    topic, leg = "v2.routing.queues.{id}.conversations.calls", {"id": PARTICIPANT, "attributes": {"A": "1"}}
    detail = {"topicName": topic, "eventBody": {"id": CONVERSATION, "participants": [leg]}}
    event = parse({"id": "e1", "detail-type": topic, "time": "2026-11-02T10:00:01Z", "detail": detail})
    assert (event.event_id, event.conversation_id, event.legs) == ("e1", CONVERSATION, ((PARTICIPANT, {"A": "1"}),))
    assert event.event_time == datetime(2026, 11, 2, 10, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize("participant", [7, {"attributes": ["A"]}, {"id": "agent", "attributes": {"A": "1"}}])
def test_a_notification_whose_participants_cannot_be_read_says_so(participant: Any) -> None:
    event = notification(participant)
    assert (event.conversation_id, event.legs, event.state) == (CONVERSATION, (), "wrong_shape")


def test_an_event_without_an_id_has_one_from_its_content_whatever_the_order_of_its_fields() -> None:
    one = parse({"topicName": ATTRIBUTES_TOPIC, "eventBody": BODY})
    other = parse({"eventBody": dict(reversed(BODY.items())), "topicName": ATTRIBUTES_TOPIC})
    changed = parse({"topicName": ATTRIBUTES_TOPIC, "eventBody": BODY | {"attributes": {"Legal-Hold": "no"}}})
    assert one.event_id == other.event_id != changed.event_id
    assert one.event_id.startswith("sha256:")


def test_values_that_are_not_text_are_kept_as_json_text_and_null_is_none() -> None:
    odd = {"number": 7, "flag": True, "nothing": None, "text": "007", "object": {"a": 1}}
    assert parse(BODY | {"attributes": odd}).attributes == {
        "number": "7",
        "flag": "true",
        "nothing": None,
        "text": "007",
        "object": '{"a": 1}',
    }


@pytest.mark.parametrize(
    "twice", [b'"attributes": {"A": "1", "A": "2"}', b'"attributes": {}, "attributes": {"A": "1"}']
)
def test_of_a_name_that_stands_twice_no_value_is_guessed(twice: bytes) -> None:
    raw = json.dumps({**BODY, "attributes": None}).encode().replace(b'"attributes": null', twice)
    event = parse_event(raw)
    assert (event.conversation_id, event.attributes, event.state) == (CONVERSATION, None, "duplicate_key")
    assert event.change_id != parse_event(raw.replace(b'"1"', b'"3"')).change_id


def test_a_byte_order_mark_before_an_event_is_ignored() -> None:
    raw = b"\xef\xbb\xbf" + json.dumps(BODY).encode()
    event = parse_event(raw)
    assert (event.change_id, event.raw_sha256) == (parse(BODY).change_id, hashlib.sha256(raw).hexdigest())


def test_numbers_and_objects_keep_their_characters() -> None:
    raw = json.dumps(BODY).encode()
    before, after = raw.split(json.dumps(BODY["attributes"]).encode())
    written = b'{"number": 1.10, "long": 12345678901234567890, "object": {"a": 1E2}}'
    assert parse_event(before + written + after).attributes == {
        "number": "1.10",
        "long": "12345678901234567890",
        "object": '{"a": 1E2}',
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b'{"a":NaN}', "not_json"),
        (b'{"attributes":{"a":NaN}}', "not_json"),
        (b'{"attributes":{"a":007}}', "not_json"),
        (b"\xff\xfe", "not_json"),
        ([], "not_an_object"),
        ("conversation:recordings:created", "not_an_object"),
        ({}, "unknown_envelope"),
        ({"hello": "world"}, "unknown_envelope"),
        ({"detail-type": "x", "detail": "text"}, "unknown_envelope"),
        ({"topicName": ATTRIBUTES_TOPIC, "eventBody": [BODY]}, "unknown_envelope"),
        ({"topicName": "channel.metadata", "eventBody": {"message": "WebSocket Heartbeat"}}, "unknown_topic"),
        ({"topicName": "v2.users.x.presence", "eventBody": BODY}, "unknown_topic"),
        ({"topicName": "conversation\n", "eventBody": BODY}, "unknown_topic"),
        ({"topicName": 7, "eventBody": BODY}, "unknown_topic"),
        ({"event": "conversation:recordings:created"}, "bad_conversation_id"),
        (BODY | {"conversationId": "../../etc/passwd"}, "bad_conversation_id"),
        (BODY | {"conversationId": f"{CONVERSATION}\n"}, "bad_conversation_id"),
        (BODY | {"conversationId": ["x"]}, "bad_conversation_id"),
        (BODY | {"participantId": "agent"}, "bad_participant_id"),
        (BODY | {"recordingId": "a/b"}, "bad_recording_id"),
        (BODY | {"eventTime": "yesterday"}, "bad_event_time"),
        (BODY | {"eventTime": 10**30}, "bad_event_time"),
        (BODY | {"eventTime": EVENT_TIME_MS // 1000}, "bad_event_time"),
        (BODY | {"attributes": "Legal-Hold"}, "bad_attributes"),
        (BODY | {"attributes": {str(number): "" for number in range(1001)}}, "bad_attributes"),
        ({"detail-type": ATTRIBUTES_TOPIC, "detail": BODY}, "bad_event_id"),
        ({"id": "../x", "detail-type": ATTRIBUTES_TOPIC, "detail": BODY}, "bad_event_id"),
    ],
)
def test_what_is_no_event_has_a_code(document: Any, expected: str) -> None:
    assert code(document) == expected


@pytest.mark.parametrize("depth", [100, 254, 900])
def test_a_body_that_can_be_read_however_deep_is_an_event(depth: int) -> None:
    deep = b'{"more": ' + b"[" * depth + b"]" * depth + b", "
    event = parse_event(json.dumps(BODY).encode().replace(b"{", deep, 1))
    assert (event.conversation_id, event.event_id[:7]) == (CONVERSATION, "sha256:")


def test_a_body_nested_too_deeply_is_refused_not_crashed_on() -> None:
    assert code(b'{"a":' * 5000 + b"1" + b"}" * 5000) == "not_json"


@given(
    document=st.dictionaries(st.sampled_from([*BODY, "detail", "detail-type", "eventBody", "topicName", "id"]), JSON)
)
def test_nothing_but_a_coded_refusal_comes_of_arbitrary_json(document: dict[str, Any]) -> None:
    with suppress(EnvelopeError):
        assert len(parse(document).conversation_id) == 36
