"""The times that a set states, compared with each other.

Belongs here: nights, sealing times, timestamps, cosignatures. Does not: the verifier's own clock (freshness.py).

Several homes seal into one log, each by its own clock. A cut states the error of that clock, and its time is corrected
by this error. S3 refuses requests of a clock that is off by more than 15 minutes. Therefore times that should be in
order are at most half an hour off, even in cuts that do not state the error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import Clock, Cut
from custody_pipeline.evidence.log.cosignatures import seen_at
from custody_pipeline.evidence.log.note import DEMO_PREFIX
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.one_cut import CheckedCut

_OFF = timedelta(hours=1)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)", re.ASCII)
_CLOCK_OFF_SECONDS = 60
_LONGEST_SEALING = timedelta(days=1)
"""The longest time from `sealed_at` to the timestamp: another home may complete a seal that one began."""


def check_times(context: Context, known: Sequence[CheckedCut]) -> None:
    """Compare each cut's time with its night, the cut before it, its timestamp and the cosignatures of its head.

    The night of a demonstration may lie in the future.
    """
    report = context.report
    before: datetime | None = None
    for item in sorted(known, key=lambda item: item.cut.log.first):
        cut, path = item.cut, item.prefix + cuts.CUT_JSON
        if isinstance(cut.clock, Clock) and abs(cut.clock.ahead_seconds) > _CLOCK_OFF_SECONDS:
            report.add("CLOCK_OFF", path, f"{cut.clock.ahead_seconds} seconds ahead of the {cut.clock.compared_with}")
        sealed = sealed_time(cut)
        if sealed is None:
            report.add("TIME_WRONG", path, f"sealed_at {cut.sealed_at} is no time in UTC as RFC 3339 writes it")
            continue
        night = datetime.combine(date.fromisoformat(cut.night), time(tzinfo=UTC))
        if sealed < night and not cut.log.origin.startswith(DEMO_PREFIX):
            report.add("TIME_WRONG", path, f"sealed_at {cut.sealed_at} is before the night of {cut.night}")
        if before is not None and before - sealed > _OFF:
            report.add("TIME_WRONG", path, f"sealed_at {cut.sealed_at} is before that of the cut before, {before}")
        if item.timestamp is not None and not -_OFF <= item.timestamp - sealed <= _LONGEST_SEALING:
            report.add("TIME_WRONG", path, f"sealed_at {cut.sealed_at}, timestamped {item.timestamp}")
        for witness, seen in context.cosigned.get(cut.log.size, {}).items():
            if sealed.timestamp() - seen > _OFF.total_seconds():
                report.add("TIME_WRONG", path, f"sealed_at {cut.sealed_at}, but {witness} saw it at {seen_at(seen)}")
        before = max(sealed, before or sealed)


def sealed_time(cut: Cut) -> datetime | None:
    """When a cut says that it was sealed, by the clock that its own was compared with; None if that is no time."""
    ahead = cut.clock.ahead_seconds if isinstance(cut.clock, Clock) else 0
    try:
        found = datetime.fromisoformat(cut.sealed_at) if _TIME.fullmatch(cut.sealed_at) else None
        return found and found - timedelta(seconds=ahead)
    except (ValueError, OverflowError):
        return None
