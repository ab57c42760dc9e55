"""Receiver and workers are killed with SIGKILL; nothing is lost, nothing is there twice. At full size: `soak`."""

from __future__ import annotations

import http.client
import os
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.capture.spool import Spool
from custody_pipeline_tests.capture.conftest import Receiver, attribute_event
from custody_pipeline_tests.capture.soak import Server, difference, soak

pytestmark = pytest.mark.server


def test_every_event_that_was_answered_202_survives_the_receivers_death(tmp_path: Path) -> None:
    spool_path = tmp_path / "events.sqlite"
    accepted: list[str] = []

    def send_until_it_dies(receiver: Receiver) -> None:
        while True:
            event_id = str(uuid.uuid4())
            try:
                status, _, _ = receiver.post(attribute_event(event_id=event_id))
            except (OSError, http.client.HTTPException):
                return
            assert status == 202
            accepted.append(event_id)

    for round_number in range(2):
        server = Server("receiver_process", spool_path)
        try:
            receiver = Receiver(int(server.said.rpartition(":")[2]))
            with ThreadPoolExecutor(8) as senders:
                done = [senders.submit(send_until_it_dies, receiver) for _ in range(8)]
                while len(accepted) < 300 * (round_number + 1) and not any(future.done() for future in done):
                    os.sched_yield()
                server.process.kill()
            for future in done:
                future.result()
        finally:
            server.end()
    spool = Spool(spool_path)
    try:
        stored = {parse_event(delivery.body).event_id for delivery in spool.receive(10**6, 60)}
    finally:
        spool.close()
    assert len(accepted) >= 600
    assert set(accepted) <= stored


def test_nothing_is_lost_and_nothing_is_twice_in_the_night_whatever_is_killed(tmp_path: Path) -> None:
    outcome = soak(2000, 8, 7, tmp_path)
    assert outcome.differences == []
    assert set(outcome.kills) == {"receiver", "worker"}
    assert outcome.events == pytest.approx(2000, rel=0.05)
    assert outcome.different == pytest.approx(outcome.events * 0.8, rel=0.01)


def test_the_soak_notices_what_is_missing_and_what_is_twice() -> None:
    assert difference("x", Counter("aab"), Counter("abc")) == [
        "x: 1 lost, for example c",
        "x: 1 too often, for example a",
    ]
