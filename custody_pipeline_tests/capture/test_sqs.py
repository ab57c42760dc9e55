"""The queue in SQS, fed by EventBridge; both are ministack's, on 127.0.0.1."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import boto3
import dagster as dg
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from custody_pipeline.capture.captured import captures_of
from custody_pipeline.capture.envelopes import ATTRIBUTES_TOPIC, parse_event
from custody_pipeline.capture.messages import Delivery, Message, QueueError
from custody_pipeline.capture.queues import SqsQueue, open_queue, sqs_client
from custody_pipeline.capture.spool import Spool
from custody_pipeline.capture.worker import CaptureWorker
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.defs.sensors import live_captures, waiting_events
from custody_pipeline.extract.genesys_errors import Forbidden
from custody_pipeline.io.document_store import FolderStore
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.events import events_of
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.simulator.state import CLIENT_ID, CLIENT_SECRET
from custody_pipeline_tests.capture.conftest import CONVERSATION, Vendor, attribute_event, conversation, running

pytestmark = pytest.mark.server

SOURCE = "aws.partner/genesys.com/cloud/0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f/custody"
OTHER = "22222222-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def aws(ministack: str) -> dict[str, Any]:
    """Endpoint and credentials of ministack."""
    return {
        "endpoint_url": ministack,
        "region_name": "us-east-1",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
        "config": Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=2, read_timeout=10),
    }


@pytest.fixture
def stack(aws: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The shipped CloudFormation template, deployed; yields its outputs."""
    template = (resources.files("custody_pipeline.capture.install") / "eventbridge-sqs.yaml").read_text()
    client = boto3.client("cloudformation", **aws)
    name = f"custody-{time.monotonic_ns()}"
    parameters = [
        {"ParameterKey": "EventSourceName", "ParameterValue": SOURCE},
        {"ParameterKey": "QueueName", "ParameterValue": name},
    ]
    client.create_stack(
        StackName=name, TemplateBody=template, Parameters=parameters, Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
    (described,) = client.describe_stacks(StackName=name)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    _redrive(boto3.client("sqs", **aws), outputs)
    yield outputs
    client.delete_stack(StackName=name)
    client.close()


def _redrive(sqs: Any, outputs: dict[str, str]) -> None:
    """What CloudFormation does with the template's RedrivePolicy, and ministack's does not."""
    arn = sqs.get_queue_attributes(QueueUrl=outputs["DeadLetterUrl"], AttributeNames=["QueueArn"])["Attributes"]
    policy = json.dumps({"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": 50})
    sqs.set_queue_attributes(QueueUrl=outputs["QueueUrl"], Attributes={"RedrivePolicy": policy})
    sqs.close()


@pytest.fixture
def queue(aws: dict[str, Any], stack: dict[str, str]) -> Iterator[SqsQueue]:
    opened = SqsQueue(boto3.client("sqs", **aws), stack["QueueUrl"])
    yield opened
    opened.close()


def message(body: bytes) -> Message:
    return Message("e", CONVERSATION, body, datetime.now(UTC))


def test_bodies_come_back_as_they_were_sent_even_those_that_sqs_refuses(queue: SqsQueue) -> None:
    bodies = [b"{}", '{"a":"\uffff"}'.encode(), '{"a":"\x7fé😀"}'.encode(), b"\xff\x00", b" " * 100_000 + b"{}"]
    bodies += [json.dumps({"n": number}).encode() for number in range(30)]
    assert queue.put([message(body) for body in bodies]) == ["stored"] * len(bodies)
    received = [delivery.body for delivery in queue.receive(100, 60)]
    assert sorted(received) == sorted(bodies)


def test_a_released_message_comes_again_and_an_acknowledged_one_does_not(queue: SqsQueue) -> None:
    queue.put([message(b"1"), message(b"2")])
    first = queue.receive(10, 60)
    assert queue.metrics().leased == 2
    queue.acknowledge([delivery for delivery in first if delivery.body == b"1"])
    queue.release([delivery for delivery in first if delivery.body == b"2"], 0)
    again = queue.receive(10, 60)
    assert [(delivery.body, delivery.attempts) for delivery in again] == [(b"2", 2)]


def test_dead_letters_wait_in_their_own_queue_until_they_are_retried(queue: SqsQueue) -> None:
    then = datetime.now(UTC) - timedelta(days=3)
    queue.put([Message("e", CONVERSATION, body, then) for body in (b"1", "\uffff".encode())])
    queue.set_aside(queue.receive(10, 60), "conversation_forbidden")
    assert (queue.metrics().depth, queue.metrics().dead) == (0, 2)
    assert queue.retry_dead(limit=1) == 1
    assert queue.retry_dead() == 1
    again = queue.receive(10, 60)
    assert sorted(delivery.body for delivery in again) == [b"1", "\uffff".encode()]
    assert {delivery.received_at for delivery in again} == {then}
    assert queue.metrics().dead == 0


def test_what_eventbridge_delivers_is_captured(
    aws: dict[str, Any], queue: SqsQueue, stack: dict[str, str], tmp_path: Path
) -> None:
    detail = json.loads(attribute_event())["detail"]
    events = boto3.client("events", **aws)
    entry = {"Source": SOURCE, "DetailType": ATTRIBUTES_TOPIC, "Detail": json.dumps(detail), "EventBusName": SOURCE}
    unwanted = entry | {"DetailType": "v2.detail.events.conversation.{id}.acw"}
    assert events.put_events(Entries=[entry, unwanted])["FailedEntryCount"] == 0  # type: ignore[list-item]
    events.close()
    vendor = Vendor({CONVERSATION: conversation(**{"Legal-Hold": "yes"})})
    store = FolderStore(tmp_path)
    report = CaptureWorker(queue, vendor, store).drain(max_seconds=30)
    assert (report.events, report.captures) == (1, 1)
    assert queue.metrics().depth == 0
    (key,) = store.keys("events/")
    assert json.loads(store.read(key) or b"")["topic"] == ATTRIBUTES_TOPIC


def test_dagsters_sensor_sees_what_eventbridge_delivers_and_its_turn_reads_the_conversations(
    aws: dict[str, Any], stack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization = Organization(size=12, faults=FaultPlan.none())
    documents = [json.loads(event.body) for call in organization.conversations() for event in events_of(call)]
    entries: list[Any] = [
        {
            "Source": SOURCE,
            "DetailType": document["detail-type"],
            "Detail": json.dumps(document["detail"]),
            "EventBusName": SOURCE,
        }
        for document in documents
        if "detail" in document
    ][:10]
    with SimulatorServer(organization, now=organization.opening + timedelta(days=1)) as vendor:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "CUSTODY_HOME": str(tmp_path),
            "CUSTODY_GENESYS_DOMAIN": vendor.base_url,
            "CUSTODY_GENESYS_CLIENT_ID": CLIENT_ID,
            "CUSTODY_GENESYS_CLIENT_SECRET": CLIENT_SECRET,
            "CUSTODY_EVENT_QUEUE_URL": stack["QueueUrl"],
            "AWS_ENDPOINT_URL_SQS": aws["endpoint_url"],
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("events", **aws)
        resources = {"deployment": Deployment()}
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance, resources=resources) as context,
        ):
            assert isinstance(waiting_events(context), dg.SkipReason)
            assert client.put_events(Entries=entries)["FailedEntryCount"] == 0
            client.close()
            request = waiting_events(context)
            assert isinstance(request, dg.RunRequest)
            assert request.tags["custody/events"] == str(len(entries))
            turn = dg.materialize([live_captures], instance=instance, resources={"deployment": Deployment()})
            assert turn.success
            assert isinstance(waiting_events(context), dg.SkipReason)
    named = {json.loads(entry["Detail"])["eventBody"]["conversationId"] for entry in entries}
    keys = captures_of(FolderStore(tmp_path / "captures"), organization.night)
    assert {key.split("/")[2].partition("=")[2] for key in keys} == named


