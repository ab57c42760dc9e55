"""Live capture under load: a simulated night's events, duplicated and in any order, while its processes are killed.

    python -m custody_pipeline_tests.capture.soak --events 100000 [--kills 40] [--seed 7] [--folder DIR]

Senders post every event, signed, to `custody serve-webhook`'s server and repeat it until it is answered 202, as
EventBridge and data actions do; two workers drain the spool; receiver and workers are killed with SIGKILL at random
moments all the while and started again. Afterwards the night is collected and modelled, and compared with what was
sent. Prints one JSON object; exit status 1, and the differences, if anything was lost or is there twice.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from custody_pipeline.capture.captured import captures_of, events_of
from custody_pipeline.capture.envelopes import CustodyEvent, parse_event
from custody_pipeline.capture.night_captures import collect_captures
from custody_pipeline.capture.spool import Spool
from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.extract.collector import Collector
from custody_pipeline.io.document_store import FolderStore
from custody_pipeline.io.signature import HEADER, sign
from custody_pipeline.load.pipeline import load
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.run import run_models
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.api_documents import conversation_document
from custody_pipeline.simulator.events import SentEvent, events_between
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.sql_files import load_models
from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.capture.conftest import KEY_ID, SECRET, SECRETS
from custody_pipeline_tests.capture.network import disturbed

DUPLICATES = 0.2
SENDERS = 4
WORKERS = 2
EVENTS_PER_CONVERSATION = 4.5
LIMIT_SECONDS = 3600.0
# About the rate of a receiver that is killed now and then; the kills are spread over the time that it needs.
EVENTS_PER_SECOND = 700


@dataclass
class Soak:
    """The outcome: `differences` is empty when nothing was lost and nothing is there twice."""

    events: int
    different: int
    conversations: int
    kills: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    accepted_seconds: float = 0.0
    drained_seconds: float = 0.0
    differences: list[str] = field(default_factory=list)


class Server:
    """The receiver, or a worker: a process that is started again whenever it has ended."""

    def __init__(self, module: str, *arguments: Path) -> None:
        self._command = [sys.executable, "-m", f"custody_pipeline_tests.capture.{module}", *map(str, arguments)]
        self._environment = {**os.environ, "CUSTODY_WEBHOOK_SECRETS": SECRETS}
        self.start()

    def start(self) -> None:
        """Start the process, and wait until it says that it is ready."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, env=self._environment)
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()

    def end(self) -> None:
        """Kill the process with SIGKILL, if it still runs."""
        self.process.kill()
        self.process.communicate()


def soak(events: int, kills: int, seed: int, folder: Path) -> Soak:
    """Send, kill and compare once.

    Args:
        events: the number sent, duplicates included.
        kills: the number of times that a process is killed while it works.
        seed: decides the night, the duplicates, the order and the kills.
        folder: empty; everything is kept there.
    """
    size = max(1, round(events * (1 - DUPLICATES) / EVENTS_PER_CONVERSATION))
    organization = Organization(seed=seed, size=size, faults=FaultPlan.none())
    sent = events_between(organization, organization.opening, organization.opening + timedelta(days=3))
    delivered = disturbed(sent, duplicates=DUPLICATES, seed=seed)
    answers = folder / "conversations"
    answers.mkdir()
    for call in organization.conversations():
        (answers / call.id).write_bytes(orjson.dumps(conversation_document(call, organization.clock)))

    outcome = Soak(len(delivered), len(sent), size)
    spool_path, place = folder / "spool" / "events.sqlite", folder / "captures"
    receiver = Server("receiver_process", spool_path)
    workers = [Server("capture_worker_process", spool_path, place, answers) for _ in range(WORKERS)]
    started = time.monotonic()
    try:
        senders = Senders(delivered, receiver)
        _torment(senders, receiver, workers, kills, random.Random(seed), outcome)
        senders.join()
        outcome.repeated = senders.repeated
        outcome.accepted_seconds = round(time.monotonic() - started, 1)
        with_spool = Spool(spool_path)
        try:
            _drain(with_spool, workers, started)
            if dead := with_spool.metrics().dead:
                outcome.differences.append(f"{dead} dead letters")
        finally:
            with_spool.close()
        outcome.drained_seconds = round(time.monotonic() - started, 1)
    finally:
        for server in (receiver, *workers):
            server.end()
    outcome.differences += _compare(sent, organization, folder)
    return outcome


