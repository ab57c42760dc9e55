"""`custody help`: every page, command, code and setting is a topic."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.distribution import DOCS_DIR

PAGES = {path.stem for path in DOCS_DIR.glob("*.md")} - {"README"}


def told(monkeypatch: pytest.MonkeyPatch, *topic: str, status: int = 0) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["help", *topic])
    assert result.exit_code == status, result.output
    if "--json" not in topic:
        assert [line for line in result.output.splitlines() if len(line.rstrip()) > 80] == []
    return result.output


def test_without_a_topic_every_page_of_the_documentation_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = told(monkeypatch)
    assert {line.split()[0] for line in listed.splitlines() if line[:2] == "  " and line[2] != " "} == PAGES
    assert set(json.loads(told(monkeypatch, "--json"))) == PAGES


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_fits_a_terminal_of_80_columns_and_nothing_of_it_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    written = (DOCS_DIR / f"{page}.md").read_text(encoding="utf-8")
    assert told(monkeypatch, f"{page}.md").count("…") == written.count("…")


@pytest.mark.parametrize(
    ("topic", "part"),
    [
        ("runbooks.md", "What to do when a night did not go"),
        ("matter produce", "Usage: custody matter produce"),
        ("catalog", "athena"),
        ("verify", "Usage: custody verify"),
        ("verify", "Verify without us"),
        ("TAG_NEVER_SET", "neither has any tag"),
        ("file_missing", "a signed cut lists"),
        ("Sidecar", "beside a recording"),
        ("night", "a UTC day"),
        ("current copy", "outside the cuts"),
        ("custody_export_url", "where Genesys Cloud exports to"),
    ],
)
def test_a_topic_is_explained(monkeypatch: pytest.MonkeyPatch, topic: str, part: str) -> None:
    assert part in told(monkeypatch, *topic.split())
    assert json.loads(told(monkeypatch, *topic.split(), "--json"))["text"]


def test_a_link_whose_text_is_its_address_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "completeness.md (" not in told(monkeypatch, "glossary")
    assert "(threat-model.md#what-was-erased)" in told(monkeypatch, "retention")


@pytest.mark.parametrize(("wrong", "nearest"), [("runbook", "runbooks"), ("TAG_NEVR_SET", "TAG_NEVER_SET")])
def test_an_unknown_topic_is_refused_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, wrong: str, nearest: str
) -> None:
    assert f"the nearest is {nearest}" in told(monkeypatch, wrong, status=64)


def test_a_narrow_terminal_cuts_off_no_name_of_an_option() -> None:
    command = [sys.executable, "-m", "custody_pipeline.cli", "matter", "receipt", "--help"]
    told = subprocess.run(
        command, env={**os.environ, "COLUMNS": "40"}, capture_output=True, text=True, check=True
    ).stdout
    assert ("--confirmation" in told, "…" in told) == (True, False)
