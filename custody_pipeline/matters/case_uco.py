"""The custody log in the terms of CASE and UCO (https://caseontology.org), as JSON-LD.

Belongs here: events → InvestigativeAction. Does not: the events (custody_events), their CSV and JSON
(production_tables.py).

An event is an investigative action: who performed it, with which tool, on which recording, and the hash of the content
afterwards. A control number is the exhibit number of a provenance record.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

_UCO = "https://ontology.unifiedcyberontology.org/uco/"
_CONTEXT = {
    "kb": "urn:custody-pipeline:kb:",
    "investigation": "https://ontology.caseontology.org/case/investigation/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    **{name: f"{_UCO}{name}/" for name in ("action", "core", "identity", "observable", "tool", "types")},
}
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "custody-pipeline")


class CaseWriter:
    """Writes rows of the custody log, each a mapping of texts, as a JSON-LD graph, a node per line. A context manager.

    A node that several recordings share, for example a tool, is repeated for each: in RDF a repetition adds nothing.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(b'{"@context":' + orjson.dumps(_CONTEXT) + b',"@graph":[')
        self._before, self._control, self._written = b"\n", "", set[str]()

    def __enter__(self) -> CaseWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.write(b"\n]}\n")

    def add(self, row: Mapping[str, str]) -> None:
        """Write the nodes of an event that were not written for this recording."""
        if row["control_number"] != self._control:
            self._control, self._written = row["control_number"], set()
        recording = _id("recording", row["conversation_id"], row["recording_id"])
        if not self._written:
            self._write(recording, "observable:ObservableObject", {
                "core:name": f"recording {row['recording_id']}",
                "core:description": f"conversation {row['conversation_id']}",
            })  # fmt: skip
            self._write(_id("provenance", row["control_number"]), "investigation:ProvenanceRecord", {
                "investigation:exhibitNumber": row["control_number"], "core:object": {"@id": recording},
            })  # fmt: skip
        performer = _id("identity", row["who"])
        self._write(performer, "identity:Identity", {"core:name": row["who"]})
        action: dict[str, Any] = {
            "core:name": row["action"],
            "core:description": "; ".join(row[name] for name in ("what", "why", "how", "where_at") if row[name]),
            "action:performer": {"@id": performer},
            "action:object": [{"@id": recording}],
        }
        if row["occurred_at"]:
            action["action:startTime"] = {"@type": "xsd:dateTime", "@value": row["occurred_at"]}
        if version := row["tool_version"]:
            instrument = _id("tool", version)
            self._write(instrument, "tool:Tool", {"core:name": "custody_pipeline", "tool:version": version})
            action["action:instrument"] = {"@id": instrument}
        for column, role in (("sha256_before", "action:object"), ("sha256_after", "action:result")):
            if row[column]:
                action.setdefault(role, []).append({"@id": self._write_content(row[column])})
        self._write(_new_id("action", *row.values()), "investigation:InvestigativeAction", action)

    def _write_content(self, sha256: str) -> str:
        """Write the nodes of a content, by its hash. Returns its name."""
        name, facet, digest = (_id(kind, sha256) for kind in ("content", "facet", "hash"))
        if name not in self._written:
            self._write(name, "observable:ObservableObject", {"core:hasFacet": {"@id": facet}})
            self._write(facet, "observable:ContentDataFacet", {"observable:hash": {"@id": digest}})
            self._write(digest, "types:Hash", {
                "types:hashMethod": "SHA256", "types:hashValue": {"@type": "xsd:hexBinary", "@value": sha256},
            })  # fmt: skip
        return name

    def _write(self, name: str, kind: str, properties: Mapping[str, Any]) -> None:
        if name not in self._written:
            self._written.add(name)
            self._file.write(self._before + orjson.dumps({"@id": name, "@type": kind, **properties}))
            self._before = b",\n"


def _new_id(kind: str, *parts: str) -> str:
    return f"kb:{kind}-{uuid.uuid5(_NAMESPACE, json.dumps([kind, *parts]))}"


_id = lru_cache(maxsize=4096)(_new_id)
