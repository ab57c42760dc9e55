"""Routes of the data-protection interface: requests of a person, and conversations that are gone because of one.

Belongs here: `GDPRRequest` as the vendor's SDK has it. Does not: what a conversation is.
"""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from custody_pipeline.simulator.answers import body_of, json_response, page_of
from custody_pipeline.simulator.api_documents import Document, iso
from custody_pipeline.simulator.identity import uuid_for
from custody_pipeline.simulator.state import ApiError, World, found_in

_REQUESTS = "/api/v2/gdpr/requests"
_TYPES = ("GDPR_EXPORT", "GDPR_UPDATE", "GDPR_DELETE")
_NEXT_STATUS = {"INITIATED": "SEARCHING", "SEARCHING": "DELETING", "DELETING": "COMPLETED"}


class GdprRoutes:
    """Data-protection endpoints over one world."""

    def __init__(self, world: World):
        self.world = world

    def routes(self) -> list[Route]:
        """Every route."""
        return [
            Route(_REQUESTS, self._list, methods=["GET"]),
            Route(_REQUESTS, self._create, methods=["POST"]),
            Route(f"{_REQUESTS}/{{request_id}}", self._get, methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        known = list(self.world.gdpr_requests.values())
        return json_response(page_of(request, known, lambda item: item))

    async def _create(self, request: Request) -> Response:
        given = await body_of(request)
        if given.get("requestType") not in _TYPES or not isinstance(given.get("subject"), dict):
            raise ApiError(400, "bad.request", f"subject and requestType ({', '.join(_TYPES)}) must be set.")
        if given["requestType"] == "GDPR_DELETE" and request.query_params.get("deleteConfirmed") != "true":
            raise ApiError(400, "bad.request", "deleteConfirmed must be true.")
        request_id, user = self.world.new_id("gdpr"), uuid_for("user", "privacy")
        made: Document = {
            "id": request_id,
            "createdBy": {"id": user, "selfUri": f"/api/v2/users/{user}"},
            "requestType": given["requestType"],
            "createdDate": iso(self.world.now),
            "status": "INITIATED",
            "subject": given["subject"],
            "selfUri": f"{_REQUESTS}/{request_id}",
        }
        self.world.gdpr_requests[request_id] = made
        return json_response(made, 202)

    async def _get(self, request: Request) -> Response:
        """Each look at a request is one step of it; while it is deleting, the person's conversations go."""
        found = found_in(self.world.gdpr_requests, request.path_params["request_id"], "request")
        found["status"] = _NEXT_STATUS.get(found["status"], found["status"])
        if found["status"] == "DELETING" and found["requestType"] == "GDPR_DELETE":
            self._delete(found["subject"])
        return json_response(found)

    def _delete(self, subject: Document) -> None:
        numbers = {_digits(number) for number in subject.get("phoneNumbers") or ()}
        for night in self.world.nights:
            self.world.deleted |= {call.id for call in night.conversations() if _digits(call.ani) in numbers}


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)
