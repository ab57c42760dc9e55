"""Packed recordings come back in their order, as often as they are read."""

from __future__ import annotations

import hashlib
from datetime import date

import msgspec

from custody_pipeline.matters.selection import Recording, Recordings


def recording(number: int) -> Recording:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    uri = f"s3://exports/{digest[:32]}.opus" if number % 3 else None
    reasons = ("OBJECT_MISSING",) if number % 3 == 0 else ()
    return Recording(
        date(2026, 11, 2), digest[:36], f"{number:036}", "call", digest if uri else None, uri, None, digest, "complete",
        reasons, "privilege" if number % 7 == 0 else None,
    )  # fmt: skip


def test_recordings_come_back_in_their_order_as_often_as_they_are_read() -> None:
    given = [recording(number) for number in range(1_201)]
    packed = Recordings(iter(given))
    assert len(packed) == len(given)
    assert (list(packed), list(packed)) == (given, given)
    together = zip(packed, packed, strict=True)
    assert all(one == other for one, other in together)
    assert [one.has_audio_to_produce for one in given[:9]] == [number % 3 > 0 and number != 7 for number in range(9)]
    assert not msgspec.structs.replace(given[1], reasons=("OBJECT_EMPTY",)).has_audio_to_produce
    assert (len(Recordings()), list(Recordings())) == (0, [])
