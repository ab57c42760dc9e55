"""Credentials of the AWS chain are used until they expire, and not longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import NoCredentialsError
from moto import mock_aws

from custody_pipeline.io import s3
from custody_pipeline.io.s3 import new_session, s3_store
from custody_pipeline.settings import Settings


def test_a_store_asks_again_when_its_credentials_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    expires = datetime.now(UTC) + timedelta(minutes=20)
    known = {"access_key": "a", "secret_key": "s", "token": "t", "expiry_time": expires.isoformat()}
    credentials = RefreshableCredentials.create_from_metadata(known, refresh_using=dict, method="test")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with mock_aws():
        boto3.client("s3", region_name="eu-central-1").create_bucket(
            Bucket="exports", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        monkeypatch.setattr(boto3.Session, "get_credentials", lambda _: credentials)
        store = s3_store(Settings(s3_region="us-east-1"), "exports")
    provider: Any = store.credential_provider
    assert provider()["expires_at"] == expires
    assert store.config["region"] == "eu-central-1"


def test_a_store_and_its_client_share_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Mock(wraps=new_session)
    monkeypatch.setattr(s3, "new_session", made)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="exports")
        s3_store(Settings(s3_region="us-east-1"), "exports")
    made.assert_called_once()


def test_a_chain_without_credentials_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3.Session, "get_credentials", lambda _: None)
    with pytest.raises(NoCredentialsError):
        s3_store(Settings(s3_region="us-east-1"), "exports")
