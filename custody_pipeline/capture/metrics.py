"""Numbers of live capture: captures per hour, and the time from each event to its capture.

Belongs here: numbers and their plot. Does not: Dagster (which shows them), the queue's counts (`EventQueue.metrics`).
"""

from __future__ import annotations

import io
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from custody_pipeline.capture.captured import captures_of, readable
from custody_pipeline.capture.messages import QueueMetrics
from custody_pipeline.io.clock import utc
from custody_pipeline.io.document_store import DocumentStore


@dataclass(frozen=True)
class CapturePoint:
    """One capture: its time (UTC), and the seconds since its event (None if not known)."""

    observed_at: datetime
    lag_seconds: float | None


def capture_points(store: DocumentStore, day: date, *, lags: int = 500) -> list[CapturePoint]:
    """The captures of conversations that began on `day` (UTC), in order of time.

    Args:
        lags: the lag is read from the documents of this many captures, the newest; for others it is None.
    """
    seen = sorted((at, key) for key in captures_of(store, day) if (at := _observed_at(key)) is not None)
    old = len(seen) - lags
    return [CapturePoint(at, None if place < old else _lag(store, key, at)) for place, (at, key) in enumerate(seen)]


def _observed_at(key: str) -> datetime | None:
    """The time in a capture's key; None for a file that somebody else put there."""
    try:
        return datetime.strptime(key.rpartition("/")[2], "%Y%m%dT%H%M%S.%fZ.json")
    except ValueError:
        return None


def _lag(store: DocumentStore, key: str, observed_at: datetime) -> float | None:
    _, capture = readable(store, key) or (b"", {})
    event = capture.get("event")
    happened = utc(event.get("event_time")) if isinstance(event, dict) else None
    return None if happened is None else (observed_at - happened).total_seconds()


def per_hour(points: Iterable[CapturePoint]) -> dict[datetime, int]:
    """The number of captures in each hour (UTC) that has any."""
    hours = Counter(point.observed_at.replace(minute=0, second=0, microsecond=0) for point in points)
    return dict(sorted(hours.items()))


def summary(queue: QueueMetrics, points: Sequence[CapturePoint], now: datetime) -> dict[str, float | int | None]:
    """One flat row of numbers: queue depth, leases, dead letters, age of the oldest event, captures, lag.

    Args:
        now: UTC, with zone.

    Returns:
        Seconds for `oldest_seconds`, `lag_median_seconds` and `lag_max_seconds`; None if there is nothing to measure.
    """
    lags = [point.lag_seconds for point in points if point.lag_seconds is not None]
    hour_ago = now.replace(tzinfo=None) - timedelta(hours=1)
    return {
        "queue_depth": queue.depth,
        "queue_leased": queue.leased,
        "dead_letters": queue.dead,
        "oldest_seconds": round((now - queue.oldest).total_seconds(), 3) if queue.oldest else None,
        "captures": len(points),
        "captures_last_hour": sum(point.observed_at > hour_ago for point in points),
        "lag_median_seconds": round(statistics.median(lags), 3) if lags else None,
        "lag_max_seconds": round(max(lags), 3) if lags else None,
    }


def plot(points: Sequence[CapturePoint]) -> bytes:
    """A PNG: captures per hour as bars, and the lag of each capture as dots on a logarithmic axis."""
    # Imported here, because the import takes half a second and only a plot needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    bars, dots = figure.subplots(2, 1, sharex=True)
    hours = per_hour(points)
    bars.bar(list(hours), list(hours.values()), width=1 / 24, align="edge", color="#4c78a8")
    bars.set_ylabel("captures per hour")
    known = [point for point in points if point.lag_seconds is not None]
    lags = [max(point.lag_seconds or 0, 0.001) for point in known]
    dots.scatter([point.observed_at for point in known], lags, s=6, c="#e45756")
    dots.set_yscale("log")
    dots.set_ylabel("seconds after the event")
    dots.set_xlabel("UTC")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    return image.getvalue()
