"""SQS as the queue, and the choice between it and the local spool.

Belongs here: the SQS store. Does not: HTTP, envelopes, what is done with a message.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.capture.messages import Delivery, EventQueue, Message, PutOutcome, QueueError, QueueMetrics
from custody_pipeline.capture.spool import Spool
from custody_pipeline.io.concurrency import batches, sized_batches
from custody_pipeline.io.objects import error_code
from custody_pipeline.io.s3 import new_session
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        MessageAttributeValueTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

# Limits of SendMessageBatch and of a visibility timeout (Amazon SQS API reference).
_BATCH_MESSAGES = 10
_BATCH_BYTES = 256 * 1024
_MAX_DELAY_SECONDS = 12 * 3600
logger = logging.getLogger(__name__)

_REGION = re.compile(r"[./]sqs(?:-fips)?\.([a-z]+-[a-z0-9-]+)\.")
_NOT_ALLOWED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_ENCODING = "custody-encoding"
_REASON = "custody-reason"
# SQS's time is that of sending, and a message is sent anew when it is set aside or retried.
_RECEIVED = "custody-received-at"


def open_queue(settings: Settings) -> EventQueue:
    """SQS if `CUSTODY_EVENT_QUEUE_URL` is set, otherwise the local spool under `$CUSTODY_HOME`; the caller closes it.

    Raises:
        QueueError: the spool cannot be opened, or the queue has no region.
    """
    if settings.event_queue_url is None:
        return Spool(settings.spool_path)
    url = settings.event_queue_url
    return SqsQueue(sqs_client(url), url, dead_letter_url=settings.event_dead_letter_url)


def sqs_client(url: str) -> SQSClient:
    """A boto3 client in the region that the queue's URL names: SQS knows no queue of another one. Fails fast.

    Raises:
        QueueError: neither the URL nor the AWS chain has a region.
    """
    named = _REGION.search(url)
    config = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=3, read_timeout=15)
    with _translated():
        return new_session().client("sqs", region_name=named[1] if named else None, config=config)


class SqsQueue:
    """The queue in Amazon SQS (a standard queue). Bodies are sent unchanged, so EventBridge can feed it directly.

    A body with characters that SQS refuses is sent as Base64, marked by a message attribute.
    """

    def __init__(self, client: SQSClient, url: str, *, dead_letter_url: str | None = None) -> None:
        self._client = client
        self._url = url
        self._dead_url = dead_letter_url
        self._senders = ThreadPoolExecutor(8, "sqs-send")

    def put(self, messages: Sequence[Message]) -> list[PutOutcome]:
        """Send `messages` in concurrent batches; SQS acknowledges once they are stored redundantly."""
        with _translated():
            sent = self._senders.map(lambda batch: self._send(self._url, batch), _batches(messages))
            return [outcome for outcomes in sent for outcome in outcomes]

    def receive(self, limit: int, lease_seconds: float) -> list[Delivery]:
        """Lease up to `limit` messages, ten a request; returns fewer when the queue gives fewer."""
        return [_delivery(message) for message in self._receive(self._url, limit, lease_seconds)]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Delete the messages."""
        with _translated():
            self._delete(self._url, [delivery.receipt for delivery in deliveries])

    def release(self, deliveries: Sequence[Delivery], delay_seconds: float) -> None:
        """Change the messages' visibility. A lost lease is no error: another worker has the message."""
        delay = min(int(delay_seconds), _MAX_DELAY_SECONDS)
        with _translated():
            for batch in batches(deliveries, _BATCH_MESSAGES):
                self._client.change_message_visibility_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(index), "ReceiptHandle": delivery.receipt, "VisibilityTimeout": delay}
                        for index, delivery in enumerate(batch)
                    ],
                )

    def set_aside(self, deliveries: Sequence[Delivery], reason: str) -> None:
        """Send the messages to the dead-letter queue, then delete them here.

        One that is too large there, with its reason, stays here: SQS moves it after `maxReceiveCount` leases.
        """
        sent = []
        with _translated():
            url = self._dead_letters()
            for delivery in deliveries:
                body, attributes = _wire(delivery.body, delivery.received_at)
                attributes[_REASON] = _string(reason)
                try:
                    self._client.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
                except ClientError as error:
                    if error_code(error) != "InvalidParameterValue":
                        raise
                    logger.warning("A message of %d bytes (%s) is no dead letter: %s", len(body), reason, error)
                else:
                    sent.append(delivery.receipt)
            self._delete(self._url, sent)

    def retry_dead(self, limit: int | None = None) -> int:
        """Move dead letters back. Each is sent before it is deleted, so that none is lost."""
        moved = 0
        with _translated():
            url = self._dead_letters()
            while limit is None or moved < limit:
                wanted = _BATCH_MESSAGES if limit is None else min(limit - moved, _BATCH_MESSAGES)
                batch = self._receive(url, wanted, 60)
                if not batch:
                    break
                for delivery in map(_delivery, batch):
                    body, attributes = _wire(delivery.body, delivery.received_at)
                    self._client.send_message(QueueUrl=self._url, MessageBody=body, MessageAttributes=attributes)
                self._delete(url, [message["ReceiptHandle"] for message in batch])
                moved += len(batch)
        return moved

    def metrics(self) -> QueueMetrics:
        """SQS's approximate counts. The oldest message's age is only in CloudWatch."""
        with _translated():
            here = self._attributes(self._url)
            waiting = int(here["ApproximateNumberOfMessages"])
            leased = int(here["ApproximateNumberOfMessagesNotVisible"])
        dead = self._dead()
        return QueueMetrics(waiting + leased, leased, dead, None)

    def _dead(self) -> int:
        """The number of dead letters; 0 if there is no such queue, or it may not be read: events are drained anyway."""
        try:
            with _translated():
                return int(self._attributes(self._dead_letters())["ApproximateNumberOfMessages"])
        except QueueError as error:
            logger.warning("The dead letters cannot be counted: %s", error)
            return 0

    def close(self) -> None:
        """Stop the senders."""
        self._senders.shutdown()
        self._client.close()

    def _send(self, url: str, batch: list[SendMessageBatchRequestEntryTypeDef]) -> list[PutOutcome]:
        answer = self._client.send_message_batch(QueueUrl=url, Entries=batch)
        failed = {entry["Id"] for entry in answer.get("Failed", [])}
        return ["failed" if entry["Id"] in failed else "stored" for entry in batch]

    def _receive(self, url: str, limit: int, lease_seconds: float) -> list[MessageTypeDef]:
        messages: list[MessageTypeDef] = []
        with _translated():
            while len(messages) < limit:
                answer = self._client.receive_message(
                    QueueUrl=url,
                    MaxNumberOfMessages=min(_BATCH_MESSAGES, limit - len(messages)),
                    VisibilityTimeout=int(lease_seconds),
                    WaitTimeSeconds=0 if messages else 1,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
                )
                batch = answer.get("Messages", [])
                if not batch:
                    break
                messages += batch
        return messages

    def _delete(self, url: str, receipts: Sequence[str]) -> None:
        for batch in batches(receipts, _BATCH_MESSAGES):
            self._client.delete_message_batch(
                QueueUrl=url,
                Entries=[{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(batch)],
            )

    def _dead_letters(self) -> str:
        if self._dead_url is None:
            policy = orjson.loads(self._attributes(self._url).get("RedrivePolicy", "{}"))
            if "deadLetterTargetArn" not in policy:
                raise QueueError(
                    "queue_unavailable", "the queue has no dead-letter queue; set CUSTODY_EVENT_DEAD_LETTER_URL"
                )
            # The queue may be of another account than the credentials.
            *_, account, name = policy["deadLetterTargetArn"].split(":")
            self._dead_url = self._client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
        return self._dead_url

    def _attributes(self, url: str) -> dict[str, str]:
        answer = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return cast(dict[str, str], answer["Attributes"])


def _entry(message: Message) -> SendMessageBatchRequestEntryTypeDef:
    body, attributes = _wire(message.body, message.received_at)
    return {"Id": "0", "MessageBody": body, "MessageAttributes": attributes}


def _batches(messages: Iterable[Message]) -> Iterator[list[SendMessageBatchRequestEntryTypeDef]]:
    entries = map(_entry, messages)
    for batch in sized_batches(entries, _BATCH_MESSAGES, _bytes_of, _BATCH_BYTES):
        yield [{**entry, "Id": str(index)} for index, entry in enumerate(batch)]


def _bytes_of(entry: SendMessageBatchRequestEntryTypeDef) -> int:
    return len(entry["MessageBody"].encode()) + 100  # the attributes


def _wire(body: bytes, received_at: datetime) -> tuple[str, dict[str, MessageAttributeValueTypeDef]]:
    """The body in a form that SQS accepts, and the attributes that say when it came and how to decode it."""
    attributes = {_RECEIVED: _string(received_at.isoformat())}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if text and not _NOT_ALLOWED.search(text):
        return text, attributes
    return base64.b64encode(body).decode(), attributes | {_ENCODING: _string("base64")}


def _string(text: str) -> MessageAttributeValueTypeDef:
    return {"DataType": "String", "StringValue": text}


def _attribute(message: MessageTypeDef, name: str) -> str:
    attributes = message.get("MessageAttributes", {})
    return attributes[name].get("StringValue", "") if name in attributes else ""


def _body(message: MessageTypeDef) -> bytes:
    body = message["Body"]
    if _attribute(message, _ENCODING) == "base64":
        with contextlib.suppress(ValueError):  # else somebody else sent it: its envelope decides
            return base64.b64decode(body, validate=True)
    return body.encode()


def _delivery(message: MessageTypeDef) -> Delivery:
    attributes = message["Attributes"]
    try:
        received_at = datetime.fromisoformat(_attribute(message, _RECEIVED)).astimezone(UTC)
    except (ValueError, OverflowError):
        # EventBridge sends none.
        received_at = datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC)
    return Delivery(message["ReceiptHandle"], _body(message), received_at, int(attributes["ApproximateReceiveCount"]))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        name = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else type(error).__name__
        raise QueueError("queue_unavailable", f"SQS did not answer as it should ({name})") from error
