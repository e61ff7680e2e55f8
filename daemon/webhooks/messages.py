"""What one request of a webhook holds: which events, as what body, signed how."""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from daemon.intake.media import BATCH, STRUCTURED
from daemon.webhooks.settings import WebhookSettings
from domain.cloudevents import to_json
from domain.events import RecordedEvent

KEY_PREFIX: Final = "whsec_"
"""A key that begins so is base64 of its bytes; any other is its own bytes."""


def alert_id(name: str) -> str:
    """Return the id of the alert about a webhook."""
    return f"webhook/{name}"


def wanted_by(settings: WebhookSettings) -> Callable[[RecordedEvent], bool]:
    """Return what says whether a webhook gets an event.

    Never the alert about itself: telling of it would only fail once more.
    """
    types = _pattern(settings.types)
    sources = _pattern((settings.source,) if settings.source else ())
    own = f"alert/{alert_id(settings.name)}"

    def wanted(event: RecordedEvent) -> bool:
        return (
            (types is None or types.fullmatch(event.type) is not None)
            and event.stream.startswith(settings.stream)
            and (sources is None or sources.fullmatch(event.source) is not None)
            and event.stream != own
        )

    return wanted


def _pattern(texts: Sequence[str]) -> re.Pattern[str] | None:
    """Return a pattern of texts in which ``*`` stands for any text; None where there are none."""
    found = [".*".join(map(re.escape, text.split("*"))) for text in texts]
    return re.compile("|".join(f"(?:{each})" for each in found), re.DOTALL) if found else None


def signature(secret: str, id_: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature`` of a message, as Standard Webhooks has it."""
    key = secret.encode()
    if secret.startswith(KEY_PREFIX):
        try:
            key = b64decode(secret.removeprefix(KEY_PREFIX), validate=True)
        except Base64Error:
            key = secret.encode()
    digest = hmac.new(key, f"{id_}.{timestamp}.".encode() + body, sha256).digest()
    return f"v1,{b64encode(digest).decode()}"


def message(
    events: Sequence[RecordedEvent], log_id: str, secret: str, timestamp: int, *, batched: bool
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a request; its id is the same at each attempt.

    The id of a batch has its first and its last position: after a restart another batch may begin
    with the same event, and must not be taken for this one.
    """
    place = str(events[-1].position)
    if batched:
        place = f"{events[0].position}-{place}"
        body, content_type = b"[" + b",".join(map(to_json, events)) + b"]", BATCH
    else:
        body, content_type = to_json(events[0]), STRUCTURED
    headers = {
        "content-type": content_type,
        "user-agent": "chronicled",
        "webhook-id": f"{log_id}.{place}",
        "webhook-timestamp": str(timestamp),
    }
    if secret:
        headers["webhook-signature"] = signature(secret, headers["webhook-id"], timestamp, body)
    return headers, body
