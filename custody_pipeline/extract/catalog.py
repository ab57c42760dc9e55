"""The organisation's names as they are on the day of collection: published scripts, queues, divisions, users.

Belongs here: listings of things that have an id. Does not: anything of one conversation.
"""

from __future__ import annotations

from custody_pipeline.extract.collector import Collector, Load
from custody_pipeline.extract.divisions import DIVISIONS, not_covered
from custody_pipeline.extract.documents import id_of, text_of
from custody_pipeline.extract.genesys_errors import ANSWERED, Forbidden, NotFound, PermanentError
from custody_pipeline.extract.receipts import Landing

LISTINGS = {
    "published_scripts": "/api/v2/scripts/published",
    "queues": "/api/v2/routing/queues",
    "divisions": DIVISIONS,
    "users": "/api/v2/users",
}

# Without this parameter the vendor lists only active users; an agent of an old call may have left.
_MORE = {"users": {"state": "any"}}

# The vendor cuts the list there (the SDK's words at `get_orphanrecordings`).
_MOST = {"orphan_recordings": 500}


def collect_listing(collector: Collector, resource: str, path: str) -> Landing:
    """Land every entity of a paged listing once, each as its own document. A refusal is a failure row.

    If the client may not list users, the source counts as not asked: no night needs their names. The list of divisions
    is partial if the client's roles do not cover each of them: other lists then lack calls.

    Raises:
        LoginError: the API refuses the client.
        NoAnswer: the API does not answer at all.
    """
    with collector.load(resource) as load:
        seen: dict[str, str | None] = {}
        came, most = 0, _MOST.get(resource)
        try:
            for content in collector.require_client().entities(path, pageSize=100, **_MORE.get(resource, {})):
                came += 1
                name = id_of(content, "id")
                if name is None or name not in seen:
                    load.add({"id": name}, collector.api_uri(path), content)
                if name is not None:
                    seen[name] = text_of(content, "name")
            if most is not None and came >= most:
                load.incomplete = True
                load.landing.detail = f"the vendor lists at most {most}"
            if resource == "divisions":
                _tell_not_covered(collector, load, seen)
        except ANSWERED as error:
            if resource == "users" and isinstance(error, Forbidden | NotFound) and not seen:
                load.landing.state, load.landing.detail = "not_configured", str(error)
            else:
                load.fail(path, error)
                load.landing.state = "failed" if load.landing.documents == 0 else "partial"
    return load.landing


def _tell_not_covered(collector: Collector, load: Load, names: dict[str, str | None]) -> None:
    left_out = collector.settings.left_out_divisions
    try:
        missing, on_purpose = not_covered(collector.require_client(), names, left_out or ()) if names else ([], [])
    except PermanentError as error:
        # The vendor may tell it of users alone. Then only a person can say it, in the settings.
        load.fail(DIVISIONS, error)
        load.incomplete = left_out is None
        said = "" if left_out is None else f"; by the settings, left out on purpose: {', '.join(left_out) or 'none'}"
        load.landing.detail = f"the vendor does not tell which divisions the client's roles cover{said}"
        return
    load.incomplete = bool(missing)
    told = (("the client's roles do not cover", missing), ("left out on purpose", on_purpose))
    load.landing.detail = "; ".join(f"{what}: {', '.join(which)}" for what, which in told if which) or None


def collect_catalog(collector: Collector) -> list[Landing]:
    """Land `published_scripts`, `queues`, `divisions` and `users`."""
    if collector.client is None:
        return [collector.api_not_configured(resource) for resource in LISTINGS]
    return [collect_listing(collector, resource, path) for resource, path in LISTINGS.items()]
