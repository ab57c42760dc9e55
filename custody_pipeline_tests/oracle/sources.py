"""The documents of each source, and the servers that answer with them.

Documents are plain trees (`dict`, `list`, `str`, …) or `Raw` text, so that a fault can put anything anywhere. Every
answer is recorded: the product can know only what was served.

Belongs here: the platform's interfaces, from its documentation and the vendor SDK's models. Does not: faults.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from custody_pipeline_tests.oracle.truth import NIGHT

if TYPE_CHECKING:
    from collections.abc import Callable

    from custody_pipeline_tests.oracle.truth import Conversation, Leg, Recording, World

AFTER = datetime(NIGHT.year, NIGHT.month, NIGHT.day, tzinfo=UTC) + timedelta(days=1)
EXPORTED_AT = AFTER + timedelta(hours=5)
JOB_ID = "0b000000-0000-4000-8000-00000000000b"
AUDITS_ID = "ad000000-0000-4000-8000-000000000001"
INTEGRATION_ID = "1f000000-0000-4000-8000-00000000000f"
BULK_LIMIT = 1024
"""UTF-16 units at which the bulk details job cuts keys and values."""


@dataclass(frozen=True)
class Raw:
    """Text that is put into a document as it is: JSON, or not."""

    text: bytes


def dump(tree: Any) -> bytes:
    """The bytes of a document; lone surrogates become escapes, as the platform writes them."""
    if isinstance(tree, Raw):
        return tree.text
    if isinstance(tree, dict):
        return b"{" + b",".join(json.dumps(key).encode() + b":" + dump(value) for key, value in tree.items()) + b"}"
    if isinstance(tree, list):
        return b"[" + b",".join(map(dump, tree)) + b"]"
    return json.dumps(tree).encode()


def instant(moment: datetime) -> str:
    """A time as the API writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def cut(text: str) -> str:
    """The first 1,024 UTF-16 units of a text: half a surrogate pair may be left at the end."""
    units = text.encode("utf-16-le", "surrogatepass")[: 2 * BULK_LIMIT]
    return units.decode("utf-16-le", "surrogatepass")


@dataclass
class View:
    """All answers of the sources, before and after faults.

    `documents` by (source, id); `details`, `retention` and `orphans` are listings in the order in which pages give
    them: (source, id) of each item. `objects` is the export bucket.
    """

    world: World
    documents: dict[tuple[str, str], Any] = field(default_factory=dict)
    listings: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    refused: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    watermark: datetime = AFTER + timedelta(days=2)
    zero_threshold_allowed: bool = True

    def without(self, conversation: Conversation) -> View:
        """The same after a conversation is gone, with its recordings, from the bucket and from every answer."""
        ids = {conversation.id, *(recording.id for recording in conversation.recordings)}
        singly = ("conversation", "recordingmetadata", "customattributes")
        return replace(
            self,
            listings={name: [item for item in items if item[1] not in ids] for name, items in self.listings.items()},
            objects={key: content for key, content in self.objects.items() if conversation.id not in key},
            refused=self.refused | {(source, conversation.id): (404, "not.found") for source in singly},
        )


