"""Routes of conversations and of analytics: single reads, typed attributes, the bulk details job, the sync query."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from custody_pipeline.simulator import api_documents as documents
from custody_pipeline.simulator.answers import body_of, interval_of, json_response, number_of
from custody_pipeline.simulator.api_documents import Document, iso
from custody_pipeline.simulator.calls import Conversation, refusal_of
from custody_pipeline.simulator.faults import NOT_IN_DETAILS
from custody_pipeline.simulator.state import (
    ApiError,
    DetailsJob,
    World,
    decode_cursor,
    encode_cursor,
    found_in,
    not_found,
)

_KEPT = timedelta(days=3)
_PAGE_LIMIT = 1000
_QUERY_PAGE_LIMIT = 100
_NEXT_STATE = {"QUEUED": "PENDING", "PENDING": "FULFILLED"}
_SERVER_TROUBLE = ((500, None), (503, 1), (504, None))


class ConversationRoutes:
    """Conversation and analytics endpoints over one world."""

    def __init__(self, world: World):
        self.world = world

    def routes(self) -> list[Route]:
        """Every route, most specific first."""
        jobs = "/api/v2/analytics/conversations/details/jobs"
        return [
            Route(f"{jobs}/availability", self._availability, methods=["GET"]),
            Route(jobs, self._create_job, methods=["POST"]),
            Route(f"{jobs}/{{job_id}}", self._get_job, methods=["GET"]),
            Route(f"{jobs}/{{job_id}}/results", self._results, methods=["GET"]),
            Route("/api/v2/analytics/conversations/details/query", self._query, methods=["POST"]),
            Route("/api/v2/analytics/conversations/{conversation_id}/details", self._one_details, methods=["GET"]),
            Route("/api/v2/conversations/{conversation_id}", self._conversation, methods=["GET"]),
            Route("/api/v2/conversations/{conversation_id}/customattributes", self._typed_attributes, methods=["GET"]),
        ]

    # Single reads

    async def _conversation(self, request: Request) -> Response:
        conversation = self._readable(request.path_params["conversation_id"])
        return json_response(documents.conversation_document(conversation, self.world.now))

    async def _typed_attributes(self, request: Request) -> Response:
        return json_response(documents.typed_attributes(self._readable(request.path_params["conversation_id"])))

    def _readable(self, conversation_id: str) -> Conversation:
        """The conversation, or the refusal that its fault asks for."""
        conversation = self.world.conversation(conversation_id)
        refusal = "forbidden" if conversation_id in self.world.hidden else refusal_of(conversation)
        if refusal == "not_found":
            raise not_found("conversation", conversation_id)
        if refusal == "forbidden":
            raise ApiError(
                403,
                "missing.division.permission",
                "Unable to perform the requested action. You are missing a permission in the division.",
                entity_id=conversation_id,
            )
        if refusal == "trouble":
            form = conversation.faults.get("CONVERSATION_FETCH_FAILED", len(_SERVER_TROUBLE) - 1)
            status, retry_after = _SERVER_TROUBLE[form]
            raise ApiError(
                status, "internal.server.error", "The request could not be completed.", retry_after=retry_after
            )
        return conversation

    # Analytics

    async def _availability(self, _: Request) -> Response:
        return json_response({"dataAvailabilityDate": iso(self.world.watermark)})

    async def _create_job(self, request: Request) -> Response:
        query = await body_of(request)
        start, end = interval_of(query.get("interval"))
        job_id = self.world.new_id("details-job")
        by_start_day = bool(query.get("startOfDayIntervalMatching", False))
        self.world.details_jobs[job_id] = DetailsJob(start, end, by_start_day, self.world.now)
        return json_response({"jobId": job_id}, 202)

    async def _get_job(self, request: Request) -> Response:
        job = self._job(request)
        if job.state in _NEXT_STATE:
            job.state = _NEXT_STATE[job.state]
        elif job.state == "FULFILLED" and self.world.now >= job.submitted + _KEPT:
            job.state = "EXPIRED"
        document: Document = {
            "state": job.state,
            "submissionDate": iso(job.submitted),
            "expirationDate": iso(job.submitted + _KEPT),
        }
        if job.state == "FULFILLED":
            document["completionDate"] = iso(job.submitted)
        return json_response(document)

    async def _results(self, request: Request) -> Response:
        """A page of at most 1,000; the second page is always empty and has a cursor."""
        job = self._job(request)
        if job.state != "FULFILLED":
            raise ApiError(400, "bad.request", f"A job that is {job.state} has no results.")
        size = number_of(request, "pageSize", _PAGE_LIMIT, _PAGE_LIMIT)
        cursor = request.query_params.get("cursor")
        page, night, index = decode_cursor(cursor) if cursor else (0, 0, 0)
        if page == 1:
            return self._results_page([], encode_cursor(page + 1, night, index))
        found = list(islice(self._selected(job, night, index), size + 1))
        following = encode_cursor(page + 1, *found[size][:2]) if len(found) > size else None
        rows = [documents.details(conversation) for _, _, conversation in found[:size]]
        return self._results_page(rows, following)

    def _results_page(self, rows: list[Document], cursor: str | None) -> Response:
        document: Document = {"conversations": rows, "dataAvailabilityDate": iso(self.world.watermark)}
        return json_response(document | {"cursor": cursor} if cursor else document)

    def _selected(self, job: DetailsJob, night: int, index: int) -> Iterator[tuple[int, int, Conversation]]:
        nights = self.world.nights
        for place in range(night, len(nights)):
            here, candidates = nights[place], nights[place].active_between(job.start, job.end)
            for number in range(max(index if place == night else 0, candidates.start), candidates.stop):
                if here.start_of(number) >= here.watermark:
                    break
                conversation = here.conversation(number)
                if conversation.id in self.world.deleted:
                    continue
                earliest = conversation.start if job.by_start_day else conversation.end
                if earliest >= job.start and not conversation.faults.keys() & NOT_IN_DETAILS:
                    yield place, number, conversation

    def _job(self, request: Request) -> DetailsJob:
        return found_in(self.world.details_jobs, request.path_params["job_id"], "job")

    async def _query(self, request: Request) -> Response:
        """The synchronous query: no attributes."""
        query = await body_of(request)
        start, end = interval_of(query.get("interval"))
        paging = query.get("paging") or {}
        size, page = int(paging.get("pageSize", 25)), int(paging.get("pageNumber", 1))
        if not 1 <= size <= _QUERY_PAGE_LIMIT or page < 1:
            raise ApiError(400, "bad.request", f"paging.pageSize must be from 1 to {_QUERY_PAGE_LIMIT}.")
        job = DetailsJob(start, end, by_start_day=False, submitted=self.world.now)
        found = [conversation for _, _, conversation in self._selected(job, 0, 0)]
        rows = found[(page - 1) * size : page * size]
        return json_response(
            {"conversations": [documents.details(item, attributes=False) for item in rows], "totalHits": len(found)}
        )

    async def _one_details(self, request: Request) -> Response:
        conversation = self._readable(request.path_params["conversation_id"])
        if conversation.start >= self.world.watermark:
            raise not_found("conversation", conversation.id)
        return json_response(documents.details(conversation, attributes=False))
