"""The times that a set states, compared with each other, and the age of its newest head.

Belongs here: nights, sealing times, timestamps, cosignatures; the verifier's own clock, and the time that the caller
names. Does not: who signed them.

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
_AHEAD = timedelta(days=1)
"""No correct clock is further ahead of another one. A head that is dated ahead would look new for ever."""

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


def check_freshness(context: Context, size: int, cut: Cut | None = None, timestamp: datetime | None = None) -> None:
    """Compare the last known time at which this head was the newest with the caller's time, or the cut's promise.

    An older state of a log is a valid log, but not the newest.
    A time that the caller names takes the place of the promise in the cut: that promise ends once a deployment is shut
    down, and a copy grows old.

    Args:
        context: the verification.
        size: leaves of the newest head, which a trusted key signed.
        cut: the one that this head was signed with, if it is here.
        timestamp: of that cut, by a trusted authority.
    """
    report, since = context.report, context.options.seen_since
    times = [datetime.fromtimestamp(time, UTC) for time in context.cosigned.get(size, {}).values()]
    stated = (sealed_time(cut) if cut is not None else None, timestamp)
    times += [time for time in stated if time is not None]
    if not times:
        if since is not None:
            report.add("HEAD_AGE_UNKNOWN", "", f"{size} leaves")
        return
    seen = max(times)
    report.facts["newest as of"] = f"{seen:%Y-%m-%d %H:%M:%S} UTC"
    promised = cut.newer_within_days if cut is not None else None
    if seen - datetime.now(UTC) > _AHEAD:
        report.add("TIME_WRONG", "", f"newest as of {seen:%F %T} UTC, which is ahead of this machine's clock")
    elif since is not None:
        if seen < since:
            report.add("HEAD_OLDER", "", f"newest as of {seen:%F %T} UTC, asked for {since:%F %T} UTC")
    elif isinstance(promised, int) and datetime.now(UTC) - seen > timedelta(days=promised):
        report.add("HEAD_STALE", "", f"newest as of {seen:%F %T} UTC; a newer one was promised within {promised} days")
