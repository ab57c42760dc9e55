"""The kinds of values that settings may have.

Belongs here: types with their refusals. Does not: the settings (table.py), the environment (reading.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from string import Formatter
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import from_json

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
LINK_FIELDS = frozenset({"night", "conversation_id", "recording_id", "reason"})
MIN_SECRET_CHARACTERS = 16
MIN_SALT_BYTES = 32
MAX_ACTIVE_SECRETS = 2

_LOGIN = re.compile(r"(?<=//)[^/@\s]+@")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_KEY_ID = "[A-Za-z0-9_-]{1,32}"
# Dagster accepts no other owners (its `is_valid_owner`): with one, it would not load anything.
_OWNER = r"team:\S.*|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}"


class SettingsError(Exception):
    """A setting is missing or wrong. The message names the setting, what was found and what is accepted."""


def setting(default: Any, description: str, *, example: str | None = None, **limits: Any) -> Any:
    """A field of the table. `limits` are pydantic's, such as `ge`."""
    return Field(default, description=description, examples=[example] if example else None, **limits)


def without_login(text: str) -> str:
    """A text without the names and passwords in its addresses: for a terminal, a page or a log."""
    return _LOGIN.sub("***@", text)


def webhook_keys(text: str) -> dict[str, bytes]:
    """Secrets by key id, from `key_id:secret[,key_id:secret]`.

    Raises:
        ValueError: the text does not have this form, or a secret is too short.
    """
    secrets: dict[str, bytes] = {}
    for pair in text.split(","):
        key, colon, secret = pair.strip().partition(":")
        if not colon or not re.fullmatch(_KEY_ID, key):
            raise ValueError("expected key_id:secret[,key_id:secret], key ids of letters, digits, '-' and '_'")
        if key in secrets:
            raise ValueError("two secrets have the same key id")
        _long_enough(secret)
        secrets[key] = secret.encode()
    if len(secrets) > MAX_ACTIVE_SECRETS:
        raise ValueError(f"at most {MAX_ACTIVE_SECRETS} secrets can be active")
    return secrets


def salt_of(text: str) -> bytes:
    """The secret of the salts.

    Raises:
        ValueError: the text is not hex, or too short.
    """
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        secret = b""
    if len(secret) < MIN_SALT_BYTES:
        raise ValueError("expected 64 hex digits or more, for example those of: openssl rand -hex 32")
    return secret


def _long_enough(secret: str) -> None:
    if len(secret) < MIN_SECRET_CHARACTERS:
        raise ValueError(f"a secret needs at least {MIN_SECRET_CHARACTERS} characters")


def _secret(check: Callable[[str], object]) -> AfterValidator:
    def checked(value: SecretStr) -> SecretStr:
        check(value.get_secret_value())
        return value

    return AfterValidator(checked)


def _matching(pattern: str, accepted: str) -> AfterValidator:
    def checked(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {accepted}")
        return value

    return AfterValidator(checked)


def _s3_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment or "//" in parts.path:
        raise ValueError("expected s3://bucket or s3://bucket/prefix, for example s3://acme-call-exports/genesys")
    return f"s3{value[2:].rstrip('/')}"


def _place(value: str) -> str:
    if not (scheme := urlsplit(value).scheme):
        _path(value)
        return value
    if scheme != "s3":
        raise ValueError("expected a folder such as /srv/custody, or s3://bucket/prefix")
    return _s3_url(value)


def _path(value: Any) -> Any:
    if not str(value).strip():
        raise ValueError("an empty path would be the working folder; unset the variable, or name a path")
    if str(value).startswith("~"):
        raise ValueError("expected a path: ~ is a name for your shell alone")
    return value


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0 or re.search(r"\s", value):
        raise ValueError("expected an address such as https://s3.example.com")
    return value


def _genesys_domain(value: str) -> str:
    if "://" in value:
        parts = urlsplit(value)
        vendor = next((domain for domain in REGIONS if f".{parts.hostname}".endswith(f".{domain}")), None)
        if vendor:
            raise ValueError(f"expected {vendor}: the addresses of its login and its API are known")
        more = parts.path.strip("/") or parts.query or parts.fragment or parts.username
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0 or more:
            raise ValueError("expected a base URL such as https://gateway.example.com")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("expected https://: over http:// the client's secret and its tokens would travel in clear")
        return _address(value).rstrip("/")
    if value not in REGIONS:
        raise ValueError(f"expected one of {', '.join(REGIONS)}, or a gateway's base URL")
    return value


def _https(url: str) -> str:
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or parts.username or parts.fragment or not (parts.scheme == "https" or local):
        raise ValueError("expected an https:// address without a user name, for example https://alerts.example.com/in")
    return _address(url)


def _instance(url: str) -> str:
    if urlsplit(_https(url)).path.strip("/") or urlsplit(url).query:
        raise ValueError("expected the instance's address, for example https://acme.service-now.com")
    return url.rstrip("/")


def _link_template(value: str) -> str:
    _https(value.partition("#")[0])
    names = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
    if names - LINK_FIELDS:
        raise ValueError(f"accepted between braces: {', '.join(sorted(LINK_FIELDS))}")
    try:
        value.format(**dict.fromkeys(LINK_FIELDS, ""))
    except (ValueError, LookupError) as error:
        raise ValueError(f"braces hold a name and nothing else, for example {{night}}: {error}") from error
    return value


def _owners(value: Any) -> Any:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _owner(value: str) -> str:
    if not re.fullmatch(_OWNER, value):
        raise ValueError(f"{value!r} is no owner: expected team:NAME or an e-mail address, comma-separated")
    return value


def _day(value: Any) -> Any:
    # Otherwise pydantic takes a number for seconds since 1970.
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise ValueError("expected a day, for example 2026-11-02")
    return value


def _from_json(value: Any) -> Any:
    try:
        return from_json(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"expected JSON: {error}") from error


FilePath = Annotated[Path, BeforeValidator(_path)]
S3Url = Annotated[str, AfterValidator(_s3_url)]
Place = Annotated[str, AfterValidator(_place)]
Address = Annotated[str, AfterValidator(_address)]
Day = Annotated[date, BeforeValidator(_day)]
Memory = Annotated[str, _matching("(?i)[0-9]+([.][0-9]+)? ?[KMGT]i?B?", "a size, for example 2GB")]
Credential = Annotated[str, _matching("[!-~]+", "ASCII characters without spaces")]
GenesysDomain = Annotated[str, AfterValidator(_genesys_domain)]
SecretUrl = Annotated[SecretStr, _secret(_https)]
Salt = Annotated[SecretStr, _secret(salt_of)]
Secret = Annotated[SecretStr, _secret(_long_enough)]
WebhookKeys = Annotated[SecretStr, _secret(webhook_keys)]
KeyId = Annotated[str, _matching(_KEY_ID, "up to 32 letters, digits, '-' and '_'")]
ServiceNowUrl = Annotated[str, AfterValidator(_instance)]
ServiceNowTable = Annotated[str, _matching("[a-z][a-z0-9_]{0,79}", "the name of a table, for example incident")]
LinkTemplate = Annotated[str, AfterValidator(_link_template)]
Names = Annotated[tuple[str, ...], BeforeValidator(_from_json)]
Owners = Annotated[tuple[Annotated[str, AfterValidator(_owner)], ...], BeforeValidator(_owners)]
Fields = Annotated[dict[str, str], BeforeValidator(_from_json)]
