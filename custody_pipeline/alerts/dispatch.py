"""Sending the outstanding notices to every channel.

Belongs here: the order of the steps, and the report of a run. Does not: how a channel delivers.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

import duckdb

from custody_pipeline.alerts.alert import RETENTION, Alert, Channel, DeliveryError, Notice
from custody_pipeline.alerts.delivered import Deliveries
from custody_pipeline.alerts.delivery import Http, Patience
from custody_pipeline.alerts.digest import with_digest
from custody_pipeline.alerts.eventbridge import EventBridgeChannel, events_client
from custody_pipeline.alerts.night_alerts import alerted_reasons, link_of, night_alerts, nights_with_deadlines
from custody_pipeline.alerts.servicenow import ServiceNowChannel
from custody_pipeline.alerts.slack import SlackChannel
from custody_pipeline.alerts.webhook import WebhookChannel
from custody_pipeline.evidence.cut.manifest import REPORT
from custody_pipeline.io.clock import utc_now
from custody_pipeline.models.verdict import verdict_of
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.night_states import NOT_PUBLISHED, NightState, night_states, unpublished

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChannelOutcome:
    """The result of one channel.

    Attributes:
        opened, updated, closed: accepted notices.
        refused: notices that were refused singly; the next run tries them again.
        left: notices that were not reached; the next run sends them.
        error: why the channel could not continue; empty if it could.
    """

    channel: str
    opened: int = 0
    updated: int = 0
    closed: int = 0
    refused: int = 0
    left: int = 0
    error: str = ""


@dataclass(frozen=True)
class AlertRun:
    """One run over a night: the number of alerts, including other nights', and the result of each channel."""

    night: date
    alerts: int
    channels: tuple[ChannelOutcome, ...]

    @property
    def failures(self) -> list[str]:
        """One sentence for each channel that did not accept everything."""
        sentences = []
        for outcome in self.channels:
            if outcome.error:
                sentences.append(outcome.error)
            if outcome.refused or outcome.left:
                sentences.append(f"{outcome.channel}: {outcome.refused} refused, {outcome.left} left to the next run")
        return sentences

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "night": str(self.night),
            "alerts": self.alerts,
            "channels": [asdict(outcome) for outcome in self.channels],
            "failures": self.failures,
        }


def send_alerts(
    con: duckdb.DuckDBPyConnection,
    night: date,
    settings: Settings,
    *,
    removals: Sequence[Alert] | None = None,
    now: Callable[[], datetime] = utc_now,
    patience: Callable[[], Patience] = Patience,
) -> AlertRun:
    """Send each configured channel the changes of a night since its last delivery, and what is due in other nights.

    Due are nights that are not published, and nights with a deadline or a removal near.

    Call this after the night's models have run, or after the night has failed: gaps that are no longer in
    `custody.gaps` are closed. A channel that fails is reported in the result, and stops neither the others nor the
    caller. A second call sends nothing twice.

    Args:
        con: the warehouse, open for writing; `raw.alerts_sent` is created and appended to.
        removals: the removals soon due by a retention policy; None: unknown, so that earlier alerts about them stay.
        now: the time, as UTC without a zone; a seam for tests.
        patience: how a channel waits; a seam for tests.
    """
    channels = channels_of(settings)
    if not channels:
        return AlertRun(night, 0, ())
    states = night_states(con, settings)
    reasons, at, days = alerted_reasons(settings), now(), settings.alert_deadline_days
    due = {alert.night for alert in removals or ()}.union(nights_with_deadlines(con, at, days))
    nights = {day: states.get(day, NightState("")) for day in (night, *unpublished(states), *sorted(due))}
    found = [NightAlerts(day, con, settings, at, reasons, state.state, removals) for day, state in nights.items()]
    deliveries = Deliveries(con, now=now)
    outcomes = tuple(_deliver(name, make, deliveries, found, patience()) for name, make in channels.items())
    return AlertRun(night, sum(len(one.alerts) for one in found), outcomes)