def test_the_receiver_answers_202_once_sqs_has_the_event(queue: SqsQueue) -> None:
    body = attribute_event()
    with running(queue) as receiver:
        assert receiver.post(body)[::2] == (202, "accepted")
    assert [parse_event(delivery.body).conversation_id for delivery in queue.receive(10, 60)] == [CONVERSATION]


def test_the_worker_sets_aside_what_is_forbidden_and_keeps_the_rest(queue: SqsQueue, tmp_path: Path) -> None:
    vendor = Vendor({CONVERSATION: Forbidden("GET x", "HTTP 403"), OTHER: conversation(OTHER)})
    queue.put([message(attribute_event()), message(attribute_event(OTHER))])
    report = CaptureWorker(queue, vendor, FolderStore(tmp_path)).drain(max_seconds=30)
    assert (report.captures, report.set_aside) == (1, {"conversation_forbidden": 1})
    assert (queue.metrics().depth, queue.metrics().dead) == (0, 1)


def test_without_a_dead_letter_queue_the_missing_setting_is_named(aws: dict[str, Any], stack: dict[str, str]) -> None:
    lonely = SqsQueue(boto3.client("sqs", **aws), stack["DeadLetterUrl"])
    try:
        lonely.put([message(b"{}")])
        with pytest.raises(QueueError, match="CUSTODY_EVENT_DEAD_LETTER_URL"):
            lonely.set_aside(lonely.receive(1, 60), "conversation_forbidden")
        assert lonely.metrics().depth == 1
    finally:
        lonely.close()


