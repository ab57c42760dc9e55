"""The Dagster instance of a deployment, and runs in this process.

Belongs here: DAGSTER_HOME, killed runs, running one night. Does not: the steps of a night.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.utils import make_new_run_id
from dagster._serdes import ConfigurableClassData
from filelock import FileLock

from custody_pipeline.defs.launcher import WatchedRunLauncher, lock_of_run, release_if_dead
from custody_pipeline.defs.open_databases import OpenEventLog, OpenStorage
from custody_pipeline.distribution import DAGSTER_YAML
from custody_pipeline.settings import Settings, SettingsError

_UNFINISHED = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])


def dagster_home(home: Path) -> Path:
    """DAGSTER_HOME; without one, `dagster` below `home`.

    Below `home` the product's `dagster.yaml` is copied, unless there is one: an operator's file is never overwritten.
    """
    ours = (home / "dagster").absolute()
    place = Path(os.environ.get("DAGSTER_HOME") or ours)
    place.mkdir(parents=True, exist_ok=True)
    if place == ours and not (place / "dagster.yaml").exists():
        shutil.copyfile(DAGSTER_YAML, place / "dagster.yaml")
    return place


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of a deployment. Killed runs are released first."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # The first process that opens Dagster's databases creates them; two processes at once would both try.
        with FileLock(settings.home / "dagster.lock"):
            instance = stack.enter_context(dg.DagsterInstance.from_ref(_ref(dagster_home(settings.home))))
        release_dead_runs(instance, settings)
        yield instance


def _ref(place: Path) -> InstanceRef:
    """The instance of `dagster.yaml`, with cheaper parts where that file keeps Dagster's defaults.

    Databases of SQLite stay open. The output of a step goes to the output of this process: for a copy in a file,
    Dagster starts four processes a run, which once outlived the run, and a night prints nothing.
    """
    ref = InstanceRef.from_dir(str(place))
    if ref.compute_logs_data.class_name == "LocalComputeLogManager":
        none = ConfigurableClassData(NoOpComputeLogManager.__module__, NoOpComputeLogManager.__name__, "{}")
        ref = ref._replace(compute_logs_data=none)
    if (storage := ref.storage_data) is None or storage.class_name != "DagsterSqliteStorage":
        return ref
    kept = ConfigurableClassData(OpenStorage.__module__, OpenStorage.__name__, storage.config_yaml)
    return ref._replace(storage_data=kept)


def _refuse_beside_containers(instance: dg.DagsterInstance) -> None:
    launcher = instance.run_launcher
    watched = instance.run_monitoring_enabled and launcher.supports_check_run_worker_health
    if watched and not isinstance(launcher, WatchedRunLauncher):
        raise SettingsError(
            f"the Dagster of {instance.root_directory} gives each run a container: its daemon would mark this run as "
            "failed and run the night a second time. Start the night on the page of the job nightly_custody, or name "
            "another place in CUSTODY_HOME and unset DAGSTER_HOME"
        )


def release_dead_runs(instance: dg.DagsterInstance, settings: Settings) -> list[str]:
    """Mark runs as failed whose process was killed, and free their pool slots.

    So does the daemon, if it runs (`WatchedRunLauncher`).

    Returns:
        The run ids that were released.
    """
    released = [run.run_id for run in instance.get_runs(_UNFINISHED) if release_if_dead(instance, run, settings)]
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        holder = instance.get_run_by_id(run_id)
        if holder is None or holder.is_finished:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return released


def tidy_runs(settings: Settings, *, dry_run: bool = False) -> tuple[int, int]:
    """Remove events and logs of runs that ended `CUSTODY_RUNS_DAYS` ago; the runs and the numbers of their assets stay.

    An operator's own instance of Dagster is left alone.

    Returns:
        Runs, and bytes that are free now; none with `dry_run`.
    """
    place = (settings.home / "dagster").absolute()
    if dagster_home(settings.home) != place:
        return 0, 0
    with open_instance(settings) as instance:
        log = instance.event_log_storage
        if not isinstance(log, OpenEventLog):
            return 0, 0
        before = datetime.now(UTC) - timedelta(days=settings.runs_days)
        old = instance.get_runs(dg.RunsFilter(statuses=FINISHED_STATUSES, updated_before=before))
        ended = [run.run_id for run in old if Path(log.path_for_shard(run.run_id)).exists()]
        freed = 0
        for run_id in ended if not dry_run else []:
            freed += log.forget(run_id)
            shutil.rmtree(Path(instance.storage_directory()) / run_id, ignore_errors=True)
        return len(ended), freed


@dataclass(frozen=True)
class NightRun:
    """How the run of one night ended: failed steps with the message of their error, failed checks by name."""

    run_id: str
    success: bool
    failed_steps: dict[str, str]
    failed_checks: list[str]


def run_night(
    settings: Settings,
    night: date,
    *,
    job: str = "nightly_custody",
    verbose: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> NightRun:
    """Run one night in this process. The run is recorded in the instance that the Dagster page shows.

    `say` gets messages about other runs of this home: each step waits for its turn at the warehouse.

    Raises:
        SettingsError: the instance's daemon would take the run for dead.
    """
    from custody_pipeline.defs.assembled import defs

    run_id = make_new_run_id()
    with open_instance(settings) as instance, lock_of_run(instance, run_id):
        _refuse_beside_containers(instance)
        for run in instance.get_runs(_UNFINISHED):
            night_of_run = run.tags.get("dagster/partition", "no night")
            say(f"taking turns with run {run.run_id} ({run.job_name}, {night_of_run}), which runs in this home")
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key=night.isoformat(),
            raise_on_error=False,
            run_id=run_id,
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
                if not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR
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
