"""A command that takes longer than a second says on a terminal what it does."""

from __future__ import annotations

import sys
import threading

import pytest

from custody_pipeline.cli import shared
from custody_pipeline.cli.main import app


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(shared, "SILENCE", 0)
    monkeypatch.setattr(shared, "_spoken", threading.Event())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--home", "somewhere", "status"], "  · status: "),
        (["matter", "show", "doe", "--json"], "  · matter show: "),
        (["gaps", "status"], "  · gaps: "),
    ],
)
def test_a_silent_command_says_what_it_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shared.say_after_silence(arguments)
    told = capsys.readouterr().err
    assert told.startswith(said)
    assert max(map(len, told.splitlines())) <= 80


def test_why_a_command_ends_is_said_within_the_terminal_and_in_one_line_of_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_terminal, lines in ((True, 4), (False, 1)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        with pytest.raises(SystemExit, match="2"):
            shared.stop("the bucket does not answer " * 10, 2)
        told = capsys.readouterr().err.splitlines()
        assert len(told) == lines
        assert is_terminal == (max(map(len, told)) <= 80)


def test_a_command_that_has_said_something_says_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    shared.say("reading")
    shared.say_after_silence(["status"])
    shared.say_after_silence(["--version"])
    assert capsys.readouterr().err == "  · reading\n"


def test_each_command_has_something_to_say() -> None:
    assert app is shared.app
    assert "matter show" in shared.commands_by_name()
    assert [name for name, command in shared.commands_by_name().items() if not command.help] == []
