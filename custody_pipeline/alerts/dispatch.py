"""Telling every channel what it has not been told yet.

Belongs here: the order of things, and what a run reports. Does not: how a channel delivers.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from custody_pipeline.alerts.alert import RETENTION, Channel, DeliveryError
from custody_pipeline.alerts.delivered import Ledger
from custody_pipeline.alerts.delivery import Http, Patience
from custody_pipeline.alerts.digest import folded
from custody_pipeline.alerts.eventbridge import EventBridgeChannel, events_client
from custody_pipeline.alerts.night_alerts import alerted_reasons, link_of, night_alerts, nights_with_deadlines
from custody_pipeline.alerts.servicenow import ServiceNowChannel
from custody_pipeline.alerts.slack import SlackChannel
from custody_pipeline.alerts.webhook import WebhookChannel
from custody_pipeline.evidence.cut.manifest import REPORT
from custody_pipeline.io.clock import utc_now
from custody_pipeline.models.verdict import verdict_of
from custody_pipeline.warehouse.night_states import NOT_PUBLISHED, NightState, night_states, unpublished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date, datetime

    import duckdb

    from custody_pipeline.alerts.alert import Alert, Notice
    from custody_pipeline.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChannelOutcome:
    """What one channel took.

    Attributes:
        opened, updated, closed: notices taken.
        refused: notices that were refused, each for itself; they are tried again at the next run.
        left: notices that were not reached; they are told at the next run.
        error: why the channel could not go on; empty when it could.
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
    """One run over a night: how many alerts there are, other nights' included, and what each channel took."""

    night: date
    alerts: int
    channels: tuple[ChannelOutcome, ...]

    @property
    def failures(self) -> list[str]:
        """One sentence per channel that did not take everything."""
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
    """Tell each configured channel what changed in a night since it was told last, and what is due in other nights.

    Due are nights that are not published, and those where a deadline or a removal comes near.

    To be called when the night's models have run, or the night has failed: gaps that are no longer in `custody.gaps`
    are closed. A channel that fails is reported in the result and stops neither the others nor the caller. Running it
    again tells nothing twice.

    Args:
        con: the warehouse, open for writing; `raw.alerts_sent` is created and appended to.
        night: the partition.
        settings: which channels there are.
        removals: what a retention policy removes soon; None: not known, what was told of it stays.
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
    ledger = Ledger(con, now=now)
    outcomes = tuple(_tell(name, make, ledger, found, patience()) for name, make in channels.items())
    return AlertRun(night, sum(len(one.alerts) for one in found), outcomes)


class NightAlerts:
    """What there is to tell of one night, before a channel's share of it is known."""

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
        self._link, self._verdict = link_of(template, night), verdict_of(con, night)
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

    def outstanding(self, channel: str, ledger: Ledger) -> list[Notice]:
        """What a channel is yet to be told of the night: many new gaps as one."""
        told = ledger.told(channel, self.night)
        alerts = folded(self.alerts, told, above=self._above, now=self._now, verdict=self._verdict, link=self._link)
        notices = ledger.outstanding(channel, self.night, alerts)
        if self._removals_known:
            return notices
        return [notice for notice in notices if notice.alert.resource != RETENTION]


def _link_template(settings: Settings, state: str) -> str | None:
    """The setting's; without it the published report, which a night that was not published does not have."""
    if settings.alert_link_template or state in NOT_PUBLISHED or not settings.publish_url:
        return settings.alert_link_template
    place = settings.publish_url.replace("{", "{{").replace("}", "}}")
    return f"{place}/{REPORT}date={{night}}/report.html"


def _tell(
    name: str,
    make: Callable[[Http], Channel],
    ledger: Ledger,
    nights: Sequence[NightAlerts],
    patience: Patience,
) -> ChannelOutcome:
    notices = [notice for night in nights for notice in night.outstanding(name, ledger)]
    taken: Counter[str] = Counter()
    error = ""
    with contextlib.closing(Http(name, patience)) as http:
        try:
            for deliveries in make(http).deliver(notices) if notices else ():
                ledger.append(name, deliveries)
                taken.update("refused" if delivery.refused else delivery.notice.action for delivery in deliveries)
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
            events_client(settings.alert_event_region),
            http.patience,
            bus=bus,
        )
    if settings.alert_servicenow_url is not None:
        channels[ServiceNowChannel.name] = lambda http: ServiceNowChannel(http, settings)
    return channels
