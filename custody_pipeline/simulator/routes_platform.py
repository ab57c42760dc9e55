"""Routes of the platform around the recordings: the client, scripts, queues, divisions, flows, audits, triggers."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from custody_pipeline.simulator.answers import body_of, interval_of, json_response, number_of, page_of
from custody_pipeline.simulator.api_documents import Document, division_uri, iso
from custody_pipeline.simulator.conversation_builder import AGENTS
from custody_pipeline.simulator.identity import uuid_for
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.state import CLIENT_ID, ApiError, World, decode_cursor, encode_cursor, found_in
from custody_pipeline.simulator.structure import (
    DIVISIONS,
    FLOW_ID,
    FLOW_NAME,
    HOME_DIVISION,
    ORGANIZATION_ID,
    ORGANIZATION_NAME,
    PUBLISHED_SCRIPTS,
    QUEUES,
    RESTRICTED_DIVISION,
    Division,
    PublishedScript,
    Queue,
)

_FLOWS = {FLOW_ID: FLOW_NAME}
_SCOPE = ("analytics", "architect", "audits", "authorization", "conversations", "processautomation", "recordings")
_TOPICS = (
    "v2.detail.events.conversation.{id}.acd.end",
    "v2.detail.events.conversation.{id}.attributes",
    "v2.detail.events.conversation.{id}.customer.end",
    "v2.detail.events.conversation.{id}.customer.start",
    "v2.detail.events.conversation.{id}.user.end",
)
_QUALITY = "/api/v2/quality/conversations/audits/query"
_LONGEST_AUDIT = timedelta(days=31)
_AUDIT_SERVICES = {
    "Quality": {"Recording": ["View", "Export", "Delete", "Update"]},
    "Architect": {"Flow": ["Publish", "Checkin", "Delete"]},
}


class PlatformRoutes:
    """Platform endpoints over one world."""

    def __init__(self, world: World):
        self.world = world

    def routes(self) -> list[Route]:
        """Every route, most specific first."""
        triggers = "/api/v2/processautomation/triggers"
        return [
            Route("/api/v2/tokens/me", self._who_am_i, methods=["GET"]),
            Route("/api/v2/scripts/published", self._scripts, methods=["GET"]),
            Route("/api/v2/scripts/published/{script_id}", self._script, methods=["GET"]),
            Route("/api/v2/routing/queues", self._queues, methods=["GET"]),
            Route("/api/v2/authorization/divisions", self._divisions, methods=["GET"]),
            Route("/api/v2/authorization/divisionspermitted/paged/me", self._permitted_divisions, methods=["GET"]),
            Route("/api/v2/users", self._users, methods=["GET"]),
            Route("/api/v2/flows/export/jobs", self._export_flows, methods=["POST"]),
            Route("/api/v2/flows/export/jobs/{job_id}", self._flow_export, methods=["GET"]),
            Route("/simulator/flows/{flow_id}.yaml", self._flow_yaml, methods=["GET"]),
            Route("/api/v2/audits/query/servicemapping", self._audit_services, methods=["GET"]),
            Route("/api/v2/audits/query", self._query_audits, methods=["POST"]),
            Route("/api/v2/audits/query/{transaction_id}", self._audit_query, methods=["GET"]),
            Route("/api/v2/audits/query/{transaction_id}/results", self._audit_results, methods=["GET"]),
            Route(_QUALITY, self._query_quality_audits, methods=["POST"]),
            Route(f"{_QUALITY}/{{transaction_id}}", self._audit_query, methods=["GET"]),
            Route(f"{_QUALITY}/{{transaction_id}}/results", self._audit_results, methods=["GET"]),
            Route(f"{triggers}/topics", self._topics, methods=["GET"]),
            Route(triggers, self._list_triggers, methods=["GET"]),
            Route(triggers, self._create_trigger, methods=["POST"]),
            Route(f"{triggers}/{{trigger_id}}", self._put_trigger, methods=["PUT"]),
            Route(f"{triggers}/{{trigger_id}}", self._delete_trigger, methods=["DELETE"]),
        ]

    async def _who_am_i(self, _: Request) -> Response:
        organization = {"id": ORGANIZATION_ID, "name": ORGANIZATION_NAME}
        client = {
            "id": CLIENT_ID,
            "name": "Custody pipeline (demo)",
            "organization": organization,
            "authorizedGrantType": "CLIENT-CREDENTIALS",
            "state": "active",
            "roleDivisions": [],
        }
        return json_response(
            {
                "organization": organization,
                "homeOrganization": organization,
                "authorizedScope": list(_SCOPE),
                "OAuthClient": client,
            }
        )

    # Scripts, queues, divisions

    async def _scripts(self, request: Request) -> Response:
        published = [script for script in PUBLISHED_SCRIPTS if self._published_date(script) <= self.world.now]
        return json_response(page_of(request, published, self._script_document))

    async def _script(self, request: Request) -> Response:
        scripts = {script.id: script for script in PUBLISHED_SCRIPTS}
        return json_response(self._script_document(found_in(scripts, request.path_params["script_id"], "script")))

    def _published_date(self, script: PublishedScript) -> Any:
        return self.world.nights[0].opening - timedelta(days=script.days_before_night)

    def _script_document(self, script: PublishedScript) -> Document:
        published = iso(self._published_date(script))
        return {
            "id": script.id,
            "name": script.name,
            "division": _division_reference(),
            "versionId": script.version_id,
            "createdDate": published,
            "modifiedDate": published,
            "publishedDate": published,
            "versionDate": published,
            "selfUri": f"/api/v2/scripts/published/{script.id}",
        }

    async def _queues(self, request: Request) -> Response:
        return json_response(page_of(request, QUEUES, _queue_document))

    async def _divisions(self, request: Request) -> Response:
        """Every division of the organisation, also those that the client's roles do not cover."""
        restricted = any("CONVERSATION_FORBIDDEN" in dict(night.faults.shares) for night in self.world.nights)
        divisions = (*DIVISIONS, RESTRICTED_DIVISION) if restricted else DIVISIONS
        return json_response(page_of(request, divisions, _division_document))

    async def _permitted_divisions(self, request: Request) -> Response:
        if not request.query_params.get("permission"):
            raise ApiError(400, "bad.request", "permission must be set.")
        return json_response(page_of(request, DIVISIONS, _division_document) | {"allDivsPermitted": False})

    async def _users(self, request: Request) -> Response:
        state = request.query_params.get("state", "active")
        users = [user for user in AGENTS if state in {"any", _user_state(user)}]
        return json_response(page_of(request, users, _user_document))

    # Flows

    async def _export_flows(self, request: Request) -> Response:
        flows = (await body_of(request)).get("flows")
        if not isinstance(flows, list) or not flows:
            raise ApiError(400, "bad.request", "flows must have at least one entry.")
        for entry in flows:
            found_in(_FLOWS, str((entry.get("flow") or {}).get("id")), "flow")
        job_id = self.world.new_id("flow-export")
        self.world.flow_exports[job_id] = flows[0]["flow"]["id"]
        uri = f"/api/v2/flows/export/jobs/{job_id}"
        return json_response({"id": job_id, "status": "Registered", "totalFlows": len(flows), "selfUri": uri}, 202)

    async def _flow_export(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]
        flow_id = found_in(self.world.flow_exports, job_id, "export job")
        document: Document = {"id": job_id, "command": "Export", "messages": [], "selfUri": request.url.path}
        if self.world.first_look(f"flow export {job_id}"):
            return json_response(document | {"status": "Started"})
        url = f"{request.base_url}simulator/flows/{flow_id}.yaml"
        return json_response(document | {"status": "Success", "downloadUrl": url})

    async def _flow_yaml(self, request: Request) -> Response:
        """A flow with two paths: one keeps consent and language in participant data, the other loses the consent."""
        found_in(_FLOWS, request.path_params["flow_id"], "flow")
        export = importlib.resources.files(__package__).joinpath("main_ivr.yaml").read_bytes()
        return Response(export, media_type="application/yaml")

    # Audits

    async def _audit_services(self, _: Request) -> Response:
        services = [
            {"name": service, "entities": [{"name": name, "actions": actions} for name, actions in entities.items()]}
            for service, entities in _AUDIT_SERVICES.items()
        ]
        return json_response({"services": services})

    async def _query_audits(self, request: Request) -> Response:
        if (await body_of(request)).get("serviceName") not in _AUDIT_SERVICES:
            raise ApiError(400, "bad.request", f"serviceName must be one of {', '.join(_AUDIT_SERVICES)}.")
        return await self._query_quality_audits(request)

    async def _query_quality_audits(self, request: Request) -> Response:
        query = await body_of(request)
        start, end = interval_of(query.get("interval"))
        if end - start > _LONGEST_AUDIT:
            raise ApiError(400, "bad.request", "The interval must not be longer than 31 days.")
        transaction_id = self.world.new_id("audit")
        self.world.audits[transaction_id] = query
        return json_response(self._audit_status(transaction_id, "Queued"), 202)

    async def _audit_query(self, request: Request) -> Response:
        transaction_id = request.path_params["transaction_id"]
        self._audit(transaction_id)
        running = self.world.first_look(f"audit {transaction_id}")
        return json_response(self._audit_status(transaction_id, "Running" if running else "Succeeded"))

    async def _audit_results(self, request: Request) -> Response:
        transaction_id = request.path_params["transaction_id"]
        query = self._audit(transaction_id)
        size = number_of(request, "pageSize", 25, 500)
        cursor = request.query_params.get("cursor")
        first = int(decode_cursor(cursor)[0]) if cursor else 0
        entries = self._audit_entries(query)
        document: Document = {"id": transaction_id, "pageSize": size, "entities": entries[first : first + size]}
        if first + size < len(entries):
            document["cursor"] = encode_cursor(first + size)
        return json_response(document)

    def _audit(self, transaction_id: str) -> dict[str, Any]:
        return found_in(self.world.audits, transaction_id, "audit query")

    def _audit_status(self, transaction_id: str, state: str) -> Document:
        query = self.world.audits[transaction_id]
        given = {name: query[name] for name in ("interval", "serviceName", "filters", "sort") if name in query}
        started = "startDate" if "serviceName" in query else "dateStart"
        return {"id": transaction_id, "state": state, started: iso(self.world.now)} | given

    def _audit_entries(self, query: dict[str, Any]) -> list[Document]:
        """The entries of an interval about recordings; other services than Quality have none."""
        if query.get("serviceName", "Quality") != "Quality":
            return []
        start, end = interval_of(query["interval"])
        made = _views if "serviceName" in query else self._interactions
        entries = (entry for night in self.world.nights for entry in made(night))
        # Times of one form: they sort as texts.
        return [entry for entry in entries if iso(start) <= entry["eventDate"] < iso(min(end, self.world.now))]

    def _interactions(self, night: Organization) -> Iterator[Document]:
        """Readings, downloads and deletions, in the words of the interaction audits."""
        deleted = {night.conversation(index).id for index in night.planting.indexes(["RECORDING_DELETED"])}
        seen = {item.id: item for item in night.conversations(end=40)}
        seen |= {name: self.world.conversation(name) for name in deleted - seen.keys()}
        for number, conversation in enumerate(seen.values()):
            item = conversation.recordings[0]
            gone = "RECORDING_DELETED" in item.faults
            yield {
                "id": uuid_for("quality-audit", item.id),
                "userHomeOrgId": ORGANIZATION_ID,
                "user": {"id": item.user_ids[0], "selfUri": f"/api/v2/users/{item.user_ids[0]}"},
                "client": {"id": uuid_for("client", "browser")},
                "remoteIps": ["192.0.2.10"],
                "serviceName": "RecordingService" if gone else "RecordingPlaybackService",
                "level": "User",
                "eventDate": iso(conversation.end + timedelta(hours=1 if gone else 2)),
                "action": "Delete" if gone else "Download" if number % 5 == 0 else "Read",
                "entity": {"id": item.id},
                "entityType": "Recording",
                "status": "Success",
                "propertyChanges": [],
                "context": {"conversationId": conversation.id},
            }

    # Triggers

    async def _topics(self, _: Request) -> Response:
        return json_response({"entities": list(_TOPICS)})

    async def _list_triggers(self, request: Request) -> Response:
        topic = request.query_params.get("topicName")
        found = [item for item in self.world.triggers.values() if topic in {None, item["topicName"]}]
        return json_response({"entities": found, "selfUri": request.url.path})

    async def _create_trigger(self, request: Request) -> Response:
        given = _trigger_of(await body_of(request))
        trigger_id = self.world.new_id("trigger")
        uri = f"/api/v2/processautomation/triggers/{trigger_id}"
        self.world.triggers[trigger_id] = given | {"id": trigger_id, "version": 1, "selfUri": uri}
        return json_response(self.world.triggers[trigger_id], 201)

    async def _put_trigger(self, request: Request) -> Response:
        known, given = self._trigger(request), await body_of(request)
        if given.get("version") != known["version"]:
            raise ApiError(409, "conflict", f"The trigger is at version {known['version']}.", entity_id=known["id"])
        known |= _trigger_of(given) | {"version": known["version"] + 1}
        return json_response(known)

    async def _delete_trigger(self, request: Request) -> Response:
        del self.world.triggers[self._trigger(request)["id"]]
        return Response(status_code=204)

    def _trigger(self, request: Request) -> dict[str, Any]:
        return found_in(self.world.triggers, request.path_params["trigger_id"], "trigger")


