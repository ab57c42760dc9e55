"""The spool gives every message to one worker at a time until it is handled."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from custody_pipeline.capture.messages import Message, QueueError
from custody_pipeline.capture.spool import Spool
from custody_pipeline_tests.capture.conftest import Clock


def message(event_id: str, conversation_id: str = "c1", body: bytes = b"{}") -> Message:
    return Message(event_id, conversation_id, body, datetime(2026, 11, 2, 10, tzinfo=UTC))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_spool(tmp_path: Path, clock: Clock, request: pytest.FixtureRequest) -> Callable[[], Spool]:
    def opened() -> Spool:
        spool = Spool(tmp_path / "events.sqlite", clock=clock)
        request.addfinalizer(spool.close)
        return spool

    return opened


def test_an_event_id_is_stored_once_even_after_it_was_handled(open_spool: Callable[[], Spool]) -> None:
    spool = open_spool()
    assert spool.put([message("e1"), message("e2"), message("e1")]) == ["stored", "stored", "duplicate"]
    spool.acknowledge(spool.receive(10, 60))
    assert spool.put([message("e1")]) == ["duplicate"]
    assert spool.metrics().depth == 0


def test_handled_ids_are_forgotten_after_their_time(open_spool: Callable[[], Spool], clock: Clock) -> None:
    spool = open_spool()
    spool.put([message("e1")])
    spool.acknowledge(spool.receive(10, 60))
    clock.now += 100
    assert spool.forget_handled(101) == 0
    assert spool.forget_handled(99) == 1
    assert spool.put([message("e1")]) == ["stored"]


def test_bytes_come_back_as_they_were_put(open_spool: Callable[[], Spool]) -> None:
    body = bytes(range(256)) * 40
    spool = open_spool()
    spool.put([message("e1", body=body)])
    assert [delivery.body for delivery in spool.receive(1, 60)] == [body]


def test_a_leased_message_is_hidden_until_its_lease_ends(open_spool: Callable[[], Spool], clock: Clock) -> None:
    one, other = open_spool(), open_spool()
    one.put([message("e1")])
    first = one.receive(10, 60)
    assert other.receive(10, 60) == []
    clock.now += 61
    second = other.receive(10, 60)
    assert [delivery.attempts for delivery in first + second] == [1, 2]


def test_a_clock_that_was_ahead_keeps_no_event_waiting(open_spool: Callable[[], Spool], clock: Clock) -> None:
    spool = open_spool()
    clock.now += 30 * 86400
    spool.put([message("put"), message("leased", "c2"), message("released", "c3")])
    first, second, third = spool.receive(3, 60)
    spool.release([first, third], 60)
    clock.now -= 30 * 86400
    assert len(spool.receive(3, 60)) == 3
    spool.acknowledge([second])
    assert spool.metrics().depth == 3


def test_a_lost_lease_cannot_settle_the_message(open_spool: Callable[[], Spool], clock: Clock) -> None:
    spool = open_spool()
    spool.put([message("e1")])
    lost = spool.receive(10, 60)
    clock.now += 61
    held = spool.receive(10, 60)
    spool.acknowledge(lost)
    spool.set_aside(lost, "conversation_forbidden")
    assert (spool.metrics().depth, spool.metrics().dead) == (1, 0)
    spool.acknowledge(held)
    assert spool.metrics().depth == 0


def test_a_conversation_is_with_one_worker_at_a_time(open_spool: Callable[[], Spool]) -> None:
    one, other = open_spool(), open_spool()
    one.put([message("e1", "c1"), message("e2", "c2")])
    held = one.receive(1, 60)
    one.put([message("e3", "c1")])
    assert len(other.receive(10, 60)) == 1
    one.acknowledge(held)
    assert len(other.receive(10, 60)) == 1


def test_a_released_message_waits_for_its_delay(open_spool: Callable[[], Spool], clock: Clock) -> None:
    spool = open_spool()
    spool.put([message("e1")])
    spool.release(spool.receive(1, 60), 30)
    assert spool.receive(1, 60) == []
    clock.now += 30
    assert len(spool.receive(1, 60)) == 1


def test_dead_letters_keep_their_reason_and_can_be_tried_again(open_spool: Callable[[], Spool]) -> None:
    spool = open_spool()
    spool.put([message("e1"), message("e2")])
    spool.set_aside(spool.receive(10, 60), "conversation_forbidden")
    assert (
        spool._database.execute("SELECT reason FROM events WHERE state = 'dead'").fetchall()
        == [("conversation_forbidden",)] * 2
    )
    assert spool.retry_dead(limit=1) == 1
    assert spool.retry_dead() == 1
    assert [delivery.attempts for delivery in spool.receive(10, 60)] == [1, 1]


def test_metrics_tell_depth_leases_and_the_oldest(open_spool: Callable[[], Spool]) -> None:
    spool = open_spool()
    assert spool.metrics().oldest is None
    spool.put([message("e1", "c1"), message("e2", "c2"), message("e3", "c3")])
    spool.receive(1, 60)
    metrics = spool.metrics()
    assert (metrics.depth, metrics.leased, metrics.dead) == (3, 1, 0)
    assert metrics.oldest == datetime(2026, 11, 2, 10, tzinfo=UTC)


def test_what_was_put_is_there_after_the_file_is_opened_again(open_spool: Callable[[], Spool]) -> None:
    open_spool().put([message("e1")])
    assert open_spool().metrics().depth == 1


def test_commits_reach_the_disk_before_they_are_confirmed(open_spool: Callable[[], Spool]) -> None:
    database = open_spool()._database
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_full_disk_stores_nothing_and_says_so(open_spool: Callable[[], Spool]) -> None:
    spool = open_spool()
    spool.put([message("e1")])
    pages = spool._database.execute("PRAGMA page_count").fetchone()[0]
    spool._database.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(QueueError, match="disk_full") as caught:
        spool.put([message("e2"), message("e3", body=b"x" * 100_000)])
    assert caught.value.code == "disk_full"
    assert spool.metrics().depth == 1
    spool._database.execute(f"PRAGMA max_page_count = {pages + 1000}")
    assert spool.put([message("e2")]) == ["stored"]


def test_a_file_that_is_no_spool_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events.sqlite").write_bytes(b"this is not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(QueueError, match="queue_unavailable"):
        Spool(tmp_path / "events.sqlite")


def test_a_locked_spool_is_unavailable_not_waited_for_without_end(tmp_path: Path, clock: Clock) -> None:
    spool = Spool(tmp_path / "events.sqlite", clock=clock, busy_seconds=0.05)
    other = sqlite3.connect(tmp_path / "events.sqlite", isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(QueueError, match="queue_unavailable"):
            spool.put([message("e1")])
        other.execute("ROLLBACK")
        assert spool.put([message("e1")]) == ["stored"]
    finally:
        other.close()
        spool.close()
