"""What really happened in one organisation on one night, from a seed.

Belongs here: conversations, legs, tags, recordings and their fates. Does not: how any source shows them.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

NIGHT = date(2025, 3, 4)
"""The night that is run: long past, so that no lag of the platform is left, whatever the machine's date."""

REQUIRED = ("Legal-Hold", "Consent.Recorded")
"""Tags that the oracle's mapping requires of every recording."""

Kind = Literal["audio", "screen", "chat", "email", "message"]
Readable = Literal["yes", "forbidden", "expired"]
Fate = Literal["exported", "pending", "failed", "lost", "deleted", "erased", "archived", "orphan", "sensitive"]

REFUSALS: tuple[Readable, ...] = ("forbidden", "expired")

EXTENSIONS: dict[Kind, tuple[str, ...]] = {
    "audio": (".opus", ".opus", ".wav"),
    "screen": (".webm",),
    "chat": (".zip",),
    "email": (".eml",),
    "message": (".zip",),
}

VALUES = (
    "true", "false", "yes", "no", "007", "1.10", "1E2", "+15551234567", "null", "{}", "[]",
    "\u00e9t\u00e9", "\U0001f4de call",
    "a,b", 'say "hi"', "two\nlines", "cr\rlf\r\n", "=1+1", "@sum", "\ttab", " padded ", "2026-11-02T09:00:00Z",
    "123456789012345678901234567890", "NaN", "\\ud83d", "<b>x</b>",
    "'; drop table x; --", "None", "-0", "0x10", "\u200b",
)  # fmt: skip
KEYS = (
    "Matter-Number", "matter_number", "MatterNumber", "Disposition", "a.b.c", "with space", 'quo"te', "line\nbreak",
    "recording_id",
    "custody_status", "\u043a\u043b\u044e\u0447", "__proto__", "$ref", "x" * 200, "legal_hold", "LEGAL-HOLD", "empty",
)  # fmt: skip


@dataclass(frozen=True)
class Tag:
    """A tag that somebody set on a leg; `late`: after the conversation's end."""

    key: str
    value: str
    late: bool = False


@dataclass(frozen=True)
class Leg:
    """A participant with one session."""

    participant_id: str
    purpose: str
    session_id: str
    media_type: str
    peer_id: str | None = None
    user_id: str | None = None
    queue_id: str | None = None
    script_id: str | None = None
    flow_id: str | None = None
    tags: tuple[Tag, ...] = ()
    audio_recorded: bool = False
    screen_recorded: bool = False


@dataclass(frozen=True)
class Recording:
    """A recording that was made, and what became of it."""

    id: str
    kind: Kind
    session_id: str
    start: datetime
    end: datetime
    fate: Fate
    extension: str
    subtype: str | None = None
    sidecar: bool = True
    content: bytes = b"media"


@dataclass(frozen=True)
class Conversation:
    """One interaction; `readable` is what the conversations interface answers for it."""

    id: str
    start: datetime
    end: datetime
    direction: str
    legs: tuple[Leg, ...]
    recordings: tuple[Recording, ...]
    readable: Readable = "yes"

    @property
    def of_the_night(self) -> bool:
        """The conversation started on the night's UTC day; others were only active in it."""
        return self.start.date() == NIGHT


@dataclass(frozen=True)
class World:
    """An organisation's night, and how its deployment is configured."""

    seed: int
    organization_id: str
    conversations: tuple[Conversation, ...]
    api: bool
    manifest_source: Literal["bucket", "recording_jobs"]
    single_reads: Literal["needed", "all"]
    padded: bool
    page_size: int
    queues: tuple[str, ...] = field(default=())
    scripts: tuple[str, ...] = field(default=())
    calm: bool = False
    """Everything was recorded, exported and tagged as it should be."""

    def without(self, conversation_id: str) -> World:
        """The same night without one conversation."""
        return replace(self, conversations=tuple(c for c in self.conversations if c.id != conversation_id))


class _Maker:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def chance(self, share: float) -> bool:
        return self.rng.random() < share


def make_world(seed: int) -> World:
    """The truth of seed `seed`: 2 to 8 conversations of all media, a few of them troubled."""
    make = _Maker(seed)
    rng = make.rng
    calm = make.chance(0.15)
    api = calm or make.chance(0.9)
    queues, scripts = (make.id(), make.id()), (make.id(),)
    return World(
        seed=seed,
        organization_id=make.id(),
        conversations=tuple(_conversation(make, queues, scripts, calm) for _ in range(rng.randint(2, 8))),
        api=api,
        manifest_source="recording_jobs" if api and make.chance(0.5) else "bucket",
        single_reads="all" if make.chance(0.3) else "needed",
        padded=make.chance(0.5),
        page_size=rng.choice((1, 2, 3, 50)),
        queues=queues,
        scripts=scripts,
        calm=calm,
    )


