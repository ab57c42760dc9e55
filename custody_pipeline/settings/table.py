"""The table of all settings. Loading, messages, `custody env` and docs/settings.md are made from it.

A section is a class. A setting is a field with its type, default and description; its variable is `CUSTODY_<FIELD>`.

Belongs here: settings, and rules between two settings. Does not: kinds of values (`kinds`), tuning of one module (a
constant there).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.settings.kinds import (
    REGIONS,
    Address,
    Credential,
    Day,
    Fields,
    FilePath,
    GenesysDomain,
    KeyId,
    LinkTemplate,
    Memory,
    Names,
    Owners,
    Place,
    S3Url,
    Salt,
    Secret,
    SecretUrl,
    ServiceNowTable,
    ServiceNowUrl,
    SettingsError,
    WebhookKeys,
    setting,
    webhook_keys,
)

ManifestSource = Literal["bucket", "recording_jobs", "recordingexports"]
MOST_DAYS = 36_500
"""No lock of S3 may last longer; dates after the year 9999 cannot be written."""


class Home(BaseModel):
    """The machine that runs the nights."""

    home: FilePath = setting(Path(".custody"), "warehouse, landing files and Dagster's history")
    landing_url: Place | None = setting(
        None, "folder or `s3://` place of landing files; default: `$CUSTODY_HOME/landing`"
    )
    landing_days: int = setting(
        30, "days after sealing for which `custody tidy` keeps landing files", ge=0, le=MOST_DAYS
    )
    runs_days: int = setting(
        90, "days for which `custody tidy` keeps the events and logs of a Dagster run", ge=0, le=MOST_DAYS
    )
    duckdb_memory_limit: Memory = setting(
        "2GB", "DuckDB spills to disk above this; the process needs 0.5 GB more, 2 GB for a million calls"
    )
    operator: str | None = setting(
        None, "name and role in custody events: Jane Roe, paralegal; default: the login name"
    )
    owners: Owners = setting(
        (),
        "owners of every asset in Dagster: teams and e-mail addresses, comma-separated",
        example="team:legal,person@example.com",
    )


class GenesysCloud(BaseModel):
    """The organisation's API: domain, client id and secret together, or none of them."""

    genesys_domain: GenesysDomain | None = setting(
        None, "the organisation's domain, or a gateway's base URL", example="mypurecloud.com"
    )
    genesys_client_id: Credential | None = setting(None, "OAuth client (client credentials grant)")
    genesys_client_secret: SecretStr | None = setting(None, "its secret")
    genesys_requests_per_minute: int = setting(300, "upper limit; headers of the answers may lower it", ge=1)
    integration_id: str | None = setting(None, "the AWS S3 bulk-actions integration whose export jobs are read")

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

    export_url: S3Url | None = setting(None, "where Genesys Cloud exports to", example="s3://acme-call-exports")
    publish_url: S3Url | None = setting(None, "where the dataset goes", example="s3://acme-custody/prod")
    csv_compression: Literal["none", "gzip"] = setting("none", "`gzip`: CSV is published as `.csv.gz`")
    s3_endpoint_url: Address | None = setting(None, "an S3 endpoint other than AWS's")
    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = setting(
        None, "server-side encryption of every write to S3; default: the encryption of the bucket"
    )
    sse_kms_key_id: str | None = setting(None, "KMS key of the encryption, by id or ARN")
    s3_region: str | None = setting(None, "region of the buckets; default: the region of the AWS chain")

    @model_validator(mode="after")
    def _key_for_kms_alone(self) -> Buckets:
        if self.sse_kms_key_id and self.sse in {None, "AES256"}:
            raise ValueError("CUSTODY_SSE_KMS_KEY_ID needs CUSTODY_SSE=aws:kms or aws:kms:dsse")
        return self


class Nights(BaseModel):
    """Which nights there are, and what is read for them."""

    first_night: Day | None = setting(
        None,
        "the first night that must be there (UTC); without it, only nights between collected nights can be missing",
    )
    nights_url: S3Url | None = setting(
        None,
        "for several workers: place of each night's warehouse between runs; default: one warehouse in `$CUSTODY_HOME`",
        example="s3://acme-custody-nights",
    )
    left_out_divisions: Names | None = setting(
        None,
        "JSON list of divisions, by name or id, that are not collected on purpose, `[]` if none is; if the client's "
        "roles do not cover another one, no night is established",
        example='["Training"]',
    )
    manifest_source: ManifestSource = setting("bucket", "source of the list of exported recordings")
    recordingexports_ids: Names = setting((), "export ids for the manifest source `recordingexports`")
    single_reads: Literal["needed", "all"] = setting("needed", "which conversations are read singly after the bulk job")
    retention_pages: int = setting(
        1_000,
        "highest number of pages (500 recordings each) that a night reads of the vendor's list of all recordings; "
        "0 reads none, and then no night is established",
        ge=0,
    )
    audit_days: int = setting(
        31,
        "days from the night on for which the vendor's audits of recordings (who listened) are read; 0 reads none",
        ge=0,
        le=MOST_DAYS,
    )
    mapping_path: FilePath = setting(PACKAGE_DIR / "genesyscloud_export.yaml", "the tag mapping")
    retention_path: FilePath | None = setting(
        None, "the retention policy; without a policy nothing is due", example="retention.yaml"
    )
    fixity_bytes: int = setting(
        10_000_000_000, "bytes of media that the fixity job reads again each night; 0 turns the job off", ge=0
    )


