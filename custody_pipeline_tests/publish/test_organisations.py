"""One page over several organisations: what is published, what is missing, what cannot be read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from custody_pipeline.evidence.reader import POINTER_BYTES
from custody_pipeline.operations import organisations
from custody_pipeline.operations.organisations import Row, page, read_organisations, rows
from custody_pipeline.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_page_says_which_nights_are_missing_or_not_complete(
    memory_s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(organisations, "utc_now", lambda: datetime(2026, 11, 5, 2))
    listed = tmp_path / "organisations.txt"
    listed.write_text("# two\nacme s3://custody-published/acme\nblue s3://custody-published/blue\ngone s3://gone/x\n")
    claims = {"acme/2026-11-03": "established", "acme/2026-11-02": "established", "blue/2026-11-03": "incomplete"}
    for name, complete in claims.items():
        organisation, _, night = name.partition("/")
        memory_s3.put_object(
            Bucket="custody-published",
            Key=f"{organisation}/current/date={night}.json",
            Body=json.dumps({"night": night, "revision": 2, "complete": complete}).encode(),
        )
    # The night of 4 November is not due at two o'clock.
    found = rows(Settings(home=tmp_path, s3_region="us-east-1"), read_organisations(listed), nights=2)
    assert [(row.name, row.counts, row.is_well, bool(row.problem)) for row in found] == [
        ("acme", {"complete": 2}, True, False),
        ("blue", {"incomplete": 1, "missing": 1}, False, False),
        ("gone", {}, False, True),
    ]
    html = page(found)
    assert "2026-11-03 incomplete, 2026-11-02 missing" in html
    assert "of the nights from 2026-11-02 to 2026-11-03" in html
    assert "s3://gone/x" in html
    assert "<script" not in html


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"[" * 9_000, b'{"revision": "2"}', b" " * (POINTER_BYTES + 1)])
def test_a_pointer_that_is_none_is_told_and_the_other_organisations_are_shown(
    body: bytes, memory_s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(organisations, "utc_now", lambda: datetime(2026, 11, 5, 2))
    listed = tmp_path / "organisations.txt"
    listed.write_text("acme s3://custody-published/acme\nblue s3://custody-published/blue\n")
    for name, content in (("acme", body), ("blue", b'{"night": "2026-11-03", "revision": 1, "complete": true}')):
        memory_s3.put_object(Bucket="custody-published", Key=f"{name}/current/date=2026-11-03.json", Body=content)
    acme, blue = rows(Settings(home=tmp_path, s3_region="us-east-1"), read_organisations(listed), nights=1)
    assert "current/date=2026-11-03.json" in acme.problem
    assert blue.counts == {"not established": 1}


@pytest.mark.parametrize("text", ["", "acme", "acme https://example.com", "a s3://b/c\na s3://b/d"])
def test_a_list_that_is_none_is_refused_with_its_line(text: str, tmp_path: Path) -> None:
    listed = tmp_path / "organisations.txt"
    listed.write_text(text)
    with pytest.raises(SettingsError, match="expected"):
        read_organisations(listed)


def test_no_character_of_a_page_turns_its_line_around_or_is_hidden() -> None:
    shown = page([Row("acme\u202egnp.exe\x1b[2J\u2066<b>", problem="two\nlines, an\u00a0é and \u200b")])
    assert r"acme\u202egnp.exe\x1b[2J\u2066&lt;b&gt;" in shown
    assert "two\nlines, an\u00a0é and \\u200b" in shown
