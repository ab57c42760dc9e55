"""The clock: one way to read the present time, and one to read a written time.

Belongs here: moments as UTC without a zone, as a DuckDB TIMESTAMP. Does not: times in SQL (sql/macros/utc_moment.sql).
"""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present time, UTC, without a zone, as a DuckDB TIMESTAMP."""
    return datetime.now(UTC).replace(tzinfo=None)


def utc(text: object) -> datetime | None:
    """An ISO 8601 time as UTC without a zone; None for any other text."""
    try:
        moment = datetime.fromisoformat(str(text))
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        return None
