"""Many questions: a bounded number of calls at a time, or several questions in one request.

Belongs here: how many at once. Does not: what is asked.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Question = TypeVar("Question")
Reply = TypeVar("Reply")


def batches(items: Sequence[Question], size: int) -> Iterator[list[Question]]:
    """The items in their order, at most `size` at a time."""
    return (list(items[start : start + size]) for start in range(0, len(items), size))


def sized_batches(
    items: Iterable[Question], most: int, bytes_of: Callable[[Question], int], most_bytes: int
) -> Iterator[list[Question]]:
    """The items in their order, at most `most` and `most_bytes` at a time; a larger item is alone."""
    batch: list[Question] = []
    size = 0
    for item in items:
        item_bytes = bytes_of(item)
        if batch and (len(batch) == most or size + item_bytes > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item_bytes
    if batch:
        yield batch


def in_order(
    call: Callable[[Question], Reply], questions: Iterable[Question], *, workers: int, ahead: int | None = None
) -> Iterator[tuple[Question, Reply]]:
    """Call `call` for each question, at most `workers` at a time. Yields in order, so that landing files are in order.

    At most `ahead` answers wait in memory for their turn; default: `4 * workers`. An exception of a call is raised here
    when its turn comes; calls that have not begun are dropped. Ctrl-C does not wait for calls: one may wait minutes for
    its retry.
    """
    waiting: collections.deque[tuple[Question, Future[Reply]]] = collections.deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="custody-read")
    interrupted = True
    try:
        for question in questions:
            waiting.append((question, executor.submit(call, question)))
            if len(waiting) >= (ahead or 4 * workers):
                asked, future = waiting.popleft()
                yield asked, future.result()
        while waiting:
            asked, future = waiting.popleft()
            yield asked, future.result()
        interrupted = False
    except Exception:
        interrupted = False
        raise
    finally:
        executor.shutdown(wait=not interrupted, cancel_futures=True)
