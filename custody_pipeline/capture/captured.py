"""The documents of live capture, and their keys (contract: the nightly run reads them).

Belongs here: keys, formats, what makes a capture new. Does not: reading the vendor, SQL.

Under the capture place (`CUSTODY_CAPTURE_URL`, `$CUSTODY_HOME/captures` by default), `D` being the UTC day of the
conversation's start (of the event, where the conversation could not be read) and `C` the conversation id:

| key | one for each | written when |
|---|---|---|
| `captures/date=D/conversation_id=C/{observed_at}.json` | different content of a conversation | it was seen |
| `events/date=D/conversation_id=C/{change_id}.json` | event and participant, through whichever door | it was handled |
| `links/date=D/conversation_id=C/{recording_id}.json` | recording with exported audio | its digest was taken |
| `claims/date=D/conversation_id=C/{n}-{content}.json` | capture | before the capture: it decides who writes it |

`observed_at` in a key is `20261103T023000.123456Z`. In documents, every time is UTC text without a zone,
`2026-11-03T02:30:00.123456`, or null. Each document is one line of JSON, without a line end. The
received bytes come last, under `conversation` or `body`, verbatim (or as `conversation_base64`, `body_base64`, where
the bytes are no JSON or hold a newline), so that anyone can cut the exact bytes out and hash them.

**Capture** (`"kind": "custody.capture/1"`): `conversation_id`, `conversation_start`, `observed_at` (the moment before
the request, so the content is at least as new; just after the capture before it, if that has the same time or one to
come), `conversation_sha256`, `conversation_bytes`, `conversation_state`
(`ok`, `wrong_shape`, or a state of `extract.documents`), `event` (`event_id`, `topic`, `participant_id`,
`recording_id`, `event_time`, `received_at`, `raw_sha256`: the event that led here), `participants` (a list of
`participant_id`, `purpose`, `attributes`: text to text or null), `custom_attributes_sha256` and
`custom_attributes_base64` (the answer of `/customattributes` as received; both null when not asked for or not offered),
`conversation`.

**Event** (`"kind": "custody.event/1"`): `event_id`, `change_id`, `topic`, `conversation_id`, `participant_id`,
`recording_id`, `event_time`, `received_at`, `attributes` (text to text or null; null if the event has none),
`event_state` (`ok`, `duplicate_key` if the body has a name twice, `too_deep` if that cannot be told, `wrong_shape` if
the participants of a notification cannot be read), `raw_sha256`, `body_bytes`, `outcome` (`captured`, or why the
conversation could not be read: `conversation_not_found`, `conversation_forbidden`, …), `body`.

**Link** (`"kind": "custody.link/1"`): `conversation_id`, `recording_id`, `linked_at`, `audio` (`bucket`, `key`,
`version_id`, `bytes`, `sha256`), `capture` (`uri`, `observed_at`, `conversation_sha256`, `document_sha256`: the newest
capture then, or null), `sidecar` (`uri`, `outcome`: `written`, `already_there`; null when sidecars are off).

The same content is captured once: a claim, created only if absent, decides the `observed_at` of a content. Any worker
with the same bytes can finish the document of a killed worker. Content that returns after other content is a change,
and is captured again. So is content whose claim or capture cannot be read any more: it is damaged, and counts as none.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson

from custody_pipeline.capture.envelopes import CustodyEvent, texts_of
from custody_pipeline.extract.documents import (
    BYTE_ORDER_MARK,
    Document,
    DocumentState,
    document,
    state_of_names,
    without_halves,
)
from custody_pipeline.extract.verbatim import with_verbatim_tags
from custody_pipeline.io.document_store import DocumentStore
from custody_pipeline.io.encrypted_files import EncryptedFileError
from custody_pipeline.io.night_keys import NightForgottenError, NightKeyError

logger = logging.getLogger(__name__)

_LONGEST_WAIT = timedelta(days=30)

CONVERSATION = re.compile(r"/conversation_id=([^/]+)/")
"""The conversation in a key. A file that somebody else put into the place may have none."""


@dataclass(frozen=True)
class Reading:
    """A conversation as the vendor answered it at one time.

    Attributes:
        observed_at: UTC, before the request.
        custom_attributes: bytes as received; None when not asked for or not offered.
    """

    conversation_id: str
    observed_at: datetime
    conversation: bytes
    custom_attributes: bytes | None

    @property
    def content_id(self) -> str:
        """Hex SHA-256 over both answers; an equal id means that the content was captured before."""
        digests = [hashlib.sha256(part).hexdigest() for part in (self.conversation, self.custom_attributes or b"")]
        return hashlib.sha256(".".join(digests).encode()).hexdigest()


@dataclass(frozen=True)
class Conversation:
    """The facts that capture needs of a conversation's document; `participants` are in the form of the capture."""

    start: datetime | None
    participants: list[dict[str, Any]]
    state: str


