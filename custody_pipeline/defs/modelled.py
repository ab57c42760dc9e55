"""Assets from `sql/staging` and `sql/custody`: each file is one asset.

Belongs here: specs from the headers of the files, and one step per schema. Does not: SQL.
"""

import time
from collections.abc import Iterator

import dagster as dg

from custody_pipeline.defs.failures import failing_step, leave_exception
from custody_pipeline.defs.metadata import (
    code_reference,
    column_schema,
    completeness_plot,
    cost,
    counts_by_source,
    night_numbers,
    nights_by_state,
    table_metadata,
)
from custody_pipeline.defs.partitions import night_of, nights
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.models.run import materialize, prepare
from custody_pipeline.warehouse.sql_files import WRITTEN_BY_PYTHON, SqlModel, load_models

MODELS = {key: model for key, model in load_models().items() if model.schema in {"staging", "custody"}}


# The folders of sql/staging, in the order of the data, and the tables that analysts read.
GROUPS = ("sources", "recordings", "tags", "gaps", "marts")


def _group(model: SqlModel) -> str:
    return "marts" if model.schema == "custody" else model.path.parent.name


def asset_key(table: str) -> dg.AssetKey:
    """`schema.table` → asset key."""
    return dg.AssetKey(table.split("."))


def require_made(unmade: list[str]) -> None:
    """Fail a step whose tables nobody made here: with several workers, the steps before it ran on another one."""
    if unmade:
        what = f"the tables of earlier steps are not here ({', '.join(unmade)})"
        raise dg.Failure(f"{what}; run the night again with all its steps", allow_retries=False)


def _spec(model: SqlModel) -> dg.AssetSpec:
    return dg.AssetSpec(
        asset_key(model.key),
        deps=[asset_key(table) for table in sorted(model.depends_on - WRITTEN_BY_PYTHON)],
        group_name=_group(model),
        description=model.description,
        kinds={"duckdb", "sql"},
        metadata={
            "grain": ", ".join(model.grain) or "rows may repeat",
            "sql": dg.MetadataValue.md(f"```sql\n{model.sql}\n```"),
            **code_reference(model.path),
            "dagster/column_schema": column_schema(model),
            "dagster/table_name": model.key,
        },
    )


def _step(schema: str) -> dg.AssetsDefinition:
    models = [model for model in MODELS.values() if model.schema == schema]

    @dg.multi_asset(
        name=f"model_{schema}",
        specs=[_spec(model) for model in models],
        partitions_def=nights,
        pool="duckdb",
        can_subset=True,
        hooks={leave_exception},
    )
    def build(context: dg.AssetExecutionContext, deployment: Deployment) -> Iterator[dg.MaterializeResult[None]]:
        night = night_of(context)
        with failing_step(), deployment.night(night).warehouse.open() as con:
            prepare(con)
            selected = [model for model in models if asset_key(model.key) in context.selected_asset_keys]
            begun = time.monotonic()
            for model, rows in materialize(con, selected, night, deployment.mapping, deployment.settings):
                took = cost(time.monotonic() - begun, rows)
                metadata = night_numbers(con, model.key, night) | took | table_metadata(con, model, night)
                if model.key == "custody.chain_of_custody":
                    metadata["completeness by night"] = completeness_plot(con)
                elif model.key == "custody.reconciliation":
                    metadata = counts_by_source(con, night) | metadata
                elif model.key == "custody.nights":
                    metadata |= nights_by_state(con)
                yield dg.MaterializeResult(asset_key=asset_key(model.key), metadata=metadata)
                begun = time.monotonic()

    return build


model_staging = _step("staging")
model_custody = _step("custody")
