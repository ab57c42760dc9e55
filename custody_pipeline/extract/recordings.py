"""Recordings in the platform's words: metadata by conversation, orphans without a conversation, the list of all.

Belongs here: `recording_metadata`, `orphan_recordings`, `listed_recordings`. Does not: deciding which conversations are
asked for (sql/pending_reads).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any

from custody_pipeline.extract.catalog import collect_listing
from custody_pipeline.extract.collector import Collector, Known, Load
from custody_pipeline.extract.conversations import read_singly
from custody_pipeline.extract.documents import id_of, text_of
from custody_pipeline.extract.genesys import Answer, GenesysClient, entities_of
from custody_pipeline.extract.genesys_errors import ANSWERED, BadRequest
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.io.clock import utc

RETENTION = "/api/v2/recordings/retention/query"
RETENTION_PAGE_SIZE = 500
# "Retained for more days than the provided value": the vendor does not say whether 0 is a value.
RETENTION_THRESHOLDS = (0, 1)
# The vendor's clocks may differ: a recording that was created this long before a night may be of the night.
CLOCKS_DIFFER = timedelta(hours=1)


def collect_recordings(collector: Collector, wanted: Sequence[str]) -> list[Landing]:
    """Land `recording_metadata` of the conversations in `wanted`, and the organisation's `orphan_recordings`.

    The request is `recordingmetadata`, not `recordings`: it starts no transcoding, and is never empty because of one.

    Raises:
        LoginError: the API refuses the client.
        NoAnswer: the API has stopped answering altogether.
    """
    if collector.client is None:
        return [collector.api_not_configured(name) for name in ("recording_metadata", "orphan_recordings")]
    with collector.load("recording_metadata", asked=len(wanted)) as metadata:
        read_singly(collector, metadata, wanted, lambda name: f"/api/v2/conversations/{name}/recordingmetadata")
    return [metadata.landing, collect_listing(collector, "orphan_recordings", "/api/v2/orphanrecordings")]


def collect_listed(collector: Collector, known: Known) -> Landing:
    """Land `listed_recordings`: the night's part of the vendor's list of all recordings.

    The list holds the recordings of every night, with the time of their creation. A recording is kept if it was created
    within the night or has no time, or if it is of one of the night's conversations and was created later, or shortly
    before. A list of more than `retention_pages` pages is read in part.

    Args:
        known: which of some conversation ids are of this night.

    Raises:
        LoginError: the API refuses the client.
        NoAnswer: the API does not answer at all.
    """
    name, most = "listed_recordings", collector.settings.retention_pages
    if collector.client is None:
        return collector.api_not_configured(name)
    if not most:
        return collector.not_configured(name, "off: CUSTODY_RETENTION_PAGES is 0")
    with collector.load(name) as load:
        try:
            load.add_own(collector.api_uri(RETENTION), _listed(collector, load, most), known)
        except ANSWERED as error:
            load.fail(RETENTION, error)
            load.landing.state = "partial" if load.landing.documents else "failed"
            load.landing.detail = str(error)
    return load.landing


def _listed(collector: Collector, load: Load, most: int) -> Iterator[tuple[dict[str, Any], str | None, bytes]]:
    """Every entry once, unless it was made long before the night. The conversation is given if the time cannot decide.

    Sets the load's watermark if the list was read to its end.
    """
    start, end = collector.window
    threshold, pages = retention_pages(collector.require_client())
    seen: set[str] = set()
    for number, page in enumerate(pages):
        if number == most:
            load.incomplete = True
            load.landing.detail = f"longer than {most} pages: set CUSTODY_RETENTION_PAGES higher, or to 0 to do without"
            return
        for content in entities_of(page):
            recording_id, conversation_id = id_of(content, "recordingId"), id_of(content, "conversationId")
            created = utc(text_of(content, "creationTime"))
            if (created is not None and created < start - CLOCKS_DIFFER) or recording_id in seen:
                continue
            if recording_id is not None:
                seen.add(recording_id)
            is_own = created is None or start <= created < end
            keys = {"recording_id": recording_id, "conversation_id": conversation_id}
            yield keys, None if is_own else conversation_id, content
    # "Retained for more days than" by its strictest reading. A younger recording in the list does not show that all
    # others of its age are in it.
    load.landing.data_available_until = load.landing.started_at - timedelta(days=threshold + 1)


def retention_pages(client: GenesysClient) -> tuple[int, Iterator[Answer]]:
    """The list of all recordings with the lowest threshold that the API allows.

    Returns:
        The threshold in days, and the pages; the first was asked for.

    Raises:
        BadRequest: no threshold is allowed.
        GenesysError: see genesys.py; also while the pages are read.
    """
    for threshold in RETENTION_THRESHOLDS:
        pages = client.pages(RETENTION, retentionThresholdDays=threshold, pageSize=RETENTION_PAGE_SIZE)
        try:
            return threshold, chain([next(pages)], pages)
        except BadRequest:
            if threshold == RETENTION_THRESHOLDS[-1]:
                raise
    raise AssertionError("unreachable")
