"""An alert, what happened to it, and what became of telling so.

Belongs here: the values that channels share. Does not: how they are delivered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Literal, Protocol

import orjson

Action = Literal["opened", "updated", "closed"]

RETENTION = "retention"
"""The resource of an alert that a retention policy removes something soon."""


@dataclass(frozen=True)
class Group:
    """Recordings of a night that lack something for one reason, in the words of the night's report.

    Attributes:
        reason, severity, sentence, next_action: as in an alert.
        who: does the next action.
        recordings: how many.
        until: the first deadline of those that are still ahead (UTC).
        recording_ids: the first few.
    """

    reason: str
    severity: str
    who: str
    sentence: str
    next_action: str
    recordings: int
    until: datetime | None
    recording_ids: tuple[str, ...]

    @property
    def number(self) -> str:
        """How many, in words."""
        return f"{self.recordings} recording{'s' * (self.recordings != 1)}"

    @property
    def todo(self) -> str:
        """What must be done, by whom, until when."""
        until = f" Until {self.until:%Y-%m-%d %H:%M} UTC." if self.until else ""
        return f"{self.next_action} By: {self.who}.{until}"


@dataclass(frozen=True)
class Alert:
    """Something of a night that needs somebody.

    Attributes:
        night: the partition (UTC day of the conversations' start).
        conversation_id, recording_id: what it is about; None when it is about a whole resource.
        resource: the resource whose collection failed, `night`, `gaps` (a digest of many) or `retention`; None for a
            gap of a recording.
        reason: the gap's code, COLLECTION_FAILED or COLLECTION_INCOMPLETE, NIGHT_FAILED or NIGHT_MISSING, NIGHT_GAPS
            (a digest) or REMOVAL_NEAR.
        severity: error or warning.
        sentence, next_action: for people; the catalogue's texts, which hold nothing of the call.
        recoverable, recoverable_until: whether and until when (UTC) it can be mended.
        link: where to read more.
        groups: of a digest, what it tells; empty for any other alert.
    """

    night: date
    conversation_id: str | None
    recording_id: str | None
    resource: str | None
    reason: str
    severity: str
    sentence: str
    next_action: str
    recoverable: str
    recoverable_until: datetime | None
    link: str | None = None
    groups: tuple[Group, ...] = ()

    @property
    def key(self) -> str:
        """The same for the same recording (or night and resource) and reason, whenever it is seen. 40 characters."""
        # A failed collection and an incomplete one are the same matter; a gap's reason is part of what it is.
        subject = [str(self.night), self.resource] if self.resource else [self.conversation_id, self.recording_id]
        reason = "COLLECTION" if self.resource else self.reason
        return hashlib.sha256(orjson.dumps([*subject, reason])).hexdigest()[:40]

    @property
    def sha256(self) -> str:
        """Of everything that is told; when it differs from what was told last, the alert is updated."""
        return hashlib.sha256(orjson.dumps(self.to_dict(), option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def subject(self) -> str:
        """What it is about, in few words."""
        if self.groups:
            return f"{sum(group.recordings for group in self.groups)} gaps of {self.night}"
        return f"recording {self.recording_id}" if self.resource is None else f"{self.resource} of {self.night}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        told = {"key": self.key, **asdict(self), "night": str(self.night)}
        told["recoverable_until"] = _zulu(self.recoverable_until)
        # Without groups there is no such field: an alert that was told by an older version has not changed.
        groups = told.pop("groups")
        if groups:
            told["groups"] = [{**group, "until": _zulu(group["until"])} for group in groups]
        return told


def _zulu(moment: datetime | None) -> str | None:
    return moment.isoformat() + "Z" if moment else None


@dataclass(frozen=True)
class Notice:
    """One thing to tell a channel; `reference` is what the channel called it when it was told last."""

    action: Action
    alert: Alert
    reference: str | None = None

    @property
    def id(self) -> str:
        """The same whenever the same is told, so that a receiver can drop repeats. 40 characters."""
        return hashlib.sha256(f"{self.alert.key}.{self.action}.{self.alert.sha256}".encode()).hexdigest()[:40]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"id": self.id, "action": self.action, **self.alert.to_dict()}


@dataclass(frozen=True)
class Delivery:
    """A notice that was taken (`refused` is empty), or refused for good, and why."""

    notice: Notice
    reference: str | None = None
    refused: str = ""


class DeliveryError(Exception):
    """A channel cannot go on: what was tried, what came back, what to do. Holds no address path, secret or body."""


class Channel(Protocol):
    """Somewhere to tell notices."""

    name: str

    def deliver(self, notices: Sequence[Notice]) -> Iterator[list[Delivery]]:
        """Tell the notices; yields what became of them in groups, each as soon as it is known.

        Notices that are in no group when the iterator ends are left to the next run.

        Raises:
            DeliveryError: the channel cannot go on.
        """
