"""`custody …`: results on stdout, progress and logs on stderr, one exit status for each kind of ending.

Belongs here: arguments, printing, exit statuses. Does not: work (commands, and what they call). Imports are inside the
commands, so that `custody --help` answers at once.

Exit status: 0 all well · 1 findings · 2 could not do everything · 64 the command line or a setting is wrong.
"""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from custody_pipeline.settings import Settings

OK, FINDINGS, INCOMPLETE, USAGE = 0, 1, 2, 64

# typer keeps its usage errors' base class private; BadParameter is the public way to it.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="custody",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Call recordings for legal discovery: one row per recording, every gap explained, every night sealed.",
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Night = Annotated[datetime, typer.Option("--date", formats=["%Y-%m-%d"], help="The night: a UTC day.")]
Home = Annotated[Path, typer.Option("--home", envvar="CUSTODY_HOME", help="Where everything of this deployment lies.")]


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    from custody_pipeline.settings import SettingsError

    try:
        status = app(standalone_mode=False)
    except _UsageError as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(USAGE)
    except SettingsError as error:
        _stop(str(error), USAGE)
    except typer.Abort:
        _stop("stopped", INCOMPLETE)
    except KeyboardInterrupt:
        _stop("stopped", 130)
    sys.exit(status if isinstance(status, int) else OK)


def _stop(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr)  # noqa: T201
    sys.exit(status)


def _print_json(result: Any) -> None:
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
    sys.stdout.buffer.write(orjson.dumps(result, default=str, option=options))
    sys.stdout.flush()


def _settings() -> Settings:
    from custody_pipeline.settings import load_settings

    return load_settings()
