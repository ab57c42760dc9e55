"""Assets of the sources: the exports, the lists of what should have been exported, and the metadata with the tags.

Belongs here: one step per group of sources. Does not: reading (extract) or judging (sql).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from custody_pipeline.defs.failures import again_in, failing_step, is_whole_night, leave_exception
from custody_pipeline.defs.metadata import code_reference, column_schema, cost, table_metadata
from custody_pipeline.defs.outside import EVENTS, EXPORT_BUCKET, PLATFORM_API
from custody_pipeline.defs.partitions import night_of, nights
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.extract.exports import BucketUnreachableError
from custody_pipeline.extract.genesys_errors import GenesysError
from custody_pipeline.load.raw_tables import BOOKKEEPING, RAW_TABLES
from custody_pipeline.night import Loaded, Night, collected
from custody_pipeline.publish.place import PublishPlaceError, require_place
from custody_pipeline.warehouse.sql_files import load_models

MODELS = load_models()

logger = logging.getLogger(__name__)

# Seconds until a step is tried again after a transient error, beyond the client's own retries: a short outage does not
# end the night, and a long outage ends it within a minute. A later run continues the night.
PATIENCE = 30.0


def _key(table: str) -> dg.AssetKey:
    return dg.AssetKey(["raw", table])


def _outside(table: str) -> list[dg.AssetKey]:
    """The origin of a table's documents; none for a table that is filled while another source is read."""
    if table in BOOKKEEPING:
        return []
    if table in RAW_TABLES["captures"]:
        return [EVENTS]
    in_bucket = table.startswith(("export_objects", "export_sidecars", "export_manifests", "media"))
    return [EXPORT_BUCKET] if in_bucket else [PLATFORM_API]


def _specs(tables: tuple[str, ...], deps: tuple[str, ...] = ()) -> list[dg.AssetSpec]:
    return [
        dg.AssetSpec(
            _key(table),
            deps=[*map(_key, deps), *_outside(table)],
            group_name="collect",
            description=MODELS[f"raw.{table}"].description,
            kinds={"duckdb", "dlt"},
            metadata={
                **code_reference(MODELS[f"raw.{table}"].path),
                "dagster/table_name": f"raw.{table}",
                "dagster/column_schema": column_schema(MODELS[f"raw.{table}"]),
                "sql": dg.MetadataValue.md(f"```sql\n{MODELS[f'raw.{table}'].sql}\n```"),
            },
        )
        for table in tables
    ]


@contextmanager
def _collected(context: dg.AssetExecutionContext, night: Night, group: str) -> Iterator[Loaded]:
    """Collect one group of sources. A permanent error fails without a retry."""
    again = again_in(context, PATIENCE)
    with failing_step(BucketUnreachableError, PublishPlaceError, again_in=again):
        if group == "exports" and is_whole_night(context.run):
            require_place(night.settings)
        try:
            with collected(night, group) as loaded:
                yield loaded
        except GenesysError as error:
            if again is not None and not error.permanent:
                logger.warning("  · %s: %s, %s; asking again in %g s", group, error.request, error.outcome, again)
            raise dg.Failure(str(error), allow_retries=not error.permanent) from error


# Collections share the API's rate limit: one at a time. Waiting for the API holds no warehouse.
_API = "genesys"


def _step(group: str, description: str, after: tuple[str, ...] = (), pool: str | None = _API) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=group,
        description=description,
        specs=_specs(RAW_TABLES[group], after),
        partitions_def=nights,
        pool=pool,
        hooks={leave_exception},
    )
    def collect(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
        night = deployment.night(night_of(context))
        with _collected(context, night, group) as loaded:
            for key in sorted(context.selected_asset_keys):
                table = key.path[-1]
                landing, rows = loaded.landings[table], loaded.summary.rows.get(table, 0)
                yield dg.MaterializeResult(
                    asset_key=key,
                    metadata={
                        **table_metadata(loaded.con, MODELS[f"raw.{table}"], night.day),
                        **cost(
                            ((landing.finished_at or landing.started_at) - landing.started_at).total_seconds(), rows
                        ),
                        "rows loaded": rows,
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
# The other groups wait for the first, so that a failing bucket or API is noticed, and waited for, only once.
details = _step(
    "details", "The bulk analytics job: the only source of all conversations' tags at once.", ("export_objects",)
)
catalog = _step(
    "catalog",
    "Published scripts, queues, divisions and users, as they are today; the list of all recordings.",
    ("export_objects", "conversation_details"),
)
captures = _step("captures", "What live capture kept of the night.", ("export_objects",), pool=None)
recordings = _step(
    "recordings",
    "Recording metadata where bucket and details disagree; orphan recordings; who listened.",
    _NEEDED_FIRST,
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
    pool=None,
)


@dg.multi_asset(
    specs=_specs(BOOKKEEPING, tuple(table for tables in RAW_TABLES.values() for table in tables)),
    partitions_def=nights,
    pool="duckdb",
    hooks={leave_exception},
)
def receipts(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """The requested, received and unreadable documents. The loads above have already written the rows."""
    with failing_step(), deployment.night(night_of(context)).warehouse.open() as con:
        for table in BOOKKEEPING:
            metadata = table_metadata(con, MODELS[f"raw.{table}"], night_of(context))
            yield dg.MaterializeResult(asset_key=_key(table), metadata=metadata)
