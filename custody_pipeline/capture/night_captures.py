"""The documents of live capture about the night: conversations, and the events that named them.

Belongs here: `captures`, `conversation_events`. Does not: receiving events (capture/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import date, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.capture.captured import CONVERSATION, captures_of, events_of
from custody_pipeline.capture.messages import QueueError
from custody_pipeline.capture.queues import open_queue
from custody_pipeline.extract.collector import Collector, Known
from custody_pipeline.extract.receipts import FetchFailure, Landing
from custody_pipeline.io.concurrency import in_order
from custody_pipeline.io.document_store import DocumentStore, DocumentTooLargeError
from custody_pipeline.io.encrypted_files import EncryptedFileError
from custody_pipeline.io.night_keys import NightKeyError
from custody_pipeline.io.objects import error_code

READS_IN_FLIGHT = 16
_NOT_NOW = (OSError, ClientError, BotoCoreError)


def removed_key(night: date) -> str:
    """Key of the document which says that the night's captures were removed by the retention policy."""
    return f"removed/date={night}.json"


def collect_captures(collector: Collector, known: Known = lambda _: set(), last: date | None = None) -> list[Landing]:
    """Land the night's `captures` and `conversation_events`; without a capture place there are none.

    If the retention policy has removed the documents, the source is not asked, and the earlier load stays current.

    Args:
        known: which of some conversation ids are of this night; none if it is not given.
        last: the last day that may have events of the night's conversations; default: the day after.
    """
    settings = collector.settings
    store = capture_place(settings, collector.s3 if settings.captures.startswith("s3://") else None)
    if store.read(removed_key(collector.night)) is not None:
        why = "removed from the capture place by the retention policy; what was collected before stays"
        return [collector.not_configured(name, why) for name in ("captures", "conversation_events")]
    days = (last - collector.night).days if last else 1
    later = [collector.night + timedelta(days=number) for number in range(1, days + 1)]
    captures, events = (_keys(store, listed, collector.night, known, later) for listed in (captures_of, events_of))
    return [
        _collect(collector, store, "captures", captures),
        _collect(collector, store, "conversation_events", events, _waiting),
    ]


def _waiting(collector: Collector) -> str:
    """Why events of the night may still wait in the queue; empty if none does. SQS does not tell how old they are."""
    settings = collector.settings
    if settings.event_queue_url is not None or not settings.spool_path.exists():
        return ""
    try:
        with closing(open_queue(settings)) as queue:
            oldest = queue.metrics().oldest
    except QueueError as error:
        return str(error)
    if oldest is None or oldest.replace(tzinfo=None) >= collector.window[1]:
        return ""
    return f"events wait since {oldest:%Y-%m-%d %H:%M:%S} UTC: see custody events drain"


def _keys(
    store: DocumentStore,
    listed: Callable[[DocumentStore, date], Iterator[str]],
    night: date,
    known: Known,
    later: Iterable[date],
) -> Iterator[str]:
    """The night's keys, and those of later days about conversations of the night.

    Of a conversation that could not be read, nothing tells when it began: it is filed under the day of its event.
    """
    yield from listed(store, night)
    for day in later:
        named = {key: found[1] for key in listed(store, day) if (found := CONVERSATION.search(key))}
        here = known(set(named.values())) if named else set()
        yield from (key for key, conversation_id in named.items() if conversation_id in here)


def _collect(
    collector: Collector,
    store: DocumentStore,
    resource: str,
    keys: Iterator[str],
    missing: Callable[[Collector], str] = lambda _: "",
) -> Landing:
    with collector.load(resource) as load:
        load.landing.detail = missing(collector) or None
        load.incomplete = load.landing.detail is not None

        def read(key: str) -> bytes | FetchFailure | None:
            try:
                return store.read(key)
            except (DocumentTooLargeError, EncryptedFileError, NightKeyError, *_NOT_NOW) as error:
                why = f"{store.uri(key)} cannot be opened: {_told(error)}"
                return FetchFailure(resource, key, why, permanent=False)

        def found() -> Iterator[str]:
            try:
                yield from keys
            except _NOT_NOW as error:
                why = f"the capture place cannot be listed: {_told(error)}; check CUSTODY_CAPTURE_URL and permissions"
                load.add_failure(FetchFailure(resource, resource, why, permanent=False))
                load.landing.state, load.landing.detail = "failed", why

        for key, content in in_order(read, found(), workers=READS_IN_FLIGHT):
            if isinstance(content, FetchFailure):
                load.add_failure(content)
            elif content is not None:
                load.add({"key": key}, store.uri(key), content)
        if load.landing.state == "failed" and load.landing.documents:
            load.landing.state = "partial"
    return load.landing


def _told(error: Exception) -> str:
    """An error without paths of this machine."""
    if isinstance(error, ClientError):
        return error_code(error)
    return type(error).__name__ if isinstance(error, OSError | BotoCoreError) else str(error)
