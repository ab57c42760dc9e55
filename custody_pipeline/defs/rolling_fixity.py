"""The rolling fixity check: each night reads some recordings again, those with the oldest check first.

Belongs here: the asset, its check, its job and its schedule. Does not: reading and comparing (operations/fixity.py).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from custody_pipeline.defs.failures import failing_step
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.operations.fixity import run_fixity
from custody_pipeline.warehouse.bookkeeping import FIXITY_COLUMNS

KEY = dg.AssetKey(["raw", "fixity_checks"])
UNCHANGED = "media_unchanged"

_SCHEMA = dg.TableSchema([dg.TableColumn(name, kind, text) for name, (kind, text) in FIXITY_COLUMNS.items()])
_SHOWN = 100


@dg.asset(
    key=KEY,
    group_name="evidence",
    kinds={"duckdb", "s3"},
    pool="duckdb",
    metadata={"dagster/table_name": "raw.fixity_checks", "dagster/column_schema": _SCHEMA},
    check_specs=[dg.AssetCheckSpec(UNCHANGED, asset=KEY, description="Every recording that was read has its digest.")],
)
def fixity_checks(deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """Read recordings again, within a nightly budget of bytes, and compare them with their digests at export."""
    with failing_step():
        report = run_fixity(deployment.settings)
    altered = report.counts["changed"] + report.counts["gone"]
    findings = [
        dg.TableRecord({name: value or "" for name, value in finding.items()}) for finding in report.findings[:_SHOWN]
    ]
    columns = [dg.TableColumn(name) for name in ("uri", "night", "result", "sha256_before", "sha256", "error")]
    metadata: dict[str, Any] = {
        "objects": sum(report.counts.values()),
        "bytes": report.bytes,
        **{f"{result} objects": number for result, number in sorted(report.counts.items())},
        "objects waiting": report.waiting,
        "nights waiting": report.nights_waiting,
        "waiting since": str(report.oldest or "-"),
        "findings": dg.MetadataValue.table(findings, dg.TableSchema(columns)),
    }
    check = dg.AssetCheckResult(
        passed=not report.findings,
        asset_key=KEY,
        check_name=UNCHANGED,
        severity=dg.AssetCheckSeverity.ERROR if altered else dg.AssetCheckSeverity.WARN,
        metadata=dict(report.counts),
    )
    yield dg.MaterializeResult(asset_key=KEY, metadata=metadata, check_results=[check])


rolling_fixity = dg.define_asset_job(
    "rolling_fixity",
    selection=dg.AssetSelection.assets(KEY),
    description="Read the recordings with the oldest check again, at most CUSTODY_FIXITY_BYTES a night.",
)


@dg.schedule(
    job=rolling_fixity,
    cron_schedule="30 7 * * *",
    execution_timezone="UTC",
    description="Every day at 07:30 UTC: read the recordings with the oldest check again.",
)
def every_fixity(_context: dg.ScheduleEvaluationContext, deployment: Deployment) -> dg.RunRequest | dg.SkipReason:
    """Once a day, after the night and the rechecks."""
    settings = deployment.settings
    if not settings.fixity_bytes or settings.export_url is None:
        return dg.SkipReason("CUSTODY_FIXITY_BYTES is 0, or no export bucket is configured.")
    return dg.RunRequest(run_key=None)
