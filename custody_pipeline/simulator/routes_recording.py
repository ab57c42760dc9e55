"""Routes of the recording API: bulk jobs, metadata, batch downloads, holds, retention, orphans, the thread's manifests.

Paths, verbs and fields are those of the SDK's `RecordingApi`; `recordingexports` is the gateway that the project's
founding thread describes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from custody_pipeline.simulator import api_documents as documents
from custody_pipeline.simulator.answers import body_of, interval_of, json_response, number_of, page_of
from custody_pipeline.simulator.api_documents import Document, iso
from custody_pipeline.simulator.audio import CONTENT_TYPES, media_bytes
from custody_pipeline.simulator.calls import Conversation, Recording
from custody_pipeline.simulator.identity import uuid_for
from custody_pipeline.simulator.state import ApiError, RecordingJob, World, decode_cursor, encode_cursor, found_in

_ACTIONS = frozenset({"EXPORT", "ARCHIVE", "DELETE"})
_BATCH_LIMIT = 100
_PROTECTION_LIMIT = 100


class RecordingRoutes:
    """Recording endpoints over one world."""

    def __init__(self, world: World):
        self.world = world

    def routes(self) -> list[Route]:
        """Every route, most specific first."""
        conversation = "/api/v2/conversations/{conversation_id}"
        return [
            Route("/api/v2/recording/jobs", self._list_jobs, methods=["GET"]),
            Route("/api/v2/recording/jobs", self._create_job, methods=["POST"]),
            Route("/api/v2/recording/jobs/{job_id}", self._get_job, methods=["GET"]),
            Route("/api/v2/recording/jobs/{job_id}", self._put_job, methods=["PUT"]),
            Route("/api/v2/recording/jobs/{job_id}", self._delete_job, methods=["DELETE"]),
            Route("/api/v2/recording/jobs/{job_id}/failedrecordings", self._failed_recordings, methods=["GET"]),
            Route(f"{conversation}/recordingmetadata", self._list_metadata, methods=["GET"]),
            Route(f"{conversation}/recordings", self._list_recordings, methods=["GET"]),
            Route("/api/v2/recording/batchrequests", self._create_batch, methods=["POST"]),
            Route("/api/v2/recording/batchrequests/{job_id}", self._get_batch, methods=["GET"]),
            Route("/api/v2/recordings/deletionprotection", self._protected, methods=["POST"]),
            Route("/api/v2/recordings/deletionprotection", self._protect, methods=["PUT"]),
            Route("/api/v2/recordings/retention/query", self._retention, methods=["GET"]),
            Route("/api/v2/orphanrecordings", self._orphans, methods=["GET"]),
            Route("/api/v2/recordings/recordingexports/{export_id}", self._recording_export, methods=["GET"]),
            Route("/simulator/media/{conversation_id}/{recording_id}", self._media, methods=["GET"]),
        ]

    # Bulk jobs

    async def _list_jobs(self, request: Request) -> Response:
        wanted = request.query_params.get("state")
        jobs = [job for job in self.world.recording_jobs.values() if wanted in {None, job.state}]
        return json_response(page_of(request, jobs, self._job_document, highest=100))

    async def _create_job(self, request: Request) -> Response:
        query = await body_of(request)
        if query.get("action") not in _ACTIONS:
            raise ApiError(400, "bad.request", f"action must be one of {', '.join(sorted(_ACTIONS))}.")
        if query["action"] == "EXPORT" and not query.get("integrationId"):
            raise ApiError(400, "bad.request", "integrationId is required to export.")
        if not query.get("actionDate") and query.get("actionAge") is None:
            raise ApiError(400, "bad.request", "One of actionDate and actionAge is required.")
        start, end = interval_of((query.get("conversationQuery") or {}).get("interval"))
        return json_response(self._job_document(self.world.create_recording_job(query, start, end)), 202)

    async def _get_job(self, request: Request) -> Response:
        job = self.world.recording_job(request.path_params["job_id"])
        self.world.advance(job)
        return json_response(self._job_document(job))

    async def _put_job(self, request: Request) -> Response:
        job = self.world.recording_job(request.path_params["job_id"])
        if (await body_of(request)).get("state") != "PROCESSING":
            raise ApiError(400, "bad.request", "state must be PROCESSING.")
        self.world.start_recording_job(job)
        return json_response(self._job_document(job))

    async def _delete_job(self, request: Request) -> Response:
        self.world.cancel_recording_job(self.world.recording_job(request.path_params["job_id"]))
        return Response(status_code=204)

    async def _failed_recordings(self, request: Request) -> Response:
        job = self.world.recording_job(request.path_params["job_id"])

        def write(pair: tuple[str, str]) -> Document:
            conversation_id, recording_id = pair
            conversation_uri = f"/api/v2/conversations/{conversation_id}"
            return {
                "conversation": {"id": conversation_id, "selfUri": conversation_uri},
                "recording": {"id": recording_id, "selfUri": f"{conversation_uri}/recordings/{recording_id}"},
            }

        return json_response(page_of(request, self.world.failed_recordings(job), write))

    def _job_document(self, job: RecordingJob) -> Document:
        done = job.state == "FULFILLED"
        percent = 100 if done else 50 if job.state == "PROCESSING" else 0
        uri = f"/api/v2/recording/jobs/{job.export.id}"
        return {
            "id": job.export.id,
            "user": {"id": uuid_for("user", "export"), "selfUri": f"/api/v2/users/{uuid_for('user', 'export')}"},
            "state": job.state,
            "recordingJobsQuery": job.query,
            "dateCreated": iso(job.export.requested_at),
            "totalConversations": job.totals.conversations,
            "totalRecordings": job.totals.recordings,
            "totalSkippedRecordings": job.totals.skipped if done else 0,
            "totalFailedRecordings": job.totals.failed if done else 0,
            "totalProcessedRecordings": job.totals.processed * percent // 100,
            "percentProgress": percent,
            "failedRecordings": f"{uri}/failedrecordings",
            "selfUri": uri,
        }

    # Recordings of a conversation

    async def _list_metadata(self, request: Request) -> Response:
        conversation = self.world.conversation(request.path_params["conversation_id"])
        return json_response([self._metadata(conversation, item) for item in _known(conversation)])

    async def _list_recordings(self, request: Request) -> Response:
        """202 with nothing on the first look: transcoding has begun."""
        conversation = self.world.conversation(request.path_params["conversation_id"])
        if self.world.first_look(f"recordings {conversation.id}"):
            return json_response([], 202)
        return json_response([self._recording(request, conversation, item) for item in _known(conversation)])

    def _metadata(self, conversation: Conversation, item: Recording) -> Document:
        return documents.recording_metadata(conversation, item, self.world.new_id("annotation"))

    def _recording(self, request: Request, conversation: Conversation, item: Recording) -> Document:
        return documents.recording_document(
            conversation, item, self.world.new_id("annotation"), _media_uri(request, conversation, item)
        )

    async def _media(self, request: Request) -> Response:
        """The file behind a `mediaUri` or `resultUrl`; like a pre-signed URL it asks for no token."""
        known = {item.id: item for item in _known(self.world.conversation(request.path_params["conversation_id"]))}
        item = found_in(known, request.path_params["recording_id"], "recording")
        return Response(media_bytes(item.id, item.extension), media_type=CONTENT_TYPES[item.extension])

    # Batch downloads

    async def _create_batch(self, request: Request) -> Response:
        wanted = (await body_of(request)).get("batchDownloadRequestList")
        if not isinstance(wanted, list) or not 1 <= len(wanted) <= _BATCH_LIMIT:
            raise ApiError(400, "bad.request", f"batchDownloadRequestList must have 1 to {_BATCH_LIMIT} entries.")
        job_id = self.world.new_id("batch")
        self.world.batch_jobs[job_id] = wanted
        return json_response({"id": job_id, "selfUri": f"/api/v2/recording/batchrequests/{job_id}"})

    async def _get_batch(self, request: Request) -> Response:
        """InProgress with a smaller expected count on the first look, then Completed."""
        job_id = request.path_params["job_id"]
        wanted = found_in(self.world.batch_jobs, job_id, "batch request")
        results = [result for entry in wanted for result in self._batch_results(request, entry)]
        if self.world.first_look(f"batch {job_id}"):
            results, status, expected = [], "InProgress", len(wanted)
        else:
            status, expected = "Completed", len(results)
        return json_response(
            {
                "id": job_id,
                "jobId": job_id,
                "expectedResultCount": expected,
                "resultCount": len(results),
                "errorCount": sum("errorMsg" in result for result in results),
                "status": status,
                "results": results,
                "selfUri": f"/api/v2/recording/batchrequests/{job_id}",
            }
        )

    def _batch_results(self, request: Request, entry: dict[str, Any]) -> list[Document]:
        asked = {name: entry[name] for name in ("conversationId", "recordingId") if entry.get(name)}
        try:
            conversation = self.world.conversation(str(entry.get("conversationId")))
        except ApiError as error:
            return [asked | {"errorMsg": error.message}]
        wanted = entry.get("recordingId")
        items = [item for item in _known(conversation) if wanted in {None, item.id}]
        if not items:
            return [asked | {"errorMsg": "The requested recording could not be found."}]
        return [
            {
                "conversationId": conversation.id,
                "recordingId": item.id,
                "resultUrl": _media_uri(request, conversation, item),
                "contentType": CONTENT_TYPES[item.extension],
            }
            if item.file_state == "AVAILABLE"
            else {"conversationId": conversation.id, "recordingId": item.id, "errorMsg": f"File is {item.file_state}."}
            for item in items
        ]

    # Custody

    async def _protected(self, request: Request) -> Response:
        ids = _conversation_ids(await body_of(request))
        held = [item for item in ids if item in self.world.protected]
        return json_response([{"id": item, "selfUri": f"/api/v2/conversations/{item}"} for item in held])

    async def _protect(self, request: Request) -> Response:
        ids = _conversation_ids(await body_of(request))
        failed = []
        protects = request.query_params.get("protect", "true") == "true"
        for item in ids:
            try:
                self.world.conversation(item)
            except ApiError:
                failed.append(_not_protected(item, "not.found", "Conversation not found"))
                continue
            full = len(self.world.protected) >= self.world.protection_limit
            if protects and full and item not in self.world.protected:
                failed.append(_not_protected(item, "limit.exceeded", "The organization's limit is reached"))
                continue
            if protects:
                self.world.protected.add(item)
            else:
                self.world.protected.discard(item)
        return json_response({"failedUpdates": failed})

    async def _retention(self, request: Request) -> Response:
        threshold = request.query_params.get("retentionThresholdDays", "")
        if not threshold.isdecimal():
            raise ApiError(400, "bad.request", "retentionThresholdDays is not allowed.")
        retained_since = self.world.now - timedelta(days=int(threshold))
        size = number_of(request, "pageSize", 25, 500)
        night, index = _position(request)
        entities: list[Document] = []
        nights = self.world.nights
        while night < len(nights) and len(entities) < size:
            conversation = nights[night].conversation(index)
            entities += [
                documents.retention_document(conversation, item)
                for item in _known(conversation)
                if item.start < retained_since and conversation.id not in self.world.deleted
            ]
            night, index = (night, index + 1) if index + 1 < nights[night].size else (night + 1, 0)
        path = request.url.path
        document: Document = {"entities": entities, "selfUri": f"{path}?{request.url.query}"}
        if night < len(nights):
            following = request.url.include_query_params(cursor=encode_cursor(night, index))
            document["nextUri"] = f"{path}?{following.query}"
        return json_response(document)

    async def _orphans(self, request: Request) -> Response:
        found = [
            night.conversation(index)
            for night in self.world.nights
            for index in night.planting.indexes(["ORPHAN_RECORDING"])
        ]
        begun = [conversation for conversation in found if conversation.end <= self.world.now]
        return json_response(page_of(request, begun, documents.orphan_document))

    async def _recording_export(self, request: Request) -> Response:
        """The thread's manifests of one export job, with `custom_data` present and empty."""
        export_id = request.path_params["export_id"]
        job = found_in(self.world.recording_jobs, export_id, "recording export")
        with_tags = request.query_params.get("includeMetadata") == "true"
        recordings = []
        for night in self.world.nights:
            for index in night.active_between(job.export.interval_start, job.export.interval_end):
                conversation = night.conversation(index)
                if job.export.selects(conversation.start, conversation.end):
                    recordings += [
                        _manifest(conversation, item, with_tags) for item in _known(conversation) if item.has_object
                    ]
        return json_response({"id": export_id, "status": "COMPLETED", "recordings": recordings})


