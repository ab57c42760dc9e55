"""`python -m custody_pipeline.matters.typeset TEMPLATE`: a page from standard input as PDF on standard output.

Belongs here: calling Typst. Does not: what a page is (page_formats.py).

Typst keeps fonts and earlier pages in memory, 60 MiB and more with each page, so it has a process of its own. Status 1
and a message on standard error: Typst refuses the page.
"""

from __future__ import annotations

import sys

import typst


def main() -> None:
    """Compile the template of the command line."""
    try:
        pdf = typst.compile(
            sys.argv[1], sys_inputs={"page": sys.stdin.buffer.read().decode()}, pdf_standards=["a-2a", "ua-1"]
        )
    except typst.TypstError as error:
        sys.exit(error.message)
    sys.stdout.buffer.write(pdf)


if __name__ == "__main__":
    main()