def show(world: World) -> View:
    """The answers of every source about `world` without faults."""
    view = View(world, zero_threshold_allowed=world.seed % 2 == 0)
    details: list[tuple[str, str]] = []
    retention: list[tuple[str, str]] = []
    orphans: list[tuple[str, str]] = []
    failed: list[tuple[str, str]] = []
    for conversation in world.conversations:
        hidden = conversation.readable == "forbidden"
        if not hidden:
            view.documents["details", conversation.id] = _details(conversation)
            details.append(("details", conversation.id))
        if hidden:
            for source in ("conversation", "recordingmetadata", "customattributes"):
                view.refused[source, conversation.id] = (403, "missing.division.permission")
        elif conversation.readable == "expired":
            for source in ("conversation", "customattributes"):
                view.refused[source, conversation.id] = (404, "not.found")
        view.documents["conversation", conversation.id] = _conversation(conversation)
        view.documents["customattributes", conversation.id] = {"entities": []}
        view.documents["recordingmetadata", conversation.id] = [
            _metadata(conversation, recording)
            for recording in conversation.recordings
            if recording.fate not in {"erased", "orphan"}
        ]
        for recording in conversation.recordings:
            if recording.fate not in {"erased", "orphan", "deleted"} and not hidden:
                view.documents["retention", recording.id] = _retained(conversation, recording)
                retention.append(("retention", recording.id))
            if recording.fate == "orphan":
                view.documents["orphan", recording.id] = _orphan(recording)
                orphans.append(("orphan", recording.id))
            if recording.fate == "failed":
                view.documents["failed", recording.id] = {
                    "conversation": {"id": conversation.id, "selfUri": f"/api/v2/conversations/{conversation.id}"},
                    "recording": {"id": recording.id},
                }
                failed.append(("failed", recording.id))
            if recording.fate == "exported":
                key = object_key(world, conversation, recording)
                view.objects[key] = recording.content
                if recording.sidecar:
                    view.objects[f"{key}_metadata.json"] = dump(_sidecar(conversation, recording))
    view.listings = {"details": details, "retention": retention, "orphans": orphans, "failed": failed}
    view.documents["export_job", JOB_ID] = _export_job(world)
    return view


def object_key(world: World, conversation: Conversation, recording: Recording) -> str:
    """The key under which the platform exports a recording."""
    start = conversation.start
    month, day, hour = (
        f"{part:02d}" if world.padded else str(part) for part in (start.month, start.day, start.hour)
    )  # fmt: skip
    return (
        f"{world.organization_id}/year={start.year}/month={month}/day={day}/hour={hour}/"
        f"conversation_id={conversation.id}/{recording.id}{recording.extension}"
    )


def _details(conversation: Conversation) -> dict[str, Any]:
    return {
        "conversationId": conversation.id,
        "conversationStart": instant(conversation.start),
        "conversationEnd": instant(conversation.end),
        "originatingDirection": conversation.direction,
        "divisionIds": ["d0000000-0000-4000-8000-000000000001"],
        "participants": [_details_participant(conversation, leg) for leg in conversation.legs],
    }


def _details_participant(conversation: Conversation, leg: Leg) -> dict[str, Any]:
    session: dict[str, Any] = {
        "sessionId": leg.session_id,
        "mediaType": leg.media_type,
        "direction": conversation.direction,
        "provider": "Edge",
        "segments": [
            {
                "segmentStart": instant(conversation.start),
                "segmentEnd": instant(conversation.end),
                "segmentType": "interact",
                "conference": False,
                **({"queueId": leg.queue_id} if leg.queue_id else {}),
                **({"disconnectType": "client"} if leg.purpose == "customer" else {}),
            }
        ],
        "metrics": [],
    }
    if leg.peer_id:
        session["peerId"] = leg.peer_id
    if leg.audio_recorded:
        session["recording"] = True
    if leg.media_type == "voice":
        session |= {"ani": "tel:+15550001111", "dnis": "tel:+15550002222"}
    if leg.script_id:
        session["scriptId"] = leg.script_id
    if leg.flow_id:
        session["flow"] = {"flowId": leg.flow_id, "flowName": "Main", "flowType": "INBOUNDCALL", "flowVersion": "3.0"}
    participant: dict[str, Any] = {
        "participantId": leg.participant_id,
        "purpose": leg.purpose,
        "sessions": [session],
        "attributes": {cut(tag.key): cut(tag.value) for tag in leg.tags if not tag.late},
    }
    if leg.user_id:
        participant["userId"] = leg.user_id
    if leg.screen_recorded:
        participant["screenRecording"] = True
    return participant


