"""Provenance and resolution: every value is kept, one counts, and it is clear why."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from itertools import islice

import duckdb
import pytest
import yaml

from custody_pipeline.models.mapping import plain, without_prefix
from custody_pipeline.models.mapping_file import MAX_COLUMNS, load_mapping
from custody_pipeline.models.mapping_report import mapping_report, suggest_mapping
from custody_pipeline.warehouse.sql_files import create_macros
from custody_pipeline_tests.sql.conftest import HEALTHY_AGENT, Night, Parts, together

HOSTILE_KEYS = [
    "recording_id", "custody_status", "custom_data", "partition_date", "",  " ", "a.b", "$.x", "key", "value", "source",
    "Legal Hold?", 'quo"ted', "o'clock", "new\nline", "tab\there", "back\\slash", "naïve", "日本語", "🎧📼", "null",
    "; DROP TABLE x", "%s", "{}", "[0]", "\u0000nul", "x" * 1023,
]  # fmt: skip
HOSTILE_VALUES = [
    "", " ", "007", "1.10", "+15551234567", "true", "null", "{}", "=1+1", "a,b", "cr\r\nlf", "🎧", "\u0000", "9" * 40,
]  # fmt: skip


def tags(night: Night, recording: str = "r1") -> dict[str, str | None]:
    found: dict[str, str | None] = json.loads(night.row(recording)["custom_data"])
    return found


def sources(night: Night, recording: str = "r1") -> dict[str, str]:
    found: dict[str, str] = json.loads(night.row(recording)["custom_data_source"])
    return found


@together
def test_every_key_and_value_stays_verbatim(night: Night) -> Parts:
    given = {**HEALTHY_AGENT, **{key: HOSTILE_VALUES[n % len(HOSTILE_VALUES)] for n, key in enumerate(HOSTILE_KEYS)}}
    night.call(agent=given, ivr={"Consent.Recorded": "true"})
    yield
    assert tags(night) == {**given, "Consent.Recorded": "true"}
    kept = {
        row["tag_key"]: row["tag_value"] for row in night.table("custom_data") if row["participant_purpose"] == "agent"
    }
    assert kept == given
    assert night.row()["recording_id"] == "r1"
    assert night.check("header_complete") == []


@together
def test_the_object_has_sorted_keys(night: Night) -> Parts:
    night.call(agent={"b": "2", "a": "1", "Legal-Hold": "x"}, ivr={"Consent.Recorded": "y"})
    yield
    assert night.row()["custom_data"] == '{"Consent.Recorded":"y","Legal-Hold":"x","a":"1","b":"2"}'


@together
def test_ten_thousand_tag_names_fit_in_a_night(night: Night) -> Parts:
    for number in range(10):
        given = {f"Tag {number}/{n}": str(n) for n in range(1000)}
        night.call(f"c{number}", f"r{number}", agent={**HEALTHY_AGENT, **given})
    yield
    assert len(tags(night, "r3")) == 1004
    assert night.reasons() == {"UNMAPPED_TAG"}
    details = [row["detail"] for row in night.table("gaps")]
    assert all(detail.endswith("and 980 more") for detail in details)


@together
def test_nested_json_in_a_value_is_reached_by_path_and_stays_verbatim(night: Night) -> Parts:
    text = '{"case": {"id": "C-007", "n": 1.10}}'
    night.call(agent={**HEALTHY_AGENT, "Case_JSON": text})
    yield
    assert night.row()["custom_data_case_id"] == "C-007"
    assert tags(night)["Case_JSON"] == text


def test_the_two_ways_to_write_an_accented_letter_are_one_spelling_to_sql_and_python() -> None:
    # Latin, Greek and Cyrillic letters, and marks. SQL knows no other form of a sigma at the end of a word.
    letters = [chr(code) for code in range(1, 0x530) if unicodedata.category(chr(code)) != "Cn" and chr(code) != "Σ"]
    keys = ["Pru\u0308f-nr", "PR\u00dcFNR", *letters, *(f"{letter}-1\u0308" for letter in letters)]
    with duckdb.connect() as con:
        create_macros(con)
        found = [one for (one,) in con.execute("SELECT plain(key) FROM (SELECT unnest(?) AS key)", [keys]).fetchall()]
    assert found[:2] == ["prüfnr", "prüfnr"]
    assert found == [plain(key) for key in keys]


def test_sql_and_python_know_the_same_prefixes_of_the_platform() -> None:
    known = ("context.", "CONTEXT.", "conversationDetails.participantData.")
    prefixes = (*known, "contextual.", "xcontext.", "context", ".")
    keys = [prefix + key for prefix in prefixes for key in ("Hold", "", "context.Hold", "\n", "é")]
    with duckdb.connect() as con:
        create_macros(con)
        rows = con.execute("SELECT coalesce(behind_prefix(key), key) FROM (SELECT unnest(?) AS key)", [keys]).fetchall()
    found = [one for (one,) in rows]
    assert found == [without_prefix(key) for key in keys]
    assert found[:3] == ["Hold", "context.", "context.Hold"]


def test_every_blank_of_unicode_is_blank() -> None:
    # White_Space=yes in Unicode's PropList.txt.
    blanks = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2005\u200a\u2028\u2029\u202f\u205f\u3000"
    with duckdb.connect() as con:
        create_macros(con)
        sql = "SELECT is_blank(?), is_blank(''), is_blank('0'), is_blank(chr(0)), is_blank(NULL)"
        assert con.execute(sql, [blanks]).fetchone() == (True, True, False, False, None)


@pytest.mark.parametrize(
    ("written", "moment", "names_a_zone"),
    [
        ("2026-11-02T10:00:00.1+0530", "2026-11-02 04:30:00.1", True),
        ("2026-11-02T10:00-0330", "2026-11-02 13:30:00", True),
        ("2026-11-02T10:00:00Z", "2026-11-02 10:00:00", True),
        ("2026-11-02 10:00:00", "2026-11-02 10:00:00", False),
        ("2026-11-02", "2026-11-02 00:00:00", False),
        ("2026-11-02 (BC)", None, False),
        ("1790000000000", None, False),
        (None, None, True),
    ],
)
def test_a_written_time_is_a_moment_or_nothing(written: str | None, moment: str | None, names_a_zone: bool) -> None:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        create_macros(con)
        found = con.execute("SELECT utc_moment($1)::VARCHAR, names_zone($1)", [written]).fetchone()
        assert found == (moment, names_a_zone)


@pytest.mark.parametrize(
    "written", ["1.10", "1E2", "-0", "12345678901234567890123", "[1.0,-2e-5]", '{"a":1.0,"b":"c 7"}']
)
def test_a_value_at_a_path_keeps_its_characters(written: str) -> None:
    text = '{"x 1": "a \\" 6", "case": {"id": [0.0, ' + written + '], "n": 5}, "end": "a 5"}'
    with duckdb.connect() as con:
        create_macros(con)
        assert con.execute("SELECT value_at(?, '$.case.id[1]')", [text]).fetchone() == (written,)


@together
def test_a_path_that_leads_nowhere_gives_null_and_no_error(night: Night) -> Parts:
    texts = ["", "not json", "{", "{}", "[1]", '{"case": null}', '{"case": {"id": null}}', "NaN", '{"case": "x"}']
    for number, text in enumerate(texts):
        night.call(f"c{number}", f"r{number}", agent={**HEALTHY_AGENT, "Case_JSON": text})
    yield
    for number, text in enumerate(texts):
        assert night.row(f"r{number}")["custom_data_case_id"] is None
        assert tags(night, f"r{number}")["Case_JSON"] == text


@together
def test_mapped_columns_are_there_even_when_every_value_is_null(night: Night) -> Parts:
    yield
    night.call(agent={}, ivr={})
    yield
    row = night.row()
    assert {name for name in row if name.startswith("custom_data_")} >= set(night.mapping.output_columns)
    assert all(row[name] is None for name in night.mapping.output_columns)


@together
def test_the_single_read_counts_before_the_bulk_job(night: Night) -> Parts:
    night.call()
    night.single(agent={**HEALTHY_AGENT, "Disposition": "Escalated"})
    yield
    assert tags(night)["Disposition"] == "Escalated"
    assert sources(night) == dict.fromkeys(tags(night), "conversation")
    both = {(row["source"], row["tag_value"]) for row in night.table("custom_data") if row["tag_key"] == "Disposition"}
    assert both == {("details", "Resolved"), ("conversation", "Escalated")}


@together
def test_purposes_are_asked_in_the_order_of_the_mapping(night: Night) -> Parts:
    night.call(
        agent={**HEALTHY_AGENT, "Consent.Recorded": "agent says"},
        ivr={"Consent.Recorded": "ivr says"},
        customer={"Legal-Hold": "customer says"},
    )
    yield
    row = night.row()
    assert (row["custom_data_consent_recorded"], row["custom_data_legal_hold"]) == ("ivr says", "false")
    assert night.gap("TAG_CONFLICT")["detail"] == '"Consent.Recorded", "Legal-Hold"'


@together
def test_participants_without_an_id_are_told_apart_by_their_purpose(night: Night) -> Parts:
    night.call(agent={**HEALTHY_AGENT, "Legal-Hold": "true", "Summary": "s" * 1024}, customer={"Legal-Hold": "false"})
    for leg in night.details()["participants"]:
        leg["participant_id"] = None
    yield
    assert night.row()["custom_data_legal_hold"] == "true"
    assert night.reasons() == {"TAG_CONFLICT", "TAG_TRUNCATED"}


@pytest.mark.parametrize("told_by", ["one document", "two documents", "typed attributes"])
@together
def test_two_values_that_one_source_tells_of_one_moment_are_a_conflict(night: Night, told_by: str) -> Parts:
    night.call(agent={**HEALTHY_AGENT, "Legal-Hold": "true"})
    other = deepcopy(night.details())
    (leg,) = (leg for leg in other["participants"] if leg["purpose"] == "agent")
    leg["attributes"]["Legal-Hold"] = "false"
    if told_by == "one document":
        night.details()["participants"].append(leg)
    elif told_by == "two documents":
        night.rows["conversation_details"].append(other)
    else:
        del night.leg()["attributes"]["Legal-Hold"]
        night.rows["conversation_attributes"] += [
            {"key_conversation_id": "c1", "attribute_key": "Legal-Hold", "attribute_value": value}
            for value in ("true", "false")
        ]
    yield
    assert night.gap("TAG_CONFLICT")["tag_keys"] == ["Legal-Hold"]


@together
def test_a_sidecar_without_agents_does_not_hide_the_sessions_agent(night: Night) -> Parts:
    night.call()
    night.sidecar()["user_ids"] = []
    night.metadata("c1", {"recording_id": "r1", "session_id": "c1-agent-1-session"})
    yield
    assert night.row()["user_ids"] == ["c1-user-1"]


@together
def test_a_tag_on_an_agents_leg_belongs_to_that_agents_recording_first(night: Night) -> Parts:
    night.transfer(HEALTHY_AGENT, {**HEALTHY_AGENT, "Disposition": "Escalated"})
    yield
    assert night.row("r1")["custom_data_disposition"] == "Resolved"
    assert night.row("r2")["custom_data_disposition"] == "Escalated"
    assert night.reasons("r1") == night.reasons("r2") == {"TAG_CONFLICT"}
    ranks = {(row["recording_id"], row["participant_id"]): row["leg_rank"] for row in night.table("custom_data")}
    assert ranks["r1", "c1-agent-1"] == ranks["r2", "c1-agent-2"] == ranks["r2", "c1-ivr-1"] == 0
    assert ranks["r1", "c1-agent-2"] == ranks["r2", "c1-agent-1"] == 1


@together
def test_a_tag_on_one_leg_alone_serves_the_other_recordings_too(night: Night) -> Parts:
    night.transfer(HEALTHY_AGENT, {})
    yield
    assert night.row("r2")["custom_data_legal_hold"] == "false"
    assert night.reasons() == set()


@together
def test_without_a_known_leg_the_first_agent_counts(night: Night) -> Parts:
    night.transfer(HEALTHY_AGENT, {**HEALTHY_AGENT, "Disposition": "Escalated"})
    for row in night.rows["export_sidecars"]:
        row["user_ids"] = []
    yield
    assert {night.row("r1")["custom_data_disposition"], night.row("r2")["custom_data_disposition"]} == {"Resolved"}


@together
def test_a_tag_seen_live_and_gone_later_is_in_the_row(night: Night) -> Parts:
    night.call(agent={"Disposition": "Resolved"})
    seen = {"participant_id": "c1-agent-1", "purpose": "agent", "attributes": {"Legal-Hold": "true"}}
    night.rows["captures"].append(
        {"conversation_id": "c1", "observed_at": "2026-11-02 10:11:00", "participants": [seen]}
    )
    yield
    assert night.row()["custom_data_legal_hold"] == "true"
    assert sources(night)["Legal-Hold"] == "capture"


@together
def test_a_typed_attribute_seen_live_and_gone_later_is_in_the_row(night: Night) -> Parts:
    night.call(agent={"Disposition": "Resolved"})
    night.capture("10:11:00", agent={"Disposition": "Resolved"})
    night.rows["captures"][0]["typed_attributes"] = [{"key": "Legal-Hold", "value": "true"}]
    yield
    assert night.row()["custom_data_legal_hold"] == "true"
    assert sources(night)["Legal-Hold"] == "capture"


@together
def test_a_value_of_an_earlier_load_is_kept_when_the_newest_has_another(night: Night) -> Parts:
    night.call()
    yield
    night.leg()["attributes"]["Disposition"] = "Changed"
    yield
    kept = {
        row["tag_value"]: row["still_there"] for row in night.table("custom_data") if row["tag_key"] == "Disposition"
    }
    assert kept == {"Resolved": False, "Changed": True}
    assert night.row()["custom_data_disposition"] == "Changed"
    assert night.reasons() == {"TAG_CHANGED_LATER"}


def given_live(night: Night, at: str, value: str) -> None:
    """An event sets the tag on the agent."""
    topic = "v2.detail.events.conversation.{id}.attributes"
    night.event(at, topic=topic, participant_id="c1-agent-1", attributes={"Legal-Hold": value})


def read_before(night: Night) -> None:
    """An earlier load read the conversation, and the newest did not."""
    night.single(agent={"Legal-Hold": "true"})
    night.load()
    night.rows["conversations"].clear()


def captured_after_the_read(night: Night) -> None:
    night.single(agent={"Legal-Hold": "false"})
    night.capture("10:15:00", agent={"Legal-Hold": "true"})
    night.rows["captures"][0]["observed_at"] = "2026-11-06 10:00:00"


def captured_before_and_after_an_event(night: Night) -> None:
    night.leg()["attributes"] = {"Disposition": "Resolved"}
    night.capture("10:11:00", agent={"Legal-Hold": "false"})
    given_live(night, "10:15:00", "true")
    night.capture("10:20:00", agent={"Disposition": "Resolved"})


def event_of_a_clock_that_is_ahead(night: Night) -> None:
    given_live(night, "10:15:00", "false")
    night.rows["conversation_events"][0]["event_time"] = "2027-01-01 00:00:00"
    night.capture("10:20:00", agent={"Legal-Hold": "true"})


def captured_and_then_another_answer(night: Night) -> None:
    night.capture("10:15:00", agent={"Legal-Hold": "true"})
    night.rows["captures"].append(
        {"conversation_id": "c1", "observed_at": "2026-11-02 10:20:00", "document_state": "wrong_shape"}
    )


@pytest.mark.parametrize(
    ("given", "legal_hold"),
    [
        (lambda night: given_live(night, "10:15:00", "true"), "true"),
        # The analytics job tells of the conversation's end, at 10:10.
        (lambda night: given_live(night, "10:05:00", "true"), "false"),
        (lambda night: night.capture("10:05:00", agent={"Legal-Hold": "true"}), "false"),
        (captured_before_and_after_an_event, "true"),
        (event_of_a_clock_that_is_ahead, "true"),
        (captured_and_then_another_answer, "true"),
        (read_before, "true"),
        (captured_after_the_read, "true"),
    ],
)
@together
def test_the_source_that_tells_of_the_latest_moment_gives_the_value(
    night: Night, given: Callable[[Night], None], legal_hold: str
) -> Parts:
    night.call()
    given(night)
    yield
    assert night.row()["custom_data_legal_hold"] == legal_hold
    assert "TAG_CHANGED_LATER" in night.reasons("r1")


@pytest.mark.parametrize("seed", range(3))
@together
def test_the_value_is_what_was_true_at_the_latest_moment_that_any_source_tells_of(night: Night, seed: int) -> Parts:
    chance, expected = random.Random(seed), dict[str, str | None]()
    for number in range(40):
        conversation = f"c{number}"
        # Seconds after 10:00. The call ends after 600; the job tells of its end, and a read of the day after.
        moments = iter(chance.sample([second for second in range(1, 1200) if second != 600], 9))
        timeline = {second: f"value-{second}" for second in islice(moments, chance.randint(0, 3))}

        def true_at(second: int, timeline: dict[int, str] = timeline) -> str | None:
            return timeline.get(max((moment for moment in timeline if moment <= second), default=-1))

        def tags_at(second: int, known: Callable[[int], str | None] = true_at) -> dict[str, str | None]:
            return {} if (value := known(second)) is None else {"Legal-Hold": value}

        night.call(conversation, f"r{number}", agent=tags_at(600))
        told = {600}
        for second in islice(moments, chance.randint(0, 3)):
            night.capture(clock(second), conversation, agent=tags_at(second))
            told.add(second)
        for second in chance.sample(sorted(timeline), chance.randint(0, len(timeline))):
            topic = "v2.detail.events.conversation.{id}.attributes"
            night.event(
                clock(second), conversation, topic, participant_id=f"{conversation}-agent-1", attributes=tags_at(second)
            )
            told.add(second)
        if chance.random() < 0.3:
            night.single(conversation, agent=tags_at(86_400))
            told.add(86_400)
        expected[f"r{number}"] = true_at(max(told))
    yield
    rows = night.table("chain_of_custody")
    assert {row["recording_id"]: row["custom_data_legal_hold"] for row in rows} == expected
    assert len(set(expected.values())) > 10


def clock(second: int) -> str:
    """The time of day so many seconds after 10:00."""
    return f"{timedelta(hours=10, seconds=second)}"


@together
def test_an_attribute_event_says_when_the_tag_was_set(night: Night) -> Parts:
    night.call()
    night.rows["conversation_events"].append(
        {
            "event_id": "e1", "conversation_id": "c1", "participant_id": "c1-agent-1",
            "event_time": "2026-11-02 10:03:00", "attributes": {"Disposition": "Resolved"},
        }
    )  # fmt: skip
    yield
    event = next(row for row in night.table("custom_data") if row["source"] == "event")
    assert (str(event["observed_at"]), event["participant_purpose"]) == (f"{night.day} 10:03:00", "agent")
    assert [row["what"] for row in night.table("custody_events") if row["action"] == "tagged"] == ["Disposition"]


@together
def test_a_notification_tells_of_each_participant_that_it_has_tags_of(night: Night) -> Parts:
    night.call()
    topic = "v2.users.{id}.conversations"
    for leg, tags in {"c1-agent-1": {"Consent": "yes"}, "c1-customer-1": {"Legal-Hold": "true"}}.items():
        night.event("10:15:00", topic=topic, participant_id=leg, attributes=tags)
    yield
    tagged = [(row["who"], row["what"]) for row in night.table("custody_events") if row["action"] == "tagged"]
    assert tagged == [("c1-agent-1", "Consent"), ("c1-customer-1", "Legal-Hold")]


@together
def test_tags_of_a_sidecar_and_a_manifest_are_sources_too(night: Night) -> Parts:
    night.call()
    night.rows["conversation_details"].clear()
    night.refuse(404)
    night.sidecar().update(has_tags_field=True, tags={"Legal-Hold": "from sidecar"})
    night.rows["export_manifests"].append(
        {"export_id": "e1", "conversation_id": "c1", "recording_id": "r1", "has_tags_field": True,
         "tags": {"Legal-Hold": "from manifest"}, "other_tags": [{"Matter-Number": "M-1"}]}
    )  # fmt: skip
    yield
    assert night.row()["custom_data_legal_hold"] == "from manifest"
    assert night.row()["custom_data_matter_number"] == "M-1"
    assert {row["source"] for row in night.table("custom_data")} == {"sidecar", "manifest"}
    assert night.row()["custom_data_state"] == "present"


@together
def test_a_sidecar_that_names_another_recording_gives_no_tags(night: Night) -> Parts:
    night.call()
    night.sidecar().update(recording_id="r9", has_tags_field=True, tags={"Foreign": "x"})
    yield
    assert "Foreign" not in tags(night)


@together
def test_a_sidecar_that_names_another_recording_tells_nothing_of_this_one(night: Night) -> Parts:
    night.transfer({"Legal-Hold": "true"}, {"Legal-Hold": "false"})
    first, second = night.rows["export_sidecars"]
    first["recording_id"], second["recording_id"] = "r2", "r1"
    first["user_ids"], second["user_ids"] = second["user_ids"], first["user_ids"]
    first["media_type"] = "Screen"
    night.metadata(
        "c1",
        *({"recording_id": f"r{number}", "session_id": f"c1-agent-{number}-session"} for number in (1, 2)),
    )
    yield
    rows = night.table("chain_of_custody")
    assert [
        (row["recording_id"], row["media_type"], row["user_ids"], row["custom_data_legal_hold"]) for row in rows
    ] == [
        ("r1", "audio", ["c1-user-1"], "true"),
        ("r2", "audio", ["c1-user-2"], "false"),
    ]
    assert all("DOCUMENTS_DISAGREE" in row["gap_reasons"] for row in rows)


@together
def test_empty_and_absent_are_told_apart(night: Night) -> Parts:
    for name in ("empty", "absent"):
        night.call(name, name, agent={}, ivr={})
    for leg in night.rows["conversation_details"][1]["participants"]:
        leg["attributes"] = None
    night.single("empty")
    night.single("absent")
    yield
    for name in ("empty", "absent"):
        assert (night.row(name)["custom_data_state"], night.row(name)["custom_data"]) == (name, "{}")


@together
def test_nothing_known_is_unavailable_and_null(night: Night) -> Parts:
    night.call()
    night.api = False
    yield
    row = night.row()
    assert (row["custom_data_state"], row["custom_data"], row["custom_data_source"]) == ("unavailable", None, None)
    assert row["media_sha256"] == "a" * 64


@together
def test_a_sidecar_with_the_bulk_jobs_cut_values_is_no_conflict(night: Night) -> Parts:
    whole = {**HEALTHY_AGENT, "Summary": "x" * 2500}
    night.call(agent={**HEALTHY_AGENT, "Summary": "x" * 1024})
    names = ("participant_id", "purpose", "attributes")
    night.sidecar()["participants"] = [{name: leg[name] for name in names} for leg in night.details()["participants"]]
    night.single(agent=whole)
    yield
    assert tags(night)["Summary"] == whole["Summary"]
    assert night.reasons() == set()


@together
def test_both_fields_of_a_sidecar_count_and_disagree(night: Night) -> Parts:
    night.call()
    night.sidecar().update(
        has_tags_field=True, tags={"Summary": "one"}, other_tags=[{"Summary": "other", "Extra": "1"}]
    )
    yield
    held = {(row["tag_key"], row["tag_value"]) for row in night.table("custom_data") if row["source"] == "sidecar"}
    assert held == {("Summary", "one"), ("Summary", "other"), ("Extra", "1")}
    assert night.gap("TAG_CONFLICT")["detail"] == '"Summary"'


OWN_MAPPING = """\
version: 1
prefixes: ["context."]
columns:
  legal_hold: {attribute: Legal-Hold, aliases: [Hold, Litigation Hold], purposes: [agent], required: true}
  case_id: {attribute: Case, aliases: [Case_JSON], path: $.id, purposes: [agent]}
