"""A watched folder as a source: each file that is dropped in, once for each of its contents.

What was taken is remembered in the log, in the transaction of the events: a row for each file,
with its size, time and digest. The row is there as long as the file is.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Final

from daemon.eventlog.requests import Follow, Work
from daemon.eventlog.transaction import Transaction
from daemon.intake.formats import Decoded, decode_document, decode_lines
from daemon.sources.board import SourceState
from daemon.sources.lines import OpenFile
from daemon.sources.recording import PASSING, Backoff, Recording, guarded
from domain.errors import TooLarge

POLL_SECONDS: Final = 0.5
"""How often the folder is looked through."""
POLL_FACTOR: Final = 10
"""A folder that takes long to look through is looked at less often: so many times that long."""
STABLE_SECONDS: Final = 1.0
"""For how long size and time of a file must have stayed the same before it is taken."""
FILES_MAX: Final = 100_000
"""Most files in the folder; beyond, the source fails until some are gone."""
_FORGOTTEN_MAX: Final = 1_000
_UNFINISHED: Final = (".tmp", ".part", "~")


@dataclass(frozen=True, slots=True)
class Signature:
    """What changes when a file does."""

    size: int
    mtime: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> Signature:
        """Return that of a file."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True, slots=True)
class Taken:
    """What the log knows of a file: which contents, and how many bytes of them are recorded."""

    size: int
    mtime: int
    digest: str
    offset: int

    @property
    def whole(self) -> bool:
        """Whether all of it is recorded."""
        return self.offset >= max(self.size, 1)

    def name(self, prefix: str, path: str) -> str:
        """Return what the log calls it."""
        return f"{prefix}{self.size}:{self.mtime}:{self.digest}:{path}"

    @classmethod
    def parse(cls, prefix: str, name: str, offset: int) -> tuple[str, Taken]:
        """Read back what `name` wrote."""
        size, mtime, digest, path = name.removeprefix(prefix).split(":", 3)
        return path, cls(int(size), int(mtime), digest, offset)


