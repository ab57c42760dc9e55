"""Assets on S3: the night's sealed cut and its current copies.

Belongs here: one step that publishes a night that passed its checks. Does not: writing files (publish).
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg

from custody_pipeline.alerts.dispatch import AlertRun, channels_of, send_alerts
from custody_pipeline.defs.failures import told
from custody_pipeline.defs.modelled import MODELS, asset_key
from custody_pipeline.defs.partitions import night_of, nights
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.evidence.cut.manifest import REPORT as SEALED_REPORT
from custody_pipeline.evidence.log.note import NoteError
from custody_pipeline.fleet.shards import NightTakenError
from custody_pipeline.forgetting.coming import removals_near
from custody_pipeline.io.clock import utc_now
from custody_pipeline.night import publish as publish_night
from custody_pipeline.operations.night_report import REPORT
from custody_pipeline.operations.witnesses import ask_all
from custody_pipeline.publish.publication import PublishError
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES

# Dagster's freshness ignores partitions: this policy fails when no night was published for a day and a half.
LATE = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=27))

# Run tag: why a published night runs again. `nightly.py` sets it.
WHY_TAG = "custody/why"

CUT = dg.AssetKey(["published", "cut"])


def _key(table: str) -> dg.AssetKey:
    return dg.AssetKey(["published", table])


def _specs() -> list[dg.AssetSpec]:
    specs = [
        dg.AssetSpec(
            _key(table),
            deps=[asset_key(f"custody.{table}")],
            group_name="publish",
            description=f"{MODELS[f'custody.{table}'].description} As Parquet and CSV on S3, the current revision.",
            kinds={"s3", "parquet", "csv"},
            freshness_policy=LATE,
        )
        for table in PUBLISHED_TABLES
    ]
    cut = dg.AssetSpec(
        CUT,
        deps=[asset_key(key) for key, model in MODELS.items() if model.schema == "custody"],
        group_name="evidence",
        description="The sealed night: every file with its digest, the signature and the place in the log.",
        kinds={"s3"},
    )
    return [*specs, cut]


@dg.multi_asset(specs=_specs(), partitions_def=nights, pool="seal", retry_policy=dg.RetryPolicy(max_retries=1, delay=5))
def publish(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """Seal and publish the night if its content changed. Refresh the analysts' snapshot in any case."""
    night = deployment.night(night_of(context))
    with told(PublishError, NoteError, NightTakenError), night.warehouse.open() as con:
        publication, snapshot = publish_night(con, night, context.run.tags.get(WHY_TAG, "run again"))
    report = deployment.settings.home.absolute() / "reports" / str(night.day) / REPORT
    alerts = _alert(deployment, night_of(context))
    for line in alerts.get("failures", []):
        context.log.warning("alert not delivered: %s", line)
    asked = ask_all(deployment.settings, deployment.settings.witnesses)
    for line in asked.problems:
        context.log.warning("no cosignature: %s", line)
    common: dict[str, Any] = {
        "revision": publication.revision,
        "changed": publication.changed,
        "complete": publication.complete,
        "content_sha256": publication.content_sha256,
    }
    for table in PUBLISHED_TABLES:
        files = {file.format: file for file in publication.files if file.table_name == table}
        metadata: dict[str, Any] = {f"{name} uri": file.uri for name, file in files.items()}
        metadata |= {f"{name} sha256": file.sha256 for name, file in files.items()}
        metadata["bytes"] = sum(file.bytes for file in files.values())
        rows = max((file.rows for file in files.values()), default=0)
        yield dg.MaterializeResult(
            asset_key=_key(table),
            metadata={**common, **metadata, "dagster/row_count": rows, "dagster/partition_row_count": rows},
        )
    yield dg.MaterializeResult(
        asset_key=CUT,
        metadata={
            **common,
            "dagster/uri": publication.cut,
            "cut_sha256": publication.cut_sha256,
            "alerts": dg.MetadataValue.json(alerts),
            "report": dg.MetadataValue.path(str(report)),
            "report uri": f"{deployment.settings.publish_url}/{SEALED_REPORT}date={night.day}/{REPORT}",
            "verify with": dg.MetadataValue.md("`custody verify`; one recording: `custody prove RECORDING_ID`"),
            "cosigned by": list(asked.cosigned),
            "repaired copies": list(publication.repaired),
            "analyst snapshot": dg.MetadataValue.path(str(snapshot)),
        },
    )


def _alert(deployment: Deployment, night: date) -> dict[str, Any]:
    """Tell the configured channels what is new. A failed channel is part of the result and stops nothing."""
    if not channels_of(deployment.settings):
        return AlertRun(night, 0, ()).to_dict()
    warehouse = deployment.night(night).warehouse
    with told(), warehouse.open() as con:
        removals = removals_near(deployment.settings, utc_now().date())
        sent = send_alerts(con, night, deployment.settings, removals=removals)
        warehouse.check_in(con)
        return sent.to_dict()
