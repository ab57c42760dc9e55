"""`custody gaps` prints what others wrote: no terminal and no spreadsheet obeys it."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.operations.explain import GapFilter
from custody_pipeline.publish import harmless_csv as module
from custody_pipeline.publish.harmless_csv import harmless_csv

ROW: dict[str, Any] = {
    "partition_date": "2026-11-02",
    "reason": "TAG_NEVER_SET",
    "recording_id": "[/bold]\x1b[2J\nVERIFIED",
    "sentence": "A sentence.",
    "next_action": "Look.",
    "severity": "error",
    "detail": "=HYPERLINK(1)",
    "count": -1,
}


@pytest.fixture(autouse=True)
def _gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custody_pipeline.operations.explain.gaps", lambda *_: (list(ROW), [ROW]))
    monkeypatch.setattr("custody_pipeline.operations.explain.unsettled", lambda *_: 0)
    monkeypatch.setattr("custody_pipeline.operations.explain.of_unknown_tags", lambda *_: 0)


def test_an_id_neither_crashes_nor_commands_the_terminal() -> None:
    told = CliRunner().invoke(app, ["gaps"])
    assert told.exit_code == 0
    assert "[/bold]\\x1b[2J\\nVERIFIED" in told.stdout
    assert all(line.isprintable() for line in told.stdout.splitlines())


@pytest.mark.parametrize("options", [[], ["--json"], ["--csv"]])
def test_no_gaps_of_nights_that_are_not_established_prove_nothing(
    monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr("custody_pipeline.operations.explain.gaps", lambda *_: (list(ROW), []))
    assert CliRunner().invoke(app, ["gaps", *options]).stderr == ""
    monkeypatch.setattr("custody_pipeline.operations.explain.unsettled", lambda *_: 2)
    told = CliRunner().invoke(app, ["gaps", *options])
    assert (told.exit_code, "2 nights are failed, missing or not established" in told.stderr) == (0, True)
    assert "established" not in told.stdout


def test_a_reason_is_told_once_and_nothing_is_wider_than_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = {
        **ROW,
        "sentence": "A long sentence. " * 9,
        "recording_id": "object:" + "x" * 200,
        "tag_keys": ["Legal-Hold"],
    }
    monkeypatch.setattr("custody_pipeline.operations.explain.gaps", lambda *_: (list(wide), [wide, wide]))
    told = CliRunner().invoke(app, ["gaps"]).stdout
    assert told.count("TAG_NEVER_SET  error, 2 gaps") == 1
    assert told.count("Legal-Hold") == 2
    # The id stays whole, to be copied.
    assert {line.strip() for line in told.splitlines() if len(line) > 80} == {wide["recording_id"]}


@pytest.mark.parametrize(("other", "times"), [(2, 1), (3, 2)])
def test_a_deadline_that_all_rows_of_a_reason_have_is_told_once(
    monkeypatch: pytest.MonkeyPatch, other: int, times: int
) -> None:
    rows = [{**ROW, "recheck_until": datetime(2026, 12, day)} for day in (2, other)]
    monkeypatch.setattr("custody_pipeline.operations.explain.gaps", lambda *_: (list(ROW), rows))
    assert CliRunner().invoke(app, ["gaps"]).stdout.count("rechecked until") == times


@pytest.mark.parametrize(("year", "told"), [(2020, "was rechecked until"), (2999, "\n  rechecked until")])
def test_a_recheck_that_is_over_is_not_promised(monkeypatch: pytest.MonkeyPatch, year: int, told: str) -> None:
    row = {**ROW, "recheck_until": datetime(year, 12, 1)}
    monkeypatch.setattr("custody_pipeline.operations.explain.gaps", lambda *_: (list(ROW), [row]))
    printed = CliRunner().invoke(app, ["gaps"]).stdout
    assert told in printed
    assert printed.endswith("\n1 gap\n")


def test_the_filters_reach_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def find(_: object, wanted: GapFilter) -> tuple[list[str], list[Any]]:
        asked.append(wanted)
        return [], []

    monkeypatch.setattr("custody_pipeline.operations.explain.gaps", find)
    options = ["--from", "2026-11-01", "--tag", "Legal-Hold", "--severity", "error", "--recoverable", "until"]
    told = CliRunner().invoke(app, ["gaps", *options, "--before", "2026-12-01"])
    assert told.exit_code == 0
    assert asked == [GapFilter(date(2026, 11, 1), None, None, "error", "until", "Legal-Hold", datetime(2026, 12, 1))]


def test_a_cell_of_the_csv_is_no_formula() -> None:
    told = CliRunner().invoke(app, ["gaps", "--csv"])
    (row,) = csv.DictReader(io.StringIO(told.stdout, newline=""))
    assert (row["detail"], row["count"], row["recording_id"]) == ("'=HYPERLINK(1)", "-1", ROW["recording_id"])


def test_arrow_makes_a_table_while_pandas_is_refused() -> None:
    code = "import pyarrow; from custody_pipeline.cli.shared import without_pandas\n"
    code += "with without_pandas(): pyarrow.table({'a': [1]})"
    subprocess.run([sys.executable, "-c", code], check=True)


def in_a_cell(text: str) -> str:
    """The text as a spreadsheet reads it."""
    data = b"".join(harmless_csv(pa.table({"cell": [text]}).to_reader())).decode()
    _, (cell,) = csv.reader(io.StringIO(data, newline=""))
    return cell


@pytest.mark.parametrize("text", ["=1", " =1", "\t=1", "+1", "-1", "@x", "\u200b=1", "'=1", '"=1', "＝1", "\tx", "\rx"])
def test_what_a_spreadsheet_could_evaluate_gets_an_apostrophe(text: str) -> None:
    assert in_a_cell(text) == f"'{text}"


def test_whatever_a_formula_can_begin_with_is_looked_at() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    for rest in ("", "=1"):
        texts = pa.array([character + rest for character in characters])
        risky = pc.match_substring_regex(texts, module._FORMULA).to_pylist()
        begun = {text.encode()[0] for text, found in zip(texts.to_pylist(), risky, strict=True) if found}
        assert begun
        assert module._BEFORE_FORMULA[list(begun)].all()
    assert not module._BEFORE_FORMULA[list(b"aZ09[{/(")].any()


@pytest.mark.parametrize("value", ["", "a=1", "007", "x", "2026-11-02", "'"])
def test_everything_else_stays_as_it_is(value: str) -> None:
    assert in_a_cell(value) == value


def test_a_sheet_is_made_of_a_table_that_is_a_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As where several workers publish: `analyst.duckdb` then has views of the sealed files.
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    with duckdb.connect(str(tmp_path / "analyst.duckdb")) as con:
        con.execute("CREATE SCHEMA custody; CREATE VIEW custody.gaps AS SELECT DATE '2026-11-02' AS partition_date")
    told = CliRunner().invoke(app, ["sheet", "gaps", "--out", str(tmp_path / "gaps.xlsx")])
    assert told.exit_code == 0, told.output
