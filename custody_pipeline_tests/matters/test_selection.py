"""What a matter's conditions find in a published night, and how it stands."""

from __future__ import annotations

import errno
import json
import unicodedata
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal
from unittest.mock import Mock

import duckdb
import openpyxl
import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.cli.matter_page import _outlook
from custody_pipeline.fleet.overview import analyst_database
from custody_pipeline.io.clock import utc_now
from custody_pipeline.matters.matter_file import load_matter
from custody_pipeline.matters.register import Register, register_of
from custody_pipeline.matters.selection import Found, Recordings, _agents, _rows, agent_names, not_known, select
from custody_pipeline.matters.standing import Night, Standing, revisions, standing
from custody_pipeline.settings import SettingsError
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.ledger import Actor
from custody_pipeline.warehouse.snapshot import leave_out, snapshot_for_analysts
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline_tests.matters.conftest import NIGHT, Published
from custody_pipeline_tests.matters.test_found_recordings import recording

pytestmark = pytest.mark.server


def find(night: Published, conditions: str, more: str = "") -> Found:
    with analyst_database(night.settings) as con:
        return select(con, night.matter("found", conditions, more))


def keys(found: Found) -> set[tuple[str, str]]:
    return {recording.key for recording in found.recordings}


def of(night: Published, column: str, value: object) -> set[tuple[str, str]]:
    return {(row["conversation_id"], row["recording_id"]) for row in night.rows if row[column] == value}


def test_ids_of_conversations_and_recordings_are_found_and_an_id_that_matches_nothing_is_told(night: Published) -> None:
    conversation, recording = night.rows[0]["conversation_id"], night.rows[-1]["recording_id"]
    other = next(row["recording_id"] for row in night.rows if row["conversation_id"] not in (conversation,))
    ids = f"  ids: [{conversation.upper()}, {recording}, nobody-knows, {recording}]".replace(f", {recording}]", "]")
    found = find(night, ids, f"exclude:\n  - {{ids: [{recording}, {other}, stranger], reason: privilege}}")
    assert of(night, "conversation_id", conversation) <= keys(found)
    assert recording in {item.recording_id for item in found.recordings}
    assert found.unmatched == ("nobody-knows",)
    assert "stranger" in found.excluded_unmatched
    assert {item.recording_id for item in found.recordings if item.excluded == "privilege"} >= {recording}
    assert recording not in {item.recording_id for item in found.produced}
    outside = find(night, f"  ids: [{conversation}]\n  to: 2026-10-01")
    assert (list(outside.recordings), outside.elsewhere) == ([], (conversation,))


def test_tags_and_numbers_join_no_rows_of_the_nights() -> None:
    """Correlated subqueries did: DuckDB then holds the tags and numbers of every recording."""
    with duckdb.connect() as con:
        con.execute(
            "CREATE SCHEMA custody; CREATE TABLE custody.chain_of_custody (conversation_id VARCHAR, "
            "recording_id VARCHAR, partition_date DATE, conversation_start TIMESTAMP, user_ids VARCHAR[], "
            "custom_data_state VARCHAR, conversation_sha256 VARCHAR, gap_reasons VARCHAR[], "
            "queue_ids VARCHAR[], queue_names VARCHAR[], media_type VARCHAR, media_subtype VARCHAR, ani VARCHAR, "
            "dnis VARCHAR, custom_data JSON)"
        )
        con.execute("CREATE TABLE named_agents (user_id VARCHAR)")
        tags = [{"pointer": "/matter", "how": "=", "wanted": "4711"}]
        bound = bound_to(unknown_kinds=True, whole=["15550100"], ends=["5550100"], tags=tags)
        (plan,) = con.execute(f"EXPLAIN (FORMAT json) {query('matters/selected')}", bound).fetchall()
    assert "custom_data" in plan[1]
    assert "DELIM" not in plan[1]


def bound_to(**conditions: object) -> dict[str, object]:
    """The parameters of `matters/selected` for these conditions alone."""
    nothing = {name: list[str]() for name in ("ids", "agents", "queues", "media", "whole", "ends", "tags")}
    no = dict.fromkeys(("by_id", "or_unread", "agents_by_name", "queues_by_name"), False)
    return {**nothing, **no, "first_moment": None, "end_moment": None, **conditions}