def _conversation(conversation: Conversation) -> dict[str, Any]:
    channel = {"voice": "calls", "chat": "chats", "email": "emails", "message": "messages"}
    participants = []
    for leg in conversation.legs:
        session: dict[str, Any] = {
            "id": leg.session_id,
            "state": "disconnected",
            "direction": conversation.direction,
            "connectedTime": instant(conversation.start),
            "disconnectedTime": instant(conversation.end),
            "provider": "Edge",
            **({"peerId": leg.peer_id} if leg.peer_id else {}),
            **({"scriptId": leg.script_id} if leg.script_id else {}),
            **({"recording": leg.audio_recorded} if leg.media_type == "voice" else {}),
        }
        participants.append(
            {
                "id": leg.participant_id,
                "startTime": instant(conversation.start),
                "endTime": instant(conversation.end),
                "purpose": leg.purpose,
                **({"userId": leg.user_id} if leg.user_id else {}),
                **({"queueId": leg.queue_id} if leg.queue_id else {}),
                "attributes": {tag.key: tag.value for tag in leg.tags},
                channel[leg.media_type]: [session],
            }
        )
    return {
        "id": conversation.id,
        "startTime": instant(conversation.start),
        "endTime": instant(conversation.end),
        "participants": participants,
        "recordingState": "NONE",
        "selfUri": f"/api/v2/conversations/{conversation.id}",
    }


def _metadata(conversation: Conversation, recording: Recording) -> dict[str, Any]:
    state = {"deleted": "DELETED", "archived": "ARCHIVED"}.get(recording.fate, "AVAILABLE")
    # The model lists audio, chat, email and message; a screen recording is seen as media "screen".
    document: dict[str, Any] = {
        "id": recording.id,
        "conversationId": conversation.id,
        "path": "",
        "startTime": instant(recording.start),
        "endTime": instant(recording.end),
        "media": recording.kind,
        "annotations": [],
        "fileState": state,
        "maxAllowedRestorationsForOrg": 10000,
        "selfUri": f"/api/v2/conversations/{conversation.id}/recordings/{recording.id}",
    }
    if recording.fate != "archived":
        document["sessionId"] = recording.session_id
    else:
        document["archiveDate"] = instant(AFTER)
    if recording.subtype and recording.subtype != "Screen":
        document["mediaSubtype"] = recording.subtype
    if recording.fate in {"exported", "lost"}:
        document["exportedDate"] = instant(EXPORTED_AT)
    if recording.fate == "deleted":
        document["deleteDate"] = instant(AFTER)
    return document


def _retained(conversation: Conversation, recording: Recording) -> dict[str, Any]:
    return {
        "conversationId": conversation.id,
        "recordingId": recording.id,
        "creationTime": instant(recording.start),
        **({"archiveDate": instant(AFTER)} if recording.fate == "archived" else {}),
        **({"exportedDate": instant(EXPORTED_AT)} if recording.fate in {"exported", "lost"} else {}),
    }


def _orphan(recording: Recording) -> dict[str, Any]:
    media = {"audio": "CALL", "screen": "SCREEN", "email": "EMAIL"}.get(recording.kind, "CHAT")
    return {
        "id": recording.id,
        "createdTime": instant(recording.start),
        "providerType": "EDGE",
        "mediaSizeBytes": 1000,
        "mediaType": media,
        "fileState": "AVAILABLE",
        "orphanStatus": "NO_CONVERSATION",
        "selfUri": f"/api/v2/orphanrecordings/{recording.id}",
    }


def _sidecar(conversation: Conversation, recording: Recording) -> dict[str, Any]:
    def stamp(moment: datetime) -> str:
        return instant(moment).replace("Z", "+0000")

    kinds = {"audio": "Call", "screen": "Screen", "chat": "Chat", "email": "Email", "message": "Message"}
    return {
        "mediaType": kinds[recording.kind],
        **({"mediaSubtype": recording.subtype} if recording.subtype else {}),
        "provider": "Edge",
        "userIds": [leg.user_id for leg in conversation.legs if leg.user_id],
        "conversationId": conversation.id,
        "recordingId": recording.id,
        "startTime": stamp(recording.start),
        "endTime": stamp(recording.end),
        "durationMs": round((recording.end - recording.start) / timedelta(milliseconds=1)),
        "initialDirection": conversation.direction,
    }


