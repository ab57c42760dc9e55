"""A real receiver on 127.0.0.1: 202 means durable, everything else has its status, nothing is reflected."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from custody_pipeline.capture import bounded_connections, group_commit
from custody_pipeline.capture import receiver as receiver_module
from custody_pipeline.capture.envelopes import ATTRIBUTES_TOPIC
from custody_pipeline.capture.messages import EventQueue, Message, PutOutcome, QueueError
from custody_pipeline.capture.receiver import create_app
from custody_pipeline.capture.spool import Spool
from custody_pipeline.io.signature import HEADER, sign
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline_tests.capture.conftest import (
    CONVERSATION,
    KEY_ID,
    OLD_KEY_ID,
    OLD_SECRET,
    SECRET,
    Receiver,
    attribute_event,
    running,
)

pytestmark = pytest.mark.server

LIMIT = 128 * 1024


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """One receiver for all tests that do not look into its spool."""
    spool = Spool(tmp_path_factory.mktemp("shared") / "events.sqlite")
    with running(spool) as started:
        yield started
    spool.close()


def signed(body: bytes, *, key_id: str = KEY_ID, secret: bytes = SECRET, age: float = 0) -> str:
    return sign(body, key_id=key_id, secret=secret, timestamp=int(time.time() - age))


def request_head(body: bytes, *more: str) -> bytes:
    lines = ["POST /events HTTP/1.1", "Host: x", "Content-Type: application/json", f"{HEADER}: {signed(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def test_an_accepted_event_is_in_the_spool(receiver: Receiver, spool: Spool) -> None:
    body = attribute_event()
    assert receiver.post(body)[::2] == (202, "accepted")
    assert [delivery.body for delivery in spool.receive(10, 60)] == [body]


def test_both_active_secrets_are_good(shared: Receiver) -> None:
    body = attribute_event()
    header = signed(body, key_id=OLD_KEY_ID, secret=OLD_SECRET)
    assert shared.post(body, headers={HEADER: header})[0] == 202


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("openssl") is None, reason="needs curl and openssl")
def test_curl_and_openssl_are_all_a_sender_needs(shared: Receiver, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(attribute_event())
    script = """
    t=$(date +%s)
    mac=$( { printf '%s.k1.' "$t"; cat body; } | openssl dgst -sha256 -hmac "$SECRET" | sed 's/.* //')
    curl -sS -o answer -w '%{http_code}' -H 'Content-Type: application/json' \
      -H "Custody-Signature: t=$t,k=k1,v1=$mac" --data-binary @body "$URL/events"
    """
    environment = {"SECRET": SECRET.decode(), "URL": f"http://127.0.0.1:{shared.port}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert (done.stdout, (tmp_path / "answer").read_text()) == (b"202", '{"status":"accepted"}')


def test_the_same_event_a_thousand_times_at_once_is_one_event(receiver: Receiver, spool: Spool) -> None:
    body = attribute_event()
    with ThreadPoolExecutor(32) as senders:
        answers = list(senders.map(lambda _: receiver.post(body)[::2], range(1000)))
    assert sorted(answers)[:1] == [(202, "accepted")]
    assert answers.count((202, "duplicate")) == 999
    assert spool.metrics().depth == 1


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "signature_missing"),
        ("", "signature_missing"),
        ("v1=00", "signature_malformed"),
        (signed(b"another body"), "signature_wrong"),
        (signed(b"another body")[:-1], "signature_malformed"),
    ],
    # A signature holds the time: as a test's name it would differ between processes.
    ids=["none", "empty", "without_time", "of_another_body", "cut_short"],
)
def test_a_bad_signature_is_401(receiver: Receiver, spool: Spool, header: str | None, code: str) -> None:
    assert receiver.post(attribute_event(), headers={HEADER: header})[::2] == (401, code)
    assert spool.metrics().depth == 0


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"key_id": "k9"}, "signature_wrong"),
        ({"secret": b"somebody else's secret"}, "signature_wrong"),
        ({"age": 400}, "timestamp_old"),
        ({"age": -400}, "timestamp_future"),
    ],
)
def test_another_key_or_another_time_is_401(shared: Receiver, options: dict[str, Any], code: str) -> None:
    body = attribute_event()
    assert shared.post(body, headers={HEADER: signed(body, **options)})[::2] == (401, code)


def test_a_replay_within_the_window_changes_nothing(receiver: Receiver, spool: Spool) -> None:
    body = attribute_event()
    header = signed(body, age=100)
    assert receiver.post(body, headers={HEADER: header})[::2] == (202, "accepted")
    spool.acknowledge(spool.receive(1, 60))
    assert receiver.post(body, headers={HEADER: header})[::2] == (202, "duplicate")
    assert spool.metrics().depth == 0


def test_an_event_without_a_time_is_a_repeat_only_as_long_as_its_signature_is_valid(
    receiver: Receiver, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"topicName": ATTRIBUTES_TOPIC, "eventBody": {"conversationId": CONVERSATION}}).encode()
    now = [1793613600.0]
    monkeypatch.setattr("custody_pipeline.capture.receiver.time.time", lambda: now[0])
    answers = []
    for later in (0, 10, 3600):
        now[0] = 1793613600.0 + later
        header = sign(body, key_id=KEY_ID, secret=SECRET, timestamp=int(now[0]))
        answers.append(receiver.post(body, headers={HEADER: header})[2])
        spool.acknowledge(spool.receive(1, 60))
    assert answers == ["accepted", "duplicate", "accepted"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "not_json"),
        (b"{", 400, "not_json"),
        (b"[]", 422, "not_an_object"),
        (b'{"hello":"world"}', 422, "unknown_envelope"),
        (attribute_event("not-a-conversation"), 422, "bad_conversation_id"),
    ],
)
def test_a_signed_body_that_is_no_event_is_refused(shared: Receiver, body: bytes, status: int, code: str) -> None:
    assert shared.post(body)[::2] == (status, code)


def test_an_announced_size_above_the_limit_is_413(shared: Receiver) -> None:
    assert shared.post(b" " * (LIMIT + 1))[::2] == (413, "too_large")


def test_a_body_of_exactly_the_limit_is_read(shared: Receiver) -> None:
    body = attribute_event()
    assert shared.post(body + b" " * (LIMIT - len(body)))[::2] == (202, "accepted")


def test_a_small_chunked_body_is_read(shared: Receiver) -> None:
    body = attribute_event()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:50], body[50:])) + b"0\r\n\r\n"
    answer = shared.raw(request_head(body, "Transfer-Encoding: chunked", "Connection: close") + chunks)
    assert answer.startswith(b"HTTP/1.1 202 ")


def test_an_endless_chunked_body_is_cut(shared: Receiver) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = request_head(b"", "Transfer-Encoding: chunked") + chunk * 8
    assert shared.raw(sent).startswith(b"HTTP/1.1 413 ")


def test_a_compressed_body_is_415(shared: Receiver) -> None:
    body = gzip.compress(attribute_event())
    headers: dict[str, str | None] = {"Content-Encoding": "gzip", HEADER: signed(body)}
    assert shared.post(body, headers=headers)[::2] == (415, "compressed")


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_media_type_is_415(shared: Receiver, media_type: str | None) -> None:
    assert shared.post(attribute_event(), headers={"Content-Type": media_type})[::2] == (415, "not_json_type")


def test_a_body_that_does_not_come_is_408(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "BODY_SECONDS", 0.2)
    with running(spool) as receiver:
        answer = receiver.raw(request_head(b"", "Content-Length: 100") + b"{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b'{"status":"too_slow"}')


def test_headers_that_do_not_come_end_the_connection(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_connections, "HEADER_SECONDS", 0.2)
    with running(spool) as receiver:
        assert receiver.raw(b"POST /events HTTP/1.1\r\nHost: x\r\nX-Slow") == b""


def test_headers_without_end_are_refused(shared: Receiver) -> None:
    answer = shared.raw(b"POST /events HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 40_000)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_headers_that_come_in_one_piece_are_refused_as_well(shared: Receiver) -> None:
    body = attribute_event()
    long = [f"X-{number}: {'a' * 900}" for number in range(20)]
    answer = shared.raw(request_head(body, f"Content-Length: {len(body)}", *long) + body)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_connections_that_send_nothing_do_not_turn_events_away(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_connections, "MAX_IDLE", 5)
    half = [b"", b"POST", request_head(b"", "Content-Length: 9")]
    with running(spool) as receiver, contextlib.ExitStack() as stack:
        waiting = [
            stack.enter_context(socket.create_connection(("127.0.0.1", receiver.port), timeout=20)) for _ in range(30)
        ]
        for number, connection in enumerate(waiting):
            with contextlib.suppress(ConnectionError):
                connection.sendall(half[number % 3])
        assert receiver.post(attribute_event())[0] == 202
        for connection in waiting[:20]:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b"", "closed by the server"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    names = {"certificate": str(folder / "cert.pem"), "private_key": str(folder / "key.pem")}
    files = ["-keyout", names["private_key"], "-out", names["certificate"]]
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=localhost", *files]
    subprocess.run(command, check=True, capture_output=True)
    return names


def test_connections_that_do_not_shake_hands_do_not_turn_events_away(
    spool: Spool, tls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_connections, "MAX_IDLE", 5)
    body = attribute_event()
    with running(spool, tls) as receiver, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", receiver.port)
        waiting = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(30)]
        # The newest wait still; those before them are closed long before a handshake ends for being slow.
        for connection in waiting[:20]:
            assert connection.recv(1) == b"", "closed by the server"
        context = ssl.create_default_context(cafile=tls["certificate"])
        context.check_hostname = False
        connection = stack.enter_context(socket.create_connection(address, timeout=20))
        shaken = stack.enter_context(context.wrap_socket(connection))
        shaken.sendall(request_head(body, f"Content-Length: {len(body)}") + body)
        assert shaken.recv(100).startswith(b"HTTP/1.1 202 ")


def test_a_connection_that_does_not_shake_hands_is_closed(
    spool: Spool, tls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_connections, "HEADER_SECONDS", 0.1)
    with running(spool, tls) as receiver, socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as waiting:
        assert waiting.recv(1) == b""


class Stuck:
    """A queue that accepts no event until it is released; its metrics can be read."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def put(self, messages: Sequence[Message]) -> list[PutOutcome]:
        self.go_on.wait(20)
        return ["stored"] * len(messages)

    def metrics(self) -> None:
        pass


