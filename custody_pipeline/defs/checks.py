"""Checks of a night before its publication. A failed check blocks the publication.

Belongs here: attaching `sql/checks/*.sql` to assets. Does not: what a check looks for (the SQL).
"""

import warnings
from collections.abc import Iterator

import dagster as dg

from custody_pipeline.defs.failures import told
from custody_pipeline.defs.partitions import night_of, nights
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.models.run import run_check
from custody_pipeline.warehouse.sql_files import load_models

CHECKS = {model.name: model for model in load_models().values() if model.schema == "checks"}


def _specs() -> list[dg.AssetCheckSpec]:
    with warnings.catch_warnings():
        # Dagster marks partitioned checks as a preview. A check without its night would mean nothing.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [_spec(name) for name in CHECKS]


def _spec(name: str) -> dg.AssetCheckSpec:
    model = CHECKS[name]
    return dg.AssetCheckSpec(
        name,
        asset=dg.AssetKey(["custody", "chain_of_custody"]),
        description=model.description,
        additional_deps=[
            dg.AssetKey(key.split(".")) for key in sorted(model.depends_on) if not key.endswith("chain_of_custody")
        ],
        blocking=model.blocking,
        metadata={"sql": dg.MetadataValue.md(f"```sql\n{model.sql}\n```")},
        partitions_def=nights,
    )


@dg.multi_asset_check(specs=_specs(), pool="duckdb")
def custody_checks(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> Iterator[dg.AssetCheckResult]:
    """Each check selects the wrong rows of the night. It passes if there are none."""
    night = night_of(context)
    with told(), deployment.warehouse.open() as con:
        for name, model in CHECKS.items():
            offending = run_check(con, model, night, deployment.mapping)
            yield dg.AssetCheckResult(
                check_name=name,
                asset_key=dg.AssetKey(["custody", "chain_of_custody"]),
                passed=not offending,
                severity=dg.AssetCheckSeverity.ERROR if model.blocking else dg.AssetCheckSeverity.WARN,
                metadata={"offending_rows": len(offending)},
            )
