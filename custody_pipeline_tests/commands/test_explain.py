"""A recording's story on a terminal: everything that was said, one screen, nothing that a terminal obeys."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from custody_pipeline.cli.story import print_story
from custody_pipeline.operations.explain import explain
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.snapshot import snapshot_for_analysts
from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.publish.nights import insert

AT = datetime(2026, 11, 3, 2, 30)


def tag(value: str | None, source: str = "details", *, key: str = "Legal-Hold", **other: Any) -> dict[str, Any]:
    return {
        "tag_key": key, "tag_value": value, "source": source, "participant_id": "p1", "participant_purpose": "agent",
        "observed_at": AT, "still_there": True, "is_resolved": False, **other,
    }  # fmt: skip


def gap(**fields: Any) -> dict[str, Any]:
    return {
        "reason": "TAG_VANISHED", "severity": "info", "sentence": "The tag was there before.", "detail": None,
        "evidence": [], "recoverable": "no", "recoverable_until": None, "recheck_until": None,
        "next_action": "Map it.", **fields,
    }  # fmt: skip


def printed(
    tags: list[dict[str, Any]], gaps: list[dict[str, Any]] | None = None, recording_id: str = "r1"
) -> list[str]:
    unknown = (
        "object_uri",
        "media_sha256",
        "conversation_start",
        "conversation_end",
        "recording_start",
        "recording_end",
    )
    recording = {
        "recording_id": recording_id, "conversation_id": "c1", "partition_date": AT.date(), "revision": 1,
        "custody_status": "gap", "custom_data_state": "present", **dict.fromkeys(unknown),
    }  # fmt: skip
    screen = Console(file=io.StringIO(), width=80)
    story = {"recording": recording, "completeness": "not_established", "timeline": [], "sources": []}
    print_story(screen, {**story, "tags": tags, "gaps": gaps or []})
    lines: list[str] = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].rstrip(" ─") == f"recording {recording_id}"
    assert "the night is not established: more may be missing than this page says; see" in lines
    return lines[lines.index("Tags: what each source said, and when (→ the one that counts)") + 1 :]


def test_sources_that_said_the_same_stand_together() -> None:
    lines = printed(
        [tag("true"), tag("true", "conversation", is_resolved=True), tag("false", "capture", still_there=False)]
    )
    assert lines[:4] == [
        "  Legal-Hold (agent)  true",
        "    details 11-03 02:30:00 · → conversation 11-03 02:30:00",
        "  Legal-Hold (agent)  false",
        "    capture 11-03 02:30:00, gone",
    ]


def test_nothing_and_what_looks_like_nothing_are_told_apart() -> None:
    shown = [line for line in printed([tag(None), tag(""), tag("null")]) if "agent" in line]
    assert [line.removeprefix("  Legal-Hold (agent)  ") for line in shown] == ["null", '""', '"null"']


def test_a_long_id_stays_whole() -> None:
    printed([], recording_id="r" * 100)


def test_a_long_value_takes_one_line() -> None:
    assert len(printed([tag("word " * 2_000)])) == len(printed([tag("word")]))


def test_a_long_sentence_is_folded_between_words() -> None:
    action = "Find out who or what removes the tag, and when. " * 3
    lines = printed([], [gap(sentence="The tag was there before. " * 9, next_action=action)])
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()).count("The tag was there before.") == 9


def test_a_terminal_obeys_nothing_that_a_tag_or_a_detail_holds() -> None:
    lines = printed([tag("\x1b]0;title\x07[red]\u202e", key="a\nb\x1b[31m")], [gap(detail="\x1b[2J\r\n")])
    assert all(line.isprintable() for line in lines)
    assert r"\x1b]0;title\x07[red]\u202e" in lines[0]
    assert lines[0].startswith(r"  a\nb\x1b[31m (agent)")


def test_the_worst_gap_of_a_recording_comes_first(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    found = {"partition_date": AT.date(), "conversation_id": "c1", "recording_id": "r1"}
    ready_warehouse.lay(tmp_path)
    with Warehouse(settings).open() as con:
        insert(con, "custody.chain_of_custody", **found)
        for reason, severity in (("A", "info"), ("B", "warning"), ("C", "error"), ("D", "warning")):
            insert(con, "custody.gaps", **found, reason=reason, severity=severity, evidence="[]")
        snapshot_for_analysts(con, settings)
    story = explain(settings, "R1")
    assert story is not None
    assert [gap["reason"] for gap in story["recordings"][0]["gaps"]] == ["C", "B", "D", "A"]
