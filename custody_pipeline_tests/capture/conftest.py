"""Fixtures of the capture tests: events as the vendor sends them, a running receiver, a vendor that answers at once."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from custody_pipeline.capture.bounded_connections import bounded_server
from custody_pipeline.capture.messages import EventQueue
from custody_pipeline.capture.receiver import MAX_WAITING, create_app
from custody_pipeline.capture.spool import Spool
from custody_pipeline.extract.genesys import Answer
from custody_pipeline.extract.genesys_errors import GenesysError
from custody_pipeline.io.signature import HEADER, sign
from custody_pipeline.settings import Settings

KEY_ID, SECRET = "k1", b"a-secret-of-the-tests"
OLD_KEY_ID, OLD_SECRET = "k0", b"an-older-secret-of-the-tests"
SECRETS = f"{KEY_ID}:{SECRET.decode()},{OLD_KEY_ID}:{OLD_SECRET.decode()}"
CONVERSATION = "11111111-2222-4333-8444-555555555555"
PARTICIPANT = "99999999-2222-4333-8444-555555555555"
EVENT_TIME_MS = 1793613600123  # 2026-11-02T10:00:00.123Z


def attribute_event(
    conversation_id: str = CONVERSATION, *, event_id: str | None = None, attributes: dict[str, str] | None = None
) -> bytes:
    """An attribute event in EventBridge's envelope."""
    body = {
        "eventTime": EVENT_TIME_MS,
        "conversationId": conversation_id,
        "participantId": PARTICIPANT,
        "attributes": {"Legal-Hold": "yes"} if attributes is None else attributes,
    }
    envelope = {
        "version": "0",
        "id": event_id or str(uuid.uuid4()),
        "detail-type": "v2.detail.events.conversation.{id}.attributes",
        "source": "aws.partner/genesys.com/cloud/0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f/custody",
        "account": "123456789012",
        "time": "2026-11-02T10:00:01Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": {
            "topicName": f"v2.detail.events.conversation.{conversation_id}.attributes",
            "version": "2",
            "eventBody": body,
            "metadata": {"CorrelationId": "c"},
        },
    }
    return json.dumps(envelope).encode()


def conversation(conversation_id: str = CONVERSATION, **attributes: str) -> bytes:
    """A conversation as the API gives it, with one agent who has `attributes`."""
    document = {
        "id": conversation_id,
        "startTime": "2026-11-02T09:58:00.000Z",
        "participants": [{"id": PARTICIPANT, "purpose": "agent", "attributes": attributes}],
    }
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass
class Vendor:
    """Answers for `GenesysClient.get`: bytes, or an exception to raise. Typed attributes are empty."""

    answers: dict[str, bytes | Answer | GenesysError] = field(default_factory=dict)
    typed: bytes | GenesysError = b'{"results":[]}'
    asked: list[str] = field(default_factory=list)

    def get(self, path: str) -> Answer:
        self.asked.append(path)
        answer = self.typed if path.endswith("/customattributes") else self.answers[path.rpartition("/")[2]]
        if isinstance(answer, GenesysError):
            raise answer
        if isinstance(answer, Answer):
            return answer
        return Answer(f"GET {path}", answer, 200, None)


@dataclass
class Clock:
    """A clock that only a test moves."""

    now: float = 1793613700.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Receiver:
    """A receiver that listens on a port of its own."""

    port: int

    def post(
        self, body: bytes, *, headers: dict[str, str | None] | None = None, path: str = "/events", method: str = "POST"
    ) -> tuple[int, dict[str, str], str]:
        """Send `body`, signed; `headers` replaces headers (None leaves one out)."""
        signature = sign(body, key_id=KEY_ID, secret=SECRET, timestamp=int(time.time()))
        wanted: dict[str, str | None] = {"Content-Type": "application/json", HEADER: signature, **(headers or {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {name: value for name, value in wanted.items() if value is not None})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        status = json.loads(text)["status"] if text.startswith("{") else text
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, status

    def raw(self, sent: bytes, *, finish: bool = False) -> bytes:
        """Send bytes unchanged, and read until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(sent)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        return received


@contextmanager
def running(queue: EventQueue, tls: Mapping[str, str] | None = None, **settings: Any) -> Iterator[Receiver]:
    """A receiver in a thread of this process."""
    ready = threading.Event()
    app = create_app(Settings(webhook_secrets=SECRETS, **settings), queue)
    server = bounded_server(app, MAX_WAITING, ready.set, **(tls or {}))
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(20)
            yield Receiver(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool" / "events.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def receiver(spool: Spool) -> Iterator[Receiver]:
    with running(spool) as started:
        yield started
