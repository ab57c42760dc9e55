"""Settings of alerts, from the environment (`CUSTODY_ALERT_…`), in the manner of `custody_pipeline.settings`.

Belongs here: names, types, defaults and refusals. Does not: clients or connections made from them.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from custody_pipeline.settings import SettingsError

MIN_SECRET_CHARACTERS = 16

# Reasons that mean that writing or fetching failed. Gaps that nothing can close are alerted whatever their reason.
FAILURE_REASONS = (
    "CONVERSATION_FETCH_FAILED",
    "CONVERSATION_FORBIDDEN",
    "DOCUMENTS_DISAGREE",
    "EXPORT_DROPPED_TAGS",
    "EXPORT_FAILED",
    "OBJECT_EMPTY",
    "OBJECT_MISSING",
    "OBJECT_UNREADABLE",
    "SIDECAR_UNREADABLE",
    "TAG_TRUNCATED",
)
LINK_FIELDS = frozenset({"night", "conversation_id", "recording_id", "reason"})

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_TABLE = re.compile(r"[a-z][a-z0-9_]{0,79}")
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


def _https(url: str) -> str:
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or parts.username or parts.fragment or not (parts.scheme == "https" or local):
        raise ValueError("expected an https:// address without a user name, for example https://alerts.example.com/in")
    return url


def _https_secret(value: SecretStr) -> SecretStr:
    _https(value.get_secret_value())
    return value


def _instance(url: str) -> str:
    if urlsplit(_https(url)).path.strip("/") or urlsplit(url).query:
        raise ValueError("expected the instance's address, for example https://acme.service-now.com")
    return url.rstrip("/")


SecretUrl = Annotated[SecretStr, AfterValidator(_https_secret)]


class AlertSettings(BaseSettings):
    """Where alerts go. Each channel is off until its address is set; addresses that are secrets are kept as such."""

    model_config = SettingsConfigDict(
        env_prefix="CUSTODY_ALERT_", extra="ignore", hide_input_in_errors=True, frozen=True
    )

    reasons: frozenset[str] = Field(
        frozenset(FAILURE_REASONS), description="JSON list of reasons to alert besides unrecoverable gaps"
    )
    link_template: str | None = Field(
        None, description="page of a gap, for example https://dagster.example.com/runs?night={night}"
    )
    channel_seconds: float = Field(300.0, gt=0, description="after this a channel leaves the rest to the next run")
    max_attempts: int = Field(4, ge=1, le=10, description="tries of one request")

    webhook_url: SecretUrl | None = Field(None, description="receives generic JSON")
    webhook_key_id: str = Field("k1", description="names the secret in the signature header")
    webhook_secret: SecretStr | None = Field(None, description="signs the webhook's calls (HMAC-SHA256)")

    slack_webhook_url: SecretUrl | None = Field(
        None, description="incoming webhook of Slack, or one compatible with it"
    )

    event_bus: str | None = Field(None, description="EventBridge bus, by name or ARN")
    event_source: str = Field("custody_pipeline", description="Source of the events")
    event_region: str | None = Field(None, description="region of the bus; the AWS chain's otherwise")
    event_endpoint_url: str | None = Field(None, description="an EventBridge endpoint other than AWS's")

    servicenow_url: Annotated[str, AfterValidator(_instance)] | None = Field(
        None, description="the instance, for example https://acme.service-now.com"
    )
    servicenow_table: str = Field("incident", description="table of the records")
    servicenow_user: str | None = Field(None, description="integration user, for Basic or the OAuth password grant")
    servicenow_password: SecretStr | None = Field(None, description="its password")
    servicenow_client_id: str | None = Field(None, description="OAuth client; without a user: client credentials")
    servicenow_client_secret: SecretStr | None = Field(None, description="its secret")
    servicenow_create_fields: dict[str, str] = Field(
        {}, description='JSON, set on new records, for example {"assignment_group": "…"}'
    )
    servicenow_close_fields: dict[str, str] = Field(
        {"state": "6", "close_code": "Solution provided", "close_notes": "The gap is closed: see the work notes."},
        description="JSON, set when the gap has closed; incident state 6 is Resolved",
    )
    servicenow_reopen_fields: dict[str, str] = Field(
        {"state": "2"}, description="JSON, set when a closed gap is back; incident state 2 is In Progress"
    )
    servicenow_max_records: int = Field(2000, ge=1, description="records touched in one run; the rest is for the next")

    @field_validator("link_template")
    @classmethod
    def _fillable(cls, value: str | None) -> str | None:
        if value is not None:
            _https(value)
            names = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
            if names - LINK_FIELDS:
                raise ValueError(f"accepted between braces: {', '.join(sorted(LINK_FIELDS))}")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_SECRET_CHARACTERS:
            raise ValueError(f"a secret needs at least {MIN_SECRET_CHARACTERS} characters")
        return value

    @field_validator("webhook_key_id")
    @classmethod
    def _key_id(cls, value: str) -> str:
        if not _KEY_ID.fullmatch(value):
            raise ValueError("expected letters, digits, '-' and '_', at most 32")
        return value

    @field_validator("servicenow_table")
    @classmethod
    def _table(cls, value: str) -> str:
        if not _TABLE.fullmatch(value):
            raise ValueError("expected a table's name, for example incident")
        return value

    @model_validator(mode="after")
    def _whole_channels(self) -> AlertSettings:
        if self.webhook_url is not None and self.webhook_secret is None:
            raise ValueError("CUSTODY_ALERT_WEBHOOK_URL needs CUSTODY_ALERT_WEBHOOK_SECRET: calls are signed")
        if self.servicenow_url is not None:
            user = (self.servicenow_user, self.servicenow_password)
            client = (self.servicenow_client_id, self.servicenow_client_secret)
            halves = [pair for pair in (user, client) if (pair[0] is None) != (pair[1] is None)]
            if halves or (user[0] is None and client[0] is None):
                raise ValueError(
                    "CUSTODY_ALERT_SERVICENOW_URL needs CUSTODY_ALERT_SERVICENOW_USER and …_PASSWORD, "
                    "or CUSTODY_ALERT_SERVICENOW_CLIENT_ID and …_CLIENT_SECRET, or all four"
                )
        return self

    @property
    def is_configured(self) -> bool:
        """True when at least one channel is on."""
        return any((self.webhook_url, self.slack_webhook_url, self.event_bus, self.servicenow_url))


def read_alert_settings() -> AlertSettings:
    """Read the environment.

    Raises:
        SettingsError: one line per wrong setting, with its variable and the accepted form; values are not repeated.
    """
    try:
        return AlertSettings()
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_input=False, include_url=False):
            name = "CUSTODY_ALERT_" + "_".join(map(str, problem["loc"])).upper() + ": " if problem["loc"] else ""
            lines.append(f"{name}{problem['msg']}")
        raise SettingsError("\n".join(lines)) from error
