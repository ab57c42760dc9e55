"""Assets from the outside: what was exported, what should have been, and the metadata that holds the tags.

Belongs here: one step per kind of source. Does not: reading (extract) or judging (sql).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import dagster as dg

from custody_pipeline.capture.assembly import linker_of
from custody_pipeline.capture.links import Audio
from custody_pipeline.capture.night_captures import collect_captures
from custody_pipeline.defs.metadata import column_schema, table_metadata
from custody_pipeline.defs.partitions import night_of, nights
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.extract.catalog import collect_catalog
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.conversations import collect_conversations, collect_details
from custody_pipeline.extract.exports import BucketUnreachableError, collect_exports
from custody_pipeline.extract.genesys import GenesysError
from custody_pipeline.extract.media import collect_media
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.extract.recordings import collect_recordings
from custody_pipeline.io import progress
from custody_pipeline.io.resume_cache import journal_of
from custody_pipeline.load.pipeline import load
from custody_pipeline.load.raw_tables import BOOKKEEPING, RAW_TABLES
from custody_pipeline.models.pending_reads import captured_audio, known_digests, media_objects, read_worklists
from custody_pipeline.settings import SettingsError
from custody_pipeline.settings.capture import load_capture_settings
from custody_pipeline.warehouse.sql_files import load_models

MODELS = load_models()

# Passing errors of the outside: a few minutes apart, so that a hiccup does not cost the night.
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
def _collector(deployment: Deployment, night: date) -> Iterator[Collector]:
    """This night's collector; what asking again cannot mend fails without a retry."""
    try:
        with Collector(deployment.settings, night, progress.report) as collector:
            yield collector
    except GenesysError as error:
        raise dg.Failure(str(error), allow_retries=not error.permanent) from error
    except (BucketUnreachableError, SettingsError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _load(
    context: dg.AssetExecutionContext, deployment: Deployment, landings: list[Landing]
) -> Iterator[dg.MaterializeResult[None]]:
    night = night_of(context)
    by_table = {landing.resource: landing for landing in landings}
    with deployment.warehouse.open() as con:
        summary = load(con, landings)
        for key in sorted(context.selected_asset_keys):
            table = key.path[-1]
            landing = by_table[table]
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    **table_metadata(con, MODELS[f"raw.{table}"], night),
                    "rows loaded": summary.rows.get(table, 0),
                    "receipt": landing.state,
                    "documents": landing.documents,
                    "failures": len(landing.failures),
                    "requests": landing.requests,
                    "retries": landing.retries,
                    "bytes": sum(file.size for file in landing.files),
                    "landing files": [file.uri for file in landing.files],
                },
            )


@dg.multi_asset(specs=_specs(RAW_TABLES["exports"]), partitions_def=nights, pool="duckdb", retry_policy=PATIENCE)
def exports(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """Jobs, failed recordings, every object and version in the bucket, sidecars, manifests."""
    with _collector(deployment, night_of(context)) as collector:
        yield from _load(context, deployment, collect_exports(collector))


@dg.multi_asset(specs=_specs(RAW_TABLES["details"]), partitions_def=nights, pool="duckdb", retry_policy=PATIENCE)
def details(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """The bulk analytics job: the only way to every conversation's tags at once."""
    with _collector(deployment, night_of(context)) as collector:
        yield from _load(context, deployment, collect_details(collector))


@dg.multi_asset(specs=_specs(RAW_TABLES["catalog"]), partitions_def=nights, pool="duckdb", retry_policy=PATIENCE)
def catalog(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """Published scripts, queues and divisions, as they are today."""
    with _collector(deployment, night_of(context)) as collector:
        yield from _load(context, deployment, collect_catalog(collector))


_NEEDED_FIRST = tuple(table for name in ("exports", "details", "catalog", "captures") for table in RAW_TABLES[name])


@dg.multi_asset(
    specs=_specs(RAW_TABLES["recordings"], _NEEDED_FIRST), partitions_def=nights, pool="duckdb", retry_policy=PATIENCE
)
def recordings(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """Recording metadata where bucket and details do not agree already; orphan recordings."""
    night = night_of(context)
    with deployment.warehouse.open() as con:
        wanted = read_worklists(con, deployment.settings, night, deployment.mapping.columns).recordings
    with _collector(deployment, night) as collector:
        yield from _load(context, deployment, collect_recordings(collector, list(wanted)))


@dg.multi_asset(
    specs=_specs(RAW_TABLES["conversations"], _NEEDED_FIRST),
    partitions_def=nights,
    pool="duckdb",
    retry_policy=PATIENCE,
)
def conversations(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """Single reads, for what the bulk job cannot give: values it cut, conversations it lacks, tags set late."""
    night = night_of(context)
    with deployment.warehouse.open() as con:
        wanted = read_worklists(con, deployment.settings, night, deployment.mapping.columns).conversations
    with _collector(deployment, night) as collector:
        yield from _load(context, deployment, collect_conversations(collector, wanted))


@dg.multi_asset(specs=_specs(RAW_TABLES["captures"]), partitions_def=nights, pool="duckdb", retry_policy=PATIENCE)
def captures(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """What live capture kept of the night."""
    with _collector(deployment, night_of(context)) as collector:
        yield from _load(context, deployment, collect_captures(collector))


@dg.multi_asset(
    specs=_specs(RAW_TABLES["media"], ("export_objects", "captures")),
    partitions_def=nights,
    pool="duckdb",
    retry_policy=PATIENCE,
)
def media(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """Digests of every exported object, each read once; audio of captured conversations is tied to what was seen."""
    night = night_of(context)
    with deployment.warehouse.open() as con:
        known, objects = known_digests(con, night), media_objects(con, night)
    with (
        _collector(deployment, night) as collector,
        journal_of(deployment.settings.home, f"media-{night}") as journal,
    ):
        yield from _load(context, deployment, collect_media(collector, known, objects, journal))
        with deployment.warehouse.open() as con:
            audio = [Audio(*row) for row in captured_audio(con, night)]
        if audio:
            linked = linker_of(deployment.settings, load_capture_settings()).link_hashed(night, audio)
            context.log.info(f"{linked} recordings were tied to live captures, {len(audio)} could be.")


@dg.multi_asset(
    specs=_specs(BOOKKEEPING, tuple(table for tables in RAW_TABLES.values() for table in tables)),
    partitions_def=nights,
    pool="duckdb",
)
def receipts(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
    """What was asked, what came, what could not be read; each load above has written its own rows already."""
    with deployment.warehouse.open() as con:
        for table in BOOKKEEPING:
            metadata = table_metadata(con, MODELS[f"raw.{table}"], night_of(context))
            yield dg.MaterializeResult(asset_key=_key(table), metadata=metadata)
