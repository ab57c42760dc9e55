"""A call of the simulated organisation: its participants, legs and recordings, and the jobs that export them.

Belongs here: what a call is. Does not: drawing one (conversation_builder.py), a night of them (organization.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from custody_pipeline.simulator import faults
from custody_pipeline.simulator.structure import Division, Queue

SEEN_AFTER_END = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Session:
    """One leg of a participant."""

    id: str
    peer_id: str | None
    start: datetime
    end: datetime
    media_type: str = "voice"
    recording: bool = False
    script_id: str | None = None
    in_flow: bool = False


@dataclass(slots=True)
class Participant:
    """A participant of the call, a person or a system; `bulk_attributes`: its tags in the bulk details job."""

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
    """One recording, as the recording service knows it; `faults` (fault → form): only those of this recording."""

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
        """True if there is a media object after the export."""
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
    on_request: bool = False

    def selects(self, start: datetime, end: datetime) -> bool:
        """True for a conversation active in the job's interval."""
        return start < self.interval_end and end >= self.interval_start


@dataclass(frozen=True)
class JobTotals:
    """The totals that a bulk job reports."""

    conversations: int = 0
    recordings: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def processed(self) -> int:
        """Recordings neither skipped nor failed."""
        return self.recordings - self.skipped - self.failed


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
