"""`custody gaps` prints what others wrote: no terminal and no spreadsheet obeys it."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.io.escaping import harmless_cell

ROW: dict[str, Any] = {
    "partition_date": "2026-11-02",
    "reason": "TAG_NEVER_SET",
    "recording_id": "[/bold]\x1b[2J\nVERIFIED",
    "sentence": "A sentence.",
    "next_action": "Look.",
    "detail": "=HYPERLINK(1)",
    "count": -1,
}


@pytest.fixture(autouse=True)
def _gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custody_pipeline.operations.explain.gaps", lambda *_: (list(ROW), [ROW]))


def test_an_id_neither_crashes_nor_commands_the_terminal() -> None:
    told = CliRunner().invoke(app, ["gaps"])
    assert told.exit_code == 0
    assert "[/bold]\\x1b[2J\\nVERIFIED" in told.stdout
    assert all(line.isprintable() for line in told.stdout.splitlines())


def test_a_cell_of_the_csv_is_no_formula() -> None:
    told = CliRunner().invoke(app, ["gaps", "--csv"])
    (row,) = csv.DictReader(io.StringIO(told.stdout, newline=""))
    assert (row["detail"], row["count"], row["recording_id"]) == ("'=HYPERLINK(1)", "-1", ROW["recording_id"])


@pytest.mark.parametrize("text", ["=1", " =1", "\t=1", "+1", "-1", "@x", "\u200b=1", "'=1", '"=1', "＝1", "\tx", "\rx"])
def test_what_a_spreadsheet_could_evaluate_gets_an_apostrophe(text: str) -> None:
    assert harmless_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["", "a=1", "007", "x", None, -1, "2026-11-02", "'"])
def test_everything_else_stays_as_it_is(value: object) -> None:
    assert harmless_cell(value) == value
