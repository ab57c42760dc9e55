"""A warehouse with one night's gaps, patience that does not wait, and settings without an environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Any

import duckdb
import pytest

from custody_pipeline.alerts import Alert, AlertRun, send_alerts
from custody_pipeline.alerts.delivery import CHANNEL_SECONDS, Patience
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.bookkeeping import create_bookkeeping
from custody_pipeline_tests.alerts.receivers import Exchange, Hook, ServiceNow, served

NIGHT = date(2026, 11, 2)
NOW = datetime(2026, 11, 3, 3)


class Night:
    """The tables that alerts are read from, in miniature."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        create_bookkeeping(con)
        con.execute(
            "CREATE TABLE custody.gaps (partition_date DATE, conversation_id VARCHAR, recording_id VARCHAR, "
            "reason VARCHAR, severity VARCHAR, sentence VARCHAR, detail VARCHAR, evidence VARCHAR, "
            "recoverable VARCHAR, recoverable_until TIMESTAMP, next_action VARCHAR)"
        )
        con.execute(
            "CREATE TABLE staging.receipts "
            "(partition_date DATE, resource VARCHAR, receipt_state VARCHAR, is_newest BOOLEAN)"
        )
        con.execute(
            "CREATE TABLE custody.coverage "
            "(partition_date DATE, source VARCHAR, state VARCHAR, complete_until TIMESTAMP, is_needed BOOLEAN)"
        )
        con.execute(
            "CREATE TABLE custody.chain_of_custody (partition_date DATE, custom_data_state VARCHAR, "
            "gap_reasons VARCHAR[], object_bytes BIGINT)"
        )
        con.execute(
            "CREATE TABLE custody.nights "
            "(partition_date DATE, state VARCHAR, recoverable BIGINT, completeness VARCHAR, unexplained BIGINT, "
            "collected_at TIMESTAMP)"
        )

    def gap(self, recording: str, reason: str = "TAG_NEVER_SET", **fields: Any) -> None:
        values = {
            "partition_date": NIGHT, "conversation_id": f"conversation-of-{recording}", "recording_id": recording,
            "reason": reason, "severity": "error", "sentence": f"It is so: {reason}.",
            "detail": "the caller is +15551234567", "evidence": "[]", "recoverable": "no", "recoverable_until": None,
            "next_action": "Do something.",
        } | fields  # fmt: skip
        self.con.execute(f"INSERT INTO custody.gaps VALUES ({', '.join('?' for _ in values)})", list(values.values()))

    def gaps(self, count: int, *reason: str, **fields: Any) -> None:
        for number in range(count):
            self.gap(f"r{number:03}", *reason, **fields)

    def close(self, recording: str) -> None:
        self.con.execute("DELETE FROM custody.gaps WHERE recording_id = ?", [recording])

    def receipt(self, resource: str, state: str) -> None:
        self.con.execute("UPDATE staging.receipts SET is_newest = false WHERE resource = ?", [resource])
        self.con.execute("INSERT INTO staging.receipts VALUES (?, ?, ?, true)", [NIGHT, resource, state])


class Waits(list[float]):
    """The waits that a channel would have made; time passes by them alone."""

    seconds = CHANNEL_SECONDS

    def patience(self) -> Patience:
        return Patience(seconds=self.seconds, sleep=self.append, clock=lambda: sum(self), jitter=lambda: 0.5)


Send = Callable[..., AlertRun]


@pytest.fixture
def night() -> Iterator[Night]:
    with duckdb.connect() as con:
        yield Night(con)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def send(night: Night, waits: Waits) -> Send:
    """Run the night's alerts, with settings given as keywords; one by one by default."""

    def run(removals: Sequence[Alert] | None = None, **settings: Any) -> AlertRun:
        one_by_one = {"digest_above": 1000}
        alerts = {f"alert_{name}": value for name, value in (one_by_one | settings).items()}
        return send_alerts(
            night.con, NIGHT, Settings(**alerts), removals=removals, now=lambda: NOW, patience=waits.patience
        )

    return run


@pytest.fixture(scope="session")
def exchange() -> Iterator[tuple[Exchange, str]]:
    server = Exchange()
    with served(server) as address:
        yield server, address


@pytest.fixture
def hook(exchange: tuple[Exchange, str]) -> Hook:
    server, address = exchange
    server.receiver = hook = Hook(address)
    return hook


@pytest.fixture
def table(exchange: tuple[Exchange, str]) -> ServiceNow:
    server, address = exchange
    server.receiver = table = ServiceNow(address)
    return table
