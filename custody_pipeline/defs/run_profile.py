"""Events of a run + samples of its process → the profile of a night, and numbers on the pages of its assets.

Belongs here: reading steps, attempts and counts from Dagster's event log. Does not: sampling, drawing
(operations/profiling.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from dagster._core.execution.stats import RunStepKeyStatsSnapshot

from custody_pipeline.defs.failures import CUT
from custody_pipeline.defs.instance import open_instance
from custody_pipeline.defs.metadata import markdown_image
from custody_pipeline.operations.profiling import BETWEEN, Profile, Sampler, Stage
from custody_pipeline.settings import Settings

_COUNTS = ("rows", "bytes", "requests", "retries")


def profile_night(settings: Settings, night: date, run_id: str, sampled: Sampler) -> Profile:
    """The profile of a run that has ended in this process. Each of its assets gets an observation with its numbers.

    Args:
        sampled: samples from before the run began until after it ended.
    """
    with open_instance(settings) as instance:
        profile = _profile(night, run_id, instance.get_run_step_stats(run_id), sampled)
        _observe(instance, profile)
    return profile


def _profile(night: date, run_id: str, steps: Sequence[RunStepKeyStatsSnapshot], sampled: Sampler) -> Profile:
    spans = [(step.start_time, step.end_time, step) for step in steps if step.start_time and step.end_time]
    spans.sort(key=lambda span: span[:2])
    first = min((started for started, *_ in spans), default=sampled.ended)
    last = max((ended for _, ended, _ in spans), default=sampled.ended)
    stages = [
        sampled.stage("start", sampled.started, first),
        *(_stage(step, started, ended, sampled) for started, ended, step in spans),
        sampled.stage("end", last, sampled.ended),
    ]
    whole = sampled.stage("the night", sampled.started, sampled.ended)
    between = replace(
        sampled.stage(BETWEEN, first, last),
        seconds=whole.seconds - sum(stage.seconds for stage in stages),
        cpu_seconds=max(whole.cpu_seconds - sum(stage.cpu_seconds for stage in stages), 0.0),
    )
    return Profile(
        night=night,
        run_id=run_id,
        began=datetime.fromtimestamp(sampled.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=whole.seconds,
        cpu_seconds=whole.cpu_seconds,
        peak_memory=whole.peak_memory,
        stages=(*stages[:-1], between, stages[-1]),
        memory=tuple(sampled.memory()),
    )


def _stage(step: RunStepKeyStatsSnapshot, started: float, ended: float, sampled: Sampler) -> Stage:
    """One step. Its parts are the phases that reported progress, otherwise the assets in their order."""
    made = [
        (event.timestamp, event.get_dagster_event().step_materialization_data.materialization)
        for event in step.materialization_events
    ]
    assets = tuple(asset.asset_key.to_user_string() for _, asset in made)
    moments = [started, *(at for at, _ in made)]
    materialized = tuple(map(sampled.part, assets, moments, moments[1:]))
    within = (started - sampled.started, ended - sampled.started)
    reported = tuple(phase for phase in sampled.phases() if within[0] <= phase.started <= within[1])

    def total(*keys: str) -> int | None:
        """The sum of the materializations' metadata under the first of `keys` that they have; None if none has one."""
        found = [next((asset.metadata[key].value for key in keys if key in asset.metadata), None) for _, asset in made]
        numbers = [number for number in found if isinstance(number, int)]
        return sum(numbers) if numbers else None

    return sampled.stage(
        step.step_key,
        started,
        ended,
        attempts=step.attempts,
        assets=assets,
        parts=reported or materialized,
        rows=total("rows loaded", "dagster/partition_row_count"),
        bytes=total("bytes"),
        requests=total("requests"),
        retries=total("retries"),
    )


def _observe(instance: dg.DagsterInstance, profile: Profile) -> None:
    for stage in profile.stages:
        numbers: dict[str, Any] = {
            "profile: stage": stage.name,
            "profile: stage seconds": round(stage.seconds, 3),
            "profile: stage CPU seconds": round(stage.cpu_seconds, 3),
            "profile: stage peak memory, bytes": stage.peak_memory,
            **{f"profile: stage {name}": count for name in _COUNTS if (count := getattr(stage, name)) is not None},
        }
        parts = {part.name: round(part.seconds, 3) for part in stage.parts}
        for asset in stage.assets:
            own = {"profile: seconds": parts[asset]} if asset in parts else {}
            key = dg.AssetKey(asset.split("/"))
            whole: dict[str, Any] = {}
            if key == CUT:
                whole = {
                    "profile: night": dg.MetadataValue.md(f"```text\n{profile.table()}\n```"),
                    "profile: timeline": markdown_image(profile.picture(), "Timeline of the night"),
                }
            instance.report_runless_asset_event(
                dg.AssetObservation(key, partition=profile.night.isoformat(), metadata={**numbers, **own, **whole})
            )