def _export_job(world: World) -> dict[str, Any]:
    fates = [recording.fate for conversation in world.conversations for recording in conversation.recordings]
    failed, sensitive = fates.count("failed"), fates.count("sensitive")
    processed = fates.count("exported") + fates.count("lost")
    start = AFTER - timedelta(days=1)
    return {
        "id": JOB_ID,
        "state": "FULFILLED",
        "user": {"id": "c1000000-0000-4000-8000-000000000001"},
        "recordingJobsQuery": {
            "action": "EXPORT",
            "actionDate": instant(AFTER + timedelta(hours=3)),
            "integrationId": INTEGRATION_ID,
            "includeRecordingsWithSensitiveData": False,
            "includeScreenRecordings": True,
            "conversationQuery": {"interval": f"{instant(start)}/{instant(AFTER)}", "order": "asc"},
        },
        "dateCreated": instant(AFTER + timedelta(hours=3)),
        "totalConversations": sum(1 for c in world.conversations if c.recordings),
        "totalRecordings": processed + failed + sensitive,
        "totalSkippedRecordings": sensitive,
        "totalFailedRecordings": failed,
        "totalProcessedRecordings": processed,
        "percentProgress": 100,
        "failedRecordings": f"/api/v2/recording/jobs/{JOB_ID}/failedrecordings",
        "selfUri": f"/api/v2/recording/jobs/{JOB_ID}",
    }


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; `short` closes the connection before the announced length, `reset` before any byte."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    short: bool = False
    reset: bool = False


@dataclass(frozen=True)
class Served:
    """One answer as it was sent; `broken` if a fault made or changed it."""

    endpoint: str
    key: str
    url: str
    status: int
    body: bytes
    broken: bool


