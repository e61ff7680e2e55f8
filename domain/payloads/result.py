"""Payloads of ``result.*`` events that clients send; the subject is the result's id."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from pydantic import Field

from domain.payloads.base import Count, Payload, Sha256, Timestamp, example

_EXAMPLE: Final[dict[str, Any]] = {
    "job": "annotation-17",
    "kind": "GFF3",
    "path": "results/annotation-17/result.gff3",
    "bytes": 40391,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "media_type": "text/plain",
}


class ResultFacts(Payload):
    """One file or object that a job made."""

    job: str | None = Field(default=None, description="The id of the job that made it.")
    kind: str | None = Field(default=None, description="Which of the job's results it is.")
    path: str | None = None
    bytes: Count | None = None
    sha256: Sha256 | None = None
    media_type: str | None = None
    expires: Timestamp | None = Field(default=None, description="When it is gone again.")


class ResultOffered(ResultFacts):
    """A result can be fetched, perhaps for a while only; nobody has fetched it yet."""

    model_config = example(**(_EXAMPLE | {"expires": "2026-02-10T00:00:00Z"}))
    event_type: ClassVar[str] = "result.offered"


class ResultRecorded(ResultFacts):
    """A result is stored where ``path`` says."""

    model_config = example(**_EXAMPLE)
    event_type: ClassVar[str] = "result.recorded"


PAYLOADS: Final[tuple[type[Payload], ...]] = (ResultOffered, ResultRecorded)
