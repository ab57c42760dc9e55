"""The page of a night, from given raw rows: its numbers are those of its rows also where a night is odd."""

from __future__ import annotations

import csv
import re
from datetime import timedelta

import pytest

from custody_pipeline.cli.gaps_page import print_gaps
from custody_pipeline.matters import standing
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.operations.night_report import Scope, night_report, scope_of_night, write_report
from custody_pipeline.operations.summary import night_summary
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import rows_of
from custody_pipeline_tests.sql.conftest import NIGHT, Night

_LINK = re.compile(r'href="rows/([^"]+)\.csv">(\d+)<')


def links(night: Night, scope: Scope) -> dict[str, int]:
    """The rows of each file to which a number of the page is a link; the number is theirs."""
    folder = night.scratch / "report"
    path, _ = write_report(night.con, scope, folder)
    found = {}
    for name, number in _LINK.findall(path.read_text()):
        with (folder / "rows" / f"{name}.csv").open(encoding="utf-8-sig", newline="") as file:
            found[name] = len(list(csv.DictReader(file)))
        assert (name, found[name]) == (name, int(number))
    return found


def test_a_reason_of_two_severities_has_a_file_for_each(night: Night) -> None:
    night.settings = Settings(
        genesys_domain="mypurecloud.ie",
        genesys_client_id="id",
        genesys_client_secret="secret",
    )
    for number in range(1, 4):
        night.call(f"c{number}", f"r{number}")
        night.metadata(
            f"c{number}", {"recording_id": f"r{number}", "region": "us-east-1" if number == 3 else "eu-west-1"}
        )
    night.run()
    found = links(night, scope_of_night(NIGHT))
    assert {name: rows for name, rows in found.items() if "REGION" in name} == {
        "REGION_MISMATCH-info": 2,
        "REGION_MISMATCH-warning": 1,
    }
    assert len(set(re.findall(r'id="(REGION[^"]+)"', (night.scratch / "report/report.html").read_text()))) == 2


def test_each_recording_of_a_source_that_failed_as_a_whole_is_counted(night: Night) -> None:
    for number in range(1, 4):
        night.call(f"c{number}", f"r{number}")
    night.rows["media_digests"] = []
    night.receipt("media_digests", receipt_state="failed", detail="AccessDenied")
    night.run()
    assert [row["recording_id"] for row in night.table("gaps")] == ["source:media_digests"]
    assert links(night, scope_of_night(NIGHT))["OBJECT_UNREADABLE"] == 3
    assert links(night, Scope(NIGHT, NIGHT, "A matter", keys=((NIGHT, "c1", "r1"),)))["OBJECT_UNREADABLE"] == 1
    assert night.table("nights")[0]["recoverable"] == 3
    recording = night.table("chain_of_custody")[0]
    reasons = {"reasons": recording["gap_reasons"]}
    key = {name: recording[name] for name in ("partition_date", "conversation_id", "recording_id")}
    of_one = rows_of(night.con, query("story/gaps_of_recording"), key | reasons)
    assert [gap["reason"] for gap in of_one] == ["OBJECT_UNREADABLE"]
    night.con.execute("CREATE OR REPLACE TEMP TABLE asked (n DATE, c VARCHAR, r VARCHAR, has_audio BOOLEAN)")
    night.con.executemany("INSERT INTO asked VALUES (?, ?, ?, false)", [(NIGHT, f"c{n}", f"r{n}") for n in (1, 2)])
    of_matter = standing._gaps(night.con)
    assert [(gap.reason, gap.recordings, gap.recoverable) for gap in of_matter] == [("OBJECT_UNREADABLE", 2, 2)]
    proofs = standing._of_each(night.con, query("matters/proofs"))
    assert proofs.keys() == {("c1", "r1"), ("c2", "r2")}
    assert all(proofs.values())
    summary = night_summary(night.con, NIGHT)
    assert summary is not None
    assert [(row["reason"], row["recordings"]) for row in summary.reasons] == [("OBJECT_UNREADABLE", 3)]


def test_what_was_erased_is_not_called_nothing_lost(night: Night) -> None:
    night.call()
    night.insert("erasures", [{"conversation_id": "c9", "recording_id": "r9", "erasure_id": "e1"}])
    night.run()
    assert links(night, scope_of_night(NIGHT))["ERASED"] == 1
    assert (night.balance("recordings"), night.balance("tags")) == ((2, 1, 1, 0), (2, 1, 1, 0))
    page = (night.scratch / "report/report.html").read_text()
    assert "nothing is lost" not in page
    assert page.partition('id="ERASED"')[2].partition("</tr>")[0].endswith("<td>no</td>")