def test_a_queue_that_is_not_there_is_unavailable(aws: dict[str, Any], stack: dict[str, str]) -> None:
    absent = SqsQueue(boto3.client("sqs", **aws), stack["QueueUrl"] + "-absent")
    try:
        with pytest.raises(QueueError, match="queue_unavailable"):
            absent.put([message(b"{}")])
        with pytest.raises(QueueError, match="queue_unavailable"):
            absent.metrics()
    finally:
        absent.close()


def test_nothing_listening_is_unavailable_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = boto3.client(
        "sqs",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="y",
        config=Config(retries={"total_max_attempts": 1}),
    )
    queue = SqsQueue(client, f"http://127.0.0.1:{port}/000000000000/q")
    with running(queue) as receiver:
        assert receiver.post(attribute_event())[::2] == (503, "queue_unavailable")
    queue.close()


def test_settings_choose_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    common = Settings(home=tmp_path)
    spool = open_queue(common)
    sqs = open_queue(common.model_copy(update={"event_queue_url": "https://sqs.us-east-1.amazonaws.com/1/q"}))
    assert (type(spool), type(sqs)) == (Spool, SqsQueue)
    spool.close()
    sqs.close()


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/111122223333/q", "eu-west-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/111122223333/q", "us-gov-west-1"),
        ("https://vpce-1-2.sqs.ap-southeast-2.vpce.amazonaws.com/111122223333/q", "ap-southeast-2"),
        ("http://127.0.0.1:4566/000000000000/q", "eu-central-1"),
    ],
)
def test_a_queue_is_asked_in_its_own_region(url: str, region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQS of another region answers that there is no such queue (botocore's endpoints have the forms of the hosts)."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert sqs_client(url).meta.region_name == region


def test_a_queue_without_any_region_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(QueueError, match="NoRegionError"):
        sqs_client("http://127.0.0.1:4566/000000000000/q")


def test_a_message_that_is_too_large_as_a_dead_letter_does_not_hold_up_the_others() -> None:
    """SQS counts the attributes, and answers InvalidParameterValue (LocalStack, which is compared with AWS)."""

    def send(**asked: Any) -> None:
        if len(asked["MessageBody"]) > 9:
            raise ClientError({"Error": {"Code": "InvalidParameterValue"}}, "SendMessage")

    client = Mock(send_message=send)
    queue = SqsQueue(client, "here", dead_letter_url="dead")
    bodies = (b"x" * 10, b"{}")
    queue.set_aside([Delivery(f"r{len(body)}", body, datetime.now(UTC), 1) for body in bodies], "unknown_topic")
    client.delete_message_batch.assert_called_once_with(QueueUrl="here", Entries=[{"Id": "0", "ReceiptHandle": "r2"}])
    queue.close()


def test_the_dead_letters_of_another_account_are_not_looked_for_in_ours() -> None:
    """The redrive policy names the queue by its ARN; GetQueueUrl looks in the caller's account unless told another."""
    policy = json.dumps({"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:444455556666:dead", "maxReceiveCount": 5})
    found = {"Attributes": {"RedrivePolicy": policy, "ApproximateNumberOfMessages": "3"}}
    found["Attributes"]["ApproximateNumberOfMessagesNotVisible"] = "0"
    client = Mock(get_queue_attributes=Mock(return_value=found), get_queue_url=Mock(return_value={"QueueUrl": "x"}))
    queue = SqsQueue(client, "here")
    assert queue.metrics().dead == 3
    client.get_queue_url.assert_called_once_with(QueueName="dead", QueueOwnerAWSAccountId="444455556666")
    queue.close()


def test_events_are_counted_where_the_dead_letters_may_not_be_read() -> None:
    def attributes(**asked: str) -> dict[str, Any]:
        if asked["QueueUrl"] == "dead":
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetQueueAttributes")
        return {"Attributes": {"ApproximateNumberOfMessages": "3", "ApproximateNumberOfMessagesNotVisible": "1"}}

    queue = SqsQueue(Mock(get_queue_attributes=attributes), "here", dead_letter_url="dead")
    assert (queue.metrics().depth, queue.metrics().dead) == (4, 0)
    queue.close()


def test_a_body_of_somebody_else_that_only_says_it_is_base64_ends_no_drain() -> None:
    client = Mock()
    message = {
        "Body": "abc",
        "ReceiptHandle": "r",
        "Attributes": {"SentTimestamp": "1793613600123", "ApproximateReceiveCount": "1"},
        "MessageAttributes": {"custody-encoding": {"DataType": "String", "StringValue": "base64"}},
    }
    client.receive_message.side_effect = [{"Messages": [message]}, {}]
    (delivery,) = SqsQueue(client, "https://sqs.example/q").receive(10, 60)
    assert delivery.body == b"abc"
