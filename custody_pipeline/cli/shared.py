"""Code that all commands share: the application, common options, printing, progress, the servers of a demo.

Belongs here: code that two groups of commands need. Does not: a command.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console

    from custody_pipeline.matters.matter import Matter
    from custody_pipeline.settings import Settings
    from custody_pipeline.simulator.demo import DemoOrganization
    from custody_pipeline.warehouse.ledger import Actor


_P = ParamSpec("_P")
_R = TypeVar("_R")

OK, FINDINGS, INCOMPLETE, USAGE = 0, 1, 2, 64

_COLUMNS = shutil.get_terminal_size().columns
# On fewer columns, typer's tables cut off the names of options.
_IS_NARROW = _COLUMNS < 64

app = typer.Typer(
    name="custody",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None if _IS_NARROW else "rich",
    context_settings={"terminal_width": _COLUMNS} if _IS_NARROW else None,
    help="Call recordings for legal discovery: one row per recording, every gap explained, every night sealed.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from custody_pipeline.distribution import git_revision, version

        print(f"custody {version()} (commit {git_revision() or 'unknown'})")  # noqa: T201
        raise typer.Exit(OK)


@app.callback()
def _custody(
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and commit.")
    ] = False,
    home: Annotated[
        Path | None, typer.Option("--home", help="Folder of this deployment (CUSTODY_HOME); may follow any command.")
    ] = None,
) -> None:
    if home is not None:
        os.environ["CUSTODY_HOME"] = str(home)


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _as_time(text: str | datetime, *forms: str) -> datetime:
    if isinstance(text, datetime):
        return text  # a default
    for form in forms:
        with suppress(ValueError):
            return datetime.strptime(text, form)
    examples = " or ".join(f"{datetime(2026, 11, 2, 9, 30):{form}}" for form in forms)
    raise typer.BadParameter(f"{text!r} is no {'time' if forms[1:] else 'day'}; give it like {examples}")


def _day(text: str | datetime) -> datetime:
    return _as_time(text, "%Y-%m-%d")


def _moment(text: str | datetime) -> datetime:
    return _as_time(text, "%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ")


A_DAY: dict[str, Any] = {"parser": _day, "metavar": "YYYY-MM-DD"}
A_TIME: dict[str, Any] = {"parser": _moment, "metavar": "YYYY-MM-DD[Thh:mm:ssZ]"}
"""Options whose value is a day, or a day with or without a time of it. Typer would show and name `%Y-%m-%d`."""


def not_future(night: datetime | None) -> datetime | None:
    """Refuse a night that has not ended."""
    if night and night.date() >= datetime.now(UTC).date():
        raise typer.BadParameter(f"the night of {night:%Y-%m-%d} has not ended yet: it is a UTC day")
    return night


def not_blank(text: str) -> str:
    """Refuse a text that says nothing: it goes into custody events."""
    if not text.strip():
        raise typer.BadParameter("expected some words: they are recorded")
    return text


Night = Annotated[datetime, typer.Option("--date", **A_DAY, help="The night: a UTC day.")]
OneNight = Annotated[
    datetime | None,
    typer.Option("--date", **A_DAY, help="One night: a UTC day.", callback=not_future),
]
FirstNight = Annotated[datetime | None, typer.Option("--from", **A_DAY, help="First night of several.")]
LastNight = Annotated[
    datetime | None, typer.Option("--to", **A_DAY, help="Last night of several.", callback=not_future)
]
Profiled = Annotated[bool, typer.Option("--profile", help="Show and keep a profile of the night.")]
Home = Annotated[Path, typer.Option("--home", envvar="CUSTODY_HOME", help="Folder of this deployment.")]


def stop(message: str, status: int) -> NoReturn:
    """Say on stderr why the command ends, and exit with `status`."""
    complain(message)
    sys.exit(status)


def complain(message: str, indent: str = "") -> None:
    """Print on stderr: one line, or several on a terminal that is narrower. Foreign text is escaped."""
    from custody_pipeline.io.escaping import escaped, folded

    width = shutil.get_terminal_size().columns
    text = folded(message, width - len(indent), "", f"{'':{len(indent)}}") if sys.stderr.isatty() else escaped(message)
    print(f"{indent}{text}", file=sys.stderr, flush=True)  # noqa: T201


def tell(text: str, further: int | None = None) -> None:
    """Print text for people, on lines of the terminal's width. Ids, paths and the words of commands stay whole.

    Args:
        text: may hold foreign text, which is escaped. Its leading spaces indent its first line.
        further: indents the other lines; default: four columns more than the first.
    """
    from custody_pipeline.io.escaping import folded

    bare = text.lstrip(" ")
    indent = len(text) - len(bare)
    more = " " * (indent + 4 if further is None else further)
    _spoken.set()
    print(folded(bare, shutil.get_terminal_size().columns, " " * indent, more))  # noqa: T201


def print_json(result: Any) -> None:
    """Print a result as JSON on stdout."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
    try:
        text = orjson.dumps(result, default=str, option=options)
    except TypeError:
        text = orjson.dumps(_representable(result), default=str, option=options)
    sys.stdout.buffer.write(text)
    sys.stdout.flush()


