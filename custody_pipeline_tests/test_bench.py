"""The benchmark runs and compares: ours and the floor give the same, the table has its shape. Never what it took."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import pytest

from bench.load import same_rows
from bench.measure import Row, missed, table, with_growth
from bench.record import PAGE, Run, by_stage, kept, plot, shown
from bench.stages import STAGES

ROOT = Path(__file__).parent.parent

# The others start a server, or make a night of a million tags.
FAST = ("api", "landing: encrypted", "load", "load: encrypted", "model", "files: parquet", "files: csv", "verify")


def test_the_fast_stages_give_the_same_as_their_floors(tmp_path: Path) -> None:
    found = tmp_path / "rows.json"
    options = ["--size", "20", "40", "--rounds", "1", "--json", str(found), "--stage", *FAST]
    command = [sys.executable, "-m", "bench", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    rows = [Row(**row) for row in json.loads(found.read_text())["stages"]]
    own = [(row.stage, row.size) for row in rows if row.stage in FAST]
    assert own == [(name, size) for name in FAST for size in (20, 40)]
    for row in rows:
        assert row.ours > 0
        assert row.floor > 0
        assert row.rows >= row.size
        assert (row.growth is None) == (row.size == 20)
    lines = done.stdout.splitlines()
    assert lines[: len(rows) + 1] == list(table(rows))
    assert max(map(len, lines)) <= 100


def test_rows_that_differ_are_found_whichever_side_has_them_and_however_often() -> None:
    with duckdb.connect() as con:
        same_rows(con, "SELECT 1 UNION ALL SELECT 2", "SELECT 2 UNION ALL SELECT 1")
        for ours, floor in (
            ("SELECT 1", "SELECT 2"),
            ("SELECT 1", "SELECT 1 UNION ALL SELECT 1"),
            ("SELECT NULL", "SELECT 1"),
        ):
            with pytest.raises(AssertionError):
                same_rows(con, ours, floor)


def test_growth_is_the_cost_of_a_row_by_that_of_the_size_before() -> None:
    small = Row("load", 100, "s", 1.0, 0.5, 2.0, None, None, 10.0, 5.0, None, rows=100, bytes=0, rounds=1, spread=0.0)
    large = small._replace(size=1_000, rows=1_000, ours=20.0)
    other = small._replace(stage="model")
    assert [row.growth for row in with_growth([small, large, other])] == [None, 2.0, None]


def test_a_missed_goal_is_told() -> None:
    late = Row("load", 100, "s", 2.0, 1.0, 2.0, 1.5, None, 10.0, 5.0, None, rows=100, bytes=0, rounds=1, spread=0.0)
    met = late._replace(ours=1.5, ratio=1.5)
    allowed = late._replace(seconds=0.5)
    slow = late._replace(stage="small night", goal=None, seconds=1.9)
    without = late._replace(goal=None)
    assert list(missed([late, met, allowed, slow, without])) == [
        "load 100: 2 s, 2.00 of the floor; the goal is 1.5.",
        "small night 100: 2 s, 2.00 of the floor; the goal is 1.9 s.",
    ]


def test_the_docs_show_the_newest_runs_that_were_kept() -> None:
    runs, page = kept(), PAGE.read_text()
    assert shown(page, runs) == page
    assert "".join(f"{line.rstrip()}\n" for line in table(list(runs[-1].rows))) in page


def test_runs_are_compared_by_the_newest_goal_of_each_stage() -> None:
    row = Row("load", 100, "s", 2.0, 1.0, 2.0, 1.5, None, 10.0, 5.0, None, rows=100, bytes=0, rounds=1, spread=0.0)
    old = Run(date(2026, 11, 1), "1", (row, row._replace(size=200, ours=9.0), row._replace(stage="gone")))
    new = Run(date(2026, 11, 2), "2", (row._replace(size=50), row._replace(goal=1.0, seconds=1.0, ours=1.0)))
    assert by_stage([old, new]) == {"load": {old.day: 1.0, new.day: 0.5}, "gone": {old.day: 2.0 / 1.5}}
    assert "2026-11-02" in plot([old, new])
    assert plot([old, new]) == plot([old, new])


def test_every_stage_says_what_it_compares_and_is_described() -> None:
    described = (ROOT / "docs/performance.md").read_text()
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    for stage in STAGES:
        assert f"| `{stage.name}` |" in described
        assert stage.ours
        assert stage.floor
        assert set(stage.goals) <= {*stage.sizes, 2_000, 20_000, 100_000}
