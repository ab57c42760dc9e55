"""The table of all settings: loading, messages, `custody env` and docs/settings.md are made from it.

A section is a class; a setting is a field with its type, default and description, and the variable `CUSTODY_<FIELD>`.

Belongs here: settings, and what must hold between two of them. Does not: kinds of values (`kinds`), what only one
module tunes (a constant of that module).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from custody_pipeline.settings.kinds import (
    REGIONS,
    Fields,
    GenesysDomain,
    KeyId,
    LinkTemplate,
    Names,
    S3Url,
    Secret,
    SecretUrl,
    ServiceNowTable,
    ServiceNowUrl,
    SettingsError,
    WebhookKeys,
    webhook_keys,
)

PACKAGE_DIR = Path(__file__).parent.parent

ManifestSource = Literal["bucket", "recording_jobs", "recordingexports"]


class Home(BaseModel):
    """The machine that runs the nights."""

    home: Path = Field(Path(".custody"), description="warehouse, landing files and Dagster's history")
    landing_url: str | None = Field(None, description="folder or `s3://` place; `$CUSTODY_HOME/landing` otherwise")
    landing_days: int = Field(30, ge=0, description="days after sealing that `custody tidy` leaves landing files alone")
    duckdb_memory_limit: str = Field(
        "2GB", description="DuckDB spills to disk beyond this; the process takes 0.5 GB more, 2 GB for a million calls"
    )
    operator: str | None = Field(None, description="named in custody events; the login name otherwise")


class GenesysCloud(BaseModel):
    """The organisation's API: domain, client id and secret, or none of the three."""

    genesys_domain: GenesysDomain | None = Field(
        None, examples=["mypurecloud.com"], description="the organisation's domain, or a gateway's base URL"
    )
    genesys_client_id: str | None = Field(None, description="OAuth client (client credentials grant)")
    genesys_client_secret: SecretStr | None = Field(None, description="its secret")
    genesys_requests_per_minute: int = Field(300, ge=1, description="ceiling of our own; the answers' headers lower it")
    integration_id: str | None = Field(None, description="AWS S3 bulk-actions integration; its jobs are ours to read")

    @model_validator(mode="after")
    def _whole_or_absent(self) -> GenesysCloud:
        wanted = ("genesys_domain", "genesys_client_id", "genesys_client_secret")
        missing = [variable(name) for name in wanted if not getattr(self, name)]
        if missing and len(missing) < len(wanted):
            names = ", ".join(map(variable, wanted))
            raise ValueError(f"the API needs all three of {names}; missing: {', '.join(missing)}")
        return self


class Buckets(BaseModel):
    """Where recordings come from and the dataset goes. AWS credentials come from the standard AWS chain."""

    export_url: S3Url | None = Field(
        None, examples=["s3://acme-call-exports"], description="where Genesys Cloud exports to"
    )
    publish_url: S3Url | None = Field(None, examples=["s3://acme-custody/prod"], description="where the dataset goes")
    csv_compression: Literal["none", "gzip"] = Field("none", description="`gzip`: CSV is published as `.csv.gz`")
    s3_endpoint_url: str | None = Field(None, description="an S3 endpoint other than AWS's")
    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        None, description="server-side encryption that every write to S3 asks for; the bucket's own otherwise"
    )
    sse_kms_key_id: str | None = Field(None, description="KMS key of that encryption, by id or ARN")
    s3_region: str | None = Field(None, description="region of the buckets; the AWS chain's otherwise")

    @model_validator(mode="after")
    def _key_for_kms_alone(self) -> Buckets:
        if self.sse_kms_key_id and self.sse in {None, "AES256"}:
            raise ValueError("CUSTODY_SSE_KMS_KEY_ID needs CUSTODY_SSE=aws:kms or aws:kms:dsse")
        return self


class Nights(BaseModel):
    """Which nights there are, and what is read for them."""

    first_night: date = Field(date(2023, 1, 1), description="first daily partition (UTC)")
    manifest_source: ManifestSource = Field("bucket", description="what says which recordings were exported")
    recordingexports_ids: Names = Field((), description="export ids for the manifest source `recordingexports`")
    single_reads: Literal["needed", "all"] = Field(
        "needed", description="which conversations are read one by one after the bulk job"
    )
    mapping_path: Path = Field(PACKAGE_DIR / "genesyscloud_export.yaml", description="the tag mapping")
    fixity_bytes: int = Field(
        10_000_000_000, ge=0, description="bytes of media that the fixity job reads again a night; 0 turns it off"
    )


