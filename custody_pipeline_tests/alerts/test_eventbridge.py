"""Events on a bus: through a real PutEvents, and with the failures that only EventBridge itself can have."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import ANY, Stubber

from custody_pipeline.alerts.alert import Alert, Delivery, DeliveryError, Notice
from custody_pipeline.alerts.delivery import Patience
from custody_pipeline.alerts.eventbridge import EventBridgeChannel, events_client
from custody_pipeline_tests.alerts.conftest import NIGHT, Night, Send, Waits


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


@pytest.mark.server
def test_alerts_arrive_on_the_bus(ministack: str, night: Night, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", ministack)
    options: dict[str, Any] = {"endpoint_url": ministack, "region_name": "us-east-1"}
    options["config"] = Config(retries={"total_max_attempts": 5}, connect_timeout=2, read_timeout=10)
    with closing(boto3.client("events", **options)) as events, closing(boto3.client("sqs", **options)) as sqs:
        url = sqs.create_queue(QueueName="alerts")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events.create_event_bus(Name="custody")
        pattern = json.dumps({"source": ["custody_pipeline"]})
        events.put_rule(Name="all", EventBusName="custody", EventPattern=pattern)
        events.put_targets(Rule="all", EventBusName="custody", Targets=[{"Id": "1", "Arn": arn}])
        night.gaps(12)
        lost = send(event_bus="no-such-bus", event_region="us-east-1").channels[0]
        assert (lost.left, "no bus 'no-such-bus'; check CUSTODY_ALERT_EVENT_BUS" in lost.error) == (12, True)
        run = send(event_bus="custody", event_region="us-east-1")
        assert (run.channels[0].opened, run.failures) == (12, [])
        arrived: list[dict[str, Any]] = []
        while len(arrived) < 12:
            messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5).get("Messages")
            assert messages, f"only {len(arrived)} of 12 events arrived"
            arrived += [json.loads(message["Body"]) for message in messages]
    assert {event["detail-type"] for event in arrived} == {"Custody alert opened"}
    assert {event["detail"]["recording_id"] for event in arrived} == {f"r{number:03}" for number in range(12)}
    told = night.con.execute("SELECT count(DISTINCT reference) FROM raw.alerts_sent").fetchone()
    assert told == (12,)


# -- failures --------------------------------------------------------------------------------------------------------


def notices(count: int) -> list[Notice]:
    return [
        Notice(
            "opened", Alert(NIGHT, "c", f"r{number}", None, "TAG_NEVER_SET", "error", "It is so.", "Do.", "no", None)
        )
        for number in range(count)
    ]


def put(stubs: list[Any], told: list[Notice], waits: Waits) -> list[Delivery]:
    """Deliver against a client that gives the answers `stubs`: lists of entries, or (code, status) of an error."""
    client = events_client("us-east-1")
    patience = Patience(3, 60.0, sleep=waits.append, clock=lambda: sum(waits), jitter=lambda: 0.5)
    with Stubber(client) as stubber:
        stubber.add_client_error("describe_event_bus", "AccessDeniedException", "what AWS says", 400)
        for stub in stubs:
            if isinstance(stub, tuple):
                code, status = stub
                stubber.add_client_error("put_events", code, "what AWS says", status)
            else:
                failed = sum("ErrorCode" in entry for entry in stub)
                stubber.add_response("put_events", {"FailedEntryCount": failed, "Entries": stub}, {"Entries": ANY})
        channel = EventBridgeChannel(client, patience, bus="custody")
        groups = list(channel.deliver(told))
        stubber.assert_no_pending_responses()
    return [delivery for group in groups for delivery in group]


OK = {"EventId": "e"}
THROTTLED = {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}
MALFORMED = {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed"}


def test_only_failed_entries_are_sent_again(waits: Waits) -> None:
    told = notices(3)
    delivered = put([[OK, THROTTLED, OK], [OK]], told, waits)
    assert [delivery.notice for delivery in delivered] == [told[0], told[2], told[1]]
    assert waits == [0.75]


def test_a_request_is_not_larger_than_eventbridge_takes(waits: Waits) -> None:
    """256 KiB of source, detail types and details (user guide, "Calculating PutEvents event entry size"): a larger
    request is refused as a whole, and would be so in every run.
    """
    told = [replace(notice, alert=replace(notice.alert, sentence="ü" * 30_000)) for notice in notices(10)]
    delivered = put([[OK] * 4, [OK] * 4, [OK] * 2], told, waits)
    assert [delivery.notice for delivery in delivered] == told


def test_an_entry_that_is_refused_does_not_hold_up_the_others(waits: Waits) -> None:
    refused, taken = sorted(put([[MALFORMED, OK]], notices(2), waits), key=lambda delivery: not delivery.refused)
    assert "MalformedDetail" in refused.refused
    assert (taken.refused, waits) == ("", [])


def test_entries_that_go_on_failing_end_the_channel(waits: Waits) -> None:
    with pytest.raises(DeliveryError, match="1 events failed with ThrottlingException, 3 tries"):
        put([[OK, THROTTLED], [THROTTLED], [THROTTLED]], notices(2), waits)


def test_a_refused_request_says_what_to_check(waits: Waits) -> None:
    with pytest.raises(DeliveryError, match="AccessDeniedException; check the bus and events:PutEvents"):
        put([("AccessDeniedException", 400)], notices(1), waits)


def test_a_missing_region_is_said_so(night: Night, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("AWS_REGION", raising=False)
    night.gap("r1")
    assert "check CUSTODY_ALERT_EVENT_REGION" in send(event_bus="custody").channels[0].error


def test_an_unreachable_endpoint_leaves_the_night_alone(
    night: Night, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", "http://127.0.0.1:1")
    night.gap("r1")
    run = send(event_bus="custody", event_region="us-east-1")
    assert (run.channels[0].left, "EndpointConnectionError" in run.channels[0].error) == (1, True)
