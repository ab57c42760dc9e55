"""Alerts are off until configured, and a half configured channel is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from custody_pipeline.alerts import alerted_reasons
from custody_pipeline.alerts.dispatch import channels_of
from custody_pipeline.settings import Settings, SettingsError, load_settings

ALERTS = Path(__file__).parents[2] / "docs" / "alerts.md"
SN = {"SERVICENOW_URL": "https://acme.service-now.com"}


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"CUSTODY_ALERT_{name}", value)
    settings = load_settings()
    alerted_reasons(settings)
    return settings


def test_a_link_may_lead_to_a_place_on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    (documented,) = re.findall(r"`(https://\S+#{reason})`", ALERTS.read_text(encoding="utf-8"))
    assert load(monkeypatch, LINK_TEMPLATE=documented).alert_link_template == documented


def test_nothing_is_configured_by_default() -> None:
    assert channels_of(load_settings()) == {}


@pytest.mark.parametrize(
    "variables",
    [
        {"WEBHOOK_URL": "https://alerts.example.com/in", "WEBHOOK_SECRET": "sixteen-characters"},
        {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/x"},
        {"EVENT_BUS": "custody"},
        {**SN, "SERVICENOW_USER": "u", "SERVICENOW_PASSWORD": "p"},
        {**SN, "SERVICENOW_CLIENT_ID": "c", "SERVICENOW_CLIENT_SECRET": "s"},
        {**SN, "SERVICENOW_USER": "u", "SERVICENOW_PASSWORD": "p", "SERVICENOW_CREATE_FIELDS": '{"caller_id": "c"}'},
    ],
)
def test_each_channel_is_on_by_itself(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    assert len(channels_of(load(monkeypatch, **variables))) == 1


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WEBHOOK_URL": "https://alerts.example.com/hidden"}, "needs CUSTODY_ALERT_WEBHOOK_SECRET"),
        (
            {"WEBHOOK_URL": "http://alerts.example.com/hidden", "WEBHOOK_SECRET": "x" * 16},
            "expected an https:// address",
        ),
        ({"WEBHOOK_URL": "https://hidden@alerts.example.com", "WEBHOOK_SECRET": "x" * 16}, "without a user name"),
        ({"WEBHOOK_SECRET": "hidden"}, "CUSTODY_ALERT_WEBHOOK_SECRET: a secret needs at least 16"),
        ({"WEBHOOK_KEY_ID": "a,b"}, "CUSTODY_ALERT_WEBHOOK_KEY_ID is 'a,b': expected up to 32 letters"),
        ({"SLACK_WEBHOOK_URL": "hidden"}, "CUSTODY_ALERT_SLACK_WEBHOOK_URL"),
        (SN, "needs CUSTODY_ALERT_SERVICENOW_USER"),
        ({**SN, "SERVICENOW_USER": "hidden"}, "needs CUSTODY_ALERT_SERVICENOW_USER and …_PASSWORD"),
        ({"SERVICENOW_URL": "https://acme.service-now.com/page"}, "expected the instance's address"),
        ({"SERVICENOW_TABLE": "a/b"}, "CUSTODY_ALERT_SERVICENOW_TABLE is 'a/b': expected the name of a table"),
        ({"REASONS": '["NONE"]'}, "no such reason: NONE"),
        ({"REASONS": "TAG_EMPTY"}, "CUSTODY_ALERT_REASONS is 'TAG_EMPTY'"),
        ({"SERVICENOW_CREATE_FIELDS": '{"urgency": 1}'}, "CUSTODY_ALERT_SERVICENOW_CREATE_FIELDS is 1"),
        ({"LINK_TEMPLATE": "https://x.example.com/{name}"}, "accepted between braces: conversation_id"),
        ({"LINK_TEMPLATE": "https://x.example.com/{night:%Y}"}, "braces hold a name and nothing else"),
        ({"LINK_TEMPLATE": "https://x.example.com/{night:{x}}"}, "braces hold a name and nothing else"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, **variables)
    assert message in str(refused.value)
    assert "hidden" not in str(refused.value)