def selected(con: duckdb.DuckDBPyConnection, **conditions: object) -> list[str]:
    """The recordings that these conditions alone select."""
    con.execute("CREATE TABLE named_agents (user_id VARCHAR)")
    rows = con.execute(f"SELECT recording_id FROM ({query('matters/selected')})", bound_to(**conditions)).fetchall()
    return [str(name) for (name,) in rows]


def test_an_agent_is_found_by_an_earlier_name_and_keeps_one_that_the_newest_night_lacks() -> None:
    with duckdb.connect() as con:
        con.execute(
            """
            CREATE SCHEMA custody;
            CREATE TABLE custody.agents AS
            SELECT * FROM (
                VALUES (1, 'u1', 'Jane Roe', 'roe@example.com'), (2, 'u1', 'Jane Doe', 'doe@example.com'),
                    (3, 'u1', NULL, NULL), (3, 'u2', NULL, NULL)
            ) AS a (partition_date, user_id, user_name, email)
            """
        )
        assert agent_names(con) == {"u1": ("Jane Doe", "doe@example.com"), "u2": ("", "")}
        for name in ("jane roe", "Jane Doe", "ROE@example.com", "U1"):
            assert _agents(con, (name,)) == (["u1"], ())
        assert _agents(con, ("",)) == ([""], ("",))


@pytest.mark.parametrize(
    ("unknown_kinds", "media", "recordings"),
    [
        (True, "call", ["audio", "session:s1", "other"]),
        (True, "message", ["session:s1", "sent", "other"]),
        (True, "screen", ["screen:p1", "session:s1", "other"]),
        # A retention rule erases only what is known to be of its kind.
        (False, "call", ["audio"]),
        (False, "message", ["sent"]),
        (False, "screen", []),
    ],
)
def test_a_matter_finds_lost_recordings_of_an_unknown_kind(
    unknown_kinds: bool, media: str, recordings: list[str]
) -> None:
    with duckdb.connect() as con:
        con.execute(
            """
            CREATE SCHEMA custody;
            CREATE TABLE custody.chain_of_custody AS
            SELECT 'c' AS conversation_id, r.*, NULL::DATE AS partition_date, NULL::TIMESTAMP AS conversation_start,
                []::VARCHAR[] AS user_ids, []::VARCHAR[] AS queue_ids, []::VARCHAR[] AS queue_names, '' AS ani,
                '' AS dnis, '{}'::JSON AS custom_data, 'present' AS custom_data_state,
                '' AS conversation_sha256, []::VARCHAR[] AS gap_reasons
            FROM (
                VALUES ('audio', 'Call', 'Trunk'), ('email', 'Email', NULL), ('screen:p1', NULL, NULL),
                    ('session:s1', NULL, NULL), ('sent', 'messaging', NULL), ('other', 'Hologram', NULL)
            ) AS r (recording_id, media_type, media_subtype)
            """
        )
        assert selected(con, media=[media], unknown_kinds=unknown_kinds) == recordings


def test_audio_of_the_recording_interface_may_be_a_callback(night: Published) -> None:
    matter = night.matter("callbacks", "  media: [callback]")
    with duckdb.connect() as con:
        assert [_rows(con, matter, unknown_kinds=unknown)[1]["media"] for unknown in (True, False)] == [
            ["callback", "audio"], ["callback"]
        ]  # fmt: skip


def test_a_matter_whose_dates_have_not_ended_is_not_saturated(night: Published) -> None:
    matter = night.matter("to-come", f"  from: {NIGHT}\n  to: {utc_now().date() + timedelta(days=1)}")
    found = standing(night.settings, matter, register_of(night.settings, "to-come"))
    assert (found.to_come, found.saturated) == (2, False)
    assert "2 nights of the dates to come" in list(_outlook("to-come", found))


