"""The vendor's list of all recordings: which of it a night keeps, and when the list is not whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from custody_pipeline.extract.catalog import collect_listing
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.recordings import RETENTION, collect_listed
from custody_pipeline.load.pipeline import load
from custody_pipeline.operations.api_probes import organization
from custody_pipeline.operations.doctor import examine
from custody_pipeline_tests.extract.conftest import Api, Asked, Reply, reply
from custody_pipeline_tests.extract.test_conversations import NIGHT, cid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import duckdb

    from custody_pipeline.extract.receipts import Landing
    from custody_pipeline.settings import Settings


@pytest.fixture
def collected(api: Api, api_settings: Callable[..., Settings]) -> Iterator[Callable[..., Landing]]:
    """Collects the list; conversation 1 alone is known to be of the night."""
    api.on("/api/v2/tokens/me", reply({"organization": {"id": "o"}}))
    made: list[Collector] = []

    def collect(**settings: Any) -> Landing:
        made.append(Collector(api_settings(**settings), NIGHT))
        return collect_listed(made[-1], lambda ids: ids & {cid(1)})

    yield collect
    for collector in made:
        collector.close()


def listed(recording: str, number: int, created: str | None = "2026-11-02T10:00:00.000Z") -> dict[str, Any]:
    times = {"creationTime": created} if created else {}
    return {"recordingId": recording, "conversationId": cid(number), **times}


def pages(*bodies: Any) -> Callable[[Asked], Reply]:
    """Answers in turn, by the cursor that only `nextUri` names, in pages that hold what `bodies` say."""

    def answer(asked: Asked) -> Reply:
        number = int(asked.query.get("cursor", "0"))
        if isinstance(found := bodies[number], Reply):
            return found
        page: dict[str, Any] = {"entities": bodies[number]}
        if number + 1 < len(bodies):
            page["nextUri"] = f"{RETENTION}?cursor={number + 1}"
        return reply(page)

    return answer


def test_an_entry_that_cannot_be_read_keeps_its_ids(
    api: Api, con: duckdb.DuckDBPyConnection, collected: Callable[..., Landing]
) -> None:
    deep = b'{"recordingId":"r1","conversationId":"%b","creationTime":' % cid(2).encode()
    deep += b'{"a":' * 1100 + b"1" + b"}" * 1101
    api.on(RETENTION, Reply(b'{"entities":[' + deep + b"]}"))
    load(con, [collected()])
    rows = con.execute("SELECT recording_id, conversation_id, document_state FROM raw.listed_recordings").fetchall()
    assert rows == [("r1", cid(2), "too_deep")]


def test_a_night_keeps_of_the_list_what_may_be_its_own(
    api: Api, con: duckdb.DuckDBPyConnection, collected: Callable[..., Landing]
) -> None:
    late = "2026-11-09T10:00:00.000Z"
    api.on(
        RETENTION,
        pages(
            [
                listed("old", 1, "2026-11-01T22:59:59.999Z"),
                # Another clock of the vendor's: only the conversation tells the night.
                listed("own and early", 1, "2026-11-01T23:59:59.999Z"),
                listed("early", 2, "2026-11-01T23:59:59.999Z"),
                listed("own", 2),
                listed("own and late", 1, late),
            ],
            [listed("own", 2), listed("late", 2, late), listed("own, no time", 1, None), listed("no time", 2, "soon")],
            [5, listed("", 2), listed(" ", 2)],
        ),
    )
    landing = collected()
    load(con, [landing])
    rows = con.execute("SELECT recording_id, document_state FROM raw.listed_recordings ORDER BY ALL").fetchall()
    kept = ["no time", "own", "own and early", "own and late", "own, no time"]
    assert rows == [*((name, "ok") for name in kept), (None, "ok"), (None, "ok"), (None, "wrong_shape")]
    assert landing.state == "complete"
    assert [asked.query.get("retentionThresholdDays") for asked in api.asked if asked.path == RETENTION] == ["0"] * 3


@pytest.mark.parametrize(("refused", "days"), [((), 1), (("0",), 2)])
def test_the_list_is_whole_until_its_threshold_and_a_day_ago(
    api: Api, collected: Callable[..., Landing], refused: tuple[str, ...], days: int
) -> None:
    """Whatever younger recordings are in it: nobody says that all others of their age are in it, too."""
    now = datetime.now(UTC).replace(tzinfo=None)

    def answer(asked: Asked) -> Reply:
        if asked.query["retentionThresholdDays"] in refused:
            return reply({"code": "bad.request"}, status=400)
        return reply({"entities": [listed("own", 1), listed("new", 2, f"{now}Z")]})

    api.on(RETENTION, answer)
    landing = collected()
    assert landing.documents == 1
    assert landing.data_available_until == landing.started_at - timedelta(days=days)


@pytest.mark.parametrize(
    ("answers", "told", "state", "documents"),
    [
        ([[listed("own", 1)], reply({}, status=403)], {}, "partial", 1),
        ([[listed("own", 1)], reply({})], {}, "partial", 1),
        ([reply({}, status=403)], {}, "failed", 0),
        ([reply({}, status=400)], {}, "failed", 0),
        ([reply([])], {}, "failed", 0),
        ([[listed("own", 1)], [listed("other", 1)]], {"retention_pages": 1}, "partial", 1),
        ([[listed("own", 1)], [listed("other", 1)]], {"retention_pages": 2}, "complete", 2),
        ([[listed("own", 1)]], {"retention_pages": 0}, "not_configured", 0),
    ],
)
def test_a_list_that_was_not_read_to_its_end_is_not_whole(
    api: Api,
    collected: Callable[..., Landing],
    answers: list[Any],
    told: dict[str, int],
    state: str,
    documents: int,
) -> None:
    api.on(RETENTION, pages(*answers))
    landing = collected(**told)
    assert (landing.state, landing.documents) == (state, documents)
    assert (landing.data_available_until is not None) == (landing.detail is None) == (state == "complete")
    assert (RETENTION in api.paths()) == (told != {"retention_pages": 0})


@pytest.mark.parametrize(
    ("refused", "pages", "state", "found"),
    [
        ((), "5", "ok", "takes a threshold of 0 days"),
        (("0",), "5", "warning", "takes a threshold of 1 day and not of 0"),
        (("0", "1"), "5", "not ok", "HTTP 400"),
        ((), "0", "not configured", "CUSTODY_RETENTION_PAGES is 0"),
    ],
)
def test_the_doctor_finds_out_which_threshold_the_list_takes(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    refused: tuple[str, ...],
    pages: str,
    state: str,
    found: str,
) -> None:
    api.on("/api/v2/tokens/me", reply({}))
    api.on(
        RETENTION,
        lambda asked: reply({"entities": []}, status=400 if asked.query["retentionThresholdDays"] in refused else 200),
    )
    for name, value in {
        "HOME": str(tmp_path), "GENESYS_DOMAIN": api.url, "GENESYS_CLIENT_ID": "id", "GENESYS_CLIENT_SECRET": "secret",
        "RETENTION_PAGES": pages,
    }.items():  # fmt: skip
        monkeypatch.setenv(f"CUSTODY_{name}", value)
    line = next(line for line in examine() if line.check == "list of all recordings")
    assert (line.state, found in line.found) == (state, True)


TWO = [{"id": "d1", "name": "Home"}, {"id": "d2", "name": "Claims"}]
NO_USER = reply({"code": "bad.request"}, status=400)


@pytest.mark.parametrize(
    ("permitted", "state", "found"),
    [
        ([reply({"entities": TWO, "total": 2})], "ok", "all 2: Home, Claims"),
        ([reply({"entities": [], "total": 0, "allDivsPermitted": True})], "ok", "all 2"),
        ([reply({"entities": TWO, "total": 2}), reply({"entities": TWO[:1], "total": 1})], "warning", "cover: Claims"),
        ([NO_USER], "warning", "Which of them count is not known"),
    ],
)
def test_the_doctor_names_the_divisions_that_the_clients_roles_do_not_cover(
    api: Api, api_settings: Callable[..., Settings], permitted: list[Reply], state: str, found: str
) -> None:
    """The vendor lists every division of the organisation, whoever asks."""
    api.on("/api/v2/tokens/me", reply({}))
    api.on("/api/v2/authorization/divisions", reply({"entities": TWO, "total": 2}))
    api.on("/api/v2/authorization/divisionspermitted/paged/me", *permitted)
    line = next(line for line in organization(api_settings()) if line.check == "divisions")
    assert (line.state, found in line.found) == (state, True)
    asked = {asked.query["permission"] for asked in api.asked if "permission" in asked.query}
    assert asked >= {"analytics:conversationDetail:view"}


@pytest.mark.parametrize(
    ("permitted", "left_out", "state", "detail"),
    [
        ([reply({"entities": [], "total": 0, "allDivsPermitted": True})], (), "complete", None),
        (
            [reply({"entities": TWO, "total": 2}), reply({"entities": TWO[:1], "total": 1})],
            (),
            "partial",
            "the client's roles do not cover: Claims",
        ),
        ([reply({"entities": TWO[:1], "total": 1})], ("CLAIMS",), "complete", "left out on purpose: Claims"),
        ([reply({"entities": [], "total": 0})], ("d2",), "partial", "cover: Home; left out on purpose: Claims"),
        # The vendor speaks of the current user, and the token of client credentials has none.
        ([NO_USER], None, "partial", "the vendor does not tell which divisions the client's roles cover"),
        ([NO_USER], (), "complete", "by the settings, left out on purpose: none"),
        ([NO_USER], ("Claims", "Home"), "complete", "by the settings, left out on purpose: Claims, Home"),
        ([reply({}, status=503)], (), "partial", None),
    ],
)
def test_a_night_whose_divisions_the_clients_roles_do_not_cover_is_not_established(
    api: Api,
    api_settings: Callable[..., Settings],
    permitted: list[Reply],
    left_out: tuple[str, ...] | None,
    state: str,
    detail: str | None,
) -> None:
    """The vendor leaves out of every list, without a word, what the roles do not cover."""
    api.on("/api/v2/tokens/me", reply({}))
    api.on("/api/v2/authorization/divisions", reply({"entities": TWO, "total": 2}))
    api.on("/api/v2/authorization/divisionspermitted/paged/me", *permitted)
    with Collector(api_settings(left_out_divisions=left_out), NIGHT) as collector:
        landing = collect_listing(collector, "divisions", "/api/v2/authorization/divisions")
    assert (landing.state, landing.documents) == (state, 2)
    assert (landing.detail or "").endswith(detail or "")
