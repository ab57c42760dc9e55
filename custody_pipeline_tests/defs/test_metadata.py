"""What an asset's page shows of a table."""

from datetime import date

import duckdb
import pytest
from markdown_it import MarkdownIt

from custody_pipeline.defs.metadata import (
    MASK,
    PREVIEW_CHARACTERS,
    PREVIEW_ROWS,
    counts_by_source,
    nights_by_state,
    table_metadata,
)
from custody_pipeline.load.raw_tables import create_raw_tables
from custody_pipeline.warehouse.sql_files import load_models

NIGHT = date(2026, 11, 2)


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("CREATE SCHEMA custody")
    con.execute(
        """
        CREATE TABLE custody.nights AS
        SELECT DATE '2026-11-01' + i::INTEGER AS partition_date,
            ['final', 'final', 'provisional', 'open'][i + 1] AS state,
            CASE WHEN i < 3 THEN TIMESTAMP '2026-11-05' END AS watermark, TIMESTAMP '2026-11-04' AS collected_at,
            5 AS recordings, 3 AS complete, 2 AS gaps, 1 AS recoverable
        FROM range(4) AS t(i)
        """
    )
    return con


def test_nights_are_counted_by_state_and_those_not_final_are_listed_newest_first(
    con: duckdb.DuckDBPyConnection,
) -> None:
    shown = nights_by_state(con)
    counts = {record.data["state"]: record.data["nights"] for record in shown["nights by state"].records}
    assert counts == {"final": "2", "provisional": "1", "open": "1"}
    listed = [
        (r.data["partition_date"], r.data["state"], r.data["watermark"]) for r in shown["nights not final"].records
    ]
    assert listed == [("2026-11-04", "open", ""), ("2026-11-03", "provisional", "2026-11-05 00:00:00")]


def test_nothing_pending_is_an_empty_table(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("DELETE FROM custody.nights WHERE state <> 'final'")
    assert nights_by_state(con)["nights not final"].records == []


def test_the_balance_of_each_source_is_shown_and_no_table_lists_its_rows(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        f"""
        CREATE TABLE custody.reconciliation AS
        SELECT DATE '{NIGHT}' AS partition_date, 'manifests' AS source,
            4 AS expected, 2 AS present, 1 AS explained, 1 AS unexplained;
        CREATE TABLE custody.access_events AS
        SELECT DATE '{NIGHT}' AS partition_date, 'viewed' AS action, 'audits.ndjson.gz#L' || i AS source
        FROM range(300) AS t(i)
        """
    )
    balance, access = (
        table_metadata(con, load_models()[f"custody.{name}"], NIGHT) for name in ("reconciliation", "access_events")
    )
    shown = counts_by_source(con, NIGHT)
    assert [record.data for record in shown["by source"].records] == [
        {"source": "manifests", "expected": 4, "present": 2, "explained": 1, "unexplained": 1}
    ]
    assert shown.keys() & balance.keys() == set(), "the page shows one of the two"
    assert [record.data for record in access["by action"].records] == [{"action": "viewed", "rows": 300}]
    assert "by source" not in access, "each event has a source of its own"


HOSTILE = [
    "a|b",
    "line\nbreak",
    "<script>alert(1)</script>",
    "**bold** `code` [x](y)",
    "\\",
    "&amp;",
    "x" * 300,
    "a\u202eb",
    "",
]


def test_a_preview_shows_what_is_written_and_masks_what_is_personal() -> None:
    model = load_models()["raw.users"]
    with duckdb.connect() as con:
        create_raw_tables(con, ["users"])
        for text in HOSTILE[:PREVIEW_ROWS]:
            con.execute(
                "INSERT INTO raw.users (partition_date, user_id, division_name) VALUES (?, ?, ?)", [NIGHT, text, text]
            )
        shown = parsed(table_metadata(con, model, NIGHT)["preview"].md_str)
        con.execute("DELETE FROM raw.users")
        for text in HOSTILE[PREVIEW_ROWS:]:
            con.execute("INSERT INTO raw.users (partition_date, division_name) VALUES (?, ?)", [NIGHT, text])
        others = parsed(table_metadata(con, model, NIGHT)["preview"].md_str)
    assert [row["division_name"] for row in shown] == [" ".join(text.split()) for text in HOSTILE[:PREVIEW_ROWS]]
    assert {row["user_id"] for row in shown} == {MASK}
    assert [row["division_name"] for row in others] == [
        text[:PREVIEW_CHARACTERS].replace("\u202e", r"\u202e") for text in HOSTILE[PREVIEW_ROWS:]
    ]


def parsed(text: str) -> list[dict[str, str]]:
    """The rows of a table as a reader of Markdown sees them; a cell that is more than text fails."""
    cells: list[list[str]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "tr_open":
            cells.append([])
        elif token.type == "inline":
            children = token.children or []
            assert {child.type for child in children} <= {"text", "text_special"}, token.content
            cells[-1].append("".join(child.content for child in children))
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