@pytest.mark.parametrize(
    ("first", "end", "found"),
    [
        (datetime(2026, 11, 2, 5), datetime(2026, 11, 3, 5), ["known", "unknown"]),  # New York's day
        (datetime(2026, 11, 2, 23), datetime(2026, 11, 3, 23), ["known", "unknown"]),  # Berlin's next day
        (datetime(2026, 11, 3), datetime(2026, 11, 4), []),
        (datetime(2026, 11, 1), datetime(2026, 11, 2), []),
    ],
)
def test_a_recording_whose_start_nothing_tells_is_found_if_its_night_may_be_of_the_dates(
    first: datetime, end: datetime, found: list[str]
) -> None:
    with duckdb.connect() as con:
        con.execute(
            """
            CREATE SCHEMA custody;
            CREATE TABLE custody.chain_of_custody AS
            SELECT 'c' AS conversation_id, DATE '2026-11-02' AS partition_date, []::VARCHAR[] AS user_ids,
                []::VARCHAR[] AS queue_ids, []::VARCHAR[] AS queue_names, '' AS ani, '' AS dnis,
                '{}'::JSON AS custom_data, 'present' AS custom_data_state, '' AS conversation_sha256,
                []::VARCHAR[] AS gap_reasons, 'Call' AS media_type, NULL::VARCHAR AS media_subtype, r.*
            FROM (
                VALUES ('known', TIMESTAMP '2026-11-02 23:30'), ('unknown', NULL)
            ) AS r (recording_id, conversation_start)
            """
        )
        assert sorted(selected(con, unknown_kinds=True, first_moment=first, end_moment=end)) == found


@pytest.mark.parametrize(
    "select", ["  tags: [Legal-Hold is set]", "  numbers: ['+15550100']", "  queues: [Claims]", "  where: dnis = '1'"]
)
def test_recordings_of_which_no_document_tells_whether_they_belong_to_it_are_counted(
    night: Published, select: str
) -> None:
    matter = night.matter("unread", select)
    with duckdb.connect() as con:
        con.execute(
            """
            CREATE SCHEMA custody;
            CREATE TABLE custody.chain_of_custody AS
            SELECT 'c' AS conversation_id, NULL::DATE AS partition_date, NULL::TIMESTAMP AS conversation_start,
                NULL::VARCHAR[] AS queue_ids, NULL::VARCHAR[] AS queue_names, 'Call' AS media_type,
                NULL::VARCHAR AS media_subtype, NULL::VARCHAR AS ani, NULL::VARCHAR AS dnis, r.*
            FROM (
                VALUES ('forbidden', 'unavailable', NULL, NULL, ['u2'], ['CONVERSATION_FORBIDDEN']),
                    ('captured', 'present', NULL, '{"a": "b"}', [], ['CONVERSATION_NOT_FOUND']),
                    ('read', 'empty', 'd1', '{"Legal-Hold": "1"}', ['u1'], ['TAG_NEVER_SET']),
                    ('erased', 'unavailable', NULL, NULL, NULL, ['ERASED'])
            ) AS r (recording_id, custom_data_state, conversation_sha256, custom_data, user_ids, gap_reasons)
            """
        )
        assert not_known(con, matter) == (3, 1)
        con.execute(
            "CREATE TABLE custody.agents AS SELECT NULL::DATE partition_date, unnest(['u1', 'u2']) user_id, "
            "'Ann' user_name, NULL::VARCHAR email"
        )
        # The sidecar of one of them tells its agent.
        assert not_known(con, night.matter("unread", "  agents: [u1]")) == (2, 0)
        # A condition on what nothing tells may be false without being null.
        assert not_known(con, night.matter("unread", "  where: coalesce(dnis, '') = '1'")) == (3, 1)
        # The client may not see the name of an agent.
        con.execute("UPDATE custody.agents SET user_name = NULL WHERE user_id = 'u1'")
        assert not_known(con, night.matter("unread", "  agents: [Eve]")) == (4, 1)
        assert not_known(con, night.matter("unread", "  agents: [00000000-0000-4000-8000-000000000000]")) == (2, 0)
        assert not_known(con, night.matter("unread", "  ids: [c]")) == (0, 0)
        con.execute(
            "CREATE TABLE custody.divisions AS SELECT 'c' conversation_id, 'd1' division_id, 'Home' division_name"
        )
        assert not_known(con, night.matter("unread", "  divisions: [Away]")) == (0, 0)
        con.execute("UPDATE custody.divisions SET division_name = NULL")
        assert not_known(con, night.matter("unread", "  divisions: [Away]")) == (4, 1)
        con.execute("UPDATE custody.chain_of_custody SET queue_ids = ['q1', 'q2'], queue_names = ['Sales']")
        assert not_known(con, night.matter("unread", "  queues: [Claims]")) == (4, 1)


