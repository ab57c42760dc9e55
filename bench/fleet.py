"""A backfill by several workers, simulated: when does what bound it, and what does it cost.

    python -m bench.fleet                                  # three years, 50,000 calls a day, 20 organisations
    python -m bench.fleet --workers 5 --failures 0.1 --seed 2

Coefficients come from docs/performance.md (`make bench`) and from the vendor's documented limit. The model: a worker is
taken by one night at a time; an organisation's collections follow each other (pool `genesys`), its seals too; a run may
end at a random moment (a worker is killed, a source does not answer), and is then started again from the beginning.
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass, field

REQUESTS_PER_MINUTE = 300


@dataclass(frozen=True)
class Night:
    """What a night of so many conversations takes. Seconds are of two cores."""

    conversations: int

    @property
    def requests(self) -> int:
        """Of the platform's API: 16 a night, a page a thousand conversations, single reads (stage `api`)."""
        return round(16 + 0.0357 * self.conversations)

    @property
    def collecting(self) -> float:
        """Seconds: whichever is longer, the API's limit, or reading and hashing (stage `night: collecting`)."""
        return max(self.requests * 60 / REQUESTS_PER_MINUTE, 0.0019 * self.conversations)

    @property
    def working(self) -> float:
        """Seconds of loading, modelling, publishing (stage `night`), with starting a process."""
        return 10 + 0.00074 * self.conversations

    @property
    def sealing(self) -> float:
        """Seconds in which no other night of the log is sealed: staging and copies within S3 are outside."""
        return 2.0

    @property
    def gigabytes(self) -> float:
        """Kept on S3: landing files, a cut and its current copies (gzip), the night's raw part."""
        return (2.3 + 2 * 3.6 + 3.0) * self.conversations / 1e6

    def dollars(self) -> dict[str, float]:
        """List prices of us-east-1 that were current in 2026; put yours."""
        recordings = 1.49 * self.conversations
        return {
            "requests": 150 * 5e-6 + 2 * recordings * 4e-7,  # PUT and COPY; GET of sidecars and audio
            "a month's storage": self.gigabytes * 0.023,
        }


WORKER_HOUR = 2 * 0.04048 + 8 * 0.004445
"""Dollars: Fargate, 2 vCPU and 8 GB."""


@dataclass
class Simulation:
    """One backfill; `run` says how long it took, in seconds, and what waited for what."""

    night: Night
    nights: int
    organisations: int
    workers: int
    failures: float
    seed: int
    waited: dict[str, float] = field(default_factory=lambda: {"worker": 0.0, "API": 0.0, "seal": 0.0})

    def run(self) -> tuple[float, float, int]:
        """Seconds until the last night is sealed, seconds of workers, runs that failed."""
        chance = random.Random(self.seed)  # noqa: S311 - a simulation
        free = [0.0] * self.workers
        api, seal = [0.0] * self.organisations, [0.0] * self.organisations
        # Ready runs in the order in which the daemon takes them: the oldest night of each organisation first.
        ready = [
            (0.0, night, organisation) for night in range(self.nights) for organisation in range(self.organisations)
        ]
        heapq.heapify(ready)
        end = busy = 0.0
        failed = 0
        while ready:
            at, night, organisation = heapq.heappop(ready)
            worker = heapq.heappop(free)
            start = max(at, worker)
            self.waited["worker"] += start - at if at else 0.0
            collect = max(start, api[organisation])
            self.waited["API"] += collect - start
            fails = chance.random() < self.failures
            part = chance.random() if fails else 1.0
            whole = self.night.collecting + self.night.working
            stopped = collect + part * whole
            api[organisation] = min(collect + self.night.collecting, stopped)
            if fails:
                failed += 1
                # Run monitoring finds it; the run is started again.
                heapq.heappush(ready, (stopped + 180, night, organisation))
                finished = stopped
            else:
                sealing = max(stopped, seal[organisation])
                self.waited["seal"] += sealing - stopped
                finished = seal[organisation] = sealing + self.night.sealing
                end = max(end, finished)
            busy += finished - start
            heapq.heappush(free, finished)
        return end, busy, failed


def main() -> None:
    """Print a row for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=50_000, help="a day, of each organisation")
    parser.add_argument("--nights", type=int, default=1_096)
    parser.add_argument("--organisations", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 5, 10, 20, 25, 40])
    parser.add_argument("--failures", type=float, default=0.02, help="of runs")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    night = Night(asked.conversations)
    whole = asked.nights * asked.organisations
    prices = {name: whole * each for name, each in night.dollars().items()}
    print(
        f"{whole} nights of {night.conversations} conversations: {night.requests} requests, {night.collecting:.0f} s "
        f"collecting, {night.working:.0f} s of work, {night.gigabytes:.2f} GB each; "
        + ", ".join(f"{name} ${price:,.0f}" for name, price in prices.items())
    )
    print("| workers | days | runs failed | workers' cost | workers' time waiting for the API | bound by |")
    print("|---:|---:|---:|---:|---:|---|")
    for workers in asked.workers:
        one = Simulation(night, asked.nights, asked.organisations, workers, asked.failures, asked.seed)
        seconds, busy, failed = one.run()
        least = asked.nights * night.collecting
        bound = "API" if seconds < 1.1 * least * (1 + asked.failures) else "workers"
        print(
            f"| {workers} | {seconds / 86_400:.1f} | {failed} | ${busy / 3600 * WORKER_HOUR:,.0f} "
            f"| {one.waited['API'] / busy:.0%} | {bound} |"
        )


if __name__ == "__main__":
    main()
