"""The page for a compliance officer: every number is a link to as many rows, and the page needs nothing else."""

from __future__ import annotations

import csv
import re
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.operations.explain import GapFilter, NoSuchNightError, gaps
from custody_pipeline.operations.night_report import Scope, file_of_tag, night_report, write_report
from custody_pipeline_tests.matters.conftest import NIGHT, Published

pytestmark = pytest.mark.server

_LINK = re.compile(r'href="rows/([^"]+)">(\d+)<')


def links(folder: Path) -> dict[str, int]:
    """Each linked file with the number of its link; they are compared with the file's rows."""
    found = {}
    for name, number in _LINK.findall((folder / "report.html").read_text()):
        with (folder / "rows" / name).open(encoding="utf-8-sig", newline="") as file:
            assert (name, len(list(csv.DictReader(file)))) == (name, int(number))
        found[name] = int(number)
    return found


def test_every_number_of_the_page_opens_as_many_rows(night: Published, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["report", "--date", str(NIGHT), "--out", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert "Yes. Every source" in told.output
    found = links(tmp_path)
    assert found["all.csv"] == len(night.rows)
    reasons = [reason for row in night.rows for reason in row["gap_reasons"]]
    assert found["TAG_NEVER_SET.csv"] == reasons.count("TAG_NEVER_SET") > 0
    assert found["tag-legal-hold.csv"] == sum(not row["custom_data_legal_hold"] for row in night.rows)


def test_no_two_tags_have_one_file_of_rows() -> None:
    assert file_of_tag("custom_data_legal_hold") == "tag-legal-hold"
    assert len({file_of_tag(f"custom_data_{name}") for name in ("a_b", "a__b", "a_b_", "ab")}) == 4


def test_the_page_has_no_script_and_fetches_nothing(night: Published, tmp_path: Path) -> None:
    CliRunner().invoke(app, ["report", "--date", str(NIGHT), "--out", str(tmp_path)])
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!rows/|#)', page)
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors


def test_a_night_leaves_its_page_in_the_home(night: Published) -> None:
    assert links(night.settings.home / "reports" / str(NIGHT))["all.csv"] == len(night.rows)


def test_nights_that_nobody_collected_are_named(night: Published, tmp_path: Path) -> None:
    scope = Scope(NIGHT - timedelta(days=2), NIGHT + timedelta(days=1), "Some nights")
    with duckdb.connect(str(night.settings.analyst_path), read_only=True) as con:
        write_report(con, scope, tmp_path)
        found = night_report(con, scope)
    assert (found.tone, found.not_collected) == ("bad", "2026-10-31 to 2026-11-01, 2026-11-03")
    assert "3 of 4 nights were never collected" in (tmp_path / "report.html").read_text()


def test_a_report_of_a_matter_has_its_recordings_only(night: Published, tmp_path: Path) -> None:
    row = next(row for row in night.rows if row["gap_reasons"])
    night.matter("one", f"  ids: [{row['recording_id']}]")
    told = CliRunner().invoke(app, ["report", "--matter", "one", "--out", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert links(tmp_path)["all.csv"] == 1
    assert "custody matter show one" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("end", [("--from", 1), ("--to", -1)])
def test_an_end_beyond_every_night_is_told(night: Published, end: tuple[str, int], tmp_path: Path) -> None:
    beyond = str(NIGHT + timedelta(days=end[1]))
    told = CliRunner().invoke(app, ["report", end[0], beyond, "--out", str(tmp_path / "page")])
    assert (told.exit_code, (tmp_path / "page").exists()) == (2, False)
    assert beyond in told.output


def test_a_date_and_a_range_exclude_each_other(night: Published) -> None:
    told = CliRunner().invoke(app, ["report", "--date", str(NIGHT), "--from", str(NIGHT)])
    assert told.exit_code == 2  # what typer's runner gives for a usage error


def test_the_terminal_asks_for_the_same_deadlines(night: Published) -> None:
    deadlines = [row["recoverable_until"] or row["recheck_until"] for row in gaps(night.settings, GapFilter())[1]]
    first = min(filter(None, deadlines))
    _, found = gaps(night.settings, GapFilter(before=first))
    assert len(found) == deadlines.count(first)
    told = CliRunner().invoke(app, ["gaps", "--before", f"{first + timedelta(days=1):%Y-%m-%d}"]).output
    assert f"until {first:%Y-%m-%d %H:%M} UTC" in " ".join(told.split())


def test_a_night_of_a_matter_in_which_nothing_is_found_is_a_night_of_its_page(night: Published, tmp_path: Path) -> None:
    night.matter("none", f"  from: {NIGHT}\n  to: {NIGHT}\n  where: recording_id = 'nobody'")
    told = CliRunner().invoke(app, ["report", "--matter", "none", "--out", str(tmp_path)])
    assert (told.exit_code, "Yes. Every source" in told.output) == (0, True)
    assert f">{NIGHT}<" in (tmp_path / "report.html").read_text()


def test_a_matter_whose_ids_are_in_no_night_is_not_called_complete(night: Published, tmp_path: Path) -> None:
    night.matter("lost", f"  ids: [{night.rows[0]['recording_id']}, nobody-knows-this]")
    told = CliRunner().invoke(app, ["report", "--matter", "lost", "--out", str(tmp_path)])
    assert (told.exit_code, told.output.count("It cannot be said yet.")) == (2, 1)
    assert "Not on this page: 1 id that no collected night has." in (tmp_path / "report.html").read_text()


def test_a_matter_with_a_name_that_no_night_has_is_not_called_complete(night: Published, tmp_path: Path) -> None:
    user = next(row["user_ids"][0] for row in night.rows if row["user_ids"])
    night.matter("names", f"  agents: [{user}, Nobody Here]\n  from: {NIGHT}\n  to: {NIGHT}")
    assert CliRunner().invoke(app, ["report", "--matter", "names", "--out", str(tmp_path)]).exit_code == 2
    told = "Not on this page: 1 name of an agent, a queue, a division or a tag that no collected night has."
    assert told in (tmp_path / "report.html").read_text()
    page = tmp_path / "matter.html"
    assert CliRunner().invoke(app, ["matter", "report", "names", "--to", str(page)]).exit_code == 0
    assert "1 of the agents, queues, divisions and tags that were asked for: Nobody Here." in page.read_text()


def test_an_id_outside_of_the_other_conditions_is_told_apart(night: Published, tmp_path: Path) -> None:
    night.matter("outside", f"  ids: [{night.rows[0]['recording_id']}]\n  where: 1 = 0")
    page = tmp_path / "matter.html"
    assert CliRunner().invoke(app, ["matter", "report", "outside", "--to", str(page)]).exit_code == 0
    told = "1 id of the request: the recordings are there, but nothing shows that the other conditions hold."
    assert (told in page.read_text(), "matches no recording" in page.read_text()) == (True, False)


def test_days_without_a_night_of_the_matter_are_not_called_never_collected(night: Published, tmp_path: Path) -> None:
    night.matter("one", f"  ids: [{night.rows[0]['recording_id']}]")
    before = str(NIGHT - timedelta(days=1))
    command = ["report", "--matter", "one", "--from", before, "--to", before, "--out", str(tmp_path / "page")]
    told = CliRunner().invoke(app, command)
    assert (told.exit_code, (tmp_path / "page").exists()) == (2, False)
    assert "selects no night of these days" in told.output


@pytest.mark.parametrize("command", [["report"], ["gaps"], ["run", "--from", str(NIGHT)]])
def test_a_night_that_has_not_ended_is_no_end(command: list[str]) -> None:
    told = CliRunner().invoke(app, [*command, "--to", "9999-01-01"])
    assert (told.exit_code, "has not ended yet" in " ".join(told.output.split())) == (2, True)


def test_the_mapping_is_not_compared_with_a_night_that_nobody_collected(night: Published) -> None:
    told = CliRunner().invoke(app, ["mapping", "check", "--date", str(NIGHT - timedelta(days=1))])
    assert isinstance(told.exception, NoSuchNightError)
    assert told.stdout == ""


def test_recordings_of_which_no_tag_is_known_are_counted_beside_the_gaps_of_a_tag(night: Published) -> None:
    unknown = sum(row["custom_data_state"] != "present" for row in night.rows)
    told = CliRunner().invoke(app, ["gaps", "--tag", "Legal-Hold"])
    assert (unknown > 0, f"of {unknown} more recording" in told.stderr) == (True, True)
    assert "no tag is known" not in CliRunner().invoke(app, ["gaps"]).stderr