def test_a_number_that_no_published_row_explains_is_no_link(night: Night) -> None:
    path = night.scratch / "mapping.yaml"
    path.write_text(
        "version: 1\ncolumns: {one: {attribute: One, applies_when: {flows: [Other]}}, two: {attribute: Two}}\n"
    )
    night.mapping = load_mapping(path)
    for number in (1, 2):
        night.call(f"c{number}", f"r{number}")
    flow = {"flow_id": "f2", "flow_name": "Other", "flow_version": "1"}
    night.leg("ivr")["sessions"][0]["flow"] = flow
    night.run()
    found = links(night, scope_of_night(NIGHT))
    assert {name: rows for name, rows in found.items() if name.startswith("tag-")} == {"tag-two": 2}
    assert "A number without a link" in (night.scratch / "report/report.html").read_text()


def test_a_detail_that_is_of_one_night_alone_names_it(night: Night) -> None:
    later = Night(night.con, night.models, night.mapping, night.scratch, NIGHT + timedelta(days=1))
    for one, failures in ((night, 2), (later, 1)):
        one.call()
        for number in range(failures):
            one.refuse(403, f"x{number}", "export_jobs")
        one.receipt("export_jobs", receipt_state="partial", failures=failures)
        one.load()
        one.model(now=True)
    links(night, Scope(NIGHT, later.day, "Two nights"))
    page = " ".join((night.scratch / "report/report.html").read_text().split())
    assert "on 2 nights (2026-11-03: 1 could not be read)" in page


def test_a_matter_is_complete_only_if_each_of_its_nights_is(night: Night) -> None:
    later = Night(night.con, night.models, night.mapping, night.scratch, NIGHT + timedelta(days=1))
    for one in (night, later):
        one.call()
        if one is later:
            one.refuse(403, "x1", "export_jobs")
            one.receipt("export_jobs", receipt_state="partial", failures=1)
        one.load()
        one.model(now=True)
    keys = ((NIGHT, "c1", "r1"),)
    found = {}
    for nights in ((NIGHT,), (NIGHT, later.day)):
        scope = Scope(NIGHT, later.day, "A matter", keys=keys, nights=frozenset(nights))
        found[nights] = night_report(night.con, scope)
    alone, both = found.values()
    assert "export_jobs" not in {source["source"] for source in alone.sources}
    assert {source["source"] for source in both.sources} > {source["source"] for source in alone.sources}
    assert [len(one.nights) for one in (alone, both)] == [1, 2]


def test_the_worst_place_of_a_tag_is_one_script(night: Night) -> None:
    other = "5c1e0000-0000-4000-8000-000000000002"
    versions = {"script_id": other, "script_name": "Claims", "version_id": "2", "published_date": "2026-01-01 00:00:00"}
    night.rows["published_scripts"].append(versions)
    for number in range(1, 6):
        night.call(f"c{number}", f"r{number}", agent={})
    for row in night.rows["conversation_details"][2:]:
        row["participants"][-1]["sessions"][0]["script_id"] = other
    night.run()
    links(night, scope_of_night(NIGHT))
    assert "Intake, script Claims version 2: 3 of 3" in (night.scratch / "report/report.html").read_text()


def test_the_terminal_calls_a_source_no_recording(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    night.call()
    night.rows["media_digests"] = []
    night.receipt("media_digests", receipt_state="failed", detail="AccessDenied")
    night.run()
    print_gaps(night.table("gaps"))
    assert "OBJECT_UNREADABLE  error, 1 gap\n" in capsys.readouterr().out


def test_a_column_whose_tag_changed_is_one_line_and_columns_of_one_tag_are_told_apart(night: Night) -> None:
    mappings = []
    for name, case in (("one", "Case"), ("two", "New-Case")):
        path = night.scratch / f"{name}.yaml"
        path.write_text(
            f"version: 1\ncolumns: {{a: {{attribute: {case}, path: $.a}}, b: {{attribute: {case}, path: $.b}}}}\n"
        )
        mappings.append(load_mapping(path))
    later = Night(night.con, night.models, mappings[1], night.scratch, NIGHT + timedelta(days=1))
    night.mapping = mappings[0]
    night.call(agent={"Case": '{"a": 1}'})
    for number in range(1, 4):
        later.call(f"c{number}", f"r{number}", agent={"New-Case": '{"a": 1}'} if number == 1 else {})
    for one in (night, later):
        one.load()
        one.model(now=True)
    found = links(night, Scope(NIGHT, later.day, "Two nights"))
    assert {name: rows for name, rows in found.items() if name.startswith("tag-")} == {"tag-a": 2, "tag-b": 4}
    page = (night.scratch / "report/report.html").read_text()
    assert page.count("<code>New-Case</code> in <code>custom_data_") == 2
    assert "script Intake version 2: 2 of 4" in page


def test_a_deadline_that_has_passed_is_not_called_none(night: Night) -> None:
    night.call()
    archived = {"recording_id": "r2", "file_state": "ARCHIVED", "delete_date": "2000-01-01 00:00:00"}
    night.metadata("c1", {"recording_id": "r1"}, archived)
    night.run()
    links(night, scope_of_night(NIGHT))
    action = (night.scratch / "report/report.html").read_text().partition('id="to-do"')[2].partition("</tbody>")[0]
    assert "too late for 1" in action
    assert "no deadline" not in action
