"""The clock: one way to read the present time, and one for each form of a written time.

Belongs here: moments and nights as others write them. Does not: times in SQL (sql/macros/utc_moment.sql).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


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


def http_date(text: str) -> datetime | None:
    """A date of an HTTP header (RFC 9110 section 5.6.7), with the zone UTC; None for any other text.

    Python reads the zone `-0000`, which some servers write, as no zone at all.
    """
    try:
        moment = parsedate_to_datetime(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def night_in(folder: str) -> date | None:
    """The night of a folder `date=YYYY-MM-DD`; None for any other name, which somebody else gave."""
    name, _, day = folder.partition("=")
    try:
        return date.fromisoformat(day) if name == "date" and _DAY.fullmatch(day) else None
    except ValueError:
        return None
