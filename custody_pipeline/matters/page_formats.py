"""A production's pages as PDF and DOCX.

Belongs here: turning a page that is written (pages.py) into another format. Does not: what a page says.

Both formats are made from the HTML, so that no copy of the text can differ. They need the extra `matters`; a volume
without them is whole.
"""

from __future__ import annotations

from html.parser import HTMLParser
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pathlib import Path

HINT = "pip install 'custody-pipeline[matters]'"


class DocumentError(Exception):
    """A format is not offered on this machine. The message says what to install."""


def write_documents(folder: Path, pages: dict[str, str]) -> list[str]:
    """Write each page as HTML and PDF, and the certificate as DOCX.

    Args:
        folder: of the volume.
        pages: name without a suffix → HTML.

    Returns:
        What could not be written on this machine, and why; a line each.
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
    """A page as PDF/UA, which screen readers read.

    Raises:
        DocumentError: WeasyPrint, or the Pango libraries that it calls, are not there.
    """
    try:
        import weasyprint
    except ImportError as error:
        raise DocumentError(f"WeasyPrint is not installed; {HINT}") from error
    except OSError as error:
        raise DocumentError("WeasyPrint does not find Pango; install it with the system's packages") from error

    # A page is self-contained.
    nothing = weasyprint.urls.URLFetcher(allowed_protocols=())
    data: bytes = weasyprint.HTML(string=html, url_fetcher=nothing).write_pdf(pdf_variant="pdf/ua-1")
    return data


def docx_of(html: str) -> bytes:
    """A page of headings, paragraphs and one numbered list as a Word document, to be completed and signed.

    Raises:
        DocumentError: python-docx is not there.
    """
    try:
        import docx
    except ImportError as error:
        raise DocumentError(f"python-docx is not installed; {HINT}") from error
    document = docx.Document()
    _DocxWriter(document).feed(html)
    out = BytesIO()
    document.save(out)
    return out.getvalue()


class _DocxWriter(HTMLParser):
    """Text of the body, block by block."""

    STYLES: ClassVar[dict[str, str | None]] = {"h1": "Title", "p": None, "li": "List Number"}

    def __init__(self, document: Any) -> None:
        super().__init__()
        self._document = document
        self._paragraph: Any = None
        self._marks: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag in self.STYLES:
            self._paragraph = self._document.add_paragraph(style=self.STYLES[tag])
        elif tag in ("strong", "code", "title"):
            self._marks.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.STYLES:
            self._paragraph = None
        elif tag in self._marks:
            self._marks.remove(tag)

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
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
