"""Numbers and plot of live capture."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from custody_pipeline.capture.captured import Reading, conversation_facts, write_capture
from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.capture.messages import QueueMetrics
from custody_pipeline.capture.metrics import CapturePoint, capture_points, per_hour, plot, summary
from custody_pipeline.extract.documents import document
from custody_pipeline.io.document_store import FolderStore
from custody_pipeline_tests.capture.conftest import CONVERSATION, attribute_event, conversation

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


def test_points_tell_the_lag_between_event_and_capture(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    event = parse_event(attribute_event())
    for minutes in (65, 5):
        content = conversation(seen=str(minutes))
        observed_at = datetime(2026, 11, 2, 10, 0, 0, 123000, tzinfo=UTC) + timedelta(minutes=minutes)
        reading = Reading(CONVERSATION, observed_at, content, None)
        write_capture(store, reading, conversation_facts(CONVERSATION, document(content)), event, NOW)
    assert store.create("captures/date=2026-11-02/notes.json", b"somebody else's")
    points = capture_points(store, date(2026, 11, 2))
    assert [point.lag_seconds for point in points] == [300, 3900]
    assert [point.lag_seconds for point in capture_points(store, date(2026, 11, 2), lags=1)] == [None, 3900]
    assert per_hour(points) == {datetime(2026, 11, 2, 10): 1, datetime(2026, 11, 2, 11): 1}


def test_a_damaged_capture_has_no_lag(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for minute, content in enumerate((b'{"event":', b'{"event":null}', b"[]")):
        key = f"captures/date=2026-11-02/conversation_id={CONVERSATION}/20261102T10{minute:02}00.000000Z.json"
        assert store.create(key, content)
    assert [point.lag_seconds for point in capture_points(store, date(2026, 11, 2))] == [None, None, None]


def test_a_summary_is_flat_numbers() -> None:
    points = [CapturePoint(datetime(2026, 11, 2, 10), lag) for lag in (1.0, 5.0, 9.0)]
    points.append(CapturePoint(datetime(2026, 11, 2, 11, 30), None))
    queue = QueueMetrics(depth=4, leased=1, dead=2, oldest=NOW - timedelta(seconds=90))
    assert summary(queue, points, NOW) == {
        "queue_depth": 4,
        "queue_leased": 1,
        "dead_letters": 2,
        "oldest_seconds": 90.0,
        "captures": 4,
        "captures_last_hour": 1,
        "lag_median_seconds": 5.0,
        "lag_max_seconds": 9.0,
    }


def test_nothing_captured_is_said_without_inventing_numbers() -> None:
    assert summary(QueueMetrics(0, 0, 0, None), [], NOW) == {
        "queue_depth": 0,
        "queue_leased": 0,
        "dead_letters": 0,
        "oldest_seconds": None,
        "captures": 0,
        "captures_last_hour": 0,
        "lag_median_seconds": None,
        "lag_max_seconds": None,
    }


def test_a_plot_is_a_png_also_of_nothing() -> None:
    points = [CapturePoint(datetime(2026, 11, 2, hour), 2.0**hour) for hour in range(3)]
    assert all(plot(chosen).startswith(b"\x89PNG") for chosen in (points, []))
