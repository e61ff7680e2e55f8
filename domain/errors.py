"""Every error this project raises on purpose, in one tree.

::

    ChronicledError                 500  internal
      Undecodable                   400  undecodable
      Forbidden                     403  forbidden
        ReadOnly                    403  read_only
      NotFound                      404  not_found
      RequestTimeout                408  request_timeout
      Conflict                      409
        VersionConflict             409  version_conflict
        BeyondHead                  409  beyond_head
        HistoryConflict             409  history_conflict
      BeforeHistory                 410  before_history
      TooLarge                      413  too_large
      UnsupportedMediaType          415  unsupported_media_type
      Invalid                       422  invalid
        UnknownType                 422  unknown_type
        UnknownField                422  unknown_field
        ReservedType                422  reserved_type
        InvalidCursor               422  invalid_cursor
      Unavailable                   503
        QueueFull                   503  queue_full
        NotReady                    503  not_ready
          BeingReplayed             503  being_replayed
        QueryTimeout                503  query_timeout
        StorageFailed               503  storage_failed
      UnreadableEvent               500  unreadable_event
        NewerEvent                  501  newer_event
      DiskFull                      507  disk_full
      ConfigurationError            (exit 2)  configuration
      DirectoryLocked               (exit 3)  data_directory_locked
      LogDamaged                    (exit 5)  log_damaged
        NewerSchema                 (exit 5)  newer_schema

Each has a stable ``code``, an HTTP ``status``, a ``title``, a ``hint`` for the operator and, where
the fault has a place, ``errors`` that name it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and its place: ``index`` in the batch (0-based), ``pointer`` an RFC 6901 path."""

    detail: str
    pointer: str = ""
    index: int | None = None
    code: str = "invalid"


class ChronicledError(Exception):
    """Something went wrong that nobody foresaw."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    hint: ClassVar[str] = "See the daemon's log; this is a fault of the daemon, please report it."
    exit_code: ClassVar[int] = 1

    def __init__(
        self, detail: str, *, errors: Sequence[Fault] = (), hint: str | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.operator_hint = hint or self.hint


class Undecodable(ChronicledError):
    """The bytes are not what their content type says."""

    code = "undecodable"
    status = 400
    title = "Not decodable"
    hint = "Send well-formed JSON in UTF-8: one object, an array of objects, or one object a line."


class Forbidden(ChronicledError):
    """The request came by a way that may not ask for this."""

    code = "forbidden"
    status = 403
    title = "Not allowed this way"
    hint = "Use the daemon's Unix socket, or a Host and Origin that belong to the daemon."


class ReadOnly(Forbidden):
    """A read-only daemon shows a moment of the past; nothing can be recorded there."""

    code = "read_only"
    title = "Read-only"
    hint = "Ask the daemon that serves the log itself."


class NotFound(ChronicledError):
    """There is no such thing."""

    code = "not_found"
    status = 404
    title = "Not found"
    hint = "Check the id; list the collection to see what is there."


class RequestTimeout(ChronicledError):
    """A request did not come in whole within its time."""

    code = "request_timeout"
    status = 408
    title = "The request took too long to come in"
    hint = "Send it again, whole; `[server] request_timeout_seconds` says how long it may take."


class Conflict(ChronicledError):
    """The request does not fit the present state of the log."""

    code = "conflict"
    status = 409
    title = "Conflict"


class VersionConflict(Conflict):
    """A stream is not at the version the producer expected."""

    code = "version_conflict"
    title = "Version conflict"
    hint = "Read the stream again, decide again, and send with its present version."


class BeyondHead(Conflict):
    """A position lies beyond the newest event of this log."""

    code = "beyond_head"
    title = "Beyond the head of the log"
    hint = "The position is of another log or of a lost tail; start again from `as_of`."


class HistoryConflict(Conflict):
    """The log cannot take this history: it has events of its own, or others at these positions."""

    code = "history_conflict"
    title = "The history does not fit the log"
    hint = "History goes into an empty log, from its first event on and without a gap."


class BeforeHistory(ChronicledError):
    """A position or time lies before the kept history."""

    code = "before_history"
    status = 410
    title = "Before the kept history"
    hint = "Ask for a later position or time."


class TooLarge(ChronicledError):
    """A body, batch or event is over a configured limit."""

    code = "too_large"
    status = 413
    title = "Too large"
    hint = "Send smaller batches, or raise the limit in the [server] section of the configuration."


class UnsupportedMediaType(ChronicledError):
    """The content type is not one that this route reads."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported content type"
    hint = "Use application/json, application/cloudevents+json, -batch+json or x-ndjson."


