"""Recordings as the platform knows them: metadata by conversation, and recordings without one.

Belongs here: `recording_metadata`, `orphan_recordings`. Does not: deciding which conversations are asked for
(sql/pending_reads).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from custody_pipeline.extract.catalog import collect_listing
from custody_pipeline.extract.conversations import read_singly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from custody_pipeline.extract.collector import Collector
    from custody_pipeline.extract.receipts import Landing


def collect_recordings(collector: Collector, wanted: Sequence[str]) -> list[Landing]:
    """Land `recording_metadata` of the conversations in `wanted`, and the organisation's `orphan_recordings`.

    `recordingmetadata` is read and not `recordings`: it triggers no transcoding and is never empty for that reason.

    Raises:
        LoginError: the API refuses the client.
        NoAnswer: the API has stopped answering altogether.
    """
    if collector.client is None:
        return [collector.api_not_configured(name) for name in ("recording_metadata", "orphan_recordings")]
    with collector.load("recording_metadata", asked=len(wanted)) as metadata:
        read_singly(collector, metadata, wanted, lambda name: f"/api/v2/conversations/{name}/recordingmetadata")
    return [metadata.landing, collect_listing(collector, "orphan_recordings", "/api/v2/orphanrecordings")]
