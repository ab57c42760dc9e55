"""One night of a Genesys Cloud organisation, drawn from (seed, night, size): calls, recordings, tags, planted faults.

Conversations are built one at a time from their index, and an id gives back its index, so a night of 200,000 needs no
more memory than one of 400. Start times grow with the index.

Belongs here: what is true in the organisation at a moment. Does not: how the vendor writes it (`documents`), how it is
exported (`exporter`) or served (`server`).
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import orjson

from custody_pipeline.simulator import faults
from custody_pipeline.simulator.faults import FaultPlan, Planting
from custody_pipeline.simulator.identity import ConversationIds, Draws, fraction, number, uuid_for

ORGANIZATION_ID = "0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f"
ORGANIZATION_NAME = "Custody Demo"
INTEGRATION_ID = "a3510000-0000-4000-8000-000000000001"
FLOW_ID = "f10e0000-0000-4000-8000-000000000001"
FLOW_NAME = "Main IVR"
FLOW_VERSION = "12.0"
SCRIPT_INTAKE = "5c1e0000-0000-4000-8000-000000000001"
SCRIPT_CLAIMS = "5c1e0000-0000-4000-8000-000000000002"
SCRIPT_WITHDRAWN = "5c1e0000-0000-4000-8000-000000000009"
DEFAULT_NIGHT = date(2026, 11, 2)
DEFAULT_SIZE = 400
REGION = "us-east-1"
OTHER_REGION = "eu-central-1"
TRUNCATION = 1024
SEEN_AFTER_END = timedelta(minutes=10)


@dataclass(frozen=True)
class Queue:
    """A routing queue and the division it belongs to."""

    id: str
    name: str
    division_id: str


@dataclass(frozen=True)
class Division:
    """An authorization division."""

    id: str
    name: str
    home: bool = False


@dataclass(frozen=True)
class PublishedScript:
    """A published script as the API shows it: one version, the newest."""

    id: str
    name: str
    version_id: str
    days_before_night: int


HOME_DIVISION = Division("d1710000-0000-4000-8000-000000000001", "Home", home=True)
LITIGATION_DIVISION = Division("d1710000-0000-4000-8000-000000000002", "Litigation")
# Not visible to the demo's client: absent from its list of divisions.
RESTRICTED_DIVISION = Division("d1710000-0000-4000-8000-000000000003", "Restricted")
DIVISIONS = (HOME_DIVISION, LITIGATION_DIVISION)

QUEUES = (
    Queue("9e0e0000-0000-4000-8000-000000000001", "Intake", HOME_DIVISION.id),
    Queue("9e0e0000-0000-4000-8000-000000000002", "Litigation", LITIGATION_DIVISION.id),
    Queue("9e0e0000-0000-4000-8000-000000000003", "Claims", HOME_DIVISION.id),
    Queue("9e0e0000-0000-4000-8000-000000000004", "Service", HOME_DIVISION.id),
)
_INTAKE, _LITIGATION, _CLAIMS, _SERVICE = QUEUES
_MATTER_QUEUES = frozenset({_LITIGATION.name, _CLAIMS.name})

# The claims script was never republished after its first version, and only a faulty call still uses it.
PUBLISHED_SCRIPTS = (
    PublishedScript(SCRIPT_INTAKE, "Intake", "3", days_before_night=30),
    PublishedScript(SCRIPT_CLAIMS, "Claims", "1", days_before_night=400),
)

# Calls an hour, relative, UTC.
_TRAFFIC = (1, 1, 1, 1, 1, 2, 4, 8, 12, 14, 13, 11, 10, 12, 13, 12, 10, 8, 6, 4, 3, 2, 2, 1)
_TRAFFIC_ENDS = tuple(itertools.accumulate(_TRAFFIC))
_LONGEST_CALL = timedelta(hours=2)

_AGENTS = tuple((uuid_for("agent", place), name) for place, name in enumerate((
    "Ada Okafor", "Bruno Keller", "Chiara Rossi", "Dmitri Volkov", "Élodie Martin", "Farid Haddad",
    "Grace Kim", "Hana Suzuki", "Iván García", "Jörg Müller", "Kemi Adeyemi", "Liam O'Brien",
)))  # fmt: skip
_LANGUAGES = ("en-US", "de-DE", "fr-FR", "es-MX", "日本語")
_DISPOSITIONS = ("Resolved", "Escalated", "Callback", "Voicemail left", "No contact", "Transfer: 2nd line 🙂", "")
_WRAP_UPS = ("Default Wrap-up Code", "Sale", "Complaint", "Follow-up")
# Texts that a careless reader changes: leading zeros, formulas, JSON words, quotes, line ends.
_AWKWARD = ("007", "1.10", "null", "true", "=SUM(1;2)", '"quoted", with, commas', "line one\nline two", "-1", "@home")
_SENTENCES = (
    "Caller asks about the state of the claim.",
    "Identity confirmed with two questions.",
    "Documents were sent by post on the third.",
    "Der Anrufer wünscht einen Rückruf.",
    "Le dossier est complet, rien à ajouter.",
    "Agreed to call back within two working days.",
    "Refers to the accident report; photos follow by mail.",
)

# kind of call → number of recordings.
_RECORDINGS = {"simple": 1, "transfer": 2, "consult": 2, "screen": 2, "transfer+screen": 3}
_NOT_SELECTABLE = frozenset({"RECORDING_ARCHIVED", "RECORDING_DELETED"})

# Faults that are gone two days after the night.
_PASSING = frozenset({"EXPORT_PENDING", "CONVERSATION_FETCH_FAILED"})
_PASSES_AFTER = timedelta(days=2)

_KEY_VARIANTS = ("LegalHold", "legal_hold", "LEGAL HOLD")
_UNMAPPED = (
    ("Survey Opt-In", "yes"),
    ("legal_hold", "false"),
    ("custom_data_legal_hold", "true"),
    ("promo 🎁", "ÄÖÜ 🙂"),
    ('he said "a.b"\nthen', "x"),
    ("deep", '{"a":{"b":[1,{"c":"007"}]}}'),
)


@dataclass(frozen=True, slots=True)
class Session:
    """One leg of a participant."""

    id: str
    peer_id: str | None
    media_type: str
    start: datetime
    end: datetime
    recording: bool = False
    script_id: str | None = None
    in_flow: bool = False


@dataclass(slots=True)
class Participant:
    """Someone or something on the call; `bulk_attributes` is what the bulk details job knows of its tags."""

    id: str
    purpose: str
    name: str
    start: datetime
    end: datetime
    sessions: list[Session]
    user_id: str | None = None
    queue: Queue | None = None
    wrap_up: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    bulk_attributes: dict[str, str] = field(default_factory=dict)
    vanished_attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Recording:
    """One recording, as the recording service knows it; `faults` (fault → form) are those of this very recording."""

    id: str
    number: int
    session_id: str | None
    user_ids: tuple[str, ...]
    media: str
    subtype: str
    start: datetime
    end: datetime
    extension: str
    region: str
    faults: Mapping[str, int] = field(default_factory=dict)
    file_state: str = "AVAILABLE"
    archive_date: datetime | None = None
    delete_date: datetime | None = None
    export_date: datetime | None = None
    exported_date: datetime | None = None
    in_metadata: bool = True

    @property
    def has_object(self) -> bool:
        """True when the exporter puts a media object that is there in the end."""
        return self.exported_date is not None and not self.faults.keys() & faults.WITHOUT_OBJECT


@dataclass(slots=True)
class Conversation:
    """One call with its participants and recordings, as they stand at the organisation's `now`.

    `faults` (fault → form) has the planted one first.
    """

    id: str
    index: int
    start: datetime
    end: datetime
    kind: str
    queue: Queue
    division: Division
    ani: str
    dnis: str
    edge_id: str
    faults: Mapping[str, int]
    participants: list[Participant]
    recordings: list[Recording]
    orphan_recording_id: str = ""
    unrecorded_session_id: str = ""
    typed_attributes: dict[str, str] = field(default_factory=dict)
    vanishing: bool = False

    @property
    def fault(self) -> str | None:
        """The fault that was planted here; None for a healthy one."""
        return next(iter(self.faults), None)

    @property
    def form(self) -> int:
        """Its form; 0 for a healthy one."""
        return next(iter(self.faults.values()), 0)

    @property
    def agents(self) -> list[Participant]:
        """The agents, in the order in which they joined."""
        return [participant for participant in self.participants if participant.purpose == "agent"]

    def participant(self, purpose: str) -> Participant:
        """The first participant of this purpose."""
        return next(item for item in self.participants if item.purpose == purpose)


@dataclass(frozen=True)
class ExportJob:
    """A bulk export of recordings; `on_request` for one that a client of the API created."""

    id: str
    interval_start: datetime
    interval_end: datetime
    requested_at: datetime
    include_sensitive: bool = False
    include_screen: bool = True
    include_policy_based: bool = True
    integration_id: str = INTEGRATION_ID
    on_request: bool = False

    def selects(self, start: datetime, end: datetime) -> bool:
        """True for a conversation active in the job's interval."""
        return start < self.interval_end and end >= self.interval_start


