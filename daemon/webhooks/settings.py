"""The settings of a webhook: ``[[webhooks]]`` in the configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, field_serializer, field_validator

from daemon.settings import Section
from domain.errors import ConfigurationError

CREDENTIAL_PREFIX: Final = "chronicled.webhook."
"""The file in ``$CREDENTIALS_DIRECTORY`` with a webhook's key: this, and its name."""

_TYPE: Final = re.compile(r"[a-z_*]+(\.[a-z_*]+)*")


class WebhookSettings(Section):
    """One receiver of events."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="What it is called; how far it was told is remembered under this name.",
    )
    url: str = Field(description="Where events are posted to, http or https.")
    types: tuple[str, ...] = Field(
        (), description="Event types that it gets, such as job.failed or alert.*; none = all."
    )
    stream: str = Field(
        "", description="How the streams of its events begin, such as job/etl; none = all."
    )
    source: str = Field("", description="The source of its events, * for any text; none = all.")
    secret: str = Field("", description="The key of the signature; better as a credential.")
    secret_file: str = Field("", description="A file with that key.")
    start: str = Field(
        "now",
        pattern=r"^(now|beginning|[0-9]{1,18})$",
        description="Where a new webhook begins: now, beginning, or after a position.",
    )
    batch: int = Field(1, ge=1, le=1000, description="Most events in one request.")
    timeout_seconds: float = Field(10.0, ge=0.1, le=60, description="Longest wait for an answer.")
    attempts: int = Field(
        12, ge=1, le=10_000, description="Failures in a row after which it is given up."
    )
    backoff_seconds: float = Field(
        1.0, ge=0.01, le=3_600, description="Rest after the first failure; then twice as long."
    )
    backoff_seconds_max: float = Field(600.0, ge=0.01, le=86_400, description="Longest rest.")
    proxy: bool = Field(False, description="Whether proxies named in the environment are used.")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("has to be http://HOST... or https://HOST...")
        if parts.username is not None or parts.fragment:
            raise ValueError("may hold neither a user nor a fragment")
        return url

    @field_validator("types")
    @classmethod
    def _check_types(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        for name in types:
            if not _TYPE.fullmatch(name):
                raise ValueError(f"{name[:80]!r} is no event type, and no pattern of one")
        return types

    @field_serializer("url", when_used="json")
    def _show_host(self, url: str) -> str:
        # Where people talk, the path of such an address is what lets one in.
        parts = urlsplit(url)
        path = parts.path if parts.path in ("", "/") else "/***"
        return parts._replace(path=path, query="").geturl()

    @property
    def host(self) -> str:
        """What may be told of the URL."""
        return urlsplit(self.url).hostname or ""


def read_secret(settings: WebhookSettings, environment: Mapping[str, str]) -> str:
    """Return the key of the signature, empty where there is none.

    Raises:
        ConfigurationError: the file with it cannot be read, or is empty.

    """
    if settings.secret:
        return settings.secret
    path = Path(settings.secret_file) if settings.secret_file else None
    folder = environment.get("CREDENTIALS_DIRECTORY", "").partition(":")[0]
    if path is None and folder:
        given = Path(folder) / f"{CREDENTIAL_PREFIX}{settings.name}"
        path = given if given.exists() else None
    if path is None:
        return ""
    try:
        secret = path.read_text().strip()
    except (OSError, ValueError) as error:
        detail = f"the key of webhook {settings.name} cannot be read: {type(error).__name__}"
        raise ConfigurationError(detail) from None
    if not secret:
        raise ConfigurationError(f"the key of webhook {settings.name} is empty")
    return secret
