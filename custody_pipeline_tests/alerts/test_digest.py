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

SECRET = "a-secret-of-the-webhook"
REPORT = "https://reports.example.com/{night}/report.html"


def many(night: Night, count: int = 12) -> None:
    for number in range(count):
        night.gap(f"r{number:02}")


def test_more_gaps_than_the_setting_are_one_alert_with_each_reason_once(
    night: Night, send: Send, hook: tuple[Hook, str]
) -> None:
    server, address = hook
    soon = NOW + timedelta(days=2)
    many(night)
    night.gap("late", "RECORDING_ARCHIVED", severity="warning", recoverable="until", recoverable_until=soon)
    run = send(webhook_url=address, webhook_secret=SECRET, digest_above=10, link_template=REPORT)
    assert run.channels[0].opened == 1
    [alert] = server.documents[0]["alerts"]
    assert (alert["reason"], alert["link"]) == (DIGEST, "https://reports.example.com/2026-11-02/report.html")
    assert "13 gaps are new." in alert["sentence"]
    never, archived = alert["groups"]
    assert (never["recordings"], never["recording_ids"]) == (12, ["r00", "r01", "r02", "r03", "r04"])
    assert never["who"] == BY_CODE["TAG_NEVER_SET"].who
    assert archived["sentence"] == "It is so: RECORDING_ARCHIVED. The deadline is near."
    assert archived["until"] == alert["recoverable_until"] == "2026-11-05T03:00:00Z"


def test_a_digest_is_updated_as_its_gaps_change_and_closed_with_the_last(
    night: Night, send: Send, servicenow: tuple[ServiceNow, str]
) -> None:
    server, address = servicenow
    login = {"servicenow_url": address, "servicenow_user": server.user, "servicenow_password": server.password}
    many(night)
    assert send(**login, digest_above=10).channels[0].opened == 1
    [record] = server.records
    assert record["short_description"] == "Custody: NIGHT_GAPS, 12 gaps of 2026-11-02"
    assert record["description"].count("It is so: TAG_NEVER_SET.") == 1
    assert "12 recordings, TAG_NEVER_SET" in record["description"]
    night.con.execute("DELETE FROM custody.gaps WHERE recording_id > 'r03'")
    assert send(**login, digest_above=10).channels[0].updated == 1
    assert "4 recordings, TAG_NEVER_SET" in record["description"]
    night.con.execute("DELETE FROM custody.gaps")
    assert send(**login, digest_above=10).channels[0].closed == 1
    assert record["state"] == "6"


def test_gaps_told_one_by_one_stay_so_and_only_new_ones_are_folded(
    night: Night, send: Send, hook: tuple[Hook, str]
) -> None:
    server, address = hook
    night.gap("first")
    send(webhook_url=address, webhook_secret=SECRET, digest_above=1)
    many(night)
    send(webhook_url=address, webhook_secret=SECRET, digest_above=1)
    night.close("first")
    send(webhook_url=address, webhook_secret=SECRET, digest_above=1)
    told = [[(alert["action"], alert["reason"]) for alert in document["alerts"]] for document in server.documents]
    assert told == [[("opened", "TAG_NEVER_SET")], [("opened", DIGEST)], [("closed", "TAG_NEVER_SET")]]


def test_slack_tells_the_nights_verdict_and_links_its_report(night: Night, send: Send, hook: tuple[Hook, str]) -> None:
    night.con.execute("INSERT INTO custody.nights VALUES (?, 'final', 0, 'established', 3, ?)", [NIGHT, NOW])
    night.con.execute(
        "INSERT INTO raw.publications BY NAME SELECT ? AS partition_date, ? AS published_at", [NIGHT, NOW]
    )
    many(night)
    send(slack_webhook_url=hook[1], digest_above=10, link_template=REPORT)
    text = hook[0].documents[0]["text"].splitlines()
    assert text[1] == (
        "Complete? No. Of 3 recordings something is missing, and nobody knows why. 12 gaps are new. "
        "<https://reports.example.com/2026-11-02/report.html|report>"
    )
    assert len(text) == 3


@pytest.mark.parametrize(
    ("until", "words"),
    [(timedelta(days=8), None), (timedelta(days=6), "The deadline is near."), (timedelta(days=-1), "has passed.")],
)
def test_the_deadline_of_another_night_is_told_when_it_comes_near(
    night: Night, send: Send, hook: tuple[Hook, str], until: timedelta, words: str | None
) -> None:
    far: dict[str, Any] = {
        "recoverable": "until",
        "recoverable_until": NOW + until,
        "partition_date": NIGHT - timedelta(days=20),
    }
    night.gap("old", "RECORDING_ARCHIVED", **far)
    send(webhook_url=hook[1], webhook_secret=SECRET)
    told = [alert["sentence"] for document in hook[0].documents for alert in document["alerts"]]
    assert len(told) == (words is not None)
    assert all(sentence.endswith(str(words)) for sentence in told)


def test_a_removal_that_comes_near_is_told_once_and_stays_while_the_policy_is_not_known(
    night: Night, send: Send, hook: tuple[Hook, str]
) -> None:
    old = date(2019, 11, 2)
    removal = Alert(
        old, None, None, "retention", "REMOVAL_NEAR", "warning", "3 conversations.", "Hold.", "until",
        datetime(2026, 12, 1),
    )  # fmt: skip
    outcomes = [
        send(removals, webhook_url=hook[1], webhook_secret=SECRET).channels[0]
        for removals in ([removal], [removal], None)
    ]
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