@dataclass(frozen=True)
class JobTotals:
    """What a bulk job reports of itself."""

    conversations: int = 0
    recordings: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def processed(self) -> int:
        """Recordings neither skipped nor failed."""
        return self.recordings - self.skipped - self.failed


def _ms(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass(frozen=True)
class Organization:
    """A night of the organisation.

    Attributes:
        seed: decides every id, time, tag and fault.
        night: the UTC day on which the conversations start.
        size: number of conversations; there are about 1.5 recordings to each.
        now: the organisation's clock (aware); by default 02:30 UTC on the next day, when a few of the night's last
            conversations are not yet available.
        faults: what goes wrong.
        region: AWS region of the organisation and its recordings.
        exported: False for a night without export jobs of its own.
        requested_jobs: FULFILLED jobs that a client of the API created.
    """

    seed: int = 7
    night: date = DEFAULT_NIGHT
    size: int = DEFAULT_SIZE
    now: datetime | None = None
    faults: FaultPlan = field(default_factory=FaultPlan.every)
    region: str = REGION
    exported: bool = True
    requested_jobs: tuple[ExportJob, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a night has at least one conversation, not {self.size}")
        if self.now is not None and self.now.tzinfo is None:
            raise ValueError("now must be aware, for example datetime(2026, 11, 3, 2, 30, tzinfo=UTC)")

    def at(self, now: datetime) -> Organization:
        """The same organisation at another moment."""
        return replace(self, now=now)

    # Time

    @cached_property
    def opening(self) -> datetime:
        """Midnight, when the night's UTC day begins."""
        return datetime(self.night.year, self.night.month, self.night.day, tzinfo=UTC)

    @cached_property
    def clock(self) -> datetime:
        """The moment at which the organisation is looked at."""
        return self.now if self.now is not None else self._collection_time

    @cached_property
    def _collection_time(self) -> datetime:
        return self.opening + timedelta(days=1, hours=2, minutes=30)

    @cached_property
    def analytics_lag(self) -> timedelta:
        """How far the bulk details job is behind the clock."""
        tail = self.planting.tail
        ready = self.start_of(self.size - tail) if 0 < tail < self.size else self.opening + timedelta(days=1)
        return self._collection_time - ready

    @cached_property
    def watermark(self) -> datetime:
        """`dataAvailabilityDate`: conversations that start before it are in the bulk details job."""
        return self.clock - self.analytics_lag

    def start_of(self, index: int) -> datetime:
        """When conversation `index` starts, to the millisecond; grows with the index."""
        place = (index + fraction("start", self.seed, self.night, index)) / self.size * _TRAFFIC_ENDS[-1]
        hour = bisect.bisect_right(_TRAFFIC_ENDS, place)
        before = _TRAFFIC_ENDS[hour - 1] if hour else 0
        seconds = hour * 3600 + (place - before) / _TRAFFIC[hour] * 3600
        return self.opening + timedelta(milliseconds=int(seconds * 1000))

    # Ids

    @cached_property
    def _ids(self) -> ConversationIds:
        return _conversation_ids(self.seed)

    @cached_property
    def planting(self) -> Planting:
        """Where the faults lie."""
        return Planting(self.faults, self.size, number("night", self.seed, self.night))

    def conversation_id(self, index: int) -> str:
        """The id of conversation `index`."""
        return self._ids.encode(self.night, index)

    def index_of(self, conversation_id: str) -> int | None:
        """The index of a conversation of this night; None for any other id."""
        found = self._ids.decode(conversation_id)
        if found is None or found[0] != self.night or found[1] >= self.size:
            return None
        return found[1]

    @cached_property
    def vanishing_index(self) -> int | None:
        """The conversation whose required tag is seen for ten minutes after its end, and never again."""
        places = self.planting.indexes(["REQUIRED_TAG_MISSING"])
        return next((index for index in places if self.planting.of(index)[1] == 0), None)

    @cached_property
    def vanishing_conversation_id(self) -> str | None:
        """Its id."""
        return None if self.vanishing_index is None else self.conversation_id(self.vanishing_index)

    # Conversations

    def conversations(self, first: int = 0, end: int | None = None) -> Iterator[Conversation]:
        """Conversations `first` to `end` (excluded), in order of start, one at a time."""
        return map(self.conversation, range(first, self.size if end is None else min(end, self.size)))

    def active_between(self, start: datetime, end: datetime) -> range:
        """Indexes that hold every conversation active in [start, end); the first few may have ended before."""
        return range(self._first_from(start - _LONGEST_CALL), self._first_from(end))

    def _first_from(self, moment: datetime) -> int:
        return bisect.bisect_left(range(self.size), moment, key=self.start_of)

    def conversation(self, index: int) -> Conversation:
        """Build conversation `index`.

        Raises:
            IndexError: the night has no such conversation.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"conversation {index} of {self.size}")
        return _Builder(self, index).build()

    def find(self, conversation_id: str) -> Conversation | None:
        """The conversation of this id; None if it is not of this night."""
        index = self.index_of(conversation_id)
        return None if index is None else self.conversation(index)

    # Exports

    @cached_property
    def export_jobs(self) -> tuple[ExportJob, ...]:
        """The export jobs that were requested until now: the night's own two, overlapping by two hours, and others."""
        requested = self.opening + timedelta(days=1, minutes=15)
        halves = ((timedelta(0), timedelta(hours=13)), (timedelta(hours=11), timedelta(days=1)))
        own = (
            ExportJob(
                uuid_for("export-job", self.seed, self.night, place),
                self.opening + first,
                self.opening + last,
                requested + timedelta(minutes=5 * place),
            )
            for place, (first, last) in enumerate(halves)
            if self.exported
        )
        return tuple(job for job in own if job.requested_at <= self.clock) + self.requested_jobs

    def totals(self, job: ExportJob) -> JobTotals:
        """What the job reports once it is FULFILLED."""
        conversations = recordings = skipped = failed = 0
        for index in self.active_between(job.interval_start, job.interval_end):
            outline = _Builder(self, index)
            if not job.selects(outline.start, outline.end):
                continue
            selectable = _RECORDINGS[outline.kind] - bool(outline.faults.keys() & _NOT_SELECTABLE)
            conversations += selectable > 0
            recordings += selectable
            skipped += "EXPORT_EXCLUDED_SENSITIVE" in outline.faults
            failed += "EXPORT_FAILED" in outline.faults
        return JobTotals(conversations, recordings, skipped, failed)

    def failed_recordings(self, job: ExportJob) -> list[tuple[str, str]]:
        """(conversation id, recording id) of what the job fails to export."""
        candidates = map(self.conversation, self.planting.indexes(["EXPORT_FAILED"]))
        return [(item.id, item.recordings[0].id) for item in candidates if job.selects(item.start, item.end)]


def refusal_of(conversation: Conversation) -> str | None:
    """`not_found`, `forbidden`, `trouble`, or None where a single read of the conversation succeeds."""
    if conversation.faults.keys() & {"CONVERSATION_NOT_FOUND", "NOT_YET_AVAILABLE"}:
        return "not_found"
    if "CONVERSATION_FORBIDDEN" in conversation.faults:
        return "forbidden"
    if "CONVERSATION_FETCH_FAILED" in conversation.faults:
        return "trouble"
    if "TAG_TRUNCATED" in conversation.faults:
        return ("not_found", "forbidden", "trouble")[conversation.faults["TAG_TRUNCATED"]]
    return None


@functools.cache
def _conversation_ids(seed: int) -> ConversationIds:
    return ConversationIds(seed)


class _Builder:
    """Builds one conversation; everything is drawn from the organisation's seed and the index."""

    def __init__(self, organization: Organization, index: int):
        self.organization = organization
        self.index = index
        self.draws = Draws(number("conversation", organization.seed, organization.night, index))
        self.start = organization.start_of(index)
        planted = organization.planting.all_of(index)
        self.faults = {fault: form for fault, form in planted.items() if not self._healed(fault)}
        self.exported_late = "EXPORT_PENDING" in planted.keys() - self.faults.keys()
        self.kind = self._kind(self.draws.between(0, 99))
        self.queue = self._queue(self.draws.between(0, 99))
        self.end = self.start + timedelta(milliseconds=self._duration_ms())
        self._issued = 0

    def build(self) -> Conversation:
        draws = self.draws
        self.answered = self.start + timedelta(seconds=draws.between(20, 40))
        self.handover = _ms(self.start + (self.end - self.start) * 0.55)
        division = next(item for item in DIVISIONS if item.id == self.queue.division_id)
        conversation = Conversation(
            id=self.organization.conversation_id(self.index),
            index=self.index,
            start=self.start,
            end=self.end,
            kind=self.kind,
            queue=self.queue,
            division=RESTRICTED_DIVISION if "CONVERSATION_FORBIDDEN" in self.faults else division,
            ani=f"+1555{draws.between(2000000, 9999999)}",
            dnis="+15550100",
            edge_id=uuid_for("edge", draws.between(1, 3)),
            faults=self.faults,
            participants=self._participants(),
            recordings=[],
            vanishing="REQUIRED_TAG_MISSING" in self.faults and self.index == self.organization.vanishing_index,
        )
        self._add_recordings(conversation)
        self._add_tags(conversation)
        return conversation

    def _healed(self, fault: str) -> bool:
        if fault == "NOT_YET_AVAILABLE":
            return self.start < self.organization.watermark
        if fault == "EXPORT_EXCLUDED_SENSITIVE":
            return any(job.include_sensitive for job in self.organization.export_jobs)
        return fault in _PASSING and self.organization.clock >= self.organization.opening + _PASSES_AFTER

    def _kind(self, roll: int) -> str:
        if "TAG_CONFLICT" in self.faults:
            return "transfer"
        if "RECORDING_ARCHIVED" in self.faults:
            return "simple"
        for below, kind in ((60, "simple"), (78, "transfer"), (86, "consult"), (94, "screen")):
            if roll < below:
                return kind
        return "transfer+screen"

    def _queue(self, roll: int) -> Queue:
        if self.faults.get("REQUIRED_TAG_MISSING") == 3:
            return _LITIGATION
        for below, queue in ((40, _INTAKE), (55, _LITIGATION), (80, _CLAIMS)):
            if roll < below:
                return queue
        return _SERVICE

    def _duration_ms(self) -> int:
        low, high = (1_500_000, 7_000_000) if self.draws.chance(0.01) else (90_000, 1_500_000)
        return self.draws.between(low, high)

    def _id(self, what: str) -> str:
        self._issued += 1
        return uuid_for(what, self.organization.seed, self.organization.night, self.index, self._issued)

    # Participants

    def _participants(self) -> list[Participant]:
        in_ivr = self.start + timedelta(seconds=12)
        transfer, consult, screen = "transfer" in self.kind, self.kind == "consult", "screen" in self.kind
        first_ends = self.handover if transfer else self.end
        customer_legs = [self._leg(self.start, first_ends, recording=True)]
        if transfer:
            customer_legs.append(self._leg(self.handover, self.end, recording=True))
        if "RECORDING_NOT_FOUND" in self.faults:
            customer_legs.append(self._leg(self.answered, self.end, recording=True))
        customer = Participant(self._id("p"), "customer", "Customer", self.start, self.end, customer_legs)
        ivr_leg = self._leg(self.start, in_ivr, peer=customer_legs[0], in_flow=True)
        ivr = Participant(self._id("p"), "ivr", FLOW_NAME, self.start, in_ivr, [ivr_leg])
        people = [customer, ivr, self._acd(in_ivr, self.answered, customer_legs[0])]
        people.append(self._agent(self.answered, first_ends, customer_legs[0], screen=screen))
        if transfer:
            people.append(self._acd(self.handover, self.handover, customer_legs[1]))
            people.append(self._agent(self.handover, self.end, customer_legs[1]))
        if consult:
            consult_ends = self.handover + (self.end - self.handover) / 2
            people.append(self._agent(self.handover, _ms(consult_ends), customer_legs[0], recording=True))
        return people

    def _leg(
        self,
        start: datetime,
        end: datetime,
        *,
        peer: Session | None = None,
        media_type: str = "voice",
        recording: bool = False,
        script_id: str | None = None,
        in_flow: bool = False,
    ) -> Session:
        peer_id = peer.id if peer else None
        return Session(self._id("s"), peer_id, media_type, start, end, recording, script_id, in_flow)

    def _acd(self, start: datetime, end: datetime, customer: Session) -> Participant:
        leg = self._leg(start, end, peer=customer)
        return Participant(self._id("p"), "acd", self.queue.name, start, end, [leg], queue=self.queue)

    def _agent(
        self, start: datetime, end: datetime, customer: Session, *, screen: bool = False, recording: bool = False
    ) -> Participant:
        user_id, name = _AGENTS[(self.index + self._issued) % len(_AGENTS)]
        legs = [self._leg(start, end, peer=customer, recording=recording, script_id=self._script())]
        if screen:
            legs.append(self._leg(start, end, media_type="screenshare", recording=True))
        wrap_up = self.draws.pick(_WRAP_UPS)
        return Participant(self._id("p"), "agent", name, start, end, legs, user_id, self.queue, wrap_up)

    def _script(self) -> str | None:
        if "SCRIPT_VERSION_UNKNOWN" in self.faults:
            return SCRIPT_WITHDRAWN
        if "SCRIPT_VERSION_INCOMPATIBLE" in self.faults:
            return SCRIPT_CLAIMS
        return None if self.draws.chance(0.15) else SCRIPT_INTAKE

    # Recordings

    def _add_recordings(self, conversation: Conversation) -> None:
        extension = "wav" if self.draws.chance(0.3) else "opus"
        recorded = [(person, leg) for person in conversation.participants for leg in person.sessions if leg.recording]
        if "RECORDING_NOT_FOUND" in self.faults:
            lost = conversation.participant("customer").sessions[-1]
            conversation.unrecorded_session_id = lost.id
            recorded = [(person, leg) for person, leg in recorded if leg is not lost]
        agents = tuple(agent.user_id or "" for agent in conversation.agents)
        for place, (person, leg) in enumerate(recorded):
            screen = leg.media_type == "screenshare"
            subtype = "Screen" if screen else "Consult" if person.purpose == "agent" else "Trunk"
            conversation.recordings.append(
                Recording(
                    id=self._id("recording"),
                    number=place,
                    session_id=leg.id,
                    user_ids=(person.user_id,) if person.user_id else agents[place : place + 1] or agents[:1],
                    media="screen" if screen else "audio",
                    subtype=subtype,
                    start=leg.start + timedelta(milliseconds=self.draws.between(100, 900)),
                    end=leg.end,
                    extension="webm" if screen else extension,
                    region=self.organization.region,
                )
            )
        if "ORPHAN_OBJECT" in self.faults:
            stray_id = self._id("recording")
            stray = replace(conversation.recordings[0], id=stray_id, number=len(recorded), in_metadata=False)
            conversation.recordings.append(stray)
        if "ORPHAN_RECORDING" in self.faults:
            conversation.orphan_recording_id = self._id("recording")
        self._stamp_exports(conversation.recordings)
        if self.exported_late:
            conversation.recordings[0].exported_date = self.organization.opening + _PASSES_AFTER
        if self.faults.keys() & faults.OF_ONE_RECORDING:
            self._spoil_recording(conversation.recordings[0])

    def _stamp_exports(self, recordings: list[Recording]) -> None:
        jobs = (job for job in self.organization.export_jobs if job.selects(self.start, self.end))
        job = next(jobs, None)
        # Drawn with or without a job, so that the same tags follow at every moment.
        delays = [timedelta(minutes=8, milliseconds=self.draws.between(0, 600_000)) for _ in recordings]
        if job is None:
            return
        for item, delay in zip(recordings, delays, strict=True):
            stamped = job.requested_at + delay
            item.export_date = job.requested_at
            item.exported_date = stamped if stamped <= self.organization.clock or job.on_request else None

    def _spoil_recording(self, item: Recording) -> None:
        item.faults = {fault: form for fault, form in self.faults.items() if fault in faults.OF_ONE_RECORDING}
        next_day = self.organization.opening + timedelta(days=1)
        never = {"EXPORT_FAILED", "EXPORT_EXCLUDED_SENSITIVE", "RECORDING_ARCHIVED", "RECORDING_DELETED"}
        if item.faults.keys() & never:
            item.export_date = item.exported_date = None
        if "EXPORT_PENDING" in item.faults:
            item.exported_date = None
        if "RECORDING_ARCHIVED" in item.faults:
            item.file_state, item.archive_date, item.session_id = "ARCHIVED", next_day, None
        if "RECORDING_DELETED" in item.faults:
            item.file_state, item.delete_date = "DELETED", next_day
        if "REGION_MISMATCH" in item.faults:
            item.region = OTHER_REGION if self.organization.region != OTHER_REGION else REGION

    # Tags

    def _add_tags(self, conversation: Conversation) -> None:
        draws = self.draws
        agent = conversation.agents[0]
        customer, ivr = conversation.participant("customer"), conversation.participant("ivr")
        holder = agent if draws.chance(0.8) else customer
        holder.attributes["Legal-Hold"] = "true" if draws.chance(0.2) else "false"
        if self.queue.name in _MATTER_QUEUES:
            matter = draws.pick(_AWKWARD[:2]) if draws.chance(0.05) else f"M-2026-{draws.between(1, 99999):05d}"
            (agent if draws.chance(0.9) else customer).attributes["Matter-Number"] = matter
        draws.pick((ivr, ivr, ivr, ivr, customer, agent)).attributes["Consent.Recorded"] = "true"
        draws.pick((ivr, customer)).attributes["Customer Language"] = draws.pick(_LANGUAGES)
        agent.attributes["Disposition"] = draws.pick(_AWKWARD if draws.chance(0.06) else _DISPOSITIONS)
        if draws.chance(0.7):
            case = {"id": f"C-{draws.between(1, 9999)}", "jurisdiction": draws.pick(("DE", "FR", "US"))}
            agent.attributes["Case_JSON"] = orjson.dumps({"case": case}).decode()
        if draws.chance(0.3):
            agent.attributes["Callback-Number"] = conversation.ani
        if draws.chance(0.6):
            agent.attributes["Summary"] = self._summary(draws)
        self._spoil_tags(conversation, agent, holder)
        for person in conversation.participants:
            if not person.bulk_attributes:
                person.bulk_attributes = dict(person.attributes)
        self._spoil_bulk_tags(conversation, agent, holder)
        if not self.faults and self.index % 3 == 0:
            conversation.typed_attributes = {"Disposition": agent.attributes["Disposition"]}

    def _summary(self, draws: Draws) -> str:
        if draws.chance(0.05):
            return self._long_text(draws.pick((1023, 1024, 1025, 1500, 6000)))
        if draws.chance(0.05):
            return draws.pick(_AWKWARD)
        return " ".join(draws.pick(_SENTENCES) for _ in range(draws.between(1, 5)))

    @staticmethod
    def _long_text(length: int) -> str:
        text = " ".join(_SENTENCES) + " "
        return (text * (length // len(text) + 1))[:length]

    def _spoil_tags(self, conversation: Conversation, agent: Participant, holder: Participant) -> None:
        """Faults of the conversation as it stands."""
        if "TAG_TRUNCATED" in self.faults:
            agent.attributes["Summary"] = self._long_text(2500)
        if "TAGS_ON_OTHER_PARTICIPANT" in self.faults:
            purpose = ("acd", "ivr")[self.faults["TAGS_ON_OTHER_PARTICIPANT"]]
            conversation.participant(purpose).attributes["Legal-Hold"] = holder.attributes.pop("Legal-Hold")
        if "TAG_KEY_VARIANT" in self.faults:
            holder.attributes[_KEY_VARIANTS[self.faults["TAG_KEY_VARIANT"]]] = holder.attributes.pop("Legal-Hold")
        if "TAG_CONFLICT" in self.faults:
            agent.attributes["Disposition"] = "Resolved"
            conversation.agents[1].attributes["Disposition"] = "Escalated"
        if "TAG_CHANGED_LATER" in self.faults:
            agent.attributes |= {"Disposition": "Resolved after review", "Summary": self._long_text(1500)}
        if "TAG_NEVER_SET" in self.faults:
            for person in conversation.participants:
                person.attributes.clear()
        if "REQUIRED_TAG_MISSING" in self.faults:
            self._lose_required_tag(conversation)
        if "UNMAPPED_TAG" in self.faults:
            key, value = _UNMAPPED[self.faults["UNMAPPED_TAG"]]
            agent.attributes[key] = value

    def _lose_required_tag(self, conversation: Conversation) -> None:
        key = ("Legal-Hold", "Legal-Hold", "Consent.Recorded", "Matter-Number")[self.faults["REQUIRED_TAG_MISSING"]]
        for person in conversation.participants:
            if person.attributes.pop(key, None) is not None and conversation.vanishing:
                person.vanished_attributes[key] = "true"

    def _spoil_bulk_tags(self, conversation: Conversation, agent: Participant, holder: Participant) -> None:
        """What the bulk details job knows less, or otherwise, than the conversation."""
        if self.faults.get("TAGS_SET_AFTER_END") == 0:
            del holder.bulk_attributes["Legal-Hold"]
        elif "TAGS_SET_AFTER_END" in self.faults:
            for person in conversation.participants:
                person.bulk_attributes = {}
        if "TAG_CHANGED_LATER" in self.faults:
            agent.bulk_attributes["Disposition"] = "Escalated"
