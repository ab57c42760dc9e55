"""The order in which a network delivers events."""

from __future__ import annotations

import random
from collections.abc import Iterable

from custody_pipeline.simulator.events import SentEvent


def disturbed(events: Iterable[SentEvent], *, duplicates: float, seed: int) -> list[SentEvent]:
    """The same events as a network delivers them: a share of them again, and all in any order.

    Args:
        events: each once.
        duplicates: how many copies are added, as a share of what comes out (0 ≤ x < 1).
        seed: decides which, and the order.
    """
    chance = random.Random(seed)
    once = list(events)
    copies = round(len(once) * duplicates / (1 - duplicates))
    delivered = once + chance.choices(once, k=copies)
    chance.shuffle(delivered)
    return delivered
