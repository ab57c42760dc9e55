from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from errno import ENOSPC
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from custody_pipeline.io.resume_cache import KEPT, ResumeCache, resume_cache_of

if TYPE_CHECKING:
    from pathlib import Path


def killed(path: Path, **answers: str) -> None:
    """A run that set answers and was never heard of again."""
    cache = ResumeCache(path)
    cache.update(answers)


def test_what_a_killed_run_knew_is_known_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "home/interrupted/work.ndjson"
    killed(path, a="1", b="2")
    killed(path, c="3")

    with resume_cache_of(tmp_path / "home", "work") as cache:
        assert dict(cache) == {"a": "1", "b": "2", "c": "3"}
        assert cache.taken_over == 3
    assert not path.exists()
    assert dict(ResumeCache(path)) == {}


def test_nothing_is_left_of_work_that_was_done_at_once(tmp_path: Path) -> None:
    with resume_cache_of(tmp_path / "home", "work") as cache:
        cache["a"] = "1"
    assert list(tmp_path.iterdir()) == []


def test_a_line_torn_by_the_kill_is_lost_alone(tmp_path: Path) -> None:
    path = tmp_path / "work.ndjson"
    killed(path, a="1", b="2")
    path.write_bytes(path.read_bytes()[:-4])
    killed(path, c="3")

    assert dict(ResumeCache(path)) == {"a": "1", "c": "3"}


@pytest.mark.parametrize("head", [b"", b"{", b"7", b'"yesterday"', b'"2026-11-02T00:00:00"', b"\xff"])
def test_a_file_that_is_no_cache_is_begun_anew(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "work.ndjson"
    path.write_bytes(head + b'\n["a", "1"]\n')

    assert dict(ResumeCache(path)) == {}


@pytest.mark.parametrize(("age", "known"), [(KEPT - timedelta(hours=1), 1), (KEPT * 2, 0), (timedelta(hours=-1), 0)])
def test_an_old_cache_or_one_from_the_future_is_begun_anew(tmp_path: Path, age: timedelta, known: int) -> None:
    path = tmp_path / "work.ndjson"
    path.write_text(json.dumps((datetime.now(UTC) - age).isoformat()) + '\n["a", "1"]\n')

    assert len(ResumeCache(path)) == known


def fail_after(cache: ResumeCache) -> None:
    cache["a"] = "1"
    del cache["a"]


def test_work_that_fails_is_to_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "work.ndjson"
    with pytest.raises(TypeError), ResumeCache(path) as cache:
        fail_after(cache)
    assert dict(ResumeCache(path)) == {"a": "1"}


def test_a_question_may_name_a_file_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    with resume_cache_of(tmp_path, "work") as cache:
        cache["sha256|\udcff"] = "1"
        assert cache["sha256|\udcff"] == "1"
    killed(tmp_path / "work.ndjson", **{"\udcff": "1", "b": "2"})
    assert dict(ResumeCache(tmp_path / "work.ndjson")) == {"b": "2"}


def test_a_full_disk_ends_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with resume_cache_of(tmp_path, "work") as cache:
        monkeypatch.setattr("os.write", Mock(side_effect=OSError(ENOSPC, "full")))
        cache["a"] = "1"
        assert cache["a"] == "1"
