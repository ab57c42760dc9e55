"""The parts of the simulated organisation that all nights share: divisions, queues, scripts, its flow, its ids.

Belongs here: fixed things. Does not: calls (calls.py), how the vendor writes them (api_documents.py).
"""

from __future__ import annotations

from dataclasses import dataclass

ORGANIZATION_ID = "0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f"
ORGANIZATION_NAME = "Custody Demo"
INTEGRATION_ID = "a3510000-0000-4000-8000-000000000001"
FLOW_ID = "f10e0000-0000-4000-8000-000000000001"
FLOW_NAME = "Main IVR"
FLOW_VERSION = "12.0"
SCRIPT_INTAKE = "5c1e0000-0000-4000-8000-000000000001"
SCRIPT_CLAIMS = "5c1e0000-0000-4000-8000-000000000002"
SCRIPT_WITHDRAWN = "5c1e0000-0000-4000-8000-000000000009"
REGION = "us-east-1"
OTHER_REGION = "eu-central-1"
TRUNCATION = 1024


@dataclass(frozen=True)
class Queue:
    """A routing queue and the division it belongs to."""

    id: str
    name: str
    division_id: str


@dataclass(frozen=True)
class Division:
    """An authorization division."""

    id: str
    name: str
    home: bool = False


@dataclass(frozen=True)
class PublishedScript:
    """A published script as the API shows it: one version, the newest."""

    id: str
    name: str
    version_id: str
    days_before_night: int


HOME_DIVISION = Division("d1710000-0000-4000-8000-000000000001", "Home", home=True)
LITIGATION_DIVISION = Division("d1710000-0000-4000-8000-000000000002", "Litigation")

# The roles of the demo's client do not cover it: its calls are refused, and absent from every list.
RESTRICTED_DIVISION = Division("d1710000-0000-4000-8000-000000000003", "Restricted")
DIVISIONS = (HOME_DIVISION, LITIGATION_DIVISION)

QUEUES = (
    Queue("9e0e0000-0000-4000-8000-000000000001", "Intake", HOME_DIVISION.id),
    Queue("9e0e0000-0000-4000-8000-000000000002", "Litigation", LITIGATION_DIVISION.id),
    Queue("9e0e0000-0000-4000-8000-000000000003", "Claims", HOME_DIVISION.id),
    Queue("9e0e0000-0000-4000-8000-000000000004", "Service", HOME_DIVISION.id),
)

# The claims script was never republished after its first version, and only a faulty call still uses it.
PUBLISHED_SCRIPTS = (
    PublishedScript(SCRIPT_INTAKE, "Intake", "3", days_before_night=30),
    PublishedScript(SCRIPT_CLAIMS, "Claims", "1", days_before_night=400),
)
