"""Many gaps of a night as one alert, grouped by reason.

Belongs here: when gaps become a digest, and its content. Does not: which gaps are alerted (night_alerts.py), and how a
channel words them.

A gap that was alerted singly stays a single alert until it is closed. If it moved into a digest, it would look closed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import date, datetime

from custody_pipeline.alerts.alert import Alert, Group
from custody_pipeline.models.reasons import BY_CODE

DIGEST = "NIGHT_GAPS"
IDS_SHOWN = 5


def with_digest(
    alerts: Sequence[Alert], sent: Collection[str], *, above: int, now: datetime, verdict: str, link: str | None
) -> list[Alert]:
    """The alerts of one night. If there are more than `above` new gaps, one digest replaces them.

    Args:
        alerts: of one night.
        sent: keys of the alerts that the channel has and that are not closed.
        above: up to this number, new gaps are alerted one by one. A night that has a digest keeps it.
        now: UTC, without a zone.
        verdict: whether the night is complete, in the words of its report.
    """
    new = [alert for alert in alerts if alert.resource is None and alert.key not in sent]
    if not new:
        return list(alerts)
    digest = _digest(new, now, verdict, link)
    if len(new) <= above and digest.key not in sent:
        return list(alerts)
    rest = [alert for alert in alerts if alert.resource is not None or alert.key in sent]
    return [digest, *rest]


def groups_of(alerts: Sequence[Alert], now: datetime | None = None) -> tuple[Group, ...]:
    """Gaps by reason, errors first, then by number. Only deadlines after `now` count, if it is given."""
    found: dict[tuple[str, ...], list[Alert]] = defaultdict(list)
    for alert in alerts:
        found[alert.reason, alert.severity, alert.sentence, alert.next_action].append(alert)
    groups = [
        Group(
            reason=reason,
            severity=severity,
            who=BY_CODE[reason].who if reason in BY_CODE else "operator of the pipeline",
            sentence=sentence,
            next_action=next_action,
            recordings=len(members),
            until=min((_ahead(members, now)), default=None),
            recording_ids=tuple(alert.recording_id or alert.subject for alert in members[:IDS_SHOWN]),
        )
        for (reason, severity, sentence, next_action), members in found.items()
    ]
    return tuple(sorted(groups, key=lambda group: (group.severity != "error", -group.recordings, group.reason)))


def _ahead(alerts: Sequence[Alert], now: datetime | None) -> list[datetime]:
    found = [alert.recoverable_until for alert in alerts if alert.recoverable_until]
    return [until for until in found if now is None or until > now]


def _digest(alerts: Sequence[Alert], now: datetime, verdict: str, link: str | None) -> Alert:
    night: date = alerts[0].night
    groups = groups_of(alerts, now)
    until = min((group.until for group in groups if group.until), default=None)
    return Alert(
        night=night,
        conversation_id=None,
        recording_id=None,
        resource="gaps",
        reason=DIGEST,
        severity=groups[0].severity,
        sentence=f"{verdict} {len(alerts)} gaps are new.".strip(),
        next_action="See the night's report: each reason has its next action, who does it and until when.",
        recoverable="until" if until else "yes" if any(alert.recoverable == "yes" for alert in alerts) else "no",
        recoverable_until=until,
        link=link,
        groups=groups,
    )
