"""Faults that the fake of Google Cloud Storage can be armed with; each counts its strikes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase


class Operation(StrEnum):
    """What a request asks for."""

    BUCKET = "bucket"
    LIST = "list"
    GET = "get"
    """The description of an object."""
    MEDIA = "media"
    """The content of an object, or a range of it."""
    INSERT = "insert"
    """A whole object in one request."""
    BEGIN = "begin"
    """The start of a resumable upload."""
    CHUNK = "chunk"
    """A part of a resumable upload, or the question how much of it there is."""
    PATCH = "patch"
    DELETE = "delete"
    COPY = "copy"


class Kind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    """The answer is an error, and nothing was done."""
    STALL = "stall"
    """One byte of an answer comes, and then nothing until it is released; nothing was done."""
    RESET_UPLOAD = "reset upload"
    """The connection is reset after ``after`` bytes of a part of a resumable upload came in."""
    RESET_DOWNLOAD = "reset download"
    """The connection is reset after ``after`` bytes of the content went out."""
    LOSE_ANSWER = "lose answer"
    """It is done, and the connection is closed without an answer."""
    FORGET = "forget"
    """The same, and a resumable upload is no longer known afterwards."""
    CORRUPT = "corrupt"
    """A byte of the content is another one on its way, up or down; what is declared is right."""
    TRUNCATE = "truncate"
    """The content that is served ends after ``after`` bytes, whatever its description says."""


@dataclass
class Fault:
    """One fault: what goes wrong, how often (``times``, None: always), and for which requests."""

    kind: Kind
    times: int | None = 1
    operation: Operation | None = None
    method: str = ""
    name: str = "*"
    """A pattern of the names of objects, without the bucket."""
    status: int = 503
    after: int = 0
    spared: int = 0
    """How many requests that fit it lets pass first."""
    fired: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _released: threading.Event = field(default_factory=threading.Event, repr=False)

    def meets(self, method: str, operation: Operation, name: str) -> bool:
        """Return whether it strikes a request, and count that it did."""
        fits = (
            self.operation in (None, operation)
            and self.method in ("", method)
            and fnmatchcase(name, self.name)
        )
        with self._changed:
            if not fits or (self.times is not None and self.fired >= self.times):
                return False
            if self.spared:
                self.spared -= 1
                return False
            self.fired += 1
            self._changed.notify_all()
            return True

    def wait(self, fired: int = 1, seconds: float = 20.0) -> None:
        """Wait until it has fired that often."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.fired >= fired, seconds):
                raise TimeoutError(f"{self.kind} fired {self.fired} times, not {fired}")

    def disarm(self) -> None:
        """Let it strike no more, and go on with what it holds up."""
        with self._changed:
            self.times = self.fired
        self._released.set()

    def hold(self, seconds: float = 120.0) -> None:
        """Hold up a request until it is released."""
        self._released.wait(seconds)
