"""Which gaps are alerted, and that nothing is told twice."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from custody_pipeline.alerts import AlertRun, alerted_reasons
from custody_pipeline.alerts.alert import Delivery
from custody_pipeline.alerts.delivered import Deliveries
from custody_pipeline.alerts.night_alerts import night_alerts
from custody_pipeline.models.reasons import BY_CODE
from custody_pipeline.settings import Settings
from custody_pipeline_tests.alerts.conftest import NIGHT, NOW, Night, Send
from custody_pipeline_tests.alerts.receivers import Hook


def alerted(night: Night) -> list[str]:
    reasons = alerted_reasons(Settings())
    return [alert.reason for alert in night_alerts(night.con, NIGHT, reasons=reasons, now=NOW)]


def actions(run: AlertRun, channel: str = "webhook") -> tuple[int, int, int]:
    [outcome] = [outcome for outcome in run.channels if outcome.channel == channel]
    return outcome.opened, outcome.updated, outcome.closed


def test_gaps_that_nothing_can_close_are_alerted_whatever_their_reason(night: Night) -> None:
    night.gap("r1", "TIMESTAMP_SUSPECT", severity="warning")
    assert alerted(night) == ["TIMESTAMP_SUSPECT"]


def test_gaps_that_can_be_closed_are_alerted_when_writing_or_fetching_failed(night: Night) -> None:
    night.gap("r1", "CONVERSATION_FETCH_FAILED", recoverable="yes")
    night.gap("r2", "NOT_YET_AVAILABLE", recoverable="yes", severity="warning")
    assert alerted(night) == ["CONVERSATION_FETCH_FAILED"]


@pytest.mark.parametrize(("hours", "is_alerted"), [(-1, True), (1, False)])
def test_a_gap_whose_time_has_run_out_is_alerted(night: Night, hours: int, is_alerted: bool) -> None:
    until = NOW + timedelta(hours=hours)
    night.gap("r1", "RECORDING_ARCHIVED", recoverable="until", recoverable_until=until)
    assert bool(alerted(night)) is is_alerted


def test_what_is_for_information_is_not_alerted(night: Night) -> None:
    night.gap("r1", "EXPORT_DROPPED_TAGS", severity="info", recoverable="yes")
    night.gap("r2", "TAG_CHANGED_LATER", severity="info")
    assert alerted(night) == []


def test_a_reason_that_the_settings_name_is_alerted_also_for_information(night: Night) -> None:
    night.gap("r1", "TAG_VANISHED", severity="info")
    reasons = alerted_reasons(Settings(alert_reasons=("TAG_VANISHED",)))
    assert [alert.reason for alert in night_alerts(night.con, NIGHT, reasons=reasons, now=NOW)] == ["TAG_VANISHED"]
    assert all(BY_CODE[reason].severity != "info" for reason in alerted_reasons(Settings()))


def test_other_nights_are_left_alone(night: Night) -> None:
    night.gap("r1", partition_date=NIGHT + timedelta(days=1))
    assert alerted(night) == []


def test_a_collection_that_failed_is_alerted_until_a_newer_receipt_is_complete(night: Night) -> None:
    night.receipt("export_objects", "failed")
    night.receipt("conversation_details", "partial")
    assert alerted(night) == ["COLLECTION_INCOMPLETE", "COLLECTION_FAILED"]
    night.receipt("export_objects", "complete")
    night.receipt("conversation_details", "not_configured")
    assert alerted(night) == []


@pytest.mark.parametrize(
    ("source", "state", "until", "is_alerted"),
    [
        ("export_jobs", "partial", None, True),
        ("recording_metadata", "whole", None, False),
        ("recording_audits", "not_asked", None, False),
        ("listed_recordings", "partial", datetime(2026, 11, 2, 23), False),
        ("conversation_details", "partial", None, False),
        ("conversation_details", "partial", datetime(2026, 11, 3), True),
    ],
)
def test_a_source_whose_answers_cannot_be_read_is_alerted_and_one_that_is_early_is_not(
    night: Night, source: str, state: str, until: datetime | None, is_alerted: bool
) -> None:
    night.receipt(source, "complete")
    night.con.execute("INSERT INTO custody.coverage VALUES (?, ?, ?, ?, true)", [NIGHT, source, state, until])
    assert alerted(night) == ["COLLECTION_INCOMPLETE"] * is_alerted


def test_a_night_of_which_something_is_missing_without_a_reason_is_alerted(night: Night) -> None:
    for day, completeness in ((NIGHT, "incomplete"), (NIGHT + timedelta(days=1), "established")):
        night.con.execute(
            "INSERT INTO custody.nights BY NAME SELECT ? AS partition_date, ? AS completeness", [day, completeness]
        )
    assert alerted(night) == ["NIGHT_INCOMPLETE"]
    night.con.execute("UPDATE custody.nights SET completeness = 'not_established'")
    assert alerted(night) == []


def test_a_link_holds_its_ids_quoted(night: Night) -> None:
    night.gap("r 1/..?", conversation_id="c&1")
    template = "https://dagster.example.com/gap?night={night}&id={recording_id}&of={conversation_id}"
    [alert] = night_alerts(night.con, NIGHT, reasons=[], now=NOW, link_template=template)
    assert alert.link == "https://dagster.example.com/gap?night=2026-11-02&id=r%201%2F..%3F&of=c%261"


def test_without_a_channel_nothing_is_read_or_written(night: Night, send: Send) -> None:
    night.gap("r1")
    run = send()
    assert (run.alerts, run.channels, run.failures) == (0, (), [])
    assert night.con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'alerts_sent'").fetchone() == (0,)


def test_a_rerun_tells_nothing_twice(night: Night, send: Send, hook: Hook) -> None:
    night.gap("r1")
    night.gap("r2")
    assert actions(send(**hook.webhook)) == (2, 0, 0)
    assert actions(send(**hook.webhook)) == (0, 0, 0)
    assert len(hook.calls) == 1


def test_a_changed_gap_is_updated_once_and_a_gone_one_closed_once(night: Night, send: Send, hook: Hook) -> None:
    night.gap("r1")
    night.gap("r2")
    send(**hook.webhook)
    night.con.execute("UPDATE custody.gaps SET next_action = 'Do another thing.' WHERE recording_id = 'r1'")
    night.close("r2")
    assert actions(send(**hook.webhook)) == (0, 1, 1)
    assert actions(send(**hook.webhook)) == (0, 0, 0)
    told = {alert["action"]: alert for alert in hook.documents[1]["alerts"]}
    assert told["updated"]["next_action"] == "Do another thing."
    assert told["closed"]["recording_id"] == "r2"
    assert told["closed"]["key"] == hook.documents[0]["alerts"][1]["key"]


def test_a_clock_that_was_ahead_repeats_nothing(night: Night) -> None:
    now = NOW + timedelta(days=400)
    deliveries = Deliveries(night.con, now=lambda: now)
    told: list[list[str]] = []
    night.gap("r1")
    for _ in range(2):
        for alerts in (night_alerts(night.con, NIGHT, reasons=[], now=NOW), []):
            notices = deliveries.outstanding("slack", NIGHT, alerts)
            deliveries.append("slack", [Delivery(notice) for notice in notices])
            told.append([notice.action for notice in notices])
            now = NOW
    assert told == [["opened"], ["closed"], ["opened"], ["closed"]]
    assert deliveries.outstanding("slack", NIGHT, []) == []


def test_a_gap_that_comes_back_is_opened_again_under_its_key(night: Night, send: Send, hook: Hook) -> None:
    night.gap("r1")
    send(**hook.webhook)
    night.close("r1")
    send(**hook.webhook)
    night.gap("r1")
    assert actions(send(**hook.webhook)) == (1, 0, 0)
    first, _, third = (document["alerts"][0] for document in hook.documents)
    assert (first["action"], first["key"]) == (third["action"], third["key"])


def test_two_reasons_of_one_recording_are_two_alerts(night: Night, send: Send, hook: Hook) -> None:
    night.gap("r1", "TAG_NEVER_SET")
    night.gap("r1", "REGION_MISMATCH", severity="warning")
    send(**hook.webhook)
    assert len({alert["key"] for alert in hook.documents[0]["alerts"]}) == 2


def test_a_run_killed_between_two_calls_goes_on_where_it_was(night: Night, send: Send, hook: Hook) -> None:
    night.gaps(150)
    deliveries = Deliveries(night.con, now=lambda: datetime(2026, 11, 3))
    outstanding = deliveries.outstanding(
        "webhook", NIGHT, night_alerts(night.con, NIGHT, reasons=alerted_reasons(Settings()), now=NOW)
    )
    # What a run killed after its first call of a hundred leaves behind.
    deliveries.append("webhook", [Delivery(notice) for notice in outstanding[:100]])
    assert actions(send(**hook.webhook)) == (50, 0, 0)
    assert [len(document["alerts"]) for document in hook.documents] == [50]


def test_a_call_killed_before_it_was_written_down_is_repeated_under_the_same_ids(
    night: Night, send: Send, hook: Hook
) -> None:
    night.gap("r1")
    send(**hook.webhook)
    night.con.execute("DELETE FROM raw.alerts_sent")
    send(**hook.webhook)
    first, second = hook.documents
    assert first["delivery_id"] == second["delivery_id"]
    assert first["alerts"][0]["id"] == second["alerts"][0]["id"]


def test_one_failing_channel_stops_neither_the_others_nor_the_night(night: Night, send: Send, hook: Hook) -> None:
    night.gap("r1")
    # Nothing listens on port 1.
    run = send(**hook.webhook | {"webhook_url": "http://127.0.0.1:1/in"}, slack_webhook_url=hook.address)
    webhook, slack = run.channels
    assert (webhook.opened, webhook.left, slack.opened) == (0, 1, 1)
    assert "no answer" in webhook.error
    assert len(run.failures) == 2
    assert json.loads(json.dumps(run.to_dict()))["channels"][0]["left"] == 1
    # The next run tells the one that failed, and only that one.
    run = send(**hook.webhook, slack_webhook_url=hook.address)
    assert [outcome.opened for outcome in run.channels] == [1, 0]


def test_an_alert_holds_nothing_of_the_call(night: Night, send: Send, hook: Hook) -> None:
    night.gap("r1")
    send(**hook.webhook, slack_webhook_url=hook.address)
    assert all(b"5551234567" not in body for _, body in hook.calls)
    assert set(hook.documents[0]["alerts"][0]) == {
        "id", "action", "key", "night", "conversation_id", "recording_id", "resource", "reason", "severity", "sentence",
        "next_action", "recoverable", "recoverable_until", "link",
    }  # fmt: skip