class Seal(BaseModel):
    """How nights are sealed. Without a key, one is made in `$CUSTODY_HOME/keys` that says DEMO."""

    signing_key: SecretStr | None = Field(None, description="the private key as `custody key new` printed it")
    signing_key_file: Path | None = Field(None, description="or a file that holds it, readable by us alone")
    signing_key_kms: str | None = Field(None, description="or the ARN of an AWS KMS key (ECC_NIST_EDWARDS25519)")
    log_origin: str | None = Field(
        None, examples=["custody.example.com/eu"], description="the log's name, for a key in AWS KMS"
    )
    next_signing_key_file: Path | None = Field(None, description="during a rotation: the key that signs as well")
    next_signing_key_kms: str | None = Field(None, description="or the ARN of that key in AWS KMS")
    salt_secret: SecretStr | None = Field(None, description="64 hex digits; `$CUSTODY_HOME/keys/salt` otherwise")
    timestamp_url: str | None = Field(
        None, examples=["http://timestamp.digicert.com"], description="RFC 3161 timestamp authority"
    )
    witnesses: Path | None = Field(
        None, description="file of C2SP witnesses that cosign each new head: a verifier key and a URL a line"
    )
    lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] | None = Field(None, description="Object Lock of the cuts")
    lock_days: int = Field(365, ge=1, description="days of retention from the sealing on")
    legal_hold: bool = Field(False, description="put a legal hold on the cuts as well")

    @model_validator(mode="after")
    def _one_key_and_a_name_for_it(self) -> Seal:
        for names in (
            ("signing_key", "signing_key_file", "signing_key_kms"),
            ("next_signing_key_file", "next_signing_key_kms"),
        ):
            if sum(getattr(self, name) is not None for name in names) > 1:
                raise ValueError(f"set one of {', '.join(map(variable, names))}, not several")
        if self.signing_key_kms and not self.log_origin:
            raise ValueError("a KMS key needs a name; for example: export CUSTODY_LOG_ORIGIN=custody.example.com/eu")
        return self


class LiveCapture(BaseModel):
    """The receiver of events, their queue and the worker that reads conversations before their tags vanish."""

    webhook_secrets: WebhookKeys | None = Field(
        None,
        examples=['"k1:$(openssl rand -hex 32)"'],
        description="one or two active `key_id:secret` pairs, comma-separated; two while a secret is rotated",
    )
    event_queue_url: str | None = Field(None, description="SQS queue; the local spool is used otherwise")
    event_dead_letter_url: str | None = Field(None, description="SQS dead-letter queue; read from the queue otherwise")
    spool_dir: Path | None = Field(None, description="`$CUSTODY_HOME/spool` otherwise; keep it on a local disk")
    capture_url: str | None = Field(None, description="folder or `s3://` place; `$CUSTODY_HOME/captures` otherwise")
    sidecar_place: Literal["off", "beside", "evidence"] = Field(
        "off", description="where `{recordingId}.custody.json` goes: beside the audio, or under `CUSTODY_SIDECAR_URL`"
    )
    sidecar_url: S3Url | None = Field(
        None, examples=["s3://acme-custody/sidecars"], description="the evidence place of sidecars"
    )
    trigger_workflow_id: str | None = Field(
        None, examples=["6e9a7b1c-0000-4000-8000-000000000000"], description="the workflow that the triggers start"
    )


