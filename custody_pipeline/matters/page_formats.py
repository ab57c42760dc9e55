"""A production's pages as PDF and DOCX.

Belongs here: converting a page (pages.py) into another format. Does not: the content of a page.

Both formats are made from the HTML, so that the text cannot differ. They need the extra `matters`; a volume without
them is complete.
"""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import orjson

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.io.escaping import escaped

HINT = "pip install 'custody-pipeline[matters]'"
_PDF_TEMPLATE = PACKAGE_DIR / "matters/templates/page.typ"
_TEXT_BLOCKS = {"p", "h1", "h2", "li", "th", "td", "dt", "dd", "title"}
_WHITE_SPACE = re.compile(r"\s+")


class DocumentError(Exception):
    """A format is not offered on this machine. The message says what to install."""


def write_documents(folder: Path, pages: dict[str, str]) -> list[str]:
    """Write each page as HTML and PDF, and the certificate as DOCX.

    Args:
        pages: name without a suffix → HTML.

    Returns:
        The formats that could not be written on this machine, and why; a line each.
    """
    left_out: list[str] = []
    for name, html in pages.items():
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
        for suffix, convert in (("pdf", pdf_of), ("docx", docx_of)):
            path = folder / f"{name}.{suffix}"
            path.unlink(missing_ok=True)
            if suffix == "docx" and name != "certificate":
                continue
            try:
                path.write_bytes(convert(html))
            except DocumentError as error:
                left_out.append(f"no {path.name}: {error}")
    return left_out


def pdf_of(html: str) -> bytes:
    """A page as PDF/A-2a and PDF/UA-1: it can be archived, and screen readers read it.

    Raises:
        DocumentError: Typst is not installed, or no font of this machine has a character of the page.
    """
    if find_spec("typst") is None:
        raise DocumentError(f"Typst is not installed; {HINT}")
    tree = _Tree()
    tree.feed(html)
    page = {"title": tree.title, "draft": tree.title.startswith("DRAFT"), "content": tree.content}
    command = [sys.executable, "-P", "-m", "custody_pipeline.matters.typeset", str(_PDF_TEMPLATE)]
    made = subprocess.run(command, input=orjson.dumps(page), capture_output=True, check=False)
    if made.returncode:
        why = escaped(made.stderr.decode("utf-8", "replace").strip())
        raise DocumentError(f"{why}; install a font that has every character of the page")
    return made.stdout


class _Tree(HTMLParser):
    """The title and the body of a page of ours: elements as `{tag, attributes, content}`, texts as strings."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.content: list[Any] = []
        self._open: list[dict[str, Any]] = [{"tag": "", "content": self.content}]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("html", "meta"):
            element: dict[str, Any] = {"tag": tag, "attributes": dict(attrs), "content": []}
            self._open[-1]["content"].append(element)
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag == "html":
            return
        content = self._open.pop()["content"]
        if tag in _TEXT_BLOCKS:
            _trim(content)
        if tag == "title":
            self.title = self.title or content[0]
        if tag in ("head", "caption"):
            self._open[-1]["content"].pop()

    def handle_data(self, data: str) -> None:
        """White space becomes one space, or none between blocks; `pre` keeps its lines."""
        inside = [element["tag"] for element in self._open]
        if "pre" in inside:
            self._open[-1]["content"].append("\n".join(map(escaped, data.splitlines())))
        elif data.strip() or not _TEXT_BLOCKS.isdisjoint(inside):
            self._open[-1]["content"].append(escaped(_WHITE_SPACE.sub(" ", data)))


def _trim(content: list[Any]) -> None:
    """Remove the white space at both ends of a block's text."""
    if content and isinstance(content[0], str):
        content[0] = content[0].lstrip()
    if content and isinstance(content[-1], str):
        content[-1] = content[-1].rstrip()


def docx_of(html: str) -> bytes:
    """A page of headings, paragraphs and one numbered list as a Word document, to be completed and signed.

    Raises:
        DocumentError: python-docx is not there.
    """
    try:
        import docx
    except ImportError as error:
        raise DocumentError(f"python-docx is not installed; {HINT}") from error
    from docx.shared import Cm, Pt

    document = docx.Document()
    (section,) = document.sections
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Cm(2.2)
    document.styles["Title"].font.size = Pt(16)
    _DocxWriter(document).feed(html)
    section.footer.paragraphs[0].text = document.core_properties.title
    out = BytesIO()
    document.save(out)
    return out.getvalue()


class _DocxWriter(HTMLParser):
    """Text of the body, block by block. The blocks after the list stay on one page: the signature with its text."""

    STYLES: ClassVar[dict[str, str | None]] = {"h1": "Title", "p": None, "li": "List Number"}

    def __init__(self, document: Any) -> None:
        super().__init__()
        self._document = document
        self._paragraph: Any = None
        self._is_end = False
        self._marks: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag in self.STYLES:
            self._paragraph = self._document.add_paragraph(style=self.STYLES[tag])
            self._paragraph.paragraph_format.keep_with_next = self._is_end or None
        elif tag in ("strong", "code", "title"):
            self._marks.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.STYLES:
            self._paragraph = None
        elif tag == "ol":
            self._is_end = True
        elif tag in self._marks:
            self._marks.remove(tag)

    def handle_data(self, data: str) -> None:
        text = escaped(" ".join(data.split()))
        if "title" in self._marks:
            self._document.core_properties.title = text
        if self._paragraph is None or not text:
            return
        # White space between two pieces of a line is one space.
        before = " " if data[:1].isspace() and self._paragraph.runs else ""
        run = self._paragraph.add_run(before + text + (" " if data[-1:].isspace() else ""))
        run.bold = "strong" in self._marks or None
        if "code" in self._marks:
            run.font.name = "Courier New"
