"""Settings of live capture, from the environment (`CUSTODY_…`), in the manner of `custody_pipeline.settings`.

Belongs here: names, types, defaults and refusals. Does not: clients or connections made from them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from custody_pipeline.settings import S3Url, Settings, SettingsError, missing_setting

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
MIN_SECRET_CHARACTERS = 16
MAX_ACTIVE_SECRETS = 2


class CaptureSettings(BaseSettings):
    """What the receiver, the queue and the capture worker need to know; everything has a default except the secrets."""

    model_config = SettingsConfigDict(env_prefix="CUSTODY_", extra="ignore", hide_input_in_errors=True, frozen=True)

    webhook_secrets: SecretStr | None = Field(
        None, description="one or two active `key_id:secret` pairs, comma-separated; two while a secret is rotated"
    )
    webhook_max_body_bytes: int = Field(
        128 * 1024, ge=1024, le=192 * 1024, description="larger ones are refused; SQS holds"
    )
    webhook_body_seconds: float = Field(10.0, gt=0, description="a request must be complete within this time")
    webhook_replay_seconds: int = Field(300, ge=1, le=3600, description="a signature is good for this long")
    webhook_skew_seconds: int = Field(30, ge=0, le=300, description="how far a sender's clock may be ahead")
    webhook_max_waiting: int = Field(2000, ge=1, description="requests waiting for the disk or SQS; more are told 503")

    event_queue_url: str | None = Field(None, description="SQS queue; the local spool is used otherwise")
    event_dead_letter_url: str | None = Field(None, description="SQS dead-letter queue; read from the queue otherwise")
    event_queue_endpoint_url: str | None = Field(None, description="an SQS endpoint other than AWS's")
    event_max_attempts: int = Field(12, ge=1, description="readings of one conversation before it is a dead letter")
    event_memory_days: int = Field(7, ge=1, description="how long the spool remembers handled event ids")
    spool_dir: Path | None = Field(None, description="$CUSTODY_HOME/spool otherwise; keep it on a local disk")

    capture_url: str | None = Field(None, description="folder or s3:// place; $CUSTODY_HOME/captures otherwise")
    capture_rate_share: float = Field(
        0.5, gt=0, le=1, description="share of CUSTODY_GENESYS_REQUESTS_PER_MINUTE that capture may use"
    )
    capture_typed_attributes: bool = Field(True, description="also read /customattributes (one more request)")
    sidecar_place: Literal["off", "beside", "evidence"] = Field(
        "off", description="where {recordingId}.custody.json goes: beside the audio, or under CUSTODY_SIDECAR_URL"
    )
    sidecar_url: S3Url | None = Field(None, description="the evidence place, for sidecar_place=evidence")
    sidecar_expiry_seconds: int = Field(60, ge=1, le=900, description="how long a pre-signed PUT is good for")
    trigger_workflow_id: str | None = Field(None, description="the workflow that the triggers start")

    @field_validator("webhook_secrets")
    @classmethod
    def _pairs(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _parse_secrets(value.get_secret_value())
        return value

    @property
    def secrets(self) -> dict[str, bytes]:
        """Active webhook secrets by key id.

        Raises:
            SettingsError: none is set.
        """
        if self.webhook_secrets is None:
            raise SettingsError(
                "CUSTODY_WEBHOOK_SECRETS is not set; for example: "
                'export CUSTODY_WEBHOOK_SECRETS="k1:$(openssl rand -hex 32)"'
            )
        return _parse_secrets(self.webhook_secrets.get_secret_value())

    def require_sidecar_url(self) -> str:
        """The evidence place of sidecars.

        Raises:
            SettingsError: it is not set.
        """
        if self.sidecar_url is None:
            raise missing_setting("CUSTODY_SIDECAR_URL", "s3://acme-custody/sidecars")
        return self.sidecar_url

    def spool_path(self, settings: Settings) -> Path:
        """The spool's SQLite file."""
        return (self.spool_dir or settings.home / "spool") / "events.sqlite"

    def place(self, settings: Settings) -> str:
        """Folder or `s3://…` place of the capture documents, without a trailing slash."""
        return (self.capture_url or str(settings.home.absolute() / "captures")).rstrip("/")


def load_capture_settings() -> CaptureSettings:
    """Read the environment.

    Raises:
        SettingsError: one line per wrong setting, with its variable and the accepted form; values are not repeated.
    """
    try:
        return CaptureSettings()
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        lines = [f"CUSTODY_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}" for problem in problems]
        raise SettingsError("\n".join(lines)) from error


def _parse_secrets(text: str) -> dict[str, bytes]:
    secrets: dict[str, bytes] = {}
    for pair in text.split(","):
        key_id, colon, secret = pair.strip().partition(":")
        if not colon or not _KEY_ID.fullmatch(key_id):
            raise ValueError("expected key_id:secret[,key_id:secret], key ids of letters, digits, '-' and '_'")
        if len(secret) < MIN_SECRET_CHARACTERS:
            raise ValueError(f"a secret needs at least {MIN_SECRET_CHARACTERS} characters")
        if key_id in secrets:
            raise ValueError("two secrets have the same key id")
        secrets[key_id] = secret.encode()
    if len(secrets) > MAX_ACTIVE_SECRETS:
        raise ValueError(f"at most {MAX_ACTIVE_SECRETS} secrets can be active")
    return secrets
