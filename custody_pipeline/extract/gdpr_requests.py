"""Requests for deletion that the vendor's data-protection interface knows: `gdpr_requests`.

Belongs here: finding the requests that name a person of a conversation that the vendor no longer has. Does not: what
that means for a recording (sql/staging/gaps/gap_conversations.sql).

A request names a person (`GDPRRequest.subject`) and no conversation. Requests of other people do not concern the night.
A request is therefore kept only if it names a number or an address that an earlier document of the conversation had.
Only these fields are kept: id, type, status and date, the SHA-256 of the request as received, and which fields of the
subject matched. Nothing of the subject is kept.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from custody_pipeline.extract.genesys import Forbidden, GenesysError, LoginError, NoAnswer, NotFound, NotOffered
from custody_pipeline.extract.receipts import FetchFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from custody_pipeline.extract.collector import Collector
    from custody_pipeline.extract.receipts import Landing

    # Conversation → numbers and addresses in its documents, as written.
    Addresses = Callable[[set[str]], dict[str, set[str]]]

REQUESTS = "/api/v2/gdpr/requests"
RESOURCE = "gdpr_requests"
_DELETION = "GDPR_DELETE"
_FIELDS = ("phoneNumbers", "emailAddresses", "addresses")
_FEWEST_DIGITS = 6
"""A shorter number is an extension, which many people share."""


def collect_gdpr_requests(collector: Collector, gone: set[str], addresses: Addresses) -> Landing:
    """Land `gdpr_requests`: one document for each of these conversations and request that names somebody of it.

    If the client may not read requests, the source counts as not asked: no night waits for it.

    Args:
        gone: conversations for which the vendor answers 404.
        addresses: gives the numbers and addresses in earlier documents of conversations.

    Raises:
        LoginError: the API refuses the client.
        NoAnswer: the API does not answer at all.
    """
    if collector.client is None:
        return collector.api_not_configured(RESOURCE)
    with collector.load(RESOURCE) as load:
        named = _by_address(addresses(gone)) if gone else {}
        unreadable, read = 0, False
        try:
            for content in collector.client.entities(REQUESTS, pageSize=100):
                read = True
                request = _request_of(content)
                if request is None:
                    unreadable += 1
                    continue
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
        except (LoginError, NoAnswer):
            raise
        except (Forbidden, NotFound, NotOffered) as error:
            load.landing.state = "not_configured"
            load.landing.detail = f"the client may not read requests for deletion: {error}"
        except GenesysError as error:
            # The answer would name people, so it is not kept.
            load.add_failure(replace(FetchFailure.of(RESOURCE, REQUESTS, error), answer=None))
            load.landing.state = "partial" if read else "failed"
        if unreadable:
            load.add_failure(FetchFailure(RESOURCE, REQUESTS, f"{unreadable} requests cannot be read"))
            load.landing.state = "partial"
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
    readable = isinstance(subject, dict) and all(isinstance(subject.get(name), list | str | None) for name in _FIELDS)
    return request if readable else None


def _matches(request: dict[str, Any], named: dict[str, set[str]]) -> Iterator[tuple[str, list[str]]]:
    """Conversations of which a request for deletion names a number or an address, and the fields that do."""
    if str(request["requestType"]).upper() != _DELETION:
        return
    found: dict[str, set[str]] = {}
    for name in _FIELDS:
        values = (request.get("subject") or {}).get(name) or []
        for value in [values] if isinstance(values, str) else values:
            for conversation_id in named.get(_plain(str(value)), ()):
                found.setdefault(conversation_id, set()).add(name)
    for conversation_id, fields in sorted(found.items()):
        yield conversation_id, sorted(fields)


def _by_address(known: dict[str, set[str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for conversation_id, addresses in known.items():
        for address in addresses:
            if plain := _plain(address):
                found.setdefault(plain, set()).add(conversation_id)
    return found


def _plain(address: str) -> str:
    """A number as its digits, without zeros before them; an e-mail address in lower case; empty for anything else."""
    bare = re.sub(r"^[a-z]+:", "", address.strip().lower())
    user = bare.partition("@")[0]
    if re.search(r"[a-z]", user):
        return bare if "@" in bare else ""
    digits = re.sub(r"\D", "", user.replace("(0)", "")).lstrip("0")
    return digits if len(digits) >= _FEWEST_DIGITS else ""
