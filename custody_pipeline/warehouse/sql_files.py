"""The SQL files as models: header, columns, dependencies, order.

Belongs here: reading and validating the SELECTs below `sql/`. Does not: running them (models/run.py).

A file is a header of `-- ` lines followed by one bare SELECT:

    -- What a row is, for people. May have
    -- several lines.
    --
    -- grain: partition_date, conversation_id
    -- column partition_date DATE: UTC day of the conversation's start
    -- column ani VARCHAR [pii]: the caller's number
    SELECT ...

The schema is the first folder below `sql/`. Types of columns are declared where readers rely on them: in `custody`.

A check adds `-- asset: custody.gaps`, the table that it judges, and `-- blocking: true` or `false`. A staging model
that is kept as a table adds `-- materialized: window`: a run replaces the rows of its night. `-- separable: true` says
that each output row depends only on input rows with its `conversation_id`, plus rows that have none. If a night does
not fit into memory, a separable model reads one range of ids at a time.

A file in `macros` creates one macro that several models call. A file in `queries` is a query that Python sends; its
folder names the subject, and its header describes the rows without declaring columns.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import duckdb
import orjson

from custody_pipeline.distribution import SQL_DIR as SQL_DIR

SCHEMAS = ("raw", "staging", "custody", "checks")

# Pending reads are queries with the header of a model.
_FOLDERS = (*SCHEMAS, "pending_reads")

# Tables that Python writes; SQL may read them like any other.
WRITTEN_BY_PYTHON = frozenset(
    {
        "raw.acts",
        "raw.erasures",
        "raw.fixity_checks",
        "raw.publications",
        "raw.published_columns",
        "raw.row_versions",
        "staging.accepted_scripts",
        "staging.reasons",
        "staging.tag_mapping",
    }
)

Materialization = Literal["view", "window", "query"]
_COLUMN = re.compile(
    r"column (?P<name>[a-z_][a-z0-9_]*)( (?P<type>[A-Z]+(\([^)]+\))?(\[\])?))?(?P<pii> \[pii\])?: (?P<text>\S.*)$"
)
_FIELD = re.compile(r"(?P<name>asset|grain|materialized|blocking|separable): (?P<value>\S.*)$")
_NAME = re.compile(r"[a-z][a-z0-9_]*$")


class SqlModelError(Exception):
    """A SQL file breaks the convention. The message begins with `file:line:`."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")
        self.path = path
        self.line = line


@dataclass(frozen=True)
class Column:
    """An output column as the header declares it.

    Attributes:
        pii: personal data, masked in previews.
        data_type: DuckDB's type; None where the header declares none.
    """

    name: str
    description: str
    pii: bool = False
    data_type: str | None = None


@dataclass(frozen=True)
class SqlModel:
    """One SQL file.

    Attributes:
        schema: `raw`, `staging`, `custody`, `checks` or `pending_reads`.
        name: the file's name without `.sql`; also the table's.
        description: the header's first paragraph, on one line.
        grain: columns that identify a row; empty when rows may repeat.
        columns: the declared output columns, in order; those of the tag mapping come before `custody_status`, where the
            model has them (`has_mapped_columns`).
        depends_on: `schema.table` names that the SELECT reads.
        materialized: `view`, `window` (a table whose night is replaced) or `query` (checks).
        asset: for checks: the `schema.table` that they judge; empty for any other model.
        blocking: for checks: a row keeps the night from being published.
        separable: each output row depends only on input rows of its conversation, and on rows without one.
    """

    schema: str
    name: str
    path: Path
    description: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    depends_on: frozenset[str]
    parameters: frozenset[str]
    materialized: Materialization
    asset: str
    blocking: bool
    separable: bool
    sql: str = field(repr=False)

    @property
    def key(self) -> str:
        """`schema.name`, as the SQL of other models spells it."""
        return f"{self.schema}.{self.name}"

    @cached_property
    def pii_columns(self) -> frozenset[str]:
        """Names of the columns that hold personal data."""
        return frozenset(column.name for column in self.columns if column.pii)

    @property
    def has_mapped_columns(self) -> bool:
        """True when the mapping's `custom_data_…` columns are among the output (parameter `$mapped_columns`)."""
        return "mapped_columns" in self.parameters


