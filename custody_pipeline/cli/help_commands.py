"""`custody help`: the pages of the documentation, and the meaning of a command, a code, a setting or a word.

Belongs here: finding a topic and printing it. Does not: the texts (docs, models, evidence/verify, settings).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from custody_pipeline.cli.shared import (
    OK,
    USAGE,
    Json,
    app,
    commands_by_name,
    console_of_stdout,
    print_json,
    stop,
    tell,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_MORE = (
    "Also any command (custody help matter produce), any reason of a gap (custody help TAG_NEVER_SET), any code of "
    "custody verify (custody help FILE_MISSING), any setting (custody help CUSTODY_EXPORT_URL) and any word of the "
    "glossary (custody help sidecar)."
)
_WORD = re.compile(r"^\| \**([a-z][\w ]*?)\**(?: \(contract\))? \| (.+) \|$", re.MULTILINE)
_PAGE = re.compile(r"\[([\w-]+)\.md\]\(\1\.md\)")


@app.command("help")
def help_on(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC]", help="A page, a command, a code, a setting or a word.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain a topic: a page of the documentation, a command, a code, a setting or a word. Without one, list them."""
    topic = " ".join(words or ())
    pages = dict(_pages())
    if not topic:
        if as_json:
            print_json(pages)
            return
        for name, purpose in pages.items():
            tell(f"  {name:<18}{purpose}", 20)
        tell(_MORE, 0)
        return
    command, text = commands_by_name().get(topic.lower()), _text(topic, pages)
    if command is None and text is None:
        stop(_unknown(topic, pages), USAGE)
    if as_json:
        print_json({"topic": topic, "text": text or getattr(command, "help", None)})
        return
    if command is not None:
        command.main(["--help"], prog_name=f"custody {topic.lower()}", standalone_mode=False)
    if text is not None:
        from custody_pipeline.cli.help_page import print_page

        print_page(console_of_stdout(), text)
    raise typer.Exit(OK)


def _pages() -> Iterator[tuple[str, str]]:
    """Each page of the documentation with its purpose, from the index of the documents."""
    from custody_pipeline.distribution import DOCS_DIR

    for line in (DOCS_DIR / "README.md").read_text(encoding="utf-8").splitlines():
        purpose, _, found = line.strip("| ").partition(" | ")
        for name in _PAGE.findall(found):
            yield name, purpose


def _text(topic: str, pages: dict[str, str]) -> str | None:
    """The text about a topic that is no command, as Markdown; None if there is none."""
    from custody_pipeline.distribution import DOCS_DIR

    name = topic.lower().removesuffix(".md")
    if name in pages:
        return (DOCS_DIR / f"{name}.md").read_text(encoding="utf-8")
    return _meanings().get(topic.upper()) or _words().get(topic.casefold())


def _words() -> dict[str, str]:
    """Words of the glossary with their meaning, as Markdown."""
    from custody_pipeline.distribution import DOCS_DIR

    found = _WORD.findall((DOCS_DIR / "glossary.md").read_text(encoding="utf-8"))
    return {word: f"**{word}**: {meaning}." for word, meaning in found}


def _meanings() -> dict[str, str]:
    """Codes and settings with their meaning, as Markdown."""
    from custody_pipeline.evidence.verify.codes import CODES
    from custody_pipeline.models.reasons import REASONS
    from custody_pipeline.settings.reading import all_settings

    found = {
        str(row["variable"]): f"`{row['variable']}`: {row['description']}. Default: {row['default'] or 'none'}."
        for row in all_settings()
    }
    found |= {
        code: f"`{code}`, {one.severity} of `custody verify`: {one.meaning} {one.action}" for code, one in CODES.items()
    }
    return found | {
        reason.code: f"`{reason.code}`, {reason.severity}: {reason.sentence}\n\n"
        f"Recoverable: {reason.recoverable}. {reason.who[0].upper()}{reason.who[1:]}: {reason.next_action}"
        for reason in REASONS
    }


def _unknown(topic: str, pages: dict[str, str]) -> str:
    from difflib import get_close_matches

    names = {name.casefold(): name for name in (*pages, *commands_by_name(), *_words(), *_meanings())}
    nearest = get_close_matches(topic.casefold(), names, 1)
    advice = f"the nearest is {names[nearest[0]]}" if nearest else "custody help lists the topics"
    return f"there is no topic {topic!r}; {advice}"
