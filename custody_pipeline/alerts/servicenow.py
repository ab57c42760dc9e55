"""ServiceNow: one record per recording and reason, by the Table API.

A record is found by `correlation_id`, the alert's key. Creating is not idempotent there, so a record is searched
before it is created, and again if it is unknown whether a POST was accepted.

Source: ServiceNow, Table API: `GET|POST /api/now/table/{table}`, `PATCH …/{sys_id}`, encoded queries, `sysparm_offset`,
`Link` and `X-Total-Count`; OAuth at `/oauth_token.do`. By default (`glide.invalid_query.returns_no_rows` unset) a
condition that the instance cannot evaluate is dropped and everything matches: each answer is compared with the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from requests.auth import AuthBase, HTTPBasicAuth

from custody_pipeline.alerts.alert import Alert, Delivery, DeliveryError, Group, Notice
from custody_pipeline.alerts.delivery import Accepted, Http, RefusedError, TroubleError
from custody_pipeline.io.concurrency import batches
from custody_pipeline.io.http import Bearer, is_token
from custody_pipeline.settings import Settings

BATCH = 50
PAGE = 100
MAX_PAGES = 100
MAX_REFUSALS = 5
GROUPS_CHARACTERS = 3000  # the field `description` is cut at 4,000 characters
MAX_RECORDS = 2000  # per run; the rest is left to the next run

_SYS_ID = re.compile(r"[0-9a-f]{32}")
_FIELDS = "sys_id,correlation_id,active,state,sys_created_on"
# ServiceNow's scale: 1 is high, 3 is low.
_URGENCY = {"error": "2", "warning": "3"}

Record = dict[str, str]


class ServiceNowChannel:
    """Creates, updates, closes and reopens records of one table."""

    name = "servicenow"

    def __init__(self, http: Http, settings: Settings):
        self._http, self._settings = http, settings
        self._base = f"{settings.alert_servicenow_url}/api/now/table/{settings.alert_servicenow_table}"
        self._auth: AuthBase | None = None

    def deliver(self, notices: Sequence[Notice]) -> Iterator[list[Delivery]]:
        """See `Channel`."""
        refusals = 0
        for group in batches(notices[:MAX_RECORDS], BATCH):
            known = self._find([notice.alert.key for notice in group])
            for notice in group:
                if self._http.patience.is_over:
                    return
                delivery = self._deliver(notice, known.get(notice.alert.key))
                refusals = refusals + 1 if delivery.refused else 0
                yield [delivery]
                if refusals >= MAX_REFUSALS:
                    raise DeliveryError(
                        f"servicenow: {refusals} records refused in a row; the last: {delivery.refused}"
                    )

    def _deliver(self, notice: Notice, record: Record | None) -> Delivery:
        try:
            if record is None and notice.action == "closed":
                # The record was removed in ServiceNow: there is nothing to close.
                return Delivery(notice)
            if record is None:
                return Delivery(notice, self._create(notice))
            self._call("PATCH", f"{self._base}/{record['sys_id']}", json=self._changes(notice, record))
            return Delivery(notice, record["sys_id"])
        except RefusedError as refusal:
            if refusal.status == 404 and notice.action == "closed":
                return Delivery(notice)
            return Delivery(notice, refused=str(refusal))

    def _create(self, notice: Notice) -> str:
        key, taken_perhaps = notice.alert.key, False

        def ask() -> str:
            nonlocal taken_perhaps
            # A POST without a good answer may nevertheless have been accepted.
            if taken_perhaps and (found := self._find([key])):
                return found[key]["sys_id"]
            try:
                answer = self._call("POST", self._base, attempts=1, json=self._new(notice.alert))
            except TroubleError as trouble:
                taken_perhaps = trouble.status != 429
                raise
            return _sys_id(_result(answer, dict))

        return self._http.patience.retrying()(ask)

    def _new(self, alert: Alert) -> dict[str, str]:
        return {
            "short_description": f"Custody: {alert.reason}, {alert.subject}"[:160],
            "description": _description(alert),
            "correlation_id": alert.key,
            "correlation_display": "custody_pipeline",
            "urgency": _URGENCY.get(alert.severity, "3"),
            "impact": _URGENCY.get(alert.severity, "3"),
            **self._settings.alert_servicenow_create_fields,
        }

    def _changes(self, notice: Notice, record: Record) -> dict[str, str]:
        if notice.action == "closed":
            note = f"Night {notice.alert.night} was checked again and the gap is closed."
            return {**self._settings.alert_servicenow_close_fields, "work_notes": note}
        changes = {"description": _description(notice.alert)}
        if self._is_closed(record):
            note = f"Night {notice.alert.night} was checked again and the gap is back."
            return {**changes, **self._settings.alert_servicenow_reopen_fields, "work_notes": note}
        if notice.action == "updated":
            changes["work_notes"] = "The facts about the gap have changed; see the description."
        return changes

    def _is_closed(self, record: Record) -> bool:
        # A resolved incident stays active until it is closed.
        state = self._settings.alert_servicenow_close_fields.get("state")
        return record.get("active") == "false" or (state is not None and record.get("state") == state)

    def _find(self, keys: list[str]) -> dict[str, Record]:
        """Records by key; the oldest if there are several."""
        found: dict[str, Record] = {}
        query = f"correlation_idIN{','.join(keys)}^ORDERBYsys_created_on"
        params = {"sysparm_query": query, "sysparm_fields": _FIELDS, "sysparm_limit": str(PAGE)}
        offset: int | None = 0
        for _ in range(MAX_PAGES):
            try:
                answer = self._call("GET", self._base, params={**params, "sysparm_offset": str(offset)})
            except RefusedError as refusal:
                if refusal.status == 404:
                    # Older instances give this answer to a query without matches.
                    return found
                raise DeliveryError(f"{refusal}; {_advice(refusal.status)}") from None
            for record in _result(answer, list):
                key = record.get("correlation_id") if isinstance(record, dict) else None
                if key in keys and key not in found:
                    _sys_id(record)
                    found[key] = record
            offset = _next_offset(answer)
            if offset is None or len(found) == len(keys):
                return found
        raise DeliveryError(
            "servicenow: the query for our records does not end; is correlation_id a field of the table?"
        )

    def _call(self, method: str, url: str, **arguments: Any) -> Accepted:
        headers = {"Accept": "application/json"}
        try:
            return self._http.request(method, url, auth=self._login(), headers=headers, **arguments)
        except RefusedError as refusal:
            if refusal.status != 401:
                raise
            if self._settings.alert_servicenow_client_id is None:
                raise DeliveryError(f"{refusal}; {_advice(401)}") from None
        # The token may have expired or been revoked; a fresh one is tried once.
        self._auth = None
        try:
            return self._http.request(method, url, auth=self._login(), headers=headers, **arguments)
        except RefusedError as refusal:
            if refusal.status == 401:
                raise DeliveryError(f"{refusal}; {_advice(401)}") from None
            raise

    def _login(self) -> AuthBase:
        if self._auth is None:
            settings = self._settings
            user, password = settings.alert_servicenow_user or "", settings.alert_servicenow_password
            if settings.alert_servicenow_client_id is None:
                # UTF-8 (RFC 7617, section 2.1): requests would encode a text as Latin-1, which cannot hold every name.
                secret = password.get_secret_value() if password else ""
                self._auth = HTTPBasicAuth(user.encode(), secret.encode())
            else:
                self._auth = self._token()
        return self._auth

    def _token(self) -> AuthBase:
        settings = self._settings
        secret, password = settings.alert_servicenow_client_secret, settings.alert_servicenow_password
        form = {
            "client_id": settings.alert_servicenow_client_id,
            "client_secret": secret.get_secret_value() if secret else "",
            "grant_type": "client_credentials" if password is None else "password",
        }
        if password is not None:
            form |= {"username": settings.alert_servicenow_user, "password": password.get_secret_value()}
        try:
            answer = self._http.request("POST", f"{settings.alert_servicenow_url}/oauth_token.do", data=form)
        except RefusedError as refusal:
            raise DeliveryError(f"{refusal} at login; {_advice(401)}") from None
        token = _json(answer).get("access_token")
        if not is_token(token):
            raise DeliveryError("servicenow: the login's answer has no access_token")
        return Bearer(token)


def _next_offset(answer: Accepted) -> int | None:
    """The offset of the next page. A short page is not the end: an ACL may hide rows of it."""
    query = parse_qs(urlsplit(answer.next).query)
    offset = query.get("sysparm_offset", [""])[0]
    return int(offset) if offset.isdecimal() else None


def _description(alert: Alert) -> str:
    lines = [
        alert.sentence,
        f"Next: {alert.next_action}",
        "",
        *_group_lines(alert.groups),
        f"Reason: {alert.reason} ({alert.severity})",
        f"Night: {alert.night}",
        f"Conversation: {alert.conversation_id}" if alert.conversation_id else "",
        f"Recording: {alert.recording_id}" if alert.recording_id else "",
        f"Resource: {alert.resource}" if alert.resource else "",
        f"Recoverable: {alert.recoverable}"
        + (f" {alert.recoverable_until:%Y-%m-%d %H:%M} UTC" if alert.recoverable_until else ""),
        alert.link or "",
    ]
    return "\n".join(line for index, line in enumerate(lines) if line or index == 2)


def _group_lines(groups: Sequence[Group]) -> Iterator[str]:
    """A line for each group, as far as they fit into the field with the rest of the description."""
    left = GROUPS_CHARACTERS
    for number, group in enumerate(groups):
        line = _group_line(group)
        left -= len(line) + 1
        if left < 0:
            yield f"… and {len(groups) - number} reasons more: see the report\n"
            return
        yield line


def _group_line(group: Group) -> str:
    ids = ", ".join(group.recording_ids)
    more = f" and {group.recordings - len(group.recording_ids)} more" * (group.recordings > len(group.recording_ids))
    return f"{group.number}, {group.reason}: {group.sentence} {group.todo} ({ids}{more})\n"


def _json(answer: Accepted) -> dict[str, Any]:
    try:
        document = orjson.loads(answer.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise DeliveryError("servicenow: the answer is no JSON; is the instance awake, and its address right?")
    return document


def _result(answer: Accepted, kind: type) -> Any:
    result = _json(answer).get("result")
    if not isinstance(result, kind):
        raise DeliveryError("servicenow: the answer has no result; is CUSTODY_ALERT_SERVICENOW_URL the instance?")
    return result


def _sys_id(record: Record) -> str:
    sys_id = record.get("sys_id")
    if not isinstance(sys_id, str) or not _SYS_ID.fullmatch(sys_id):
        raise DeliveryError("servicenow: a record without a sys_id came back")
    return sys_id


def _advice(status: int) -> str:
    if status == 401:
        return "check CUSTODY_ALERT_SERVICENOW_USER and _PASSWORD, or _CLIENT_ID and _CLIENT_SECRET"
    if status == 403:
        return "give the integration user read and write access to the table (for incidents: the role itil)"
    return "check CUSTODY_ALERT_SERVICENOW_URL and _TABLE"
