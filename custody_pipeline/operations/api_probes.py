"""`custody doctor`: whether the API answers, and what the OAuth client may read.

Belongs here: requests to Genesys Cloud that change nothing. Does not: the buckets (bucket_probes.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from custody_pipeline.extract.divisions import DIVISIONS, not_covered
from custody_pipeline.extract.documents import id_of, text_of
from custody_pipeline.extract.gdpr_requests import REQUESTS
from custody_pipeline.extract.genesys import GenesysClient, entities_of
from custody_pipeline.extract.genesys_errors import Forbidden, GenesysError
from custody_pipeline.extract.recordings import RETENTION, retention_pages
from custody_pipeline.operations.doctor_line import Line
from custody_pipeline.settings import Settings

# The requests of a night, and the permission for each (from the vendor's API pages).
_PERMISSIONS = {
    "/api/v2/recording/jobs": "recording:job:view",
    "/api/v2/analytics/conversations/details/jobs/availability": "analytics:conversationDetail:view",
    "/api/v2/orphanrecordings": "recording:orphan:view",
    "/api/v2/routing/queues": "routing:queue:view",
    "/api/v2/scripts/published": "scripts:publishedScript:view",
}


def organization(settings: Settings) -> Iterator[Line]:
    """The login, the permissions of the OAuth client, and its divisions."""
    if not settings.api_configured:
        found = "no API: every answer that needs it will be SOURCE_NOT_CONFIGURED"
        advice = "Set CUSTODY_GENESYS_DOMAIN, CUSTODY_GENESYS_CLIENT_ID and CUSTODY_GENESYS_CLIENT_SECRET."
        yield Line("login", "not configured", found, advice)
        return
    with GenesysClient(settings) as client:
        try:
            identity = client.identity()
        except GenesysError as error:
            yield Line("login", "not ok", error.told, error.advice)
            return
        yield Line("login", "ok", f"{identity} in {identity.organization_name or identity.organization_id}")
        for path, permission in _PERMISSIONS.items():
            yield _permission(client, path, permission)
        # Without this permission the night is whole, but erased conversations have no reason of their own.
        erasures = _permission(client, REQUESTS, "gdpr:request:view")
        yield erasures if erasures.state == "ok" else replace(erasures, state="warning")
        yield _list_of_recordings(client, settings.retention_pages)
        yield _divisions(client, settings.left_out_divisions)


def _permission(client: GenesysClient, path: str, permission: str) -> Line:
    check = f"permission {permission}"
    try:
        client.get(path, pageSize=1)
    except Forbidden:
        return Line(check, "not ok", f"GET {path} is refused", f"Grant {permission} to the OAuth client's role.")
    except GenesysError as error:
        return Line(check, "not ok", error.told, error.advice)
    return Line(check, "ok", f"GET {path}")


def _list_of_recordings(client: GenesysClient, pages: int) -> Line:
    """Whether the list of all recordings can be read, and how soon it has a new recording."""
    check = "list of all recordings"
    if not pages:
        advice = "Unset CUSTODY_RETENTION_PAGES: without the list no night is established."
        return Line(check, "not configured", "CUSTODY_RETENTION_PAGES is 0", advice)
    try:
        threshold, answers = retention_pages(client)
        entities_of(next(answers))
    except Forbidden:
        found, advice = f"GET {RETENTION} is refused", "Grant recording:recording:view to the OAuth client's role."
        return Line(check, "not ok", found, advice)
    except GenesysError as error:
        return Line(check, "not ok", error.told, error.advice)
    if threshold:
        found = f"takes a threshold of {threshold} day and not of 0: a recheck establishes a night after two days"
        return Line(check, "warning", found, "Nothing to do: keep the rechecks on (every_recheck).")
    return Line(check, "ok", "takes a threshold of 0 days: a recheck establishes a night after one day")


def _divisions(client: GenesysClient, left_out: tuple[str, ...] | None) -> Line:
    """Whether the client's roles cover every division: the vendor's lists leave out what they do not cover."""
    check, advice = "divisions", "Give the client's role every division whose calls must be produced."
    try:
        names = {
            name: text_of(one, "name")
            for one in client.entities(DIVISIONS, pageSize=100)
            if (name := id_of(one, "id")) is not None
        }
    except GenesysError as error:
        return Line(check, "warning", str(error), "Grant authorization:division:view to see which divisions count.")
    told = ", ".join(str(name) for name in list(names.values())[:8])
    try:
        missing, on_purpose = not_covered(client, names, left_out or ())
    except GenesysError as error:
        found = f"{len(names)}: {told}. Which of them count is not known: {error.told}"
        if left_out is None:
            advice = f"{advice} Then say in CUSTODY_LEFT_OUT_DIVISIONS which are left out ([]: none)."
        return Line(check, "warning", found, advice)
    if missing or not names:
        found = f"the client's roles do not cover: {', '.join(missing) or 'any'}"
        return Line(check, "warning", found, f"{advice} Or name it in CUSTODY_LEFT_OUT_DIVISIONS.")
    if on_purpose:
        return Line(check, "ok", f"all {len(names)} but those left out on purpose: {', '.join(on_purpose)}")
    return Line(check, "ok", f"all {len(names)}: {told}")
