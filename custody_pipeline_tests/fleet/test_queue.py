"""Runs that wait in Dagster's queue: a real Postgres, Dagster's own daemon and launcher, a process for each run."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from pydantic import SecretStr

from custody_pipeline.defs.instance import open_instance
from custody_pipeline.operations.summary import nights
from custody_pipeline_tests.fleet.test_workers import DAYS, new_fleet
from custody_pipeline_tests.postgres import home_of, running_postgres
from custody_pipeline_tests.queued import queue, workspace

if TYPE_CHECKING:
    from pathlib import Path

    from custody_pipeline.settings import Settings

ENDINGS = {dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}

pytestmark = [pytest.mark.server, pytest.mark.slow]


def set_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run's process is given."""
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        monkeypatch.setenv(f"CUSTODY_{name.upper()}", text)


def ending_of(instance: dg.DagsterInstance, run_id: str) -> Event:
    """Is set when the run has ended; Postgres tells it."""
    ended = Event()

    def told(entry: Any, _: str) -> None:
        if entry.dagster_event and entry.dagster_event.event_type in ENDINGS:
            ended.set()

    instance.watch_event_logs(run_id, None, told)
    return ended


def test_a_night_that_is_queued_twice_runs_once_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        fleet = new_fleet(tmp_path / "fleet", stack, DAYS[:1])
        settings = fleet.at("worker", DAYS[0])
        set_environment(settings, monkeypatch)
        home_of(tmp_path / "dagster", stack.enter_context(running_postgres()), monkeypatch)
        instance = stack.enter_context(open_instance(settings))
        context = stack.enter_context(workspace(instance))
        daemon = stack.enter_context(QueuedRunCoordinatorDaemon(interval_seconds=1))
        one, again = (queue(context, DAYS[0]) for _ in range(2))
        other = queue(context, DAYS[0] - timedelta(days=1))
        ended = {run: ending_of(instance, run) for run in (one, again, other)}

        def status(run_id: str) -> dg.DagsterRunStatus:
            run = instance.get_run_by_id(run_id)
            assert run is not None
            return run.status

        def let_start() -> None:
            for _ in daemon.run_iteration(context):
                pass

        let_start()
        # Two nights start, each in a process of its own. The one that was asked for twice does not start twice.
        assert status(again) == dg.DagsterRunStatus.QUEUED
        assert dg.DagsterRunStatus.QUEUED not in {status(one), status(other)}
        let_start()
        assert status(again) == dg.DagsterRunStatus.QUEUED
        assert all(ended[run].wait(300) for run in (one, other))
        let_start()
        assert ended[again].wait(300)
        assert {status(run) for run in (one, other, again)} == {dg.DagsterRunStatus.SUCCESS}
        first, second = (instance.get_run_records(dg.RunsFilter([run]))[0] for run in (one, again))
        assert first.end_time is not None
        assert second.start_time is not None
        assert second.start_time >= first.end_time
        assert {night.night: night.revision for night in nights(settings)} == {
            DAYS[0]: 1,
            DAYS[0] - timedelta(days=1): 1,
        }
