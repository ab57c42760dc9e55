"""Partitions: one per UTC day of conversation start, as in the export bucket.

UTC days have no daylight-saving days of 23 or 25 hours, and a call over midnight belongs to the day it began.
"""

from __future__ import annotations

import os
from datetime import date

import dagster as dg

from custody_pipeline.settings import Settings, SettingsError


def first_night() -> str:
    """The first partition (ISO date): `CUSTODY_FIRST_NIGHT`, or the setting's default.

    Read on its own, because a code location must load even when another setting is wrong.

    Raises:
        SettingsError: the setting is no ISO date.
    """
    default: date = Settings.model_fields["first_night"].default
    text = os.environ.get("CUSTODY_FIRST_NIGHT", default.isoformat())
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise SettingsError(f"CUSTODY_FIRST_NIGHT: {text!r} is no date; expected one such as {default}") from None


nights = dg.DailyPartitionsDefinition(start_date=first_night(), timezone="UTC")


def night_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> date:
    """The night of this run; a run has one partition, because a night is collected and sealed as a whole."""
    return date.fromisoformat(context.partition_key)
