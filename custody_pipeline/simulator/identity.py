"""Ids that are computed from a seed: equal seeds give equal ids, and a conversation's id gives back its index.

Belongs here: hashing and ids. Does not: the meaning of the ids.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from datetime import date
from typing import TypeVar

T = TypeVar("T")

_HALF = 7  # bytes; a conversation id carries two encrypted halves
_ROUNDS = 4
_MASK = (1 << 64) - 1


def digest(*parts: object) -> bytes:
    """16 bytes that depend only on the parts."""
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).digest()


def number(*parts: object) -> int:
    """A 64-bit number that depends only on the parts."""
    return int.from_bytes(digest(*parts)[:8], "big")


def fraction(*parts: object) -> float:
    """A number in [0, 1) that depends only on the parts."""
    return (number(*parts) >> 11) / (1 << 53)


def uuid_text(raw: bytes) -> str:
    """16 bytes as a version 4 UUID."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[raw[8] & 3]}{text[17:20]}-{text[20:32]}"


def uuid_for(*parts: object) -> str:
    """A version 4 UUID that depends only on the parts."""
    return uuid_text(digest(*parts))


class ConversationIds:
    """Conversation ids that look random and can be decoded: a small Feistel cipher over (night, index)."""

    def __init__(self, seed: int):
        self._keys = tuple(digest("conversation-id", seed, turn) for turn in range(_ROUNDS))
        self._check = digest("conversation-id-check", seed)

    def encode(self, night: date, index: int) -> str:
        """The id of conversation `index` of `night`."""
        left = night.toordinal().to_bytes(3, "big") + index.to_bytes(4, "big")
        right = bytes(_HALF)
        for key in self._keys:
            left, right = right, self._mix(left, right, key)
        body = (left + right).hex()
        check = hashlib.blake2b(left + right, digest_size=2, key=self._check).hexdigest()
        variant = "89ab"[int(check[0], 16) & 3]
        return f"{body[:8]}-{body[8:12]}-4{body[12:15]}-{variant}{body[15:18]}-{body[18:28]}{check[2:4]}"

    def decode(self, conversation_id: str) -> tuple[date, int] | None:
        """(night, index) of an id made by `encode` with the same seed; None for any other text."""
        text = conversation_id.replace("-", "")
        try:
            body = bytes.fromhex(text[:12] + text[13:16] + text[17:30])
        except ValueError:
            return None
        if len(body) != 2 * _HALF:
            return None
        left, right = body[:_HALF], body[_HALF:]
        for key in reversed(self._keys):
            left, right = self._mix(right, left, key), left
        if any(right):
            return None
        ordinal, index = int.from_bytes(left[:3], "big"), int.from_bytes(left[3:], "big")
        if not 1 <= ordinal <= date.max.toordinal():
            return None
        night = date.fromordinal(ordinal)
        return (night, index) if self.encode(night, index) == conversation_id else None

    @staticmethod
    def _mix(left: bytes, right: bytes, key: bytes) -> bytes:
        pad = hashlib.blake2b(right, digest_size=_HALF, key=key).digest()
        return bytes(a ^ b for a, b in zip(left, pad, strict=True))


@functools.cache
def conversation_ids(seed: int) -> ConversationIds:
    """The ids of an organisation."""
    return ConversationIds(seed)


class Draws:
    """A stream of choices from one seed (splitmix64): cheap to make, equal on every machine."""

    __slots__ = ("_state",)

    def __init__(self, seed: int):
        self._state = seed & _MASK

    def _next(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        value = self._state
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        return value ^ (value >> 31)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._next() < probability * (_MASK + 1)

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + self._next() % (high - low + 1)

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[self._next() % len(choices)]
