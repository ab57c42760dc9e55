"""A failed step or a killed run leaves a custody event in its night.

Belongs here: the hook of the nightly jobs, and writing the event. Does not: checks and retries.
"""

from datetime import date
from logging import Logger

import dagster as dg

from custody_pipeline.defs.resources import Deployment
from custody_pipeline.models.run import refresh_events
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import Warehouse, WarehouseError
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts

# The failed step may still hold the warehouse. The event is not worth a long wait.
_LOCK_TIMEOUT_SECONDS = 30.0
_PARTITION_TAG = "dagster/partition"


@dg.failure_hook(required_resource_keys={"deployment"})
def leave_exception(context: dg.HookContext) -> None:
    """Append the failure to `raw.acts`."""
    run = context.instance.get_run_by_id(context.run_id)
    deployment: Deployment = context.resources.deployment
    if run is not None and deployment.is_configured:
        what, why = f"step {context.step_key} failed", _reason(context.op_exception)
        note_failure(deployment.settings, run, what, why, context.log)


def note_failure(settings: Settings, run: dg.DagsterRun, what: str, why: str, log: Logger) -> None:
    """Append the failure of a night's run to `raw.acts`. If that fails as well, `log` says so."""
    partition = run.tags.get(_PARTITION_TAG)
    if partition is None:
        return
    try:
        night = date.fromisoformat(partition)
        act = Act(night, "exception", what=what, why=why, how=run.job_name, where_at=f"run {run.run_id}")
        with Warehouse(settings, lock_timeout=_LOCK_TIMEOUT_SECONDS).open() as con:
            append_acts(con, Actor.of(settings), [act])
            refresh_events(con, night, about_night_alone=True)
    except WarehouseError as error:
        log.warning("the failure left no custody event: %s", error)


def _reason(error: BaseException | None) -> str:
    # Messages of this package and of Dagster are written for people. Other libraries may quote a document.
    if isinstance(error, dg.Failure) and error.description:
        return error.description
    ours = isinstance(error, dg.DagsterError) or type(error).__module__.startswith("custody_pipeline.")
    return str(error) if ours else type(error).__name__
