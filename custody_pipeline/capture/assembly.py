"""The parts of live capture put together from the settings, for the command line and for Dagster's sensor.

Belongs here: opening and closing. Does not: logic.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass

from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.capture.links import AudioLinker
from custody_pipeline.capture.messages import QueueMetrics
from custody_pipeline.capture.queues import open_queue
from custody_pipeline.capture.spool import Spool
from custody_pipeline.capture.worker import CaptureWorker, DrainReport, capture_client
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.erasures import erased_conversations

# The spool remembers the ids of handled events for this time, so that an event that is sent twice is handled once.
_REMEMBERED_SECONDS = 7 * 86400


@dataclass(frozen=True)
class DrainResult:
    """The result of a drain, and the queue afterwards."""

    report: DrainReport
    queue: QueueMetrics


def linker_of(settings: Settings) -> AudioLinker:
    """Ties exported audio to captures.

    Raises:
        SettingsError: `CUSTODY_EXPORT_URL` is not set, or `CUSTODY_SIDECAR_URL` where it is needed.
    """
    return AudioLinker(s3_client(settings), settings, capture_place(settings))


def drain_queue(settings: Settings, *, max_seconds: float) -> DrainResult:
    """One turn of the capture worker, for a sensor or the command line.

    Args:
        settings: the API must be configured; audio is linked if an export bucket is configured.
        max_seconds: no conversation is begun after this time.

    Raises:
        QueueError: the queue cannot be used.
        SettingsError: the API is not configured, or sidecars have no place.
    """
    settings.require("genesys_domain")
    with ExitStack() as stack:
        queue = stack.enter_context(closing(open_queue(settings)))
        worker = CaptureWorker(
            queue,
            stack.enter_context(capture_client(settings)),
            capture_place(settings),
            linker=linker_of(settings) if settings.export_url else None,
            erased=lambda: erased_conversations(settings),
        )
        report = worker.drain(max_seconds=max_seconds)
        if isinstance(queue, Spool):
            queue.forget_handled(_REMEMBERED_SECONDS)
            if report.erased:
                queue.write_anew()
        return DrainResult(report, queue.metrics())
