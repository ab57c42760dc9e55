"""The clock: one way to read the present time.

Belongs here: the present time, UTC. Does not: times in documents.
"""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present time, UTC, without a zone, as a DuckDB TIMESTAMP."""
    return datetime.now(UTC).replace(tzinfo=None)