def test_what_may_still_be_read_leaves_a_matter_open_and_is_told() -> None:
    known = Night(NIGHT, "final", "established", {}, 0, 1)
    found = Standing(Found(Recordings([recording(1)])), (known,), (), (), 0, 0)
    assert found.saturated
    assert not replace(found, not_known=2, not_known_coming=1).saturated
    assert replace(found, not_known=2).saturated


def test_a_night_that_retention_leaves_out_of_the_snapshot_is_found_told_held_and_packed(
    night: Published, tmp_path: Path
) -> None:
    run = CliRunner().invoke
    night.matter("left-out", "  where: 1 = 1")
    show = ["matter", "show", "left-out", "--json"]
    of_night = [
        ["report", "--date", str(NIGHT), "--json"],
        ["gaps", "--date", str(NIGHT), "--json"],
        ["gaps", "--json"],
    ]
    before = [json.loads(run(app, command).stdout) for command in (show, *of_night)]
    leave_out(night.settings, [NIGHT])
    try:
        with Warehouse(night.settings).open() as con:
            snapshot_for_analysts(con, night.settings)
        with analyst_database(night.settings) as con:
            assert con.execute("SELECT count(*) FROM custody.chain_of_custody").fetchall() == [(0,)]
        assert [json.loads(run(app, command).stdout) for command in (show, *of_night)] == before
        assert run(app, ["explain", night.rows[0]["recording_id"]]).exit_code == 0
        sheet = tmp_path / "sheet.xlsx"
        run(app, ["sheet", "chain_of_custody", "--date", str(NIGHT), "--out", str(sheet)])
        assert len(list(openpyxl.load_workbook(sheet).active.iter_rows())) == 1 + len(night.rows)
        held = json.loads(run(app, ["matter", "hold", "left-out", "--apply", "--json"]).stdout)
        assert held["conversations"] == len(night.server.world.protected) > 0
        run(app, ["matter", "release", "left-out", "--apply"])
        packed = ["package", "--conversation", night.whole()[0]["conversation_id"], "--to", str(tmp_path / "p")]
        assert run(app, [*packed, "--reason", "request 4"]).exit_code == 0
    finally:
        (night.settings.home / "retention/snapshot.json").unlink()
        with Warehouse(night.settings).open() as con:
            snapshot_for_analysts(con, night.settings)


def test_the_standing_counts_nights_that_are_not_established() -> None:
    nights = [Night(NIGHT, "final", claim, {}, 0, 1) for claim in ("established", "not_established", "incomplete")]
    told = list(_outlook("n", Standing(Found(Recordings()), tuple(nights), (), (), 0, 0)))
    assert told[-1] == "2 nights are not established: more may be missing than the gaps say; see custody status"


def test_each_condition_finds_what_the_rows_say(night: Published) -> None:
    row = next(row for row in night.rows if row["ani"] and row["user_ids"] and row["queue_names"])
    agent, queue = row["user_ids"][0], row["queue_names"][0]
    with_agent = {(r["conversation_id"], r["recording_id"]) for r in night.rows if agent in (r["user_ids"] or [])}
    assert keys(find(night, f"  agents: [{agent.upper()}]")) == with_agent
    with analyst_database(night.settings) as con:
        name, email = agent_names(con)[agent]
    for word in (name.upper(), email):
        found = find(night, f'  agents: ["{word}", "Nobody Known"]')
        assert (keys(found), found.strangers) == (with_agent, ("Nobody Known",))
    assert not keys(find(night, "  agents: [Nobody Known]"))
    with_queue = {(r["conversation_id"], r["recording_id"]) for r in night.rows if queue in (r["queue_names"] or [])}
    found = find(night, f"  queues: ['{queue.lower()}', Clams]")
    assert (keys(found), found.unseen_queues) == (with_queue, ("Clams",))
    assert find(night, "  divisions: [Hom]").unseen_queues == ("Hom",)
    number = row["ani"].partition("@")[0].rpartition(":")[2]
    for written in (number, f"00{number.lstrip('+')}", f"{number[:4]} ({number[4:7]}) {number[7:]}", number[-8:]):
        assert (row["conversation_id"], row["recording_id"]) in keys(find(night, f"  numbers: ['{written}']"))
    assert keys(find(night, f"  numbers: ['tel:{number};ext=7@example.com']")) == keys(
        find(night, f"  numbers: ['{number}']")
    )
    assert keys(find(night, "  numbers: ['999']")) == set()
    assert keys(find(night, f"  from: {NIGHT}\n  to: {NIGHT}")) == keys(find(night, "  where: 1 = 1"))
    assert keys(find(night, "  where: custody_status = 'complete' -- no more")) == of(
        night, "custody_status", "complete"
    )
    kinds = {item.kind for item in find(night, "  media: [call, screen]").recordings}
    assert kinds <= {"call", "screen", ""}
    assert kinds - {""}


