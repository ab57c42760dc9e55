"""A backlog drains beside a night within one allowance of the vendor, and takes no more than its share of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from custody_pipeline.capture import assembly
from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.capture.messages import Message
from custody_pipeline.capture.queues import open_queue
from custody_pipeline.capture.worker import RATE_SHARE, capture_client
from custody_pipeline.extract.genesys import Answer, GenesysClient
from custody_pipeline.extract.rate_limiter import RateLimiter
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.events import events_of
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.simulator.state import CLIENT_ID, CLIENT_SECRET

pytestmark = pytest.mark.server

MINUTE = 2.0
ALLOWED = 60
WAITING = 45
NIGHTLY_READS = 6


def test_a_drain_keeps_to_its_share_and_the_night_has_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RateLimiter, "WINDOW", MINUTE)
    monkeypatch.setattr(RateLimiter, "MARGIN", 0.0)
    organization = Organization(size=WAITING, faults=FaultPlan.none())
    calls = list(organization.conversations())
    with SimulatorServer(organization, rate_limit=ALLOWED, minute=MINUTE, one_allowance=True) as vendor:
        settings = Settings(
            home=tmp_path,
            genesys_domain=vendor.base_url,
            genesys_client_id=CLIENT_ID,
            genesys_client_secret=CLIENT_SECRET,
            genesys_requests_per_minute=ALLOWED,
        )
        bodies = [event.body for call in calls for event in events_of(call)]
        with closing(open_queue(settings)) as queue:
            events = [(parse_event(body), body) for body in bodies]
            now = datetime.now(UTC)
            queue.put([Message(event.event_id, event.conversation_id, body, now) for event, body in events])

        def night() -> list[float]:
            """Single reads, as fast as the allowance lets them; when each came."""
            with GenesysClient(settings) as client:
                times = []
                for call in calls * NIGHTLY_READS:
                    client.get(f"/api/v2/conversations/{call.id}")
                    times.append(time.monotonic())
                return times

        drain_asked: list[float] = []
        monkeypatch.setattr(assembly, "capture_client", partial(recorded_client, drain_asked))
        with ThreadPoolExecutor(2) as both:
            draining = both.submit(assembly.drain_queue, settings, max_seconds=120)
            collecting = both.submit(night)
            night_answered, drained = collecting.result(), draining.result()
        requests, refused = vendor.world.requests, vendor.world.over_the_limit

    assert drained.queue.depth == 0
    assert drained.report.captures == WAITING
    assert drained.report.stopped is None
    # The two know of each other only by the vendor's headers, so a request or two may cross.
    assert refused <= 0.05 * requests
    assert busiest(drain_asked) <= ALLOWED * RATE_SHARE
    assert drain_asked[-1] - drain_asked[0] > 2 * MINUTE, "too short to tell"
    beside = [moment for moment in night_answered if drain_asked[0] < moment < drain_asked[-1]]
    assert len(beside) > len(drain_asked)


def recorded_client(asked: list[float], settings: Settings) -> GenesysClient:
    client = capture_client(settings)
    get = client.get

    def recorded(path: str, **params: str | int | bool) -> Answer:
        answer = get(path, **params)
        asked.append(time.monotonic())
        return answer

    client.get = recorded  # type: ignore[method-assign]
    return client


def busiest(moments: list[float]) -> int:
    """The most that fall into any span of a minute."""
    return max(sum(1 for other in moments if first <= other < first + MINUTE * 0.9) for first in moments)
