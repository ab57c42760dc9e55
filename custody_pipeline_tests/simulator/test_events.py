"""The vendor's events: every envelope is one that the receiver knows, and nothing else about them is invented."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.simulator.calls import SEEN_AFTER_END
from custody_pipeline.simulator.events import events_between, events_of
from custody_pipeline.simulator.organization import Organization
from custody_pipeline_tests.capture.network import disturbed

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def organization() -> Organization:
    return Organization()


def test_every_event_is_understood_and_each_says_something_of_its_own(organization: Organization) -> None:
    sent = events_between(organization, organization.opening, organization.opening + 2 * DAY)
    events = [parse_event(event.body) for event in sent]
    assert [event.conversation_id for event in events] == [event.conversation_id for event in sent]
    assert len({event.change_id for event in events}) == len({event.event_id for event in events}) == len(sent)
    topics = Counter(event.topic for event in events)
    # A bare end does not say whose end it is.
    assert topics["v2.detail.events.conversation.{id}.customer.end"] + topics["unknown"] == organization.size
    assert topics["unknown"] > 0
    assert len(topics) == 4
    assert sorted(sent, key=lambda event: event.at) == sent


def test_windows_side_by_side_hold_every_event_once(organization: Organization) -> None:
    middle = organization.start_of(organization.size // 2)
    whole = events_between(organization, organization.opening, organization.opening + 2 * DAY)
    parts = events_between(organization, organization.opening, middle)
    parts += events_between(organization, middle, organization.opening + 2 * DAY)
    assert parts == whole


def test_a_vanishing_tag_is_told_when_it_is_set_and_when_it_is_gone(organization: Organization) -> None:
    assert organization.vanishing_index is not None
    call = organization.conversation(organization.vanishing_index)
    told = [
        (event.at, "Legal-Hold" in (parse_event(event.body).attributes or {}))
        for event in events_of(call)
        if event.at > call.end + timedelta(minutes=1)
    ]
    assert [there for _, there in told] == [True, False]
    assert told[0][0] < call.end + SEEN_AFTER_END < told[1][0]


def test_a_disturbed_stream_has_the_same_events_and_a_share_of_copies(organization: Organization) -> None:
    sent = events_between(organization, organization.opening, organization.opening + 2 * DAY)
    delivered = disturbed(sent, duplicates=0.2, seed=7)
    assert set(delivered) == set(sent)
    assert len(delivered) * 0.8 == pytest.approx(len(sent), abs=1)
    assert delivered == disturbed(sent, duplicates=0.2, seed=7) != disturbed(sent, duplicates=0.2, seed=8)
    assert [event.at for event in delivered] != sorted(event.at for event in delivered)


def test_tags_are_the_same_whenever_the_organisation_is_looked_at() -> None:
    early = Organization(now=Organization().opening + timedelta(hours=1))
    late = Organization(now=Organization().opening + 3 * DAY)
    for place in range(0, early.size, 7):
        pair = (early.conversation(place), late.conversation(place))
        if pair[0].fault == pair[1].fault:
            assert [leg.attributes for leg in pair[0].participants] == [leg.attributes for leg in pair[1].participants]
