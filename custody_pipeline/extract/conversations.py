"""Conversations: the night's details from the bulk job, and single reads for what the bulk job lacks.

Belongs here: `conversation_details`, `conversations`, `conversation_attributes`. Does not: deciding which conversations
need a single read (sql/pending_reads).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Set
from datetime import datetime
from functools import partial
from http.client import FORBIDDEN, NOT_IMPLEMENTED
from typing import Any

from custody_pipeline.extract.collector import Collector, Load
from custody_pipeline.extract.documents import fields_of, items_of, text_of
from custody_pipeline.extract.export_keys import is_conversation_id
from custody_pipeline.extract.genesys import Answer, GenesysClient
from custody_pipeline.extract.genesys_errors import (
    ANSWERED,
    FAILED,
    GenesysError,
    JobFailed,
    NoAnswer,
    NotFound,
)
from custody_pipeline.extract.receipts import FetchFailure, Landing
from custody_pipeline.io.clock import utc
from custody_pipeline.io.concurrency import in_order

JOBS = "/api/v2/analytics/conversations/details/jobs"
PAGE_SIZE = 1_000
FIRST_POLL = 0.25
LONGEST_POLL = 15.0
JOB_PATIENCE = 3_600.0
NOT_FOUND_PATIENCE = 60.0
# Most of these threads wait for a retry or for their turn, as the client sends few requests at a time. A request that
# is retried for seconds must not hold up the others. Later answers wait in memory: usually 15 MB.
ASKING = 64
ASKED_AHEAD = 1_000
# After this many requests in a row without any answer the API is down, and the rest of the night would only wait.
UNANSWERED_IN_A_ROW = 20

# Fields of AnalyticsConversationAsyncQueryResponse. An object without any of them is not an empty page.
_PAGE_OF_RESULTS = frozenset({"conversations", "cursor", "dataAvailabilityDate"})


def collect_details(collector: Collector) -> list[Landing]:
    """Land the night's conversations with their attributes: `conversation_details`, by the bulk analytics job.

    If the job fails twice, there is a failure row and the receipt's state is `failed`. The night continues with single
    reads.

    Raises:
        LoginError: the API refuses the client.
        NoAnswer: the API does not answer at all.
    """
    if collector.client is None:
        return [collector.api_not_configured("conversation_details")]
    with collector.load("conversation_details") as load:
        load.landing.data_available_until = _watermark(collector.client)
        try:
            _read_details(collector, load)
        except ANSWERED as error:
            load.fail("details job", error)
            load.landing.state = "failed" if load.landing.documents == 0 else "partial"
            load.landing.detail = str(error)
    return [load.landing]


def _watermark(client: GenesysClient) -> datetime | None:
    try:
        return utc(client.get(f"{JOBS}/availability").object().get("dataAvailabilityDate"))
    except ANSWERED:
        return None  # the result pages state it too


def _read_details(collector: Collector, load: Load) -> None:
    client = collector.require_client()
    job = _finished_job(collector, client)
    job_id, path = job.rpartition("/")[2], f"{job}/results"
    seen: set[bytes] = set()
    for page in client.pages(path, pageSize=PAGE_SIZE):
        page_sha256 = hashlib.sha256(page.body).hexdigest()
        stated = utc(text_of(page.body, "dataAvailabilityDate"))
        load.landing.data_available_until = min(filter(None, (load.landing.data_available_until, stated)), default=None)
        items, fields = items_of(page.body, "conversations"), fields_of(page.body) or {}
        if items is None or _PAGE_OF_RESULTS.isdisjoint(fields):
            raise page.unexpected("unexpected shape: no list of conversations")
        if "conversations" not in fields:
            load.landing.detail = "a page without a list of conversations counts as empty"
        for content in items:
            digest = hashlib.sha256(content).digest()
            if digest in seen:
                continue  # items move between pages: the same conversation, the same bytes
            seen.add(digest)
            keys = {
                "page_sha256": page_sha256,
                "job_id": job_id,
                "conversation_id": text_of(content, "conversationId") or "",
            }
            load.add(keys, collector.api_uri(path), content)


def _finished_job(collector: Collector, client: GenesysClient) -> str:
    query = {
        "interval": collector.interval,
        "order": "asc",
        "orderBy": "conversationStart",
        "startOfDayIntervalMatching": True,
    }
    run = partial(finished_job, client, JOBS, query, "jobId", "FULFILLED", {"FAILED", "CANCELLED", "EXPIRED"})
    try:
        return run()
    except JobFailed:
        return run()


def finished_job(
    client: GenesysClient, jobs: str, query: dict[str, Any], field: str, finished: str, failed: Set[str]
) -> str:
    """Submit a job, and wait until it has the state `finished`.

    Args:
        jobs: the path that takes `query` and answers with the job's id in `field`.

    Returns:
        The path of the job.

    Raises:
        JobFailed: it ended with one of the states `failed`, or never.
        GenesysError: see genesys.py.
    """
    answer = client.post(jobs, query)
    job_id = answer.object().get(field)
    if not isinstance(job_id, str) or not job_id.replace("-", "").isalnum():
        raise answer.unexpected(f"unexpected shape: no {field}")
    path, waited, pause, known = f"{jobs}/{job_id}", 0.0, FIRST_POLL, False
    while waited < JOB_PATIENCE:
        try:
            answer, known = client.get(path), True
            state = answer.object().get("state")
            if not isinstance(state, str):
                raise answer.unexpected("unexpected shape: no state")
        except NotFound as error:
            # A new job may not be known everywhere at once.
            if known or waited > NOT_FOUND_PATIENCE:
                raise JobFailed(f"GET {path}", "the job is not found") from error
            state = None
        if state == finished:
            return path
        if state in failed:
            raise JobFailed(f"GET {path}", f"the job ended {state}")
        client.sleep(pause)
        waited, pause = waited + pause, min(pause * 1.5, LONGEST_POLL)
    raise JobFailed(f"GET {path}", f"the job did not end within {JOB_PATIENCE:.0f} s")


def read_singly(
    collector: Collector,
    load: Load,
    conversation_ids: Iterable[str],
    path_of: Callable[[str], str],
    *,
    absent_is_failure: bool = True,
) -> list[str]:
    """Read one document per conversation into `load`; each that cannot be read is a failure row.

    Returns:
        The ids that were read.

    Raises:
        LoginError: the API refuses the client.
        NoAnswer: the API has stopped answering altogether.
    """
    client = collector.require_client()
    read: list[str] = []
    unanswered = 0

    def ask(conversation_id: str) -> Answer | GenesysError | None:
        if not is_conversation_id(conversation_id):
            return None
        try:
            return client.whole(path_of(conversation_id))
        except FAILED as error:
            return error

    for conversation_id, answer in in_order(ask, conversation_ids, workers=ASKING, ahead=ASKED_AHEAD):
        unanswered = unanswered + 1 if isinstance(answer, NoAnswer) else 0
        if isinstance(answer, Answer):
            path = path_of(conversation_id)
            load.add({"conversation_id": conversation_id}, collector.api_uri(path), answer.body)
            read.append(conversation_id)
        elif isinstance(answer, GenesysError):
            if unanswered >= UNANSWERED_IN_A_ROW:
                raise answer
            if absent_is_failure or answer.status not in {404, 410}:
                load.fail(conversation_id, answer)
        else:
            load.add_failure(FetchFailure(load.landing.resource, conversation_id[:64], "not a conversation id"))
    return read


def collect_conversations(collector: Collector, wanted: dict[str, list[str]]) -> list[Landing]:
    """Land single reads: `conversations`, and `conversation_attributes` where the conversation itself may lack tags.

    Args:
        wanted: conversation id → reasons, from sql/pending_reads/conversations_to_read.sql. Typed custom attributes are
            not asked for where `long_value` is the only reason.

    Raises:
        LoginError, NoAnswer: as `read_singly`.
    """
    names = ("conversations", "conversation_attributes")
    if collector.client is None:
        return [collector.api_not_configured(name) for name in names]
    with collector.load("conversations", asked=len(wanted)) as conversations:
        read = read_singly(collector, conversations, wanted, lambda name: f"/api/v2/conversations/{name}")
    typed = [name for name in read if set(wanted[name]) != {"long_value"}]
    with collector.load("conversation_attributes", asked=len(typed)) as attributes:
        read_singly(
            collector,
            attributes,
            typed,
            lambda name: f"/api/v2/conversations/{name}/customattributes",
            absent_is_failure=False,
        )
    _not_asked_if_refused(attributes.landing)
    return [conversations.landing, attributes.landing]


def _not_asked_if_refused(landing: Landing) -> None:
    """A client that may not read any typed attribute has not asked for them: no night waits for them."""
    refused = all(failure.http_status in {FORBIDDEN, NOT_IMPLEMENTED} for failure in landing.failures)
    if landing.failures and refused and not landing.documents:
        landing.state, landing.detail = "not_configured", landing.failures[0].message
