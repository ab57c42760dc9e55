"""When the night runs: every night at 02:30 UTC, and again while its sources may still grow.

Belongs here: jobs and schedules. Does not: the decision what is recoverable (sql/custody/nights.sql).
"""

from collections.abc import Iterator

import dagster as dg

from custody_pipeline.defs.partitions import nights
from custody_pipeline.settings import load_settings
from custody_pipeline.warehouse import Warehouse

NIGHT = dg.AssetSelection.groups("collect", "model", "publish", "evidence")

nightly_custody = dg.define_asset_job(
    "nightly_custody",
    selection=NIGHT,
    description="One night: collect, model, check, publish.",
    executor_def=dg.in_process_executor,
)

recheck_custody = dg.define_asset_job(
    "recheck_custody",
    selection=NIGHT,
    description="A night again: its sources may have grown, or a gap may close. Unchanged nights publish nothing.",
    executor_def=dg.in_process_executor,
)

every_night = dg.build_schedule_from_partitioned_job(nightly_custody, hour_of_day=2, minute_of_hour=30)


@dg.schedule(job=recheck_custody, cron_schedule="30 5 * * *", execution_timezone="UTC")
def every_recheck(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Every night that is not final: inside the lag, or with gaps that may still close."""
    pending = nights_to_recheck()
    if not pending:
        yield dg.SkipReason("Every night is final.")
    for night in pending:
        yield dg.RunRequest(
            run_key=f"{night}@{context.scheduled_execution_time:%Y-%m-%d}",
            partition_key=night,
            tags={"recheck": "true"},
        )


def nights_to_recheck() -> list[str]:
    """Partition keys of the nights that are not final, oldest first."""
    settings = load_settings()
    if not settings.warehouse_path.exists():
        return []
    with Warehouse(settings).open(read_only=True) as con:
        found = con.execute(
            "SELECT partition_date FROM custody.nights WHERE state <> 'final' ORDER BY partition_date"
        ).fetchall()
    known = set(nights.get_partition_keys())
    return [night.isoformat() for (night,) in found if night.isoformat() in known]
