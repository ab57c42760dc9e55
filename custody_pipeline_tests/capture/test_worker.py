"""Each conversation is captured once per change, whatever fails in between."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from custody_pipeline.capture import worker
from custody_pipeline.capture.capture_place import EncryptedStore
from custody_pipeline.capture.captured import captured_addresses, captures_of, events_of
from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.capture.messages import Message
from custody_pipeline.capture.spool import Spool
from custody_pipeline.capture.worker import (
    NOT_FOUND_ATTEMPTS,
    UNREADABLE_ATTEMPTS,
    CaptureWorker,
    DrainReport,
    capture_client,
)
from custody_pipeline.extract.genesys import Answer
from custody_pipeline.extract.genesys_errors import (
    BadRequest,
    Forbidden,
    GenesysError,
    LoginError,
    NoAnswer,
    NotFound,
    ServerTrouble,
    UnexpectedAnswer,
)
from custody_pipeline.io.document_store import DocumentStore, FolderStore
from custody_pipeline.io.night_keys import LocalWrapping, NightKeyError, NightKeys
from custody_pipeline.settings import Settings
from custody_pipeline_tests.capture.conftest import (
    CONVERSATION,
    PARTICIPANT,
    Clock,
    Vendor,
    attribute_event,
    conversation,
)

DAY = date(2026, 11, 2)
OTHER = "22222222-2222-4333-8444-555555555555"


class Setup:
    """A spool, a folder, a vendor and a worker on one clock."""

    def __init__(self, tmp_path: Path, **options: Any) -> None:
        self.clock = Clock()
        self.queue = Spool(tmp_path / "events.sqlite", clock=self.clock)
        self.store: DocumentStore = FolderStore(tmp_path / "place")
        self.vendor = Vendor()
        self.options = options

    def put(self, *bodies: bytes) -> None:
        now = datetime.fromtimestamp(self.clock.now, UTC)
        events = [(parse_event(body), body) for body in bodies]
        self.queue.put([Message(event.event_id, event.conversation_id, body, now) for event, body in events])

    def drain(self, seconds: float = 60) -> DrainReport:
        worker = CaptureWorker(
            self.queue, self.vendor, self.store, clock=self.clock, jitter=lambda: 0.0, **self.options
        )
        return worker.drain(max_seconds=seconds)

    def captures(self, day: date = DAY) -> list[dict[str, Any]]:
        return [json.loads(self.store.read(key) or b"") for key in captures_of(self.store, day)]

    def events(self, day: date = DAY) -> list[dict[str, Any]]:
        return [json.loads(self.store.read(key) or b"") for key in events_of(self.store, day)]


@pytest.fixture
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Setup]:
    def made(**options: Any) -> Setup:
        setup = Setup(tmp_path, **options)
        request.addfinalizer(setup.queue.close)
        return setup

    return made


@pytest.fixture
def setup(make: Callable[..., Setup]) -> Setup:
    return make()


def test_a_capture_holds_the_exact_bytes_and_the_tags(setup: Setup) -> None:
    answer = conversation(**{"Legal-Hold": "yes", "Number": "007"})
    setup.vendor.answers[CONVERSATION] = answer
    setup.put(attribute_event())
    report = setup.drain()
    assert (report.events, report.captures, report.stopped) == (1, 1, None)
    (key,) = captures_of(setup.store, DAY)
    assert key == f"captures/date=2026-11-02/conversation_id={CONVERSATION}/20261102T100140.000000Z.json"
    raw = setup.store.read(key) or b""
    assert raw.endswith(b'"conversation":' + answer + b"}")
    (capture,) = setup.captures()
    assert capture["kind"] == "custody.capture/1"
    assert capture["conversation_sha256"] == hashlib.sha256(answer).hexdigest()
    assert capture["conversation_state"] == "ok"
    assert capture["observed_at"] == "2026-11-02T10:01:40.000000"
    assert capture["event"]["event_time"] == "2026-11-02T10:00:00.123000"
    assert capture["participants"] == [
        {"participant_id": PARTICIPANT, "purpose": "agent", "attributes": {"Legal-Hold": "yes", "Number": "007"}}
    ]
    assert base64.b64decode(capture["custom_attributes_base64"]) == b'{"results":[]}'
    assert report.lags == [pytest.approx(99.877)]


def test_events_of_an_erased_conversation_leave_nothing(make: Callable[..., Setup], tmp_path: Path) -> None:
    setup = make(erased=lambda: frozenset({CONVERSATION}))
    setup.vendor.answers[OTHER] = conversation(OTHER)
    setup.put(attribute_event(attributes={"n": "secret-4711"}), attribute_event(OTHER))
    report = setup.drain()
    assert (report.events, report.erased, report.captures) == (2, 1, 1)
    assert {event["conversation_id"] for event in setup.events()} == {OTHER}
    assert all(CONVERSATION not in path for path in setup.vendor.asked)
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("events.sqlite*"))
    assert b"secret-4711" in kept  # SQLite leaves what it frees

    setup.queue.write_anew()

    assert b"secret-4711" not in b"".join(path.read_bytes() for path in tmp_path.glob("events.sqlite*"))


def test_events_of_a_night_whose_key_was_forgotten_leave_nothing(setup: Setup, tmp_path: Path) -> None:
    place, keys = setup.store, NightKeys(LocalWrapping([bytes(32)]), FolderStore(tmp_path / "keys"))
    setup.store = EncryptedStore(place, keys)
    setup.vendor.answers[CONVERSATION] = conversation(CONVERSATION)
    setup.put(attribute_event())
    assert setup.drain().captures == 1
    (key,) = captures_of(place, DAY)
    assert CONVERSATION.encode() not in (place.read(key) or b"")
    assert CONVERSATION.encode() in (setup.store.read(key) or b"")

    keys.forget(DAY, "ab" * 16, "2026-12-01T00:00:00Z")
    setup.put(attribute_event(attributes={"later": "1"}))
    report = setup.drain()

    assert (report.events, report.erased, report.captures, report.stopped) == (1, 1, 0, None)
    assert list(captures_of(place, DAY)) == [key]
    assert setup.queue.metrics().depth == 0


def test_numbers_of_a_conversation_that_only_capture_saw_are_known(setup: Setup) -> None:
    callers = {"participants": [{"id": "p", "ani": "tel:+15550100123", "dnis": "tel:+1800"}, {"id": "q", "ani": None}]}
    for answer in (callers, {"participants": "none"}, {"participants": [7]}):
        whole = {"id": CONVERSATION, "startTime": "2026-11-02T09:58:00.000Z", **answer}
        setup.vendor.answers[CONVERSATION] = json.dumps(whole).encode()
        setup.put(attribute_event(attributes={"n": str(answer)}))
        setup.drain()
    known = captured_addresses(setup.store, DAY, [CONVERSATION, OTHER])
    assert known == {CONVERSATION: {"tel:+15550100123", "tel:+1800"}}


def test_numbers_are_known_from_a_conversation_that_is_kept_as_base64(setup: Setup) -> None:
    whole = {"id": CONVERSATION, "startTime": "2026-11-02T09:58:00.000Z", "participants": [{"ani": "tel:+1555"}]}
    setup.vendor.answers[CONVERSATION] = json.dumps(whole, indent=1).encode()
    setup.put(attribute_event())
    setup.drain()
    assert "conversation_base64" in setup.captures()[0]
    assert captured_addresses(setup.store, DAY, [CONVERSATION]) == {CONVERSATION: {"tel:+1555"}}


def test_the_bytes_can_be_cut_out_with_standard_tools(setup: Setup, tmp_path: Path) -> None:
    answer = conversation(**{"a": ',"conversation":', "conversation": "1", "Ü": '\\"}'})
    setup.vendor.answers[CONVERSATION] = answer
    setup.put(attribute_event())
    setup.drain()
    (key,) = captures_of(setup.store, DAY)
    manual = (Path(__file__).parents[2] / "docs" / "capture.md").read_text()
    (commands,) = (block for block in manual.split("```sh\n") if "conversation_sha256" in block.partition("```")[0])
    environment = {"capture": str(next(tmp_path.rglob(key))), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", commands.partition("```")[0]], env=environment, capture_output=True, check=True)
    assert done.stdout.split()[0].decode() == hashlib.sha256(answer).hexdigest()


def test_an_event_document_keeps_the_moment_and_the_body(setup: Setup) -> None:
    setup.vendor.answers[CONVERSATION] = conversation()
    body = attribute_event(attributes={"Legal-Hold": "yes"})
    setup.put(body)
    setup.drain()
    (event,) = setup.events()
    assert (event["kind"], event["outcome"]) == ("custody.event/1", "captured")
    assert event["attributes"] == {"Legal-Hold": "yes"}
    assert event["event_time"] == "2026-11-02T10:00:00.123000"
    assert event["received_at"] == "2026-11-02T10:01:40.000000"
    assert event["raw_sha256"] == hashlib.sha256(body).hexdigest()
    assert event["body"] == json.loads(body)


def test_many_events_of_a_conversation_cost_one_reading_after_the_first_answer(setup: Setup) -> None:
    setup.vendor.answers[CONVERSATION] = conversation()
    setup.put(*[attribute_event(attributes={"Legal-Hold": str(number)}) for number in range(20)])
    report = setup.drain()
    assert (report.events, report.captures) == (20, 1)
    assert len(setup.vendor.asked) == 2 * 2  # the conversation and its typed attributes
    assert len(setup.events()) == 20


def test_duplicates_and_disorder_change_nothing(setup: Setup) -> None:
    setup.vendor.answers[CONVERSATION] = conversation(tag="1")
    for _ in range(3):
        setup.put(attribute_event())  # the same change, each time with another EventBridge id
        setup.drain()
        setup.clock.now += 60
    assert (len(setup.captures()), len(setup.events())) == (1, 1)


def test_each_change_is_captured_also_one_that_goes_back(setup: Setup) -> None:
    for tag in ("yes", "no", "no", "yes"):
        setup.vendor.answers[CONVERSATION] = conversation(**{"Legal-Hold": tag})
        setup.put(attribute_event())
        setup.drain()
        setup.clock.now += 60
    seen = [capture["participants"][0]["attributes"]["Legal-Hold"] for capture in setup.captures()]
    assert seen == ["yes", "no", "yes"]


def test_a_tag_that_vanishes_after_ten_minutes_was_seen(setup: Setup) -> None:
    setup.vendor.answers[CONVERSATION] = conversation(**{"Legal-Hold": "yes"})
    setup.put(attribute_event(attributes={"Legal-Hold": "yes"}))
    setup.drain()
    setup.clock.now += 600
    setup.vendor.answers[CONVERSATION] = conversation()
    setup.put(attribute_event(attributes={}))
    setup.drain()
    first, second = setup.captures()
    assert first["participants"][0]["attributes"] == {"Legal-Hold": "yes"}
    assert second["participants"][0]["attributes"] == {}
    assert first["observed_at"] < second["observed_at"]


@pytest.mark.parametrize("ahead", [(3600, 0, 0), (0, 0)])
def test_captures_stay_in_order_where_a_clock_was_wrong(setup: Setup, ahead: Sequence[int]) -> None:
    """A clock that was set back, or that of another worker; and one that stands still."""
    now = datetime.now(UTC).timestamp()
    for number, seconds in enumerate(ahead):
        setup.clock.now = now + seconds
        setup.vendor.answers[CONVERSATION] = conversation(Tag=str(number))
        setup.put(attribute_event(attributes={"Tag": str(number)}))
        assert setup.drain().captures == 1
    seen = [int(capture["participants"][0]["attributes"]["Tag"]) for capture in setup.captures()]
    assert seen == list(range(len(ahead)))
    times = [datetime.fromisoformat(capture["observed_at"]) for capture in setup.captures()]
    assert times == sorted(set(times))


def test_the_day_is_that_of_the_conversations_start_in_utc(setup: Setup) -> None:
    late = conversation().replace(b"2026-11-02T09:58:00.000Z", b"2026-11-01T23:30:00.000-0100")
    setup.vendor.answers[CONVERSATION] = late
    setup.put(attribute_event())
    setup.drain()
    assert len(setup.captures(date(2026, 11, 2))) == 1
    early = conversation(OTHER).replace(b"2026-11-02T09:58:00.000Z", b"2026-11-01T23:59:59.999Z")
    setup.vendor.answers[OTHER] = early
    setup.put(attribute_event(OTHER))
    setup.drain()
    assert len(setup.captures(date(2026, 11, 1))) == len(setup.events(date(2026, 11, 1))) == 1


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (b"", "empty"),
        (b"<html>gateway</html>", "not_json"),
        (b'{"id":"x', "truncated"),
        (b"[]", "wrong_shape"),
        (conversation(OTHER), "wrong_shape"),
        (b'{"id":"%s"}' % CONVERSATION.encode(), "wrong_shape"),
        (conversation().replace(b'"participants":[', b'"participants":["odd",'), "wrong_shape"),
    ],
)
def test_an_answer_that_is_no_conversation_is_kept_with_its_state(setup: Setup, answer: bytes, state: str) -> None:
    setup.vendor.answers[CONVERSATION] = answer
    setup.put(attribute_event())
    assert setup.drain().captures == 1
    (capture,) = setup.captures()
    assert capture["conversation_state"] == state
    assert capture["conversation_sha256"] == hashlib.sha256(answer).hexdigest()
    assert capture["participants"] == []
    if "conversation_base64" in capture:
        assert base64.b64decode(capture["conversation_base64"]) == answer
    # It is no reading: the next one may be, and else the event says that there was none.
    assert setup.events() == []
    for _ in range(UNREADABLE_ATTEMPTS - 1):
        setup.clock.now += 3600
        report = setup.drain()
    assert (len(setup.captures()), report.set_aside) == (1, {"conversation_unreadable": 1})
    assert [event["outcome"] for event in setup.events()] == ["conversation_unreadable"]


def test_an_answer_that_was_no_conversation_is_asked_for_again(setup: Setup) -> None:
    setup.put(attribute_event())
    answers: list[bytes | Answer] = [Answer("GET x", b"", 202, None), b"<html>gateway</html>", conversation()]
    for answer in answers:
        setup.vendor.answers[CONVERSATION] = answer
        setup.drain()
        setup.clock.now += 3600
    assert [capture["conversation_state"] for capture in setup.captures()] == ["not_json", "ok"]
    assert [event["outcome"] for event in setup.events()] == ["captured"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Forbidden("GET x", "HTTP 403"), "conversation_forbidden"),
        (GenesysError("GET x", "odd"), "conversation_unreadable"),
    ],
)
def test_what_cannot_be_read_at_all_is_a_dead_letter_with_its_reason(
    setup: Setup, error: GenesysError, reason: str
) -> None:
    setup.vendor.answers[CONVERSATION] = error
    setup.put(attribute_event())
    report = setup.drain()
    assert report.set_aside == {reason: 1}
    assert setup.queue._database.execute("SELECT reason FROM events WHERE state = 'dead'").fetchall() == [(reason,)]
    (event,) = setup.events()
    assert (event["outcome"], event["attributes"]) == (reason, {"Legal-Hold": "yes"})


@pytest.mark.parametrize(
    "trouble",
    [
        ServerTrouble("GET x", "HTTP 503"),
        LoginError("POST /oauth/token", "HTTP 401"),
        UnexpectedAnswer("GET x", "HTTP 302"),
        b"<html>gateway</html>",
    ],
)
def test_a_conversation_is_kept_while_its_typed_attributes_cannot_be_read(
    setup: Setup, trouble: GenesysError | bytes
) -> None:
    setup.vendor.answers[CONVERSATION] = conversation(Tag="soon gone")
    setup.vendor.typed = trouble
    setup.put(attribute_event())
    report = setup.drain()
    assert (report.captures, report.events, report.released) == (1, 0, 1)
    setup.vendor.typed = b'{"results":[1]}'
    setup.clock.now += 3600
    assert setup.drain().events == 1
    custom = [capture["custom_attributes_sha256"] for capture in setup.captures()]
    assert custom == [None, hashlib.sha256(b'{"results":[1]}').hexdigest()]


def test_a_conversation_whose_typed_attributes_are_refused_is_kept(setup: Setup) -> None:
    setup.vendor.answers[CONVERSATION] = conversation()
    setup.vendor.typed = BadRequest("GET x", "HTTP 400")
    setup.put(attribute_event())
    report = setup.drain()
    assert (report.captures, report.events, report.set_aside) == (1, 1, {})


def test_a_conversation_that_is_not_there_yet_gets_another_chance(setup: Setup) -> None:
    setup.vendor.answers[CONVERSATION] = NotFound("GET x", "HTTP 404")
    setup.put(attribute_event())
    assert setup.drain().released == 1
    setup.vendor.answers[CONVERSATION] = conversation()
    setup.clock.now += 3600
    assert setup.drain().captures == 1


def test_a_conversation_that_never_is_there_becomes_a_dead_letter(setup: Setup) -> None:
    setup.vendor.answers[CONVERSATION] = NotFound("GET x", "HTTP 404")
    setup.put(attribute_event())
    for _ in range(NOT_FOUND_ATTEMPTS):
        report = setup.drain()
        setup.clock.now += 3600
    assert report.set_aside == {"conversation_not_found": 1}


def test_an_hour_without_the_vendor_loses_nothing_and_wastes_no_attempts(setup: Setup) -> None:
    ids = [f"{number:08d}-2222-4333-8444-555555555555" for number in range(200)]
    setup.vendor.answers = dict.fromkeys(ids, NoAnswer("GET x", "no answer"))
    setup.put(*[attribute_event(conversation_id) for conversation_id in ids])
    for _ in range(60):
        assert setup.drain().stopped == "vendor_unavailable"
        setup.clock.now += 60
    asked_during_the_outage = len(setup.vendor.asked)
    setup.vendor.answers = {conversation_id: conversation(conversation_id) for conversation_id in ids}
    while setup.queue.metrics().depth:
        setup.drain(seconds=10**6)
        setup.clock.now += 3600
    assert asked_during_the_outage <= 3 * 60
    assert len(setup.captures()) == len(ids)
    assert setup.queue.metrics().dead == 0


def test_after_all_attempts_it_is_a_dead_letter_that_a_retry_brings_back(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_ATTEMPTS", 2)
    setup.vendor.answers[CONVERSATION] = ServerTrouble("GET x", "HTTP 503")
    setup.put(attribute_event())
    setup.drain()
    setup.clock.now += 3600
    assert setup.drain().set_aside == {"vendor_unavailable": 1}
    setup.vendor.answers[CONVERSATION] = conversation()
    assert setup.queue.retry_dead() == 1
    assert setup.drain().captures == 1


def test_a_refused_login_stops_the_drain(setup: Setup) -> None:
    setup.vendor.answers = dict.fromkeys([CONVERSATION, OTHER], LoginError("POST /oauth/token", "HTTP 401"))
    setup.put(attribute_event(), attribute_event(OTHER))
    report = setup.drain()
    assert (report.stopped, report.released, len(setup.vendor.asked)) == ("login_refused", 1, 1)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), NightKeyError("KMS key k: no answer")])
def test_a_store_that_cannot_be_written_stops_the_drain_and_keeps_the_events(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> bool:
        raise error

    setup.vendor.answers[CONVERSATION] = conversation()
    setup.put(attribute_event())
    with monkeypatch.context() as patched:
        patched.setattr(setup.store, "create", full)
        assert setup.drain().stopped == "store_unavailable"
    setup.clock.now += 3600
    assert setup.drain().captures == 1


def test_time_is_kept_and_the_rest_goes_back(setup: Setup) -> None:
    setup.vendor.answers[CONVERSATION] = conversation()
    setup.put(attribute_event())
    report = setup.drain(seconds=0)
    assert (report.stopped, report.released, report.events) == ("time", 1, 0)
    assert setup.drain().captures == 1


def test_a_message_that_is_no_event_is_set_aside(setup: Setup) -> None:
    setup.queue.put([Message("odd", CONVERSATION, b'{"hello":"world"}', datetime.now(UTC))])
    assert setup.drain().set_aside == {"unknown_envelope": 1}


def test_a_capture_cut_off_before_its_document_is_finished_by_the_next_worker(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    create = setup.store.create

    def killed_before_the_document(key: str, content: bytes) -> bool:
        if key.startswith("captures/"):
            raise KilledError
        return create(key, content)

    setup.vendor.answers[CONVERSATION] = conversation()
    setup.put(attribute_event())
    with monkeypatch.context() as patched:
        patched.setattr(setup.store, "create", killed_before_the_document)
        with pytest.raises(KilledError):
            setup.drain()
    setup.clock.now += 1000
    setup.drain()
    (capture,) = setup.captures()
    assert capture["observed_at"] == "2026-11-02T10:01:40.000000"


def altered(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("is_encrypted", [False, True])
@pytest.mark.parametrize("kind", ["claims", "captures"])
@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"{}", lambda content: content[:-9], altered])
def test_a_document_that_is_damaged_counts_as_none_and_is_named(
    setup: Setup,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    is_encrypted: bool,
    kind: str,
    damage: Callable[[bytes], bytes],
) -> None:
    if is_encrypted:
        setup.store = EncryptedStore(setup.store, NightKeys(LocalWrapping([bytes(32)]), FolderStore(tmp_path / "keys")))
    setup.vendor.answers |= {CONVERSATION: conversation(), OTHER: conversation(OTHER)}
    setup.put(attribute_event())
    setup.drain()
    (file,) = (tmp_path / "place" / kind).rglob("*.json")
    file.write_bytes(content := damage(file.read_bytes()))
    (file.parent / "notes.json").write_bytes(b"")

    setup.clock.now += 60
    setup.put(attribute_event(), attribute_event(OTHER))
    report = setup.drain()

    is_read = kind == "captures" and content == b"{}"  # a document, though not of ours
    assert (report.events, report.captures, report.stopped) == (2, 1 if is_read else 2, None)
    assert is_read or content == b"{}" or file.name in caplog.text
    setup.put(attribute_event())
    assert setup.drain().captures == 0


def test_capture_uses_its_share_of_the_rate_limit() -> None:
    settings = Settings(genesys_domain="mypurecloud.de", genesys_client_id="i", genesys_client_secret="s")
    with capture_client(settings) as client:
        assert client._settings.genesys_requests_per_minute == 150