def conversation_facts(conversation_id: str, received: Document) -> Conversation:
    """Start and tags of a conversation; an unexpected document has a state and no facts."""
    if received.state != "ok":
        return Conversation(None, [], received.state.value)
    content = received.content.removeprefix(BYTE_ORDER_MARK)
    if (state := state_of_names(content)) is not DocumentState.OK:
        return Conversation(None, [], state.value)
    parsed = orjson.loads(with_verbatim_tags(content))
    if not isinstance(parsed, dict) or str(parsed.get("id", conversation_id)).lower() != conversation_id:
        return Conversation(None, [], "wrong_shape")
    # A conversation always has participants: without them, that nobody set a tag is not known.
    if not isinstance(parsed.get("participants"), list):
        return Conversation(None, [], "wrong_shape")
    try:
        start = datetime.fromisoformat(parsed["startTime"])
        start = (start if start.tzinfo else start.replace(tzinfo=UTC)).astimezone(UTC)
        participants = [_participant(leg) for leg in parsed["participants"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return Conversation(None, [], "wrong_shape")
    return Conversation(start, participants, "ok")


def _participant(leg: dict[str, Any]) -> dict[str, Any]:
    attributes = leg.get("attributes")
    return {
        "participant_id": leg.get("id"),
        "purpose": leg.get("purpose"),
        "attributes": {} if attributes is None else texts_of(attributes),
    }


def write_capture(
    store: DocumentStore, reading: Reading, facts: Conversation, event: CustodyEvent, received_at: datetime
) -> str | None:
    """Keep `reading` unless the conversation's newest capture has the same content.

    Returns:
        The key of the capture that this call made, or None when the content was known.
    """
    folder = _folder(facts.start, event, received_at)
    number, newest = _newest_claims(store, folder)
    if known := _settled(store, newest.get(reading.content_id)):
        key = _capture_key(folder, known)
        if readable(store, key) is not None:
            return None
        if store.create(key, _capture_document(reading, facts, known)):
            return key
        if readable(store, key) is not None:  # another worker's
            return None
    observed_at = _in_order(store, reading.observed_at, newest.values())
    claim = {"observed_at": _text(observed_at), "event": _event_fields(event, received_at)}
    claim_key = f"claims/{folder}/{number + 1:06}-{reading.content_id}.json"
    store.create(claim_key, orjson.dumps(claim))
    settled = _settled(store, claim_key) or claim
    key = _capture_key(folder, settled)
    return key if store.create(key, _capture_document(reading, facts, settled)) else None


def _in_order(store: DocumentStore, observed_at: datetime, earlier: Iterable[str]) -> datetime:
    """The time of a reading; just after the claims `earlier`, if one of them has the same time or a time to come."""
    now = datetime.now(UTC)
    for claim in filter(None, (_settled(store, key) for key in earlier)):
        before = datetime.fromisoformat(claim["observed_at"]).replace(tzinfo=UTC)
        if before > max(now, observed_at):
            logger.warning("A capture has the time %s UTC, which has not come: a clock is wrong.", claim["observed_at"])
        if before == observed_at or before > max(now, observed_at):
            observed_at = before + timedelta(microseconds=1)
    return observed_at


def write_event(
    store: DocumentStore,
    event: CustodyEvent,
    raw: bytes,
    *,
    received_at: datetime,
    start: datetime | None,
    outcome: str,
) -> None:
    """Keep `event` as received, unless the same event is already there."""
    folder = _folder(start, event, received_at)
    for one in event.by_participant():
        fields = {
            "kind": "custody.event/1",
            "change_id": one.change_id,
            "conversation_id": one.conversation_id,
            **_event_fields(one, received_at),
            "attributes": one.attributes,
            "event_state": one.state,
            "body_bytes": len(raw),
            "outcome": outcome,
        }
        store.create(f"events/{folder}/{one.change_id}.json", _spliced(fields, "body", document(raw)))


def captures_of(store: DocumentStore, day: date, conversation_id: str | None = None) -> Iterator[str]:
    """Keys of a day's capture documents, or of one conversation's, oldest first within a conversation."""
    folder = f"conversation_id={conversation_id}/" if conversation_id else ""
    return store.keys(f"captures/date={day:%Y-%m-%d}/{folder}")


_OF_A_PERSON = ("ani", "dnis", "address", "userId", "externalContactId")


def captured_addresses(store: DocumentStore, day: date, conversation_ids: Iterable[str]) -> dict[str, set[str]]:
    """Conversation → numbers, addresses and ids of its participants, as written in its captures."""
    found: dict[str, set[str]] = {}
    for name in conversation_ids:
        for key in captures_of(store, day, name):
            _, capture = readable(store, key) or (b"", {})
            legs = _legs(capture)
            written = {str(leg[field]) for leg in legs for field in _OF_A_PERSON if leg.get(field)}
            found[name] = found.get(name, set()) | written
    return found


def _legs(capture: dict[str, Any]) -> list[dict[str, Any]]:
    """The participants in a capture's conversation; none if it cannot be read."""
    conversation = capture.get("conversation")
    with suppress(KeyError, ValueError, TypeError):
        received = base64.b64decode(capture["conversation_base64"])
        conversation = orjson.loads(without_halves(received.removeprefix(BYTE_ORDER_MARK)))
    legs = conversation.get("participants") if isinstance(conversation, dict) else None
    return [leg for leg in legs if isinstance(leg, dict)] if isinstance(legs, list) else []


def events_of(store: DocumentStore, day: date) -> Iterator[str]:
    """Keys of a day's event documents."""
    return store.keys(f"events/date={day:%Y-%m-%d}/")


def link_key(day: date, conversation_id: str, recording_id: str) -> str:
    """The key of a recording's link document."""
    return f"links/date={day:%Y-%m-%d}/conversation_id={conversation_id}/{recording_id}.json"


def _folder(start: datetime | None, event: CustodyEvent, received_at: datetime) -> str:
    # A sender's wrong clock must not name a day that no night asks for. No event comes before what it tells, and no
    # queue keeps one for a month.
    happened = event.event_time or received_at
    moment = start or (happened if timedelta() <= received_at - happened <= _LONGEST_WAIT else received_at)
    return f"date={moment.astimezone(UTC).date()}/conversation_id={event.conversation_id}"


def _capture_key(folder: str, settled: dict[str, Any]) -> str:
    return f"captures/{folder}/{datetime.fromisoformat(settled['observed_at']):%Y%m%dT%H%M%S.%fZ}.json"


def _settled(store: DocumentStore, claim_key: str | None) -> dict[str, Any] | None:
    """What a claim decided; None if there is none. A claim that is not as it was written counts as none."""
    _, claim = (claim_key and readable(store, claim_key)) or (b"", {})
    with suppress(KeyError, TypeError, ValueError):
        if isinstance(claim["event"], dict):
            datetime.fromisoformat(claim["observed_at"])
            return claim
    return None


def readable(store: DocumentStore, key: str) -> tuple[bytes, dict[str, Any]] | None:
    """The document at `key`, as bytes and parsed; None if there is none, or it cannot be read, which is logged."""
    try:
        content = store.read(key)
        document = None if content is None else orjson.loads(content)
    except (ValueError, EncryptedFileError, NightKeyError) as error:
        if isinstance(error, NightForgottenError):
            raise
        logger.warning("%s cannot be read and counts as none: %s", store.uri(key), error)
        return None
    return (content, document) if content is not None and isinstance(document, dict) else None


def _newest_claims(store: DocumentStore, folder: str) -> tuple[int, dict[str, str]]:
    """The highest claim number, and the claims that have it (several, if workers met) by content id."""
    number, newest = 0, dict[str, str]()
    for key in store.keys(f"claims/{folder}/"):
        count, _, content_id = key.rpartition("/")[2].removesuffix(".json").partition("-")
        if not count.isdecimal():
            continue  # not a claim's name
        if int(count) > number:
            number, newest = int(count), {}
        if int(count) == number:
            newest[content_id] = key
    return number, newest


def _capture_document(reading: Reading, facts: Conversation, settled: dict[str, Any]) -> bytes:
    received = document(reading.conversation)
    custom = reading.custom_attributes
    fields = {
        "kind": "custody.capture/1",
        "conversation_id": reading.conversation_id,
        "conversation_start": _text(facts.start),
        "observed_at": settled["observed_at"],
        "conversation_sha256": received.sha256,
        "conversation_bytes": len(received.content),
        "conversation_state": facts.state,
        "event": settled["event"],
        "participants": facts.participants,
        "custom_attributes_sha256": None if custom is None else hashlib.sha256(custom).hexdigest(),
        "custom_attributes_base64": None if custom is None else base64.b64encode(custom).decode(),
    }
    return _spliced(fields, "conversation", received)


def _event_fields(event: CustodyEvent, received_at: datetime) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "topic": event.topic,
        "participant_id": event.participant_id,
        "recording_id": event.recording_id,
        "event_time": _text(event.event_time),
        "received_at": _text(received_at),
        "raw_sha256": event.raw_sha256,
    }


def _spliced(fields: dict[str, Any], name: str, received: Document) -> bytes:
    """One line of JSON whose last member is the received bytes, untouched where JSON allows."""
    head = orjson.dumps(fields)[:-1]
    if received.one_line:
        return head + b',"' + name.encode() + b'":' + received.content + b"}"
    return head + b',"' + name.encode() + b'_base64":"' + base64.b64encode(received.content) + b'"}'


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
