"""When a night runs: at 02:30 UTC, and again while its sources may still grow.

Belongs here: jobs and schedules. Does not: which gaps are recoverable (sql/custody/nights.sql).
"""

from collections.abc import Iterator

import dagster as dg

from custody_pipeline.defs.modelled import GROUPS
from custody_pipeline.defs.partitions import nights, settings_at_import
from custody_pipeline.defs.published import WHY_TAG
from custody_pipeline.defs.resources import RECHECK_TAG, Deployment
from custody_pipeline.defs.retention import KEY as ERASURES
from custody_pipeline.defs.rolling_fixity import KEY as FIXITY
from custody_pipeline.fleet.overview import overview
from custody_pipeline.io.night_keys import forgotten_nights
from custody_pipeline.operations.fixity import altered_since_recheck
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.night_states import NOT_PUBLISHED, NightState, night_states, unpublished

NIGHT = dg.AssetSelection.groups("collect", *GROUPS, "publish", "evidence") - dg.AssetSelection.assets(FIXITY, ERASURES)

# Of several workers, the one that tries again may be another one, without the tables that the steps before made.
_RETRIED = {"dagster/retry_strategy": "ALL_STEPS"} if settings_at_import().nights_url else {}

nightly_custody = dg.define_asset_job(
    "nightly_custody",
    selection=NIGHT,
    description="One night: collect, model, check, publish.",
    tags=_RETRIED,
)

recheck_custody = dg.define_asset_job(
    "recheck_custody",
    selection=NIGHT,
    description="Run a night again: its sources may have grown, or a gap may close. Unchanged nights publish nothing.",
    # In the queue of runs and in the pools: yesterday's night waits only for the step of a recheck that is under way.
    tags={"dagster/priority": "-1", RECHECK_TAG: "true", **_RETRIED},
)

every_night = dg.build_schedule_from_partitioned_job(
    nightly_custody, hour_of_day=2, minute_of_hour=30, description="Every night at 02:30 UTC: the UTC day that ended."
)


@dg.schedule(
    job=recheck_custody,
    cron_schedule="30 5 * * *",
    execution_timezone="UTC",
    description="Every day at 05:30 UTC: nights that are not final, failed, or were never collected.",
)
def every_recheck(
    context: dg.ScheduleEvaluationContext, deployment: Deployment
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Every night that is not final: inside the lag, with gaps that may still close, failed, or never collected."""
    pending = nights_to_recheck(deployment.settings)
    if not pending:
        yield dg.SkipReason("Every night is final.")
    for night, why in pending.items():
        yield dg.RunRequest(
            run_key=f"{night}@{context.scheduled_execution_time:%Y-%m-%d}", partition_key=night, tags={WHY_TAG: why}
        )


def nights_to_recheck(settings: Settings) -> dict[str, str]:
    """Partition keys of the nights that are not final, oldest first, each with the reason for its recheck."""
    with overview(settings) as con:
        states = night_states(con, settings)
        altered = altered_since_recheck(con) if con is not None else {}
    known = set(nights.get_partition_keys())
    why = {night: f"recheck: fixity found recordings changed or gone: {number}" for night, number in altered.items()}
    pending = {night: found for night, found in states.items() if found.state not in {"final", *NOT_PUBLISHED}}
    why |= {
        night: f"recheck of a night that is {found.state}: {_because(found)}"
        for night, found in (pending | unpublished(states)).items()
    }
    gone = forgotten_nights(settings) if why else set()
    return {night.isoformat(): why[night] for night in sorted(why.keys() - gone) if night.isoformat() in known}


def _because(found: NightState) -> str:
    if found.state == "failed":
        return found.detail
    if found.recoverable:
        return f"gaps of {found.recoverable} recording{'s' * (found.recoverable != 1)} may still close"
    return {"missing": "nobody collected it", "open": "not everything was there yet"}.get(
        found.state, "its sources may still grow"
    )
