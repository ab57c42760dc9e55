"""External assets at both ends of the lineage: the sources of documents, and the files that people open.

Belongs here: assets that no step of ours materializes. Does not: reading or writing them.
"""

import dagster as dg

from custody_pipeline.warehouse.content_hash import LIVE_TABLES, PUBLISHED_TABLES

EXPORT_BUCKET = dg.AssetKey(["genesys", "export_bucket"])
PLATFORM_API = dg.AssetKey(["genesys", "platform_api"])
EVENTS = dg.AssetKey(["genesys", "events"])

sources = [
    dg.AssetSpec(
        EXPORT_BUCKET,
        group_name="genesys",
        kinds={"s3"},
        description="The S3 bucket to which Genesys Cloud exports recordings: CUSTODY_EXPORT_URL.",
    ),
    dg.AssetSpec(
        PLATFORM_API,
        group_name="genesys",
        description="Genesys Cloud's API: jobs, conversations, recordings, scripts and queues. CUSTODY_GENESYS_DOMAIN.",
    ),
    dg.AssetSpec(
        EVENTS,
        group_name="genesys",
        kinds={"sqs"},
        description="Events while calls happen, by webhook or from the queue CUSTODY_EVENT_QUEUE_URL.",
    ),
]

readers = [
    dg.AssetSpec(
        ["analysts", "snapshot"],
        deps=[dg.AssetKey(["published", "cut"])],
        group_name="analysts",
        kinds={"duckdb"},
        description="analyst.duckdb: the read-only copy of schema custody, replaced after each night.",
    ),
    dg.AssetSpec(
        ["analysts", "published_copies"],
        deps=[dg.AssetKey(["published", table]) for table in (*PUBLISHED_TABLES, *LIVE_TABLES)],
        group_name="analysts",
        kinds={"s3", "parquet", "csv"},
        description="Parquet and CSV below CUSTODY_PUBLISH_URL: what DuckDB, pandas and the catalogues read.",
    ),
    dg.AssetSpec(
        ["analysts", "catalogues"],
        deps=[dg.AssetKey(["analysts", "published_copies"])],
        group_name="analysts",
        kinds={"athena", "glue", "iceberg"},
        description="Tables over the published Parquet: Athena and Glue by the statements of `custody catalog athena`, "
        "Spark and Trino by the Iceberg tables of `custody catalog iceberg`.",
    ),
    dg.AssetSpec(
        ["analysts", "report"],
        deps=[dg.AssetKey(["published", "cut"])],
        group_name="analysts",
        kinds={"html"},
        description="report/date=…/report.html below CUSTODY_PUBLISH_URL: the night for a compliance officer.",
    ),
]
