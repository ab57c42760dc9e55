"""Assets of the sources: what was exported, what should have been exported, and the metadata that holds the tags.

Belongs here: one step per group of sources. Does not: reading (extract) or judging (sql).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from custody_pipeline.defs.failures import told
from custody_pipeline.defs.metadata import column_schema, table_metadata
from custody_pipeline.defs.partitions import night_of, nights
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.extract.exports import BucketUnreachableError
from custody_pipeline.extract.genesys import GenesysError
from custody_pipeline.load.raw_tables import BOOKKEEPING, RAW_TABLES
from custody_pipeline.night import Loaded, Night, collected
from custody_pipeline.warehouse.sql_files import load_models

MODELS = load_models()

# Transient errors of a source: wait before each retry, so that a short outage does not cost the night.
PATIENCE = dg.RetryPolicy(max_retries=2, delay=20, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def _key(table: str) -> dg.AssetKey:
    return dg.AssetKey(["raw", table])


def _specs(tables: tuple[str, ...], deps: tuple[str, ...] = ()) -> list[dg.AssetSpec]:
    return [
        dg.AssetSpec(
            _key(table),
            deps=[_key(dep) for dep in deps],
            group_name="collect",
            description=MODELS[f"raw.{table}"].description,
            kinds={"duckdb", "dlt"},
            metadata={
                "dagster/table_name": f"raw.{table}",
                "dagster/column_schema": column_schema(MODELS[f"raw.{table}"]),
                "sql": dg.MetadataValue.md(f"```sql\n{MODELS[f'raw.{table}'].sql}\n```"),
            },
        )
        for table in tables
    ]


@contextmanager
def _collected(night: Night, group: str) -> Iterator[Loaded]:
    """Collect one group of sources. A permanent error fails without a retry."""
    with told(BucketUnreachableError):
        try:
            with collected(night, group) as loaded:
                yield loaded
        except GenesysError as error:
            raise dg.Failure(str(error), allow_retries=not error.permanent) from error


def _step(group: str, description: str, after: tuple[str, ...] = ()) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=group,
        description=description,
        specs=_specs(RAW_TABLES[group], after),
        partitions_def=nights,
        pool="duckdb",
        retry_policy=PATIENCE,
    )
    def collect(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
        night = deployment.night(night_of(context))
        with _collected(night, group) as loaded:
            for key in sorted(context.selected_asset_keys):
                table = key.path[-1]
                landing = loaded.landings[table]
                yield dg.MaterializeResult(
                    asset_key=key,
                    metadata={
                        **table_metadata(loaded.con, MODELS[f"raw.{table}"], night.day),
                        "rows loaded": loaded.summary.rows.get(table, 0),
                        "receipt": landing.state,
                        "documents": landing.documents,
                        "failures": len(landing.failures),
                        "requests": landing.requests,
                        "retries": landing.retries,
                        "bytes": sum(file.size for file in landing.files),
                        "landing files": [file.uri for file in landing.files],
                    },
                )

    return collect


_NEEDED_FIRST = tuple(table for name in ("exports", "details", "catalog", "captures") for table in RAW_TABLES[name])

exports = _step("exports", "Jobs, failed recordings, every object and version in the bucket, sidecars, manifests.")
details = _step("details", "The bulk analytics job: the only source of all conversations' tags at once.")
catalog = _step("catalog", "Published scripts, queues and divisions, as they are today.")
captures = _step("captures", "What live capture kept of the night.")
recordings = _step(
    "recordings", "Recording metadata where bucket and details disagree; orphan recordings.", _NEEDED_FIRST
)
conversations = _step(
    "conversations",
    "Single reads, for what the bulk job lacks: truncated values, missing conversations, tags that were set late.",
    _NEEDED_FIRST,
)
media = _step(
    "media",
    "Digests of every exported object, each read once. Audio of captured conversations is linked to the captures.",
    ("export_objects", "captures"),
)


@dg.multi_asset(
    specs=_specs(BOOKKEEPING, tuple(table for tables in RAW_TABLES.values() for table in tables)),
    partitions_def=nights,
    pool="duckdb",
)
def receipts(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """What was requested, what arrived and what was unreadable. Each load above has already written its rows."""
    with deployment.warehouse.open() as con:
        for table in BOOKKEEPING:
            metadata = table_metadata(con, MODELS[f"raw.{table}"], night_of(context))
            yield dg.MaterializeResult(asset_key=_key(table), metadata=metadata)
