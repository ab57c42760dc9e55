"""Landing files → raw: typed, complete, and visible only with a receipt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed
from duckdb import DuckDBPyConnection

from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.receipts import FetchFailure, Landing
from custody_pipeline.load import parsing, raw_tables
from custody_pipeline.load import pipeline as load_pipeline
from custody_pipeline.load.pipeline import load, raw_pipeline, write_receipts
from custody_pipeline.load.raw_tables import RAW_TABLES, RawSchemaError, all_raw_tables, create_raw_tables
from custody_pipeline.load.source import raw_source
from custody_pipeline.models.pending_reads import known_addresses
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import SQL_DIR, read_model
from custody_pipeline_tests.extract.landed import read_document

Land = Callable[..., Landing]

NIGHT = date(2026, 11, 2)
GOOD = (
    b'{"id":"c1","participants":[{"id":"p","purpose":"agent","attributes":{"Legal-Hold":"true","legal_hold":"007"}}]}'
)


def landed(home: Path, resource: str, *documents: bytes, failures: int = 0, **keys: Any) -> Landing:
    with Collector(Settings(home=home), NIGHT) as collector, collector.load(resource) as made:
        for number, content in enumerate(documents):
            made.add({"conversation_id": f"c{number}", **keys}, "https://api/x", content)
        for number in range(failures):
            made.add_failure(FetchFailure(resource, f"f{number}", "gone", 404))
    return made.landing


@pytest.fixture
def land(tmp_path: Path) -> Land:
    return partial(landed, tmp_path / "home")


@pytest.fixture(scope="module")
def rows_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[Any]]]:
    """The documents of `LACKING`, `CUT` and `CAPITALS` in one load. Gives the rows of one landing."""
    folder = tmp_path_factory.mktemp("together")
    cases = [*LACKING, *CUT, *((resource, documents) for resource, documents, _ in CAPITALS)]
    landings = {(resource, *found): landed(folder / "home", resource, *found) for resource, found in cases}

    def rows_of(resource: str, documents: Sequence[bytes], columns: str) -> list[Any]:
        found = f"SELECT {columns} FROM raw.{resource} WHERE landing_id = ? ORDER BY 1"
        return con.execute(found, [landings[resource, *documents].landing_id]).fetchall()

    with duckdb.connect(folder / "warehouse.duckdb") as con:
        load(con, list(landings.values()))
        yield rows_of


def visible(con: DuckDBPyConnection, table: str) -> list[Any]:
    return con.execute(
        f"SELECT * FROM raw.{table} SEMI JOIN raw.extraction_receipts USING (partition_date, landing_id)"
    ).fetchall()


@pytest.mark.parametrize("table", all_raw_tables())
def test_a_raw_table_has_the_columns_of_its_header_then_the_load_id(con: DuckDBPyConnection, table: str) -> None:
    create_raw_tables(con, [table])
    there = [name for name, *_ in con.execute(f"DESCRIBE raw.{table}").fetchall()]
    assert there == [column.name for column in read_model(SQL_DIR / "raw" / f"{table}.sql").columns] + ["_dlt_load_id"]


def test_every_sql_file_is_the_table_of_one_group() -> None:
    grouped = [table for group in RAW_TABLES.values() for table in group]
    assert len(grouped) == len(set(grouped))
    assert {path.stem for path in (SQL_DIR / "raw").glob("*.sql")} == set(all_raw_tables())


def test_tags_arrive_as_they_were_set(con: DuckDBPyConnection, land: Land) -> None:
    tags = (
        b'{"Legal-Hold":"true","legal_hold":"007","LegalHold":"","a.b c\\"d\\n":"\\u0000",'
        b'"n":null,"t":"2026-01-01","x":"null"}'
    )
    landing = land("conversations", b'{"id":"c0","participants":[{"id":"p","attributes":' + tags + b"}]}")
    assert load(con, [landing]).rows == {"conversations": 1}
    attributes = con.execute("SELECT participants[1].attributes FROM raw.conversations").fetchone()
    assert attributes == (
        {
            "Legal-Hold": "true", "legal_hold": "007", "LegalHold": "", 'a.b c"d\n': "\0", "n": None,
            "t": "2026-01-01", "x": "null",
        },
    )  # fmt: skip


def test_a_row_leads_back_to_the_bytes_it_was_read_from(con: DuckDBPyConnection, land: Land) -> None:
    pretty = b'{\n  "id": "pretty",\n  "participants": [{}]\n}'
    documents = [GOOD, pretty, b"\xef\xbb\xbf" + GOOD, b"\xff\xfe", b""]
    landing = land("conversations", *documents)
    load(con, [landing])
    rows = con.execute(
        "SELECT document_uri, document_state, conversation_id, document_bytes FROM raw.conversations ORDER BY 1"
    ).fetchall()
    folder, name = f"landing/{landing.resource}/", landing.files[0].local.name
    assert [uri.rpartition("#L")[0] for uri, *_ in rows] == [folder + name] * len(documents), (
        "as in the cut: no path of this machine"
    )
    assert [read_document(f"{landing.files[0].local}#L{uri.rpartition('#L')[2]}") for uri, *_ in rows] == documents
    assert [row[1:] for row in rows] == [
        ("ok", "c1", len(GOOD)), ("ok", "pretty", len(pretty)), ("ok", "c1", len(GOOD) + 3),
        ("not_utf8", None, 2), ("empty", None, 0)
    ]  # fmt: skip


@pytest.mark.parametrize("batch_rows", [2, 20_000])
def test_bad_documents_lose_none_of_the_others(
    con: DuckDBPyConnection, land: Land, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    monkeypatch.setattr(parsing, "BATCH_ROWS", batch_rows)
    monkeypatch.setattr(parsing, "BLOCK_LINES", 8)
    states = {
        GOOD: "ok",
        b'{"id":"x","participants":[{"attributes":{"a":"1","a":"2"}}]}': "duplicate_key",
        b'{"id":"x","participants":"none"}': "wrong_shape",
        b'{"id":"x","participants":[]}': "wrong_shape",
        b'{"id":"x","participants":[null]}': "wrong_shape",
        b'"text"': "wrong_shape",
        b"[1]": "wrong_shape",
    }
    documents = [GOOD] * 30 + [document for bad in states for document in (bad, GOOD, GOOD)] + list(states)
    assert load(con, [land("conversations", *documents)]).rows == {"conversations": len(documents)}
    rows = con.execute(
        "SELECT key_conversation_id, document_state, participants[1].attributes['Legal-Hold'] FROM raw.conversations "
        "ORDER BY regexp_extract(document_uri, '#L(.*)', 1)::INTEGER"
    ).fetchall()
    assert rows == [
        (f"c{number}", states[content], "true" if content is GOOD else None) for number, content in enumerate(documents)
    ]


def test_a_bad_document_behind_many_rows_repeats_none_of_them(
    con: DuckDBPyConnection, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "BATCH_ROWS", 2_000)
    documents = [b'{"id":"c","participants":[]}'] * 5_000 + [b'"text"']
    assert load(con, [land("conversations", *documents)]).rows == {"conversations": 5_001}
    found = con.execute("SELECT count(DISTINCT document_uri), count(*) FROM raw.conversations")
    assert found.fetchone() == (5_001, 5_001)


def test_an_empty_list_is_a_row_and_a_list_is_a_row_each(con: DuckDBPyConnection, land: Land) -> None:
    load(con, [land("recording_metadata", b"[]", b'[{"id":"r1"},{"id":"r2"}]', b"oops")])
    rows = con.execute(
        "SELECT key_conversation_id, recording_id, document_state FROM raw.recording_metadata ORDER BY 1, 2"
    ).fetchall()
    assert rows == [("c0", None, "ok"), ("c1", "r1", "ok"), ("c1", "r2", "ok"), ("c2", None, "not_json")]


LACKING: list[tuple[str, Sequence[bytes]]] = [
    ("recording_metadata", [b"null", b"[null]", b"[{}]", b'[{"id":null}]', b'[{"id":""}]', b'[{"id":" "}]']),
    ("export_failures", [b"{}", b'{"conversation":{"id":"c1"},"recording":null}', b'{"recording":{"id":""}}']),
    ("export_jobs", [b"{}", b'{"id":"j1","state":null}', b'{"id":"j1","state":"FULFILLED"}']),
    (
        "export_jobs",
        [
            b'{"state":"FULFILLED","totalRecordings":%b,"recordingJobsQuery":{%b"agedConversationInterval":'
            b'"2026-11-02T00:00:00Z/2026-11-03T00:00:00Z"}}' % (total, action)
            for total, action in ((b"-1", b'"action":"EXPORT",'), (b"1", b""), (b"1", b'"action":"",'))
        ],
    ),
    # A field that a document has twice: which of the two is true is not known.
    ("recording_metadata", [b'[{"id":"r1","id":"r2"}]']),
    ("conversation_details", [b'{"participants":[{"sessions":[{"recording":true,"recording":false}]}]}']),
    (
        "export_jobs",
        [
            b'{"id":"j1","state":"FULFILLED","totalRecordings":9,"recordingJobsQuery":%b}' % query
            for query in (
                b"{}",
                b'{"agedConversationInterval":"2026-11-02T00:00:00Z"}',
                b'{"conversationQuery":{"interval":"2026-11-03T00:00:00Z/2026-11-02T00:00:00Z"}}',
            )
        ],
    ),
    ("orphan_recordings", [b"{}", b'{"recording":null}', b'{"id":"","recording":{"id":""}}']),
    (
        "conversation_details",
        [
            b'{"conversationId":"c1","participants":[{"sessions":[]},{"purpose":"agent"}]}',
            b'{"conversationId":"c1","participants":[{"sessions":[],"screenRecording":true}]}',
            b'{"conversationId":"c1","participants":[{"sessions":[{"recording":true}],"screenRecording":true}]}',
            b'{"conversationId":"c1","participants":[null]}',
            b'{"conversationId":"c1","participants":[]}',
            b'{"conversationId":"c1","participants":[{"sessions":[{"sessionId":"s1"},null]}]}',
            b'{"conversationId":"c1","participants":[{"sessions":[{"sessionId":""}],"screenRecording":true}]}',
        ],
    ),
    ("conversation_details", [b"{}", b'{"conversationId":"c1"}', b'{"conversationId":"c1","participants":null}']),
    ("conversations", [b"{}", b'{"id":"c1","participants":null}']),
    ("export_manifests", [b"{}", b"null", b'{"entities":5}', b'{"entities":[{}]}', b"[null]"]),
]


@pytest.mark.parametrize(("resource", "documents"), LACKING)
def test_a_document_that_lacks_what_it_is_asked_for_is_not_an_empty_one(
    rows_of: Callable[..., list[Any]], resource: str, documents: Sequence[bytes]
) -> None:
    assert rows_of(resource, documents, "document_state") == [("wrong_shape",)] * len(documents)


def test_an_entry_of_a_manifest_has_each_field_once(con: DuckDBPyConnection, land: Land) -> None:
    entries = b'{"recordingId":"r1","recordingId":"r2"},{"recordingId":"r3","custom_data":{},"custom_data":{"a":"1"}}'
    load(con, [land("export_manifests", b'{"entities":[{"recordingId":"r0"},%b]}' % entries)])
    states = con.execute("SELECT document_state FROM raw.export_manifests ORDER BY recording_id").fetchall()
    assert states == [("ok",), ("duplicate_key",), ("duplicate_key",)]


def cut_inside(width: int) -> bytes:
    """A refusal of this document ends inside a character."""
    return json.dumps({"recording": ["x" * width + "\U000e05b9" * 200]}).encode()


CUT = [
    ("export_failures", (cut_inside(width), b'{"conversation":{"id":"c1"},"recording":{"id":"r1"}}'))
    for width in range(4)
]


@pytest.mark.parametrize(("resource", "documents"), CUT, ids=range(4))
def test_a_refusal_that_is_cut_inside_a_character_is_a_refusal(
    rows_of: Callable[..., list[Any]], resource: str, documents: Sequence[bytes]
) -> None:
    assert rows_of(resource, documents, "recording_id, document_state") == [("r1", "ok"), (None, "wrong_shape")]


def test_sessions_with_an_empty_id_have_none(con: DuckDBPyConnection, land: Land) -> None:
    session = b'{"sessionId":"","recording":true}'
    load(con, [land("conversation_details", b'{"participants":[{"sessions":[%b,%b]}]}' % (session, session))])
    found = con.execute(
        "SELECT list_transform(participants[1].sessions, lambda s: s.session_id) FROM raw.conversation_details"
    )
    assert found.fetchall() == [([None, None],)]


LARGE, SMALL = "AAAAAAAA-0000-4000-8000-00000000000A", "aaaaaaaa-0000-4000-8000-00000000000a"
WITH_IDS: list[tuple[str, Any, str]] = [
    ("listed_recordings", {"recordingId": "R", "conversationId": "R"}, "recording_id, conversation_id"),
    ("export_failures", {"recording": {"id": "R"}, "conversation": {"id": "R"}}, "recording_id, conversation_id"),
    ("export_manifests", [{"recordingId": "R", "conversationId": "R"}], "recording_id, conversation_id"),
    ("orphan_recordings", {"id": "R", "recording": {"id": "R"}}, "orphan_id, recording_id"),
    ("recording_metadata", [{"id": "R", "sessionId": "R"}], "recording_id, session_id"),
    ("conversation_details", {"conversationId": "R"}, "conversation_id, conversation_id"),
    ("conversation_events", {"conversation_id": "R", "recording_id": "R"}, "conversation_id, recording_id"),
    ("captures", {"conversation_id": "R"}, "conversation_id, conversation_id"),
    ("recording_audits", {"entity": {"id": "R"}, "context": {"conversationId": "R"}}, "entity_id, conversation_id"),
]
CAPITALS = [
    (resource, (json.dumps(written).replace('"R"', f'"{LARGE}"').encode(),), columns)
    for resource, written, columns in WITH_IDS
]


@pytest.mark.parametrize(("resource", "documents", "columns"), CAPITALS)
def test_an_id_in_capitals_is_the_same_id(
    rows_of: Callable[..., list[Any]], resource: str, documents: Sequence[bytes], columns: str
) -> None:
    assert rows_of(resource, documents, columns) == [(SMALL, SMALL)]


@pytest.mark.parametrize(
    "interval", ["2026-11-02T00:00Z/2026-11-03T00:00Z", "2026-11-02T00:00:00 / 2026-11-03T00:00:00"]
)
def test_a_job_s_interval_is_read_however_it_is_written(con: DuckDBPyConnection, land: Land, interval: str) -> None:
    query = {"action": "EXPORT", "agedConversationInterval": "", "conversationQuery": {"interval": interval}}
    job = {"id": "j1", "state": "FULFILLED", "totalRecordings": 1, "recordingJobsQuery": query}
    load(con, [land("export_jobs", json.dumps(job).encode())])
    found = con.execute("SELECT document_state, interval_start::DATE, interval_end::DATE FROM raw.export_jobs")
    assert found.fetchall() == [("ok", NIGHT, NIGHT + timedelta(days=1))]


def test_one_entry_without_an_id_hides_none_of_the_others(con: DuckDBPyConnection, land: Land) -> None:
    load(con, [land("recording_metadata", b'[{"id":"r1"},{"media":"audio"}]')])
    rows = con.execute("SELECT recording_id, document_state FROM raw.recording_metadata ORDER BY 1").fetchall()
    assert rows == [("r1", "ok"), (None, "wrong_shape")]


def test_a_sidecar_tells_no_tags_field_from_an_empty_one(con: DuckDBPyConnection, land: Land) -> None:
    expected: dict[bytes, tuple[bool, dict[str, str] | None, str]] = {
        b"{}": (False, None, "ok"),
        b'{"custom_data":null}': (True, None, "ok"),
        b'{"customData":{}}': (True, {}, "ok"),
        b'{"attributes":{"a":"1.10"}}': (True, {"a": "1.10"}, "ok"),
        b'{"custom_data":"none"}': (True, None, "wrong_shape"),
        b'{"custom_data":{"a":"1","a":"2"}}': (True, None, "duplicate_key"),
        b'{"participants":[1]}': (False, None, "wrong_shape"),
        b'[{"custom_data":{}}]': (False, None, "wrong_shape"),
        b"null": (False, None, "wrong_shape"),
        b'{"conversationId":"c1","conversationId":"c2"}': (False, None, "duplicate_key"),
        b'{"participants":[{"attributes":{"a":"1"},"attributes":{"a":"2"}}]}': (False, None, "duplicate_key"),
        b'{"users":[{"id":"u1","id":"u2"}]}': (False, None, "duplicate_key"),
        b'{"custom_data":{},"attributes":{"a":"1"}}': (True, {"a": "1"}, "ok"),
    }
    load(con, [land("export_sidecars", *expected)])
    rows = con.execute(
        "SELECT has_tags_field, tags, document_state FROM raw.export_sidecars "
        "ORDER BY regexp_extract(document_uri, '#L(.*)', 1)::INTEGER"
    ).fetchall()
    assert rows == list(expected.values())


def test_a_manifest_keeps_every_field_that_has_tags_and_guesses_none(con: DuckDBPyConnection, land: Land) -> None:
    entry = b'"recordingId":"r1"'
    expected: dict[bytes, tuple[bool, dict[str, str] | None, list[Any], str]] = {
        b'"n":1': (False, None, [], "ok"),
        b'"custom_data":{},"customData":{"a":"1"}': (True, {"a": "1"}, [{}], "ok"),
        b'"custom_data":{"a":"1"},"attributes":{"a":"2"}': (True, {"a": "1"}, [{"a": "2"}], "ok"),
        b'"custom_data":"none"': (True, None, [], "wrong_shape"),
        b'"customData":{"a":"1","a":"2"}': (True, None, [], "duplicate_key"),
        b'"recordingId":"r2"': (False, None, [], "duplicate_key"),
    }
    lists = [b'{"entities":[{' + entry + b"," + more + b"}]}" for more in expected]
    load(con, [land("export_manifests", *lists, b'{"entities":[],"entities":[{' + entry + b"}]}")])
    rows = con.execute(
        "SELECT has_tags_field, tags, other_tags, document_state FROM raw.export_manifests "
        "ORDER BY regexp_extract(document_uri, '#L(.*)', 1)::INTEGER"
    ).fetchall()
    assert rows[:-1] == list(expected.values())
    assert rows[-1][-1] == "duplicate_key"


def test_an_audit_whose_context_names_two_conversations_names_none(con: DuckDBPyConnection, land: Land) -> None:
    load(con, [land("recording_audits", b'{"id":"a1","context":{"conversationId":"c1","conversationId":"c2"}}')])
    rows = con.execute("SELECT conversation_id, document_state FROM raw.recording_audits").fetchall()
    assert rows == [(None, "duplicate_key")]


def test_every_field_of_a_sidecar_that_has_tags_is_kept(con: DuckDBPyConnection, land: Land) -> None:
    load(con, [land("export_sidecars", b'{"attributes":{"a":"2"},"custom_data":{"a":"1"},"customData":{}}')])
    rows = con.execute("SELECT tags, other_tags FROM raw.export_sidecars").fetchall()
    assert rows == [({"a": "1"}, [{"a": "2"}, {}])]


def test_a_sidecar_may_be_a_conversation_detail(con: DuckDBPyConnection, land: Land) -> None:
    load(con, [land("export_sidecars", b'{"participants":[{"participantId":"p","attributes":{"a":"1"}}]}')])
    rows = con.execute("SELECT participants FROM raw.export_sidecars").fetchall()
    assert rows == [([{"participant_id": "p", "purpose": None, "attributes": {"a": "1"}}],)]


def test_a_companion_of_the_contact_trace_tells_of_its_conversation(con: DuckDBPyConnection, land: Land) -> None:
    times = b'"startTime":"2026-11-02T10:00:00Z","endTime":"2026-11-02T10:10:00Z"'
    load(con, [land(
        "export_sidecars",
        b'{"id":"c9",' + times + b',"participants":[{"id":"p","purpose":"agent","userId":"u1"},{"id":"q"}]}',
        b'{"id":"r9","conversationStart":"2026-11-02T10:00:00.000+0000","conversationEnd":null,"direction":"inbound",'
        b'"users":["u1",{"id":"u2"},{"userId":"u3"},7],' + times + b',"durationMs":"long"}',
        b'{"userIds":["u4",null,""],"initialDirection":"outbound","direction":"inbound","users":[],"durationMs":-7}',
        b'{"userIds":[],"users":[null,"u5"]}',
        b'{"userIds":[],"users":[]}',
    )])  # fmt: skip
    rows = con.execute(
        "SELECT conversation_id, start_time, end_time, hour(conversation_start), hour(conversation_end), user_ids, "
        "initial_direction, duration_ms, duration_written FROM raw.export_sidecars ORDER BY document_uri"
    ).fetchall()
    start, end = "2026-11-02T10:00:00Z", "2026-11-02T10:10:00Z"
    assert rows == [
        ("c9", None, None, 10, 10, ["u1"], None, None, None),
        (None, start, end, 10, None, ["u1", "u2", "u3", "7"], "inbound", None, '"long"'),
        (None, None, None, None, None, ["u4"], "outbound", -7, "-7"),
        (None, None, None, None, None, ["u5"], None, None, None),
        (None, None, None, None, None, [], None, None, None),
    ]


def test_the_script_of_a_participant_is_that_of_any_medium(con: DuckDBPyConnection, land: Land) -> None:
    legs = (
        b'"calls":[{"scriptId":null},{"scriptId":"s1"}]', b'"calls":[],"messages":[{"scriptId":"s2"}]',
        b'"chats":[{"scriptId":"s3"}],"emails":null', b'"emails":[{"scriptId":"s4"}]',
        b'"callbacks":[{"scriptId":"s5"}]', b'"calls":[{}]',
    )  # fmt: skip
    load(con, [land("conversations", b'{"participants":[{' + b"},{".join(legs) + b"}]}")])
    (row,) = con.execute("SELECT [p.script_id FOR p IN participants] FROM raw.conversations").fetchall()
    assert row == (["s1", "s2", "s3", "s4", "s5", None],)


def test_typed_attributes_are_a_row_each(con: DuckDBPyConnection, land: Land) -> None:
    record = (
        b'{"results":[{"id":"r","conversationId":"c0","version":3,"dateCreated":"2026-11-02T01:00:00Z",'
        b'"dateModified":"2026-11-02T02:00:00Z","customAttributes":{"text":"007","number":7,"list":[1]},'
        b'"customAttributesTimestamps":{"text":"2026-11-02T03:00:00Z"}}]}'
    )
    load(con, [land("conversation_attributes", record, b'{"results":[]}')])
    rows = con.execute(
        "SELECT attribute_key, attribute_value, attribute_type, attribute_version, hour(modified_at) "
        "FROM raw.conversation_attributes ORDER BY 1"
    ).fetchall()
    assert rows == [
        ("list", "[1]", "ARRAY", "3", 2), ("number", "7", "UBIGINT", "3", 2), ("text", "007", "VARCHAR", "3", 3),
        (None, None, None, None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (b"{}", "ok"),
        (b'{"results":null}', "ok"),
        (b"null", "wrong_shape"),
        (b'{"message":"down","code":"internal.server.error","status":500}', "wrong_shape"),
    ],
)
def test_an_error_in_the_place_of_typed_attributes_is_not_that_there_are_none(
    con: DuckDBPyConnection, land: Land, answer: bytes, state: str
) -> None:
    load(con, [land("conversation_attributes", answer)])
    assert con.execute("SELECT document_state FROM raw.conversation_attributes").fetchall() == [(state,)]


ODD = (
    b'{"a":1.10,"b":1E2,"c":12345678901234567890123,"d":-0,"e":{"x": 1.0, "y":[ 1e2 ]},"f":true,"g":"1.10",'
    b'"h":null,"i":7}'
)
AS_WRITTEN = {
    "a": "1.10", "b": "1E2", "c": "12345678901234567890123", "d": "-0", "e": '{"x": 1.0, "y":[ 1e2 ]}', "f": "true",
    "g": "1.10", "h": None, "i": "7",
}  # fmt: skip


def test_the_value_of_a_tag_keeps_its_characters_in_every_source(con: DuckDBPyConnection, land: Land) -> None:
    participants = b'{"participants":[{"id":"p","participantId":"p","attributes":' + ODD + b"}]}"
    fields = b'{"custom_data":' + ODD + b',"attributes":' + ODD + b',"customData":\n' + ODD + b"}"
    typed = b'{"results":[{"id":"r","customAttributes":' + ODD + b"}]}"
    load(con, [land("conversations", participants), land("conversation_details", participants)])
    load(con, [land("export_sidecars", fields, participants), land("export_manifests", fields)])
    load(con, [land("conversation_attributes", typed)])
    for table in ("conversations", "conversation_details"):
        assert con.execute(f"SELECT participants[1].attributes FROM raw.{table}").fetchall() == [(AS_WRITTEN,)]
    sidecars = con.execute("SELECT tags, other_tags, participants[1].attributes FROM raw.export_sidecars").fetchall()
    assert sidecars == [(AS_WRITTEN, [AS_WRITTEN, AS_WRITTEN], None), (None, [], AS_WRITTEN)]
    assert con.execute("SELECT tags FROM raw.export_manifests").fetchall() == [(AS_WRITTEN,)]
    rows = con.execute("SELECT attribute_key, attribute_value, attribute_type FROM raw.conversation_attributes")
    found = {key: (value, kind) for key, value, kind in rows.fetchall()}
    assert {key: value for key, (value, _) in found.items()} == AS_WRITTEN
    assert (found["a"][1], found["e"][1], found["g"][1], found["h"][1]) == ("DOUBLE", "OBJECT", "VARCHAR", None)


def test_an_empty_night_has_tables_and_a_receipt_that_says_zero(con: DuckDBPyConnection, land: Land) -> None:
    assert load(con, [land("conversations"), land("queues")]).rows == {"conversations": 0, "queues": 0}
    rows = con.execute(
        'SELECT resource, receipt_state, documents, "rows", landing_files FROM raw.extraction_receipts ORDER BY 1'
    ).fetchall()
    assert rows == [("conversations", "complete", 0, 0, []), ("queues", "complete", 0, 0, [])]
    assert visible(con, "queues") == []


def test_a_large_load_takes_every_core(con: DuckDBPyConnection, land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = "SELECT current_setting('threads')"
    con.execute("SET threads = 1")
    load(con, [land("conversations", GOOD)])
    assert con.execute(threads).fetchone() == (1,)
    monkeypatch.setattr(load_pipeline, "LARGE_BYTES", 0)
    load(con, [land("conversations", GOOD)])
    assert con.execute(threads).fetchone() == duckdb.connect().execute(threads).fetchone()


def test_loads_are_numbered_in_the_order_in_which_they_were_loaded(con: DuckDBPyConnection, land: Land) -> None:
    later = land("conversations", GOOD)
    load(con, [later, land("queues")])
    load(con, [land("conversations", GOOD)])
    rows = con.execute('SELECT resource, "sequence" FROM raw.extraction_receipts ORDER BY 2').fetchall()
    assert rows == [("conversations", 1), ("queues", 2), ("conversations", 3)]


def test_failures_come_with_the_receipt_of_their_load(con: DuckDBPyConnection, land: Land) -> None:
    landing = land("conversations", GOOD, failures=2)
    load(con, [landing])
    assert con.execute("SELECT landing_id, resource, subject_id FROM raw.fetch_failures ORDER BY 3").fetchall() == [
        (landing.landing_id, "conversations", "f0"),
        (landing.landing_id, "conversations", "f1"),
    ]
    row = con.execute("SELECT receipt_state, documents, failures, len(landing_files) FROM raw.extraction_receipts")
    assert row.fetchone() == ("complete", 1, 2, 2)


def test_rows_of_a_load_that_died_before_its_receipt_are_not_visible(
    con: DuckDBPyConnection, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(load_pipeline, "write_receipts", die)
        with pytest.raises(KeyboardInterrupt):
            load(con, [land("conversations", GOOD)])
    create_raw_tables(con)
    assert visible(con, "conversations") == []
    load(con, [land("conversations", GOOD)])
    assert len(visible(con, "conversations")) == 1
    assert con.execute("SELECT count(*) FROM raw.conversations").fetchone() == (2,)


def test_what_a_killed_process_left_in_the_working_folder_is_removed_not_loaded(
    con: DuckDBPyConnection, land: Land, tmp_path: Path
) -> None:
    left = tmp_path / "dlt" / f"{os.getpid()}-left" / "raw_conversations_20261102"  # in a container, ids come again
    left.mkdir(parents=True)
    load(con, [land("conversations", GOOD)])
    assert list((tmp_path / "dlt").iterdir()) == []
    assert con.execute("SELECT count(*) FROM raw.conversations").fetchone() == (1,)


def test_receipts_and_failures_appear_together_or_not_at_all(con: DuckDBPyConnection, land: Land) -> None:
    good, lost = land("conversations", GOOD), land("queues", b"{}", failures=1)
    lost.failure_files[0].local.unlink()
    with pytest.raises(FileNotFoundError):
        write_receipts(con, [good, lost])
    assert con.execute("SELECT count(*) FROM raw.extraction_receipts").fetchone() == (0,)


def test_a_column_of_another_type_fails_loudly(con: DuckDBPyConnection, land: Land) -> None:
    create_raw_tables(con, ["queues"])
    con.execute("ALTER TABLE raw.queues ALTER queue_name TYPE INTEGER")
    with pytest.raises(RawSchemaError, match=r"raw\.queues\.queue_name is INTEGER .* and VARCHAR in sql/raw"):
        load(con, [land("queues", b'{"id":"q","name":"7"}')])
    assert con.execute("SELECT count(*) FROM raw.queues").fetchone() == (0,)


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ("AS queue_name", "AS queue_nome", "queue_nome"),
        ('document."name" AS queue_name', "7 AS queue_name", "queue_name"),
        ('document."name" AS queue_name', "fetched_at AS queue_name", "queue_name"),
    ],
)
def test_column_type_flip_fails_loudly_in_dlt_too(
    con: DuckDBPyConnection,
    land: Land,
    monkeypatch: pytest.MonkeyPatch,
    was: str,
    becomes: str,
    named: str,
) -> None:
    landing = land("queues", b'{"id":"q","name":"n"}')
    source = raw_source(con, [landing])
    text = raw_tables.raw_select("queues")
    assert was in text
    monkeypatch.setattr(parsing, "raw_select", lambda _: text.replace(was, becomes))
    with raw_pipeline(con, [landing]) as pipeline, pytest.raises(PipelineStepFailed, match=named):
        pipeline.run(source)
    assert con.execute("SELECT count(*) FROM raw.queues").fetchone() == (0,)


def test_a_new_column_is_added_to_an_older_warehouse(con: DuckDBPyConnection, land: Land) -> None:
    create_raw_tables(con, ["queues"])
    con.execute("ALTER TABLE raw.queues DROP queue_name")
    load(con, [land("queues", b'{"id":"q","name":"n"}')])
    assert con.execute("SELECT queue_id, queue_name FROM raw.queues").fetchall() == [("q", "n")]


def test_dlt_leaves_the_connection_as_it_was(con: DuckDBPyConnection, land: Land) -> None:
    con.execute("SET TimeZone = 'America/New_York'")
    settings = "SELECT " + ", ".join(
        f"current_setting('{name}')"
        for name in ("search_path", "TimeZone", "checkpoint_threshold", "streaming_buffer_size")
    )
    before = con.execute(settings).fetchone()
    load(con, [land("queues", b'{"id":"q","name":"n"}')])
    assert con.execute(settings).fetchone() == before


def test_dlt_has_nothing_to_warn_of(con: DuckDBPyConnection, land: Land, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="dlt"):
        load(con, [land("conversations", GOOD), land("export_jobs", b"{}"), land("media_digests", b"{}")])
    assert caplog.messages == []


ALONE = """
import os, sys

