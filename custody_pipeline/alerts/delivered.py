"""The deliveries so far: `raw.alerts_sent`, append-only.

Belongs here: the table, and which notices are outstanding. Does not: sending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import Any

import duckdb

from custody_pipeline.alerts.alert import Alert, Delivery, Notice
from custody_pipeline.io.clock import utc_now
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import transaction

_TABLE = """
CREATE TABLE IF NOT EXISTS raw.alerts_sent (
    sent_at TIMESTAMP, channel VARCHAR, action VARCHAR, alert_key VARCHAR, alert_sha256 VARCHAR, partition_date DATE,
    conversation_id VARCHAR, recording_id VARCHAR, resource VARCHAR, reason VARCHAR, severity VARCHAR,
    sentence VARCHAR, next_action VARCHAR, recoverable VARCHAR, recoverable_until TIMESTAMP, link VARCHAR,
    reference VARCHAR, refused VARCHAR
)
"""


class Deliveries:
    """The deliveries so far, in the warehouse behind `con`."""

    def __init__(self, con: duckdb.DuckDBPyConnection, *, now: Callable[[], datetime] = utc_now):
        self._con, self._now = con, now
        con.execute(_TABLE)

    def outstanding(self, channel: str, night: date, alerts: Iterable[Alert]) -> list[Notice]:
        """Outstanding notices of a channel: alerts that are new or changed, and sent alerts that are gone."""
        current = {alert.key: alert for alert in alerts}
        notices: list[Notice] = []
        sent: set[str] = set()
        for action, key, sha256, reference, *values in self._last(channel, night):
            if action == "closed":
                continue
            sent.add(key)
            if key not in current:
                notices.append(Notice("closed", Alert(*values), reference))
            elif current[key].sha256 != sha256:
                notices.append(Notice("updated", current[key], reference))
        opened = [Notice("opened", alert) for key, alert in current.items() if key not in sent]
        return opened + notices

    def open_alerts(self, channel: str, night: date) -> set[str]:
        """Keys of the alerts of a night that a channel has and that are not closed."""
        return {key for action, key, *_ in self._last(channel, night) if action != "closed"}

    def append(self, channel: str, deliveries: Iterable[Delivery]) -> None:
        """Record the results of notices, in one step."""
        # `sent_at` orders the deliveries, also after a clock that was ahead.
        (last,) = self._con.execute("SELECT max(sent_at) FROM raw.alerts_sent").fetchall()[0]
        at = max(self._now(), last + timedelta(microseconds=1)) if last else self._now()
        rows = [self._row(at, channel, delivery) for delivery in deliveries]
        if rows:
            places = ", ".join("?" for _ in rows[0])
            with transaction(self._con):
                self._con.executemany(f"INSERT INTO raw.alerts_sent VALUES ({places})", rows)

    def _last(self, channel: str, night: date) -> list[tuple[Any, ...]]:
        return self._con.execute(query("alerts/last_deliveries"), {"night": night, "channel": channel}).fetchall()

    def _row(self, at: datetime, channel: str, delivery: Delivery) -> list[object]:
        notice, alert = delivery.notice, delivery.notice.alert
        return [
            at, channel, notice.action, alert.key, alert.sha256, alert.night,
            alert.conversation_id, alert.recording_id, alert.resource, alert.reason, alert.severity,
            alert.sentence, alert.next_action, alert.recoverable, alert.recoverable_until, alert.link,
            delivery.reference or notice.reference, delivery.refused,
        ]  # fmt: skip
