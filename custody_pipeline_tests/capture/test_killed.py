"""Receiver and workers are killed with SIGKILL; nothing is lost, nothing is there twice."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from custody_pipeline.capture.documents import captures_of, events_of
from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.capture.messages import Message
from custody_pipeline.capture.spool import Spool
from custody_pipeline.capture.store import FolderStore
from custody_pipeline_tests.capture.conftest import SECRETS, Receiver, attribute_event, conversation

pytestmark = pytest.mark.server

DAY = date(2026, 11, 2)


def start(module: str, *arguments: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"custody_pipeline_tests.capture.{module}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


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
        process = start("receiver_process", spool_path, CUSTODY_WEBHOOK_SECRETS=SECRETS)
        try:
            receiver = Receiver(int(first_line(process).rpartition(":")[2]))
            with ThreadPoolExecutor(8) as senders:
                done = [senders.submit(send_until_it_dies, receiver) for _ in range(8)]
                while len(accepted) < 300 * (round_number + 1) and not any(future.done() for future in done):
                    os.sched_yield()
                process.kill()
            for future in done:
                future.result()
        finally:
            process.kill()
            process.communicate()
    spool = Spool(spool_path)
    try:
        stored = {parse_event(delivery.body).event_id for delivery in spool.receive(10**6, 60)}
    finally:
        spool.close()
    assert len(accepted) >= 600
    assert set(accepted) <= stored


def test_workers_killed_at_random_capture_every_change_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(7)
    answers = tmp_path / "conversations"
    answers.mkdir()
    ids = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(250)]
    for conversation_id in ids:
        (answers / conversation_id).write_bytes(conversation(conversation_id, tag="1"))
    unique = [
        attribute_event(chance.choice(ids), event_id=f"event-{number}", attributes={"n": str(number)})
        for number in range(1600)
    ]
    sent = unique + chance.choices(unique, k=400)
    chance.shuffle(sent)
    spool = Spool(tmp_path / "events.sqlite")
    try:
        for begin in range(0, len(sent), 100):
            events = [(parse_event(body), body) for body in sent[begin : begin + 100]]
            now = datetime.now(UTC)
            spool.put([Message(event.event_id, event.conversation_id, body, now) for event, body in events])
        arguments = (tmp_path / "events.sqlite", tmp_path / "place", answers)
        workers = [start("capture_worker_process", *arguments) for _ in range(2)]
        deadline = time.monotonic() + 60
        kills = 0
        try:
            while spool.metrics().depth:
                assert time.monotonic() < deadline
                for index, worker in enumerate(workers):
                    first_line(worker)
                    if kills < 6:
                        with suppress(subprocess.TimeoutExpired):
                            worker.wait(chance.uniform(0.02, 0.4))
                        worker.kill()
                        kills += 1
                    worker.communicate(timeout=60)
                    workers[index] = start("capture_worker_process", *arguments)
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()
        assert spool.metrics().dead == 0
    finally:
        spool.close()

    store = FolderStore(tmp_path / "place")
    captured = defaultdict(list)
    for key in captures_of(store, DAY):
        document = json.loads(store.read(key) or b"")
        captured[document["conversation_id"]].append(document["conversation_sha256"])
    concerned = {parse_event(body).conversation_id for body in unique}
    assert set(captured) == concerned
    assert all(len(digests) == 1 for digests in captured.values())
    tags = [json.loads(store.read(key) or b"")["attributes"]["n"] for key in events_of(store, DAY)]
    assert sorted(map(int, tags)) == list(range(1600))
    assert kills == 6