def heard(event, args):
    if event in ("socket.getaddrinfo", "socket.connect"):
        os.write(1, f"asked for {args}".encode())

sys.addaudithook(heard)
import duckdb
from custody_pipeline.load.pipeline import raw_pipeline

con = duckdb.connect()
with raw_pipeline(con, []) as pipeline:
    pipeline.run([{"a": 1}], table_name="t", loader_file_format="parquet").raise_on_failed_jobs()
    print(con.execute("SELECT * EXCLUDE (_dlt_load_id, _dlt_id) FROM raw.t").fetchall(), flush=True)
"""


def test_dlt_tells_nobody_and_is_told_nothing_by_the_machine(tmp_path: Path) -> None:
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt/config.toml").write_text('[destination]\nduckdb.credentials = "elsewhere.duckdb"\n')
    told = {"RUNTIME__DLTHUB_TELEMETRY": "true", "SCHEMA__NAMING": "direct", "DLT_PROJECT_DIR": str(tmp_path)}
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, env=os.environ | told, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[(1,)]\n"), done.stderr
    assert [file.name for file in tmp_path.iterdir()] == [".dlt"]


def test_what_a_request_may_name_for_deletion_may_name_is_read_from_every_document(
    con: DuckDBPyConnection, land: Land
) -> None:
    sides = {"ani": "tel:1", "dnis": "tel:2", "addressFrom": "from@x", "addressTo": "to@x"}
    leg = {"participantId": "p", "userId": "u1", "externalContactId": "e1", "sessions": [{"sessionId": "s", **sides}]}
    details = {"conversationId": "c1", "participants": [leg, {"participantId": "q", "sessions": []}]}
    person = {"id": "p", "userId": "u2", "externalContactId": "e2", "address": "sip:3", "ani": "tel:4"}
    single = {"id": "c2", "participants": [person, {"id": "q"}]}
    load(con, [land("conversation_details", json.dumps(details).encode())])
    load(con, [land("conversations", json.dumps(single).encode(), conversation_id="c2")])
    assert known_addresses(con, NIGHT, {"c1", "c2"}) == {
        "c1": {"tel:1", "tel:2", "from@x", "to@x", "u1", "e1"},
        "c2": {"u2", "e2", "sip:3", "tel:4"},
    }
