"""How many events a second the receiver accepts while each is made durable, and how long a sender waits.

    python -m bench.capture [--rate 1000] [--seconds 10] [--connections 64] [--tool locust own] [--json]

The receiver runs as a process of its own, with its spool on the disk under `--folder` (a temporary one by default), and
the sender as another, on the same machine. Two senders measure it by turns: Locust, a public load tool, whose latencies
are from sending to answer; and our own, whose load is open: events are due at a fixed rate whether or not answers came,
and an event's latency counts from the moment it was due, so that a slow receiver cannot hide behind waiting senders (no
coordinated omission). Every event is a different one, signed; every 202 is then looked for in the spool.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from custody_pipeline.capture.spool import Spool
from custody_pipeline.io.signature import HEADER, sign

SECRET = secrets.token_hex(16)
WARM = 200
KEY_ID = "bench"
RECEIVER = """
import sys
from pathlib import Path
from custody_pipeline.capture.receiver import serve
from custody_pipeline.settings import Settings
from custody_pipeline.capture.spool import Spool
serve(Settings(), Spool(Path(sys.argv[1])), port=0, on_ready=lambda url: print(url, flush=True))
"""


def signed_event(number: int, secret: str) -> tuple[bytes, str]:
    """One attribute event, and its signature."""
    conversation_id = str(uuid.uuid4())
    event = {
        "eventTime": int(time.time() * 1000),
        "conversationId": conversation_id,
        "participantId": str(uuid.uuid4()),
        "attributes": {"Legal-Hold": "yes", "Matter-Number": f"{number:07}", "Summary": "x" * 600},
    }
    envelope = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "v2.detail.events.conversation.{id}.attributes",
        "time": "2026-11-02T10:00:00Z",
        "detail": {"topicName": f"v2.detail.events.conversation.{conversation_id}.attributes", "eventBody": event},
    }
    body = json.dumps(envelope).encode()
    return body, sign(body, key_id=KEY_ID, secret=secret.encode(), timestamp=int(time.time()))


def request(number: int) -> bytes:
    """One signed attribute event as an HTTP request."""
    body, signature = signed_event(number, SECRET)
    head = [
        "POST /events HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"{HEADER}: {signature}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


async def send(port: int, requests: list[bytes], rate: float, connections: int) -> tuple[list[float], int, float]:
    """Send at `rate` a second; returns latencies in seconds, the number of 202 answers, and the seconds it took."""
    latencies: list[float] = []
    accepted = 0
    queue = iter(enumerate(requests))
    start = time.perf_counter() + 0.2

    async def sender() -> None:
        nonlocal accepted
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, sent in queue:
            due = start + number / rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - due)
            accepted += head.startswith(b"HTTP/1.1 202 ")
        writer.close()

    await asyncio.gather(*[sender() for _ in range(connections)])
    return latencies, accepted, time.perf_counter() - start


def measure(folder: Path, rate: int, seconds: float, connections: int, tool: str = "own") -> dict[str, str | float]:
    """One run on a fresh spool in `folder`, by one of `TOOLS`."""
    spool_path = folder / f"{uuid.uuid4().hex}.sqlite"
    environment = {**os.environ, "CUSTODY_WEBHOOK_SECRETS": f"{KEY_ID}:{SECRET}"}
    receiver = subprocess.Popen(
        [sys.executable, "-c", RECEIVER, str(spool_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        url = receiver.stdout.readline().strip() if receiver.stdout else ""
        port = int(url.rpartition(":")[2])
        asyncio.run(send(port, [request(number) for number in range(WARM)], rate / 4, connections))
        found = TOOLS[tool](url, rate, seconds, connections)
    finally:
        receiver.terminate()
        receiver.communicate(timeout=30)
    spool = Spool(spool_path)
    stored = spool.metrics().depth - WARM
    spool.close()
    return {"tool": tool, "asked_per_second": rate, **found, "stored": stored}


def _by_ourselves(url: str, rate: int, seconds: float, connections: int) -> dict[str, float]:
    requests = [request(number) for number in range(int(rate * seconds))]
    port = int(url.rpartition(":")[2])
    latencies, accepted, took = asyncio.run(send(port, requests, rate, connections))
    centiles = statistics.quantiles(latencies, n=1000)
    return {
        "events": len(requests),
        "accepted": accepted,
        "events_per_second": round(len(requests) / took),
        "p50_ms": round(centiles[499] * 1000, 1),
        "p99_ms": round(centiles[989] * 1000, 1),
        "p999_ms": round(centiles[998] * 1000, 1),
        "max_ms": round(max(latencies) * 1000, 1),
    }


def _by_locust(url: str, rate: int, seconds: float, connections: int) -> dict[str, float]:
    environment = {
        **os.environ,
        "CUSTODY_BENCH_SECRET": SECRET,
        "CUSTODY_BENCH_RATE": str(rate / connections),
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "--locustfile", str(Path(__file__).with_name("locust_events.py"))),
            *("--headless", "--only-summary", "--json", "--host", url, "--loglevel", "WARNING"),
            *("--users", str(connections), "--spawn-rate", str(connections), "--run-time", f"{seconds:g}s"),
            *("--stop-timeout", "10"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if not answer.stdout:
        raise RuntimeError(f"Locust gave no result: {answer.stderr}")
    (found,) = json.loads(answer.stdout)
    # Locust counts in whole milliseconds; above 100 ms in tens.
    times = sorted((float(time_ms), count) for time_ms, count in found["response_times"].items())
    total = found["num_requests"]
    return {
        "events": total,
        "accepted": total - found["num_failures"],
        "events_per_second": round(total / (found["last_request_timestamp"] - found["start_time"])),
        "p50_ms": _centile(times, 0.5 * total),
        "p99_ms": _centile(times, 0.99 * total),
        "p999_ms": _centile(times, 0.999 * total),
        "max_ms": round(found["max_response_time"], 1),
    }


def _centile(times: list[tuple[float, int]], rank: float) -> float:
    seen = 0
    for time_ms, count in times:
        seen += count
        if seen >= rank:
            return time_ms
    return times[-1][0]


TOOLS = {"own": _by_ourselves}
if importlib.util.find_spec("locust"):
    TOOLS = {"locust": _by_locust, **TOOLS}


def main() -> int:
    """Run, print a table or JSON; 1 if an accepted event is not in the spool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, nargs="+", default=[1000], help="events a second; several are run in turn")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--tool", nargs="+", choices=TOOLS, default=list(TOOLS), help="who sends")
    parser.add_argument("--folder", type=Path, help="where the spool is written")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        runs = [
            measure(Path(folder), rate, arguments.seconds, arguments.connections, tool)
            for rate in arguments.rate
            for tool in arguments.tool
        ]
    if arguments.json:
        sys.stdout.write(json.dumps(runs) + "\n")
    else:
        for run in runs:
            sys.stdout.write("  ".join(f"{name} {value}" for name, value in run.items()) + "\n")
    return 0 if all(run["stored"] == run["accepted"] == run["events"] for run in runs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