@cache
def load_models(directory: Path = SQL_DIR) -> dict[str, SqlModel]:
    """Every model under `directory`, keyed `schema.name`, each after what it depends on. Read once a process.

    Raises:
        SqlModelError: a file breaks the convention, reads a table that no file makes, or is part of a cycle.
    """
    found: dict[str, SqlModel] = {}
    for schema in SCHEMAS:
        for path in sorted((directory / schema).rglob("*.sql")):
            model = read_model(path)
            if model.key in found:
                raise SqlModelError(path, 1, f"{model.key} is also made by {found[model.key].path}")
            found[model.key] = model
    _refuse_unknown_tables(found, directory)
    return {key: found[key] for key in _ordered(found)}


@cache
def models_sha256() -> str:
    """SHA-256 over every file of `sql/{macros,staging,custody}` with its name: the SQL that made the night's rows."""
    files = sorted(path for schema in ("macros", "staging", "custody") for path in (SQL_DIR / schema).rglob("*.sql"))
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(SQL_DIR)}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@cache
def declared_columns(tables: tuple[str, ...]) -> list[dict[str, str | None]]:
    """The columns that the headers of tables of `custody` declare: `table_name`, `column_name` and `data_type`."""
    return [
        {"table_name": table, "column_name": column.name, "data_type": column.data_type}
        for table in tables
        for column in read_model(SQL_DIR / "custody" / f"{table}.sql").columns
    ]


def read_model(path: Path) -> SqlModel:
    """Read one file; its folder, or the folder above, is named after the schema.

    Raises:
        SqlModelError: the header or the SELECT breaks the convention.
    """
    schema = next((folder.name for folder in (path.parent, path.parent.parent) if folder.name in _FOLDERS), None)
    if schema is None:
        raise SqlModelError(path, 1, f"folder {path.parent.name!r} is in none of {', '.join(_FOLDERS)}")
    if not _NAME.match(path.stem):
        raise SqlModelError(path, 1, f"file name {path.name!r}: expected lower-case letters, digits and underscores")
    header, sql, sql_line = _split(path)
    description, fields, columns = _read_header(path, header)
    depends_on, parameters = _reads(path, sql, sql_line)
    grain = tuple(part.strip() for part in fields.get("grain", "").split(",") if part.strip())
    names = [column.name for column in columns]
    for name in grain:
        if name not in names:
            raise SqlModelError(path, 1, f"grain names {name!r}, which is no declared column")
    return SqlModel(
        schema=schema,
        name=path.stem,
        path=path,
        description=description,
        grain=grain,
        columns=tuple(columns),
        depends_on=depends_on,
        parameters=parameters,
        materialized=_materialization(path, schema, fields),
        asset=_asset(path, schema, fields),
        blocking=fields.get("blocking") == "true",
        separable=fields.get("separable") == "true",
        sql=sql,
    )


def read_select(path: Path) -> str:
    """The bare SELECT of one file, not validated, to run it.

    Raises:
        SqlModelError: the file has no header.
    """
    return _split(path)[1]


@cache
def query(name: str) -> str:
    """The SELECT of `sql/queries/<name>.sql`, a query that is not a model. The caller binds its `$parameters`."""
    return read_select(SQL_DIR / "queries" / f"{name}.sql")


@cache
def _macros() -> str:
    return ";\n".join(path.read_text(encoding="utf-8") for path in sorted((SQL_DIR / "macros").glob("*.sql")))


def create_macros(con: duckdb.DuckDBPyConnection) -> None:
    """Create the macros that SQL files call, for as long as the connection lasts."""
    con.execute(_macros())


def _split(path: Path) -> tuple[list[str], str, int]:
    lines = path.read_text(encoding="utf-8").splitlines()
    size = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
    if size == 0:
        raise SqlModelError(path, 1, "expected a header of '-- ' lines that begins with a description")
    return lines[:size], "\n".join(lines[size:]).strip() + "\n", size + 1


def _read_header(path: Path, header: list[str]) -> tuple[str, dict[str, str], list[Column]]:
    paragraph: list[str] = []
    fields: dict[str, str] = {}
    columns: list[Column] = []
    in_first_paragraph = True
    for number, line in enumerate(header, start=1):
        text = line[2:].strip()
        declared, given = _COLUMN.match(text), _FIELD.match(text)
        if text.startswith("column ") and not declared:
            raise SqlModelError(
                path,
                number,
                "expected '-- column <name>: <text>', with a type and [pii] before the colon where they apply",
            )
        if declared:
            if declared["name"] in {column.name for column in columns}:
                raise SqlModelError(path, number, f"column {declared['name']!r} is declared twice")
            columns.append(Column(declared["name"], declared["text"], bool(declared["pii"]), declared["type"]))
        elif given:
            if given["name"] in fields:
                raise SqlModelError(path, number, f"{given['name']!r} is given twice")
            fields[given["name"]] = given["value"]
        elif in_first_paragraph and text:
            paragraph.append(text)
            continue
        in_first_paragraph = in_first_paragraph and not paragraph
    if not paragraph:
        raise SqlModelError(path, 1, "expected a description in the header's first paragraph")
    if not columns:
        raise SqlModelError(path, len(header), "expected a '-- column <name>: <text>' line for each output column")
    return " ".join(paragraph), fields, columns


