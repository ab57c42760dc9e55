"""Alerts, notices about their changes, and the results of deliveries.

Belongs here: the values that channels share. Does not: delivering them.
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
"""The resource of an alert about conversations that a retention policy removes soon."""


@dataclass(frozen=True)
class Group:
    """Recordings of a night that lack something for one reason, in the words of the night's report.

    Attributes:
        reason, severity, sentence, next_action: as in an alert.
        who: the role that does the next action.
        until: the next deadline (UTC).
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
        """The number, in words."""
        return f"{self.recordings} recording{'s' * (self.recordings != 1)}"

    @property
    def todo(self) -> str:
        """The next action, who does it, and until when."""
        until = f" Until {self.until:%Y-%m-%d %H:%M} UTC." if self.until else ""
        return f"{self.next_action} By: {self.who}.{until}"


@dataclass(frozen=True)
class Alert:
    """A problem of a night that needs a person.

    Attributes:
        night: the partition (UTC day of the conversations' start).
        conversation_id, recording_id: its subject; None if the alert is about a whole resource.
        resource: the resource whose collection failed, `night`, `gaps` (a digest of many) or `retention`; None for a
            gap of a recording.
        reason: the gap's code, COLLECTION_FAILED or COLLECTION_INCOMPLETE, NIGHT_FAILED, NIGHT_MISSING or
            NIGHT_INCOMPLETE, NIGHT_GAPS (a digest) or REMOVAL_NEAR.
        severity: error or warning; info only of a reason that the settings name.
        sentence, next_action: for people; texts of the catalogue, without data of the call.
        recoverable, recoverable_until: whether and until when (UTC) the gap may close.
        groups: the content of a digest; empty for any other alert.
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
        """The identity of the alert: equal for the same recording (or night and resource) and reason. 40 characters."""
        # A failed collection and an incomplete one are the same alert; a gap's reason is part of its identity.
        subject = [str(self.night), self.resource] if self.resource else [self.conversation_id, self.recording_id]
        # Without a conversation it is about the night: `source:media_digests` has a gap in every night that it failed.
        if not (self.resource or self.conversation_id):
            subject.insert(0, str(self.night))
        reason = "COLLECTION" if self.resource else self.reason
        return hashlib.sha256(orjson.dumps([*subject, reason])).hexdigest()[:40]

    @property
    def sha256(self) -> str:
        """SHA-256 over the content. If it differs from the content that was sent last, the alert is updated."""
        return hashlib.sha256(orjson.dumps(self.to_dict(), option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def subject(self) -> str:
        """The subject, in a few words."""
        if self.groups:
            return f"{sum(group.recordings for group in self.groups)} gaps of {self.night}"
        return f"recording {self.recording_id}" if self.resource is None else f"{self.resource} of {self.night}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        document = {"key": self.key, **asdict(self), "night": str(self.night)}
        document["recoverable_until"] = _zulu(self.recoverable_until)
        # Without groups there is no such field, so that alerts of earlier versions are unchanged.
        if groups := document.pop("groups"):
            document["groups"] = [{**group, "until": _zulu(group["until"])} for group in groups]
        return document


def _zulu(moment: datetime | None) -> str | None:
    return moment.isoformat() + "Z" if moment else None


@dataclass(frozen=True)
class Notice:
    """A change of an alert, to be sent to a channel; `reference` is the channel's own id from the last delivery."""

    action: Action
    alert: Alert
    reference: str | None = None

    @property
    def id(self) -> str:
        """The identity of the notice, so that a receiver can drop repeats. 40 characters."""
        return hashlib.sha256(f"{self.alert.key}.{self.action}.{self.alert.sha256}".encode()).hexdigest()[:40]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"id": self.id, "action": self.action, **self.alert.to_dict()}


@dataclass(frozen=True)
class Delivery:
    """A notice that was accepted (`refused` is empty), or refused permanently, with the reason."""

    notice: Notice
    reference: str | None = None
    refused: str = ""


class DeliveryError(Exception):
    """A channel cannot continue. The message has the attempt, answer and remedy; no address path, secret, body."""


class Channel(Protocol):
    """A destination of notices."""

    name: str

    def deliver(self, notices: Sequence[Notice]) -> Iterator[list[Delivery]]:
        """Send the notices; yields the results in groups, each as soon as it is known.

        Notices without a result are left to the next run.

        Raises:
            DeliveryError: the channel cannot continue.
        """