class Seal(BaseModel):
    """How nights are sealed. Without a key, a key named DEMO is made in `$CUSTODY_HOME/keys`."""

    signing_key: SecretStr | None = setting(None, "the private key, as `custody key new` wrote it")
    signing_key_file: FilePath | None = setting(None, "or a file with the key, which only its owner may read")
    signing_key_kms: str | None = setting(None, "or the ARN of an AWS KMS key (ECC_NIST_EDWARDS25519)")
    log_origin: str | None = setting(None, "the log's name, for a key in AWS KMS", example="custody.example.com/eu")
    next_signing_key_file: FilePath | None = setting(None, "during a rotation: a file with the second signing key")
    next_signing_key_kms: str | None = setting(None, "or the ARN of the second key in AWS KMS")
    salt_secret: Salt | None = setting(None, "64 hex digits; default: `$CUSTODY_HOME/keys/salt`")
    timestamp_url: Address | None = setting(
        None, "RFC 3161 timestamp authority", example="http://timestamp.digicert.com"
    )
    witnesses: FilePath | None = setting(
        None, "file of the C2SP witnesses that cosign each new head: a verifier key and a URL per line"
    )
    newer_within_days: int | None = setting(
        None,
        "days within which each cut promises a newer one; verification refuses an older log",
        ge=1,
        le=MOST_DAYS,
    )
    lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] | None = setting(None, "Object Lock of the cuts")
    lock_days: int = setting(365, "days of retention from the sealing on", ge=1, le=MOST_DAYS)
    legal_hold: bool = setting(False, "also put a legal hold on the cuts")

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


class AtRest(BaseModel):
    """Encryption of landing files and captures, with a key for each night. Off until one of two keys is set."""

    night_key_file: FilePath | None = setting(
        None, "file with the key that wraps the nights' keys: 64 hex digits; lines after the first open earlier ones"
    )
    night_key_kms: str | None = setting(None, "or the ARN of a symmetric AWS KMS key")
    night_keys_url: Place | None = setting(
        None,
        "folder of the wrapped keys, or `s3://` place, needed with landing files or captures on S3; "
        "default: `$CUSTODY_HOME/keys/nights`",
        example="s3://acme-custody-keys",
    )

    @model_validator(mode="after")
    def _one_key_to_wrap_with(self) -> AtRest:
        if self.night_key_file and self.night_key_kms:
            raise ValueError("set one of CUSTODY_NIGHT_KEY_FILE, CUSTODY_NIGHT_KEY_KMS, not both")
        if self.night_keys_url and not (self.night_key_file or self.night_key_kms):
            raise ValueError("CUSTODY_NIGHT_KEYS_URL needs CUSTODY_NIGHT_KEY_FILE or CUSTODY_NIGHT_KEY_KMS")
        return self


class LiveCapture(BaseModel):
    """The receiver of events, their queue and the worker that reads conversations before their tags vanish."""

    webhook_secrets: WebhookKeys | None = setting(
        None,
        "one `key_id:secret` pair, or two, comma-separated, while a secret is rotated",
        example='"k1:$(openssl rand -hex 32)"',
    )
    event_queue_url: Address | None = setting(None, "SQS queue; default: the local spool")
    event_dead_letter_url: Address | None = setting(
        None, "SQS dead-letter queue; default: the one of the queue's redrive policy"
    )
    spool_dir: FilePath | None = setting(None, "folder of the spool, on a local disk; default: `$CUSTODY_HOME/spool`")
    capture_url: Place | None = setting(None, "folder or `s3://` place of captures; default: `$CUSTODY_HOME/captures`")
    sidecar_place: Literal["off", "beside", "evidence"] = setting(
        "off", "place of `{recordingId}.custody.json`: beside the audio, or below `CUSTODY_SIDECAR_URL`"
    )
    sidecar_url: S3Url | None = setting(None, "the evidence place of sidecars", example="s3://acme-custody/sidecars")
    trigger_workflow_id: str | None = setting(
        None, "the workflow that the triggers start", example="6e9a7b1c-0000-4000-8000-000000000000"
    )