def test_health_does_not_wait_for_events(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Stuck()
    with running(cast("EventQueue", queue)) as receiver, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(receiver.post, attribute_event())
        assert receiver.post(b"", path="/health", method="GET")[::2] == (200, "ok")
        assert not sent.done()
        monkeypatch.setattr(group_commit, "HEALTH_SECONDS", 0.1)
        monkeypatch.setattr(queue, "metrics", queue.go_on.wait)
        assert receiver.post(b"", path="/health", method="GET")[::2] == (503, "queue_unavailable")
        queue.go_on.set()
        assert sent.result()[0] == 202


def test_a_sender_that_goes_away_leaves_nothing(receiver: Receiver, spool: Spool) -> None:
    body = attribute_event()
    receiver.raw(request_head(body, f"Content-Length: {len(body)}") + body[:-1], finish=True)
    assert spool.metrics().depth == 0
    assert receiver.post(body)[0] == 202


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_post_is_allowed(shared: Receiver, method: str) -> None:
    status, headers, _ = shared.post(b"", method=method)
    assert (status, headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/", "/events/", "//events", "/admin", "/events/../events", "/docs"])
def test_other_paths_are_404_and_never_a_redirect(shared: Receiver, path: str) -> None:
    status, headers, _ = shared.post(attribute_event(), path=path)
    assert status == 404
    assert "location" not in headers


def test_nothing_of_a_request_comes_back(shared: Receiver) -> None:
    marker = "<script>marker</script>"
    for answer in (
        shared.post(f'{{"event":"{marker}"}}'.encode()),
        shared.post(marker.encode(), headers={HEADER: marker}),
        shared.post(b"", path="/marker"),
        shared.post(attribute_event("marker")),
    ):
        assert "marker" not in str(answer)
        assert answer[1].get("server") is None


def test_log_lines_hold_no_secret_and_no_tag(shared: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "custody_pipeline")
    body = attribute_event(attributes={"Callback-Number": "+15551234567"})
    shared.post(body)
    shared.post(body, headers={HEADER: signed(body, secret=b"a-guessed-secret-of-somebody")})
    assert "401 signature_wrong" in caplog.text
    for hidden in (SECRET.decode(), "+15551234567", "a-guessed-secret", "v1="):
        assert hidden not in caplog.text


class BrokenQueue:
    """A queue that is down: every method fails."""

    def __init__(self, code: str) -> None:
        self.code = code

    def put(self, messages: Sequence[Message]) -> list[PutOutcome]:
        raise QueueError(self.code, "for the test")

    def metrics(self) -> Any:
        raise QueueError(self.code, "for the test")


@pytest.mark.parametrize("code", ["disk_full", "queue_unavailable"])
def test_an_event_that_cannot_be_stored_is_503_and_to_be_sent_again(code: str) -> None:
    with running(BrokenQueue(code)) as receiver:  # type: ignore[arg-type]
        status, headers, answer = receiver.post(attribute_event())
        assert (status, answer, headers["retry-after"]) == (503, code, "5")
        assert receiver.post(b"", method="GET", path="/health")[::2] == (503, code)


def test_a_queue_that_fails_unexpectedly_does_not_end_the_receiver(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: Iterator[Any] = iter([ZeroDivisionError("for the test")])

    def fail_once(messages: Sequence[Message]) -> list[PutOutcome]:
        for error in outcomes:
            raise error
        return Spool.put(spool, messages)

    monkeypatch.setattr(spool, "put", fail_once)
    with running(spool) as receiver:
        assert receiver.post(attribute_event())[::2] == (503, "queue_unavailable")
        assert receiver.post(attribute_event())[::2] == (202, "accepted")


def test_a_full_disk_is_503_and_nothing_is_lost_when_there_is_room_again(receiver: Receiver, spool: Spool) -> None:
    pages = spool._database.execute("PRAGMA page_count").fetchone()[0]
    spool._database.execute(f"PRAGMA max_page_count = {pages}")
    bodies = [attribute_event(attributes={"Summary": "x" * 8000}) for _ in range(20)]
    answers = [receiver.post(body)[0] for body in bodies]
    assert answers[-1] == 503
    assert spool.metrics().depth == answers.count(202)
    spool._database.execute(f"PRAGMA max_page_count = {pages + 10_000}")
    assert {receiver.post(body)[0] for body in bodies} == {202}
    assert spool.metrics().depth == len(bodies)


def test_health_is_ok_while_the_spool_can_be_used(receiver: Receiver) -> None:
    assert receiver.post(b"", method="GET", path="/health")[::2] == (200, "ok")


def test_without_a_secret_there_is_no_receiver(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUSTODY_WEBHOOK_SECRETS", raising=False)
    with pytest.raises(SettingsError, match="CUSTODY_WEBHOOK_SECRETS is not set"):
        create_app(Settings(), spool)
