"""Which alerts a night has.

Belongs here: the selection from the warehouse. Does not: what a gap is, and earlier deliveries (delivered.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from urllib.parse import quote

import duckdb

from custody_pipeline.alerts.alert import Alert
from custody_pipeline.models.reasons import BY_CODE
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.night_states import NOT_PUBLISHED
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import table_columns

# Reasons of a failed export or a failed read. A gap that cannot close is alerted whatever its reason.
FAILURE_REASONS = (
    "CONVERSATION_FETCH_FAILED",
    "CONVERSATION_FORBIDDEN",
    "DOCUMENTS_DISAGREE",
    "EXPORT_FAILED",
    "OBJECT_EMPTY",
    "OBJECT_MISSING",
    "OBJECT_UNREADABLE",
    "SIDECAR_UNREADABLE",
    "TAG_TRUNCATED",
)


def alerted_reasons(settings: Settings) -> tuple[str, ...]:
    """The reasons that are alerted.

    Raises:
        SettingsError: the settings name an unknown reason.
    """
    reasons = FAILURE_REASONS if settings.alert_reasons is None else settings.alert_reasons
    if unknown := sorted(set(reasons) - BY_CODE.keys()):
        raise SettingsError(
            f"CUSTODY_ALERT_REASONS: no such reason: {', '.join(unknown)}; accepted: {', '.join(sorted(BY_CODE))}"
        )
    return reasons


_BETWEEN_RUNS = timedelta(days=2)
"""Alerts are sent after a night's run, so once a day or more often. A deadline may pass in between."""


def night_alerts(
    con: duckdb.DuckDBPyConnection,
    night: date,
    *,
    reasons: Iterable[str],
    now: datetime,
    warn_days: int = 0,
    state: str = "",
    link_template: str | None = None,
) -> list[Alert]:
    """The alerts of a night: not published, incomplete, a source that failed or is partial, and gaps.

    A gap is alerted if it has one of `reasons`, if it can no longer close, or if its deadline is near.

    Args:
        reasons: codes that are alerted although the gap may close.
        now: UTC, without a zone, as in the warehouse.
        warn_days: number of days before a deadline from which it is near.
        state: of the night, as in `warehouse/night_states.py`.
        link_template: see `CUSTODY_ALERT_LINK_TEMPLATE`.
    """
    alerts = [_unpublished(night, state, link_template)] if state in NOT_PUBLISHED else []
    if not table_columns(con, "custody.gaps"):
        return alerts  # no night was modelled yet
    alerts += [
        _of_night(night, resource, *_COLLECTIONS[state], link_template)
        for resource, state in con.execute(query("alerts/unfinished_collections"), {"night": night}).fetchall()
    ]
    near = now + timedelta(days=warn_days)
    rows = con.execute(
        query("alerts/gaps_to_alert"), {"night": night, "reasons": sorted(reasons), "near": near}
    ).fetchall()
    for conversation, recording, reason, severity, text, next_action, recoverable, until in rows:
        link = link_of(link_template, night, conversation, recording, reason)
        # The sentence changes near the deadline, so that an alert that was sent long before is sent again.
        sentence = text + (
            "" if recoverable != "until" or until > near
            else " The deadline has passed." if until <= now else " The deadline is near."
        )  # fmt: skip
        alerts.append(
            Alert(
                night, conversation, recording, None, reason, severity, sentence, next_action, recoverable, until, link
            )
        )
    return alerts


def nights_with_deadlines(con: duckdb.DuckDBPyConnection, now: datetime, warn_days: int) -> list[date]:
    """Nights with a gap whose deadline is near or has just passed."""
    if not table_columns(con, "custody.gaps"):
        return []
    span = timedelta(days=warn_days)
    since = now - max(span, _BETWEEN_RUNS)
    rows = con.execute(query("alerts/nights_with_deadlines"), {"since": since, "near": now + span}).fetchall()
    return [night for (night,) in rows]


def _unpublished(night: date, state: str, link_template: str | None) -> Alert:
    sentence = "Nobody collected this night." if state == "missing" else "This night's run ended before its end."
    todo = "See custody status, mend the cause, then run the night again."
    return _of_night(night, "night", f"NIGHT_{state.upper()}", "error", sentence, todo, link_template)


_SEE_RECEIPT = "See the night's receipt and failures, mend the cause, then run the night again."
_COLLECTIONS = {
    "failed": ("COLLECTION_FAILED", "error", "Nothing could be collected of this resource.", _SEE_RECEIPT),
    "partial": ("COLLECTION_INCOMPLETE", "warning", "Some of this resource could not be collected.", _SEE_RECEIPT),
    "incomplete": (
        "NIGHT_INCOMPLETE", "error", "Something is expected of this night that is not there, and nothing says why.",
        "See custody.reconciliation for the source that names it, then run the night again.",
    ),
}  # fmt: skip
"""State of a source, or of a night → the alert's reason, severity, sentence and next action."""


def _of_night(
    night: date, resource: str, reason: str, severity: str, sentence: str, todo: str, link_template: str | None
) -> Alert:
    """An alert about no single recording; another run may mend it at any time."""
    link = link_of(link_template, night, reason=reason)
    return Alert(night, None, None, resource, reason, severity, sentence, todo, "yes", None, link)


def link_of(
    template: str | None, night: date, conversation: str = "", recording: str = "", reason: str = ""
) -> str | None:
    """The template of `CUSTODY_ALERT_LINK_TEMPLATE`, filled in."""
    if template is None:
        return None
    fields = {"night": str(night), "conversation_id": conversation, "recording_id": recording, "reason": reason}
    return template.format(**{name: quote(value or "", safe="") for name, value in fields.items()})
