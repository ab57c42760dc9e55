"""The times that a set states, compared with each other.

Belongs here: nights, sealing times, timestamps, cosignatures. Does not: the verifier's own clock, which may be wrong.

Several homes seal into one log, each by its own clock: what should be in order may be an hour off.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.log.note import DEMO_PREFIX
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.one_cut import CheckedCut

_OFF = timedelta(hours=1)
_LONGEST_SEALING = timedelta(days=1)
"""Between `sealed_at`, which is taken first, and the timestamp: another home may finish what one began."""


def check_times(report: Report, known: Sequence[CheckedCut]) -> None:
    """Compare each cut's time with its night, with the cut before it in the log, and with its timestamp.

    The night of a demonstration may lie in the future.
    """
    before: datetime | None = None
    for item in sorted(known, key=lambda item: item.cut.log.first):
        cut, path = item.cut, item.prefix + cuts.CUT_JSON
        sealed = _parsed(cut.sealed_at)
        if sealed is None:
            report.add("TIME_WRONG", path, f"sealed_at {cut.sealed_at} is no time in UTC as RFC 3339 writes it")
            continue
        night = datetime.combine(date.fromisoformat(cut.night), time(tzinfo=UTC))
        if sealed < night and not cut.log.origin.startswith(DEMO_PREFIX):
            report.add("TIME_WRONG", path, f"sealed_at {cut.sealed_at} is before the night of {cut.night}")
        if before is not None and sealed < before - _OFF:
            report.add("TIME_WRONG", path, f"sealed_at {cut.sealed_at} is before that of the cut before, {before}")
        if item.timestamp is not None and not -_OFF <= item.timestamp - sealed <= _LONGEST_SEALING:
            report.add("TIME_WRONG", path, f"sealed_at {cut.sealed_at}, timestamped {item.timestamp}")
        before = max(sealed, before or sealed)


def _parsed(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.utcoffset() == timedelta() else None
