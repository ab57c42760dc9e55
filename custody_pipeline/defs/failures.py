"""Failed steps and killed runs: a custody event in the night, and an alert.

Belongs here: the hook of a night's steps, writing the event, and the message of a failed step. Does not: checks.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from logging import Logger

import dagster as dg
import duckdb
from dagster._core.errors import DagsterAssetCheckFailedError

from custody_pipeline.alerts.dispatch import send_alerts
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.fleet.warehouse_of import warehouse_of
from custody_pipeline.models.run import refresh_events
from custody_pipeline.operations.endings import USAGE, ending_of, is_lasting
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts

# Seconds. The failed step may still hold the warehouse, and the event is not worth a long wait.
_LOCK_TIMEOUT_SECONDS = 30.0
CUT = dg.AssetKey(["published", "cut"])
_PARTITION_TAG = "dagster/partition"
_RETRY_TAG = "dagster/retry_on_asset_or_op_failure"


# On the steps and not on the jobs: a backfill that begins on the page of the assets runs in a job of Dagster's.
@dg.failure_hook(required_resource_keys={"deployment"})
def leave_exception(context: dg.HookContext) -> None:
    """Note the failure of a whole night. A run is not retried after a permanent error or a failed check."""
    run, error = context.instance.get_run_by_id(context.run_id), context.op_exception
    if run is None:
        return
    if isinstance(error, DagsterAssetCheckFailedError) or (isinstance(error, dg.Failure) and not error.allow_retries):
        context.instance.add_run_tags(run.run_id, {_RETRY_TAG: "false"})
    deployment: Deployment = context.resources.deployment
    if deployment.is_configured and is_whole_night(run):
        what, why = f"step {context.step_key} failed", _reason(error)
        note_failure(deployment.settings, run, what, why, context.log)


def noted(checks: dg.AssetChecksDefinition) -> dg.AssetChecksDefinition:
    """Checks with the hook of a night's steps, which Dagster's decorator does not take."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.AssetChecksDefinition(**checks.get_attributes_dict() | {"hook_defs": {leave_exception}})


def is_whole_night(run: dg.DagsterRun) -> bool:
    """True for a run that publishes; false for some assets or checks that a person chose, perhaps without access."""
    chosen = run.asset_selection or ()
    return CUT in chosen or not (chosen or run.asset_check_selection)


def note_failure(
    settings: Settings, run: dg.DagsterRun, what: str, why: str, log: Logger, *, once: bool = False
) -> None:
    """Append the failure of a night's run to `raw.acts`, and send alerts. If that fails as well, `log` says so.

    Args:
        once: append nothing if this failure of the run is there: a process may be killed after it noted one.
    """
    partition = run.tags.get(_PARTITION_TAG)
    if partition is None:
        return
    try:
        night = date.fromisoformat(partition)
        act = Act(night, "exception", what=what, why=why, how=run.job_name, where_at=f"run {run.run_id}")
        warehouse = warehouse_of(settings, night, lock_timeout=_LOCK_TIMEOUT_SECONDS)
        with warehouse.open() as con:
            if not (once and _is_noted(con, act)):
                append_acts(con, Actor.of(settings), [act])
            refresh_events(con, night, about_night_alone=True)
            for line in send_alerts(con, night, settings).failures:
                log.warning("alert not delivered: %s", line)
            warehouse.check_in(con)
    except Exception as error:  # noqa: BLE001 - otherwise no command of this home could release the run
        log.warning("the failure left no custody event: %s", ending_of(error)[0])


def _is_noted(con: duckdb.DuckDBPyConnection, act: Act) -> bool:
    found = con.execute(
        "SELECT 1 FROM raw.acts WHERE (partition_date, action, what, where_at) = ($night, $action, $what, $where_at)",
        {"night": act.night, "action": act.action, "what": act.what, "where_at": act.where_at},
    )
    return found.fetchone() is not None


@contextmanager
def failing_step(*permanent: type[Exception], again_in: float | None = None) -> Iterator[None]:
    """Fail a step with the message of the command line, or try it again.

    A `RetryPolicy` would also try a step again that a person terminates, and the night would be sealed nevertheless.

    Args:
        permanent: exceptions after which the step is not tried again.
        again_in: seconds until the next attempt; None if this is the last one.
    """
    try:
        yield
    except dg.DagsterError:
        raise
    except Exception as error:
        if (interrupt := _interrupt_of(error)) is not None:
            raise interrupt from None
        failure = error if isinstance(error, dg.Failure) else _failure(error, permanent)
        if again_in is not None and failure.allow_retries:
            raise dg.RetryRequested(1, again_in) from failure
        if failure is error:
            raise
        raise failure from error


def _interrupt_of(error: BaseException | None) -> BaseException | None:
    """The termination of the run that DuckDB and dlt wrap in an error of theirs."""
    while error is not None and isinstance(error, Exception):
        error = error.__cause__
    return error


def _failure(error: Exception, permanent: tuple[type[Exception], ...]) -> dg.Failure:
    line, status = ending_of(error)
    return dg.Failure(
        line, allow_retries=status != USAGE and not is_lasting(error) and not isinstance(error, permanent)
    )


def again_in(context: dg.AssetExecutionContext, seconds: float) -> float | None:
    """When a step is tried again: once, after a pause."""
    return None if context.retry_number else seconds


def _reason(error: BaseException | None) -> str:
    # Messages of other libraries may quote a document.
    if isinstance(error, dg.Failure) and error.description:
        return error.description
    return str(error) if isinstance(error, dg.DagsterError) else type(error).__name__
