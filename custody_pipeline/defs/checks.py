"""Checks of a night before its publication. A failed check blocks the publication.

Belongs here: attaching `sql/checks/*.sql` to assets. Does not: what a check looks for (the SQL).
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg

from custody_pipeline.defs.failures import failing_step, noted
from custody_pipeline.defs.metadata import offending_rows
from custody_pipeline.defs.modelled import asset_key, require_made
from custody_pipeline.defs.partitions import night_check, night_of
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.models.run import run_check
from custody_pipeline.warehouse.sql_files import WRITTEN_BY_PYTHON, SqlModel, load_models
from custody_pipeline.warehouse.sql_text import table_columns

CHECKS = {model.name: model for model in load_models().values() if model.schema == "checks"}


def _spec(model: SqlModel) -> dg.AssetCheckSpec:
    return night_check(
        model.name,
        asset_key(model.asset),
        model.description,
        additional_deps=[asset_key(table) for table in sorted(model.depends_on - {model.asset} - WRITTEN_BY_PYTHON)],
        blocking=model.blocking,
        metadata={"sql": dg.MetadataValue.md(f"```sql\n{model.sql}\n```")},
    )


def _query(model: SqlModel, night: date) -> str:
    """A query that shows all offending rows. A check names no night: its tables are those of one night."""
    return f"All rows: this query, with `partition_date = DATE '{night}'` of each table.\n```sql\n{model.sql}\n```"


@noted
@dg.multi_asset_check(specs=[_spec(model) for model in CHECKS.values()], pool="duckdb", can_subset=True)
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
                metadata=offending_rows(offending, _query(model, night)),
            )
