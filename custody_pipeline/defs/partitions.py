"""Partitions: one per UTC day of conversation start, as in the export bucket.

Every UTC day has 24 hours. A call over midnight belongs to the day on which it began.

Belongs here: the partitions, the night of a run, checks by night. Does not: the steps of a night.
"""

from __future__ import annotations

import warnings
from datetime import date
from typing import Any

import dagster as dg

from custody_pipeline.settings import Settings, SettingsError, load_settings

FIRST_PARTITION = date(2023, 1, 1)
"""The first partition, if the settings name no first night."""


def settings_at_import() -> Settings:
    """The settings when the definitions load: the defaults if one is wrong, so that the page shows earlier runs.

    `custody_pipeline.definitions` logs the error, and every run fails with it.
    """
    try:
        return load_settings()
    except SettingsError:
        return Settings.model_construct()


nights = dg.DailyPartitionsDefinition(
    start_date=(settings_at_import().first_night or FIRST_PARTITION).isoformat(), timezone="UTC"
)


def night_check(name: str, asset: dg.AssetKey, description: str, **more: Any) -> dg.AssetCheckSpec:
    """The spec of a check that has a result for each night."""
    with warnings.catch_warnings():
        # Dagster marks partitioned checks as a preview. A check without its night would mean nothing.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=nights, **more)


def night_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> date:
    """The night of this run; a run has one partition, because a night is collected and sealed as a whole."""
    return date.fromisoformat(context.partition_key)
