"""`custody doctor`: everything that a night needs, tried against the real services: ok or not, and what to do.

Belongs here: the order of the report; the home, its files, the settings and keys of the seal. Does not: the API
(api_probes.py), the buckets (bucket_probes.py), repairs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from botocore.exceptions import BotoCoreError, ClientError
from filelock import Timeout

from custody_pipeline.alerts import alerted_reasons
from custody_pipeline.evidence.log.keys import SigningKeyError
from custody_pipeline.io.http import kind_of
from custody_pipeline.io.night_keys import NightKeyError, night_keys_of
from custody_pipeline.models.mapping_file import MappingError, load_mapping
from custody_pipeline.operations.api_probes import organization
from custody_pipeline.operations.bucket_probes import export_bucket, publish_bucket, refusal, shared_buckets
from custody_pipeline.operations.doctor_line import Line
from custody_pipeline.publish.sealing import (
    TimestampUnavailableError,
    has_sealed,
    load_sealing,
    load_signing_key,
    signing_verifiers,
    timestamper,
)
from custody_pipeline.settings import Settings, SettingsError, load_settings
from custody_pipeline.settings.kinds import without_login
from custody_pipeline.warehouse.connection import Warehouse, WarehouseError

_MINIMUM_FREE_BYTES = 2 * 1024**3


def examine(*, probe: bool = False) -> Iterator[Line]:
    """Every line of the report, as soon as it is known.

    Args:
        probe: also try the publish bucket's lock on an object of a few bytes.
    """
    try:
        settings = load_settings()
        alerted_reasons(settings)
    except SettingsError as error:
        for problem in str(error).splitlines():
            yield Line("settings", "not ok", problem, "Correct or unset this variable, and run custody doctor again.")
        return
    yield Line("settings", "ok", "every CUSTODY_… variable is a known setting and has a valid value")
    yield from _home(settings)
    yield from _warehouse(settings)
    yield _mapping(settings)
    yield from organization(settings)
    yield from export_bucket(settings)
    yield from _sealing(settings)
    yield from _night_keys(settings)
    yield from publish_bucket(settings, probe=probe)
    yield from shared_buckets(settings)


def _home(settings: Settings) -> Iterator[Line]:
    advice = "Set CUSTODY_HOME to a folder you may write."
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        yield Line("home", "not ok", f"{settings.home}: {error.strerror}", advice)
        return
    if not os.access(settings.home, os.W_OK):
        yield Line("home", "not ok", f"{settings.home} is not writable", advice)
        return
    free = shutil.disk_usage(settings.home).free
    found = f"{settings.home}, {free / 1024**3:.1f} GiB free"
    if free < _MINIMUM_FREE_BYTES:
        yield Line("home", "warning", found, "Free some space: DuckDB spills to this disk.")
    else:
        yield Line("home", "ok", found)


def _warehouse(settings: Settings) -> Iterator[Line]:
    if settings.nights_url or not os.access(settings.home, os.W_OK):
        return
    if not settings.warehouse_path.exists():
        if has_sealed(settings):
            found = f"{settings.warehouse_path} is not there, and this home has sealed nights"
            yield Line("warehouse", "not ok", found, "Run custody rebuild.")
        return
    try:
        with Warehouse(settings, lock_timeout=0).open(read_only=True):
            yield Line("warehouse", "ok", f"{settings.warehouse_path.name} can be opened")
    except WarehouseError as error:
        if isinstance(error.__cause__, Timeout):
            yield Line("warehouse", "ok", f"a run holds {settings.warehouse_path.name}")
        else:
            advice = "Close the program that has it open, or move a damaged file away and run custody rebuild."
            yield Line("warehouse", "not ok", str(error).split(";")[0], advice)


def _mapping(settings: Settings) -> Line:
    try:
        mapping = load_mapping(settings.mapping_path)
    except (MappingError, OSError) as error:
        return Line("mapping", "not ok", str(error), "Correct the file, or point CUSTODY_MAPPING_PATH at another.")
    return Line("mapping", "ok", f"{settings.mapping_path.name}: {len(mapping.output_columns)} tag columns")


def _sealing(settings: Settings) -> Iterator[Line]:
    yield _signing_key(settings)
    if settings.timestamp_url is None:
        advice = "Set CUSTODY_TIMESTAMP_URL: only a third party's timestamp says when a night was sealed."
        yield Line("sealing timestamp", "warning", "no timestamp authority", advice)
    else:
        yield _timestamp(settings.timestamp_url)
    hold = ", and a legal hold" if settings.legal_hold else ""
    if settings.lock_mode is None:
        advice = "Set CUSTODY_LOCK_MODE and CUSTODY_LOCK_DAYS: a cut without a retention can be deleted."
        yield Line("sealing lock", "warning", f"no retention{hold}", advice)
    else:
        yield Line("sealing lock", "ok", f"{settings.lock_mode}, {settings.lock_days} days{hold}")


def _night_keys(settings: Settings) -> Iterator[Line]:
    """Nothing where nothing was ever encrypted."""
    check = "night keys"
    advice = "Correct the setting, or allow kms:Encrypt and kms:Decrypt: until then, nothing is collected or captured."
    try:
        keys = night_keys_of(settings)
        known = keys.nights()
        if keys.on:
            keys.probe()
    except NightKeyError as error:
        yield Line(check, "not ok", str(error), advice)
        return
    except (BotoCoreError, ClientError) as error:
        yield refusal(check, "CUSTODY_NIGHT_KEYS_URL", "s3:GetObject, s3:ListBucket and s3:PutObject", error)
        return
    have = f"{len(known)} night{' has' if len(known) == 1 else 's have'} one in {settings.night_keys}"
    if not keys.on and known:
        advice = "Set CUSTODY_NIGHT_KEY_FILE or CUSTODY_NIGHT_KEY_KMS as it was: these nights are not run without it."
        yield Line(check, "not ok", f"no key is set, and {have}", advice)
    elif keys.on and settings.night_keys_url is None:
        advice = "Lost with the home, they are lost for good: set CUSTODY_NIGHT_KEYS_URL."
        yield Line(check, "warning", f"a key was wrapped and unwrapped; {have}", advice)
    elif keys.on:
        yield Line(check, "ok", f"a key was wrapped and unwrapped; {have}")


def _timestamp(url: str) -> Line:
    name = without_login(url)
    try:
        timestamper(url)(b"custody doctor\n")
    except TimestampUnavailableError as error:
        found = f"{name} gave no timestamp ({kind_of(error.__cause__ or error)})"
        return Line("sealing timestamp", "not ok", found, "Correct CUSTODY_TIMESTAMP_URL, or allow the way to it.")
    return Line("sealing timestamp", "ok", f"{name} answers")


def _signing_key(settings: Settings) -> Line:
    check, advice = "sealing key", "Make one with custody key new, and set CUSTODY_SIGNING_KEY_FILE."
    try:
        if has_sealed(settings):
            advice = "Name or restore what sealed them: another key would begin another log."
            load_sealing(settings)  # makes nothing in such a home
        signer = load_signing_key(settings)
        if signer is not None:
            signer.sign(b"custody doctor\n")  # a key in KMS may be readable but not usable
        signing_verifiers(settings)  # the second key of a rotation as well
    except (SettingsError, SigningKeyError, OSError) as error:
        return Line(check, "not ok", str(error), advice)
    if signer is None:
        return Line(check, "warning", "none is set: the first night makes one that says DEMO", advice)
    found = f"{signer.verifier.name}, sha256:{signer.verifier.fingerprint}"
    if signer.verifier.demo:
        if has_sealed(settings):
            advice = "Seal real nights from a new home, with a key of its own: custody key new."
        return Line(check, "warning", found, advice)
    return Line(check, "ok", found)
