"""`custody …`: results on stdout, progress and logs on stderr, one exit status for each kind of ending.

Belongs here: starting the command line, and its exit statuses. Does not: a command (see the files of the groups).
Commands import what they need when they run, so that `custody --help` is fast.

Exit status: 0 all well · 1 findings · 2 could not do everything · 64 the command line or a setting is wrong ·
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from io import TextIOWrapper
from typing import NoReturn

import typer

# Importing a group registers its commands, in the order in which `custody --help` lists them.
# isort: off
from custody_pipeline.cli import demo_commands, night_commands, setup_commands, evidence_commands  # noqa: F401
from custody_pipeline.cli import capture_commands, flow_commands, matter_commands, report_commands  # noqa: F401
from custody_pipeline.cli import erase_commands, retention_commands, help_commands  # noqa: F401

# isort: on
from custody_pipeline.cli.shared import INCOMPLETE, OK, USAGE, app, complain, say_after_silence, stop
from custody_pipeline.io.process import keep_private

__all__ = ["app", "main"]

INTERRUPTED = 130

# typer keeps the base class of its usage errors private. BadParameter gives access to it.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def with_home_first(arguments: list[str]) -> list[str]:
    """Move `--home FOLDER` before the command, so that it can stand anywhere and no command has to know it."""
    for at, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith("--home="):
            return [argument, *arguments[:at], *arguments[at + 1 :]]
        if argument == "--home":
            # Without a folder behind it, the command must not become the folder.
            before = arguments[:at] if at + 1 < len(arguments) else []
            return [*arguments[at : at + 2], *before, *arguments[at + 2 :]]
    return arguments


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    # SIGTERM unwinds like Ctrl-C, so that servers which a command started end with the command.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    keep_private()
    # A character that the terminal cannot show is printed as an escape. Data are printed as UTF-8.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = with_home_first(sys.argv[1:])
    if sys.stderr.isatty() and "--until-stdin-closes" not in arguments:  # another command started that one
        threading.Thread(target=say_after_silence, args=(arguments,), daemon=True).start()
    try:
        status = app(arguments, standalone_mode=False)
    except _UsageError as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(USAGE)
    except SystemExit as ended:
        # Typer ends with 1, the status of findings, when the reader of a pipe has gone (`custody gaps | head`).
        if isinstance(ended.__context__, BrokenPipeError):
            os._exit(INCOMPLETE)  # Python would complain about the output that is left
        raise
    except typer.Abort:
        stop("stopped", INCOMPLETE)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - here alone, every failure becomes a line
        from custody_pipeline.operations.endings import ending_of

        stop(*ending_of(error))
    if status == INTERRUPTED:  # typer returns it for Ctrl-C
        complain("stopped: what was published stays, and the next run takes up the night again")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)  # no thread is waited for: it may be in a pause of minutes
    sys.exit(status if isinstance(status, int) else OK)