class Organisation:
    """The platform's API over a `View`: decides the answer of each request and records it.

    `tamper(endpoint, key, number, answer)` may replace an answer; `number` counts the requests of that endpoint and
    key from 0. `watch()` is called after each request.
    """

    def __init__(
        self,
        view: View,
        tamper: Callable[[str, str, int, Answer], Answer] | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self.view = view
        self.served: list[Served] = []
        self.unknown: set[str] = set()
        self._tamper = tamper
        self._watch = watch
        self._counts: dict[tuple[str, str], int] = {}
        self._intervals: dict[str, tuple[datetime, datetime]] = {}
        self._from_start_of_day: set[str] = set()
        self._lock = threading.Lock()

    def answer(self, method: str, url: str, body: bytes) -> Answer:
        """The answer to one request."""
        parts = urlsplit(url)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        with self._lock:
            endpoint, key, found = self._find(method, parts.path.rstrip("/"), query, body)
            if endpoint == "unknown":
                self.unknown.add(f"{method} {parts.path}")
            number = self._counts[endpoint, key] = self._counts.get((endpoint, key), -1) + 1
            given = self._tamper(endpoint, key, number, found) if self._tamper else found
            self.served.append(
                Served(endpoint, key, url, 0 if given.reset else given.status, given.body, given is not found)
            )
        if self._watch:
            self._watch()
        return given

    def _find(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[str, str, Answer]:
        match [method, *path.removeprefix("/api/v2").strip("/").split("/")]:
            case ["POST", "oauth", "token"]:
                token = {"access_token": "t" * 40, "token_type": "bearer", "expires_in": 86400}
                return "token", "", _json(token)
            case ["GET", "tokens", "me"]:
                organization = {"id": self.view.world.organization_id, "name": "Oracle"}
                scopes = ["recordings", "analytics", "conversations"]
                client = {"id": "c1000000-0000-4000-8000-000000000001", "name": "custody"}
                return "me", "", _json(
                    {"organization": organization, "homeOrganization": organization, "authorizedScope": scopes,
                     "OAuthClient": client}
                )  # fmt: skip
            case ["GET", "organizations", "me"]:
                return "me", "", _json({"id": self.view.world.organization_id, "name": "Oracle"})
            case ["GET", "recording", "jobs"]:
                jobs = self.view.listings.get("export_jobs", [("export_job", JOB_ID)])
                return "export_jobs", "", self._numbered(["export_job"], query, jobs)
            case ["GET", "recordings", "recordingexports", key]:
                return "manifest", key, self._document("manifest", key)
            case ["GET", "recording", "jobs", job, "failedrecordings"]:
                return "failed", query.get("pageNumber", "1"), self._numbered(
                    ["failed"], query, self.view.listings["failed"] if job == JOB_ID else []
                )  # fmt: skip
            case ["GET", "recording", "jobs", job]:
                return "export_job", job, self._document("export_job", job)
            case ["POST", "analytics", "conversations", "details", "jobs"]:
                return "details_create", "", self._create_details(body)
            case ["GET", "analytics", "conversations", "details", "jobs", "availability"]:
                return "availability", "", _json({"dataAvailabilityDate": instant(self.view.watermark)})
            case ["GET", "analytics", "conversations", "details", "jobs", job, "results"]:
                cursor = query.get("cursor", "")
                return "details_results", cursor, self._details_page(job, cursor, query)
            case ["GET", "analytics", "conversations", "details", "jobs", job]:
                if job not in self._intervals:
                    return "details_poll", "", _error(404, "not.found")
                return (
                    "details_poll",
                    "",
                    _json({"state": "FULFILLED", "submissionDate": instant(AFTER), "completionDate": instant(AFTER)}),
                )
            case ["GET", "conversations", key, "recordingmetadata"]:
                return "recordingmetadata", key, self._document("recordingmetadata", key)
            case ["GET", "conversations", key, "customattributes"]:
                return "customattributes", key, self._document("customattributes", key)
            case ["GET", "conversations", key]:
                return "conversation", key, self._document("conversation", key)
            case ["GET", "recordings", "retention", "query"]:
                return "retention", query.get("cursor", ""), self._retention_page(query)
            case ["GET", "orphanrecordings"]:
                return "orphans", query.get("pageNumber", "1"), self._numbered(
                    ["orphan"], query, self.view.listings["orphans"]
                )  # fmt: skip
            case ["GET", "routing", "queues"]:
                queues = [{"id": queue, "name": f"Queue {n}"} for n, queue in enumerate(self.view.world.queues)]
                return "queues", query.get("pageNumber", "1"), self._plain(query, queues)
            case ["GET", "scripts", "published"] | ["GET", "scripts"]:
                return "scripts", query.get("pageNumber", "1"), self._plain(query, self._scripts())
            case ["GET", "scripts", "published", key]:
                scripts = [script for script in self._scripts() if script["id"] == key]
                return "script", key, _json(scripts[0]) if scripts else _error(404, "not.found")
            case ["GET", "users"]:
                legs = (leg for conversation in self.view.world.conversations for leg in conversation.legs)
                ids = sorted({leg.user_id for leg in legs if leg.user_id})
                users = [{"id": user, "name": f"Agent {n}", "state": "active"} for n, user in enumerate(ids)]
                return "users", query.get("pageNumber", "1"), self._plain(query, users)
            case ["GET", "audits", "query", "servicemapping"]:
                return "audit_services", "", _json({"services": []})
            case ["POST", "quality", "conversations", "audits", "query"]:
                return "audits_create", "", Answer(202, dump({"id": AUDITS_ID, "state": "Queued"}))
            case ["GET", "quality", "conversations", "audits", "query", key]:
                found = {"id": key, "state": "Succeeded"}
                return "audits_poll", "", _json(found) if key == AUDITS_ID else _error(404, "not.found")
            case ["GET", "quality", "conversations", "audits", "query", key, "results"]:
                return "audits_results", query.get("cursor", ""), _json({"id": key, "entities": []})
            case ["GET", "gdpr", "requests"]:
                return "gdpr_requests", query.get("pageNumber", "1"), self._plain(query, [])
            case ["GET", "authorization", "divisions"]:
                divisions = [{"id": "d0000000-0000-4000-8000-000000000001", "name": "Home"}]
                return "divisions", query.get("pageNumber", "1"), self._plain(query, divisions)
            case ["GET", "authorization", "divisionspermitted", "paged", "me"]:
                return (
                    "permitted_divisions",
                    query["permission"],
                    _json({"entities": [], "total": 0, "allDivsPermitted": True}),
                )
            case _:
                return "unknown", path, _error(404, "not.found")

    def _scripts(self) -> list[dict[str, Any]]:
        published = instant(AFTER - timedelta(days=30))
        return [
            {"id": script, "name": "Intake", "versionId": "1", "publishedDate": published}
            for script in self.view.world.scripts
        ]

    def _document(self, source: str, key: str) -> Answer:
        if (source, key) in self.view.refused:
            return _error(*self.view.refused[source, key])
        if (source, key) not in self.view.documents:
            return _error(404, "not.found")
        return Answer(200, dump(self.view.documents[source, key]))

    def _items(self, names: list[tuple[str, str]]) -> list[Any]:
        return [self.view.documents[name] for name in names]

    def _page(self, query: dict[str, str]) -> int:
        asked = query.get("pageSize", "25")
        return min(int(asked) if asked.isdigit() else 25, self.view.world.page_size)

    def _numbered(self, _: list[str], query: dict[str, str], names: list[tuple[str, str]]) -> Answer:
        return self._plain(query, self._items(names))

    def _plain(self, query: dict[str, str], items: list[Any]) -> Answer:
        size, number = self._page(query), int(query.get("pageNumber", "1"))
        pages = max(1, -(-len(items) // size))
        page: dict[str, Any] = {
            "entities": items[(number - 1) * size : number * size],
            "pageSize": size,
            "pageNumber": number,
            "total": len(items),
            "pageCount": pages,
        }
        if number < pages:
            page["nextUri"] = f"?pageSize={size}&pageNumber={number + 1}"
        return _json(page)

    def _create_details(self, body: bytes) -> Answer:
        try:
            query = json.loads(body)
            first, _, last = query["interval"].partition("/")
            interval = datetime.fromisoformat(first), datetime.fromisoformat(last)
        except (ValueError, KeyError, TypeError):
            return _error(400, "bad.request")
        job = f"0a000000-0000-4000-8000-{len(self._intervals):012d}"
        self._intervals[job] = interval
        if query.get("startOfDayIntervalMatching") is True:
            self._from_start_of_day.add(job)
        return Answer(202, dump({"jobId": job}))

    def _details_page(self, job: str, cursor: str, query: dict[str, str]) -> Answer:
        if job not in self._intervals:
            return _error(404, "not.found")
        # All that had activity in the interval; startOfDayIntervalMatching leaves out what began before its first day.
        first, last = self._intervals[job]
        earliest = first.replace(hour=0, minute=0, second=0, microsecond=0)
        if job not in self._from_start_of_day:
            earliest = datetime.min.replace(tzinfo=UTC)
        spans = {c.id: (c.start, c.end) for c in self.view.world.conversations}
        names = [
            name
            for name in self.view.listings["details"]
            for start, end in [spans[name[1]]]
            if earliest <= start < min(last, self.view.watermark) and end >= first
        ]
        size, offset = self._page(query), _offset(cursor)
        page: dict[str, Any] = {
            "conversations": self._items(names[offset : offset + size]),
            "dataAvailabilityDate": instant(self.view.watermark),
        }
        if offset + size < len(names):
            page["cursor"] = _cursor(offset + size)
        return _json(page)

    def _retention_page(self, query: dict[str, str]) -> Answer:
        threshold = query.get("retentionThresholdDays", "")
        if not threshold.isdigit() or (threshold == "0" and not self.view.zero_threshold_allowed):
            return _error(400, "bad.request")
        names = self.view.listings["retention"]
        size, offset = self._page(query), _offset(query.get("cursor", ""))
        page: dict[str, Any] = {"entities": self._items(names[offset : offset + size])}
        if offset + size < len(names):
            cursor = _cursor(offset + size)
            page["nextUri"] = (
                f"/api/v2/recordings/retention/query?retentionThresholdDays={threshold}&pageSize={size}&cursor={cursor}"
            )
        return _json(page)


def _offset(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor)) if cursor else 0
    except ValueError:
        return 0


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"{offset:06d}".encode()).decode()


def _json(tree: Any) -> Answer:
    return Answer(200, dump(tree))


def _error(status: int, code: str) -> Answer:
    error = {"message": code, "code": code, "status": status, "contextId": "oracle", "details": [], "errors": []}
    return Answer(status, dump(error))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one segment per answer

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        organisation = self.server.organisation  # type: ignore[attr-defined]
        if organisation is None:
            self.close_connection = True
            return
        answer: Answer = organisation.answer(self.command, self.path, body)
        if answer.reset:
            self.close_connection = True
            return
        self.send_response(answer.status)
        names = {name.lower() for name, _ in answer.headers}
        if "content-type" not in names:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.body) + (10 if answer.short else 0)))
        self.send_header("ININ-Correlation-Id", "0c000000-0000-4000-8000-00000000000c")
        for name, value in (
            ("inin-ratelimit-allowed", "300000"),
            ("inin-ratelimit-count", "1"),
            ("inin-ratelimit-reset", "1"),
        ):
            self.send_header(name, value)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()
        if answer.short:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _handle  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Say nothing: answers are recorded by the organisation."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    organisation: Organisation | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore broken connections: they come from killed clients."""


