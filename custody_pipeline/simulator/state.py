"""The state of the running service: its clock, tokens, jobs and holds.

Belongs here: state and its rules, without HTTP. Does not: routes or how an answer is written.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack

import orjson

from custody_pipeline.simulator.api_documents import iso
from custody_pipeline.simulator.calls import Conversation, ExportJob, JobTotals
from custody_pipeline.simulator.identity import conversation_ids, uuid_for
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.structure import INTEGRATION_ID

CLIENT_ID = "custody-demo"
CLIENT_SECRET = "custody-demo-secret"  # noqa: S105  the simulator's, known to everyone
CONCURRENT_JOBS = 2

T = TypeVar("T")


class ApiError(Exception):
    """An answer other than success, with the vendor's error body."""

    def __init__(
        self, status: int, code: str, message: str, *, entity_id: str | None = None, retry_after: int | None = None
    ):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.entity_id, self.retry_after = entity_id, retry_after


def not_found(what: str, entity_id: str) -> ApiError:
    """The 404 of an entity."""
    return ApiError(404, "not.found", f"The requested {what} could not be found.", entity_id=entity_id)


def found_in(known: Mapping[str, T], entity_id: str, what: str) -> T:
    """An entity by its id.

    Raises:
        ApiError: 404, there is none.
    """
    if entity_id not in known:
        raise not_found(what, entity_id)
    return known[entity_id]


@dataclass
class Token:
    """An access token, its end (monotonic seconds) and its requests in the running minute."""

    ends: float
    window_ends: float
    used: int = 0


@dataclass
class RecordingJob:
    """A bulk recording job: `polls` counts what has been seen of it in its present state."""

    export: ExportJob
    query: dict[str, Any]
    state: str
    totals: JobTotals = field(default_factory=JobTotals)
    polls: int = 0


@dataclass
class DetailsJob:
    """A bulk analytics job."""

    start: datetime
    end: datetime
    by_start_day: bool
    submitted: datetime
    state: str = "QUEUED"


class WorldOptions(TypedDict, total=False):
    """The options of a `World`.

    Attributes:
        now: the clock; the latest of the nights' clocks by default.
        token_lifetime: seconds.
        rate_limit: requests a minute and token.
        minute: seconds of that minute; tests have no time to wait for a whole one.
        one_allowance: all tokens share what one may ask.
        on_fulfilled: called with the organisation and the job when a job created through the API is FULFILLED, before
            anyone sees that state: the exporter.
    """

    now: datetime
    token_lifetime: int
    rate_limit: int
    minute: float
    one_allowance: bool
    on_fulfilled: Callable[[Organization, ExportJob], None]