@pytest.mark.parametrize("condition", ["agents", "queues", "divisions"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_is_found_in_both_spellings_of_an_accented_letter(
    night: Published, form: Literal["NFC", "NFD"], condition: str
) -> None:
    row = [unicodedata.normalize(form, "Élodie Müller ")]
    spelled = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "Élodie Müller")
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA custody")
        con.execute(
            """
            CREATE TABLE custody.chain_of_custody AS
            SELECT 'c' AS conversation_id, 'r' AS recording_id, DATE '2026-11-02' AS partition_date,
                NULL::TIMESTAMP AS conversation_start, NULL::TIMESTAMP AS recording_start, ['u1'] AS user_ids,
                ['q1'] AS queue_ids, [?] AS queue_names, NULL::VARCHAR AS ani, NULL::VARCHAR AS dnis,
                '{}'::JSON AS custom_data, 'present' AS custom_data_state, 'd' AS conversation_sha256,
                []::VARCHAR[] AS gap_reasons, 'Call' AS media_type, NULL::VARCHAR AS media_subtype,
                NULL AS media_sha256, NULL AS object_uri, NULL AS sidecar_uri, '' AS row_sha256, '' AS custody_status
            """,
            row,
        )
        con.execute(
            "CREATE TABLE custody.agents AS SELECT NULL::DATE partition_date, 'u1' user_id, ? user_name, '' email", row
        )
        con.execute(
            "CREATE TABLE custody.divisions AS SELECT 'c' conversation_id, 'd1' division_id, ? division_name", row
        )
        found = select(con, night.matter("spelled", f"  {condition}: ['{spelled.upper()}']"))
    assert (len(found.recordings), found.unseen) == (1, ())


def test_tag_conditions_hold_for_each_tag(night: Published) -> None:
    tagged = [row for row in night.rows if json.loads(row["custom_data"] or "{}").get("Matter-Number")]
    value = json.loads(tagged[0]["custom_data"])["Matter-Number"]
    equal = {
        (row["conversation_id"], row["recording_id"])
        for row in tagged
        if json.loads(row["custom_data"])["Matter-Number"] == value
    }
    assert keys(find(night, f"  tags: ['Matter-Number = {value}']")) == equal
    assert keys(find(night, f"  tags: ['Matter-Number = {value}', 'Matter-Number != {value}']")) == set()
    there, missing = (keys(find(night, f"  tags: [Matter-Number is {how}]")) for how in ("set", "missing"))
    assert len(there) == len(tagged)
    assert (there | missing, there & missing) == (keys(find(night, "  where: 1 = 1")), set())
    # Another spelling is another tag: it is told, as it finds nothing, or everything.
    found = find(night, "  tags: [Matter-Number is set, matter-number is missing]")
    assert (keys(found), found.unseen_tags, found.variants) == (there, ("matter-number",), ())
    assert find(night, "  tags: [matter-number is missing]").variants == ("Matter-Number",)
    found = find(night, f"  tags: ['Matter-Number = {value.lower()}', 'Matter-Number != {value.lower()}']")
    assert found.variants == (f"Matter-Number = {value}",)


@pytest.mark.parametrize(
    "where",
    [
        "no_such_column = 1",
        "1 = 1) OR (1 = 1",
        "1) ORDER BY (1",
        "1; DROP TABLE x",
        "1) UNION SELECT (1",
        "ani =",
        "ani IN (FROM '/x')",
    ],
)
def test_a_condition_that_is_no_single_expression_is_refused(night: Published, where: str) -> None:
    with pytest.raises(SettingsError, match="where: "):
        find(night, f'  where: "{where}"')


def test_how_a_matter_stands(night: Published) -> None:
    matter = night.matter("stands", f"  from: {NIGHT}\n  to: 2026-11-03")
    found = standing(night.settings, matter, register_of(night.settings, "stands"))
    first, second = found.nights
    assert (first.night, first.revision, sum(first.kinds.values())) == (NIGHT, 1, len(night.rows))
    assert (second.state, second.command) == ("missing", "custody run --date 2026-11-03")
    assert {gap.reason for gap in found.gaps} >= {"OBJECT_MISSING", "TAG_NEVER_SET"}
    never = next(gap for gap in found.gaps if gap.reason == "TAG_NEVER_SET")
    assert (never.recoverable, never.recordings > 0) == (0, True)
    assert not found.saturated
    assert found.remaining == len(night.whole())
    register_of(night.settings, "stands").note(
        Actor.of(None), "looked", revisions={**revisions(found.nights), str(NIGHT): 0}
    )
    assert standing(night.settings, matter, register_of(night.settings, "stands")).changed == (NIGHT,)
    # A night that the matter had nothing of at the last look is new.
    register_of(night.settings, "stands").note(Actor.of(None), "looked", revisions={})
    assert standing(night.settings, matter, register_of(night.settings, "stands")).changed == (NIGHT,)


def test_a_night_that_may_grow_is_of_every_matter_whose_open_dates_have_it(night: Published) -> None:
    nobody = "  where: recording_id = 'nobody'"
    since = [NIGHT + timedelta(days=number) for number in range((utc_now().date() - NIGHT).days)]
    for dates, nights in (
        (f"  from: {NIGHT}\n", since), ("", [NIGHT]), (f"  to: {NIGHT}\n", [NIGHT]),
        (f"  from: {NIGHT + timedelta(days=1)}\n", since[1:]), (f"  to: {NIGHT - timedelta(days=1)}\n", []),
    ):  # fmt: skip
        matter = night.matter("open", dates + nobody)
        found = standing(night.settings, matter, register_of(night.settings, "open"))
        assert [one.night for one in found.nights if one.command] == nights
    matter = night.matter("open", "  ids: [nobody]")
    assert standing(night.settings, matter, register_of(night.settings, "open")).nights == ()


def test_a_matter_is_shown_where_the_look_cannot_be_noted(night: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    night.matter("unnoted", f"  from: {NIGHT}")
    monkeypatch.setattr(Register, "note", Mock(side_effect=PermissionError(errno.EACCES, "x", "events.ndjson")))
    told = CliRunner().invoke(app, ["matter", "show", "unnoted"])
    assert (told.exit_code, "found" in told.stdout) == (1, True)
    assert "this look is not noted: events.ndjson: Permission denied" in told.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["package", "--to", "x", "--date", str(NIGHT), "--reason", " "],
        ["matter", "receipt", "m", "--volume", "VOL001", "--how", "courier", "--to", ""],
        ["matter", "receipt", "m", "--volume", "VOL001", "--to", "Jane Roe", "--how", " "],
    ],
)
def test_a_reason_or_a_receiver_without_words_is_refused(night: Published, command: list[str]) -> None:
    told = CliRunner().invoke(app, command)
    assert (told.exit_code, "expected some words" in told.output) == (2, True)


