"""A profile says where a night's seconds went: what it sampled, what it read from the run, what it shows."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from custody_pipeline.defs.instance import open_instance
from custody_pipeline.defs.run_profile import profile_night
from custody_pipeline.io import progress
from custody_pipeline.operations.profiling import Part, Profile, Sampler, Stage
from custody_pipeline.settings import Settings

NIGHT = date(2026, 11, 2)


class SteppedSampler(Sampler):
    """Samples when it is told to, never by itself."""

    def __init__(self, *used: tuple[float, int, float]) -> None:
        super().__init__(iter(used).__next__)

    def _run(self) -> None:
        pass

    def step(self) -> float:
        """The moment of the sample that is taken now."""
        self._sample()
        return self._times[-1]


def test_memory_and_cpu_belong_to_the_span_they_were_used_in() -> None:
    memory, cpu = (100, 100, 300, 200, 100, 100), (1.0, 1.0, 1.25, 1.75, 1.75, 2.0)
    with SteppedSampler(*zip(range(6), memory, cpu, strict=True)) as sampled:
        before, _, busy, after = (sampled.step() for _ in range(4))
    working, resting = sampled.stage("", before, busy), sampled.stage("", after, sampled.ended)
    assert (working.peak_memory, working.cpu_seconds) == (300, 0.75)
    assert (resting.peak_memory, resting.cpu_seconds) == (100, 0.25)
    whole = sampled.stage("", sampled.started, sampled.ended)
    assert (whole.peak_memory, whole.cpu_seconds) == (300, 1.0)


def test_a_sampler_reads_what_the_system_counts_of_this_process() -> None:
    with Sampler() as sampled:
        pass
    stage = sampled.stage("", sampled.started, sampled.ended)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # Both are counted page by page without a lock, so they differ by a little.
    assert most / 100 < stage.peak_memory < most * 2
    assert 0 <= stage.cpu_seconds <= time.process_time()


def test_phases_are_what_reported_progress_and_whoever_listened_before_still_hears_it() -> None:
    heard = []
    with progress.listening(lambda *what: heard.append(what)), Sampler() as sampled:
        progress.report("reading", 0, 2)
        progress.report("reading", 2, 2)
        progress.report("writing", 1, None)
    progress.report("reading", 3, 3)
    assert [phase.name for phase in sampled.phases()] == ["reading", "writing"]
    assert heard == [("reading", 0, 2), ("reading", 2, 2), ("writing", 1, None)]


def profile(*stages: Stage) -> Profile:
    return Profile(NIGHT, "run", "2026-11-03T02:30:00Z", 7_200.5, 3_601.25, 3_999_999_999, stages, ((0.0, 1), (1.0, 2)))


LARGEST = Stage(
    "a_stage_whose_name_is_much_too_long_for_its_column",
    0.0,
    86_399.99,
    86_399.99,
    999_949_999,
    rows=9_999_999,
    bytes=999_949_999_999,
    requests=432_000,
    retries=12,
    attempts=3,
    parts=(Part("custody/a_table_whose_name_is_too_long_as_well", 0.0, 86_000.0),),
)


def test_the_table_fits_a_terminal_and_leaves_out_parts_that_took_no_time() -> None:
    small = Part("custody/gaps", 0.0, 1.0)
    lines = profile(LARGEST, replace(LARGEST, name="publish", parts=(small,))).table().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("custody/" in line for line in lines) == 1
    assert "repeat" in lines[-1]


def test_the_table_is_plain_text_in_a_terminal_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    table = profile(replace(LARGEST, name="reading [b]")).table()
    assert "\x1b" not in table
    assert "reading [b]" in table


def test_the_files_lie_by_night_and_hold_the_profile(tmp_path: Path) -> None:
    kept = profile(LARGEST)
    path = kept.write(tmp_path)
    assert path == tmp_path / "profiles/date=2026-11-02/20261103T023000Z.json"
    assert json.loads(path.read_text()) == json.loads(json.dumps(kept.to_dict()))
    assert path.with_suffix(".txt").read_text() == kept.table() + "\n"
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_step_that_failed_and_was_tried_again_is_one_stage_with_its_attempts(tmp_path: Path) -> None:
    tries = []

    @dg.asset(partitions_def=dg.DailyPartitionsDefinition("2026-11-01"), retry_policy=dg.RetryPolicy(max_retries=1))
    def shaky() -> dg.MaterializeResult[None]:
        tries.append(1)
        progress.report("asking", len(tries), 2)
        if len(tries) == 1:
            raise ValueError("not yet")
        return dg.MaterializeResult(metadata={"requests": 3, "retries": 1, "dagster/partition_row_count": 5})

    with Sampler() as sampled, open_instance(Settings(home=tmp_path)) as instance:
        run = dg.materialize([shaky], instance=instance, partition_key=str(NIGHT))
    found = profile_night(Settings(home=tmp_path), NIGHT, run.run_id, sampled)
    assert [stage.name for stage in found.stages] == ["start", "shaky", "between steps", "end"]
    stage = found.stages[1]
    assert (stage.attempts, stage.requests, stage.retries, stage.rows, stage.bytes) == (2, 3, 1, 5, None)
    assert [part.name for part in stage.parts] == ["asking"]
    assert sum(stage.seconds for stage in found.stages) == pytest.approx(found.seconds)
