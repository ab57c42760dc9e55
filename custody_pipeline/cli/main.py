"""`custody …`: results on stdout, progress and logs on stderr, one exit status for each kind of ending.

Belongs here: starting the command line, and its exit statuses. Does not: a command (see the files of the groups).
Commands import what they need when they run, so that `custody --help` is fast.

Exit status: 0 all well · 1 findings · 2 could not do everything · 64 the command line or a setting is wrong.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import typer

# Importing a group registers its commands, in the order in which `custody --help` lists them.
# isort: off
from custody_pipeline.cli import demo_commands, night_commands, setup_commands, evidence_commands
from custody_pipeline.cli import capture_commands, flow_commands, matter_commands

# isort: on
from custody_pipeline.cli.shared import INCOMPLETE, OK, USAGE, app, stop
from custody_pipeline.io.private import keep_private

__all__ = ["app", "main"]

COMMANDS = (
    demo_commands,
    night_commands,
    setup_commands,
    evidence_commands,
    capture_commands,
    flow_commands,
    matter_commands,
)

# typer keeps the base class of its usage errors private. BadParameter gives access to it.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    # SIGTERM unwinds like Ctrl-C, so that servers which a command started end with the command.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    keep_private()
    try:
        status = app(standalone_mode=False)
    except _UsageError as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(USAGE)
    except typer.Abort:
        stop("stopped", INCOMPLETE)
    except KeyboardInterrupt:
        stop("stopped", 130)
    except Exception as error:  # noqa: BLE001 - the one place where every failure becomes a line
        from custody_pipeline.operations.endings import ending_of

        stop(*ending_of(error))
    sys.exit(status if isinstance(status, int) else OK)
