"""Payloads of ``producer.*`` events; the subject is the producer's name."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import Field

from domain.payloads.base import Payload, example


class ProducerObserved(Payload):
    """A producer said which versions of its parts are at work."""

    model_config = example(
        name="bakta", version="1.10.3", versions={"database": "5.1.0", "backend": "0.6.4"}
    )
    event_type: ClassVar[str] = "producer.observed"

    name: str | None = None
    version: str | None = None
    versions: dict[str, str] | None = Field(
        default=None, description="The versions of its parts, by their names."
    )


PAYLOADS: Final[tuple[type[Payload], ...]] = (ProducerObserved,)
