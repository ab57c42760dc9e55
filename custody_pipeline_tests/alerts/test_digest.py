"""Many gaps of a night are told as one, with each deadline, and nothing that was told is lost on the way."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from custody_pipeline.alerts import Alert, servicenow
from custody_pipeline.alerts.alert import Notice
from custody_pipeline.alerts.delivery import Patience
from custody_pipeline.alerts.digest import DIGEST, with_digest
from custody_pipeline.alerts.eventbridge import EventBridgeChannel, events_client
from custody_pipeline.models.reasons import BY_CODE
from custody_pipeline_tests.alerts.conftest import NIGHT, NOW, Night, Send
from custody_pipeline_tests.alerts.receivers import Hook, ServiceNow

REPORT = "https://reports.example.com/{night}/report.html"


def test_more_gaps_than_the_setting_are_one_alert_with_each_reason_once(night: Night, send: Send, hook: Hook) -> None:
    soon = NOW + timedelta(days=2)
    night.gaps(12)
    night.gap("late", "RECORDING_ARCHIVED", severity="warning", recoverable="until", recoverable_until=soon)
    run = send(**hook.webhook, digest_above=10, link_template=REPORT)
    assert run.channels[0].opened == 1
    [alert] = hook.documents[0]["alerts"]
    assert (alert["reason"], alert["link"]) == (DIGEST, "https://reports.example.com/2026-11-02/report.html")
    assert "13 gaps are new." in alert["sentence"]
    never, archived = alert["groups"]
    assert (never["recordings"], never["recording_ids"]) == (12, ["r000", "r001", "r002", "r003", "r004"])
    assert never["who"] == BY_CODE["TAG_NEVER_SET"].who
    assert archived["sentence"] == "It is so: RECORDING_ARCHIVED. The deadline is near."
    assert archived["until"] == alert["recoverable_until"] == "2026-11-05T03:00:00Z"


def test_a_digest_is_updated_as_its_gaps_change_and_closed_with_the_last(
    night: Night, send: Send, table: ServiceNow
) -> None:
    night.gaps(12)
    assert send(**table.login, digest_above=10).channels[0].opened == 1
    [record] = table.records
    assert record["short_description"] == "Custody: NIGHT_GAPS, 12 gaps of 2026-11-02"
    assert record["description"].count("It is so: TAG_NEVER_SET.") == 1
    assert "12 recordings, TAG_NEVER_SET" in record["description"]
    night.con.execute("DELETE FROM custody.gaps WHERE recording_id > 'r003'")
    assert send(**table.login, digest_above=10).channels[0].updated == 1
    assert "4 recordings, TAG_NEVER_SET" in record["description"]
    night.con.execute("DELETE FROM custody.gaps")
    assert send(**table.login, digest_above=10).channels[0].closed == 1
    assert record["state"] == "6"


def test_gaps_told_one_by_one_stay_so_and_only_new_ones_are_folded(night: Night, send: Send, hook: Hook) -> None:
    night.gap("first")
    send(**hook.webhook, digest_above=1)
    night.gaps(12)
    send(**hook.webhook, digest_above=1)
    night.close("first")
    send(**hook.webhook, digest_above=1)
    told = [[(alert["action"], alert["reason"]) for alert in document["alerts"]] for document in hook.documents]
    assert told == [[("opened", "TAG_NEVER_SET")], [("opened", DIGEST)], [("closed", "TAG_NEVER_SET")]]


def test_slack_tells_the_nights_verdict_and_links_its_report(night: Night, send: Send, hook: Hook) -> None:
    # Two sources name the one recording that nobody can explain.
    night.con.execute("INSERT INTO custody.nights VALUES (?, 'final', 0, 'established', 2, ?)", [NIGHT, NOW])
    night.con.execute("INSERT INTO custody.chain_of_custody VALUES (?, 'present', [], 0)", [NIGHT])
    night.con.execute(
        "INSERT INTO raw.publications BY NAME SELECT ? AS partition_date, ? AS published_at", [NIGHT, NOW]
    )
    night.gaps(12)
    send(slack_webhook_url=hook.address, digest_above=10, link_template=REPORT)
    text = hook.documents[0]["text"].splitlines()
    assert text[1] == (
        "Complete? No. Of 1 recording something is missing, and nobody knows why. 12 gaps are new. "
        "<https://reports.example.com/2026-11-02/report.html|report>"
    )
    assert len(text) == 3


@pytest.mark.parametrize(
    ("days", "until", "words"),
    [
        (7, timedelta(days=8), None), (7, timedelta(days=6), "The deadline is near."),
        (7, timedelta(days=-1), "has passed."), (0, timedelta(days=1), None),
        # The run before was a day and some minutes ago.
        (0, -timedelta(days=1, minutes=10), "has passed."), (1, -timedelta(days=1, minutes=10), "has passed."),
    ],
)  # fmt: skip
def test_the_deadline_of_another_night_is_told_when_it_comes_near(
    night: Night, send: Send, hook: Hook, days: int, until: timedelta, words: str | None
) -> None:
    far: dict[str, Any] = {
        "recoverable": "until",
        "recoverable_until": NOW + until,
        "partition_date": NIGHT - timedelta(days=20),
    }
    night.gap("old", "RECORDING_ARCHIVED", **far)
    send(**hook.webhook, deadline_days=days)
    told = [alert["sentence"] for document in hook.documents for alert in document["alerts"]]
    assert len(told) == (words is not None)
    assert all(sentence.endswith(str(words)) for sentence in told)


def test_a_removal_that_comes_near_is_told_once_and_stays_while_the_policy_is_not_known(
    night: Night, send: Send, hook: Hook
) -> None:
    old = date(2019, 11, 2)
    removal = Alert(
        old, None, None, "retention", "REMOVAL_NEAR", "warning", "3 conversations.", "Hold.", "until",
        datetime(2026, 12, 1),
    )  # fmt: skip
    outcomes = [send(removals, **hook.webhook).channels[0] for removals in ([removal], [removal], None)]
    assert [(outcome.opened, outcome.closed) for outcome in outcomes] == [(1, 0), (0, 0), (0, 0)]


def test_a_digest_of_every_reason_fits_one_event() -> None:
    gaps = [
        Alert(NIGHT, f"c{n}", "r" * 36, None, code, "error", reason.sentence, reason.next_action, "yes", None)
        for code, reason in BY_CODE.items()
        for n in range(20)
    ]
    [digest] = with_digest(gaps, (), above=10, now=NOW, verdict="", link=None)
    client = events_client("us-east-1")
    with Stubber(client) as stubber:
        stubber.add_response("describe_event_bus", {}, {"Name": "custody"})
        stubber.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]}, {"Entries": ANY})
        channel = EventBridgeChannel(client, Patience(), bus="custody")
        [[delivery]] = list(channel.deliver([Notice("opened", digest)]))
    assert delivery.reference == "e"
    # ServiceNow's field cuts off what is more than 4,000 characters.
    description = servicenow._description(digest)
    assert len(description) < 4000
    assert " reasons more: see the report" in description
    # AWS takes 256 KiB a request.
    assert len(json.dumps(digest.to_dict())) < 100_000
