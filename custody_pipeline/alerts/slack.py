"""An incoming webhook of Slack, or of what is compatible with it: one message for all that is new.

Source: Slack's incoming webhooks: `{"text": …}`, answered `200 ok`; `&`, `<` and `>` are escaped. A message tells
counts and the first notices, as a chat is no register; the gaps' table is. Slack drops no repeats: a call whose answer
is lost may show twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from custody_pipeline.alerts.alert import Delivery, DeliveryError, Notice
from custody_pipeline.alerts.delivery import Http, RefusedError

SHOWN = 15


class SlackChannel:
    """POSTs one message a run."""

    name = "slack"

    def __init__(self, http: Http, url: str):
        self._http, self._url = http, url

    def deliver(self, notices: Sequence[Notice]) -> Iterator[list[Delivery]]:
        """See `Channel`."""
        if not notices:
            return
        try:
            self._http.request("POST", self._url, json={"text": message(notices)})
        except RefusedError as refusal:
            advice = "check CUSTODY_ALERT_SLACK_WEBHOOK_URL, and that the app is still in the channel"
            raise DeliveryError(f"{refusal}; {advice}") from None
        yield [Delivery(notice) for notice in notices]


def message(notices: Sequence[Notice]) -> str:
    """The message's text: a heading, counts per reason, and the first notices that are new, errors first."""
    night = notices[0].alert.night
    actions = Counter(notice.action for notice in notices)
    counts = ", ".join(f"{actions[action]} {action}" for action in ("opened", "updated", "closed") if actions[action])
    lines = [f"*Custody, night {night}: {counts}*"]
    fresh = [notice for notice in notices if notice.action != "closed"]
    fresh.sort(key=lambda notice: notice.alert.severity != "error")
    reasons = Counter(notice.alert.reason for notice in fresh)
    lines += [f"{count} x {reason}" for reason, count in reasons.most_common()]
    for notice in fresh[:SHOWN]:
        alert = notice.alert
        link = f" <{_escaped(alert.link)}|more>" if alert.link else ""
        about = f" `{_escaped(alert.conversation_id)}`" if alert.conversation_id else ""
        lines.append(
            f"• *{alert.reason}* {_escaped(alert.subject)}{about}: {_escaped(alert.sentence)} "
            f"{_escaped(alert.next_action)}{link}"
        )
    if len(fresh) > SHOWN:
        lines.append(f"… and {len(fresh) - SHOWN} more")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
