"""Settings of the seal: keys, a timestamp authority, witnesses, the bucket's lock.

Belongs here: names, types, defaults and refusals. Does not: reading a key (publish/sealing.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from custody_pipeline.settings import SettingsError

if TYPE_CHECKING:
    pass


class SealSettings(BaseSettings):
    """How nights are sealed. Without any of these a key is made in `$CUSTODY_HOME/keys` that says DEMO."""

    model_config = SettingsConfigDict(env_prefix="CUSTODY_", extra="ignore", hide_input_in_errors=True, frozen=True)

    signing_key: SecretStr | None = Field(None, description="the private key as `custody key new` printed it")
    signing_key_file: Path | None = Field(None, description="or a file that holds it, readable by us alone")
    signing_key_kms: str | None = Field(None, description="or the ARN of an AWS KMS key (ECC_NIST_EDWARDS25519)")
    kms_endpoint_url: str | None = Field(None, description="a KMS endpoint other than AWS's")
    log_origin: str | None = Field(None, description="the log's name, for a KMS key: custody.example.com/eu")
    next_signing_key_file: Path | None = Field(None, description="during a rotation: the key that signs as well")
    next_signing_key_kms: str | None = Field(None, description="or the ARN of that key in AWS KMS")
    salt_secret: SecretStr | None = Field(None, description="64 hex digits; $CUSTODY_HOME/keys/salt otherwise")
    timestamp_url: str | None = Field(None, description="RFC 3161 authority, for example http://timestamp.digicert.com")
    witnesses: Path | None = Field(
        None, description="a file of C2SP witnesses, a verifier key and a URL a line: asked to cosign each new head"
    )
    lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] | None = Field(None, description="Object Lock of the cuts")
    lock_days: int = Field(365, ge=1, description="days of retention from the sealing on")
    legal_hold: bool = Field(False, description="put a legal hold on the cuts as well")

    @model_validator(mode="after")
    def _one_key_and_a_name_for_it(self) -> SealSettings:
        given = [self.signing_key, self.signing_key_file, self.signing_key_kms]
        if sum(value is not None for value in given) > 1:
            raise ValueError(
                "set one of CUSTODY_SIGNING_KEY, CUSTODY_SIGNING_KEY_FILE and CUSTODY_SIGNING_KEY_KMS, not several"
            )
        if self.next_signing_key_file is not None and self.next_signing_key_kms is not None:
            raise ValueError("set one of CUSTODY_NEXT_SIGNING_KEY_FILE and CUSTODY_NEXT_SIGNING_KEY_KMS, not both")
        if self.signing_key_kms and not self.log_origin:
            raise ValueError("a KMS key needs a name; for example: export CUSTODY_LOG_ORIGIN=custody.example.com/eu")
        return self


def load_seal_settings() -> SealSettings:
    """Read the settings of the seal from the environment.

    Raises:
        SettingsError: one is wrong. Values are not repeated.
    """
    try:
        return SealSettings()
    except ValidationError as error:
        lines = [
            f"CUSTODY_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}".removeprefix("CUSTODY_: ")
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("\n".join(lines)) from error