class FolderSource:
    """Watches one folder, and the folders in it."""

    def __init__(self, recording: Recording) -> None:
        settings = recording.board.settings
        self.name = f"source-{settings.name}"
        self._recording = recording
        self._root = Path(settings.path)
        self._settings = settings
        self._backoff = Backoff()
        self._taken: dict[str, Taken] | None = None
        self._seen: dict[str, tuple[Signature, int]] = {}
        self._asked: tuple[str, Taken] | None = None
        self._forgotten: list[str] = []
        self._escaped: dict[str, Path] = {}
        """Where the files are whose names are no text."""
        self._whole_refused: tuple[str, Exception] | None = None

    @property
    def woken(self) -> threading.Event:
        """Set when the log has answered."""
        return self._recording.woken

    def step(self, now: int) -> float | None:
        """Look through the folder, or see what became of the file that was read."""
        return guarded(self._step, self._recording, self._backoff, now)

    def close(self) -> None:
        """Hold nothing open."""

    def _step(self, now: int) -> float:
        if self._recording.at_work:
            return self._settle(now)
        taken = self._resume() if self._taken is None else self._taken
        began = time.monotonic()
        found = self._look(now)
        if found is None:
            self._recording.board.stands(SourceState.WAITING, "there is no such folder", lag=0)
            return POLL_SECONDS
        waiting = [path for path in found if not self._is_taken(path, taken)]
        self._recording.board.stands(SourceState.RUNNING, lag=len(waiting))
        failed: OSError | None = None
        for path in waiting:
            try:
                if self._is_stable(path, now) and self._take(path, taken):
                    return POLL_SECONDS
            except OSError as error:
                # It is in nobody's way; what it is shows once the others are taken.
                failed = error
        if failed is not None:
            raise failed
        self._clear(found, taken)
        if self._forget(taken):
            return POLL_SECONDS
        return max(POLL_SECONDS, POLL_FACTOR * (time.monotonic() - began))

    # -- what there is ----------------------------------------------------------------------------

    def _resume(self) -> dict[str, Taken]:
        """Read back what the log knows."""
        taken: dict[str, Taken] = {}
        after, prefix = "", self._recording.prefix
        while rows := self._recording.log.follow_offsets(prefix, after, 1000):
            taken.update(Taken.parse(prefix, row.name, row.offset) for row in rows)
            after = rows[-1].name
        self._taken = taken
        return taken

    def _look(self, now: int) -> list[str] | None:
        """Return the files that match, the oldest first; None where there is no folder."""
        if not self._root.is_dir():
            return None
        seen: dict[str, tuple[Signature, int]] = {}
        self._escaped.clear()
        for path, signature in islice(self._walk(self._root), FILES_MAX + 1):
            before = self._seen.get(path)
            since = before[1] if before is not None and before[0] == signature else now
            seen[path] = (signature, since)
        if len(seen) > FILES_MAX:
            raise TooLarge(f"The folder has more than {FILES_MAX} files.")
        self._seen = seen
        return sorted(seen, key=lambda path: (seen[path][0].mtime, path))

    def _walk(self, folder: Path) -> Iterator[tuple[str, Signature]]:
        moved_to = self._settings.moved_to
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if entry.is_dir(follow_symlinks=False):
                    hidden = entry.name.startswith(".")
                    if not hidden and not (moved_to and entry.path == str(Path(moved_to))):
                        with suppress(FileNotFoundError):
                            yield from self._walk(Path(entry.path))
                elif self._is_wanted(entry.name):
                    with suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(found.st_mode):
                            yield self._key(entry.path), Signature.of(found)

    def _key(self, path: str) -> str:
        """Return how a path is called in the log; bytes that are no text stay told apart."""
        relative = os.path.relpath(path, self._root)
        key = os.fsencode(relative).decode(errors="backslashreplace")
        if key != relative:
            self._escaped[key] = Path(path)
        return key

    def _place(self, key: str) -> Path:
        """Return where the file is that the log calls so."""
        return self._escaped.get(key) or self._root / key

    def _is_wanted(self, name: str) -> bool:
        pattern = self._settings.pattern
        if name.startswith(".") and not pattern.startswith("."):
            return False
        return fnmatchcase(name, pattern) if pattern else not name.endswith(_UNFINISHED)

    def _is_taken(self, path: str, taken: dict[str, Taken]) -> bool:
        known, signature = taken.get(path), self._seen[path][0]
        return (
            known is not None
            and known.whole
            and (known.size, known.mtime) == (signature.size, signature.mtime)
        )

    def _is_stable(self, path: str, now: int) -> bool:
        signature, since = self._seen[path]
        age = min(now - since, STABLE_SECONDS * 2_000_000)
        return max(age, now - signature.mtime // 1000) >= STABLE_SECONDS * 1_000_000

    # -- taking a file ----------------------------------------------------------------------------

    def _take(self, path: str, taken: dict[str, Taken]) -> bool:
        """Have the next part of a file recorded; return False where it changed meanwhile."""
        try:
            file = OpenFile(self._place(path), self._recording.limits.batch_bytes)
        except FileNotFoundError:
            return False
        with suppress(FileNotFoundError):
            try:
                return self._take_open(path, file, taken.get(path))
            finally:
                file.close()
        return False

    def _take_open(self, path: str, file: OpenFile, known: Taken | None) -> bool:
        signature = self._seen[path][0]
        digest = file.digest()
        fresh = Taken(signature.size, signature.mtime, digest, 0)
        if known is not None and known.digest == digest and known.size == signature.size:
            # Only its time is new, or it was read in part.
            offset = max(signature.size, 1) if known.whole else known.offset
            fresh = Taken(signature.size, signature.mtime, digest, offset)
        decoded, end = ([], fresh.offset) if fresh.whole else self._decode(path, file, fresh)
        if Signature.of(file.stat()) != signature:
            return False
        after = Taken(fresh.size, fresh.mtime, digest, end)
        self._asked = (path, after)
        prefix, origin = self._recording.prefix, self._origin(path)
        replaced = None if known is None else known.name(prefix, path)
        follow = Follow(after.name(prefix, path), fresh.offset, end, replaced)
        self._recording.submit(self._recording.lines(decoded, origin, follow), len(decoded))
        return True

    def _origin(self, path: str) -> str:
        return f"{self._recording.origin}/{path}"

    def _decode(self, path: str, file: OpenFile, at: Taken) -> tuple[list[Decoded], int]:
        """Return the messages of a file, or of its next lines, and the offset behind them."""
        recording, origin = self._recording, self._origin(path)
        refused = self._whole_refused
        if at.offset == 0 and at.size <= recording.limits.batch_bytes:
            raw = file.whole()
            if refused is not None and refused[0] == path:
                letter = recording.letter(raw, refused[1], origin)
                return [Decoded(0, raw, (), letter)], max(at.size, 1)
            decoded = decode_document(
                recording.format, raw, recording.limits, origin, recording.source
            )
            if sum(len(line.events) for line in decoded) <= recording.limits.batch_events:
                return decoded, max(at.size, 1)
            if raw.lstrip()[:1] == b"[":
                error = TooLarge("The array is more events than a batch may have.")
                return [Decoded(0, raw, (), recording.letter(raw, error, origin))], at.size
        stretch = file.read(at.offset, final=True)
        while stretch is None and file.looking:
            stretch = file.read(at.offset, final=True)
        if stretch is None:
            return [], max(at.size, 1)
        while True:
            decoded = decode_lines(
                recording.format, stretch.body, recording.limits, origin, recording.source
            )
            events = sum(len(line.events) for line in decoded)
            if events <= recording.limits.batch_events or len(stretch.lines) == 1:
                return decoded, stretch.end
            stretch = stretch.smaller()[0]

    def _settle(self, now: int) -> float:
        """Note what was recorded; what was not is read again."""
        try:
            appended = self._recording.answer(now)
        except PASSING:
            self._taken = None
            raise
        except Exception as error:
            self._taken = None
            if self._asked is not None:
                self._whole_refused = (self._asked[0], error)
            raise
        if appended is None:
            return POLL_SECONDS
        self._backoff.end()
        self._whole_refused = None
        if self._taken is not None:
            if self._asked is not None:
                self._taken[self._asked[0]] = self._asked[1]
            for path in self._forgotten:
                self._taken.pop(path, None)
        self._asked, self._forgotten = None, []
        return 0

    # -- afterwards -------------------------------------------------------------------------------

    def _clear(self, found: list[str], taken: dict[str, Taken]) -> None:
        """Delete or move the files that are recorded, where that is wanted."""
        if self._settings.after == "keep":
            return
        for path in found:
            if not self._is_taken(path, taken):
                continue
            place = self._place(path)
            with suppress(FileNotFoundError):
                if Signature.of(place.stat(follow_symlinks=False)) != self._seen[path][0]:
                    continue
                if self._settings.after == "delete":
                    place.unlink()
                else:
                    _move(place, Path(self._settings.moved_to) / path, taken[path].digest)
                del self._seen[path]

    def _forget(self, taken: dict[str, Taken]) -> bool:
        """Have the log forget files that are gone; return whether there were any."""
        gone = list(islice((p for p in taken if p not in self._seen), _FORGOTTEN_MAX))
        if not gone:
            return False
        names = [taken[path].name(self._recording.prefix, path) for path in gone]
        self._forgotten = gone

        def forget(transaction: Transaction) -> None:
            transaction.forget_follows(names)

        self._recording.submit(Work(forget), 0)
        return True


def _move(place: Path, goal: Path, digest: str) -> None:
    """Rename a file into the other folder; a file that has its name there stays."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    if goal.exists():
        goal = goal.with_name(f"{goal.name}.{digest[:12]}")
    place.rename(goal)
