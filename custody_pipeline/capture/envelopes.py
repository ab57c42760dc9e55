"""Events in any known envelope → `CustodyEvent`.

Belongs here: recognising envelopes and validating their fields. Does not: HTTP, signatures, queues.

Four envelopes are known, tried in this order:

1. **EventBridge**: `{"version", "id", "detail-type", "source", "time", "detail": {"topicName", "eventBody", …}}`.
   Its `id` is the event id: EventBridge delivers at least once, with the same id.
2. **Notification channel** and **process-automation data action**: `{"topicName", "eventBody": {…}, …}`. In events of
   `v2.users.{id}.conversations…` and `v2.routing.queues.{id}.conversations…`, also by EventBridge, the body is the
   conversation: its `id` is the conversation's, and each participant has attributes.
3. **The recording hook**: `{"event": "conversation:recordings:created", "conversationId", "recordingId", …}`; the name
   may also be under `eventName`, `eventType`, `type` or `topic`, and the ids under `data` or `payload`.
4. **A bare process-automation payload**: the event's fields at the top level (`{"eventTime", "conversationId", …}`),
   as a workflow passes them on. Without attributes its topic is `unknown`: the fields do not tell whose end it is.

The fields of an event body are those of the vendor's SDK models `AttributeDetailEventTopicAttributeUpdateEvent` and
`CustomerEndDetailEventTopicCustomerEndEvent`; `eventTime` is milliseconds since 1970 or ISO 8601 text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from custody_pipeline.extract.documents import BYTE_ORDER_MARK, DocumentState, state_of_names, without_halves
from custody_pipeline.extract.verbatim import with_verbatim_tags

RECORDING_CREATED = "conversation:recordings:created"
ATTRIBUTES_TOPIC = "v2.detail.events.conversation.{id}.attributes"
CUSTOMER_END_TOPIC = "v2.detail.events.conversation.{id}.customer.end"
BARE_TOPIC = "unknown"
MAX_ATTRIBUTES = 1000

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_TOPIC = re.compile(r"[A-Za-z0-9_.:{}-]{1,200}")
_NOTIFICATION = re.compile(r"v2\.(users|routing\.queues)\.([0-9a-fA-F-]{36}|\{id\})\.conversations(\.[a-z]+)*")
_EVENT_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_NAME_FIELDS = ("event", "eventName", "eventType", "type", "topic", "topicName")


class EnvelopeError(Exception):
    """A body that is not a known event. `code` is stable and safe to show; the body is not repeated.

    Codes: `not_json`, `not_an_object`, `unknown_envelope`, `unknown_topic`, `bad_event_id`, `bad_conversation_id`,
    `bad_participant_id`, `bad_recording_id`, `bad_event_time`, `bad_attributes`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class CustodyEvent:
    """One thing that happened to a conversation.

    Attributes:
        event_id: the same for every delivery of the event: EventBridge's `id`, else `sha256:` of the event's content.
        topic: the vendor's topic with `{id}` in the place of ids, `conversation:recordings:created` or `unknown`.
        conversation_id: lower-case UUID.
        participant_id: lower-case UUID of the leg, if the event names one.
        event_time: when it happened, UTC; None if the sender did not say.
        attributes: participant data after the event, for an attribute event. Values that are not text are as written.
        legs: participant and attributes, for each participant with attributes in a notification's conversation.
        recording_id: lower-case UUID, if the event names one.
        raw_sha256: hex SHA-256 of the body as received.
        state: `duplicate_key` if the body has a name twice, `too_deep` if that cannot be told, `wrong_shape` if the
            participants of a notification cannot be read. There are then no attributes.
    """

    event_id: str
    topic: str
    conversation_id: str
    participant_id: str | None
    event_time: datetime | None
    attributes: dict[str, str | None] | None
    recording_id: str | None
    raw_sha256: str
    state: str = DocumentState.OK.value
    legs: tuple[tuple[str | None, dict[str, str | None]], ...] = ()

    def by_participant(self) -> list[CustodyEvent]:
        """The event of one participant each: a notification has the attributes of several."""
        return [replace(self, participant_id=leg, attributes=tags, legs=()) for leg, tags in self.legs] or [self]

    @property
    def change_id(self) -> str:
        """Hex SHA-256 of the change: the same for every way, and every repeat, in which the event arrived."""
        return _content_hash(
            self.topic,
            self.conversation_id,
            self.participant_id,
            self.event_time.isoformat() if self.event_time else None,
            self.attributes,
            self.recording_id,
            *([] if self.state == DocumentState.OK else [self.raw_sha256]),
        )


def parse_event(raw: bytes) -> CustodyEvent:
    """Recognise the envelope of `raw`, an HTTP body or queue message exactly as received.

    Raises:
        EnvelopeError: it is none of the known envelopes, or an id or time in it is not one.
    """
    content = raw.removeprefix(BYTE_ORDER_MARK)
    try:
        orjson.loads(without_halves(content))  # a body that is not JSON must not pass because a value became a text
        document = orjson.loads(with_verbatim_tags(content))
    except orjson.JSONDecodeError:
        raise EnvelopeError("not_json") from None
    if not isinstance(document, dict):
        raise EnvelopeError("not_an_object")
    event = _recognise(document, hashlib.sha256(raw).hexdigest())
    state = state_of_names(content)
    return event if state is DocumentState.OK else replace(event, attributes=None, legs=(), state=state.value)


