"""The metadata on an asset page: columns, counts, a masked preview, a plot.

Belongs here: Dagster metadata from a table of one night. Does not: changes to a table. Values of tags and of columns
marked `pii` never reach Dagster's storage.
"""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING, Any

import dagster as dg

from custody_pipeline.analysis import statuses_by_night
from custody_pipeline.io.escaping import escaped
from custody_pipeline.models.mapping_file import RESERVED_COLUMNS
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    import duckdb

    from custody_pipeline.publish.read_sealed import Sealed
    from custody_pipeline.warehouse.sql_files import SqlModel

PREVIEW_ROWS = 5
OFFENDING_ROWS = 10
PREVIEW_CHARACTERS = 200
MASK = "•••"

# Data may hold what Markdown and HTML take for markup.
_MARKDOWN = str.maketrans({mark: f"&#{ord(mark)};" for mark in "|<>&`*_[]\\~#"})

# The page shows counts by value of these columns.
STATE_COLUMNS = (
    "custody_status",
    "media_state",
    "custom_data_state",
    "reason",
    "document_state",
    "receipt_state",
    "object_role",
    "action",
)

# Every tag value is treated as personal data.
_TAG_COLUMNS = frozenset({"custom_data", "tag_value", "value", "tags", "participants", "attributes", "attribute_value"})


def column_schema(model: SqlModel) -> dg.TableSchema:
    """The columns that the model declares, with descriptions and the types that its header gives."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                type=column.data_type or "",
                description=column.description,
                tags={"pii": ""} if column.pii else {},
            )
            for column in model.columns
        ]
    )


def _typed(types: dict[str, str]) -> dg.TableSchema:
    # For types that the definition does not know, and columns of the mapping. The page has descriptions from there.
    return dg.TableSchema([dg.TableColumn(name, type=kind) for name, kind in types.items()])


def table_metadata(con: duckdb.DuckDBPyConnection, model: SqlModel, night: date) -> dict[str, Any]:
    """Row count of the night, typed columns, counts by state and a masked preview of `model`'s table."""
    types = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE {model.key}").fetchall()}
    where = "WHERE partition_date = $night" if "partition_date" in types else ""
    bound = {"night": night} if where else {}
    counted = con.execute(f"SELECT count(*) FROM {model.key} {where}", bound).fetchone()
    rows = counted[0] if counted else 0
    metadata: dict[str, Any] = {
        "dagster/row_count": rows,
        "dagster/partition_row_count": rows,
        "dagster/table_name": model.key,
    }
    if model.schema == "raw" or types.keys() - {column.name for column in model.columns}:
        metadata["dagster/column_schema"] = _typed(types)
    # Of other tables, each source has a row of its own, or is a document.
    for name in (*STATE_COLUMNS, "source") if model.key == "custody.custom_data" else STATE_COLUMNS:
        # Each query computes a staging view again, and the tables before and after it have the same states.
        if name in types and model.schema != "staging":
            counts = con.execute(
                f"SELECT coalesce({name}::VARCHAR, '(none)'), count(*) FROM {model.key} {where} "
                "GROUP BY 1 ORDER BY 2 DESC, 1",
                bound,
            ).fetchall()
            metadata[f"by {name}"] = _table([{name: value, "rows": number} for value, number in counts])
    metadata["preview"] = preview(con, model, types, where, bound)
    return metadata


def cost(seconds: float, rows: int) -> dict[str, int | float]:
    """The cost of rows. Views cost nothing and have no rows."""
    return {"seconds": round(seconds, 3)} | ({"ms per 1,000 rows": round(1e6 * seconds / rows, 1)} if rows else {})


def night_numbers(con: duckdb.DuckDBPyConnection, table: str, night: date) -> dict[str, int | float]:
    """Numbers of a table that Dagster plots over its nights, by name; missing numbers are left out."""
    asked = {
        "custody.nights": query("numbers/nights"),
        "custody.chain_of_custody": query("numbers/chain_of_custody"),
        "custody.gaps": query("numbers/gaps"),
        "custody.reconciliation": query("numbers/reconciliation"),
        "custody.tag_quality": query("numbers/tag_quality"),
    }
    rows = rows_of(con, asked[table], {"night": night}) if table in asked else []
    return {name: value for row in rows for name, value in row.items() if value is not None}


def counts_by_source(con: duckdb.DuckDBPyConnection, night: date) -> dict[str, Any]:
    """The night's reconciliation as a table, and each source's share of expected things that are present."""
    names = ["source", "expected", "present", "explained", "unexplained"]
    rows = con.execute(
        f"SELECT {', '.join(names)} FROM custody.reconciliation WHERE partition_date = $night "
        "ORDER BY expected = 0, source",
        {"night": night},
    ).fetchall()
    shares = {f"{source}: present %": round(100 * there / all_, 2) for source, all_, there, *_ in rows if all_}
    return {"by source": _table([dict(zip(names, row, strict=True)) for row in rows], names, names[1:]), **shares}


