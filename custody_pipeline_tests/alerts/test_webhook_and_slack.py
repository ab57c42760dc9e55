"""The two webhooks against a real server, failures included."""

from __future__ import annotations

import logging
from collections import deque

import pytest

from custody_pipeline.io.signature import HEADER, SignatureError, Verifier
from custody_pipeline_tests.alerts.conftest import Night, Send, Waits
from custody_pipeline_tests.alerts.receivers import SECRET, Failure, Hook


def test_our_own_receivers_check_accepts_the_signature(night: Night, send: Send, hook: Hook) -> None:
    night.gap("r1")
    send(**hook.webhook, webhook_key_id="k7")
    [(headers, body)] = hook.calls
    signature = headers[HEADER.lower()]
    signed_at = float(signature.split(",")[0].removeprefix("t="))
    verifier = Verifier({"k7": SECRET.encode()})
    assert verifier.verify(signature, body, now=signed_at) == "k7"
    with pytest.raises(SignatureError):
        verifier.verify(signature, body + b" ", now=signed_at)


def test_a_hundred_alerts_go_in_one_call(night: Night, send: Send, hook: Hook) -> None:
    night.gaps(201)
    run = send(**hook.webhook)
    assert run.channels[0].opened == 201
    assert [len(document["alerts"]) for document in hook.documents] == [100, 100, 1]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_trouble_is_tried_again(night: Night, send: Send, hook: Hook, waits: Waits, status: int) -> None:
    night.gap("r1")
    hook.fail = deque([Failure(status), Failure(status)])
    run = send(**hook.webhook)
    assert (run.channels[0].opened, run.failures) == (1, [])
    assert waits == [0.75, 1.5]


def test_retry_after_is_honoured(night: Night, send: Send, hook: Hook, waits: Waits) -> None:
    night.gap("r1")
    hook.fail = deque([Failure(429, headers={"Retry-After": "7"})])
    send(**hook.webhook)
    assert waits == [7.25]


def test_a_retry_after_beyond_the_channels_time_is_left_to_the_next_run(
    night: Night, send: Send, hook: Hook, waits: Waits
) -> None:
    night.gap("r1")
    hook.fail = deque([Failure(429, headers={"Retry-After": "3600"})])
    run = send(**hook.webhook)
    assert (run.channels[0].left, waits) == (1, [])
    assert send(**hook.webhook).channels[0].opened == 1


def test_tries_are_bounded(night: Night, send: Send, hook: Hook, waits: Waits) -> None:
    night.gap("r1")
    hook.fail = deque([Failure(503)] * 10)
    run = send(**hook.webhook)
    assert len(hook.fail) == 6
    assert "HTTP 503, 4 of 4 tries" in run.channels[0].error


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 410, 413])
def test_a_refusal_is_not_repeated_and_says_what_to_check(
    night: Night, send: Send, hook: Hook, waits: Waits, status: int
) -> None:
    night.gap("r1")
    hook.fail = deque([Failure(status, headers={"Location": "https://elsewhere.example/"})])
    run = send(**hook.webhook)
    assert (hook.calls, waits) == ([], [])
    assert f"HTTP {status}; check CUSTODY_ALERT_WEBHOOK_URL" in run.channels[0].error


def test_no_secret_and_no_address_is_in_a_result_or_a_log(
    night: Night, send: Send, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    night.gap("r1")
    caplog.set_level(logging.DEBUG, logger="custody_pipeline")
    hook.fail = deque([Failure(404), Failure(500), Failure(403)])
    hidden = "T000-B000-hidden"
    address = f"{hook.address}/{hidden}"
    runs = [
        send(webhook_url=address, webhook_secret=SECRET, slack_webhook_url=address),
        send(slack_webhook_url=f"http://127.0.0.1:1/{hidden}"),
    ]
    said = caplog.text + "".join(str(run) for run in runs)
    assert "could not all be sent" in said
    assert hidden not in said
    assert SECRET not in said


def test_slack_tells_each_reason_once_with_the_first_recordings_and_escaped_text(
    night: Night, send: Send, hook: Hook
) -> None:
    night.gaps(20, "TAG_CONFLICT", severity="warning")
    night.gap("<!channel> & co")
    link = "https://dagster.example.com/?night={night}&id={recording_id}"
    run = send(slack_webhook_url=hook.address, link_template=link)
    assert run.channels[0].opened == 21
    [document] = hook.documents
    heading, error, warning = document["text"].splitlines()
    assert heading == "*Custody, night 2026-11-02: 21 opened*"
    assert error.startswith("• 1 x *TAG_NEVER_SET*: It is so: TAG_NEVER_SET. Do something. By: ")
    assert "&lt;!channel&gt; &amp; co" in error
    assert "<https://dagster.example.com/?night=2026-11-02&amp;id=%3C%21channel%3E%20%26%20co|more>" in error
    assert warning.startswith("• 20 x *TAG_CONFLICT*")
    assert warning.endswith(" … and 15 more")


def test_slack_links_each_reason_of_a_recording_to_its_own_gap(night: Night, send: Send, hook: Hook) -> None:
    for reason in ("OBJECT_MISSING", "TAG_TRUNCATED"):
        night.gap("r1", reason)
    send(slack_webhook_url=hook.address, link_template="https://reports.example.com/{night}#{reason}")
    _, *lines = hook.documents[0]["text"].splitlines()
    for line, reason in zip(lines, ("OBJECT_MISSING", "TAG_TRUNCATED"), strict=True):
        assert line.startswith(f"• 1 x *{reason}*")
        assert line.endswith(f"<https://reports.example.com/2026-11-02#{reason}|more>")


def test_slack_cuts_off_no_night(night: Night, send: Send, hook: Hook) -> None:
    night.con.execute(
        "INSERT INTO custody.nights (partition_date, state) SELECT DATE '2025-01-01' + number::INTEGER, 'final' "
        "FROM range(300) AS numbers (number)"
    )
    run = send(slack_webhook_url=hook.address, link_template="https://reports.example.com/{night}/" + "x" * 100)
    texts = [document["text"] for document in hook.documents]
    assert run.channels[0].opened == sum(text.count("NIGHT_FAILED") for text in texts) == 300
    # Slack cuts off the rest, and answers ok.
    assert max(map(len, texts)) <= 40_000 < sum(map(len, texts))


def test_slack_that_has_lost_its_channel_is_said_so(night: Night, send: Send, hook: Hook) -> None:
    night.gap("r1")
    hook.fail = deque([Failure(404, "channel_not_found")])
    assert "still in the channel" in send(slack_webhook_url=hook.address).channels[0].error


def test_slack_is_silent_when_there_is_nothing_to_tell(send: Send, night: Night, hook: Hook) -> None:
    run = send(slack_webhook_url=hook.address)
    assert (run.alerts, run.failures, hook.calls) == (0, [], [])