class Alerts(BaseModel):
    """Where alerts go. Each channel is off until its address is set."""

    alert_reasons: Names | None = setting(
        None, "JSON list of reasons that are alerted besides unrecoverable gaps; default: failures"
    )
    alert_digest_above: int = setting(
        10,
        "a night's new gaps are alerted one by one up to this number; above it, one digest groups them by reason",
        ge=0,
    )
    alert_deadline_days: int = setting(7, "days before its deadline at which a gap is alerted", ge=0, le=3650)
    alert_link_template: LinkTemplate | None = setting(
        None, "address of a gap's page, for links in alerts", example="https://dagster.example.com/runs?night={night}"
    )
    alert_webhook_url: SecretUrl | None = setting(None, "receives generic JSON")
    alert_webhook_key_id: KeyId = setting("k1", "names the secret in the signature header")
    alert_webhook_secret: Secret | None = setting(None, "signs the webhook's calls (HMAC-SHA256)")
    alert_slack_webhook_url: SecretUrl | None = setting(None, "incoming webhook of Slack, or one compatible with it")
    alert_event_bus: str | None = setting(None, "EventBridge bus, by name or ARN")
    alert_event_region: str | None = setting(None, "region of the bus; default: the region of the AWS chain")
    alert_servicenow_url: ServiceNowUrl | None = setting(
        None, "the ServiceNow instance", example="https://acme.service-now.com"
    )
    alert_servicenow_table: ServiceNowTable = setting("incident", "table of the records")
    alert_servicenow_user: str | None = setting(None, "integration user, for Basic or the OAuth password grant")
    alert_servicenow_password: SecretStr | None = setting(None, "its password")
    alert_servicenow_client_id: str | None = setting(None, "OAuth client; without a user: client credentials grant")
    alert_servicenow_client_secret: SecretStr | None = setting(None, "its secret")
    alert_servicenow_create_fields: Fields = setting({}, "JSON object, set on new records")
    alert_servicenow_close_fields: Fields = setting(
        {"state": "6", "close_code": "Solution provided", "close_notes": "The gap is closed: see the work notes."},
        "JSON object, set on records of closed gaps; incident state 6 is Resolved",
    )
    alert_servicenow_reopen_fields: Fields = setting(
        {"state": "2"}, "JSON object, set on records of gaps that are back; incident state 2 is In Progress"
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


SECTIONS = (Home, GenesysCloud, Buckets, Nights, Seal, AtRest, LiveCapture, Alerts)


class Settings(Home, GenesysCloud, Buckets, Nights, Seal, AtRest, LiveCapture, Alerts, BaseSettings):
    """The settings of one deployment.

    `export_url` and `publish_url` are enough to process a bucket; the three `genesys_…` settings add the API.
    """

    model_config = SettingsConfigDict(
        env_prefix="CUSTODY_", extra="forbid", hide_input_in_errors=True, frozen=True, enable_decoding=False
    )

    @model_validator(mode="after")
    def _workers_share(self) -> Settings:
        """Workers must share what each would otherwise make for itself."""
        if self.nights_url is None:
            return self
        signs = self.signing_key or self.signing_key_file or self.signing_key_kms
        needed = {
            "publish_url": self.publish_url,
            "landing_url": (self.landing_url or "").startswith("s3://"),
            "signing_key": signs,
            "salt_secret": self.salt_secret,
        }
        if missing := [variable(name) for name, found in needed.items() if not found]:
            raise ValueError(
                f"CUSTODY_NIGHTS_URL is for workers that share everything: set {', '.join(missing)} as well "
                "(landing files on S3, the same key and salt for all)"
            )
        return self

    @model_validator(mode="after")
    def _keys_where_files_are(self) -> Settings:
        """Other machines read the files that this one encrypts in S3, so they need its keys."""
        if not (self.night_key_file or self.night_key_kms) or (self.night_keys_url or "").startswith("s3://"):
            return self
        for name in ("landing_url", "capture_url"):
            if (getattr(self, name) or "").startswith("s3://"):
                raise ValueError(
                    f"{variable(name)} is on S3, and so must be CUSTODY_NIGHT_KEYS_URL: others need the same keys"
                )
        return self

    @property
    def api_configured(self) -> bool:
        """Whether the three `genesys_…` settings are set."""
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
        """The warehouse's DuckDB file."""
        return self.home / "warehouse.duckdb"

    @property
    def analyst_path(self) -> Path:
        """The read-only snapshot that analysts open."""
        return self.home / "analyst.duckdb"

    @property
    def landing(self) -> str:
        """Absolute folder or `s3://…` place of the landing files, without a trailing slash."""
        return self._place(self.landing_url, "landing")

    @property
    def captures(self) -> str:
        """Absolute folder or `s3://…` place of the capture documents, without a trailing slash."""
        return self._place(self.capture_url, "captures")

    @property
    def night_keys(self) -> str:
        """Absolute folder or `s3://…` place of the nights' wrapped keys, without a trailing slash."""
        return self._place(self.night_keys_url, "keys/nights")

    def _place(self, url: str | None, folder: str) -> str:
        place = url or str(self.home / folder)
        return (place if place.startswith("s3://") else str(Path(place).absolute())).rstrip("/")

    @property
    def landing_spools(self) -> Path:
        """Folder of the local copies of landing files that are written to S3."""
        return self.home / "landing-spools"

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
            SettingsError: the setting is not set; the message shows an example.
        """
        value = getattr(self, name)
        if value is None:
            (example,) = type(self).model_fields[name].examples or ("…",)
            raise SettingsError(f"{variable(name)} is not set; for example: export {variable(name)}={example}")
        return str(value)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"CUSTODY_{name.upper()}"
