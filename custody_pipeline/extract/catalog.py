"""The organisation's names as they are on the day of collection: published scripts, queues, divisions, users.

Belongs here: listings of things that have an id. Does not: anything of one conversation.
"""

from __future__ import annotations

from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.documents import id_of
from custody_pipeline.extract.genesys_errors import ANSWERED, Forbidden, NotFound
from custody_pipeline.extract.receipts import Landing

LISTINGS = {
    "published_scripts": "/api/v2/scripts/published",
    "queues": "/api/v2/routing/queues",
    "divisions": "/api/v2/authorization/divisions",
    "users": "/api/v2/users",
}

# Without this parameter the vendor lists only active users; an agent of an old call may have left.
_MORE = {"users": {"state": "any"}}

# The vendor cuts the list there (the SDK's words at `get_orphanrecordings`).
_MOST = {"orphan_recordings": 500}


def collect_listing(collector: Collector, resource: str, path: str) -> Landing:
    """Land every entity of a paged listing once, each as its own document. A refusal is a failure row.

    If the client may not list users, the source counts as not asked: no night needs their names.

    Raises:
        LoginError: the API refuses the client.
        NoAnswer: the API does not answer at all.
    """
    with collector.load(resource) as load:
        seen: set[str | None] = set()
        came, most = 0, _MOST.get(resource)
        try:
            for content in collector.require_client().entities(path, pageSize=100, **_MORE.get(resource, {})):
                came += 1
                name = id_of(content, "id")
                if name is None or name not in seen:
                    seen.add(name)
                    load.add({"id": name}, collector.api_uri(path), content)
            if most is not None and came >= most:
                load.incomplete = True
                load.landing.detail = f"the vendor lists at most {most}"
        except ANSWERED as error:
            if resource == "users" and isinstance(error, Forbidden | NotFound) and not seen:
                load.landing.state, load.landing.detail = "not_configured", str(error)
            else:
                load.fail(path, error)
                load.landing.state = "failed" if not seen else "partial"
    return load.landing


def collect_catalog(collector: Collector) -> list[Landing]:
    """Land `published_scripts`, `queues`, `divisions` and `users`."""
    if collector.client is None:
        return [collector.api_not_configured(resource) for resource in LISTINGS]
    return [collect_listing(collector, resource, path) for resource, path in LISTINGS.items()]
