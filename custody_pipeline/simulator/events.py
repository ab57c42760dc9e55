"""The events that the vendor sends during conversations, in every envelope, with duplicates and in wrong order.

Field names are those of the vendor's SDK models (`AttributeDetailEventTopicAttributeUpdateEvent`,
`CustomerEndDetailEventTopicCustomerEndEvent`) and of EventBridge's envelope; the recording hook is the one that the
request for this product named.

Belongs here: which events are sent when, and which are lost. Does not: sending them, and receiving them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal

import orjson

from custody_pipeline.simulator.api_documents import iso
from custody_pipeline.simulator.calls import SEEN_AFTER_END, Conversation, refusal_of
from custody_pipeline.simulator.identity import number, uuid_for
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.structure import ORGANIZATION_ID

ATTRIBUTES = "v2.detail.events.conversation.{id}.attributes"
CUSTOMER_END = "v2.detail.events.conversation.{id}.customer.end"
RECORDING_CREATED = "conversation:recordings:created"
# The vanishing tag is set this long after the end of its call; the event of its removal follows the removal.
SET_AFTER_END = timedelta(minutes=4)
EVENT_AFTER = timedelta(seconds=1)
HOOK_AFTER_END = timedelta(seconds=30)

Envelope = Literal["eventbridge", "channel", "process_automation", "recording_hook"]
_ENVELOPES: tuple[Envelope, ...] = ("eventbridge", "eventbridge", "channel", "process_automation")


@dataclass(frozen=True)
class SentEvent:
    """One event as the vendor sends it: time (the organisation's clock), conversation, bytes."""

    at: datetime
    conversation_id: str
    body: bytes


def _envelope_of(conversation: Conversation) -> Envelope:
    return _ENVELOPES[number("envelope", conversation.id) % len(_ENVELOPES)]


def events_of(conversation: Conversation) -> Iterator[SentEvent]:
    """The events of one conversation, in order of time.

    The tags of a participant are sent when the participant leaves, the customer's end at the end, and the hook of a
    recording a little later. For the tag that vanishes there are two events: with the tag, and later without it.
    """
    envelope = _envelope_of(conversation)
    sent = [
        _attribute_event(conversation, person.id, person.attributes, person.end, envelope)
        for person in conversation.participants
        if person.attributes
    ]
    sent.append(_customer_end(conversation, envelope))
    if conversation.recordings and conversation.recordings[0].in_metadata:
        sent.append(recording_hook(conversation, conversation.recordings[0].id))
    for person in conversation.participants:
        if person.vanished_attributes:
            seen = person.attributes | person.vanished_attributes
            removed = conversation.end + SEEN_AFTER_END + EVENT_AFTER
            sent.append(_attribute_event(conversation, person.id, seen, conversation.end + SET_AFTER_END, envelope))
            sent.append(_attribute_event(conversation, person.id, person.attributes, removed, envelope))
    return iter(sorted(sent, key=lambda event: event.at))


def events_between(organization: Organization, start: datetime, end: datetime) -> list[SentEvent]:
    """Events sent in [start, end) about the night's conversations, in order of time."""
    places = organization.active_between(start - SEEN_AFTER_END - EVENT_AFTER, end)
    found = (event for place in places for event in events_of(organization.conversation(place)))
    return sorted((event for event in found if start <= event.at < end), key=lambda event: event.at)


@dataclass(frozen=True)
class Watch:
    """The part of a night during which live capture receives the vendor's events; some of them are spoiled.

    The events of two healthy conversations never arrive. For two others, a recording is announced that does not exist.
    Events about conversations that cannot be read for now have not arrived yet.
    """

    organization: Organization
    start: datetime
    end: datetime

    @classmethod
    def of_the_vanishing_tag(cls, organization: Organization) -> Watch | None:
        """From an hour before the end of the call until the event of its tag's removal; None without such a call."""
        if organization.vanishing_index is None:
            return None
        end = organization.conversation(organization.vanishing_index).end
        return cls(organization, end - timedelta(hours=1), end + SEEN_AFTER_END + timedelta(minutes=1))

    @cached_property
    def events(self) -> list[SentEvent]:
        """The events that arrive, in order of time."""
        sent = [
            event
            for event in events_between(self.organization, self.start, self.end)
            if event.conversation_id not in self.lost and event.conversation_id not in self._under_way
        ]
        strays = [recording_hook(call, stray_recording_id(call)) for call in self.announced]
        return sorted([*sent, *strays], key=lambda event: event.at)

    @property
    def places(self) -> range:
        """Indexes of the conversations that its events may be about."""
        return self.organization.active_between(self.start - SEEN_AFTER_END - EVENT_AFTER, self.end)

    @cached_property
    def calls(self) -> list[Conversation]:
        """Conversations that end after the first and before the last customer's end that arrives with its topic."""
        calls = map(self.organization.conversation, self.places)
        ending = sorted((call for call in calls if self.start <= call.end < self.end), key=lambda call: call.end)
        arriving = [
            place
            for place, call in enumerate(ending)
            if not is_refused_for_a_while(call) and _envelope_of(call) != "process_automation"
        ]
        return ending[arriving[0] + 1 : arriving[-1]] if arriving else []

    @cached_property
    def _spoiled(self) -> list[Conversation]:
        healthy = [call for call in self.calls if call.fault is None]
        return sorted(healthy, key=lambda call: number("capture-fault", call.id))[:4]

    @cached_property
    def lost(self) -> frozenset[str]:
        """Conversations whose events never arrive."""
        return frozenset(call.id for call in self._spoiled[:2])

    @cached_property
    def announced(self) -> list[Conversation]:
        """Conversations for which a recording is announced that does not exist."""
        return [call for call in self._spoiled[2:] if call.end + HOOK_AFTER_END < self.end]

    @cached_property
    def _under_way(self) -> frozenset[str]:
        calls = map(self.organization.conversation, self.places)
        return frozenset(call.id for call in calls if is_refused_for_a_while(call))


def is_refused_for_a_while(call: Conversation) -> bool:
    """Whether a single read of the conversation fails now, and succeeds later."""
    return refusal_of(call) in {"not_found", "trouble"}


def stray_recording_id(call: Conversation) -> str:
    """The id of the announced recording that does not exist."""
    return uuid_for("a recording that nobody has", call.id)


def recording_hook(conversation: Conversation, recording_id: str) -> SentEvent:
    """The hook's `conversation:recordings:created`, half a minute after the conversation."""
    at = conversation.end + HOOK_AFTER_END
    body = {"conversationId": conversation.id, "recordingId": recording_id, "timestamp": iso(at)}
    return SentEvent(at, conversation.id, orjson.dumps({"event": RECORDING_CREATED, **body}))


def _attribute_event(
    conversation: Conversation, participant_id: str, attributes: dict[str, str], at: datetime, envelope: Envelope
) -> SentEvent:
    body = {
        "eventTime": round(at.timestamp() * 1000),
        "conversationId": conversation.id,
        "participantId": participant_id,
        "attributes": attributes,
    }
    return _sent(ATTRIBUTES, conversation.id, body, at, envelope)


def _customer_end(conversation: Conversation, envelope: Envelope) -> SentEvent:
    customer = conversation.participant("customer")
    body = {
        "eventTime": round(conversation.end.timestamp() * 1000),
        "conversationId": conversation.id,
        "participantId": customer.id,
        "sessionId": customer.sessions[-1].id,
        "disconnectType": "CLIENT",
        "mediaType": "VOICE",
        "provider": "Edge",
        "direction": "INBOUND",
        "ani": f"tel:{conversation.ani}",
        "dnis": f"tel:{conversation.dnis}",
    }
    return _sent(CUSTOMER_END, conversation.id, body, conversation.end, envelope)


def _sent(topic: str, conversation_id: str, body: dict[str, Any], at: datetime, envelope: Envelope) -> SentEvent:
    named = topic.replace("{id}", conversation_id)
    document: dict[str, Any] = {"topicName": named, "version": "2", "eventBody": body}
    if envelope == "process_automation":
        document = body
    elif envelope == "eventbridge":
        document = {
            "version": "0",
            "id": uuid_for("event", topic, conversation_id, body["participantId"], body["eventTime"]),
            "detail-type": topic,
            "source": f"aws.partner/genesys.com/cloud/{ORGANIZATION_ID}/custody",
            "account": "123456789012",
            "time": iso(at),
            "region": "us-east-1",
            "resources": [],
            "detail": {**document, "metadata": {"CorrelationId": uuid_for("correlation", conversation_id, at)}},
        }
    return SentEvent(at, conversation_id, orjson.dumps(document))