"""


def test_a_declared_prefix_is_accepted_and_aliases_that_disagree_are_a_conflict(night: Night) -> None:
    path = night.scratch / "mapping.yaml"
    path.write_text(OWN_MAPPING)
    night.mapping = load_mapping(path)
    night.call("c1", "r1", agent={"context.Legal-Hold": "true"}, ivr={})
    night.call("c2", "r2", agent={"Hold": "true", "Litigation Hold": "false", "context.Hold": ""}, ivr={})
    night.call("c3", "r3", agent={"Legal-Hold": "true", "Hold": "true", "context.Legal-Hold": " "}, ivr={})
    night.call("c4", "r4", agent={"Hold": "true", "Case": '{"id": 1.0}', "Case_JSON": '{"id": 1}'}, ivr={})
    night.call("c5", "r5", agent={"Hold": "", "Litigation Hold": "false"}, ivr={})
    night.run()
    assert {row["recording_id"]: row["custom_data_legal_hold"] for row in night.table("chain_of_custody")} == {
        "r1": "true", "r2": "true", "r3": "true", "r4": "true", "r5": ""
    }  # fmt: skip
    assert [night.reasons(name) for name in ("r1", "r3")] == [set(), set()]
    found = {row["recording_id"]: row for row in night.table("gaps") if row["reason"] == "TAG_CONFLICT"}
    assert {name: row["detail"] for name, row in found.items()} == {
        "r2": '"Hold", "Litigation Hold"', "r4": '"Case", "Case_JSON"', "r5": '"Litigation Hold"'
    }  # fmt: skip
    assert night.row("r4")["custom_data_case_id"] == "1.0"
    assert json.loads(found["r2"]["evidence"])


@together
def test_the_mapping_report_tells_where_tags_are(night: Night) -> Parts:
    night.call(agent={**HEALTHY_AGENT, "Extra": "1"})
    night.call("c2", "r2", agent={"legal-hold": "true"})
    yield
    report = mapping_report(night.con, night.day)
    columns = {column.column: column for column in report.columns}
    assert len(columns) == len(night.mapping.columns)
    hold = columns["custom_data_legal_hold"]
    assert (hold.applies, hold.found, hold.variant, hold.places) == (2, 1, 1, {"details/agent": 1})
    assert columns["custom_data_matter_number"].applies == 0
    assert {tag.key: tag.recordings for tag in report.unmapped} == {"Extra": 1, "legal-hold": 1}


def test_the_mapping_report_counts_only_calls_to_which_a_tag_applies(night: Night) -> None:
    path = night.scratch / "mapping.yaml"
    path.write_text(
        "version: 1\ncolumns:\n  hold: {attribute: Legal-Hold, required: true, applies_when: {queues: [Litigation]}}\n"
    )
    night.mapping = load_mapping(path)
    night.call()
    night.call("c2", "r2", agent={"legal-hold": "true"})
    night.call("c3", "r3", agent={}, queue="q-litigation")
    night.run()
    (hold,) = mapping_report(night.con, night.day).columns
    assert (hold.applies, hold.found, hold.missing, hold.variant, hold.places) == (1, 0, 1, 0, {})


def test_two_columns_of_one_attribute_are_counted_apart(night: Night) -> None:
    path = night.scratch / "mapping.yaml"
    path.write_text("version: 1\ncolumns: {a: {attribute: Case, path: $.a}, b: {attribute: Case, path: $.b}}\n")
    night.mapping = load_mapping(path)
    night.call(agent={"Case": '{"a": "1"}'})
    night.run()
    grain = night.models["custody.tag_quality"].grain
    rows = {tuple(row[name] for name in grain): row["present"] for row in night.table("tag_quality")}
    assert list(rows.values()) == [1, 0]


def test_a_suggested_mapping_is_accepted(night: Night) -> None:
    odd = {"line\x85end": "7", "turned\u202e": "8", "two\r\nlines": "9"}
    night.call(agent={**HEALTHY_AGENT, "state": "1", "日本": "2", "a b": "3", "a-b": "4", "7": "5", "": "6", **odd})
    night.leg("ivr")["attributes"]["no\x00mapping"] = "can have it"
    night.run()
    path = night.scratch / "draft.yaml"
    path.write_text(suggest_mapping(night.con), encoding="utf-8")
    mapping = load_mapping(path)
    assert {tag.attribute for tag in mapping.columns} == set(tags(night)) - {"", "no\x00mapping"}


def test_ten_thousand_names_of_tags_in_a_night_are_kept_and_told_in_short(night: Night) -> None:
    names = {f"Survey {number}": str(number) for number in range(10_000)}
    night.call(agent={**HEALTHY_AGENT, **names})
    night.run()
    assert night.reasons() == {"UNMAPPED_TAG"}
    gap = night.gap("UNMAPPED_TAG")
    assert gap["detail"].endswith(" and 9980 more")
    assert len(gap["evidence"]) == 1
    kept = json.loads(night.row()["custom_data"])
    assert {name: kept[name] for name in names} == names
    assert len(mapping_report(night.con, night.day).unmapped) == 10_000
    assert len(yaml.safe_load(suggest_mapping(night.con))["columns"]) == MAX_COLUMNS


@together
def test_a_gap_names_its_tags_its_queue_its_agent_and_its_script(night: Night) -> Parts:
    given = {key: value for key, value in HEALTHY_AGENT.items() if key != "Legal-Hold"}
    night.call(agent={**given, "zeta": "1", "alpha": "2"})
    yield
    chain = night.row()
    found = {row["reason"]: row for row in night.table("gaps")}
    assert found["REQUIRED_TAG_MISSING"]["tag_keys"] == ["Legal-Hold"]
    assert found["UNMAPPED_TAG"]["tag_keys"] == ["alpha", "zeta"]
    for name in ("queue_names", "user_ids", "script_id", "script_version"):
        assert found["UNMAPPED_TAG"][name] == chain[name]


@together
def test_tag_quality_counts_every_recording_once_for_each_tag_that_applies(night: Night) -> Parts:
    without = {key: value for key, value in HEALTHY_AGENT.items() if key != "Legal-Hold"}
    of_chats = {**without, "context.Legal-Hold": "true"}
    for number, agent in enumerate([HEALTHY_AGENT, {**HEALTHY_AGENT, "Legal-Hold": " "}, without, of_chats]):
        night.call(f"c{number}", f"r{number}", agent=agent)
    yield
    rows = [row for row in night.table("tag_quality") if row["tag_key"] == "Legal-Hold"]
    counted = {name: sum(row[name] for row in rows) for name in ("expected", "present", "empty", "variant", "missing")}
    assert counted == {"expected": 4, "present": 1, "empty": 1, "variant": 1, "missing": 1}
    for row in night.table("tag_quality"):
        parts = ("present", "empty", "elsewhere", "variant", "no_value", "unavailable", "missing")
        assert row["expected"] == sum(row[name] for name in parts)


@together
def test_a_queue_that_only_the_single_read_names_counts(night: Night) -> Parts:
    night.call()
    for leg in night.details()["participants"]:
        leg["sessions"][0]["segments"][0]["queue_id"] = None
    for leg in night.single()["participants"]:
        leg["queue_id"] = "q-litigation"
    yield
    assert (night.row()["queue_ids"], night.row()["queue_names"]) == (["q-litigation"], ["Litigation"])
