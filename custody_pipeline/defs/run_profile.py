"""A run's own events + what the sampler saw → the profile of a night, and numbers on its assets' pages.

Belongs here: reading steps, attempts and counts from Dagster's event log. Does not: sampling, drawing (profiling).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from custody_pipeline.defs.instance import open_instance
from custody_pipeline.defs.metadata import markdown_image
from custody_pipeline.defs.published import CUT
from custody_pipeline.operations.profiling import BETWEEN, Part, Profile, Span, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from custody_pipeline.operations.profiling import Sampler
    from custody_pipeline.settings import Settings

_ENDS = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_UP_FOR_RETRY}
_BEGINNINGS = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_RESTARTED}
_MADE = {dg.DagsterEventType.ASSET_MATERIALIZATION}

_COUNTS = ("rows", "bytes", "requests", "retries")


def profile_night(settings: Settings, night: date, run_id: str, sampled: Sampler) -> Profile:
    """The profile of a run in this process that has ended; each of its assets gets an observation with its numbers.

    Args:
        settings: which deployment.
        night: the run's partition.
        run_id: the run's.
        sampled: what was sampled from before the run began until after it ended.
    """
    with open_instance(settings) as instance:
        entries = instance.all_logs(run_id, of_type=_BEGINNINGS | _ENDS | _MADE)
        profile = _profile(night, run_id, entries, sampled)
        _observe(instance, profile)
    return profile


def _profile(night: date, run_id: str, entries: Sequence[dg.EventLogEntry], sampled: Sampler) -> Profile:
    steps = list(dict.fromkeys(entry.step_key for entry in entries if entry.step_key))
    stages = [_stage([entry for entry in entries if entry.step_key == step], sampled) for step in steps]
    first = min((stage.started for stage in stages), default=sampled.ended)
    last = max((stage.started + stage.seconds for stage in stages), default=sampled.ended)
    between = last - first - sum(stage.seconds for stage in stages)
    began, ended = sampled.started, sampled.ended
    everything = sampled.cpu_seconds(began, ended)
    before, after = _spent("start", began, first, sampled), _spent("end", last, ended, sampled)
    cpu_between = everything - sum(stage.cpu_seconds for stage in (before, *stages, after))
    gaps = Stage(BETWEEN, first, between, max(cpu_between, 0.0), sampled.peak_memory(first, last))
    return Profile(
        night=night,
        run_id=run_id,
        began=datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=ended - began,
        cpu_seconds=everything,
        peak_memory=sampled.peak_memory(began, ended),
        stages=tuple(
            replace(stage, started=stage.started - began, parts=_relative(stage.parts, began))
            for stage in (before, *stages, gaps, after)
        ),
        memory=tuple((at - began, size) for at, size in sampled.memory()),
    )


def _spent(name: str, started: float, ended: float, sampled: Sampler) -> Stage:
    return Stage(
        name,
        started,
        ended - started,
        sampled.cpu_seconds(started, ended),
        sampled.peak_memory(started, ended),
    )


def _relative(parts: Iterable[Part], began: float) -> tuple[Part, ...]:
    return tuple(replace(part, started=part.started - began) for part in parts)


def _stage(entries: Sequence[dg.EventLogEntry], sampled: Sampler) -> Stage:
    """One step from its events, the moments still those of the clock."""
    started, ended = entries[0].timestamp, entries[-1].timestamp
    made = [entry for entry in entries if _type(entry) in _MADE]
    reported = [
        Part(phase.name, phase.started, phase.ended - phase.started) for phase in _within(sampled, started, ended)
    ]
    moments = [started, *(entry.timestamp for entry in made)]
    assets = [_made(entry).asset_key for entry in made]
    materialized = [
        Part(asset.to_user_string(), begun, until - begun)
        for asset, begun, until in zip(assets, moments, moments[1:], strict=False)
    ]
    return replace(
        _spent(str(entries[0].step_key), started, ended, sampled),
        attempts=sum(_type(entry) in _BEGINNINGS for entry in entries),
        assets=tuple(asset.to_user_string() for asset in assets),
        parts=tuple(reported or materialized),
        rows=_sum(made, "rows loaded", "dagster/partition_row_count"),
        bytes=_sum(made, "bytes"),
        requests=_sum(made, "requests"),
        retries=_sum(made, "retries"),
    )


def _within(sampled: Sampler, started: float, ended: float) -> Iterable[Span]:
    return (phase for phase in sampled.phases() if started <= phase.started <= ended)


def _type(entry: dg.EventLogEntry) -> dg.DagsterEventType:
    return entry.get_dagster_event().event_type


def _made(entry: dg.EventLogEntry) -> dg.AssetMaterialization:
    return entry.get_dagster_event().step_materialization_data.materialization


def _sum(made: Sequence[dg.EventLogEntry], *keys: str) -> int | None:
    """What a step's materializations say under the first of `keys` that they have, together; None where none does."""
    found = []
    for metadata in (_made(entry).metadata for entry in made):
        values = [metadata[key].value for key in keys if key in metadata]
        if values and isinstance(values[0], int):
            found.append(values[0])
    return sum(found) if found else None


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