class NightAlerts:
    """The alerts of one night, before they are compared with a channel's deliveries."""

    def __init__(
        self,
        night: date,
        con: duckdb.DuckDBPyConnection,
        settings: Settings,
        now: datetime,
        reasons: Iterable[str],
        state: str,
        removals: Sequence[Alert] | None,
    ):
        template = _link_template(settings, state)
        self.night, self._above, self._now = night, settings.alert_digest_above, now
        self._link, self._verdict = link_of(template, night), verdict_of(con, night, failed=state == "failed")
        self.alerts = night_alerts(
            con,
            night,
            reasons=reasons,
            now=now,
            warn_days=settings.alert_deadline_days,
            state=state,
            link_template=template,
        )
        self._removals_known = removals is not None
        self.alerts += [
            replace(alert, link=link_of(template, night, reason=alert.reason))
            for alert in removals or ()
            if alert.night == night
        ]

    def outstanding(self, channel: str, deliveries: Deliveries) -> list[Notice]:
        """The channel's outstanding notices about the night; many new gaps are one digest."""
        sent = deliveries.open_alerts(channel, self.night)
        alerts = with_digest(
            self.alerts, sent, above=self._above, now=self._now, verdict=self._verdict, link=self._link
        )
        notices = deliveries.outstanding(channel, self.night, alerts)
        if self._removals_known:
            return notices
        return [notice for notice in notices if notice.alert.resource != RETENTION]


def _link_template(settings: Settings, state: str) -> str | None:
    """The template of the setting; by default the published report, which an unpublished night does not have."""
    if settings.alert_link_template or state in NOT_PUBLISHED or not settings.publish_url:
        return settings.alert_link_template
    place = settings.publish_url.replace("{", "{{").replace("}", "}}")
    return f"{place}/{REPORT}date={{night}}/report.html"


def _deliver(
    name: str,
    make: Callable[[Http], Channel],
    deliveries: Deliveries,
    nights: Sequence[NightAlerts],
    patience: Patience,
) -> ChannelOutcome:
    notices = [notice for night in nights for notice in night.outstanding(name, deliveries)]
    taken: Counter[str] = Counter()
    error = ""
    with contextlib.closing(Http(name, patience)) as http:
        try:
            for group in make(http).deliver(notices) if notices else ():
                deliveries.append(name, group)
                taken.update("refused" if delivery.refused else delivery.notice.action for delivery in group)
        except DeliveryError as failure:
            error = str(failure)
            logger.warning("Alerts could not all be sent. %s", error)
    return ChannelOutcome(
        channel=name,
        opened=taken["opened"],
        updated=taken["updated"],
        closed=taken["closed"],
        refused=taken["refused"],
        left=len(notices) - taken.total(),
        error=error,
    )


def channels_of(settings: Settings) -> dict[str, Callable[[Http], Channel]]:
    """The configured channels by name, each to be made from its HTTP client."""
    channels: dict[str, Callable[[Http], Channel]] = {}
    if settings.alert_webhook_url is not None and settings.alert_webhook_secret is not None:
        url, secret = settings.alert_webhook_url.get_secret_value(), settings.alert_webhook_secret.get_secret_value()
        channels[WebhookChannel.name] = lambda http: WebhookChannel(
            http, url, key_id=settings.alert_webhook_key_id, secret=secret
        )
    if settings.alert_slack_webhook_url is not None:
        slack = settings.alert_slack_webhook_url.get_secret_value()
        channels[SlackChannel.name] = lambda http: SlackChannel(http, slack)
    if settings.alert_event_bus is not None:
        bus = settings.alert_event_bus
        channels[EventBridgeChannel.name] = lambda http: EventBridgeChannel(
            events_client(settings.alert_event_region), http.patience, bus=bus
        )
    if settings.alert_servicenow_url is not None:
        channels[ServiceNowChannel.name] = lambda http: ServiceNowChannel(http, settings)
    return channels
