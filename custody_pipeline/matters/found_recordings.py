"""The recordings that a matter's selection finds, packed.

Belongs here: keeping many of them in little memory. Does not: how they are found (selection.py).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import islice

import msgspec

_AT_ONCE = 500
_LEVEL = 1


class Recording(msgspec.Struct, frozen=True):
    """A recording that the selection finds.

    Attributes:
        kind: call, screen, chat, email, message or callback; empty if unknown.
        media_sha256: of its audio, hex; None if the night has none.
        excluded: why it is not produced; None if it is.
    """

    night: date
    conversation_id: str
    recording_id: str
    kind: str
    media_sha256: str | None
    object_uri: str | None
    sidecar_uri: str | None
    row_sha256: str
    status: str
    reasons: tuple[str, ...]
    excluded: str | None = None
    note: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Conversation and recording."""
        return self.conversation_id, self.recording_id

    @property
    def has_audio_to_produce(self) -> bool:
        """Whether its audio is produced and has bytes; otherwise the recording is an exception of each production."""
        return self.excluded is None and self.media_sha256 is not None and "OBJECT_EMPTY" not in self.reasons


class Recordings:
    """Recordings in an order, to be read from the first to the last any number of times: 0.2 KB each in memory."""

    def __init__(self, recordings: Iterable[Recording] = ()) -> None:
        self._count, self._parts = 0, list[bytes]()
        waiting = iter(recordings)
        while part := list(islice(waiting, _AT_ONCE)):
            self._parts.append(zlib.compress(msgspec.msgpack.encode(part), _LEVEL))
            self._count += len(part)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Recording]:
        decoder = msgspec.msgpack.Decoder(list[Recording])
        for part in self._parts:
            yield from decoder.decode(zlib.decompress(part))
