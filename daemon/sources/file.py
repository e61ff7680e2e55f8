"""A followed file as a source: its lines, each once, with the place in the log beside them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from daemon.eventlog.requests import Append, Follow
from daemon.intake.formats import LINE_FACTOR, Decoded, decode_lines
from daemon.sources.board import SourceState
from daemon.sources.following import Follower
from daemon.sources.lines import Place, Stretch
from daemon.sources.recording import PASSING, Backoff, Recording, guarded

POLL_SECONDS: Final = 0.2
"""How often a file with nothing new is looked at."""


class FileSource:
    """Follows one file."""

    def __init__(self, recording: Recording) -> None:
        self.name = f"source-{recording.board.settings.name}"
        self._recording = recording
        limit = LINE_FACTOR * recording.limits.event_bytes + 1
        self._follower = Follower(Path(recording.board.settings.path), limit)
        self._backoff = Backoff()
        self._resumed = False
        self._asked: Place | None = None
        self._alone = False
        """Whether lines are recorded one by one, as one of them is refused."""
        self._blamed: tuple[int, Exception] | None = None
        """The offset of a line that the log cannot take, and why."""

    @property
    def woken(self) -> threading.Event:
        """Set when the log has answered."""
        return self._recording.woken

    def step(self, now: int) -> float | None:
        """Read some lines, or see what became of those that were read."""
        return guarded(self._step, self._recording, self._backoff, now)

    def close(self) -> None:
        """Close the file."""
        self._follower.close()

    def _step(self, now: int) -> float:
        if self._recording.at_work:
            return self._settle(now)
        if not self._resumed and not self._resume():
            return POLL_SECONDS
        stretch = self._follower.read(now)
        if stretch is not None:
            self._submit(stretch)
            return POLL_SECONDS
        self._tell()
        return 0 if self._follower.busy else POLL_SECONDS

    def _resume(self) -> bool:
        """Go on where the log says; at the first start say there that it is the first."""
        rows = self._recording.log.follow_offsets(self._recording.prefix)
        if not rows:
            first = Place.before_all()
            follow = Follow(first.name(self._recording.prefix), 0, first.offset)
            self._asked = first
            self._recording.submit(Append((), follow=follow), 0)
            return False
        name, offset, updated = rows[-1]
        self._follower.resume(Place.parse(self._recording.prefix, name, offset), updated)
        self._resumed = True
        return True

    def _submit(self, stretch: Stretch) -> None:
        recording = self._recording
        stretch, decoded = self._decode(stretch)
        before, after = self._follower.place, self._follower.place_after(stretch)
        # Of a new file nothing is in the log: what it replaces there is the file before it.
        earlier = before.name(recording.prefix) if before.offset else self._row()
        self._asked = after
        follow = Follow(after.name(recording.prefix), stretch.start, stretch.end, earlier)
        try:
            recording.submit(recording.lines(decoded, recording.origin, follow), len(decoded))
        except Exception:
            self._asked = None
            raise

    def _row(self) -> str | None:
        rows = self._recording.log.follow_offsets(self._recording.prefix)
        return rows[-1].name if rows else None

    def _decode(self, stretch: Stretch) -> tuple[Stretch, list[Decoded]]:
        """Decode lines, or as many of them as may be recorded at once."""
        recording = self._recording
        if self._alone:
            while len(stretch.lines) > 1:
                stretch = stretch.smaller()[0]
        if self._blamed is not None and self._blamed[0] == stretch.start:
            raw = stretch.lines[0]
            letter = recording.letter(raw, self._blamed[1], recording.origin)
            return stretch, [Decoded(0, raw, (), letter)]
        while True:
            decoded = decode_lines(
                recording.format, stretch.body, recording.limits, recording.origin, recording.source
            )
            events = sum(len(line.events) for line in decoded)
            if events <= recording.limits.batch_events or len(stretch.lines) == 1:
                return stretch, decoded
            stretch = stretch.smaller()[0]

    def _settle(self, now: int) -> float:
        """Go on behind what was recorded; what was not recorded is read again."""
        try:
            appended = self._recording.answer(now)
        except PASSING:
            self._resumed = False
            raise
        except Exception as error:
            if self._alone:
                self._blamed = (self._follower.place.offset, error)
            self._alone, self._resumed = True, False
            raise
        if appended is None:
            return POLL_SECONDS
        self._backoff.end()
        self._alone, self._blamed = False, None
        if self._resumed and self._asked is not None:
            self._follower.advance(self._asked)
        self._tell()
        return 0

    def _tell(self) -> None:
        board = self._recording.board
        if self._follower.waiting:
            board.stands(SourceState.WAITING, "there is no such file", lag=0)
        else:
            board.stands(SourceState.RUNNING, lag=self._follower.behind())
