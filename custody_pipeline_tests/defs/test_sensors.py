"""The sensor turns the capture worker while events wait, and shows how live capture is doing."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.capture.messages import Message
from custody_pipeline.capture.queues import open_queue
from custody_pipeline.definitions import defs
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.defs.sensors import live_captures, waiting_events
from custody_pipeline.settings import load_settings
from custody_pipeline.simulator.events import events_of
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.simulator.state import CLIENT_ID, CLIENT_SECRET

pytestmark = pytest.mark.server


@pytest.fixture
def organization() -> Organization:
    """Of the day before the test, not before the tests were imported: midnight may lie between."""
    return Organization(night=datetime.now(UTC).date() - timedelta(days=1), size=3, faults=FaultPlan.none())


@pytest.fixture(autouse=True)
def deployment(organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with SimulatorServer(organization, now=organization.opening + timedelta(days=1)) as vendor:
        for name, value in {
            "CUSTODY_HOME": str(tmp_path),
            "CUSTODY_GENESYS_DOMAIN": vendor.base_url,
            "CUSTODY_GENESYS_CLIENT_ID": CLIENT_ID,
            "CUSTODY_GENESYS_CLIENT_SECRET": CLIENT_SECRET,
        }.items():
            monkeypatch.setenv(name, value)
        yield


def put_events(organization: Organization) -> int:
    bodies = [event.body for call in organization.conversations() for event in events_of(call)]
    events = [(parse_event(body), body) for body in bodies]
    with closing(open_queue(load_settings())) as queue:
        queue.put([Message(event.event_id, event.conversation_id, body, datetime.now(UTC)) for event, body in events])
    return len(events)


def evaluate(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    with dg.build_sensor_context(instance=instance, resources={"deployment": Deployment()}) as context:
        found = waiting_events(context)
    assert isinstance(found, (dg.RunRequest, dg.SkipReason))
    return found


def test_the_sensor_asks_for_a_turn_while_events_wait_and_only_for_one_at_a_time(organization: Organization) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(evaluate(instance), dg.SkipReason)
        waiting = put_events(organization)
        request = evaluate(instance)
        assert isinstance(request, dg.RunRequest)
        assert request.tags["custody/events"] == str(waiting)
        instance.create_run_for_job(defs.resolve_job_def("capture_events"))
        assert isinstance(evaluate(instance), dg.SkipReason)


def test_a_turn_shows_depth_age_captures_lag_and_their_plot(organization: Organization) -> None:
    waiting = put_events(organization)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([live_captures], instance=instance, resources={"deployment": Deployment()})
        (materialized,) = result.asset_materializations_for_node(live_captures.node_def.name)
        shown: dict[str, Any] = {name: value.value for name, value in materialized.metadata.items()}
        assert isinstance(evaluate(instance), dg.SkipReason)
    assert shown["queue_depth"] == shown["dead_letters"] == 0
    assert shown["turn_events"] == waiting
    assert (shown["turn_set_aside"], shown["turn_released"], shown["turn_stopped"]) == (0, 0, "-")
    assert shown["turn_captures"] == organization.size
    assert shown["captures"] == organization.size
    assert shown["lag_median_seconds"] > 0
    assert shown["oldest_seconds"] is None
    assert shown["oldest_handled_seconds"] > 0
    assert str(shown["captures by hour"]).startswith("![Captures by hour, and their lag](data:image/png;base64,")
