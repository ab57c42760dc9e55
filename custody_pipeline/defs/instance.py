"""The Dagster instance of a deployment: `$CUSTODY_HOME/dagster`, and runs in this process.

Belongs here: DAGSTER_HOME, what a killed run leaves behind, running one night. Does not: what a night does.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from filelock import FileLock

from custody_pipeline.defs.failures import note_failure
from custody_pipeline.distribution import DAGSTER_YAML

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

PROCESS_TAG = "custody/process"

_KILLED = "The process of this run ended before the run did."

logger = logging.getLogger(__name__)


def dagster_home(home: Path) -> Path:
    """Create DAGSTER_HOME under `home` with the product's `dagster.yaml`, and return its absolute path."""
    place = (home / "dagster").absolute()
    place.mkdir(parents=True, exist_ok=True)
    theirs = place / "dagster.yaml"
    # Untouched if it is the same: another process may be reading it.
    if not theirs.exists() or theirs.read_bytes() != DAGSTER_YAML.read_bytes():
        shutil.copyfile(DAGSTER_YAML, theirs)
    return place


@contextmanager
def open_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance under `home`, rid of runs whose process is gone."""
    home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Dagster's databases are created by whoever opens them first; two at once would both create them.
        with FileLock(home / "dagster.lock"):
            place = dagster_home(home)
            os.environ["DAGSTER_HOME"] = str(place)
            instance = stack.enter_context(dg.DagsterInstance.from_config(str(place)))
        release_dead_runs(instance)
        yield instance


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_alive(process: str) -> bool:
    host, _, pid = process.rpartition(":")
    if host != socket.gethostname():
        return True  # another machine's run: not ours to judge
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def release_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process was killed, and give their pool slots back.

    Only runs started by `run_night` carry the process they ran in; those of the Dagster daemon are its own to watch.

    Returns:
        The run ids that were released.
    """
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    released = []
    for run in instance.get_runs(unfinished):
        process = run.tags.get(PROCESS_TAG)
        if process is None or _is_alive(process):
            continue
        instance.report_run_failed(run, _KILLED)
        note_failure(run, "run was killed", _KILLED, logger)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        released.append(run.run_id)
    return released


@dataclass(frozen=True)
class NightRun:
    """How the run of one night ended: failed steps with their error's message, failed checks by name."""

    run_id: str
    success: bool
    failed_steps: dict[str, str]
    failed_checks: list[str]


def run_night(home: Path, night: date, *, job: str = "nightly_custody", verbose: bool = False) -> NightRun:
    """Run one night in this process, recorded in the instance that the Dagster page shows."""
    from custody_pipeline.defs.assembled import defs

    with open_instance(home) as instance:
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key=night.isoformat(),
            raise_on_error=False,
            tags={PROCESS_TAG: _this_process()},
            run_config={"loggers": {"console": {"config": {"log_level": "INFO" if verbose else "CRITICAL"}}}},
        )
        return NightRun(
            run_id=result.run_id,
            success=result.success,
            failed_steps={
                event.step_key or "": _message(event) for event in result.all_events if event.is_step_failure
            },
            failed_checks=[
                f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}"
                for evaluation in result.get_asset_check_evaluations()
                if not evaluation.passed
            ],
        )


def _message(event: dg.DagsterEvent) -> str:
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else "no message"
