"""A step that failed, or a run that was killed, leaves a custody event of its night.

Belongs here: the hook of the nightly jobs, and writing that event. Does not: what a failure means for the night (the
checks, the retries).
"""

from datetime import date
from logging import Logger

import dagster as dg

from custody_pipeline.models.run import refresh_events
from custody_pipeline.settings import SettingsError, load_settings
from custody_pipeline.warehouse.connection import Warehouse, WarehouseError
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts

# What failed may hold the warehouse still; the run has failed anyway, so nobody waits long for its event.
_LOCK_TIMEOUT_SECONDS = 30.0
_PARTITION_TAG = "dagster/partition"


@dg.failure_hook
def leave_exception(context: dg.HookContext) -> None:
    """Append the failure to `raw.acts`; the run's log says when that cannot be done."""
    run = context.instance.get_run_by_id(context.run_id)
    if run is not None:
        note_failure(run, f"step {context.step_key} failed", _reason(context.op_exception), context.log)


def note_failure(run: dg.DagsterRun, what: str, why: str, log: Logger) -> None:
    """Append the failure of a night's run to `raw.acts`; `log` says when that cannot be done."""
    partition = run.tags.get(_PARTITION_TAG)
    if partition is None:
        return
    try:
        settings, night = load_settings(), date.fromisoformat(partition)
        act = Act(night, "exception", what=what, why=why, how=run.job_name, where_at=f"run {run.run_id}")
        with Warehouse(settings, lock_timeout=_LOCK_TIMEOUT_SECONDS).open() as con:
            append_acts(con, Actor.of(settings), [act])
            refresh_events(con, night, about_night_alone=True)
    except (SettingsError, WarehouseError) as error:
        log.warning("the failure left no custody event: %s", error)


def _reason(error: BaseException | None) -> str:
    # What we and Dagster raise is written for people; another library's message may quote a document.
    if isinstance(error, dg.Failure) and error.description:
        return error.description
    ours = isinstance(error, dg.DagsterError) or type(error).__module__.startswith("custody_pipeline.")
    return str(error) if ours else type(error).__name__
