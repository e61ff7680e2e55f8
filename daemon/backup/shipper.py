"""Shipping: what the log has grown by goes to the place every few seconds."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Final

import apsw

from daemon.backup.board import Board
from daemon.backup.container import Header
from daemon.backup.errors import AlreadyThere, BackupError, NotTheWriter, emptied
from daemon.backup.identity import PlaceMark
from daemon.backup.manifest import RESERVED_EVENTS, Epoch, Ledger, Manifest, Snapshot, whose
from daemon.backup.names import SEGMENTS, SNAPSHOTS, Range, read_range
from daemon.backup.segment import Sealed, Source, store_sealed
from daemon.backup.shipped_log import ShippedLog
from daemon.backup.snapshots import described
from daemon.backup.status import State
from daemon.backup.store import ObjectStore
from daemon.backup.tidying import Tidying
from daemon.eventlog.connection import translate
from daemon.lifecycle import Clock
from daemon.storage_errors import as_storage_errors
from domain.errors import ChronicledError, NotReady
from domain.timestamps import MICROSECONDS

LOOK_SECONDS: Final = 1.0
"""How often the log is looked at for many events."""
RETRY_SECONDS: Final = 1.0
RETRY_SECONDS_MAX: Final = 60.0
"""The first and the longest rest after a failure."""
_POLL_SECONDS: Final = 0.2
SWAP_SEGMENTS: Final = 8
"""The manifest is swapped after so many segments, when there are many to ship."""
CONFIRM_SECONDS: Final = 60.0
"""How often it is looked whether the place is still ours, when there is nothing to ship."""


class Shipper:
    """The service that ships; ``seconds`` and ``events`` say how long and how much it waits for.

    Nothing it does holds up the log. What the place was told is complete there: a segment is stored
    before the manifest speaks of it.
    """

    name = "shipper"

    def __init__(
        self,
        store: ObjectStore,
        ledger: Ledger,
        log: ShippedLog,
        board: Board,
        mark: PlaceMark,
        *,
        seconds: float,
        events: int,
    ) -> None:
        self.woken = threading.Event()
        self._store = store
        self._ledger = ledger
        self._log = log
        self._board = board
        self._mark = mark
        self._source = Source(Path(log.path), log.log_id)
        self._period = round(seconds * MICROSECONDS)
        self._events = events
        self._claimed = False
        self._sealed: Sealed | None = None
        self._unsaid: list[Header] = []
        self._due = 0
        self._retry_seconds = RETRY_SECONDS
        self._confirmed = 0
        self._unclaimed_since = 0
        self._changed = threading.Condition()

    # -- asked by others ------------------------------------------------------------------------

    def ship_up_to(self, position: int, timeout_seconds: float, stopping: threading.Event) -> bool:
        """Ship at once, and return whether everything up to a position is in the place in time.

        Raises:
            NotReady: the daemon is stopping.

        """
        self._due = 0
        self.woken.set()
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while not (self._claimed and self._ledger.manifest.shipped >= position):
                if stopping.is_set():
                    raise NotReady("The daemon is stopping.")
                if time.monotonic() > deadline:
                    return False
                self._changed.wait(_POLL_SECONDS)
        return True

    def ship_all(self, clock: Clock) -> None:
        """Ship everything there is, on the caller's thread; nobody else drives the steps then.

        Raises:
            BackupError, StorageFailed: it cannot be shipped now.

        """
        try:
            if not self._claimed:
                self._claim(clock())
            while True:
                self._due = 0
                self._ship(clock())
                newest = self._log.newest()[0]
                if not self._unsaid and self._ledger.manifest.shipped >= newest:
                    return
        except apsw.Error as error:
            raise translate(error) from error

    # -- the service ----------------------------------------------------------------------------

    def step(self, now: int) -> float | None:
        """Ship a segment when it is time; return the seconds until the next look."""
        step = "manifest"
        try:
            if not self._claimed:
                self._unclaimed_since = self._unclaimed_since or now
                self._claim(now)
                self._unclaimed_since = 0
            step = "segment"
            waiting = self._ship(now)
        except apsw.Error as error:
            return self._failed(step, translate(error))
        except ChronicledError as error:
            if isinstance(error, (NotTheWriter, AlreadyThere)):
                # Claiming compares again what is in the place with what is in the log.
                self._claimed = False
            return self._failed(step, error)
        except Exception:
            # It must not look as if all were shipped.
            self._failed(step, BackupError("shipping failed; the daemon's log says more"))
            raise
        self._retry_seconds = RETRY_SECONDS
        self._board.show(state=State.SHIPPING, detail="", hint="")
        return waiting

    def _failed(self, step: str, error: ChronicledError) -> float:
        self._board.shipping_failed(step, error)
        self._show_behind()
        rest = self._retry_seconds
        self._retry_seconds = min(rest * 2, RETRY_SECONDS_MAX)
        return rest

    def _claim(self, now: int) -> None:
        self._ledger.claim(lambda: self._fresh(now), self._fits)
        with as_storage_errors("the folder of the backup", translate):
            self._mark.set()
        self._unsaid, self._sealed = [], None
        self._confirmed = now
        self._adopt(now)
        self._claimed = True
        self._board.show_manifest(self._ledger.manifest)

    def _fresh(self, now: int) -> Manifest:
        """Return the manifest of a place that has none.

        What an earlier one said of epochs that have ended, the log knows itself: objects of a lost
        tail may still be there. Its snapshots are known again. Dead letters are shipped anew.

        Raises:
            NotTheWriter: it has the objects of another log, whose manifest is gone.
            PlaceEmpty: it had the manifest of this one.

        """
        if self._mark.known:
            raise emptied()
        self._require_no_other_log()
        head = self._log.head()
        start = self._log.digest_at(0)
        assert start is not None  # noqa: S101  the chain begins somewhere
        epochs = tuple(
            Epoch(
                epoch=each.epoch, after=each.complete_to, first=each.resumed, letters=0,
                reported_head=each.complete_to, began=now,
            )
            for each in self._log.lost_stretches()
        )  # fmt: skip
        return Manifest(
            log_id=self._log.log_id, created=self._log.meta()["created"], epoch=self._log.epoch,
            sequence=1, writer=self._ledger.writer, head=head, reserved=head + RESERVED_EVENTS,
            shipped=0, digest=start.hex(), shipped_at=now, epochs=epochs,
            snapshots=self._known_snapshots(now),
        )  # fmt: skip

    def _known_snapshots(self, now: int) -> tuple[Snapshot, ...]:
        """Return the snapshots of this log that are in the place."""
        found = []
        for stored in self._store.list(SNAPSHOTS):
            header = Header.of_metadata(stored.metadata)
            if header is None or "sha256" not in stored.metadata:
                continue
            digest = self._log.digest_at(header.last)
            if header.log_id == self._log.log_id and (digest or b"").hex() == header.digest_after:
                found.append(described(stored, header, now))
        return tuple(sorted(found, key=lambda each: (each.position, each.epoch)))

    def _require_no_other_log(self) -> None:
        stored = next(self._store.list(SEGMENTS), None)
        header = Header.of_metadata(stored.metadata) if stored else None
        if header is not None and header.log_id != self._log.log_id:
            raise NotTheWriter(
                f"the place has the objects of another log, {header.log_id}, and no manifest",
                hint="Put its manifest.json back, or give [backup] url another place.",
            )

    def _fits(self, manifest: Manifest) -> Manifest:
        """Return a manifest that this daemon may go on with.

        Raises:
            NotTheWriter: it is of another log, another daemon, or of other events.

        """
        if manifest.log_id != self._log.log_id:
            raise NotTheWriter(f"the place has the backup of another log, {manifest.log_id}")
        mine = self._ledger.writer
        # Whoever took the place from this very run, under its own id, is a clone of the machine.
        cloned = self._ledger.claimed and manifest.writer != mine
        if manifest.writer.id != mine.id or cloned:
            raise NotTheWriter(whose(manifest))
        if manifest.epoch != self._log.epoch:
            raise NotTheWriter(
                f"the place is in epoch {manifest.epoch}, the log in {self._log.epoch}"
            )
        there = manifest.shipped, manifest.digest
        if self._log.head() < manifest.head or not self._log.agrees(*there):
            raise NotTheWriter(
                f"the log is not the one that was shipped up to {manifest.shipped}",
                hint="Start the daemon again: it compares the log and the backup, and says more.",
            )
        return manifest

    def _adopt(self, now: int) -> None:
        """Count what an earlier run stored and did not get to say.

        What it stored of events that the log does not have (it lost its newest to a power cut, or
        the machine has a clone) is removed: the segments of one epoch have to agree.
        """
        foreign = []
        for range_, header in self._after_shipped():
            manifest = self._ledger.manifest
            if self._log.contradicts(header.last, header.digest_after):
                foreign.append(range_.segment)
            elif range_.first <= manifest.shipped + 1 and header.last > manifest.shipped:
                self._say(now, header.last, header.digest_after)
        Tidying(self._store, self._ledger, self._log).remove(foreign)

    def _after_shipped(self) -> list[tuple[Range, Header]]:
        """Return the segments of this epoch that begin after what is shipped, in order."""
        manifest = self._ledger.manifest
        found = []
        for stored in self._store.list(
            SEGMENTS, Range(manifest.shipped, 0, manifest.epoch).segment
        ):
            range_ = read_range(stored.name)
            if range_ is None:
                continue
            if range_.epoch != manifest.epoch:
                break
            header = Header.of_metadata(stored.metadata)
            if header is not None and range_.first > manifest.shipped:
                found.append((range_, header))
        return found

    def _ship(self, now: int) -> float:
        manifest = self._ledger.manifest
        shipped, digest = manifest.shipped, manifest.digest
        if self._unsaid:
            shipped, digest = self._unsaid[-1].last, self._unsaid[-1].digest_after
        head = self._log.head()
        pending = head - shipped
        waits = (self._due - now) / MICROSECONDS
        if waits > self._period / MICROSECONDS:
            # The clock was set back.
            waits = 0.0
        hurried = pending >= self._events or head > manifest.reserved - RESERVED_EVENTS // 2
        if waits > 0 and not hurried and self._sealed is None:
            self._show_behind()
            return min(waits, LOOK_SECONDS)
        self._letters(manifest)
        if self._sealed is None and len(self._unsaid) < SWAP_SEGMENTS:
            self._sealed = self._source.seal(self._log.epoch, shipped, digest=digest)
        if self._sealed is not None:
            self._put(self._sealed)
            self._unsaid.append(self._sealed.header)
            self._sealed = None
            if len(self._unsaid) < SWAP_SEGMENTS and self._unsaid[-1].last < head:
                return 0.0
        return self._told(now, head)

    def _told(self, now: int, head: int) -> float:
        """Tell the place what was stored; return when to look again."""
        manifest = self._ledger.manifest
        if self._unsaid:
            newest = self._unsaid[-1]
            self._say(now, newest.last, newest.digest_after)
            self._unsaid = []
        elif head != manifest.head:
            self._say(now, manifest.shipped, manifest.digest)
        elif now - self._confirmed > CONFIRM_SECONDS * MICROSECONDS or now < self._confirmed:
            self._ledger.read_again()
            self._confirmed = now
        self._show_behind()
        if self._log.head() - self._ledger.manifest.shipped >= self._events:
            return 0.0
        self._due = now + self._period
        return min(self._period / MICROSECONDS, LOOK_SECONDS)

    def _say(self, now: int, shipped: int, digest: str) -> None:
        head = self._log.head()

        def change(manifest: Manifest) -> Manifest:
            return manifest.model_copy(
                update={
                    "head": head,
                    "reserved": max(manifest.reserved, head + RESERVED_EVENTS),
                    "shipped": shipped,
                    "digest": digest,
                    "shipped_at": now,
                }
            )

        self._board.show_manifest(self._ledger.change(change))
        self._confirmed = now
        with self._changed:
            self._changed.notify_all()

    def _letters(self, manifest: Manifest) -> None:
        """Ship dead letters, which no position counts."""
        while (sealed := self._source.seal_letters(self._log.epoch, manifest.letters)) is not None:
            self._put(sealed)
            told = {"letters": sealed.header.last}
            manifest = self._ledger.change(partial(Manifest.model_copy, update=told))

    def _put(self, sealed: Sealed) -> None:
        store_sealed(self._store, sealed)
        self._board.stored(sealed.header.kind, len(sealed.content))

    def _show_behind(self) -> None:
        if not self._claimed:
            # How far the place is cannot be known: only how long nothing was shipped.
            self._board.show(behind_since=self._unclaimed_since if self._log.head() else None)
            return
        shipped = self._ledger.manifest.shipped
        behind = None
        if self._log.head() > shipped:
            behind = self._log.recorded_at(shipped + 1)
        self._board.show(behind_since=behind)
