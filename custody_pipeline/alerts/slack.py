"""An incoming webhook of Slack, or of a compatible service: one message for everything new, if it is not too long.

Source: Slack's incoming webhooks: `{"text": …}`, answered `200 ok`; `&`, `<` and `>` are escaped; what is longer than
40,000 characters is cut off, also with `200 ok`. A message has each reason of a night once, in the words of the night's
report; the table of gaps has each recording. Slack does not drop repeats: a message whose answer is lost may appear
twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from custody_pipeline.alerts.alert import Alert, Delivery, DeliveryError, Group, Notice
from custody_pipeline.alerts.delivery import Http, RefusedError
from custody_pipeline.alerts.digest import groups_of

SHOWN = 15
MOST_CHARACTERS = 30_000


class SlackChannel:
    """POSTs one message per run, or several of whole nights."""

    name = "slack"

    def __init__(self, http: Http, url: str):
        self._http, self._url = http, url

    def deliver(self, notices: Sequence[Notice]) -> Iterator[list[Delivery]]:
        """See `Channel`."""
        for told, text in messages(notices):
            if self._http.patience.is_over:
                return
            try:
                self._http.request("POST", self._url, json={"text": text})
            except RefusedError as refusal:
                advice = "check CUSTODY_ALERT_SLACK_WEBHOOK_URL, and that the app is still in the channel"
                raise DeliveryError(f"{refusal}; {advice}") from None
            yield [Delivery(notice) for notice in told]


def messages(notices: Sequence[Notice]) -> Iterator[tuple[list[Notice], str]]:
    """Notices and their text: for each night a heading with its link, then each reason once, errors first."""
    told: list[Notice] = []
    text = ""
    for _, found in groupby(sorted(notices, key=lambda notice: notice.alert.night), lambda one: one.alert.night):
        night = list(found)
        lines = "\n".join(_night(night))
        if told and len(text) + len(lines) > MOST_CHARACTERS:
            yield told, text
            told, text = [], ""
        told, text = told + night, f"{text}\n{lines}".strip()
    if told:
        yield told, text


def _night(notices: Sequence[Notice]) -> list[str]:
    night = notices[0].alert.night
    actions = Counter(notice.action for notice in notices)
    counts = ", ".join(f"{actions[action]} {action}" for action in ("opened", "updated", "closed") if actions[action])
    fresh = [notice.alert for notice in notices if notice.action != "closed"]
    digests = [alert for alert in fresh if alert.groups]
    singles = [alert for alert in fresh if not alert.groups]
    lines = [f"*Custody, night {night}: {counts}*"]
    lines += [f"{_escaped(alert.sentence)}{_link(alert, 'report')}" for alert in digests]
    links = {(alert.reason, alert.recording_id or alert.subject): alert for alert in singles}
    groups = [*(group for alert in digests for group in alert.groups), *groups_of(singles)]
    lines += [_group(group, links) for group in groups[:SHOWN]]
    if len(groups) > SHOWN:
        lines.append(f"… and {len(groups) - SHOWN} reasons more")
    return lines


def _group(group: Group, links: dict[tuple[str, str], Alert]) -> str:
    ids = [_name(name, links.get((group.reason, name))) for name in group.recording_ids]
    more = f" … and {group.recordings - len(ids)} more" if group.recordings > len(ids) else ""
    what = f"{group.recordings} x *{group.reason}*: {_escaped(group.sentence)} {_escaped(group.todo)}"
    return f"• {what} {', '.join(ids)}{more}"


def _name(name: str, alert: Alert | None) -> str:
    about = f" of `{_escaped(alert.conversation_id)}`" if alert and alert.conversation_id else ""
    return f"{_escaped(name)}{about}{_link(alert, 'more') if alert else ''}"


def _link(alert: Alert, text: str) -> str:
    return f" <{_escaped(alert.link)}|{text}>" if alert.link else ""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
