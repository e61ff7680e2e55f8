"""Delivering chunks of lines to the daemon: each exactly once, however often it goes away.

A chunk is sent under a follow name of its own run, with its line offsets. The daemon records the
offsets in the transaction of the events, so a chunk that is sent again because its answer was
lost adds nothing, neither events nor dead letters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast
from urllib.parse import quote

from daemon.cli.connection import Connection, Target, UnreachableError
from daemon.cli.failures import CommandError
from daemon.cli.lines import StopRequest
from daemon.cli.output import notice
from domain.errors import DirectoryLocked, NotFound
from domain.limits import Limits

RETRY_SECONDS_MIN: Final = 0.1
RETRY_SECONDS_MAX: Final = 5.0

LINE_BYTES_MIN: Final = 1024
"""A line is not cut below this to make it acceptable; a daemon that refuses it refuses all."""

_NOT_READY: Final = 503
_TOO_SLOW: Final = 408
_TRY_AGAIN: Final = frozenset({_TOO_SLOW, _NOT_READY, 507})
_TOO_LARGE: Final = 413
_LATE_MAX: Final = 2
"""So often a chunk may come too slowly; then it is sent in smaller pieces."""

_HINT: Final = "Start it (`chronicled serve`), or give --wait to wait for it."

Receipts = list[dict[str, Any]]


@dataclass(slots=True)
class Totals:
    """What became of the lines."""

    appended: int = 0
    duplicates: int = 0
    dead_letters: int = 0

    def __str__(self) -> str:
        return (
            f"appended {self.appended}, duplicates {self.duplicates}, "
            f"dead letters {self.dead_letters}"
        )


class Piece(Protocol):
    """Consecutive lines, and where they begin and end in what is read."""

    @property
    def start(self) -> int:
        """Where they begin."""

    @property
    def end(self) -> int:
        """Where they end."""

    @property
    def lines(self) -> tuple[bytes, ...]:
        """The lines."""

    @property
    def body(self) -> bytes:
        """The lines as NDJSON."""

    def smaller(self) -> Sequence[Piece]:
        """Return the same in smaller pieces."""


class Delivery:
    """Sends the chunks of one file or pipe, in order, each until the daemon has recorded it."""

    def __init__(
        self,
        link: Link,
        *,
        format: str,  # noqa: A002 - it is the option's and the format field's name
        follow: str,
        source: str | None,
        totals: Totals,
        on_receipts: Callable[[Receipts], None] | None,
    ) -> None:
        self._link = link
        self._format = format
        self._path = f"/api/intake/{quote(format, safe='')}"
        self._params = {"on_error": "deadletter", "follow": follow}
        if source is not None:
            self._params["source"] = source
        self._totals = totals
        self._on_receipts = on_receipts

    def send(self, chunk: Piece, place: Mapping[str, str] | None = None) -> None:
        """Send a chunk, in smaller pieces where the daemon finds it too large.

        ``place`` are the parameters of its place, where these differ from chunk to chunk.
        """
        try:
            answer = self._link.post(self._path, chunk, {**self._params, **(place or {})})
        except CommandError as error:
            if error.status not in (_TOO_SLOW, _TOO_LARGE) or len(chunk.body) <= LINE_BYTES_MIN:
                raise
            if len(chunk.lines) == 1:
                notice(f"Line {chunk.end} is too large for the daemon; the first half is sent.")
            for piece in chunk.smaller():
                self.send(piece, place)
            return
        self._totals.appended += answer.appended
        self._totals.duplicates += len(answer.receipts) - answer.appended
        self._totals.dead_letters += self._dead_letters(chunk, answer)
        if self._on_receipts:
            self._on_receipts(answer.receipts)

    def _dead_letters(self, chunk: Piece, answer: Answer) -> int:
        """Return how many lines of a chunk were put aside.

        A chunk that was recorded before, while its answer got lost, is answered with none; then
        the lines are looked at here, in the way the daemon does it.
        """
        if not answer.repeated:
            return answer.dead_letters
        # Imported here: hardly any run comes this way.
        from daemon.intake.formats import decode_lines

        with suppress(NotFound):
            decoded = decode_lines(self._format, chunk.body, Limits(), origin="")
            letters = sum(1 for line in decoded if line.dead_letter is not None)
            return max(letters, answer.dead_letters)
        return answer.dead_letters


@dataclass(frozen=True, slots=True)
class Answer:
    """What the daemon answered for one chunk."""

    receipts: Receipts
    appended: int
    dead_letters: int
    repeated: bool
    """It was sent more than once: an earlier answer may have been lost."""


class Link:
    """The way to the daemon, found again after each time it went away."""

    def __init__(self, target: Target, stop: StopRequest) -> None:
        self._target = target
        self._stop = stop
        self._connection: Connection | None = None
        self._head = 0
        self._away = False

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def open(self, *, wait: bool) -> None:
        """Reach the daemon; where none runs, fail, or ``wait`` for it."""
        self._until_answered(self._read_head, "nothing was read", absent_is_fatal=not wait)

    def _read_head(self) -> None:
        answer = self._reach().get("/api/events", {"limit": 1, "order": "desc"})
        self._head = answer["as_of"]

    def send(self, path: str, body: bytes) -> Receipts:
        """Send lines until each is acknowledged; return the receipts, one a line."""

        def attempt() -> Receipts:
            daemon = self._reach()
            receipts: Receipts = daemon.post_lines(path, body, {}).get("events")
            if not isinstance(receipts, list) or len(receipts) != body.count(b"\n"):
                raise daemon.foreign("without a receipt for each event")
            return receipts

        return cast("Receipts", self._until_answered(attempt, "it may have them or not"))

    def ask(self, path: str, params: Mapping[str, str]) -> Any:
        """Ask until it is answered."""
        return self._until_answered(lambda: self._reach().get(path, params), "nothing was read")

    def post(self, path: str, chunk: Piece, params: Mapping[str, str]) -> Answer:
        """Send a chunk until it is answered."""
        params = {**params, "start": str(chunk.start), "end": str(chunk.end)}
        body = chunk.body
        attempts = late = 0

        def attempt() -> Any:
            nonlocal attempts
            attempts += 1
            return self._reach().post_lines(path, body, params)

        def again(error: CommandError) -> bool:
            nonlocal late
            late += error.status == _TOO_SLOW
            # What is too slow again is given back, to come in pieces.
            return error.status in _TRY_AGAIN and (late < _LATE_MAX or len(chunk.lines) == 1)

        told = f"nothing after line {chunk.start} was recorded"
        answer = self._until_answered(attempt, told, again=again)
        receipts = answer["events"]
        if attempts == 1:
            appended = sum(1 for receipt in receipts if not receipt["duplicate"])
        else:
            # An answer may have been lost, and its events are duplicates now. Those recorded
            # after everything we knew of are what the lost answer would have reported.
            appended = len({r["position"] for r in receipts if r["position"] > self._head})
        self._head = answer["as_of"]
        return Answer(receipts, appended, answer["dead_letters"], repeated=attempts > 1)

    def _until_answered(
        self,
        attempt: Callable[[], Any],
        when_stopped: str,
        *,
        absent_is_fatal: bool = False,
        again: Callable[[CommandError], bool] = lambda error: error.status in _TRY_AGAIN,
    ) -> Any:
        delay = RETRY_SECONDS_MIN
        while True:
            try:
                result = attempt()
            except CommandError as error:
                away = isinstance(error, UnreachableError) and not absent_is_fatal
                if not away and not again(error):
                    raise
                # What is only not ready may be gone for a moment before it is.
                absent_is_fatal = False
                self.close()
                self._tell_away(error)
            else:
                self._tell_back()
                return result
            if self._stop.wait(delay):
                raise CommandError("Stopped while the daemon was away", when_stopped)
            delay = min(delay * 2, RETRY_SECONDS_MAX)

    def _reach(self) -> Connection:
        if self._connection is None:
            try:
                self._connection = self._target.connect(wait_seconds=0)
            except DirectoryLocked as error:
                title = "The daemon is not ready"
                raise CommandError(title, error.detail, status=_NOT_READY) from error
        if self._connection is None:
            raise UnreachableError("No daemon", f"none runs on {self._target}", hint=_HINT)
        return self._connection

    def _tell_away(self, error: CommandError) -> None:
        if not self._away:
            detail = error.detail.removesuffix(".")
            notice(f"{error.title}: {detail}. Waiting; nothing is lost meanwhile.")
        self._away = True

    def _tell_back(self) -> None:
        if self._away:
            notice("The daemon is back.")
        self._away = False