_REQUIRED = ("name", "topicName", "target", "enabled")


def _trigger_of(document: dict[str, Any]) -> dict[str, Any]:
    """The fields of a trigger that a client may set.

    Raises:
        ApiError: 400 for a missing field or a topic that does not exist.
    """
    missing = [name for name in _REQUIRED if document.get(name) is None]
    if missing:
        raise ApiError(400, "bad.request", f"{', '.join(missing)} must be set.")
    if document["topicName"] not in _TOPICS:
        raise ApiError(400, "bad.request", "There is no such topic.", entity_id=str(document["topicName"]))
    optional = ("matchCriteria", "eventTTLSeconds", "delayBySeconds", "description")
    return {name: document[name] for name in (*_REQUIRED, *optional) if document.get(name) is not None}


def _views(night: Organization) -> Iterator[Document]:
    """A view of each of the night's first conversations, in the words of the platform's audits."""
    for conversation in night.conversations(end=40):
        item = conversation.recordings[0]
        yield {
            "id": uuid_for("audit", item.id),
            "userHomeOrgId": ORGANIZATION_ID,
            "user": {"id": item.user_ids[0], "name": "Reviewer"},
            "client": {"id": CLIENT_ID},
            "remoteIp": ["192.0.2.10"],
            "serviceName": "Quality",
            "level": "USER",
            "eventDate": iso(conversation.end + timedelta(hours=1)),
            "action": "View",
            "entity": {"id": item.id, "name": "Recording"},
            "entityType": "Recording",
            "status": "SUCCESS",
            "propertyChanges": [],
            "context": {"conversationId": conversation.id},
        }


def _division_reference(division: Division = HOME_DIVISION) -> Document:
    return {"id": division.id, "name": division.name, "selfUri": division_uri(division.id)}


def _queue_document(queue: Queue) -> Document:
    return {
        "id": queue.id,
        "name": queue.name,
        "division": _division_reference(next(item for item in DIVISIONS if item.id == queue.division_id)),
        "memberCount": 12,
        "selfUri": f"/api/v2/routing/queues/{queue.id}",
    }


def _user_state(user: tuple[str, str]) -> str:
    """One agent has left."""
    return "inactive" if user == AGENTS[-1] else "active"


def _user_document(user: tuple[str, str]) -> Document:
    user_id, name = user
    email = f"{name.lower().replace(' ', '.')}@example.com"
    return {
        "id": user_id,
        "name": name,
        "division": _division_reference(),
        "email": email,
        "username": email,
        "state": _user_state(user),
        "version": 1,
        "selfUri": f"/api/v2/users/{user_id}",
    }


def _division_document(division: Division) -> Document:
    return {
        "id": division.id,
        "name": division.name,
        "description": "",
        "homeDivision": division.home,
        "selfUri": division_uri(division.id),
    }
