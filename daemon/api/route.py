"""What an operation of the interface is: method, path, what answers it, how it is documented."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from daemon.api import examples, schemas
from daemon.api.parameters import Parameters
from daemon.api.problems import BadRequestError
from daemon.archive.errors import ArchiveDamaged, NoArchive
from daemon.backup.errors import StoreRefused, StoreUnavailable
from daemon.intake.media import PLAIN
from domain.errors import (
    BeforeHistory,
    BeyondHead,
    ChronicledError,
    DiskFull,
    Forbidden,
    Invalid,
    InvalidCursor,
    NewerEvent,
    NotFound,
    NotReady,
    QueryTimeout,
    QueueFull,
    RequestTimeout,
    ReservedType,
    StorageFailed,
    TooLarge,
    Undecodable,
    UnknownField,
    UnknownType,
    UnsupportedMediaType,
    VersionConflict,
)

Errors = tuple[type[ChronicledError], ...]
LINES: Final = "application/x-ndjson"

ALWAYS: Final[Errors] = (BadRequestError, Forbidden, Invalid, RequestTimeout, ChronicledError)
READ: Final[Errors] = (BeyondHead, BeforeHistory, Invalid, NewerEvent, NotReady, QueryTimeout)
LIST: Final[Errors] = (*READ, InvalidCursor)
ARCHIVED: Final[Errors] = (NoArchive, ArchiveDamaged, StoreRefused, StoreUnavailable)
"""Of a route that shows what may have to come out of the archive."""
WRITE: Final[Errors] = (
    Undecodable,
    VersionConflict,
    TooLarge,
    UnsupportedMediaType,
    UnknownField,
    UnknownType,
    ReservedType,
    Invalid,
    QueueFull,
    NotReady,
    StorageFailed,
    DiskFull,
)

DECISION: Final[Errors] = (
    *(NotFound, NewerEvent, Undecodable, TooLarge, UnsupportedMediaType, Invalid),
    *WRITE[-4:],
)


@dataclass(frozen=True, slots=True)
class Content:
    """A body as it is documented: its media type, shape and example."""

    example: examples.Example
    shape: Any = None
    media_type: str = PLAIN


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. ``plain`` ones are served without the web framework's layers."""

    method: str
    path: str
    endpoint: Callable[..., Any]
    tag: str
    answers: Mapping[int, Content]
    errors: Errors
    bodies: tuple[Content, ...] = ()
    body_required: bool = True
    plain: bool = False
    parameters: type[Parameters] | None = None
    """For plain ones: the query parameters."""

    @property
    def operation_id(self) -> str:
        """The stable name of the operation for generated clients."""
        return self.endpoint.__name__

    @property
    def summary(self) -> str:
        """What it does, in one sentence."""
        return self._said.partition("\n")[0].rstrip(".")

    @property
    def description(self) -> str:
        """The rest of what is to be said about it."""
        return "\n".join(line.strip() for line in self._said.splitlines()[1:]).strip()

    @property
    def _said(self) -> str:
        return self.endpoint.__doc__ or ""


def ok(example: examples.Example, shape: Any) -> dict[int, Content]:
    """Return the one good answer of a question."""
    return {200: Content(example, shape)}


DECIDED: Final = {
    201: Content(examples.receipts, schemas.Receipts),
    200: Content(examples.repeated_receipts, schemas.Receipts),
}
"""What is answered to a decision: recorded now, or before."""
