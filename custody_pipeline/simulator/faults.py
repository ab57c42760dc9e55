"""The faults of the organisation: the catalogue, where they are planted, and the answer key.

A fault has the name of the gap reason that a night must find for it. Usually a conversation has one fault, so that a
recording has one reason. (`REGION_MISMATCH` comes with `SIDECAR_MISSING`, because the region is read only then.) A
mixed plan adds more faults to a conversation, if a night can find them beside the first. A fault with several forms
uses them in turn.

Belongs here: which conversation has which fault, and what a night must answer. Does not: how a fault looks in a
document (`organization`, `exporter`).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from custody_pipeline.simulator.identity import Draws, number

if TYPE_CHECKING:
    from custody_pipeline.simulator.calls import Conversation
    from custody_pipeline.simulator.organization import Organization

# fault → number of its forms, and marks. Every fault without `r` concerns all recordings of its conversation.
# r: of one recording, the conversation's first. b: found in the bucket alone, without asking the API. o: the recording
# has no object in the bucket (a delete marker is none). d: the bulk details job does not have the conversation.
_FAULTS: dict[str, tuple[int, str]] = {
    "SIDECAR_MISSING": (1, "rb"),
    "SIDECAR_UNREADABLE": (5, "rb"),
    "DOCUMENTS_DISAGREE": (2, "rb"),
    "OBJECT_MISSING": (2, "ro"),
    "OBJECT_EMPTY": (1, "rb"),
    "OBJECT_CHANGED": (1, "rb"),
    "DUPLICATE_EXPORT": (2, "rb"),
    "EXPORT_FAILED": (1, "ro"),
    "EXPORT_EXCLUDED_SENSITIVE": (1, "ro"),
    "EXPORT_PENDING": (1, "ro"),
    "RECORDING_ARCHIVED": (1, "ro"),
    "RECORDING_DELETED": (1, "ro"),
    "RECORDING_NOT_FOUND": (1, ""),
    "ORPHAN_OBJECT": (1, ""),
    "ORPHAN_RECORDING": (1, ""),
    "CONVERSATION_NOT_FOUND": (1, "d"),
    "NOT_YET_AVAILABLE": (1, "d"),
    "CONVERSATION_FORBIDDEN": (1, "d"),
    "CONVERSATION_FETCH_FAILED": (3, "d"),
    "EXPORT_DROPPED_TAGS": (3, ""),
    "TAGS_SET_AFTER_END": (2, ""),
    "TAG_TRUNCATED": (3, ""),
    "TAGS_ON_OTHER_PARTICIPANT": (2, ""),
    "TAG_KEY_VARIANT": (3, ""),
    "TAG_CONFLICT": (1, ""),
    "TAG_CHANGED_LATER": (1, ""),
    "TAG_NEVER_SET": (2, ""),
    "REQUIRED_TAG_MISSING": (4, ""),
    "UNMAPPED_TAG": (6, ""),
    "SCRIPT_VERSION_UNKNOWN": (1, ""),
    "SCRIPT_VERSION_INCOMPATIBLE": (1, ""),
    "REGION_MISMATCH": (1, "r"),
    "TIMESTAMP_SUSPECT": (4, "rb"),
}
CATALOGUE: dict[str, int] = {fault: forms for fault, (forms, _) in _FAULTS.items()}
OF_ONE_RECORDING, SEEN_IN_THE_BUCKET, WITHOUT_OBJECT, NOT_IN_DETAILS = (
    frozenset(fault for fault, (_, marks) in _FAULTS.items() if mark in marks) for mark in "rbod"
)

# Faults that may be added to another one, at most one of each group.
_GROUPS: tuple[tuple[str, ...], ...] = (
    ("OBJECT_EMPTY", "OBJECT_CHANGED", "DUPLICATE_EXPORT"),
    (
        "SIDECAR_MISSING", "SIDECAR_UNREADABLE", "DOCUMENTS_DISAGREE", "EXPORT_DROPPED_TAGS", "REGION_MISMATCH",
        "TIMESTAMP_SUSPECT",
    ),
    (
        "TAGS_SET_AFTER_END", "TAG_TRUNCATED", "TAGS_ON_OTHER_PARTICIPANT", "TAG_KEY_VARIANT", "TAG_CONFLICT",
        "TAG_CHANGED_LATER", "TAG_NEVER_SET", "REQUIRED_TAG_MISSING",
    ),
    ("UNMAPPED_TAG",),
    ("SCRIPT_VERSION_UNKNOWN", "SCRIPT_VERSION_INCOMPATIBLE"),
)  # fmt: skip
_MEDIA, _SIDECAR, _TAGS, _UNMAPPED, _SCRIPT = (frozenset(group) for group in _GROUPS)
# Both need the conversation to be built in another way.
_EXCLUSIVE = (
    frozenset({"RECORDING_ARCHIVED", "TAG_CONFLICT"}),
    # An orphan belongs to its conversation, and would have its tags' reasons as well.
    *(frozenset({"ORPHAN_RECORDING", fault}) for fault in (*_TAGS, *_UNMAPPED, *_SCRIPT)),
    *(frozenset({"RECORDING_NOT_FOUND", fault}) for fault in (*_TAGS, *_UNMAPPED, *_SCRIPT)),
)

DEFAULT_SHARE = 1 / 200


def shows_beside(fault: str, form: int, others: Mapping[str, int]) -> bool:
    """Whether a night can find `fault` on a conversation that also has these faults (fault → form)."""
    names = others.keys()
    if not any(fault in group for group in _GROUPS):
        return False
    if fault in names or any(fault in group and names & set(group) for group in _GROUPS):
        return False
    if any(fault in pair and names & pair for pair in _EXCLUSIVE):
        return False
    if names & WITHOUT_OBJECT and fault in _MEDIA | _SIDECAR:
        return False
    if names & NOT_IN_DETAILS and fault in _TAGS | _UNMAPPED | _SCRIPT | {"EXPORT_DROPPED_TAGS", "REGION_MISMATCH"}:
        return False
    if "TAG_NEVER_SET" in names and fault in _UNMAPPED | {"EXPORT_DROPPED_TAGS"}:
        return False
    if fault == "TAG_NEVER_SET" and names & (_UNMAPPED | {"EXPORT_DROPPED_TAGS"}):
        return False
    # These unmapped tags are spelled like mapped tags: beside a fault of the mapped tag they would mean something else.
    unmapped = form if fault == "UNMAPPED_TAG" else others.get("UNMAPPED_TAG")
    return not (unmapped in {1, 2} and (names | {fault}) & _TAGS)


class KeyRow(NamedTuple):
    """A reason that a night must find for a recording (`session:{id}` if there is no recording)."""

    conversation_id: str
    recording_id: str
    reason: str


@dataclass(frozen=True)
class FaultPlan:
    """The planted faults, each with its share of the night's conversations.

    Attributes:
        shares: (fault, share of the conversations); each form of a planted fault occurs at least once if the night is
            large enough, and each fault at least twice.
        mixed: share of the faulty conversations to which more faults of the plan are added.
    """

    shares: tuple[tuple[str, float], ...]
    mixed: float = 0.0

    def __post_init__(self) -> None:
        unknown = sorted({fault for fault, _ in self.shares} - CATALOGUE.keys())
        if unknown:
            raise ValueError(f"no such fault: {', '.join(unknown)}; the catalogue has {', '.join(CATALOGUE)}")

    @classmethod
    def every(cls) -> FaultPlan:
        """The whole catalogue."""
        return cls.only(*CATALOGUE)

    @classmethod
    def none(cls) -> FaultPlan:
        """A night without a fault."""
        return cls(())

    @classmethod
    def only(cls, *faults: str, share: float = DEFAULT_SHARE) -> FaultPlan:
        """These faults alone."""
        return cls(tuple((fault, share) for fault in dict.fromkeys(faults)))

    def counts(self, size: int) -> tuple[tuple[str, int], ...]:
        """How many of `size` conversations have each fault; a night that is too small for all has the first ones."""
        counts, left = [], size
        for fault, share in self.shares:
            wanted = min(left, max(2, CATALOGUE[fault], round(size * share)))
            left -= wanted
            counts.append((fault, wanted))
        return tuple(counts)


class Planting:
    """The conversations of a night that have a plan's faults: index → (fault, form), computed without a table.

    `NOT_YET_AVAILABLE` takes the night's last conversations; the others are spread over the rest.
    """

    def __init__(self, plan: FaultPlan, size: int, seed: int):
        counts = dict(plan.counts(size))
        self.tail = counts.pop("NOT_YET_AVAILABLE", 0)
        self._size, self._seed, self._mixed = size, seed, plan.mixed
        self._body = max(1, size - self.tail)
        self._faults = list(counts)
        self._ends: list[int] = []
        for fault in self._faults:
            self._ends.append((self._ends[-1] if self._ends else 0) + counts[fault])
        self._step = self._coprime(number("planting", seed) % self._body)
        self._shift = number("planting-shift", seed) % self._body

    def _coprime(self, wanted: int) -> int:
        step = max(1, wanted)
        while math.gcd(step, self._body) != 1:
            step += 1
        return step

    @cached_property
    def _inverse(self) -> int:
        return pow(self._step, -1, self._body) if self._body > 1 else 0

    def of(self, index: int) -> tuple[str | None, int]:
        """(fault, form) of conversation `index`; (None, 0) for a healthy one."""
        if index >= self._size - self.tail:
            return "NOT_YET_AVAILABLE", 0
        slot = (index * self._step + self._shift) % self._body
        place = bisect.bisect_right(self._ends, slot)
        if place == len(self._faults):
            return None, 0
        fault = self._faults[place]
        first = self._ends[place - 1] if place else 0
        return fault, (slot - first) % CATALOGUE[fault]

    def all_of(self, index: int) -> dict[str, int]:
        """Every fault of conversation `index` with its form; the first is that of `of`."""
        fault, form = self.of(index)
        if fault is None:
            return {}
        found = {fault: form}
        draws = Draws(number("mixed", self._seed, index))
        while self._faults and draws.chance(self._mixed):
            added = draws.pick(self._faults)
            form = draws.between(0, CATALOGUE[added] - 1)
            if shows_beside(added, form, found):
                found[added] = form
        return found

    def indexes(self, faults: Iterable[str]) -> list[int]:
        """The conversations whose first fault is one of these, in order of time."""
        found: list[int] = []
        for fault in faults:
            if fault == "NOT_YET_AVAILABLE":
                found += range(self._size - self.tail, self._size)
            elif fault in self._faults:
                place = self._faults.index(fault)
                slots = range(self._ends[place - 1] if place else 0, self._ends[place])
                found += [(slot - self._shift) * self._inverse % self._body for slot in slots]
        return sorted(found)


def answer_key(organization: Organization) -> list[KeyRow]:
    """All that a night with API and bucket must find, sorted, for the organisation at its `now`."""
    calls = map(organization.conversation, organization.planting.indexes(CATALOGUE))
    return sorted({row for call in calls for row in reasons_of(call)})


def reasons_of(conversation: Conversation) -> Iterator[KeyRow]:
    """The reasons of one conversation's recordings; nothing for a healthy one."""
    for fault in conversation.faults:
        yield from rows_of(conversation, fault)


def rows_of(conversation: Conversation, fault: str) -> Iterator[KeyRow]:
    """The rows that a night must find for one of its faults."""
    if fault == "RECORDING_NOT_FOUND":
        yield KeyRow(conversation.id, f"session:{conversation.unrecorded_session_id}", fault)
    elif fault == "ORPHAN_OBJECT":
        yield from (KeyRow(conversation.id, item.id, fault) for item in conversation.recordings if not item.in_metadata)
    elif fault == "ORPHAN_RECORDING":
        yield KeyRow(conversation.id, conversation.orphan_recording_id, fault)
    elif fault in OF_ONE_RECORDING:
        yield KeyRow(conversation.id, conversation.recordings[0].id, fault)
        if fault == "REGION_MISMATCH":
            yield KeyRow(conversation.id, conversation.recordings[0].id, "SIDECAR_MISSING")
    else:
        yield from (KeyRow(conversation.id, item.id, fault) for item in conversation.recordings)
