"""The clock: one way to ask what time it is.

Belongs here: the present moment, UTC. Does not: times that documents give.
"""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The time, UTC, without a zone: as DuckDB's TIMESTAMP holds it."""
    return datetime.now(UTC).replace(tzinfo=None)
