"""Write docs/queries.ipynb: the questions of docs/queries.md as a notebook. `make docs` runs this.

Belongs here: cutting the page into cells. Does not: the questions (queries.md).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

PAGE = Path(__file__).with_name("queries.md")
NOTEBOOK = Path(__file__).with_name("queries.ipynb")

INTRODUCTION = """# Questions to the dataset

Made from [queries.md](queries.md) by `make docs`; do not edit. `analysis.query` asks the analysts' snapshot,
`analysis.table` gives a published table from the snapshot, from `s3://…` or from a copied folder. Start it with:

    pip install 'custody-pipeline[notebook]'
    CUSTODY_HOME=.custody jupyter lab docs/queries.ipynb"""
START = """from custody_pipeline import analysis

SOURCE = None  # this deployment's analyst.duckdb; or the path of a copy"""
PLOT = """statuses = analysis.table("chain_of_custody", SOURCE).groupby(["partition_date", "custody_status"]).size()
statuses.unstack(fill_value=0).plot.bar(stacked=True, ylabel="recordings")"""
WORST = """gaps = analysis.table("gaps", SOURCE)
gaps[gaps["severity"] != "info"].groupby("reason").size().sort_values().plot.barh(xlabel="recordings")"""

_SECTION = re.compile(r"^## ([^\n]+)$|^### ([^\n]+)$|^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def cells(page: str) -> list[tuple[str, str]]:
    """(kind, source) of each cell."""
    found = [("markdown", INTRODUCTION), ("code", START), ("code", PLOT), ("code", WORST)]
    for section, question, sql in _SECTION.findall(page):
        if section or question:
            found.append(("markdown", f"## {section}" if section else f"### {question}"))
        else:
            # The text of the query is kept as it stands: no escape in it is one of Python's.
            found.append(("code", f'analysis.query(r"""\n{sql}""", SOURCE)'))
    return found


def notebook(page: str) -> str:
    """The notebook, nbformat 4.5, without outputs."""
    document = {
        "cells": [
            {
                "cell_type": kind,
                "id": f"cell-{number:02}",
                "metadata": {},
                "source": source.splitlines(keepends=True),
                **({"execution_count": None, "outputs": []} if kind == "code" else {}),
            }
            for number, (kind, source) in enumerate(cells(page))
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
