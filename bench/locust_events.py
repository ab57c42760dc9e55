"""What Locust's users do: post signed events, each a different one, at a rate (`bench.capture` starts it).

`CUSTODY_BENCH_SECRET` signs; `CUSTODY_BENCH_RATE` is how many events a second each user sends.
"""

from __future__ import annotations

import itertools
import os

from locust import FastHttpUser, constant_throughput, task

from bench.capture import signed_event
from custody_pipeline.io.signature import HEADER

_NUMBERS = itertools.count()


class Sender(FastHttpUser):
    """One sender; a late answer delays its next event, so Locust's load is half open."""

    wait_time = constant_throughput(float(os.environ["CUSTODY_BENCH_RATE"]))

    @task
    def send(self) -> None:
        """One event."""
        body, signature = signed_event(next(_NUMBERS), os.environ["CUSTODY_BENCH_SECRET"])
        headers = {"Content-Type": "application/json", HEADER: signature}
        with self.client.post("/events", data=body.decode(), headers=headers, catch_response=True) as answer:
            if answer.status_code != 202:
                answer.failure(f"HTTP {answer.status_code}")
