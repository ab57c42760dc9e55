"""Assets on S3: the night's sealed cut and its current copies.

Belongs here: one step that publishes a night that passed its checks, and one that reads it back. Does not: writing
files (publish).
"""

import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg

from custody_pipeline.alerts.dispatch import AlertRun, channels_of, send_alerts
from custody_pipeline.defs.failures import CUT, again_in, failing_step, leave_exception, noted
from custody_pipeline.defs.metadata import cost, offending_rows, seal_metadata
from custody_pipeline.defs.modelled import MODELS, asset_key, require_made
from custody_pipeline.defs.partitions import night_check, night_of, nights
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.evidence.cut.manifest import REPORT as SEALED_REPORT
from custody_pipeline.evidence.cut.manifest import CutError
from custody_pipeline.evidence.cut.timestamp import TimestampError
from custody_pipeline.evidence.log.note import NoteError
from custody_pipeline.evidence.verify.copies import TOPS
from custody_pipeline.fleet.shards import NightTakenError
from custody_pipeline.forgetting.coming import removals_near
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.night import publish as publish_night
from custody_pipeline.operations.night_report import REPORT
from custody_pipeline.operations.witnesses import ask_all
from custody_pipeline.publish.current_copies import Publication
from custody_pipeline.publish.live import live_key
from custody_pipeline.publish.publication import PublishError
from custody_pipeline.publish.read_sealed import differing_copies, differing_files, read_sealed
from custody_pipeline.warehouse.content_hash import LIVE_TABLES, PUBLISHED_TABLES
from custody_pipeline.warehouse.sql_text import table_columns

# Dagster's freshness ignores partitions: this policy fails when no night was published for a day and a half.
LATE = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=27))

# Seconds until the step is tried again.
PATIENCE = 5.0

# Run tag: why a published night runs again. `nightly.py` sets it.
WHY_TAG = "custody/why"

COPIES, FILES = "copies_as_sealed", "files_as_sealed"


def _key(table: str) -> dg.AssetKey:
    return dg.AssetKey(["published", table])


def _specs() -> list[dg.AssetSpec]:
    specs = [
        dg.AssetSpec(
            _key(table),
            deps=[asset_key(f"custody.{table}")],
            group_name="publish",
            description=f"{MODELS[f'custody.{table}'].description} {where}",
            kinds={"s3", "parquet", "csv"},
            freshness_policy=policy,
        )
        for tables, where, policy in (
            (PUBLISHED_TABLES, "As Parquet and CSV on S3, the current revision.", LATE),
            (LIVE_TABLES, "Below live/ on S3: as known now, and not sealed.", None),
        )
        for table in tables
    ]
    cut = dg.AssetSpec(
        CUT,
        deps=[asset_key(key) for key, model in MODELS.items() if model.schema == "custody"],
        group_name="evidence",
        description="The sealed night: every file with its digest, the signature and the place in the log.",
        kinds={"s3"},
    )
    return [*specs, cut]


@dg.multi_asset(
    specs=_specs(),
    partitions_def=nights,
    pool="seal",
    hooks={leave_exception},
)
def publish(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """Seal and publish the night if its content changed. Refresh the analysts' snapshot in any case."""
    night, begun, again = deployment.night(night_of(context)), time.monotonic(), again_in(context, PATIENCE)
    with failing_step(PublishError, NoteError, NightTakenError, again_in=again), night.warehouse.open() as con:
        require_made([table for table in map("custody.{}".format, PUBLISHED_TABLES) if not table_columns(con, table)])
        publication, snapshot = publish_night(con, night, context.run.tags.get(WHY_TAG, "run again"))
    report = deployment.settings.home.absolute() / "reports" / str(night.day) / REPORT
    with failing_step(again_in=again):
        alerts = _alert(deployment, night_of(context))
        asked = ask_all(deployment.settings, deployment.settings.witnesses)
    for line in alerts.get("failures", []):
        context.log.warning("alert not delivered: %s", line)
    for line in asked.problems:
        context.log.warning("no cosignature: %s", line)
    common: dict[str, Any] = {
        "revision": publication.revision,
        "changed": publication.changed,
        "complete": publication.complete,
        "content_sha256": publication.content_sha256,
    }
    yield from _tables(deployment, publication, common)
    with failing_step(CutError, NoteError, TimestampError, again_in=again):
        sealed = read_sealed(deployment.settings, night.day)
    yield dg.MaterializeResult(
        asset_key=CUT,
        metadata={
            **common,
            **cost(time.monotonic() - begun, sealed.cut.log.records),
            "dagster/uri": publication.cut,
            "cut_sha256": publication.cut_sha256,
            **seal_metadata(sealed),
            "alerts": dg.MetadataValue.json(alerts),
            "report": dg.MetadataValue.path(str(report)),
            "report uri": f"{deployment.settings.publish_url}/{SEALED_REPORT}date={night.day}/{REPORT}",
            "verify with": dg.MetadataValue.md(
                f"`custody verify --home {deployment.settings.home.absolute()}`; one recording: "
                "`custody prove RECORDING_ID`"
            ),
            "cosigned by": list(asked.cosigned),
            "repaired copies": list(publication.repaired),
            "analyst snapshot": dg.MetadataValue.path(str(snapshot)),
        },
    )


def _tables(
    deployment: Deployment, publication: Publication, common: dict[str, Any]
) -> Iterator[dg.MaterializeResult[None]]:
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
    place = S3Location.parse(deployment.settings.require("publish_url"))
    for table in LIVE_TABLES:
        uris = {top: place / live_key(table, f"{table}.{suffix}", publication.night) for suffix, top in TOPS.items()}
        yield dg.MaterializeResult(
            asset_key=_key(table), metadata={f"{top} uri": str(uri) for top, uri in uris.items()}
        )


def _check_specs() -> list[dg.AssetCheckSpec]:
    copies = "Every current copy has the size, SHA-256 and rows that the newest signed cut states."
    files = "The cut's own keys signed it, and each of its files lies on S3 in its sealed size."
    return [
        *(night_check(COPIES, _key(table), copies) for table in PUBLISHED_TABLES),
        night_check(FILES, CUT, files),
    ]


@noted
@dg.multi_asset_check(specs=_check_specs(), can_subset=True)
def published_checks(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> Iterator[dg.AssetCheckResult]:
    """Compare the published files, by what S3 states, with the signed cut."""
    night, settings = night_of(context), deployment.settings
    with failing_step(CutError, NoteError, TimestampError):
        cut = read_sealed(settings, night).cut
    differing = differing_copies(settings, cut)
    command = f"Everything that differs: `custody verify --home {settings.home.absolute()}`"
    for key in sorted(context.selected_asset_check_keys, key=lambda key: key.asset_key):
        wrong = (
            list(differing_files(settings, cut)) if key.asset_key == CUT else differing.get(key.asset_key.path[-1], [])
        )
        yield dg.AssetCheckResult(
            check_name=key.name,
            asset_key=key.asset_key,
            passed=not wrong,
            metadata={
                "compared with": f"{settings.publish_url}/{cut.prefix}cut.json",
                **offending_rows(wrong, command),
            },
        )


def _alert(deployment: Deployment, night: date) -> dict[str, Any]:
    """Send new alerts to the configured channels. A failed channel is part of the result and stops nothing."""
    if not channels_of(deployment.settings):
        return AlertRun(night, 0, ()).to_dict()
    warehouse = deployment.night(night).warehouse
    with warehouse.open() as con:
        removals = removals_near(deployment.settings, utc_now().date())
        sent = send_alerts(con, night, deployment.settings, removals=removals)
        warehouse.check_in(con)
        return sent.to_dict()