class World:
    """One organisation, one or several nights of it (of the same seed), at one moment."""

    def __init__(self, organizations: Iterable[Organization], **options: Unpack[WorldOptions]):
        nights = sorted(organizations, key=lambda item: item.night)
        if not nights or len({item.seed for item in nights}) > 1:
            raise ValueError("the nights of one organisation have one seed")
        self.seed = nights[0].seed
        self.now = options.get("now") or max(item.clock for item in nights)
        self._nights = {item.night: item.at(self.now) for item in nights}
        self._cache: dict[str, Conversation] = {}
        self.token_lifetime, self.rate_limit = options.get("token_lifetime", 86_400), options.get("rate_limit", 300)
        self._minute, self._one_allowance = options.get("minute", 60.0), options.get("one_allowance", False)
        self.on_fulfilled = options.get("on_fulfilled")
        self.lock = threading.RLock()
        self.requests = self.over_the_limit = 0
        self._issued = 0
        self._tokens: dict[str, Token] = {}
        self._totals: dict[str, JobTotals] = {}
        self._recording_jobs: dict[str, RecordingJob] = {}
        self.details_jobs: dict[str, DetailsJob] = {}
        self.batch_jobs: dict[str, list[dict[str, Any]]] = {}
        self.audits: dict[str, dict[str, Any]] = {}
        self.flow_exports: dict[str, str] = {}
        self._seen: set[str] = set()
        self.protected: set[str] = set()
        self.protection_limit = 1_000_000
        self.triggers: dict[str, dict[str, Any]] = {}
        self.gdpr_requests: dict[str, dict[str, Any]] = {}
        # Conversations of a division that the client may not see.
        self.hidden: set[str] = set()
        # Conversations that are gone because a person asked for it.
        self.deleted: set[str] = set()

    def new_id(self, what: str) -> str:
        """A fresh id; the same in every run that asks for the same things in the same order."""
        with self.lock:
            self._issued += 1
            return uuid_for("issued", self.seed, what, self._issued)

    def first_look(self, what: str) -> bool:
        """True for the first request of this: a slow result is not ready then."""
        with self.lock:
            first = what not in self._seen
            self._seen.add(what)
            return first

    # The organisation

    @property
    def nights(self) -> list[Organization]:
        """The nights, oldest first, at the clock's time."""
        return list(self._nights.values())

    def set_now(self, now: datetime) -> None:
        """Move the clock."""
        with self.lock:
            self.now = now
            self._nights = {night: item.at(now) for night, item in self._nights.items()}
            self._cache.clear()
            self._totals.clear()

    @property
    def watermark(self) -> datetime:
        """`dataAvailabilityDate`."""
        return self.nights[-1].watermark

    def conversation(self, conversation_id: str) -> Conversation:
        """The conversation of this id, if it has begun.

        Raises:
            ApiError: 404.
        """
        if conversation_id in self.deleted:
            raise not_found("conversation", conversation_id)
        cached = self._cache.get(conversation_id)
        if cached is not None:
            return cached
        found = conversation_ids(self.seed).decode(conversation_id)
        night = self._nights.get(found[0]) if found else None
        conversation = night.find(conversation_id) if night else None
        if conversation is None or conversation.start > self.now:
            raise not_found("conversation", conversation_id)
        with self.lock:
            if len(self._cache) >= 4096:
                self._cache.clear()
            self._cache[conversation_id] = conversation
        return conversation

    # Tokens

    def issue_token(self) -> str:
        """A new access token."""
        with self.lock:
            token = base64.urlsafe_b64encode(self.new_id("token").encode()).decode().rstrip("=")
            now = time.monotonic()
            former = next(iter(self._tokens.values()), None) if self._one_allowance else None
            self._tokens[token] = former or Token(now + self.token_lifetime, now + self._minute)
            return token

    def expire_token(self, token: str) -> None:
        """This token ends now."""
        with self.lock:
            self._tokens.pop(token, None)

    def admit(self, token: str) -> tuple[int, int]:
        """Count one request of this token.

        Returns:
            Requests in the running minute, this one included, and seconds until the minute is over.

        Raises:
            ApiError: 401 for a token that is unknown or has ended.
        """
        with self.lock:
            known, now = self._tokens.get(token), time.monotonic()
            if known is None or known.ends <= now:
                raise ApiError(401, "bad.credentials", "Invalid login credentials.")
            if known.window_ends <= now:
                known.used, known.window_ends = 0, now + self._minute
            known.used += 1
            return known.used, max(1, round(known.window_ends - now))

    # Recording jobs

    @property
    def recording_jobs(self) -> dict[str, RecordingJob]:
        """Every bulk recording job, newest first."""
        jobs = dict(self._recording_jobs)
        for night in self.nights:
            for export in night.export_jobs:
                if export.id not in jobs:
                    jobs[export.id] = self._own_job(night, export)
        return dict(sorted(jobs.items(), key=lambda item: item[1].export.requested_at, reverse=True))

    def _own_job(self, night: Organization, export: ExportJob) -> RecordingJob:
        if export.id not in self._totals:
            self._totals[export.id] = night.totals(export)
        return RecordingJob(export, _query_of(export), "FULFILLED", self._totals[export.id])

    def recording_job(self, job_id: str) -> RecordingJob:
        """One bulk recording job.

        Raises:
            ApiError: 404.
        """
        return found_in(self.recording_jobs, job_id, "recording job")

    def failed_recordings(self, job: RecordingJob) -> list[tuple[str, str]]:
        """(conversation id, recording id) that the job failed to export; empty until it is FULFILLED."""
        if job.state != "FULFILLED":
            return []
        return [pair for night in self.nights for pair in night.failed_recordings(job.export)]

    def create_recording_job(self, query: dict[str, Any], start: datetime, end: datetime) -> RecordingJob:
        """A new job, PENDING.

        Raises:
            ApiError: 400 when two jobs are under way.
        """
        with self.lock:
            under_way = [
                job for job in self._recording_jobs.values() if job.state in {"PENDING", "READY", "PROCESSING"}
            ]
            if len(under_way) >= CONCURRENT_JOBS:
                raise ApiError(
                    400, "too.many.jobs", f"The organization already has {CONCURRENT_JOBS} recording jobs in progress."
                )
            export = ExportJob(
                self.new_id("recording-job"),
                start,
                end,
                self.now,
                include_sensitive=bool(query.get("includeRecordingsWithSensitiveData", False)),
                on_request=True,
            )
            job = RecordingJob(export, query, "PENDING")
            self._recording_jobs[export.id] = job
            return job

    def advance(self, job: RecordingJob) -> None:
        """Let a job go on by one step: each look at it is one."""
        with self.lock:
            job.polls += 1
            if job.state == "PENDING":
                job.state, job.totals = "READY", self._totals_of(job.export)
            elif job.state == "PROCESSING" and job.polls > 1:
                self._fulfil(job)

    def _totals_of(self, export: ExportJob) -> JobTotals:
        parts = [night.totals(export) for night in self.nights]
        return JobTotals(
            sum(part.conversations for part in parts),
            sum(part.recordings for part in parts),
            0 if export.include_sensitive else sum(part.skipped for part in parts),
            sum(part.failed for part in parts),
        )

    def _fulfil(self, job: RecordingJob) -> None:
        if job.query.get("action") == "EXPORT":
            for night in self.nights:
                changed = replace(night, requested_jobs=(*night.requested_jobs, job.export))
                self._nights[night.night] = changed
                if self.on_fulfilled is not None:
                    self.on_fulfilled(changed, job.export)
            self._cache.clear()
        job.state = "FULFILLED"

    def start_recording_job(self, job: RecordingJob) -> None:
        """READY → PROCESSING.

        Raises:
            ApiError: 400 for a job in another state.
        """
        with self.lock:
            if job.state != "READY":
                raise ApiError(400, "bad.request", f"A job that is {job.state} cannot be executed; it must be READY.")
            job.state, job.polls = "PROCESSING", 0

    def cancel_recording_job(self, job: RecordingJob) -> None:
        """→ CANCELLED.

        Raises:
            ApiError: 400 for a job that has ended.
        """
        with self.lock:
            if job.state in {"FULFILLED", "CANCELLED"}:
                raise ApiError(400, "bad.request", f"A job that is {job.state} cannot be cancelled.")
            job.state = "CANCELLED"


def _query_of(export: ExportJob) -> dict[str, Any]:
    return {
        "action": "EXPORT",
        "actionDate": iso(export.requested_at),
        "integrationId": INTEGRATION_ID,
        "includeRecordingsWithSensitiveData": export.include_sensitive,
        "includeScreenRecordings": True,
        "includePolicyBasedRecordings": True,
        "includeSnippetRecordings": True,
        "conversationQuery": {
            "interval": f"{iso(export.interval_start)}/{iso(export.interval_end)}",
            "order": "asc",
            "orderBy": "conversationStart",
        },
    }


def encode_cursor(*parts: object) -> str:
    """An opaque cursor that carries the parts."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def decode_cursor(cursor: str) -> list[Any]:
    """The parts of a cursor.

    Raises:
        ApiError: 400 for any other text.
    """
    try:
        return list(orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))))
    except (ValueError, TypeError) as error:
        raise ApiError(400, "bad.request", "The cursor is not one of this query's.") from error