class Invalid(ChronicledError):
    """Decodable, but not valid."""

    code = "invalid"
    status = 422
    title = "Invalid"
    hint = "Correct what `errors` points at; of a refused request nothing is recorded."


class UnknownType(Invalid):
    """The event type is not one of ours."""

    code = "unknown_type"
    title = "Unknown event type"


class UnknownField(Invalid):
    """A field of `data` is not in the type's model."""

    code = "unknown_field"
    title = "Unknown field"
    hint = "Correct the name, or put what the model has no field for into `extra`."


class ReservedType(Invalid):
    """Only the daemon itself records events of this type."""

    code = "reserved_type"
    title = "Reserved event type"


class InvalidCursor(Invalid):
    """The cursor is damaged, or belongs to a list with other filters."""

    code = "invalid_cursor"
    title = "Invalid cursor"
    hint = "Use a cursor only with the filters and order it was given for; else start without one."


class Unavailable(ChronicledError):
    """Not now; the same request may succeed later."""

    code = "unavailable"
    status = 503
    title = "Not available now"
    hint = "Try again in a moment; over HTTP, after the seconds that Retry-After says."
    retry_after_seconds: ClassVar[int] = 1


class QueueFull(Unavailable):
    """The writer's queue is at its bound."""

    code = "queue_full"
    title = "The writer's queue is full"


class NotReady(Unavailable):
    """The daemon starts, stops, or has not built what was asked for."""

    code = "not_ready"
    title = "Not ready"


class BeingReplayed(NotReady):
    """The moment that is asked for is being replayed, and that takes longer than who asks waits."""

    code = "being_replayed"
    title = "Being replayed"
    hint = "Ask again; the replay goes on meanwhile."


class QueryTimeout(Unavailable):
    """A read took longer than its limit."""

    code = "query_timeout"
    title = "The query took too long"
    hint = "Ask for less: a smaller page, or a filter that has an index."


class StorageFailed(Unavailable):
    """The disk refused a read or a write; nothing of the request was recorded."""

    code = "storage_failed"
    title = "The disk failed"
    hint = "Check the disk of the data directory; the daemon goes on by itself when it recovers."
    retry_after_seconds = 5


class UnreadableEvent(ChronicledError):
    """A recorded event cannot be lifted to the class version that this program knows.

    ``position`` is that of the event.
    """

    code = "unreadable_event"
    title = "An event that cannot be read"
    hint = "This is a fault of the program, please report it; the event is kept as it is."

    def __init__(
        self,
        detail: str,
        *,
        position: int = 0,
        errors: Sequence[Fault] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(detail, errors=errors, hint=hint)
        self.position = position


class NewerEvent(UnreadableEvent):
    """An event was recorded by a newer release, and this one does not know what it means."""

    code = "newer_event"
    status = 501
    title = "An event of a newer release"
    hint = "Run the release that the detail names, or a newer one; nothing is lost meanwhile."


class DiskFull(ChronicledError):
    """There is no room on the disk; nothing of the request was recorded."""

    code = "disk_full"
    status = 507
    title = "The disk is full"
    hint = "Free space on the disk of the data directory; the daemon goes on by itself."
    retry_after_seconds: ClassVar[int] = 5


class ConfigurationError(ChronicledError):
    """A setting is unknown, or its value is not usable."""

    code = "configuration"
    title = "Configuration error"
    hint = "See `chronicled config show` for every setting and where its value came from."
    exit_code = 2


class DirectoryLocked(ChronicledError):
    """Another daemon works on this data directory."""

    code = "data_directory_locked"
    title = "The data directory is in use"
    hint = "Stop the other daemon, or give this one another --data directory."
    exit_code = 3


class LogDamaged(ChronicledError):
    """The event log does not hold what it held."""

    code = "log_damaged"
    title = "The event log is damaged"
    hint = "Keep the files; `chronicled verify --data DIR` says what is damaged."
    exit_code = 5


class NewerSchema(LogDamaged):
    """A file was written by a newer version of chronicled."""

    code = "newer_schema"
    title = "The file is newer than this program"
    hint = "Run the version that wrote it, or a newer one."
