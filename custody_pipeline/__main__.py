"""`custody` and `python -m custody_pipeline`. Ctrl-C while the command line is still loading ends like a later Ctrl-C.

Belongs here: what must precede every other import. Does not: the command line (cli/main.py).
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # loading typing takes longer than an early Ctrl-C
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell makes a command in the background ignore Ctrl-C
            signal.signal(number, _leave)
    from custody_pipeline.cli.main import main as command_line

    command_line()


def _leave(*_: object) -> NoReturn:
    os.write(2, b"stopped: nothing was begun\n")
    os._exit(130)


if __name__ == "__main__":
    main()
