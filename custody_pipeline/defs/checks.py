"""Checks of a night before its publication. A failed check blocks the publication.

Belongs here: attaching `sql/checks/*.sql` to assets. Does not: what a check looks for (the SQL).
"""

import warnings
from collections.abc import Iterator
from datetime import date

import dagster as dg

from custody_pipeline.defs.failures import failing_step, noted
from custody_pipeline.defs.metadata import offending_rows
from custody_pipeline.defs.modelled import asset_key, require_made
from custody_pipeline.defs.partitions import night_of, nights
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.models.run import run_check
from custody_pipeline.warehouse.sql_files import WRITTEN_BY_PYTHON, SqlModel, load_models
from custody_pipeline.warehouse.sql_text import table_columns

CHECKS = {model.name: model for model in load_models().values() if model.schema == "checks"}


def _specs() -> list[dg.AssetCheckSpec]:
    with warnings.catch_warnings():
        # Dagster marks partitioned checks as a preview. A check without its night would be meaningless.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [_spec(name) for name in CHECKS]


def _spec(name: str) -> dg.AssetCheckSpec:
    model = CHECKS[name]
    return dg.AssetCheckSpec(
        name,
        asset=asset_key(model.asset),
        description=model.description,
        additional_deps=[asset_key(table) for table in sorted(model.depends_on - {model.asset} - WRITTEN_BY_PYTHON)],
        blocking=model.blocking,
        metadata={"sql": dg.MetadataValue.md(f"```sql\n{model.sql}\n```")},
        partitions_def=nights,
    )


def _query(model: SqlModel, night: date) -> str:
    """A query that shows all offending rows. A check names no night: its tables are those of one night."""
    return f"All rows: this query, with `partition_date = DATE '{night}'` of each table.\n```sql\n{model.sql}\n```"


@noted
@dg.multi_asset_check(specs=_specs(), pool="duckdb", can_subset=True)
def custody_checks(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> Iterator[dg.AssetCheckResult]:
    """Each check selects the offending rows of the night. It passes if there are none."""
    night = night_of(context)
    with failing_step(), deployment.night(night).warehouse.open() as con:
        for key in sorted(context.selected_asset_check_keys, key=lambda key: key.name):
            model = CHECKS[key.name]
            unmade = [table for table in sorted(model.depends_on) if not table_columns(con, table)]
            if unmade and not model.blocking:
                # A person materializes a raw table in a home without any night.
                context.log.info("%s waits for %s", key.name, ", ".join(unmade))
                continue
            require_made(unmade)
            offending = run_check(con, model, night, deployment.mapping)
            yield dg.AssetCheckResult(
                check_name=key.name,
                asset_key=key.asset_key,
                passed=not offending,
                severity=dg.AssetCheckSeverity.ERROR if model.blocking else dg.AssetCheckSeverity.WARN,
                metadata={
                    "offending_rows": len(offending),
                    **offending_rows(offending),
                    **({"query": dg.MetadataValue.md(_query(model, night))} if offending else {}),
                },
            )
