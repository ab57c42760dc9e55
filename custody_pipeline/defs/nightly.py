"""When a night runs: at 02:30 UTC, and again while its sources may still grow.

Belongs here: jobs and schedules. Does not: which gaps are recoverable (sql/custody/nights.sql).
"""

from collections.abc import Iterator

import dagster as dg

from custody_pipeline.defs.failures import leave_exception
from custody_pipeline.defs.partitions import nights
from custody_pipeline.defs.published import WHY_TAG
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.defs.rolling_fixity import KEY as FIXITY
from custody_pipeline.operations.fixity import altered_since_recheck
from custody_pipeline.warehouse.connection import Warehouse

NIGHT = dg.AssetSelection.groups("collect", "model", "publish", "evidence") - dg.AssetSelection.assets(FIXITY)

nightly_custody = dg.define_asset_job(
    "nightly_custody",
    selection=NIGHT,
    description="One night: collect, model, check, publish.",
    executor_def=dg.in_process_executor,
    hooks={leave_exception},
)

recheck_custody = dg.define_asset_job(
    "recheck_custody",
    selection=NIGHT,
    description="Run a night again: its sources may have grown, or a gap may close. Unchanged nights publish nothing.",
    executor_def=dg.in_process_executor,
    hooks={leave_exception},
)

every_night = dg.build_schedule_from_partitioned_job(nightly_custody, hour_of_day=2, minute_of_hour=30)


@dg.schedule(job=recheck_custody, cron_schedule="30 5 * * *", execution_timezone="UTC")
def every_recheck(
    context: dg.ScheduleEvaluationContext, deployment: Deployment
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Every night that is not final: inside the lag, or with gaps that may still close."""
    pending = nights_to_recheck(deployment.warehouse)
    if not pending:
        yield dg.SkipReason("Every night is final.")
    for night, why in pending.items():
        yield dg.RunRequest(
            run_key=f"{night}@{context.scheduled_execution_time:%Y-%m-%d}",
            partition_key=night,
            tags={WHY_TAG: why},
        )


def nights_to_recheck(warehouse: Warehouse) -> dict[str, str]:
    """Partition keys of the nights that are not final, oldest first, each with the reason for its recheck."""
    if not warehouse.settings.warehouse_path.exists():
        return {}
    with warehouse.open(read_only=True) as con:
        found = con.execute(
            "SELECT partition_date, state, recoverable FROM custody.nights WHERE state <> 'final' "
            "ORDER BY partition_date"
        ).fetchall()
        altered = altered_since_recheck(con)
    known = set(nights.get_partition_keys())
    why = {night: f"recheck: fixity found recordings changed or gone: {number}" for night, number in altered.items()}
    why |= {
        night: f"recheck of a night that is {state}: {_because(state, recoverable)}"
        for night, state, recoverable in found
    }
    return {night.isoformat(): why[night] for night in sorted(why) if night.isoformat() in known}


def _because(state: str, recoverable: int) -> str:
    if recoverable:
        return f"gaps of {recoverable} recording{'s' * (recoverable != 1)} may still close"
    return "not everything was there yet" if state == "open" else "its sources may still grow"
