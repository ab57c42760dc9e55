"""Requests for deletion at the vendor: which are kept, what of them, and what a refusal leaves."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.gdpr_requests import REQUESTS, collect_gdpr_requests
from custody_pipeline.extract.genesys import GenesysClient
from custody_pipeline.load.pipeline import load
from custody_pipeline.operations.doctor import examine
from custody_pipeline.settings import Settings
from custody_pipeline_tests.extract.conftest import Reply, reply

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from custody_pipeline.extract.receipts import Landing
    from custody_pipeline_tests.extract.conftest import Api

NUMBER = "+1 (555) 010-0123"
KNOWN = {
    "c1": {"tel:+15550100123;ext=7", "tel:+15559990000"},
    "c2": {"sip:Jane.Roe@Example.com;transport=tls"},
    "c3": {"100"},
    "c4": {"5d1c", "@JaneRoe"},
}


@pytest.fixture
def collect(api: Api, api_settings: Callable[..., Settings]) -> Callable[..., Landing]:
    api.on("/api/v2/tokens/me", reply({"OAuthClient": {"id": "c"}}))

    def run(gone: set[str] | None = None, **values: Any) -> Landing:
        settings = api_settings(**values)
        client = GenesysClient(settings, sleep=lambda _: None)
        with Collector(settings, date(2026, 11, 2), client=client) as collector:
            return collect_gdpr_requests(collector, set(KNOWN) if gone is None else gone, lambda _: KNOWN)

    return run


def request(request_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": request_id,
        "requestType": "GDPR_DELETE",
        "status": "COMPLETED",
        "createdDate": "2026-11-20T09:00:00.000Z",
        "subject": {"name": "Jane Roe", "phoneNumbers": [NUMBER]},
        **fields,
    }


def page(*entities: Any, **fields: Any) -> Reply:
    return reply({"entities": list(entities), "pageSize": 100, **fields})


def landed(landing: Landing) -> str:
    return "".join(gzip.decompress(Path(file.uri).read_bytes()).decode() for file in landing.files)


def test_a_request_is_kept_where_it_names_an_address_of_the_conversation_and_without_the_person(
    api: Api, collect: Callable[..., Landing], con: duckdb.DuckDBPyConnection
) -> None:
    both = {"emailAddresses": "JANE.ROE@example.com", "phoneNumbers": [NUMBER, None], "addresses": "1 Main St"}
    api.on(
        REQUESTS,
        page(
            request("g1"),
            request("g2", subject={"name": "Richard Roe", "phoneNumbers": ["100", "+15550000000"]}),
            request("g3", requestType="GDPR_EXPORT"),
            request("g4", status="ERROR", subject=both),
            nextUri=f"{REQUESTS}?pageNumber=2",
        ),
        page(request("g5", subject=None)),
    )
    landing = collect()
    load(con, [landing])
    rows = con.execute(
        "SELECT conversation_id, request_id, request_status, created_date::VARCHAR, matched_by, request_sha256 "
        "FROM raw.gdpr_requests ORDER BY ALL"
    ).fetchall()
    assert [row[:5] for row in rows] == [
        ("c1", "g1", "COMPLETED", "2026-11-20 09:00:00", ["phoneNumbers"]),
        ("c1", "g4", "ERROR", "2026-11-20 09:00:00", ["phoneNumbers"]),
        ("c2", "g4", "ERROR", "2026-11-20 09:00:00", ["emailAddresses"]),
    ]
    assert rows[0][5] == hashlib.sha256(json.dumps(request("g1")).encode()).hexdigest()
    assert (landing.state, landing.failures) == ("complete", [])
    text = landed(landing)
    assert "g1" in text
    assert not any(part in text for part in ("Jane", "JANE", "010-0123", "5550100123", "Main"))


def test_ids_and_handles_are_compared_as_they_are_and_what_is_compared_with_nothing_is_told(
    api: Api, collect: Callable[..., Landing], con: duckdb.DuckDBPyConnection
) -> None:
    handle = {"type": "TWITTER", "value": "janeroe"}
    long_ago = "2026-11-01T23:59:59.000Z"
    subjects: list[Any] = [
        {"userId": "5D1C"},
        {"externalContactId": "5d1c", "socialHandle": handle},
        {"userId": "other"},
        {"socialHandle": {"type": "TWITTER", "value": "100"}},
        {"name": "Jane Roe"},
        {"name": "Jane Roe", "userId": " ", "socialHandle": {}},
    ]
    uncounted = [
        request("h1", requestType="GDPR_EXPORT", subject={"name": "Jane Roe"}),
        request("h2", createdDate=long_ago, subject={"name": "Jane Roe"}),
    ]
    api.on(REQUESTS, page(*(request(f"g{n}", subject=subject) for n, subject in enumerate(subjects)), *uncounted))
    landing = collect()
    load(con, [landing])
    rows = con.execute("SELECT conversation_id, request_id, matched_by FROM raw.gdpr_requests ORDER BY ALL").fetchall()
    assert rows == [
        ("c3", "g3", ["socialHandle"]),
        ("c4", "g0", ["userId"]),
        ("c4", "g1", ["externalContactId", "socialHandle"]),
    ]
    assert (landing.state, str(landing.detail)[:31]) == ("complete", "2 requests name their persons b")
    assert "Jane" not in landed(landing) + str(landing.detail)
    assert collect(gone=set()).detail is None


def test_the_list_is_asked_for_although_no_conversation_is_gone(api: Api, collect: Callable[..., Landing]) -> None:
    api.on(REQUESTS, page(request("g1")))
    landing = collect(gone=set())
    assert (landing.state, landing.documents) == ("complete", 0)
    assert REQUESTS in api.paths()


@pytest.mark.parametrize("status", [403, 404, 501])
def test_a_client_that_may_not_read_requests_was_not_asked(
    api: Api, collect: Callable[..., Landing], status: int
) -> None:
    api.on(REQUESTS, reply({"code": "missing.permissions"}, status=status))
    landing = collect()
    assert (landing.state, landing.failures) == ("not_configured", [])
    assert "may not read requests for deletion" in (landing.detail or "")


def test_answers_that_cannot_be_read_are_told_and_not_kept(api: Api, collect: Callable[..., Landing]) -> None:
    api.on(REQUESTS, reply({"requests": [request("g1")]}))
    landing = collect()
    assert landing.state == "failed"
    assert [failure.answer for failure in landing.failures] == [None]

    unreadable = [7, {"id": "../g1"}, request("g2", status=None), request("g3", createdDate=5)]
    unreadable += [request("g4", subject=7), request("g5", subject={"phoneNumbers": {"home": NUMBER}})]
    unreadable += [request("g6", subject={"userId": ["u"]}), request("g7", subject={"socialHandle": {"value": 7}})]
    api.on(REQUESTS, page(request("g1"), *unreadable))
    landing = collect()
    assert (landing.state, landing.documents) == ("partial", 1)
    assert [failure.message for failure in landing.failures] == ["8 requests cannot be read"]

    api.on(REQUESTS, page(request("g1"), nextUri=f"{REQUESTS}?pageNumber=2"), Reply(b"<html>"))
    landing = collect()
    assert (landing.state, landing.documents, landing.failures[0].answer) == ("partial", 1, None)


def test_without_the_api_nothing_is_asked(tmp_path: Path) -> None:
    with Collector(Settings.model_validate({"home": tmp_path}), date(2026, 11, 2)) as collector:
        assert collect_gdpr_requests(collector, {"c1"}, lambda _: {}).state == "not_configured"


@pytest.mark.parametrize(("status", "state"), [(200, "ok"), (403, "warning")])
def test_the_doctor_tries_the_permission_and_a_refusal_fails_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, state: str
) -> None:
    api.on("/api/v2/tokens/me", reply({}))
    api.on(REQUESTS, reply({"entities": [], "total": 0}, status=status))
    for name, value in {
        "HOME": str(tmp_path), "GENESYS_DOMAIN": api.url, "GENESYS_CLIENT_ID": "id", "GENESYS_CLIENT_SECRET": "secret",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"CUSTODY_{name}", value)
    assert next(line.state for line in examine() if line.check == "permission gdpr:request:view") == state
