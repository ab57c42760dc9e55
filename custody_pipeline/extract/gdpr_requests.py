"""Requests for deletion that the vendor's data-protection interface knows: `gdpr_requests`.

Belongs here: finding the requests that name a person of a conversation that the vendor no longer has. Does not: what
that means for a recording (sql/staging/gaps/gap_conversations.sql).

A request names a person (`GDPRRequest.subject`) and no conversation. Requests of other people do not concern the night.
A request is therefore kept only if it names a number, an address, a user, an external contact or a handle that an
earlier document of the conversation had. A request that has nothing to compare is counted. Only these fields are kept:
id, type, status and date, the SHA-256 of the request as received, and which fields of the subject matched. Nothing of
the subject is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.genesys_errors import ANSWERED, Forbidden, NotFound, NotOffered
from custody_pipeline.extract.receipts import FetchFailure, Landing
from custody_pipeline.io.clock import utc

# Conversation → numbers, addresses and ids of people in its documents, as written.
Addresses = Callable[[set[str]], dict[str, set[str]]]

REQUESTS = "/api/v2/gdpr/requests"
RESOURCE = "gdpr_requests"
_DELETION = "GDPR_DELETE"
_ADDRESSES = ("phoneNumbers", "emailAddresses", "addresses")
_NAMES = ("userId", "externalContactId", "socialHandle")
"""Compared as they are. `name`, `dialerContactId`, `journeyCustomer` and `externalId` are not: no document has them."""
_FEWEST_DIGITS = 6
"""A shorter number is an extension, which many people share."""


def collect_gdpr_requests(collector: Collector, gone: set[str], addresses: Addresses) -> Landing:
    """Land `gdpr_requests`: one document for each of these conversations and request that names somebody of it.

    If the client may not read requests, the source counts as not asked: no night waits for it.

    Args:
        gone: conversations for which the vendor answers 404.
        addresses: gives the numbers, addresses and ids of people in earlier documents of conversations.

    Raises:
        LoginError: the API refuses the client.
        NoAnswer: the API does not answer at all.
    """
    if collector.client is None:
        return collector.api_not_configured(RESOURCE)
    with collector.load(RESOURCE) as load:
        named = _by_address(addresses(gone)) if gone else {}
        unreadable, uncompared, read = 0, 0, False
        try:
            for content in collector.client.entities(REQUESTS, pageSize=100):
                read = True
                request = _request_of(content)
                if request is None:
                    unreadable += 1
                    continue
                uncompared += bool(named) and _is_uncompared(request, collector.window[0])
                for conversation_id, fields in _matches(request, named):
                    made = {
                        "conversation_id": conversation_id,
                        "request_id": request["id"],
                        "request_type": request.get("requestType"),
                        "status": request.get("status"),
                        "created_date": request.get("createdDate"),
                        "matched_by": fields,
                        "request_sha256": hashlib.sha256(content).hexdigest(),
                    }
                    keys = {"conversation_id": conversation_id, "request_id": request["id"]}
                    load.add_made(keys, collector.api_uri(f"{REQUESTS}/{request['id']}"), made)
        except (Forbidden, NotFound, NotOffered) as error:
            load.landing.state = "not_configured"
            load.landing.detail = f"the client may not read requests for deletion: {error}"
        except ANSWERED as error:
            # The answer would name people, so it is not kept.
            load.add_failure(replace(FetchFailure.of(RESOURCE, REQUESTS, error), answer=None))
            load.landing.state = "partial" if read else "failed"
        if unreadable:
            load.add_failure(FetchFailure(RESOURCE, REQUESTS, f"{unreadable} requests cannot be read"))
            load.landing.state = "partial"
        elif uncompared and load.landing.state == "complete":
            several = "requests name their persons" if uncompared > 1 else "request names its person"
            load.landing.detail = (
                f"{uncompared} {several} by nothing that documents have: compared with no conversation"
            )
    return load.landing


def _request_of(content: bytes) -> dict[str, Any] | None:
    """A request whose id can be part of an address; None for anything else."""
    try:
        request = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(request, dict) or not re.fullmatch(r"[A-Za-z0-9-]{1,80}", str(request.get("id"))):
        return None
    texts = (request.get("requestType"), request.get("status"), request.get("createdDate"))
    if not all(isinstance(text, str) for text in texts):
        return None
    subject = request.get("subject") or {}
    readable = isinstance(subject, dict) and all(
        isinstance(_written(subject, name), str | None if name in _NAMES else list | str | None)
        for name in (*_ADDRESSES, *_NAMES)
    )
    return request if readable else None


def _written(subject: dict[str, Any], name: str) -> object:
    """The value of a field; of a SocialHandle its `value`."""
    found = subject.get(name)
    return found.get("value") if isinstance(found, dict) and name == "socialHandle" else found


def _compared(request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Fields of the subject of a request for deletion, with their values in the form of `_by_address`."""
    subject = request.get("subject") or {}
    if str(request["requestType"]).upper() == _DELETION:
        for name in (*_ADDRESSES, *_NAMES):
            found: Any = _written(subject, name) or []
            for value in [found] if isinstance(found, str) else found:
                yield name, (_plain if name in _ADDRESSES else _exact)(str(value))


def _is_uncompared(request: dict[str, Any], since: datetime) -> bool:
    """True for a request for deletion, made since then, that has nothing to compare."""
    made = utc(request["createdDate"])
    is_deletion = str(request["requestType"]).upper() == _DELETION
    return is_deletion and (made is None or made >= since) and not any(value for _, value in _compared(request))


def _matches(request: dict[str, Any], named: dict[str, set[str]]) -> Iterator[tuple[str, list[str]]]:
    """Conversations of which a request for deletion names somebody, and the fields that do."""
    found: dict[str, set[str]] = {}
    for name, value in _compared(request):
        for conversation_id in named.get(value, ()):
            found.setdefault(conversation_id, set()).add(name)
    for conversation_id, fields in sorted(found.items()):
        yield conversation_id, sorted(fields)


def _by_address(known: dict[str, set[str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for conversation_id, addresses in known.items():
        for address in addresses:
            for form in filter(None, (_plain(address), _exact(address))):
                found.setdefault(form, set()).add(conversation_id)
    return found


def _exact(name: str) -> str:
    """An id or a handle, marked as such: a handle of digits is no number. Empty for an empty one."""
    bare = name.strip().lower().removeprefix("@")
    return f"={bare}" if bare else ""


def _plain(address: str) -> str:
    """A number as its digits, without zeros before them; an e-mail address in lower case; empty for anything else."""
    parts = re.sub(r"^[a-z]+:", "", address.strip().lower()).partition("@")
    user, host = (part.partition(";")[0] for part in parts[::2])  # without parameters (RFC 3966, RFC 3261)
    if re.search(r"[a-z]", user):
        return f"{user}@{host}" if host else ""
    digits = re.sub(r"\D", "", user.replace("(0)", "")).lstrip("0")
    return digits if len(digits) >= _FEWEST_DIGITS else ""
