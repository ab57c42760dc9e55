"""A worker in a process of its own, for tests that kill it: spool, place and conversations are folders on disk.

python -m custody_pipeline_tests.capture.capture_worker_process SPOOL PLACE CONVERSATIONS
"""

from __future__ import annotations

import sys
from pathlib import Path

from custody_pipeline.capture import worker
from custody_pipeline.capture.spool import Spool
from custody_pipeline.extract.genesys import Answer
from custody_pipeline.io.document_store import FolderStore

LEASE_SECONDS = 0.5


class Files:
    """Conversations as files by id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, path: str) -> Answer:
        if path.endswith("/customattributes"):
            return Answer(f"GET {path}", b'{"results":[]}', 200, None)
        return Answer(f"GET {path}", (self._folder / path.rpartition("/")[2]).read_bytes(), 200, None)


def main() -> None:
    spool, place, conversations = map(Path, sys.argv[1:])
    queue = Spool(spool)
    worker.MAX_ATTEMPTS, worker.LEASE_SECONDS = 1000, LEASE_SECONDS
    capture = worker.CaptureWorker(queue, Files(conversations), FolderStore(place))
    print("ready", flush=True)
    while queue.metrics().depth:
        capture.drain(max_seconds=60)


if __name__ == "__main__":
    main()