class Senders:
    """Threads that post every event until it is accepted."""

    def __init__(self, delivered: Iterable[SentEvent], receiver: Server) -> None:
        self._waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        for event in delivered:
            self._waiting.put(event.body)
        self._receiver = receiver
        self._lock = threading.Lock()
        self._connections: dict[int, http.client.HTTPConnection] = {}
        self.repeated = 0
        self.threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        for thread in self.threads:
            thread.start()

    @property
    def under_way(self) -> bool:
        """Not every event is accepted yet."""
        return any(thread.is_alive() for thread in self.threads)

    def join(self) -> None:
        """Wait for the last thread."""
        for thread in self.threads:
            thread.join()
        for connection in self._connections.values():
            connection.close()

    def _send(self) -> None:
        while True:
            try:
                body = self._waiting.get_nowait()
            except queue.Empty:
                return
            while not self._accepted(body):
                with self._lock:
                    self.repeated += 1
                time.sleep(0.02)

    def _accepted(self, body: bytes) -> bool:
        connection = self._connections.get(threading.get_ident())
        try:
            if connection is None:
                connection = self._connections[threading.get_ident()] = self._connect()
            return self._post(connection, body) == 202
        except (OSError, http.client.HTTPException):
            if connection is not None:
                connection.close()
            self._connections.pop(threading.get_ident(), None)
            return False

    def _connect(self) -> http.client.HTTPConnection:
        port = self._receiver.said.rpartition(":")[2]
        return http.client.HTTPConnection("127.0.0.1", int(port or 1), timeout=30)

    def _post(self, connection: http.client.HTTPConnection, body: bytes) -> int:
        signature = sign(body, key_id=KEY_ID, secret=SECRET, timestamp=int(time.time()))
        connection.request("POST", "/events", body, {"Content-Type": "application/json", HEADER: signature})
        answer = connection.getresponse()
        answer.read()
        return answer.status


def _torment(
    senders: Senders, receiver: Server, workers: list[Server], kills: int, chance: random.Random, outcome: Soak
) -> None:
    """Kill receiver and workers by turns, at random moments while events come; workers that ended start again."""
    while senders.under_way:
        if outcome.kills.total() < kills:
            time.sleep(chance.uniform(0, 2 * outcome.events / EVENTS_PER_SECOND / kills))
            name, victim = chance.choice([("receiver", receiver), ("worker", chance.choice(workers))])
            outcome.kills[name] += victim.process.poll() is None
            victim.end()
            victim.start()
        else:
            time.sleep(0.1)
        _restart(workers)


def _restart(workers: list[Server]) -> None:
    for worker in workers:
        if worker.process.poll() is not None:
            worker.end()
            worker.start()


def _drain(spool: Spool, workers: list[Server], started: float) -> None:
    while spool.metrics().depth:
        if time.monotonic() > started + LIMIT_SECONDS:
            raise TimeoutError(f"{spool.metrics().depth} events are left")
        time.sleep(0.1)
        _restart(workers)


def _compare(sent: list[SentEvent], organization: Organization, folder: Path) -> list[str]:
    """What is lost, or there too often, in the documents and then in the night's tables."""
    events = [parse_event(event.body) for event in sent]
    wanted = {event.conversation_id for event in events}
    store = FolderStore(folder / "captures")
    night = organization.night
    captured = Counter(key.split("/")[2].partition("=")[2] for key in captures_of(store, night))
    changes = Counter(Path(key).stem for key in events_of(store, night))
    expected = Counter(event.change_id for event in events)
    differences = [
        *difference("captures", captured, Counter(wanted)),
        *difference("events", changes, expected),
    ]
    documents = sum(1 for path in (folder / "captures" / "events").rglob("*.json") if path.is_file())
    if documents != len(events):
        differences.append(f"{documents} event documents in all nights for {len(events)} events")
    return differences + _compare_tables(events, organization, folder)


def _compare_tables(events: list[CustodyEvent], organization: Organization, folder: Path) -> list[str]:
    settings = Settings(home=folder, export_url="s3://unused")
    mapping = load_mapping(PACKAGE_DIR / "genesyscloud_export.yaml")
    with Collector(settings, organization.night) as collector:
        landings = collect_captures(collector)
    ready_warehouse.lay(folder)
    with Warehouse(settings).open() as con:
        load(con, landings)
        run_models(con, load_models(), organization.night, mapping)
        rows = con.execute("SELECT conversation_id FROM custody.chain_of_custody").fetchall()
        tags = con.execute(
            "SELECT conversation_id, participant_id, tag_key, tag_value FROM custody.custom_data WHERE source = 'event'"
        ).fetchall()
    sent = {
        (event.conversation_id, event.participant_id, *tag)
        for event in events
        for tag in (event.attributes or {}).items()
    }
    return [
        *difference("rows", Counter(row[0] for row in rows), Counter({event.conversation_id for event in events})),
        *difference("tags", Counter(tags), Counter(sent)),
    ]


def difference(what: str, found: Counter[Any], expected: Counter[Any]) -> list[str]:
    """How many items are lost, and how many are there too often."""
    lost, surplus = expected - found, found - expected
    return [
        f"{what}: {len(items)} {how}, for example {next(iter(items))}"
        for how, items in (("lost", lost), ("too often", surplus))
        if items
    ]


def main() -> int:
    """Run once; 1 if there is a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="the folder to write to; kept if given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = soak(arguments.events, arguments.kills, arguments.seed, folder)
    print(json.dumps(vars(outcome)))
    return 1 if outcome.differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
