"""The documents of live capture about the night: conversations, and the events that named them.

Belongs here: `captures`, `conversation_events`. Does not: receiving events (capture/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.capture.captured import captures_of, events_of
from custody_pipeline.io.concurrency import in_order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from custody_pipeline.extract.collector import Collector
    from custody_pipeline.extract.receipts import Landing
    from custody_pipeline.io.document_store import DocumentStore

READS_IN_FLIGHT = 16


def removed_key(night: date) -> str:
    """Key of the document which says that the night's captures were removed by the retention policy."""
    return f"removed/date={night}.json"


def collect_captures(collector: Collector) -> list[Landing]:
    """Land the night's `captures` and `conversation_events`; without a capture place there are none.

    If the retention policy has removed the documents, the source is not asked, and the earlier load stays current.
    """
    settings = collector.settings
    store = capture_place(settings, collector.s3 if settings.captures.startswith("s3://") else None)
    if store.read(removed_key(collector.night)) is not None:
        why = "removed from the capture place by the retention policy; what was collected before stays"
        return [collector.not_configured(name, why) for name in ("captures", "conversation_events")]
    return [
        _collect(collector, store, "captures", captures_of(store, collector.night)),
        _collect(collector, store, "conversation_events", events_of(store, collector.night)),
    ]


def _collect(collector: Collector, store: DocumentStore, resource: str, keys: Iterator[str]) -> Landing:
    with collector.load(resource) as load:
        for key, content in in_order(store.read, keys, workers=READS_IN_FLIGHT):
            if content is not None:
                load.add({"key": key}, store.uri(key), content)
    return load.landing