def _manifest(conversation: Conversation, item: Recording, with_tags: bool) -> Document:
    document: Document = {
        "conversationId": conversation.id,
        "recordingId": item.id,
        "mediaUri": f"{conversation.id}/{item.id}.{item.extension}",
    }
    return document | {"custom_data": {}} if with_tags else document


def _known(conversation: Conversation) -> list[Recording]:
    return [item for item in conversation.recordings if item.in_metadata]


def _media_uri(request: Request, conversation: Conversation, item: Recording) -> str:
    return f"{request.base_url}simulator/media/{conversation.id}/{item.id}"


def _not_protected(conversation_id: str, code: str, message: str) -> Document:
    uri = f"/api/v2/conversations/{conversation_id}"
    return {"conversation": {"id": conversation_id, "selfUri": uri}, "errorCode": code, "errorMessage": message}


def _conversation_ids(document: dict[str, Any]) -> list[str]:
    ids = document.get("conversationIds")
    if not isinstance(ids, list) or not 1 <= len(ids) <= _PROTECTION_LIMIT:
        raise ApiError(400, "bad.request", f"conversationIds must have 1 to {_PROTECTION_LIMIT} entries.")
    return [str(item) for item in ids]


def _position(request: Request) -> tuple[int, int]:
    cursor = request.query_params.get("cursor")
    if not cursor:
        return 0, 0
    night, index = decode_cursor(cursor)
    return int(night), int(index)
