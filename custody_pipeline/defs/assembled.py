"""The code location: every asset, check, job, schedule and sensor.

Belongs here: the list, and what all definitions share. Does not: any definition.
"""

from typing import cast

import dagster as dg

from custody_pipeline.defs import checks, collected, modelled, nightly, outside, published, retention, sensors
from custody_pipeline.defs import rolling_fixity as fixity
from custody_pipeline.defs.partitions import settings_at_import
from custody_pipeline.defs.resources import Deployment

_assets = [
    *outside.sources,
    *dg.load_assets_from_modules([collected, modelled, published, sensors, fixity, retention]),
    *outside.readers,
]
_owners = settings_at_import().owners


def _shared(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Owners, and the tags by which the catalogue is searched: where in the journey it is, and personal data."""
    schema = spec.metadata.get("dagster/column_schema")
    has_pii = isinstance(schema, dg.TableSchema) and any("pii" in column.tags for column in schema.columns)
    tags = {"custody/layer": spec.key.path[0], **({"custody/pii": "columns"} if has_pii else {})}
    return spec.replace_attributes(owners=_owners).merge_attributes(tags=tags)


defs = dg.Definitions(
    assets=dg.map_asset_specs(_shared, cast("list[dg.AssetsDefinition | dg.AssetSpec]", _assets)),
    asset_checks=[checks.custody_checks, published.published_checks],
    jobs=[
        nightly.nightly_custody,
        nightly.recheck_custody,
        sensors.capture_events,
        fixity.rolling_fixity,
        retention.retention,
    ],
    schedules=[nightly.every_night, nightly.every_recheck, fixity.every_fixity, retention.every_retention],
    sensors=[sensors.waiting_events],
    resources={"deployment": Deployment()},
    executor=dg.in_process_executor,
)
