"""One record per recording and reason, against a server with the Table API's behaviour."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from custody_pipeline.alerts import ChannelOutcome, servicenow
from custody_pipeline_tests.alerts.conftest import NOW, Night, Send, Waits
from custody_pipeline_tests.alerts.receivers import Failure, ServiceNow

Tell = Callable[..., ChannelOutcome]


@pytest.fixture
def tell(send: Send, table: ServiceNow) -> Tell:
    """Run the alerts with ServiceNow alone, by Basic authentication unless told otherwise."""
    return lambda **settings: send(**{**table.login, **settings}).channels[0]


def test_a_gap_becomes_one_record(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gap("r1")
    assert tell(servicenow_create_fields={"assignment_group": "g1"}).opened == 1
    [record] = table.records
    assert record["short_description"] == "Custody: TAG_NEVER_SET, recording r1"
    assert "It is so: TAG_NEVER_SET." in record["description"]
    assert "Conversation: conversation-of-r1" in record["description"]
    assert (record["correlation_display"], record["assignment_group"]) == ("custody_pipeline", "g1")
    assert (record["urgency"], len(record["correlation_id"])) == ("2", 40)
    assert "5551234567" not in str(record)


def test_a_record_is_updated_and_closed_with_its_gap(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gap("r1")
    tell()
    night.con.execute("UPDATE custody.gaps SET next_action = 'Do another thing.'")
    assert tell().updated == 1
    assert "Next: Do another thing." in table.records[0]["description"]
    night.close("r1")
    assert tell().closed == 1
    [record] = table.records
    assert (record["state"], record["close_code"]) == ("6", "Solution provided")
    assert "the gap is closed" in record["work_notes"]
    assert tell().closed == 0


@pytest.mark.parametrize("state", ["6", "7"])
def test_a_gap_that_comes_back_reopens_its_record(night: Night, tell: Tell, table: ServiceNow, state: str) -> None:
    night.gap("r1")
    tell()
    night.close("r1")
    tell(servicenow_close_fields={"state": state})
    night.gap("r1")
    assert tell(servicenow_close_fields={"state": state}).opened == 1
    [record] = table.records
    assert (record["state"], record["active"]) == ("2", "true")
    assert "the gap is back" in record["work_notes"]


def test_a_gap_of_a_whole_night_has_a_record_for_each_night(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gap("source:media_digests", "OBJECT_UNREADABLE", conversation_id="")
    of_the_next = {"partition_date": date(2026, 11, 3), "recoverable": "until", "recoverable_until": NOW}
    night.gap("source:media_digests", "OBJECT_UNREADABLE", conversation_id="", **of_the_next)
    assert tell().opened == 2
    night.con.execute("DELETE FROM custody.gaps WHERE partition_date = '2026-11-02'")
    assert tell().closed == 1
    assert sorted(record["state"] for record in table.records) == ["1", "6"]


def test_a_run_killed_before_it_wrote_down_its_record_makes_no_second_one(
    night: Night, tell: Tell, table: ServiceNow
) -> None:
    night.gap("r1")
    tell()
    night.con.execute("DELETE FROM raw.alerts_sent")
    assert tell().opened == 1
    assert len(table.records) == 1


def test_a_lost_answer_makes_no_second_record(night: Night, tell: Tell, table: ServiceNow, waits: Waits) -> None:
    night.gap("r1")
    table.fail = deque([Failure(504, after=True, method="POST")])
    assert tell().opened == 1
    assert (len(table.records), len(waits)) == (1, 1)


def test_a_post_that_was_not_taken_is_tried_again(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gap("r1")
    table.fail = deque([Failure(503, method="POST"), Failure(429, headers={"Retry-After": "3"}, method="POST")])
    assert tell().opened == 1
    assert len(table.records) == 1


def test_a_record_somebody_made_twice_is_updated_in_its_oldest(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gap("r1")
    tell()
    table.add(correlation_id=table.records[0]["correlation_id"], sys_created_on="2026-12-01 00:00:00")
    night.close("r1")
    tell()
    assert [record["state"] for record in table.records] == ["6", "1"]


def test_many_records_are_found_over_several_pages(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gaps(60)
    assert tell().opened == 60
    night.con.execute("DELETE FROM raw.alerts_sent")
    # An instance may give fewer records a page than it was asked for.
    table.page_cap = 7
    table.requests.clear()
    assert tell().opened == 60
    assert len(table.records) == 60
    assert sum(method == "GET" for method, _ in table.requests) == 8 + 2


def test_an_instance_that_drops_our_condition_does_not_make_us_touch_foreign_records(
    night: Night, tell: Tell, table: ServiceNow
) -> None:
    for number in range(3):
        table.add(short_description=f"Somebody else's {number}")
    table.drop_condition = True
    night.gap("r1")
    assert tell().opened == 1
    assert [record["description"] for record in table.records[:3]] == ["", "", ""]
    assert len(table.records) == 4


def test_a_record_that_was_deleted_there_is_made_again_or_left_closed(
    night: Night, tell: Tell, table: ServiceNow
) -> None:
    night.gap("r1")
    night.gap("r2")
    tell()
    table.records.clear()
    night.close("r2")
    night.con.execute("UPDATE custody.gaps SET next_action = 'Do another thing.'")
    outcome = tell()
    assert (outcome.updated, outcome.closed, len(table.records)) == (1, 1, 1)


def test_at_most_so_many_records_a_run_and_the_rest_next_time(
    night: Night, tell: Tell, table: ServiceNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicenow, "MAX_RECORDS", 3)
    night.gaps(5)
    first = tell()
    assert (first.opened, first.left) == (3, 2)
    assert tell().opened == 2
    assert len({record["correlation_id"] for record in table.records}) == 5


def test_a_channel_out_of_time_leaves_the_rest(night: Night, tell: Tell, table: ServiceNow, waits: Waits) -> None:
    waits.seconds = 10.0
    night.gaps(5)
    table.fail = deque([Failure(429, headers={"Retry-After": "8"}, method="POST")])
    outcome = tell()
    assert (outcome.opened, outcome.left, outcome.error) == (5, 0, "")
    table.fail = deque([Failure(429, headers={"Retry-After": "8"}, method="PATCH")] * 2)
    night.con.execute("UPDATE custody.gaps SET next_action = 'Do another thing.'")
    outcome = tell()
    assert (outcome.updated, outcome.left) == (0, 5)


def test_one_refused_record_does_not_stop_the_others(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gaps(3)
    table.fail = deque([Failure(403, method="POST")])
    outcome = tell()
    assert (outcome.opened, outcome.refused, outcome.error) == (2, 1, "")
    # It is tried again, as it was not taken.
    assert tell().opened == 1
    assert len(table.records) == 3


def test_refusals_without_end_stop_the_channel(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gaps(30)
    table.fail = deque([Failure(403, method="POST")] * 30)
    outcome = tell()
    assert (outcome.refused, outcome.left) == (5, 25)
    assert "5 records refused in a row" in outcome.error


def test_wrong_credentials_say_which_settings_to_check(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gap("r1")
    outcome = tell(servicenow_password="wrong-password")
    assert (outcome.opened, outcome.left) == (0, 1)
    assert "HTTP 401; check CUSTODY_ALERT_SERVICENOW_USER" in outcome.error
    assert "wrong-password" not in outcome.error
    assert len(table.requests) == 1


def test_a_missing_role_says_what_to_grant(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gap("r1")
    table.acl_allows = False
    assert "HTTP 403; give the integration user" in tell().error


def test_a_hibernating_instance_that_answers_with_a_page_is_said_so(
    night: Night, tell: Tell, table: ServiceNow
) -> None:
    night.gap("r1")
    table.fail = deque([Failure(200, "<html>Your instance is hibernating</html>", method="GET")])
    assert "is the instance awake" in tell().error


@pytest.mark.parametrize("grant", [{"servicenow_user": None, "servicenow_password": None}, {}])
def test_oauth_by_client_credentials_or_password(
    night: Night, tell: Tell, table: ServiceNow, grant: dict[str, Any]
) -> None:
    night.gap("r1")
    client = {"servicenow_client_id": table.client_id, "servicenow_client_secret": table.client_secret}
    assert tell(**client, **grant).opened == 1
    assert (table.logins, len(table.records)) == (1, 1)


def test_a_token_that_expires_on_the_way_is_renewed_once(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gap("r1")
    client = {"servicenow_client_id": table.client_id, "servicenow_client_secret": table.client_secret}
    table.fail = deque([Failure(401, method="POST")])
    assert tell(**client).opened == 1
    assert (table.logins, len(table.records)) == (2, 1)


def test_a_wrong_oauth_client_is_said_so(night: Night, tell: Tell, table: ServiceNow) -> None:
    night.gap("r1")
    outcome = tell(servicenow_client_id="client-1", servicenow_client_secret="wrong-secret")
    assert "at login; check CUSTODY_ALERT_SERVICENOW_USER" in outcome.error
    assert "wrong-secret" not in outcome.error


def test_a_failed_collection_becomes_a_record_that_closes_when_it_is_mended(
    night: Night, tell: Tell, table: ServiceNow
) -> None:
    night.receipt("export_objects", "failed")
    tell()
    night.receipt("export_objects", "partial")
    assert tell().updated == 1
    night.receipt("export_objects", "complete")
    assert tell().closed == 1
    [record] = table.records
    assert record["short_description"] == "Custody: COLLECTION_FAILED, export_objects of 2026-11-02"
    assert record["state"] == "6"