def _conversation(make: _Maker, queues: tuple[str, ...], scripts: tuple[str, ...], calm_night: bool) -> Conversation:
    rng = make.rng
    medium = rng.choice(("voice", "voice", "voice", "voice", "callback", "chat", "email", "message"))
    midnight = datetime(NIGHT.year, NIGHT.month, NIGHT.day, tzinfo=UTC)
    start = midnight + timedelta(milliseconds=rng.randrange(86_400_000))
    if make.chance(0.05):
        start = midnight + timedelta(milliseconds=rng.choice((0, 1, 86_399_999)))
    end = start + timedelta(seconds=rng.randint(5, 7200))
    if make.chance(0.06):
        start, end = midnight - timedelta(minutes=rng.randint(1, 300)), midnight + timedelta(minutes=rng.randint(0, 60))
    conversation_id = make.id()
    calm = calm_night or make.chance(0.5)
    agreed = rng.choice(("true", "yes"))
    session_type = "voice" if medium == "callback" else medium
    customer_session = make.id()
    spoken = session_type == "voice"
    legs = [
        Leg(
            make.id(), "customer", customer_session, session_type,
            tags=_tags(make, calm, agreed, required=True), audio_recorded=spoken,
        )
    ]  # fmt: skip
    if spoken and make.chance(0.4):
        legs.append(
            Leg(make.id(), "ivr", make.id(), session_type, peer_id=customer_session, flow_id=make.id(),
                tags=_tags(make, calm, agreed, required=False))
        )  # fmt: skip
    agents = rng.choice((1, 1, 1, 2, 3))
    screens = []
    for number in range(agents):
        screen = make.chance(0.2)
        leg = Leg(
            make.id(), "agent", make.id(), session_type, peer_id=customer_session, user_id=make.id(),
            queue_id=rng.choice(queues), script_id=rng.choice(scripts) if make.chance(0.3) else None,
            tags=_tags(make, calm, agreed, required=number == 0), screen_recorded=screen,
            audio_recorded=spoken and number > 0 and make.chance(0.3),
        )  # fmt: skip
        legs.append(leg)
        if screen:
            screens.append(leg)
    recordings = []
    if spoken:
        recordings += [
            _recording(make, "audio", leg, start, end, "Trunk" if leg.purpose == "customer" else "Consult", calm_night)
            for leg in legs
            if leg.audio_recorded
        ]
    elif make.chance(0.8):
        kinds: dict[str, Kind] = {"chat": "chat", "email": "email", "message": "message"}
        recordings.append(_recording(make, kinds[medium], legs[0], start, end, None, calm_night))
    recordings += [_recording(make, "screen", leg, start, end, "Screen", calm_night) for leg in screens]
    readable: Readable = rng.choice(REFUSALS) if not calm_night and make.chance(0.06) else "yes"
    return Conversation(
        conversation_id, start, end, rng.choice(("inbound", "outbound")), tuple(legs), tuple(recordings), readable
    )


def _recording(
    make: _Maker, kind: Kind, leg: Leg, start: datetime, end: datetime, subtype: str | None, calm: bool
) -> Recording:  # fmt: skip
    fates: tuple[Fate, ...] = ("pending", "failed", "lost", "deleted", "erased", "archived", "orphan", "sensitive")
    fate: Fate = "exported" if calm or make.chance(0.8) else make.rng.choice(fates)
    return Recording(
        id=make.id(),
        kind=kind,
        session_id=leg.session_id,
        start=start + timedelta(seconds=1),
        end=end,
        fate=fate,
        extension=make.rng.choice(EXTENSIONS[kind]),
        subtype=subtype,
        sidecar=calm or make.chance(0.93),
        content=make.rng.randbytes(make.rng.randint(1, 64)),
    )


def _tags(make: _Maker, calm: bool, agreed: str, *, required: bool) -> tuple[Tag, ...]:
    rng = make.rng
    tags: dict[str, Tag] = {}
    if required and (calm or make.chance(0.85)):
        tags = {key: Tag(key, agreed) for key in REQUIRED}
    if calm:
        return tuple(tags.values())
    for key in REQUIRED:
        if key in tags and make.chance(0.1):
            tags[key] = Tag(key, rng.choice(("", " ", *VALUES)))
    for key in rng.sample(KEYS, rng.randint(0, 4)):
        tags[key] = Tag(key, rng.choice(VALUES) if make.chance(0.9) else "", late=make.chance(0.15))
    if make.chance(0.1):
        tags["Summary"] = Tag("Summary", _long(rng))
    if make.chance(0.05):
        tags = {f"context.{key}": replace(tag, key=f"context.{key}") for key, tag in tags.items()}
    return tuple(tags.values())


def _long(rng: random.Random) -> str:
    """A text about the bulk job's limit of 1,024 UTF-16 units; an emoji may lie across it."""
    return "s" * rng.choice((1022, 1023, 1024, 1025, 2000)) + rng.choice(("", "x", "\U0001f600", "\U0001f600 end"))
