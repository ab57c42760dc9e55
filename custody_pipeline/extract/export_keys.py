"""The key of an object in the export bucket → what the object is.

Belongs here: the layout of the keys, and which ids in them are safe. Does not: listing the bucket (export_listing.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

MEDIA_EXTENSIONS = frozenset({"opus", "ogg", "wav", "mp3", "mp4", "webm", "zip", "eml", "pcm", "m4a"})

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
RECORDING_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_NIGHT_KEY = re.compile(
    r"(?:(?P<above>.*)/)?year=(?P<year>\d{4})/month=(?P<month>\d{1,2})/day=(?P<day>\d{1,2})"
    r"(?:/hour=(?P<hour>\d{1,2}))?(?:/conversation_id=(?P<conversation>[^/]*))?/(?P<name>[^/]+)",
    re.DOTALL,
)
_SIDECAR_NAME = re.compile(r"(?P<recording>[^.]+?)(?:\.[A-Za-z0-9]{1,8})?(?:_metadata)?\.json", re.DOTALL)

# Documents beside recordings that describe no recording.
_HELPERS = frozenset({"conversation.json", "manifest.json", "transcript.json"})

Role = Literal["media", "sidecar", "other"]
KeyFinding = Literal["unsafe_key", "bad_conversation_id", "unrecognised"]


@dataclass(frozen=True)
class ExportKey:
    """The object that a key names. Identifiers are None unless they are safe in a path, a URL or a query.

    An object without a finding is a recording's media, a recording's sidecar, or neither of them (role `other`).
    """

    role: Role
    finding: KeyFinding | None = None
    organization_id: str | None = None
    conversation_id: str | None = None
    recording_id: str | None = None
    extension: str | None = None
    path_date: date | None = None
    path_hour: int | None = None


def is_conversation_id(text: str) -> bool:
    """True for a UUID in its 36-character form, the only form that may enter a URL or a key."""
    return _UUID.fullmatch(text) is not None


def parse_key(key: str) -> ExportKey:
    """Derive from an object's key (within the bucket) what the object is.

    The layout is `{organizationId}/year=Y/month=M/day=D/hour=H/conversation_id={id}/{recordingId}.opus` with its
    sidecar `….opus_metadata.json`, `…_metadata.json` or `….json`; month, day and hour with or without a zero. The
    media's name is the recording's id; an extension is usual, not promised (the vendor's help page of the export).
    """
    if _is_unsafe(key):
        return ExportKey("other", "unsafe_key")
    if key.endswith("/") or _is_helper(key.rpartition("/")[2]):
        return ExportKey("other")
    match = _NIGHT_KEY.fullmatch(key)
    if match is None:
        return ExportKey("other", "unrecognised")
    above = (match["above"] or "").rsplit("/", 1)[-1]
    organization = above if _UUID.fullmatch(above) else None
    try:
        path_date = date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        return ExportKey("other", "unrecognised", organization)
    hour = int(match["hour"]) if match["hour"] is not None else None
    if hour is not None and hour > 23:
        return ExportKey("other", "unrecognised", organization, path_date=path_date)
    role, recording, extension = _parse_name(match["name"])
    conversation, finding = match["conversation"], None
    if conversation is not None and not is_conversation_id(conversation):
        conversation, finding = None, "bad_conversation_id"
    elif conversation is None or role == "other":
        role, recording, extension, finding = "other", None, None, "unrecognised"
    conversation, recording = (name and as_the_api_writes(name) for name in (conversation, recording))
    return ExportKey(role, finding, organization, conversation, recording, extension, path_date, hour)  # type: ignore[arg-type]


def as_the_api_writes(name: str) -> str:
    """A UUID in small letters, as in the API's documents; any other name unchanged."""
    return name.lower() if _UUID.fullmatch(name) else name


def _is_unsafe(key: str) -> bool:
    segments = key.split("/")
    return (
        any(segment in {"", ".", ".."} for segment in segments[:-1])
        or segments[-1] in {".", ".."}
        or "\\" in key
        or any(ord(character) < 32 or ord(character) == 127 for character in key)
    )


def _is_helper(name: str) -> bool:
    return name in _HELPERS or name.endswith(".custody.json")  # the latter are live capture's links


def _parse_name(name: str) -> tuple[Role, str | None, str | None]:
    if name.endswith(".json"):
        match = _SIDECAR_NAME.fullmatch(name)
        if match and RECORDING_ID.fullmatch(match["recording"]):
            return "sidecar", match["recording"], None
        return "other", None, None
    if _UUID.fullmatch(name):
        return "media", name, None
    stem, _, extension = name.rpartition(".")
    if extension.lower() in MEDIA_EXTENSIONS and RECORDING_ID.fullmatch(stem):
        return "media", stem, extension.lower()
    return "other", None, None
