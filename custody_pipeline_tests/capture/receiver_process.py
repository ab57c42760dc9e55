"""A receiver in a process of its own, for tests that kill it.

python -m custody_pipeline_tests.capture.receiver_process SPOOL
"""

from __future__ import annotations

import sys
from pathlib import Path

from custody_pipeline.capture.receiver import serve
from custody_pipeline.capture.spool import Spool
from custody_pipeline.settings import Settings


def main() -> None:
    serve(Settings(), Spool(Path(sys.argv[1])), port=0, on_ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    main()
