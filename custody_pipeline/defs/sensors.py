"""Live capture in Dagster: a sensor that starts the capture worker while tags are still there.

Belongs here: the sensor, its asset and the numbers that it shows. Does not: the worker (capture).
"""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from custody_pipeline.capture import metrics
from custody_pipeline.capture.assembly import drain_queue
from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.capture.queues import open_queue
from custody_pipeline.defs.failures import failing_step
from custody_pipeline.defs.metadata import markdown_image
from custody_pipeline.defs.outside import EVENTS
from custody_pipeline.defs.resources import Deployment

# Seconds; shorter than the sensor's interval, so that turns do not overlap.
TURN_SECONDS = 50
UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.asset(key=["raw", "live_captures"], deps=[EVENTS], group_name="capture", kinds={"sqs"}, pool="capture")
def live_captures(deployment: Deployment) -> dg.MaterializeResult[None]:
    """Conversations that an event named, read before their tags vanish. Shows queue depth, age, captures and lag."""
    settings = deployment.settings
    with failing_step():
        result = drain_queue(settings, max_seconds=TURN_SECONDS)
    now = datetime.now(UTC)
    days = (now.date() - timedelta(days=1), now.date())
    store = capture_place(settings)
    points = [point for day in days for point in metrics.capture_points(store, day)]
    shown: dict[str, Any] = dict(metrics.summary(result.queue, points, now))
    shown |= {"turn_events": result.report.events, "turn_captures": result.report.captures}
    shown |= {"turn_set_aside": sum(result.report.set_aside.values()), "turn_released": result.report.released}
    shown["turn_stopped"] = result.report.stopped or "-"
    if result.report.oldest:
        shown["oldest_handled_seconds"] = round((now - result.report.oldest).total_seconds(), 3)
    shown["captures by hour"] = markdown_image(metrics.plot(points), "Captures by hour, and their lag")
    return dg.MaterializeResult(metadata=shown)


capture_events = dg.define_asset_job(
    "capture_events",
    selection=dg.AssetSelection.assets(live_captures),
    description="Read the conversations that waiting events name.",
)


@dg.sensor(
    job=capture_events,
    minimum_interval_seconds=60,
    description="Events wait: read the conversations that they name, before their tags vanish.",
)
def waiting_events(context: dg.SensorEvaluationContext, deployment: Deployment) -> dg.RunRequest | dg.SkipReason:
    """Start one turn of the capture worker when events wait. Turn the sensor on where events are collected."""
    # Each turn uses capture's whole share of the rate limit. A turn that began long ago was killed: it is ignored.
    since = datetime.now(UTC) - timedelta(seconds=10 * TURN_SECONDS)
    under_way = dg.RunsFilter(job_name=capture_events.name, statuses=UNFINISHED, created_after=since)
    if context.instance.get_runs_count(under_way):
        return dg.SkipReason("A turn is under way.")
    with closing(open_queue(deployment.settings)) as queue:
        depth = queue.metrics().depth
    if not depth:
        return dg.SkipReason("No event waits.")
    return dg.RunRequest(run_key=None, tags={"custody/events": str(depth)})
