"""Every setting, typed, from the environment (`CUSTODY_…`); secrets are never printed.

Belongs here: names, types, defaults and refusals. Does not: clients or connections made from them.
"""

from __future__ import annotations

from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PACKAGE_DIR = Path(__file__).parent.parent

# Login and API hosts are formed from these: https://login.{domain}, https://api.{domain}.
REGIONS: dict[str, str] = {
    "mypurecloud.com": "us-east-1",
    "usw2.pure.cloud": "us-west-2",
    "use2.us-gov-pure.cloud": "us-east-2",
    "cac1.pure.cloud": "ca-central-1",
    "sae1.pure.cloud": "sa-east-1",
    "mxc1.pure.cloud": "mx-central-1",
    "mypurecloud.ie": "eu-west-1",
    "euw2.pure.cloud": "eu-west-2",
    "mypurecloud.de": "eu-central-1",
    "euc2.pure.cloud": "eu-central-2",
    "edee1.eusc-pure.cloud": "eusc-de-east-1",
    "mec1.pure.cloud": "me-central-1",
    "mypurecloud.com.au": "ap-southeast-2",
    "apse1.pure.cloud": "ap-southeast-1",
    "mypurecloud.jp": "ap-northeast-1",
    "apne2.pure.cloud": "ap-northeast-2",
    "apne3.pure.cloud": "ap-northeast-3",
    "aps1.pure.cloud": "ap-south-1",
}

ManifestSource = Literal["bucket", "recording_jobs", "recordingexports"]


class SettingsError(Exception):
    """A setting is missing or wrong. The message names the setting, what was found and an accepted example."""


def _s3_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("expected s3://bucket or s3://bucket/prefix, for example s3://acme-call-exports/genesys")
    return value.rstrip("/")


def _genesys_domain(value: str) -> str:
    if "://" in value:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/"):
            raise ValueError("expected a base URL such as https://gateway.example.com")
        return value.rstrip("/")
    if value not in REGIONS:
        raise ValueError(f"expected one of {', '.join(REGIONS)}, or a gateway's base URL")
    return value


S3Url = Annotated[str, AfterValidator(_s3_url)]


class Settings(BaseSettings):
    """What one deployment needs to know.

    Only `export_url` and `publish_url` are needed to read somebody else's bucket; the three `genesys_…` settings add
    the API. AWS credentials come from the standard AWS chain, never from here.
    """

    model_config = SettingsConfigDict(env_prefix="CUSTODY_", extra="ignore", hide_input_in_errors=True, frozen=True)

    home: Path = Field(Path(".custody"), description="warehouse, landing files and Dagster's history")

    genesys_domain: Annotated[str, AfterValidator(_genesys_domain)] | None = Field(
        None, description="the organisation's domain, for example mypurecloud.com, or a gateway's base URL"
    )
    genesys_client_id: str | None = Field(None, description="OAuth client (client credentials grant)")
    genesys_client_secret: SecretStr | None = Field(None, description="its secret")
    genesys_requests_per_minute: int = Field(300, ge=1, description="ceiling of our own; the answers' headers lower it")
    genesys_concurrency: int = Field(8, ge=1, le=64, description="requests in flight")
    integration_id: str | None = Field(None, description="AWS S3 bulk-actions integration; its jobs are ours to read")

    export_url: S3Url | None = Field(None, description="where Genesys Cloud exports to, for example s3://acme-exports")
    publish_url: S3Url | None = Field(None, description="where the dataset goes, for example s3://acme-custody/prod")
    csv_compression: Literal["none", "gzip"] = Field("none", description="gzip: CSV is published as .csv.gz")
    s3_endpoint_url: str | None = Field(None, description="an S3 endpoint other than AWS's")
    s3_region: str | None = Field(None, description="region of the buckets; the AWS chain's otherwise")

    manifest_source: ManifestSource = Field("bucket", description="what says which recordings were exported")
    recordingexports_ids: tuple[str, ...] = Field((), description="export ids for manifest_source=recordingexports")
    single_reads: Literal["needed", "all"] = Field(
        "needed", description="which conversations are read one by one after the bulk job"
    )
    landing_url: str | None = Field(None, description="folder or s3:// place; $CUSTODY_HOME/landing otherwise")
    landing_days: int = Field(30, ge=0, description="days after sealing that custody tidy leaves landing files alone")
    mapping_path: Path = Field(PACKAGE_DIR / "genesyscloud_export.yaml", description="the tag mapping")
    first_night: date = Field(date(2023, 1, 1), description="first daily partition (UTC)")
    lag_hours: int = Field(72, ge=0, description="hours after which a night's sources are no longer expected to grow")
    recheck_days: int = Field(
        30, ge=0, description="days for which nights with gaps that may still close are collected again"
    )
    fixity_bytes: int = Field(
        10_000_000_000, ge=0, description="bytes of media that the fixity job reads again a night; 0 turns it off"
    )
    duckdb_memory_limit: str = Field(
        "2GB", description="DuckDB spills to disk beyond this; the process takes 0.5 GB more, 2 GB for a million calls"
    )
    duckdb_threads: int | None = Field(None, ge=1, description="all cores otherwise")
    operator: str | None = Field(None, description="named in custody events; the login name otherwise")

    @model_validator(mode="after")
    def _genesys_is_whole_or_absent(self) -> Settings:
        wanted = {
            "CUSTODY_GENESYS_DOMAIN": self.genesys_domain,
            "CUSTODY_GENESYS_CLIENT_ID": self.genesys_client_id,
            "CUSTODY_GENESYS_CLIENT_SECRET": self.genesys_client_secret,
        }
        missing = [name for name, value in wanted.items() if not value]
        if missing and len(missing) < len(wanted):
            raise ValueError(f"the API needs all three of {', '.join(wanted)}; missing: {', '.join(missing)}")
        return self

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
        if self.genesys_domain is None:
            raise missing_setting("CUSTODY_GENESYS_DOMAIN", "mypurecloud.com")
        return self.genesys_domain if "://" in self.genesys_domain else f"https://{service}.{self.genesys_domain}"

    @property
    def api_region(self) -> str | None:
        """AWS region of the organisation's domain; None behind a gateway."""
        return REGIONS.get(self.genesys_domain or "")

    @cached_property
    def warehouse_path(self) -> Path:
        """The one DuckDB file that is written."""
        return self.home / "warehouse.duckdb"

    @cached_property
    def analyst_path(self) -> Path:
        """The read-only snapshot that analysts open."""
        return self.home / "analyst.duckdb"

    @cached_property
    def landing(self) -> str:
        """Folder or `s3://…` place of the landing files, without a trailing slash."""
        return (self.landing_url or str(self.home.absolute() / "landing")).rstrip("/")

    def require(self, name: str, example: str) -> str:
        """The value of setting `name`, or a `SettingsError` that shows `example`."""
        value = getattr(self, name)
        if value is None:
            raise missing_setting(f"CUSTODY_{name.upper()}", example)
        return str(value)


def missing_setting(variable: str, example: str) -> SettingsError:
    """The error for a setting that is not there."""
    return SettingsError(f"{variable} is not set; for example: export {variable}={example}")


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: one line per wrong setting, with its variable and the accepted form; values are not repeated.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_input=False, include_url=False):
            name = "CUSTODY_" + "_".join(str(part) for part in problem["loc"]).upper() if problem["loc"] else ""
            lines.append(f"{name}: {problem['msg']}".removeprefix(": "))
        raise SettingsError("\n".join(lines)) from error
