"""Details in bulk, single reads that are pending, recordings and listings: what lands and what each failure leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import pytest
from duckdb import DuckDBPyConnection

from custody_pipeline.extract import conversations, genesys, genesys_errors
from custody_pipeline.extract.catalog import collect_catalog
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.conversations import JOBS, collect_conversations, collect_details
from custody_pipeline.extract.genesys import MAX_IN_FLIGHT, GenesysClient
from custody_pipeline.extract.recordings import collect_recordings
from custody_pipeline.load.pipeline import load
from custody_pipeline.models.mapping import MappedTag
from custody_pipeline.models.pending_reads import conversations_to_read, recordings_to_read
from custody_pipeline.settings import Settings
from custody_pipeline_tests.extract.conftest import Api, Asked, Reply, reply

NewSettings = Callable[..., Settings]

NIGHT = date(2026, 11, 2)
JOB = f"{JOBS}/j1"
RESULTS = f"{JOB}/results"


def cid(number: int) -> str:
    return f"{number:08d}-0000-4000-8000-000000000000"


def conversation(number: int, attributes: Mapping[str, str | None] | None = None, **session: Any) -> dict[str, Any]:
    return {
        "conversationId": cid(number),
        "conversationStart": "2026-11-02T03:00:00.000Z",
        "participants": [
            {
                "participantId": "p",
                "purpose": "agent",
                "attributes": attributes or {},
                "sessions": [{"sessionId": "s", "mediaType": "voice", "recording": True} | session],
            }
        ],
    }


@pytest.fixture
def collector(api: Api, api_settings: NewSettings) -> Any:
    api.on("/api/v2/tokens/me", reply({"organization": {"id": "o"}, "OAuthClient": {"id": "c", "name": "n"}}))
    api.on(f"{JOBS}/availability", reply({"dataAvailabilityDate": "2026-11-03T01:00:00.000Z"}))
    api.on(JOBS, reply({"jobId": "j1"}, status=202))
    api.on(JOB, reply({"state": "FULFILLED"}))
    settings = api_settings()
    with Collector(settings, NIGHT, client=GenesysClient(settings, sleep=lambda _: None)) as made:
        yield made


def test_pages_are_followed_by_cursor_past_empty_ones_and_repeats_are_dropped(
    api: Api, con: DuckDBPyConnection, collector: Collector
) -> None:
    one, two, three = (conversation(number) for number in (1, 2, 3))
    api.on(JOB, reply({"state": "QUEUED"}), reply({"state": "PENDING"}), reply({"state": "FULFILLED"}))
    api.on(
        RESULTS,
        reply({"conversations": [one, two], "cursor": "a"}),
        reply({"conversations": [], "cursor": "b"}),
        reply({"cursor": "c"}),
        reply({"conversations": [two, three]}),
    )
    (landing,) = collect_details(collector)
    load(con, [landing])
    rows = con.execute("SELECT conversation_id FROM raw.conversation_details ORDER BY 1").fetchall()
    assert rows == [(cid(1),), (cid(2),), (cid(3),)]
    assert [asked.query.get("cursor") for asked in api.asked if asked.path == RESULTS] == [None, "a", "b", "c"]
    submitted = json.loads(next(asked.body for asked in api.asked if asked.path == JOBS))
    assert submitted["interval"] == "2026-11-02T00:00:00.000Z/2026-11-03T00:00:00.000Z"
    receipt = con.execute("SELECT receipt_state, data_available_until, collector FROM raw.extraction_receipts")
    assert receipt.fetchone() == ("complete", datetime(2026, 11, 3, 1), "n (c)")
    assert landing.requests == 9
    assert landing.detail == "a page without a list of conversations counts as empty"


@pytest.mark.parametrize("stated", ["2026-11-02T23:00:00.000Z", "2026-11-03T02:00:00.000Z"])
def test_the_earlier_of_two_watermarks_counts(api: Api, collector: Collector, stated: str) -> None:
    api.on(f"{JOB}/results", reply({"conversations": [], "dataAvailabilityDate": stated}))
    (landing,) = collect_details(collector)
    assert landing.data_available_until == min(datetime(2026, 11, 3, 1), datetime.fromisoformat(stated[:-1]))


def test_the_same_conversation_with_other_bytes_is_kept_too(
    api: Api, con: DuckDBPyConnection, collector: Collector
) -> None:
    api.on(
        RESULTS,
        reply({"conversations": [conversation(1)], "cursor": "a"}),
        reply({"conversations": [conversation(1, {"late": "1"})]}),
    )
    load(con, collect_details(collector))
    assert con.execute("SELECT count(*) FROM raw.conversation_details").fetchone() == (2,)


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "EXPIRED"])
def test_a_job_that_fails_is_submitted_once_more(
    api: Api, con: DuckDBPyConnection, collector: Collector, state: str
) -> None:
    api.on(JOB, reply({"state": state}), reply({"state": "FULFILLED"}))
    api.on(RESULTS, reply({"conversations": [conversation(1)]}))
    assert collect_details(collector)[0].state == "complete"


def test_a_job_that_fails_twice_leaves_a_failed_receipt_and_the_night_goes_on(
    api: Api, con: DuckDBPyConnection, collector: Collector
) -> None:
    api.on(JOB, reply({"state": "FAILED"}))
    load(con, collect_details(collector))
    assert con.execute("SELECT receipt_state FROM raw.extraction_receipts").fetchone() == ("failed",)
    (message,) = con.execute("SELECT message FROM raw.fetch_failures").fetchone() or ("",)
    assert "FAILED" in message


def test_a_stuck_job_is_given_up(api: Api, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "JOB_PATIENCE", 60.0)
    api.on(JOB, reply({"state": "PENDING"}))
    assert collect_details(collector)[0].state == "failed"


def test_pages_that_break_off_leave_a_partial_receipt(api: Api, con: DuckDBPyConnection, collector: Collector) -> None:
    api.on(RESULTS, reply({"conversations": [conversation(1)], "cursor": "a"}), Reply(b"<html>"))
    (landing,) = collect_details(collector)
    load(con, [landing])
    assert (landing.state, landing.documents) == ("partial", 1)


def test_a_cursor_without_an_end_is_bounded(api: Api, collector: Collector) -> None:
    api.on(RESULTS, reply({"conversations": [conversation(1)], "cursor": "same"}))
    assert collect_details(collector)[0].state == "partial"


@pytest.mark.parametrize("status", [202, 203, 206])
def test_a_page_that_is_not_there_yet_is_no_empty_page(api: Api, collector: Collector, status: int) -> None:
    first = reply({"conversations": [conversation(1)], "cursor": "a"})
    api.on(RESULTS, first, reply({"conversations": []}, status=status))
    (landing,) = collect_details(collector)
    assert (landing.state, landing.documents, landing.failures[0].http_status) == ("partial", 1, status)


def test_a_listing_of_empty_pages_without_an_end_is_bounded(
    api: Api, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(genesys, "MAX_PAGES", 5)
    api.on(RESULTS, *(reply({"conversations": [], "cursor": str(number)}) for number in range(99)))
    (landing,) = collect_details(collector)
    assert (landing.state, "the listing has more than 5 pages" in (landing.detail or "")) == ("failed", True)


def test_refused_credentials_stop_the_night(api: Api, collector: Collector) -> None:
    api.on("/oauth/token", reply({"error": "invalid_client"}, status=401))
    with pytest.raises(genesys_errors.LoginError):
        collect_details(collector)


@pytest.mark.parametrize(("status", "error"), [(404, genesys_errors.LoginError), (503, genesys_errors.NoAnswer)])
def test_a_login_that_fails_between_two_reads_makes_no_conversation_absent(
    api: Api, collector: Collector, status: int, error: type[Exception]
) -> None:
    api.on("/oauth/token", reply({"access_token": "t", "expires_in": 3600}), Reply(status=status))
    for number in range(30):
        api.on(f"/api/v2/conversations/{cid(number)}", Reply(status=401))
    assert collector.identity is not None
    with pytest.raises(error, match="POST /oauth/token"):
        collect_conversations(collector, {cid(number): ["missing"] for number in range(30)})


def test_each_single_read_that_fails_is_a_row_and_the_others_land(
    api: Api, con: DuckDBPyConnection, collector: Collector
) -> None:
    for number in range(1, 7):
        api.on(f"/api/v2/conversations/{cid(number)}", reply({"id": cid(number), "participants": [{}]}))
        api.on(f"/api/v2/conversations/{cid(number)}/customattributes", reply({"results": []}))
    api.on(f"/api/v2/conversations/{cid(2)}", reply({"code": "not.authorized"}, status=403))
    api.on(f"/api/v2/conversations/{cid(3)}", reply({"code": "not.found"}, status=404))
    api.on(f"/api/v2/conversations/{cid(4)}", Reply(status=504))
    api.on(f"/api/v2/conversations/{cid(5)}", Reply(b"not json"))
    wanted = {cid(number): ["not_in_details"] for number in range(1, 7)} | {"../../evil": ["not_in_details"]}
    wanted[cid(6)] = ["long_value"]
    landings = collect_conversations(collector, wanted)
    load(con, landings)
    rows = con.execute("SELECT key_conversation_id, document_state FROM raw.conversations ORDER BY 1").fetchall()
    assert rows == [(cid(1), "ok"), (cid(5), "not_json"), (cid(6), "ok")]
    failures = con.execute(
        "SELECT subject_id, http_status, error_code, permanent, attempts FROM raw.fetch_failures ORDER BY 1"
    ).fetchall()
    assert failures == [
        ("../../evil", None, None, True, 1),
        (cid(2), 403, "not.authorized", True, 1),
        (cid(3), 404, "not.found", True, 1),
        (cid(4), 504, None, False, 5),
    ]
    assert landings[0].state == "partial"
    typed = con.execute("SELECT key_conversation_id FROM raw.conversation_attributes ORDER BY 1").fetchall()
    assert typed == [(cid(1),), (cid(5),)]
    assert not any(".." in path for path in api.paths())


@pytest.mark.parametrize(
    ("allowed", "state", "failures"), [(0, "not_configured", 2), (404, "not_configured", 1), (200, "complete", 1)]
)
def test_typed_attributes_that_the_client_may_not_read_were_not_asked_for(
    api: Api, collector: Collector, allowed: int, state: str, failures: int
) -> None:
    for number in (1, 2):
        api.on(f"/api/v2/conversations/{cid(number)}", reply({"id": cid(number), "participants": [{}]}))
        status = allowed if allowed and number == 1 else 403
        api.on(f"/api/v2/conversations/{cid(number)}/customattributes", reply({"results": []}, status=status))
    landings = collect_conversations(collector, {cid(number): ["no_tags"] for number in (1, 2)})
    assert (landings[1].state, len(landings[1].failures)) == (state, failures)
    assert ("HTTP 403" in (landings[1].detail or "")) == (state == "not_configured")


def test_an_api_that_stopped_answering_stops_the_night(
    api: Api, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert collector.who.collector == "n (c)"

    def gone(*_: Any, **__: Any) -> None:
        raise genesys_errors.NoAnswer("GET x", "no answer")

    monkeypatch.setattr(collector.client, "get", gone)
    with pytest.raises(genesys_errors.NoAnswer):
        collect_conversations(collector, {cid(number): ["not_in_details"] for number in range(50)})


def test_recording_metadata_lands_whole_and_orphans_once(
    api: Api, con: DuckDBPyConnection, collector: Collector
) -> None:
    api.on(
        f"/api/v2/conversations/{cid(1)}/recordingmetadata",
        reply([{"id": "r1", "fileState": "AVAILABLE", "exportedDate": "2026-11-02T05:00:00.000Z"}, {"id": "r2"}]),
    )
    api.on(f"/api/v2/conversations/{cid(2)}/recordingmetadata", reply([]))
    orphan = {"id": "o1", "orphanStatus": "NO_CONVERSATION", "recording": {"id": "r9"}}
    api.on("/api/v2/orphanrecordings", reply({"entities": [orphan], "pageCount": 2}), reply({"entities": [orphan]}))
    load(con, collect_recordings(collector, [cid(1), cid(2)]))
    rows = con.execute(
        "SELECT key_conversation_id, recording_id, file_state, exported_date FROM raw.recording_metadata ORDER BY 1, 2"
    ).fetchall()
    assert rows == [
        (cid(1), "r1", "AVAILABLE", datetime(2026, 11, 2, 5)), (cid(1), "r2", None, None), (cid(2), None, None, None)
    ]  # fmt: skip
    assert con.execute("SELECT orphan_id, recording_id FROM raw.orphan_recordings").fetchall() == [("o1", "r9")]


def test_a_listing_that_is_refused_is_a_failure_row(api: Api, con: DuckDBPyConnection, collector: Collector) -> None:
    api.on("/api/v2/scripts/published", reply({"entities": [{"id": "s", "name": "Intake", "versionId": "2"}]}))
    api.on("/api/v2/routing/queues", reply({"code": "missing.permissions"}, status=403))
    api.on("/api/v2/authorization/divisions", reply({"entities": []}))
    load(con, collect_catalog(collector))
    states = dict(con.execute("SELECT resource, receipt_state FROM raw.extraction_receipts").fetchall())
    assert states == {
        "published_scripts": "complete", "queues": "failed", "divisions": "complete", "users": "not_configured"
    }  # fmt: skip
    assert con.execute("SELECT script_id, version_id FROM raw.published_scripts").fetchall() == [("s", "2")]


def test_progress_is_told_with_what_is_expected(api: Api, api_settings: NewSettings) -> None:
    told: list[tuple[str, int, int | None]] = []
    for number in (1, 2):
        api.on(f"/api/v2/conversations/{cid(number)}/recordingmetadata", reply([]))
    api.on("/api/v2/orphanrecordings", reply({"entities": []}))
    api.on("/api/v2/tokens/me", reply({}))
    with Collector(api_settings(), NIGHT, lambda *what: told.append(what)) as made:
        collect_recordings(made, [cid(1), cid(2)])
    assert told == [("recording_metadata", 1, 2), ("recording_metadata", 2, 2)]


# --- pending reads ---------------------------------------------------------------------------------------------------

REQUIRED = (
    MappedTag("legal_hold", "Legal-Hold", aliases=("LegalHold",), required=True),
    MappedTag("matter", "Matter", required=True, queues=("Claims",)),
    MappedTag("note", "Note"),
)


def exported(number: int, role: str = "media", **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    keys = {
        "conversation_id": cid(number), "recording_id": "r", "object_role": role,
        "path_date": "2026-11-02", "path_hour": 3,
    }  # fmt: skip
    row = {
        "bucket": "b", "object_key": f"{number}", "is_latest": True, "is_delete_marker": False, "object_bytes": 9,
        "last_modified": "2026-11-02T04:00:00",
    }  # fmt: skip
    return keys | {name: more[name] for name in more if name in keys}, row | {
        name: more[name] for name in more if name not in keys
    }


def sidecar(number: int, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    keys = {"bucket": "b", "object_key": f"{number}.json", "conversation_id": cid(number), "recording_id": "r"}
    return keys, {
        "conversationId": cid(number),
        "recordingId": "r",
        "startTime": "2026-11-02T03:10:00.000+0000",
        "endTime": "2026-11-02T03:20:00+0000",
    } | more


def with_two_legs(document: dict[str, Any]) -> dict[str, Any]:
    (leg,) = document["participants"]
    return document | {
        "participants": [leg, leg | {"participantId": "p2", "sessions": [leg["sessions"][0] | {"sessionId": "s2"}]}]
    }


def test_only_what_the_bulk_job_and_the_bucket_leave_open_is_read_singly(
    con: DuckDBPyConnection, settings: NewSettings
) -> None:
    tagged = {"Legal-Hold": "true"}
    details = {
        1: conversation(1, tagged),
        2: conversation(2, {"LegalHold": "x" * 1024}),
        3: conversation(3, {"LegalHold": "x" * 1023, "\U0001f4de" * 512: ""}),
        4: conversation(4),
        5: conversation(5, {"Other": "1"}),
        6: conversation(6, tagged, segments=[{"queueId": "q1"}]),
        7: conversation(7, tagged, segments=[{"queueId": "q2"}]),
        8: conversation(8, {}, recording=False),
        10: conversation(10, tagged),
        11: conversation(11, tagged),
        12: conversation(12, tagged),
        13: conversation(13, tagged),
        14: conversation(14, tagged),
        # Their second leg begins an hour after the first; that of 16 after the end.
        15: conversation(15, tagged) | {"conversationEnd": "2026-11-02T04:30:00.000Z"},
        16: conversation(16, tagged) | {"conversationEnd": "2026-11-02T04:05:00.000Z"},
        # Two recordings of one agent, of two agents, and an agent's audio that is but a snippet.
        17: with_two_legs(conversation(17, tagged)),
        18: with_two_legs(conversation(18, tagged)),
        19: conversation(19, tagged),
        20: conversation(20, tagged, recording=False, mediaType="internalmessage"),
        # The tag is there, with blanks or without a value: it may have been set since.
        21: conversation(21, {"Legal-Hold": " \t"}),
        22: conversation(22, {"Legal-Hold": None}),
    }
    landings = []
    with Collector(settings(), NIGHT) as made:
        with made.load("conversation_details") as load_:
            for document in details.values():
                load_.add({"conversation_id": document["conversationId"]}, "u", json.dumps(document).encode())
            load_.add({"conversation_id": cid(97)}, "u", b'{"conversationStart":NaN}')
        landings.append(load_.landing)
        with made.load("queues") as load_:
            for name, text in (("q1", "Claims"), ("q2", "Service")):
                load_.add({}, "u", json.dumps({"id": name, "name": text}).encode())
        landings.append(load_.landing)
        with made.load("export_objects") as load_:
            for number in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 15, 16, 17, 18, 19, 21, 22):
                load_.add_made(*reordered(exported(number, object_bytes=0 if number == 11 else 9)))
            load_.add_made(*reordered(exported(13, is_delete_marker=True)))
            for number in (17, 18):
                load_.add_made(*reordered(exported(number, recording_id="r2", object_key=f"{number} r2")))
        landings.append(load_.landing)
        with made.load("export_sidecars") as load_:
            for number in (1, 2, 3, 4, 5, 6, 7, 9, 11, 21, 22):
                load_.add_made(*reordered(sidecar(number)))
            load_.add_made(*reordered(sidecar(12, startTime="2026-11-02T05:10:00.000+0000")))
            for number, recording, agent in ((17, "r", "a"), (17, "r2", "a"), (18, "r", "a"), (18, "r2", "b")):
                keys, document = sidecar(number, recordingId=recording, userIds=[agent])
                load_.add_made(keys | {"recording_id": recording}, "u", document)
            load_.add_made(*reordered(sidecar(19, mediaSubtype="Snippet")))
            for number in (15, 16):
                times = {"startTime": "2026-11-02T04:10:00.000+0000", "endTime": "2026-11-02T04:20:00.000+0000"}
                load_.add_made(*reordered(sidecar(number, **times)))
        landings.append(load_.landing)
        with made.load("export_failures") as load_:
            for number in (14, 99):
                load_.add_made({}, "u", {"conversation": {"id": cid(number)}, "recording": {"id": "r"}})
        landings.append(load_.landing)
        with made.load("listed_recordings") as load_:
            for number, recording in ((1, "r"), (7, "another"), (98, "r")):
                load_.add_made({}, "u", {"conversationId": cid(number), "recordingId": recording})
        landings.append(load_.landing)
    load(con, landings)
    assert conversations_to_read(con, settings(), NIGHT, REQUIRED) == {
        cid(2): ["long_value"],
        cid(3): ["long_value"],
        cid(4): ["no_tags", "required_tag_missing"],
        cid(5): ["required_tag_missing"],
        cid(6): ["required_tag_missing"],
        cid(9): ["not_in_details"],
        cid(21): ["required_tag_missing"],
        cid(22): ["required_tag_missing"],
        cid(97): ["not_in_details"],
        cid(98): ["not_in_details"],
        cid(99): ["not_in_details"],
    }
    assert recordings_to_read(con, settings(), NIGHT) == {
        cid(7): ["listed"],
        cid(9): ["not_in_details"],
        cid(10): ["no_sidecar"],
        cid(11): ["count_differs", "empty_object"],
        cid(12): ["odd_sidecar"],
        cid(13): ["count_differs", "no_sidecar"],
        cid(14): ["count_differs", "failed_export"],
        cid(16): ["odd_sidecar"],
        cid(17): ["one_session"],
        cid(19): ["count_differs"],
        cid(20): ["no_flag"],
        cid(97): ["not_in_details"],
        cid(98): ["not_in_details", "listed"],
    }
    everything = settings(single_reads="all")
    assert len(recordings_to_read(con, everything, NIGHT)) == 24
    assert cid(8) not in conversations_to_read(con, everything, NIGHT, REQUIRED)


def reordered(made: tuple[dict[str, Any], dict[str, Any]]) -> tuple[dict[str, Any], str, dict[str, Any]]:
    keys, document = made
    return keys, "u", document


def test_pending_reads_of_an_empty_warehouse_are_empty(con: DuckDBPyConnection, settings: NewSettings) -> None:
    assert recordings_to_read(con, settings(), NIGHT) == {}
    assert conversations_to_read(con, settings(), NIGHT, REQUIRED) == {}


def test_reads_that_wait_to_be_asked_again_hold_up_no_others_and_few_are_in_flight(
    api: Api, api_settings: NewSettings
) -> None:
    """A waiting read stays waiting until every other conversation was read, as a pause may take minutes."""
    api.on("/api/v2/tokens/me", reply({"organization": {"id": "o"}}))
    failing = [cid(number) for number in range(0, 200, 10)]
    others = [cid(number) for number in range(200) if number % 10]
    everybody_else_was_read, lock = threading.Event(), threading.Lock()
    read: set[str] = set()
    in_flight = most = 0

    def answer(asked: Asked) -> Reply:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        name = asked.path.rpartition("/")[2]
        with lock:
            in_flight -= 1
            if name in others:
                read.add(name)
            if len(read) == len(others):
                everybody_else_was_read.set()
        return reply({}, status=503) if name in failing else reply({"id": name})

    for name in [*failing, *others]:
        api.on(f"/api/v2/conversations/{name}", answer)
    settings = api_settings()

    def wait(_: float) -> None:
        assert everybody_else_was_read.wait(60), "the others were held up"

    wanted = {name: ["long_value"] for name in sorted([*failing, *others])}
    with Collector(settings, NIGHT, client=GenesysClient(settings, sleep=wait)) as collector:
        landing = collect_conversations(collector, wanted)[0]
    assert landing.documents == len(others)
    assert [failure.subject_id for failure in landing.failures] == failing
    assert landing.retries == 4 * len(failing)
    assert most <= MAX_IN_FLIGHT


@pytest.mark.parametrize("answer", [reply([], status=202), Reply(b"", status=204), reply([], status=206)])
def test_an_answer_that_is_not_there_yet_is_no_empty_list(api: Api, collector: Collector, answer: Reply) -> None:
    api.on("/api/v2/orphanrecordings", reply({"entities": []}))
    api.on(f"/api/v2/conversations/{cid(1)}/recordingmetadata", answer)
    landing = collect_recordings(collector, [cid(1)])[0]
    assert (landing.state, landing.documents) == ("partial", 0)
    assert [failure.http_status for failure in landing.failures] == [answer.status]


@pytest.mark.parametrize(("orphans", "state"), [(499, "complete"), (500, "partial")])
def test_a_list_of_orphans_that_reaches_the_vendors_limit_is_not_whole(
    api: Api, collector: Collector, orphans: int, state: str
) -> None:
    found = [{"id": f"o{number}"} for number in range(orphans)]
    api.on("/api/v2/orphanrecordings", reply({"entities": found, "total": orphans}))
    assert collect_recordings(collector, [])[1].state == state
