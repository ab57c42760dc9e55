"""What a retention policy removes soon: alerts, and the lines of a night's page.

Belongs here: wording it for each night. Does not: what is due (policy.py), and telling it (alerts, night_report.py).
"""

from __future__ import annotations

import logging
from datetime import datetime, time, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from custody_pipeline.alerts.alert import RETENTION, Alert
from custody_pipeline.forgetting.policy import deadlines_of_night, due, load_policy
from custody_pipeline.io.yaml_file import RefusedFileError
from custody_pipeline.operations.explain import SnapshotError
from custody_pipeline.settings import SettingsError

if TYPE_CHECKING:
    from datetime import date

    import duckdb

    from custody_pipeline.forgetting.policy import Policy
    from custody_pipeline.settings import Settings

logger = logging.getLogger(__name__)


def removals_near(settings: Settings, today: date) -> list[Alert] | None:
    """One alert for each night of which something is due, or becomes due within the policy's `warn_days`.

    None, not known, if there is no snapshot yet, it cannot be read or the policy is refused: that stops no night, and
    the last two are said in the log.
    """
    if settings.retention_path is None:
        return []
    if not settings.analyst_path.exists():
        return None
    try:
        return _alerts(settings, load_policy(Path(settings.retention_path)), today)
    except (RefusedFileError, SettingsError, SnapshotError) as error:
        logger.warning("No alert of what the retention policy removes. %s", error)
        return None


def deadlines(settings: Settings, con: duckdb.DuckDBPyConnection, night: date) -> list[str]:
    """Until when the night's conversations are kept, a sentence each; none without a policy, or with a refused one."""
    if settings.retention_path is None:
        return []
    try:
        return deadlines_of_night(con, load_policy(Path(settings.retention_path)), night)
    except (RefusedFileError, SettingsError) as error:
        logger.warning("The night's page does not say how long the night is kept. %s", error)
        return []


def _alerts(settings: Settings, policy: Policy, today: date) -> list[Alert]:
    soon = [item for item in due(settings, policy) if item.day <= today + timedelta(days=policy.warn_days)]
    soon.sort(key=lambda item: (item.night, item.day))
    alerts = []
    for night, found in groupby(soon, key=lambda item: item.night):
        items = list(found)
        rules = ", ".join(sorted({item.rule for item in items}))
        calls = "1 conversation of this night reaches"
        if len(items) > 1:
            calls = f"{len(items)} conversations of this night reach"
        alerts.append(
            Alert(
                night=night,
                conversation_id=None,
                recording_id=None,
                resource=RETENTION,
                reason="REMOVAL_NEAR",
                severity="warning",
                sentence=f"{calls} the end of retention ({rules}), the first on {items[0].day}.",
                next_action="See custody retention show; put on hold what is still needed: custody matter hold.",
                recoverable="until",
                recoverable_until=datetime.combine(items[0].day, time()),
            )
        )
    return alerts
