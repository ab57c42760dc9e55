"""The vendor's audits of recordings: who listened.

Belongs here: `recording_audits`. Does not: what an entry means (sql/staging/sources/recording_audits.sql).

Two interfaces have audit entries, and both answer through jobs: the interaction audits of quality management, and the
platform's audits, whose services and entities are read at run time. Entries about a conversation of another night are
not kept: they are personal data of that night.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import orjson

from custody_pipeline.extract.collector import Collector, Known, Load
from custody_pipeline.extract.conversations import finished_job
from custody_pipeline.extract.documents import text_of
from custody_pipeline.extract.export_keys import as_the_api_writes
from custody_pipeline.extract.genesys import GenesysClient, entities_of
from custody_pipeline.extract.genesys_errors import ANSWERED, GenesysError, JobFailed, UnexpectedAnswer
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.io.clock import utc_now

QUALITY = "/api/v2/quality/conversations/audits/query"
PLATFORM = "/api/v2/audits/query"
# The platform accepts at most 31 days; the limit of quality management is not documented.
LONGEST = timedelta(days=31)
PAGE_SIZE = 100


def collect_audits(collector: Collector, known: Known) -> Landing:
    """Land `recording_audits` from the night's start until now, or for `audit_days`.

    The source is not asked without the API, with `audit_days` 0, or if the client may not read audits. If one of the
    interfaces refuses the client, the refusal is a failure of a load that is complete otherwise.

    Args:
        known: which of some conversation ids are of this night.

    Raises:
        LoginError: the API refuses the client.
        NoAnswer: the API does not answer at all.
    """
    name, days = "recording_audits", collector.settings.audit_days
    if collector.client is None:
        return collector.api_not_configured(name)
    if not days:
        return collector.not_configured(name, "off: CUSTODY_AUDIT_DAYS is 0")
    refused: list[GenesysError] = []
    asked = 0
    with collector.load(name) as load:
        start, end = collector.window[0], min(utc_now(), collector.window[0] + timedelta(days=days))
        queries = _queries(collector.client, load, refused)
        for interval in _intervals(start, end):
            for path, query in list(queries):
                try:
                    _read(collector, load, path, {**query, "interval": interval}, known)
                    asked += 1
                except ANSWERED as error:
                    if error.permanent and not isinstance(error, JobFailed | UnexpectedAnswer):
                        queries.remove((path, query))
                        refused.append(error)
                    else:
                        load.incomplete = True
                    load.fail(path, error)
        load.landing.data_available_until = end
        load.landing.detail = "; ".join(map(str, refused))[:1000] or None
    if not asked and not load.incomplete:
        return collector.not_configured(name, f"the client may not read audits: {load.landing.detail}")
    return load.landing


def _queries(client: GenesysClient, load: Load, refused: list[GenesysError]) -> list[tuple[str, dict[str, Any]]]:
    """Path and body of each query. Appends to `refused` if the client may not list the platform's services."""
    queries: list[tuple[str, dict[str, Any]]] = [(QUALITY, {})]
    try:
        queries += [(PLATFORM, query) for query in _services(client)]
    except ANSWERED as error:
        if error.permanent and not isinstance(error, UnexpectedAnswer):
            refused.append(error)
        else:
            load.incomplete = True
        load.fail(PLATFORM, error)
    return queries


def _intervals(start: datetime, end: datetime) -> Iterator[str]:
    """ISO 8601 intervals of at most `LONGEST` from `start` to `end`."""
    while start < end:
        until = min(end, start + LONGEST)
        yield f"{start:%Y-%m-%dT%H:%M:%S.000Z}/{until:%Y-%m-%dT%H:%M:%S.000Z}"
        start = until


def _services(client: GenesysClient) -> Iterator[dict[str, Any]]:
    """Queries of the platform's services that audit recordings."""
    answer = client.get(f"{PLATFORM}/servicemapping")
    services = answer.object().get("services")
    if not isinstance(services, list) or not all(isinstance(service, dict) for service in services):
        raise answer.unexpected("unexpected shape: no list of services")
    for service in services:
        entities, name = service.get("entities") or [], service.get("name")
        # A service whose entities cannot be read may have recordings.
        may_have = not isinstance(entities, list) or any(
            "recording" in str(entity.get("name")).lower() for entity in entities if isinstance(entity, dict)
        )
        if may_have and isinstance(name, str):
            yield {"serviceName": name}


def _read(collector: Collector, load: Load, path: str, query: dict[str, Any], known: Known) -> None:
    client = collector.require_client()
    place = finished_job(client, path, query, "id", "Succeeded", {"Failed", "Cancelled"})
    load.add_own(collector.api_uri(path), _entries(client, f"{place}/results"), known)


def _entries(client: GenesysClient, path: str) -> Iterator[tuple[dict[str, Any], str | None, bytes]]:
    """Entries about recordings: keys, conversation and bytes. An unreadable entry is kept: it may be about one."""
    for content in (entry for page in client.pages(path, pageSize=PAGE_SIZE) for entry in entities_of(page)):
        try:
            entry = orjson.loads(content)
        except orjson.JSONDecodeError:
            entry = None
        entry = entry if isinstance(entry, dict) else {}
        if "recording" in str(entry.get("entityType") or "recording").lower():
            context = entry.get("context")
            named = context.get("conversationId") if isinstance(context, dict) else None
            yield (
                {"id": text_of(content, "id")},
                as_the_api_writes(named) if isinstance(named, str) else None,
                content,
            )
