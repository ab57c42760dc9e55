"""What a retention policy removes soon: alerts, and the lines of a night's page.

Belongs here: wording it for each night. Does not: what is due (choices.py), telling it (alerts,
operations/night_report.py).
"""

from __future__ import annotations

import logging
from datetime import date, datetime, time, timedelta
from pathlib import Path

import duckdb

from custody_pipeline.alerts.alert import RETENTION, Alert
from custody_pipeline.forgetting.choices import Due, deadlines_of_night, due
from custody_pipeline.forgetting.keeping import PlaceDue, places_ending
from custody_pipeline.forgetting.policy import Policy, load_policy
from custody_pipeline.io.night_keys import NightKeyError
from custody_pipeline.io.yaml_file import RefusedFileError
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.snapshot import SnapshotError

_TOLD = {"captures": "The captures of this night", "documents": "The encrypted documents of this night"}
"""Places of a night whose removal loses data: the data of the other places are kept elsewhere too."""

logger = logging.getLogger(__name__)


def removals_near(settings: Settings, today: date) -> list[Alert] | None:
    """One alert for each night with something that is due, or becomes due within the policy's `warn_days`.

    None means unknown: there is no snapshot yet, the snapshot cannot be read, or the policy is refused. No night stops
    for that; the last two are logged.
    """
    if settings.retention_path is None:
        return []
    if not settings.analyst_path.exists():
        return None
    try:
        return _alerts(settings, load_policy(Path(settings.retention_path)), today)
    except (NightKeyError, RefusedFileError, SettingsError, SnapshotError) as error:
        logger.warning("No alert of what the retention policy removes. %s", error)
        return None


def deadlines(settings: Settings, con: duckdb.DuckDBPyConnection, night: date) -> list[str]:
    """Until when the night's conversations are kept: sentences; none without a policy, or with a refused one."""
    if settings.retention_path is None:
        return []
    try:
        return deadlines_of_night(con, load_policy(Path(settings.retention_path)), night)
    except (RefusedFileError, SettingsError) as error:
        logger.warning("The night's page does not say how long the night is kept. %s", error)
        return []


def _alerts(settings: Settings, policy: Policy, today: date) -> list[Alert]:
    near = today + timedelta(days=policy.warn_days)
    soon: dict[date, list[Due]] = {}
    for item in due(settings, policy):
        if item.day <= near:
            soon.setdefault(item.night, []).append(item)
    going: dict[date, list[PlaceDue]] = {}
    for place in places_ending(settings, policy):
        if place.place in _TOLD and place.day <= near:
            going.setdefault(date.fromisoformat(place.what), []).append(place)
    alerts = []
    for night in sorted(soon.keys() | going.keys()):
        items, gone = soon.get(night, []), going.get(night, [])
        told = [_of_conversations(items)] if items else []
        told += [f"{_TOLD[one.place]} reach the end of retention ({one.rule}) on {one.day}." for one in gone]
        days = [*(item.day for item in items), *(one.day for one in gone)]
        alerts.append(
            Alert(
                night=night,
                conversation_id=None,
                recording_id=None,
                resource=RETENTION,
                reason="REMOVAL_NEAR",
                severity="warning",
                sentence=" ".join(told),
                next_action="See custody retention show; put on hold what is still needed: custody matter hold.",
                recoverable="until",
                recoverable_until=datetime.combine(min(days), time()),
            )
        )
    return alerts


def _of_conversations(items: list[Due]) -> str:
    """`items`: of one night, soonest first."""
    rules = ", ".join(sorted({item.rule for item in items}))
    calls = (
        f"{len(items)} conversations of this night reach" if len(items) > 1 else "1 conversation of this night reaches"
    )
    return f"{calls} the end of retention ({rules}), the first on {items[0].day}."
