"""The age of the newest head: an older state of a log is a valid log, but not the newest.

Belongs here: the verifier's own clock, and the time that the caller names. Does not: times compared with each other
(times.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from custody_pipeline.evidence.cut.manifest import Cut
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.times import sealed_time

_AHEAD = timedelta(days=1)
"""No correct clock is further ahead of another one. A head that is dated ahead would look new for ever."""


def check_freshness(context: Context, size: int, cut: Cut | None = None, timestamp: datetime | None = None) -> None:
    """Compare the last known time at which this head was the newest with the caller's time, or the cut's promise.

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
    if (since is not None or isinstance(promised, int)) and seen - datetime.now(UTC) > _AHEAD:
        report.add("TIME_WRONG", "", f"newest as of {seen:%F %T} UTC, which is ahead of this machine's clock")
    elif since is not None:
        if seen < since:
            report.add("HEAD_OLDER", "", f"newest as of {seen:%F %T} UTC, asked for {since:%F %T} UTC")
    elif isinstance(promised, int) and datetime.now(UTC) - seen > timedelta(days=promised):
        report.add("HEAD_STALE", "", f"newest as of {seen:%F %T} UTC; a newer one was promised within {promised} days")