@cache
def _reads(path: Path, sql: str, first_line: int) -> tuple[frozenset[str], frozenset[str]]:
    """Tables and parameters that a SELECT reads. Each text is parsed once a process."""
    nodes = _parse(path, sql, first_line)
    return _tables(path, nodes, first_line), frozenset(n["identifier"] for n in nodes if n.get("class") == "PARAMETER")


def _parse(path: Path, sql: str, first_line: int) -> list[dict[str, Any]]:
    """The nodes of DuckDB's own parse tree of the SELECT, before names are bound (`json_serialize_sql`)."""
    (answer,) = _parser().cursor().execute("SELECT json_serialize_sql(?)", [sql]).fetchone() or ("{}",)
    parsed: dict[str, Any] = orjson.loads(answer)
    if parsed.get("error_type") == "parser":
        line = first_line + sql.encode()[: int(parsed.get("position", 0))].count(b"\n")
        raise SqlModelError(path, line, f"not SQL: {parsed['error_message']}")
    found = _parser().extract_statements(sql)
    if len(found) != 1:
        raise SqlModelError(path, first_line, f"expected one SELECT, found {len(found)} statements")
    if parsed["error"]:
        raise SqlModelError(path, first_line, f"expected a bare SELECT, found {found[0].type.name}")
    nodes = list(_nodes(parsed))
    if any(node.get("type") == "SHOW_REF" for node in nodes):
        raise SqlModelError(path, first_line, "expected a bare SELECT, found DESCRIBE, SHOW or SUMMARIZE")
    if sql.rstrip().endswith(";"):
        raise SqlModelError(path, first_line, "expected a bare SELECT without a closing semicolon")
    return nodes


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    found = [tree]
    while found:
        node = found.pop()
        if isinstance(node, dict):
            yield node
        found.extend(
            part for part in (node.values() if isinstance(node, dict) else node) if isinstance(part, (dict, list))
        )


def _tables(path: Path, nodes: Iterable[dict[str, Any]], line: int) -> frozenset[str]:
    local = {entry["key"] for node in nodes if "cte_map" in node for entry in node["cte_map"]["map"]}
    names = set()
    for node in nodes:
        # Functions such as read_json() are nodes of another type; DuckDB's own catalogue is no dependency.
        if node.get("type") != "BASE_TABLE" or node["schema_name"] == "information_schema":
            continue
        if node["schema_name"]:
            names.add(f"{node['schema_name']}.{node['table_name']}")
        elif node["table_name"] not in local:
            raise SqlModelError(path, line, f"table {node['table_name']!r}: expected schema.table")
    return frozenset(names)


def _materialization(path: Path, schema: str, fields: dict[str, str]) -> Materialization:
    value = fields.get("materialized")
    if value not in (None, "window"):
        raise SqlModelError(path, 1, f"materialized: {value!r} is not known; expected 'window', or no such line")
    if schema == "custody" or value == "window":
        return "window"
    return "view" if schema == "staging" else "query"


def _asset(path: Path, schema: str, fields: dict[str, str]) -> str:
    value = fields.get("asset", "")
    if (schema == "checks") != bool(value):
        raise SqlModelError(path, 1, "expected '-- asset: <schema>.<table>' in a check, and in no other file")
    return value


def _refuse_unknown_tables(models: Mapping[str, SqlModel], directory: Path) -> None:
    for model in models.values():
        named = {model.asset} - {""}
        for name in sorted((model.depends_on | named) - models.keys() - WRITTEN_BY_PYTHON):
            # A directory without raw files, in a test, declares no raw table.
            if not name.startswith("raw.") or any((directory / "raw").glob("*.sql")):
                raise SqlModelError(model.path, 1, f"names {name}, which no file in {directory} makes")


def _ordered(models: Mapping[str, SqlModel]) -> list[str]:
    # Sorted input makes the order the same on every machine.
    graph = {key: sorted(models[key].depends_on & models.keys()) for key in sorted(models)}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        cycle = error.args[1]
        raise SqlModelError(models[cycle[0]].path, 1, f"models read each other: {' → '.join(cycle)}") from error
