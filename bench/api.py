"""Stage `api`: the requests that a night's collection makes, against the least that can give every attribute whole.

The least is one page of the bulk job per thousand conversations, one single read per conversation with a value that
reached the bulk job's cut, and one per conversation whose sidecars do not say when its recordings began. Ours asks
for a login, its own identity, jobs, names and the state of the job besides; nothing of that grows with the night.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb

from bench.measure import Prepared, Stage
from bench.night import LoadedNight, loaded_night, organization
from custody_pipeline.simulator.structure import TRUNCATION

PAGE = 1_000


@contextmanager
def _prepared(size: int, _: Path) -> Iterator[Prepared]:
    night = loaded_night(size)
    yield Prepared(
        partial(_asked, night), partial(_least, night, size), partial(_every_attribute, night, size), rows=size
    )


def _asked(night: LoadedNight, _: Path) -> Callable[[], object]:
    return lambda: night.requests


def _least(night: LoadedNight, size: int, _: Path) -> Callable[[], object]:
    cut = sum(
        any(
            len(text) >= TRUNCATION
            for person in item.participants
            for pair in person.attributes.items()
            for text in pair
        )
        for item in organization(size).conversations()
    )
    with duckdb.connect(str(night.settings.warehouse_path), read_only=True) as con:
        row = con.execute(
            "SELECT count(DISTINCT key_conversation_id) FROM raw.export_sidecars WHERE start_time IS NULL"
        ).fetchone()
    assert row is not None
    least = math.ceil(size / PAGE) + cut + int(row[0])
    return lambda: least


def _every_attribute(night: LoadedNight, size: int, *_: Path) -> None:
    """Every attribute of every participant is in the resolved sources, byte for byte."""
    with duckdb.connect(str(night.settings.warehouse_path), read_only=True) as con:
        found: dict[str, dict[str, dict[str, str]]] = {}
        for source in ("conversation_details", "conversations"):
            name = "conversation_id" if source == "conversation_details" else "key_conversation_id"
            # Single reads come second and take the place of what the bulk job cut.
            people = f"(SELECT {name} AS conversation_id, unnest(participants) AS p FROM raw.{source})"
            rows = con.execute(f"SELECT conversation_id, p.participant_id, p.attributes FROM {people}").fetchall()
            for conversation_id, participant_id, attributes in rows:
                found.setdefault(conversation_id, {})[participant_id] = attributes or {}
    for conversation in organization(size).conversations():
        for person in conversation.participants:
            assert found[conversation.id][person.id] == person.attributes, conversation.id


STAGE = Stage(
    "api",
    "requests of a night's collection, every attribute byte-equal to the organisation's",
    "one per thousand conversations, one per conversation with a value the bulk job cuts or a sidecar without times",
    _prepared,
    goals={2_000: 1.16, 20_000: 1.014},  # ten requests more than the floor
    unit="requests",
)