def test_the_commands_say_it(night: Published) -> None:
    run = CliRunner().invoke
    given = ["--tag", "Matter-Number is missing", "--from", str(NIGHT), "--media", "call", "--media", "screen"]
    made = run(app, ["matter", "new", "told", *given, "--custodian", 'Jane "J" Roe', "--requesting-party", "Roe LLP"])
    assert (made.exit_code, made.stdout.strip().endswith("matters/told.yaml")) == (0, True)
    matter = load_matter(night.settings.home / "matters/told.yaml")
    assert (matter.custodian, matter.requesting_party, matter.selection.media) == (
        'Jane "J" Roe', "Roe LLP", ("call", "screen")
    )  # fmt: skip
    shown = run(app, ["matter", "show", "told"])
    assert (shown.exit_code, "TAG_NEVER_SET" in shown.stdout, f"→ custody run --date {NIGHT}" in shown.stdout) == (
        1,
        True,
        True,
    )
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert json.loads(run(app, ["matter", "show", "told", "--json"]).stdout)["saturated"] is False
    night.matter("nothing", "  ids: [nobody]")
    nothing = run(app, ["matter", "show", "nothing"])
    assert (nothing.exit_code, "nobody: in no collected night" in nothing.stdout) == (2, True)
    assert "told" in run(app, ["matter", "list"]).stdout
