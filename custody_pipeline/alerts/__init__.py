"""Alerts of a night: problems that need a person now, sent to the channels that people read.

    custody.gaps, receipts → night_alerts (the alerts of a night) → delivered (changes since the last delivery)
    → channels (webhook, Slack, EventBridge, ServiceNow) → raw.alerts_sent (the deliveries)

Nothing is sent until a channel is configured (`CUSTODY_ALERT_…`). Delivery is at least once: each delivery is recorded
afterwards, so a killed run repeats at most the delivery that was under way, with the same keys. An alert has ids, the
reason, its sentence, the next action and a link; never a tag's name or value, a phone number or a person.

Belongs here: selecting, comparing, delivering. Does not: deciding what a gap is (sql/), showing that an alert failed.
"""

from custody_pipeline.alerts.alert import Alert, Notice
from custody_pipeline.alerts.dispatch import AlertRun, ChannelOutcome, send_alerts
from custody_pipeline.alerts.night_alerts import alerted_reasons

__all__ = ["Alert", "AlertRun", "ChannelOutcome", "Notice", "alerted_reasons", "send_alerts"]