def _recognise(document: dict[str, Any], raw_sha256: str) -> CustodyEvent:
    detail = document.get("detail")
    if "detail-type" in document and isinstance(detail, dict):
        topic = detail.get("topicName", document["detail-type"])
        body = detail.get("eventBody", detail)
        return _of_topic(topic, body, raw_sha256, event_id=document.get("id", ""), sent=document.get("time"))
    if "eventBody" in document:
        return _of_topic(document.get("topicName"), document["eventBody"], raw_sha256)
    if any(document.get(field) == RECORDING_CREATED for field in _NAME_FIELDS):
        nested = [document[key] for key in ("data", "payload") if isinstance(document.get(key), dict)]
        return _event(RECORDING_CREATED, document | (nested[0] if nested else {}), raw_sha256)
    if "conversationId" in document and "eventTime" in document:
        # The ends of customers, agents and queues carry the same fields.
        bare_topic = ATTRIBUTES_TOPIC if isinstance(document.get("attributes"), dict) else BARE_TOPIC
        return _event(document.get("topicName") or bare_topic, document, raw_sha256)
    raise EnvelopeError("unknown_envelope")


def _of_topic(topic: object, body: object, raw_sha256: str, **more: object) -> CustodyEvent:
    if not (isinstance(topic, str) and isinstance(body, dict) and _NOTIFICATION.fullmatch(topic)):
        return _event(topic, body, raw_sha256, **more)
    event = _event(topic, body | {"conversationId": body.get("id")}, raw_sha256, **more)
    try:
        return replace(event, legs=tuple(_legs(body.get("participants") or [])))
    except (EnvelopeError, AttributeError, TypeError):
        return replace(event, state=DocumentState.WRONG_SHAPE.value)


def _event(
    topic: object, body: object, raw_sha256: str, *, event_id: object = None, sent: object = None
) -> CustodyEvent:
    if not isinstance(body, dict):
        raise EnvelopeError("unknown_envelope")
    name = _topic(topic)
    conversation_id = _identifier(_nested(body, "conversation"), "bad_conversation_id")
    if conversation_id is None:
        raise EnvelopeError("bad_conversation_id")
    participant_id = _identifier(_nested(body, "participant"), "bad_participant_id")
    recording_id = _identifier(_nested(body, "recording"), "bad_recording_id")
    event_time = _time(next((body[key] for key in ("eventTime", "timestamp", "createdAt") if body.get(key)), sent))
    attributes = _attributes(body.get("attributes"))
    if event_id is None:
        try:
            written = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:  # nested deeper than orjson writes
            written = raw_sha256.encode()
        event_id = f"sha256:{_content_hash(name, conversation_id, participant_id, written)}"
    elif not (isinstance(event_id, str) and _EVENT_ID.fullmatch(event_id)):
        raise EnvelopeError("bad_event_id")
    return CustodyEvent(
        event_id, name, conversation_id, participant_id, event_time, attributes, recording_id, raw_sha256
    )


def _legs(participants: Any) -> Iterator[tuple[str | None, dict[str, str | None]]]:
    for leg in participants:
        if tags := _attributes(leg.get("attributes")):
            yield _identifier(leg.get("id"), "bad_participant_id"), tags


def _topic(value: object) -> str:
    if not isinstance(value, str) or not _TOPIC.fullmatch(value):
        raise EnvelopeError("unknown_topic")
    name = _UUID.sub("{id}", value)
    if "conversation" not in name and name != BARE_TOPIC:
        raise EnvelopeError("unknown_topic")
    return name


def _nested(body: dict[str, Any], subject: str) -> object:
    """`conversationId`, or `conversation.id`."""
    inner = body.get(subject)
    return body.get(f"{subject}Id", inner.get("id") if isinstance(inner, dict) else None)


def _identifier(value: object, code: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise EnvelopeError(code)
    return value.lower()


def _time(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, str) and not value.isdecimal():
            parsed = datetime.fromisoformat(value)
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            moment = datetime.fromtimestamp(int(value) / 1000, UTC)
            if moment.year > 1970:  # else seconds, or another unit
                return moment
    except (ValueError, OverflowError, OSError):
        pass
    raise EnvelopeError("bad_event_time")


def _attributes(value: object) -> dict[str, str | None] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > MAX_ATTRIBUTES:
        raise EnvelopeError("bad_attributes")
    return texts_of(value)


def texts_of(attributes: dict[str, Any]) -> dict[str, str | None]:
    """Attributes as text: a value that is no text as its JSON, null as None."""
    return {
        key: value if isinstance(value, str | None) else orjson.dumps(value).decode()
        for key, value in attributes.items()
    }


def _content_hash(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else orjson.dumps(part, option=orjson.OPT_SORT_KEYS)
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
