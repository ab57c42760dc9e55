"""What an asset's page shows of a table."""

import duckdb
import pytest

from custody_pipeline.defs.metadata import nights_by_state


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
