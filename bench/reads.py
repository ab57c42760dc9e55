"""Single reads under the vendor's limit: the least time that it allows against the time taken, and what it refuses.

    python -m bench.reads                         # 1,200 conversations, four minutes
    python -m bench.reads --calls 3000

The simulated organisation counts requests as the vendor does, 300 a minute and token, and answers 429 above that. The
least time is one minute for each 300 requests that were made before the last 300.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bench.night import NIGHT, api_settings, organization
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.recordings import collect_recordings
from custody_pipeline.simulator.server import SimulatorServer

PER_MINUTE = 300
GOAL = 0.95


def main() -> None:
    """Read the recordings of every conversation of a night, and print one line."""
    parser = argparse.ArgumentParser(prog="python -m bench.reads", description=__doc__)
    parser.add_argument("--calls", type=int, default=1_200)
    night = organization(parser.parse_args().calls)
    with (
        tempfile.TemporaryDirectory(prefix="custody-bench-") as folder,
        SimulatorServer(night, rate_limit=PER_MINUTE) as server,
    ):
        settings = api_settings(Path(folder), server.base_url)
        settings = settings.model_copy(update={"genesys_requests_per_minute": PER_MINUTE})
        with Collector(settings, NIGHT) as collector:
            begun = time.monotonic()
            landings = collect_recordings(collector, [call.id for call in night.conversations()])
            seconds = time.monotonic() - begun
            counters = collector.require_client().counters
        refused = server.world.over_the_limit
    assert all(landing.state == "complete" for landing in landings), landings
    least = 60 * ((counters.requests - 1) // PER_MINUTE)
    print(
        f"{counters.requests:,} requests in {seconds:.1f} s, {counters.retries} repeated, {refused} refused: "
        f"{least / seconds:.1%} of what the limit allows (goal {GOAL:.0%}, none refused)"
    )


if __name__ == "__main__":
    main()
