"""After a production: receipts, the matter's page, gathering, and packages of what a matter selects."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from custody_pipeline.cli.main import app
from custody_pipeline.matters import standing, volume_writer
from custody_pipeline.matters.register import register_of
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline_tests.matters.conftest import NIGHT, Published

pytestmark = pytest.mark.server


def custody(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_volume_is_handed_over_and_the_page_says_so(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = night.whole()[0]
    night.matter("handed", f"  ids: [{chosen['recording_id']}, nobody]")
    (tmp_path / "signed.pdf").write_bytes(b"signed")
    receipt = ("matter", "receipt", "handed", "--volume", "VOL001", "--to", "John Doe, Doe LLP", "--how", "courier")
    early = custody(*receipt)
    assert (early.exit_code, "there are none" in str(early.exception)) == (1, True)
    with monkeypatch.context() as stopped:
        stopped.setattr(volume_writer, "sign_production", lambda *_: sys.exit(9))
        assert custody("matter", "produce", "handed", "--to", tmp_path).exit_code == 9
    early = custody(*receipt)
    assert (early.exit_code, "there are none" in str(early.exception)) == (1, True)
    assert "1 begun and not finished" in " ".join(custody("matter", "list").stdout.split())
    assert custody("matter", "produce", "handed", "--to", tmp_path).exit_code == 0
    assert "has not come yet" in str(custody(*receipt, "--when", "2099-01-01").exception)
    assert "was made on" in str(custody(*receipt, "--when", "2026-11-20").exception)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    given = custody(*receipt, "--when", today, "--confirmation", tmp_path / "signed.pdf", "--operator", "clerk")
    assert given.exit_code == 0, given.stderr
    with Warehouse(night.settings).open(read_only=True) as con:
        found = con.execute(
            "SELECT operator, how, occurred_at::DATE::VARCHAR, recording_id FROM custody.custody_events "
            "WHERE what = 'VOL001, handed over to John Doe, Doe LLP'"
        ).fetchall()
    assert found == [("clerk", "courier", today, chosen["recording_id"])]
    (kept,) = (register_of(night.settings, "handed").folder / "receipts").iterdir()
    assert kept.read_bytes() == b"signed"
    page = tmp_path / "page.html"
    assert custody("matter", "report", "handed", "--to", page).exit_code == 0
    for part in (
        f"handed VOL001 to John Doe, Doe LLP, courier; handed over on {today}<",
        "1 of 1 recordings",
        "1 id of the request matches no",
    ):
        assert part in page.read_text()
    (key,) = (night.settings.home / "keys").glob("*.pub")
    told = custody("verify", tmp_path / "VOL001", "--key", key, "--json").stdout
    sha256 = hashlib.sha256((tmp_path / "VOL001/production-sha256.txt").read_bytes()).hexdigest()
    assert sha256 in told
    # Every matter has a VOL001; verifications of earlier versions do not say which one they are of.
    of_no_list = told.replace("sha256 of production-sha256.txt", "another fact")
    refused = (told.replace("VOL001", "VOL002"), told.replace(sha256, "0" * 64))
    for text, status in (*((text, 1) for text in refused), (of_no_list, 0), (told, 0)):
        (tmp_path / "verified.json").write_text(text)
        assert custody(*receipt, "--confirmation", tmp_path / "verified.json").exit_code == status
    assert [
        event["what"].endswith(" (it does not say of which production)")
        for event in register_of(night.settings, "handed").events()
        if "custody verify there" in event["what"]
    ] == [True, False]
    assert custody("matter", "report", "handed", "--to", page).exit_code == 0
    assert f"courier; custody verify there: {json.loads(told)['verdict']}" in page.read_text()
    assert "produced before" not in page.read_text()
    assert "a report is .html or .pdf" in custody("matter", "report", "handed", "--to", tmp_path / "page.docx").stderr
    privileged = f"exclude:\n  - {{ids: [{chosen['recording_id']}], reason: privilege}}"
    night.matter("handed", f"  ids: [{chosen['recording_id']}]", privileged)
    assert "HANDED000001: excluded, but produced before" in custody("matter", "show", "handed").stdout
    (volume,) = register_of(night.settings, "handed").volumes()
    register_of(night.settings, "handed").keep(replace(volume, removed_at=f"{today}T00:00:00Z"))
    assert "an erasure removed VOL001" in str(custody(*receipt).exception)
    register_of(night.settings, "handed").keep(volume)
    assert custody("matter", "report", "handed", "--to", page).exit_code == 0
    assert "to be asked for back: HANDED000001" in page.read_text()


def test_gathering_names_the_nights_it_would_collect(night: Published) -> None:
    night.matter("gathered", f"  from: {NIGHT}\n  to: 2026-11-03")
    told = custody("matter", "gather", "gathered", "--dry-run")
    assert told.stdout.splitlines() == [f"custody run --date {NIGHT}", "custody run --date 2026-11-03"]


def test_a_recording_that_an_export_left_out_is_not_called_nothing_lost() -> None:
    columns = "severity, sentence, next_action, recoverable, recoverable_until, conversation_id, recording_id"
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA custody; CREATE TABLE asked (n DATE, c VARCHAR, r VARCHAR, has_audio BOOLEAN)")
        con.execute(
            "CREATE TABLE custody.chain_of_custody "
            "(partition_date DATE, conversation_id VARCHAR, recording_id VARCHAR, gap_reasons VARCHAR[], "
            "queue_names VARCHAR[], script_id VARCHAR, script_version VARCHAR)"
        )
        con.execute(
            f"CREATE TABLE custody.gaps AS SELECT reason, {columns}, DATE '2026-11-02' AS partition_date, "
            "[]::VARCHAR[] AS queue_names, '' AS script_id, '' AS script_version "
            "FROM (VALUES ('EXPORT_EXCLUDED_SENSITIVE', 'a'), ('UNMAPPED_TAG', 'a'), ('UNMAPPED_TAG', 'b')) "
            "t(reason, recording_id), (SELECT 'info' AS severity, '' AS sentence, '' AS next_action, "
            "'yes' AS recoverable, NULL::TIMESTAMP AS recoverable_until, 'c' AS conversation_id)"
        )
        con.execute("INSERT INTO asked VALUES ('2026-11-02', 'c', 'a', false), ('2026-11-02', 'c', 'b', true)")
        gaps = standing._gaps(con)
    found = [(gap.reason, gap.recordings, gap.recoverable, gap.otherwise) for gap in gaps]
    assert found == [
        ("UNMAPPED_TAG", 2, 0, "nothing is lost"),
        ("EXPORT_EXCLUDED_SENSITIVE", 1, 1, "cannot be recovered"),
    ]


def test_persons_of_one_name_are_told_apart_and_what_failed_from_what_was_done() -> None:
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA custody; CREATE TABLE asked (n DATE, c VARCHAR, r VARCHAR, has_audio BOOLEAN)")
        con.execute("INSERT INTO asked VALUES ('2026-11-02', 'c', 'a', true), ('2026-11-02', 'c', 'b', true)")
        con.execute(
            "CREATE TABLE custody.access_events AS SELECT 'c' AS conversation_id, NULL AS client_id, "
            "TIMESTAMP '2026-11-03' AS occurred_at, []::VARCHAR[] AS from_ips, false AS is_own_collection, t.* "
            "FROM (VALUES ('a', 'u1', 'Ann', 'viewed', 'SUCCESS'), ('b', 'u2', 'Ann', 'viewed', 'Success'), "
            "('a', 'u3', 'Eve', 'deleted', 'Failure'), ('b', 'u3', 'Eve', 'viewed', 'success'), "
            "('b', 'u3', 'Eve', 'changed', NULL)) t(recording_id, user_id, user_name, action, outcome)"
        )
        con.execute(
            "CREATE TABLE custody.coverage (partition_date DATE, source VARCHAR, state VARCHAR, complete_until TIME)"
        )
        accesses, _ = standing._accesses(con)
    assert [(access.who, access.action, access.recordings) for access in accesses] == [
        ("Ann, user u1", "viewed", 1),
        ("Ann, user u2", "viewed", 1),
        ("Eve", "changed (outcome unknown)", 1),
        ("Eve", "deleted (failure)", 1),
        ("Eve", "viewed", 1),
    ]


def test_an_authorised_person_may_act_in_another_role(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = night.whole()[0]["recording_id"]
    night.matter("roles", f"  ids: ['{recording}']", "authorised: ['Jane Roe, counsel']\n")
    monkeypatch.setenv("CUSTODY_OPERATOR", "Jane  ROE, paralegal")
    assert "authorised" not in custody("matter", "release", "roles", "--apply").stderr
    monkeypatch.setenv("CUSTODY_OPERATOR", "Jane Rowe, counsel")
    package = ("package", "--matter", "roles", "--to", tmp_path / "package", "--reason", "request 4")
    for command in (("matter", "release", "roles", "--apply"), package):
        assert "Jane Rowe, counsel is not among" in custody(*command).stderr


def test_a_night_that_may_still_grow_says_until_when(night: Published, tmp_path: Path) -> None:
    night.matter("growing", f"  from: {NIGHT}\n  to: {NIGHT}")
    shown = custody("matter", "show", "growing")
    assert shown.exit_code == 1
    (found,) = json.loads(custody("matter", "show", "growing", "--json").stdout)["nights"]
    until = datetime.fromisoformat(found["final_after"])
    with Warehouse(night.settings).open(read_only=True) as con:
        gaps = con.execute("SELECT max(recheck_until) FROM custody.gaps").fetchall()[0][0]
    assert until.replace(tzinfo=None) == gaps > datetime(2026, 11, 6)  # the night's end and 72 hours
    assert f"may grow until {until:%Y-%m-%d %H:%M} UTC" in shown.stdout or until < datetime.now(UTC)
    assert custody("matter", "report", "growing", "--to", tmp_path / "page.html").exit_code == 0
    told = f", may grow until {until:%Y-%m-%d %H:%M:%S} UTC"
    assert told in (tmp_path / "page.html").read_text() or until < datetime.now(UTC)


def test_before_any_night_every_night_of_the_dates_is_to_be_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    (tmp_path / "ids.txt").write_text("C1\nc1\n")
    dates = ("--from", NIGHT, "--to", "2026-11-03")
    assert custody("matter", "new", "early", "--ids", tmp_path / "ids.txt", *dates).exit_code == 0
    shown = custody("matter", "show", "early")
    assert (shown.exit_code, "c1: in no collected night" in shown.stdout) == (2, True)
    told = custody("matter", "gather", "early", "--dry-run")
    assert told.stdout.splitlines() == [f"custody run --date {NIGHT}", "custody run --date 2026-11-03"]


def test_a_package_holds_what_a_matter_a_list_or_a_conversation_names(night: Published, tmp_path: Path) -> None:
    first, second, *_ = night.whole()
    night.matter("packed", f"  ids: [{first['recording_id']}, {second['recording_id']}]",
                 f"exclude:\n  - {{ids: [{second['recording_id']}], reason: privilege}}")  # fmt: skip
    (tmp_path / "ids.txt").write_text(f"{second['recording_id'].upper()}\nnobody\n")
    of_conversation = {r["recording_id"] for r in night.rows if r["conversation_id"] == first["conversation_id"]}
    for number, (arguments, wanted, status) in enumerate(
        (
            (("--matter", "packed"), {first["recording_id"]}, 0),
            (("--ids", tmp_path / "ids.txt"), {second["recording_id"]}, 1),
            (("--conversation", first["conversation_id"]), of_conversation, 0),
        )
    ):
        folder = tmp_path / f"package{number}"
        told = custody("package", *arguments, "--to", folder, "--reason", "request 4")
        assert told.exit_code == status, told.stderr
        statement = json.loads((folder / "data/package.json").read_text())
        assert set(statement["asked"]) == wanted
        assert ("nobody: in no collected night" in told.stderr) == (status == 1)
    (packed,) = [event for event in register_of(night.settings, "packed").events() if event["what"] != "looked"]
    digest = hashlib.sha256((tmp_path / "package0" / "tagmanifest-sha256.txt").read_bytes()).hexdigest()
    assert (packed["what"], packed["sha256"]) == ("packaged 1 recording into package0", digest)
    chosen = next(row for row in night.whole() if row["user_ids"])
    night.matter("packed", f"  agents: [{chosen['user_ids'][0]}, Nobody Here]")
    told = custody("package", "--matter", "packed", "--to", tmp_path / "named", "--reason", "request 4")
    assert (told.exit_code, "Nobody Here: in no collected night" in told.stderr) == (1, True)
    capitals = ("package", "--recording", chosen["recording_id"].upper(), "--to", tmp_path / "none", "--reason", "x")
    assert "capitals count, and the vendor's ids have none" in " ".join(custody(*capitals).stderr.split())
    nothing = custody("package", "--conversation", "nobody", "--to", tmp_path / "none", "--reason", "x")
    assert (nothing.exit_code, (tmp_path / "none").exists()) == (2, False)


def times_read(night: Published, recording: str) -> int:
    # Other tests on this night may have read its stories.
    with Warehouse(night.settings).open(read_only=True) as con:
        return int(
            con.execute(
                "SELECT count(*) FROM raw.acts WHERE action = 'accessed' AND recording_id = ?", [recording]
            ).fetchall()[0][0]
        )


def test_the_page_and_the_story_say_who_listened_and_reading_the_story_is_an_event(
    night: Published, tmp_path: Path
) -> None:
    chosen = night.whole()[0]
    night.matter("listened", f"  ids: [{chosen['recording_id']}]")
    page = tmp_path / "page.html"
    assert custody("matter", "report", "listened", "--to", page).exit_code == 0
    assert "which were read for 1 of 1 night" in page.read_text()
    before = times_read(night, chosen["recording_id"])
    story = json.loads(custody("explain", chosen["recording_id"], "--json").stdout)
    (found,) = story["recordings"]
    assert {access["action"] for access in found["accesses"]} <= {"viewed", "downloaded"}
    (access, *_) = found["accesses"]
    assert (access["user_name"] in page.read_text(), "192.0.2.10" in page.read_text()) == (True, True)
    told = custody("explain", chosen["recording_id"])
    assert f"{access['action']} (" in told.stdout
    assert f"{access['user_name']}, user {access['user_id']}" in " ".join(told.stdout.split())
    assert times_read(night, chosen["recording_id"]) == before + 2