class Alerts(BaseModel):
    """Where alerts go. Each channel is off until its address is set."""

    alert_reasons: Names | None = Field(
        None, description="JSON list of reasons to alert besides unrecoverable gaps; failures otherwise"
    )
    alert_link_template: LinkTemplate | None = Field(
        None, examples=["https://dagster.example.com/runs?night={night}"], description="page of a gap"
    )
    alert_webhook_url: SecretUrl | None = Field(None, description="receives generic JSON")
    alert_webhook_key_id: KeyId = Field("k1", description="names the secret in the signature header")
    alert_webhook_secret: Secret | None = Field(None, description="signs the webhook's calls (HMAC-SHA256)")
    alert_slack_webhook_url: SecretUrl | None = Field(
        None, description="incoming webhook of Slack, or one compatible with it"
    )
    alert_event_bus: str | None = Field(None, description="EventBridge bus, by name or ARN")
    alert_event_region: str | None = Field(None, description="region of the bus; the AWS chain's otherwise")
    alert_servicenow_url: ServiceNowUrl | None = Field(
        None, examples=["https://acme.service-now.com"], description="the ServiceNow instance"
    )
    alert_servicenow_table: ServiceNowTable = Field("incident", description="table of the records")
    alert_servicenow_user: str | None = Field(
        None, description="integration user, for Basic or the OAuth password grant"
    )
    alert_servicenow_password: SecretStr | None = Field(None, description="its password")
    alert_servicenow_client_id: str | None = Field(
        None, description="OAuth client; without a user: client credentials grant"
    )
    alert_servicenow_client_secret: SecretStr | None = Field(None, description="its secret")
    alert_servicenow_create_fields: Fields = Field({}, description="JSON object, set on new records")
    alert_servicenow_close_fields: Fields = Field(
        {"state": "6", "close_code": "Solution provided", "close_notes": "The gap is closed: see the work notes."},
        description="JSON object, set when the gap has closed; incident state 6 is Resolved",
    )
    alert_servicenow_reopen_fields: Fields = Field(
        {"state": "2"}, description="JSON object, set when a closed gap is back; incident state 2 is In Progress"
    )

    @model_validator(mode="after")
    def _whole_channels(self) -> Alerts:
        if self.alert_webhook_url is not None and self.alert_webhook_secret is None:
            raise ValueError("CUSTODY_ALERT_WEBHOOK_URL needs CUSTODY_ALERT_WEBHOOK_SECRET: calls are signed")
        user = (self.alert_servicenow_user, self.alert_servicenow_password)
        client = (self.alert_servicenow_client_id, self.alert_servicenow_client_secret)
        halves = any((name is None) != (secret is None) for name, secret in (user, client))
        if self.alert_servicenow_url is not None and (halves or user[0] is client[0] is None):
            raise ValueError(
                "CUSTODY_ALERT_SERVICENOW_URL needs CUSTODY_ALERT_SERVICENOW_USER and …_PASSWORD, "
                "or CUSTODY_ALERT_SERVICENOW_CLIENT_ID and …_CLIENT_SECRET, or all four"
            )
        return self


SECTIONS = (Home, GenesysCloud, Buckets, Nights, Seal, LiveCapture, Alerts)


class Settings(Home, GenesysCloud, Buckets, Nights, Seal, LiveCapture, Alerts, BaseSettings):
    """What one deployment needs to know.

    `export_url` and `publish_url` are enough to read somebody else's bucket; the three `genesys_…` settings add the
    API.
    """

    model_config = SettingsConfigDict(
        env_prefix="CUSTODY_", extra="forbid", hide_input_in_errors=True, frozen=True, enable_decoding=False
    )

    @property
    def api_configured(self) -> bool:
        """True when the three `genesys_…` settings are there."""
        return self.genesys_domain is not None

    @property
    def api_url(self) -> str:
        """Base URL of the API, without a trailing slash."""
        return self._genesys_host("api")

    @property
    def login_url(self) -> str:
        """Base URL of the login service, without a trailing slash."""
        return self._genesys_host("login")

    def _genesys_host(self, service: str) -> str:
        domain = self.require("genesys_domain")
        return domain if "://" in domain else f"https://{service}.{domain}"

    @property
    def api_region(self) -> str | None:
        """AWS region of the organisation's domain; None behind a gateway."""
        return REGIONS.get(self.genesys_domain or "")

    @property
    def warehouse_path(self) -> Path:
        """The one DuckDB file that is written."""
        return self.home / "warehouse.duckdb"

    @property
    def analyst_path(self) -> Path:
        """The read-only snapshot that analysts open."""
        return self.home / "analyst.duckdb"

    @property
    def landing(self) -> str:
        """Folder or `s3://…` place of the landing files, without a trailing slash."""
        return (self.landing_url or str(self.home.absolute() / "landing")).rstrip("/")

    @property
    def captures(self) -> str:
        """Folder or `s3://…` place of the capture documents, without a trailing slash."""
        return (self.capture_url or str(self.home.absolute() / "captures")).rstrip("/")

    @property
    def spool_path(self) -> Path:
        """The spool's SQLite file."""
        return (self.spool_dir or self.home / "spool") / "events.sqlite"

    @property
    def webhook_keys(self) -> dict[str, bytes]:
        """Active webhook secrets by key id.

        Raises:
            SettingsError: none is set.
        """
        self.require("webhook_secrets")
        return webhook_keys(self.webhook_secrets.get_secret_value()) if self.webhook_secrets else {}

    def require(self, name: str) -> str:
        """The value of setting `name`.

        Raises:
            SettingsError: the setting is not there; the message shows an example.
        """
        value = getattr(self, name)
        if value is None:
            (example,) = type(self).model_fields[name].examples or ("…",)
            raise SettingsError(f"{variable(name)} is not set; for example: export {variable(name)}={example}")
        return str(value)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"CUSTODY_{name.upper()}"