def seal_metadata(sealed: Sealed) -> dict[str, Any]:
    """The parts of a seal that people compare: keys, place in the log, head, times, lock, counts."""
    cut, log = sealed.cut, sealed.cut.log
    lock = "none"
    if cut.lock:
        kept = f"{cut.lock.mode} until {cut.lock.until}" if cut.lock.mode else "no retention"
        lock = kept + (", legal hold" if cut.lock.legal_hold else "")
    return {
        "signed by": ", ".join(f"{key.name}+{key.key_id.hex()}" for key in sealed.keys),
        "key fingerprint": ", ".join(f"sha256:{key.fingerprint}" for key in sealed.keys),
        "sealed at": cut.sealed_at,
        "timestamp": f"{sealed.timestamp:%Y-%m-%dT%H:%M:%SZ}" if sealed.timestamp else "none: no authority was asked",
        "lock": lock,
        "log": log.origin,
        "log size": sealed.checkpoint.head.size,
        "log index of the first record": log.first,
        "log index of cut.json": log.cut_index,
        "checkpoint": dg.MetadataValue.md(f"```text\n{sealed.checkpoint.note.data.decode()}```"),
        "files": len(cut.files),
        "bytes sealed": sum(file.bytes for file in cut.files),
        "recordings sealed": cut.log.records,
        "rows by table": _table([{"table": name, "rows": number} for name, number in cut.counts.items()]),
        "recordings by status": _table([{"custody_status": name, "rows": n} for name, n in cut.statuses.items()]),
    }


def code_reference(path: Path) -> dict[str, Any]:
    """The file that makes an asset, in the form of Dagster's links."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        where = dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=path.name)
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[where])}


def offending_rows(rows: list[dict[str, Any]], query: str) -> dict[str, Any]:
    """The number of rows that a check found; if there are any, the first as a table, and `query`, which shows all."""
    shown = [
        {name: escaped(str(value)[:PREVIEW_CHARACTERS]) for name, value in row.items()} for row in rows[:OFFENDING_ROWS]
    ]
    more = {"first of them": _table(shown), "query": dg.MetadataValue.md(query)} if shown else {}
    return {"offending_rows": len(rows), **more}


def preview(
    con: duckdb.DuckDBPyConnection, model: SqlModel, types: dict[str, str], where: str, bound: dict[str, Any]
) -> dg.MarkdownMetadataValue:
    """The first rows as text. Personal data is masked."""
    rows = con.execute(f"SELECT COLUMNS(*)::VARCHAR FROM {model.key} {where} LIMIT {PREVIEW_ROWS}", bound).fetchall()
    hidden = model.pii_columns | _TAG_COLUMNS | {name for name in types if name.startswith("custom_data_")}
    hidden -= {f"custom_data_{name}" for name in RESERVED_COLUMNS}
    shown = [
        [
            "" if value is None else MASK if name in hidden else _cell(value)
            for name, value in zip(types, row, strict=True)
        ]
        for row in rows
    ]
    # Dagster keeps a table value with the type and constraints of each column, thrice a run: half of its storage.
    lines = (" | ".join(cells) for cells in [list(types), ["---"] * len(types), *shown])
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def _cell(value: str) -> str:
    return escaped(" ".join(value[:PREVIEW_CHARACTERS].split())).translate(_MARKDOWN)


def _table(
    records: list[dict[str, Any]], names: list[str] | None = None, numbers: Sequence[str] = ("rows",)
) -> dg.TableMetadataValue:
    columns = names or list(records[0] if records else {"rows": 0})
    schema = dg.TableSchema([dg.TableColumn(name, "int" if name in numbers else "string") for name in columns])
    return dg.TableMetadataValue([dg.TableRecord({name: row[name] for name in columns}) for row in records], schema)


def completeness_plot(con: duckdb.DuckDBPyConnection, nights: int = 60) -> dg.MarkdownMetadataValue:
    """Recordings by custody status for the latest nights, as a picture."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    wide = statuses_by_night(con, nights)
    labels = [f"{day:%d %b}" for day in wide.index]
    bottom = [0.0] * len(wide)
    for status, colour in (("complete", "#2e7d32"), ("excluded", "#9e9e9e"), ("gap", "#c62828")):
        if status in wide:
            heights = wide[status].to_list()
            axes.bar(labels, heights, bottom=bottom, color=colour, label=status, width=0.6)
            bottom = [low + high for low, high in zip(bottom, heights, strict=True)]
    axes.set_ylabel("recordings")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=15, integer=True))
    if len(wide):
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=96)
    return markdown_image(buffer.getvalue(), "Recordings by custody status and night")


def nights_by_state(con: duckdb.DuckDBPyConnection, nights: int = 60) -> dict[str, Any]:
    """The number of nights by state, and the nights that are not final, newest first."""
    counts = con.execute("SELECT state, count(*) FROM custody.nights GROUP BY ALL ORDER BY ALL").fetchall()
    pending = con.execute(query("nights/not_final"), {"nights": nights})
    names = [column[0] for column in pending.description]
    records = [{name: value or "" for name, value in zip(names, row, strict=True)} for row in pending.fetchall()]
    return {
        "nights by state": _table(
            [{"state": state, "nights": str(number)} for state, number in counts], ["state", "nights"]
        ),
        "nights not final": _table(records, names),
    }


def markdown_image(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A PNG, embedded in the metadata."""
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")
