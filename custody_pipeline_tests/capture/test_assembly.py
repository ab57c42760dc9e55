"""From the settings to a drained queue, with the simulated organisation as the vendor, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from custody_pipeline.capture.assembly import drain_queue
from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.capture.captured import captures_of
from custody_pipeline.capture.metrics import capture_points
from custody_pipeline.capture.queues import open_queue
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.simulator.state import CLIENT_ID, CLIENT_SECRET
from custody_pipeline_tests.capture.conftest import attribute_event, running
from custody_pipeline_tests.simulator.answer_keys import vanishing_id

pytestmark = pytest.mark.server


@pytest.fixture
def organisation() -> Organization:
    return Organization(size=100)


@pytest.fixture
def vendor(organisation: Organization) -> Iterator[SimulatorServer]:
    with SimulatorServer(organisation, now=organisation.opening + timedelta(hours=1)) as server:
        yield server


@pytest.fixture
def settings(vendor: SimulatorServer, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        genesys_domain=vendor.base_url,
        genesys_client_id=CLIENT_ID,
        genesys_client_secret=CLIENT_SECRET,
        genesys_requests_per_minute=10_000,
    )


def send(settings: Settings, *bodies: bytes) -> None:
    with closing(open_queue(settings)) as queue, running(queue) as receiver:
        assert {receiver.post(body)[0] for body in bodies} == {202}


def test_a_tag_that_is_there_for_ten_minutes_is_kept_with_the_moment_it_was_seen(
    organisation: Organization, vendor: SimulatorServer, settings: Settings
) -> None:
    conversation_id = vanishing_id(organisation)
    assert conversation_id is not None
    call = organisation.find(conversation_id)
    assert call is not None
    vendor.world.set_now(call.end + timedelta(minutes=5))
    send(settings, attribute_event(conversation_id, attributes={"Legal-Hold": "yes"}))
    assert drain_queue(settings, max_seconds=30).report.captures == 1
    vendor.world.set_now(call.end + timedelta(minutes=15))
    send(settings, attribute_event(conversation_id, attributes={}))
    result = drain_queue(settings, max_seconds=30)
    assert (result.report.captures, result.queue.depth) == (1, 0)

    store = capture_place(settings)
    keys = list(captures_of(store, organisation.night, conversation_id))
    seen, gone = (
        {key for leg in json.loads(store.read(path) or b"")["participants"] for key in leg["attributes"]}
        for path in keys
    )
    vanished = {key for leg in call.participants for key in leg.vanished_attributes}
    assert vanished
    assert vanished <= seen
    assert not vanished & gone
    assert len(capture_points(capture_place(settings), organisation.night)) == 2


def test_a_conversation_of_a_hidden_division_is_a_dead_letter_that_a_retry_brings_back(
    organisation: Organization, vendor: SimulatorServer, settings: Settings
) -> None:
    conversation_id = vanishing_id(organisation)
    assert conversation_id is not None
    send(settings, attribute_event(conversation_id))
    call = organisation.find(conversation_id)
    assert call is not None
    vendor.world.set_now(call.end + timedelta(minutes=5))
    vendor.world.hidden.add(conversation_id)
    assert drain_queue(settings, max_seconds=30).report.set_aside == {"conversation_forbidden": 1}
    vendor.world.hidden.clear()
    assert drain_queue(settings, max_seconds=30).report.events == 0
    with closing(open_queue(settings)) as queue:
        assert queue.retry_dead() == 1
    assert drain_queue(settings, max_seconds=30).report.captures == 1


def test_without_the_api_nothing_is_drained_and_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CUSTODY_GENESYS_DOMAIN"):
        drain_queue(Settings(home=tmp_path), max_seconds=1)
