"""Erasing what the retention policy says is due, once a day.

Belongs here: the asset, its check, its job and its schedule. Does not: the policy and the erasure (forgetting).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from custody_pipeline.defs.failures import failing_step
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.forgetting.choices import by_day
from custody_pipeline.forgetting.due import Plan, apply, plan
from custody_pipeline.forgetting.keeping import by_day_and_place
from custody_pipeline.forgetting.policy import load_policy
from custody_pipeline.warehouse.erasures import ERASURE_COLUMNS, requests_of

KEY = dg.AssetKey(["raw", "erasures"])
NOTHING_DUE = "nothing_due_soon"

_SCHEMA = dg.TableSchema([dg.TableColumn(name, kind, text) for name, (kind, text) in ERASURE_COLUMNS.items()])
_SHOWN = 100


@dg.asset(
    key=KEY,
    group_name="evidence",
    kinds={"duckdb", "s3"},
    pool="duckdb",
    metadata={"dagster/table_name": "raw.erasures", "dagster/column_schema": _SCHEMA},
    check_specs=[dg.AssetCheckSpec(NOTHING_DUE, asset=KEY, description="No conversation is due or becomes due soon.")],
)
def erasures(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """Erase conversations that the policy no longer keeps, or whose hold ended, with one statement per night."""
    settings, today = deployment.settings, datetime.now(UTC).date()
    with failing_step():
        policy = load_policy(settings.retention_path) if settings.retention_path is not None else None
        applied = apply(settings, policy, today, context.log.info)
        left = plan(settings, policy, today) if policy is not None else Plan()
    warn_days = policy.warn_days if policy is not None else 0
    soon = [item for item in left.coming if item.day <= today + timedelta(days=warn_days)]
    columns = [dg.TableColumn("day"), dg.TableColumn("rule"), dg.TableColumn("conversations", "int")]
    records = [
        dg.TableRecord({"day": str(day), "rule": rule, "conversations": number})
        for day, rule, number in by_day(soon)[:_SHOWN]
    ]
    until = today + timedelta(days=warn_days)
    places = [
        dg.TableRecord({"day": str(day), "what": what, "rule": rule})
        for day, what, rule in by_day_and_place(item for item in left.places.coming if item.day <= until)[:_SHOWN]
    ]
    metadata: dict[str, Any] = {
        "conversations erased": sum(len(outcome.request.conversations) for outcome in applied.outcomes),
        "held": len(applied.held),
        "due soon": len(soon),
        **{f"{place} removed": number for place, number in applied.places.items()},
        "becoming due": dg.MetadataValue.table(records, dg.TableSchema(columns)),
        "places becoming due": dg.MetadataValue.table(
            places, dg.TableSchema([dg.TableColumn(name) for name in ("day", "what", "rule")])
        ),
    }
    if policy is not None:
        metadata["policy sha256"] = policy.sha256
    check = dg.AssetCheckResult(
        passed=not soon and not applied.held,
        asset_key=KEY,
        check_name=NOTHING_DUE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"due soon": len(soon), "held": len(applied.held)},
    )
    yield dg.MaterializeResult(asset_key=KEY, metadata=metadata, check_results=[check])


retention = dg.define_asset_job(
    "retention",
    selection=dg.AssetSelection.assets(KEY),
    description="Erase what the retention policy no longer keeps, and what waited for a hold that ended.",
)


@dg.schedule(
    job=retention,
    cron_schedule="0 9 * * *",
    execution_timezone="UTC",
    description="Every day at 09:00 UTC: erase what the retention policy no longer keeps or a hold kept waiting.",
)
def every_retention(_context: dg.ScheduleEvaluationContext, deployment: Deployment) -> dg.RunRequest | dg.SkipReason:
    """Once a day, after the night and the rechecks. Off until it is turned on; skipped if there cannot be work."""
    waits = any(request.state != "done" for request in requests_of(deployment.settings))
    if deployment.settings.retention_path is None and not waits:
        return dg.SkipReason("CUSTODY_RETENTION_PATH is not set, and no request for erasure waits.")
    return dg.RunRequest(run_key=None)
