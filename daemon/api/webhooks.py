"""Outgoing webhooks: how each stands, and having one try again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import AwareDatetime, Field
from starlette.responses import Response

from daemon.api.answers import NO_STORE, JsonResponse
from daemon.api.context import InContext
from daemon.api.parameters import Parameters
from daemon.api.schemas import AsOf, Shape
from domain.errors import NotFound
from domain.suggest import shorten

WebhookName = Annotated[str, Path(alias="name", description="Its name in the configuration.")]


class ResumeParameters(Parameters):
    """How to go on."""

    skip: Annotated[
        bool, Field(description="Leave out the first event that was not taken; only when dead.")
    ] = False


class WebhookShape(Shape):
    """How a webhook stands."""

    name: str
    host: str
    state: Literal["live", "retrying", "dead"]
    position: int = Field(description="Up to here it was told, or nothing was for it.")
    lag: int = Field(description="How many positions are behind that.")
    delivered: int = Field(description="Events taken since the start of the daemon.")
    failures: int = Field(description="Requests not taken since then.")
    skipped: int
    attempts: int = Field(description="Failures in a row.")
    last_error: str | None
    last_delivered: AwareDatetime | None


class WebhookAnswer(WebhookShape):
    """How a webhook stands, after it was told to go on."""

    as_of: int = AsOf


def webhook() -> dict[str, Any]:
    """Return how a webhook stands."""
    return {
        "name": "pager",
        "host": "pager.example",
        "state": "live",
        "position": 42,
        "lag": 0,
        "delivered": 17,
        "failures": 1,
        "skipped": 0,
        "attempts": 0,
        "last_error": "pager.example: answered 503",
        "last_delivered": "2026-02-04T06:12:47Z",
    }


def resumed_webhook() -> dict[str, Any]:
    """Return how a webhook stands after it was told to go on."""
    return {**webhook(), "as_of": 42}


async def list_webhooks(context: InContext) -> Response:
    """List the webhooks of the configuration, and how each stands."""
    items = [each.document() for each in context.webhooks.values()]
    document = {"items": items, "next": None, "as_of": context.log.head()}
    return JsonResponse(document, headers=NO_STORE)


async def resume_webhook(
    context: InContext, name: WebhookName, asked: Annotated[ResumeParameters, Query()]
) -> Response:
    """Have a webhook try again at once, also one that was given up.

    With `skip` it leaves out the first event that was not taken.
    """
    found = context.webhooks.get(name)
    if found is None:
        raise NotFound(f"There is no webhook {shorten(name)}.")
    found.resume(skip=asked.skip)
    return JsonResponse({**found.document(), "as_of": context.log.head()}, headers=NO_STORE)
