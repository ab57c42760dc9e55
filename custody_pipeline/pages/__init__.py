"""Pages for people: one HTML file each, without script, that can be read offline, printed and sent.

Belongs here: filling a template, and what every page looks like. Does not: the content of a page (operations, matters).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.io.escaping import escaped


def render(templates: Path, name: str, **values: Any) -> str:
    """The page `name` of the folder `templates`. It may include `style.html`, the look of every page.

    Raises:
        jinja2.UndefinedError: the template names something that `values` lacks.
    """
    return environment(templates).get_template(name).render(values)


@cache
def environment(templates: Path, *, trim: bool = True) -> jinja2.Environment:
    """The environment of a folder's templates. It is kept: compiling a page's template takes 30 ms.

    Args:
        trim: a line that holds only a tag of a block leaves no line in the page.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([templates, PACKAGE_DIR / "pages" / "templates"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=trim,
        lstrip_blocks=trim,
    )


def _visible(value: Any) -> Any:
    """A text with an escape for each invisible character that is no white space: U+202E would turn a line around."""
    if not isinstance(value, str) or value.isprintable() or hasattr(value, "__html__"):
        return value
    return "".join(character if character.isspace() else escaped(character) for character in value)
