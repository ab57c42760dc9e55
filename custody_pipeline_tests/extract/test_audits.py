"""The vendor's audits of recordings: what lands, and what a refusal leaves."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from custody_pipeline.extract.audits import PAGE_SIZE, PLATFORM, QUALITY, collect_audits
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.genesys import GenesysClient
from custody_pipeline.load.pipeline import load
from custody_pipeline_tests.extract.conftest import reply

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from custody_pipeline.extract.receipts import Landing
    from custody_pipeline.settings import Settings
    from custody_pipeline_tests.extract.conftest import Api

MAPPING = {
    "services": [
        {"name": "Quality", "entities": [{"name": "Recording", "actions": ["Delete"]}]},
        {"name": "Architect", "entities": [{"name": "Flow", "actions": ["Publish"]}]},
    ]
}


@pytest.fixture
def collect(api: Api, api_settings: Callable[..., Settings]) -> Callable[..., Landing]:
    api.on("/api/v2/tokens/me", reply({"OAuthClient": {"id": "c"}}))
    api.on(f"{PLATFORM}/servicemapping", reply(MAPPING))
    for path in (QUALITY, PLATFORM):
        api.on(path, reply({"id": "t1"}, status=202))
        api.on(f"{path}/t1", reply({"state": "Running"}), reply({"state": "Succeeded"}))
        api.on(f"{path}/t1/results", reply({"entities": []}))

    def run(**values: Any) -> Landing:
        settings = api_settings(**values)
        client = GenesysClient(settings, sleep=lambda _: None)
        with Collector(settings, date(2026, 11, 2), client=client) as collector:
            return collect_audits(collector, lambda ids: ids & {"c1"})

    return run


def entry(audit_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": audit_id, "entityType": "Recording", "action": "Read", "entity": {"id": "r1"}, **fields}


def test_entries_of_the_night_land_from_both_interfaces(
    api: Api, collect: Callable[..., Landing], con: duckdb.DuckDBPyConnection
) -> None:
    here: dict[str, Any] = {
        "context": {"conversationId": "c1"},
        "remoteIps": ["192.0.2.1"],
        "eventDate": "2026-11-02T12:00:00.000Z",
    }
    api.on(
        f"{QUALITY}/t1/results",
        reply({"entities": [entry("a1", **here), entry("a2", context={"conversationId": "c2"})], "cursor": "x"}),
        reply({"entities": [entry("a3", entityType="Evaluation", **here), entry("a4")]}),
    )
    api.on(f"{PLATFORM}/t1/results", reply({"entities": [entry("b1", remoteIp=["192.0.2.2"], **here)]}))
    landing = collect()
    load(con, [landing])
    rows = con.execute(
        "SELECT audit_id, conversation_id, entity_id, remote_ips[1], event_date::VARCHAR FROM raw.recording_audits "
        "ORDER BY audit_id"
    ).fetchall()
    assert rows == [
        ("a1", "c1", "r1", "192.0.2.1", "2026-11-02 12:00:00"),
        ("a4", None, "r1", None, None),
        ("b1", "c1", "r1", "192.0.2.1", "2026-11-02 12:00:00"),
    ]
    queries = [json.loads(asked.body) for asked in api.asked if asked.method == "POST" and asked.path != "/oauth/token"]
    assert [query.get("serviceName") for query in queries] == [None, "Quality"]
    assert queries[0]["interval"].startswith("2026-11-02T00:00:00.000Z/")
    assert (landing.state, landing.detail) == ("complete", None)


def test_a_full_page_without_a_cursor_is_the_last(api: Api, collect: Callable[..., Landing]) -> None:
    api.on(f"{QUALITY}/t1/results", reply({"entities": [entry(f"a{number}") for number in range(PAGE_SIZE)]}))
    landing = collect()
    assert (landing.state, landing.documents) == ("complete", PAGE_SIZE)


def test_a_client_that_may_not_read_audits_was_not_asked(api: Api, collect: Callable[..., Landing]) -> None:
    for path in (QUALITY, f"{PLATFORM}/servicemapping"):
        api.on(path, reply({"code": "missing.permissions"}, status=403))
    landing = collect()
    assert (landing.state, landing.documents) == ("not_configured", 0)
    assert "may not read audits" in (landing.detail or "")
    assert "missing.permissions" in (landing.detail or "")


def test_one_interface_that_refuses_is_told_beside_the_other(api: Api, collect: Callable[..., Landing]) -> None:
    api.on(QUALITY, reply({"code": "missing.permissions"}, status=403))
    landing = collect()
    assert (landing.state, QUALITY in (landing.detail or "")) == ("complete", True)
    assert [(failure.subject_id, failure.http_status) for failure in landing.failures] == [(QUALITY, 403)]


def test_a_refusal_beside_a_failure_is_a_failure(api: Api, collect: Callable[..., Landing]) -> None:
    api.on(QUALITY, reply({"code": "missing.permissions"}, status=403))
    api.on(f"{PLATFORM}/servicemapping", reply({}))
    assert collect().state == "partial"


def test_a_query_that_fails_may_still_answer(api: Api, collect: Callable[..., Landing]) -> None:
    api.on(f"{QUALITY}/t1", reply({"state": "Failed"}))
    landing = collect()
    assert (landing.state, [failure.subject_id for failure in landing.failures]) == ("partial", [QUALITY])


def test_no_interval_is_longer_than_the_vendor_takes_and_the_last_ends_as_set(
    api: Api, collect: Callable[..., Landing]
) -> None:
    api.on(f"{PLATFORM}/servicemapping", reply({"services": []}))
    assert collect(audit_days=0).state == "not_configured"
    assert QUALITY not in api.paths()
    collect(audit_days=20)
    posted = [json.loads(asked.body)["interval"] for asked in api.asked if asked.path == QUALITY]
    assert posted == ["2026-11-02T00:00:00.000Z/2026-11-22T00:00:00.000Z"]


@pytest.mark.parametrize(
    "mapping",
    [{}, {"services": None}, {"services": 5}, {"services": {"name": "Quality"}}, {"services": [5]}],
)
def test_services_that_cannot_be_read_are_not_none(
    api: Api, collect: Callable[..., Landing], mapping: dict[str, Any]
) -> None:
    api.on(f"{PLATFORM}/servicemapping", reply(mapping))
    landing = collect()
    assert (landing.state, [failure.subject_id for failure in landing.failures]) == ("partial", [PLATFORM])


def test_a_service_whose_entities_cannot_be_read_is_asked_too(api: Api, collect: Callable[..., Landing]) -> None:
    api.on(f"{PLATFORM}/servicemapping", reply({"services": [{"name": "Quality", "entities": 5}]}))
    collect()
    assert [json.loads(asked.body)["serviceName"] for asked in api.asked if asked.path == PLATFORM] == ["Quality"]


def test_an_answer_of_another_shape_is_no_refusal(api: Api, collect: Callable[..., Landing]) -> None:
    api.on(f"{QUALITY}/t1/results", reply({"entities": [entry("a1", entityType=None)], "cursor": "x"}), reply({}))
    landing = collect()
    assert (landing.state, landing.documents) == ("partial", 1)
    assert [failure.subject_id for failure in landing.failures] == [QUALITY]