PRODUCT_KEY = "product"
"""Access key of the product's S3 requests; those of the oracle itself are not counted and never refused."""


@dataclass(frozen=True)
class Refusal:
    """An S3 error instead of an answer; `short`: the right answer, cut before its end."""

    status: int
    code: str
    short: bool = False


class _Objects:
    """The S3 server's application, with faults before it."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app
        self.refuse: Callable[[str, str], Refusal | None] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        refuse = self.refuse if f"Credential={PRODUCT_KEY}/" in environ.get("HTTP_AUTHORIZATION", "") else None
        path = f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}"
        refusal = refuse(environ["REQUEST_METHOD"], path) if refuse else None
        if refusal is None:
            return self.app(environ, start_response)
        body = f"<?xml version='1.0'?><Error><Code>{refusal.code}</Code><Message>oracle</Message></Error>".encode()
        length = len(body) + (100 if refusal.short else 0)
        start_response(
            f"{refusal.status} {refusal.code}", [("Content-Type", "application/xml"), ("Content-Length", str(length))]
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


class Platform:
    """The API's server and a real S3 server, both on 127.0.0.1; started once per process."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import create_backend_app
        from moto.server import ThreadedMotoServer

        self._api = _Server(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self._api.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()
        self._s3 = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._s3.start()
        server = self._s3._server
        assert server is not None
        # Moto's own application looks for the service of each request among all: a fifth of the oracle's time.
        server.app = self.objects = _Objects(create_backend_app("s3"))
        host, port = self._s3.get_host_and_port()
        self.s3_url = f"http://{host}:{port}"
        self.api_url = f"http://127.0.0.1:{self._api.server_address[1]}"

    def serve(
        self, organisation: Organisation | None, refuse: Callable[[str, str], Refusal | None] | None = None
    ) -> None:
        """Answer API requests from `organisation` from now on; `refuse(method, path)` may refuse S3 requests."""
        self._api.organisation = organisation
        self.objects.refuse = refuse

    def stored(self, bucket: str) -> dict[str, bytes]:
        """What a bucket holds, without a request for each object."""
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        keys = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket].keys
        return {name: key.value for name, key in keys.items()}

    def close(self) -> None:
        """Stop both servers."""
        self._api.shutdown()
        self._api.server_close()
        self._s3.stop()