def _representable(value: Any) -> Any:
    """The value, with escapes where a text (a file's name) is not Unicode, and with long numbers as text."""
    if isinstance(value, dict):
        return {_representable(name): _representable(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_representable(item) for item in value]
    if isinstance(value, Path | str):
        return str(value).encode(errors="backslashreplace").decode()
    return str(value) if isinstance(value, int) and value.bit_length() > 63 else value


def answer(result: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print a result: as JSON, or its lines for people."""
    if as_json:
        print_json(result)
    else:
        for line in lines:
            tell(line)


def answer_whole(result: Any, text: str, *, as_json: bool) -> None:
    """Print a result: as JSON, or as a text for a file or another program, whose lines stay whole."""
    if as_json:
        print_json(result)
    else:
        sys.stdout.write(text)


_spoken = threading.Event()
SILENCE = 1.0
"""Seconds without output after which a command says what it does."""


def commands_by_name() -> dict[str, Any]:
    """Every command and group by its words: `matter produce`, for example."""
    from typer.main import get_command

    root: Any = get_command(app)
    found, waiting = {}, list(root.commands.items())
    while waiting:
        name, command = waiting.pop()
        found[name] = command
        waiting += [(f"{name} {below}", one) for below, one in getattr(command, "commands", {}).items()]
    return found


def say_after_silence(arguments: list[str]) -> None:
    """Say on stderr what the command does, unless it says something within `SILENCE`."""
    if _spoken.wait(SILENCE):
        return
    commands = commands_by_name()
    at = next((at for at, word in enumerate(arguments) if word in commands), None)
    if at is None:
        return
    name = " ".join(arguments[at : at + 2])
    name = name if name in commands else arguments[at]
    does = " ".join(re.split(r"[.;]\s|\n\n", commands[name].help or "")[0].split())
    say(f"{name}: {does}")


def settings_of_environment() -> Settings:
    """The settings of the deployment."""
    from custody_pipeline.settings import load_settings

    return load_settings()


def console_of_stdout() -> Console:
    """The console on which a command prints for people."""
    from rich.console import Console

    _spoken.set()
    return Console(highlight=False)


def say(message: str) -> None:
    """Progress on stderr."""
    _spoken.set()
    complain(message, "  · ")


def acting(settings: Settings, operator: str | None = None, matter: Matter | None = None) -> Actor:
    """The person who acts. If only a login is known, says how to put a name and a role into the custody events.

    A person whom the matter does not authorise is named on stderr, and not refused: a name is only a setting.
    """
    from dataclasses import replace

    from custody_pipeline.warehouse.ledger import Actor

    actor = Actor.of(settings)
    if operator:
        actor = replace(actor, operator=operator)
    elif not settings.operator:
        say(f"custody events name {actor.operator}, a login: set CUSTODY_OPERATOR, for example 'Jane Roe, paralegal'")
    if matter and matter.authorised and _name_of(actor.operator) not in map(_name_of, matter.authorised):
        say(f"{actor.operator} is not among the authorised people of {matter.path.name}; recorded all the same")
    return actor


def _name_of(person: str) -> str:
    """The name before the first comma of `Jane Roe, paralegal`: one person may act in several roles."""
    return " ".join(person.partition(",")[0].casefold().split())


@contextmanager
def progress_bars() -> Iterator[None]:
    """Progress bars on stderr. Nothing is shown if stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from custody_pipeline.io.progress import listening

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    _spoken.set()
    columns = (TextColumn("  {task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as bars:

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what.replace("_", " "), total=total)
            bars.update(tasks[what], completed=done, total=total)

        with listening(show):
            yield


@contextmanager
def without_pandas() -> Iterator[None]:
    """Keep pandas from being imported: to bind a value, DuckDB imports it, which takes longer than a short command."""
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _NoPandas:
    """Refuses to import pandas. With None in `sys.modules`, pyarrow finds a module without a version, and fails."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("pandas takes long to import, and is not needed here", name=name)


def end_when_stdin_closes() -> None:
    """End this server when the process that started it ends, for any reason."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def numbered(number: int, what: str) -> str:
    """A number and what it counts: `1 recording`, `2 recordings`."""
    return f"{number} {what}{'s' * (number != 1)}"


def with_servers_of_demo(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """A command that reads S3 or asks the vendor. In a home of the demo, the demo's servers run meanwhile."""

    @wraps(command)
    def run(*args: _P.args, **named: _P.kwargs) -> _R:
        with servers_of_demo():
            return command(*args, **named)

    return run


@contextmanager
def servers_of_demo() -> Iterator[None]:
    """In a home of the demo, run its servers, and point the environment at them; anywhere else do nothing."""
    if (demo := demo_of_home()) is None:
        yield
        return
    from custody_pipeline.simulator.demo import demo_environment

    with demo_environment(settings_of_environment().home.absolute(), demo, say):
        yield


def demo_of_home() -> DemoOrganization | None:
    """The organisation whose servers commands start here; None in a home that is not the demo's."""
    settings = settings_of_environment()
    if settings.export_url or settings.publish_url or settings.s3_endpoint_url:
        return None
    from custody_pipeline.simulator.demo import kept_demo

    return kept_demo(settings.home)
