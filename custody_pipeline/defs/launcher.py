"""Releasing a run whose process was killed.

A run's process holds a lock that ends with it, however it ends. A process id is no proof: a reboot or a container
reuses ids. Dagster itself misses only the processes that its present code server started: after a reboot, a run would
stay under way for good, with its place in the queue, its night and its pools.

Belongs here: the lock, and the launcher that `dagster.yaml` names. Does not: launchers of containers, which look for
their containers.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from custody_pipeline.settings import Settings, SettingsError, load_settings

_KILLED = "The process of this run ended before the run did."

logger = logging.getLogger(__name__)


def _lock_path(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.root_directory) / "running" / run_id


@contextmanager
def lock_of_run(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold the lock of a run that begins in this process. Does nothing if this process has it, or cannot make it."""
    path = _lock_path(instance, run_id)
    with ExitStack() as held:
        # A pod may not write to Dagster's home, and nobody asks for its lock.
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                file = held.enter_context(NamedTemporaryFile(dir=path.parent, delete=False))
                fcntl.flock(file, fcntl.LOCK_EX)
                Path(file.name).rename(path)  # never to be seen without its lock
                held.callback(path.unlink, missing_ok=True)
        yield


def release_if_dead(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings | None) -> bool:
    """Mark a run as failed if its process was killed, and note that in its night. Returns whether it did.

    Of several processes, one releases a run. If that one is itself killed here, the next one does. A run without a lock
    here is one of another machine that shares the instance.
    """
    from custody_pipeline.defs.failures import note_failure  # the webserver needs none of what this imports

    path = _lock_path(instance, run.run_id)
    with ExitStack() as held:
        try:
            fcntl.flock(held.enter_context(path.open("r+b")), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # there is no lock, or the process has it
            return False
        now = instance.get_run_by_id(run.run_id)
        is_dead = path.exists() and now is not None and not now.is_finished
        if is_dead:
            if settings is not None:
                note_failure(settings, run, "run was killed", _KILLED, logger, once=True)
            instance.report_run_failed(run, _KILLED)
        path.unlink(missing_ok=True)
    return is_dead


class WatchedRunLauncher(DefaultRunLauncher):
    """Dagster's launcher of processes. The daemon releases a run whose process was killed, and tries it again."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: the daemon asks every two minutes."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Failed if the process of the run was killed; the run is then released."""
        settings = None
        with suppress(SettingsError):  # the run is released nevertheless
            settings = load_settings()
        is_dead = release_if_dead(self._instance, run, settings)
        return CheckRunHealthResult(WorkerStatus.FAILED if is_dead else WorkerStatus.RUNNING)

    def terminate(self, run_id: str) -> bool:
        """End a run. False for one of `custody run`: Ctrl-C ends it, and the page would call it canceled."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or GRPC_INFO_TAG not in run.tags:
            return False
        return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
