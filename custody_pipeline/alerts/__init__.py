"""Alerts of a night: what needs somebody now, pushed to the places where people look.

    custody.gaps, receipts → night (which) → ledger (what changed since the last alert) → channels (webhook, Slack,
    EventBridge, ServiceNow) → raw.alerts_sent (what was delivered)

Nothing is sent until a channel is configured (`CUSTODY_ALERT_…`). Delivery is at least once: what was delivered is
written down after each delivery, so a killed run repeats at most what it was just delivering, under the same keys. An
alert names ids, the reason, its sentence, the next action and a link; never a tag's name or value, a phone number or a
person.

Belongs here: selecting, comparing, delivering. Does not: deciding what a gap is (sql/), or where a failure to alert
is shown.
"""

from custody_pipeline.alerts.alert import Alert, Notice
from custody_pipeline.alerts.dispatch import AlertRun, ChannelOutcome, send_alerts
from custody_pipeline.alerts.night_alerts import alerted_reasons

__all__ = [
    "Alert",
    "AlertRun",
    "ChannelOutcome",
    "Notice",
    "alerted_reasons",
    "send_alerts",
]
