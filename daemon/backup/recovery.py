"""What a daemon does before it opens its log: compare it with the backup, and bring it back.

Everything is decided by positions and digests. Nothing here writes to a log that may be right,
except to append what the backup has beyond it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from daemon.backup.applying import Applier, digest_within
from daemon.backup.container import read_header
from daemon.backup.errors import (
    BackupError,
    ObjectDamaged,
    ObjectMissing,
    RestoreRefused,
    StoreRefused,
    StoreUnavailable,
    SwapLost,
    emptied,
)
from daemon.backup.identity import PlaceMark
from daemon.backup.lineage import LettersMissing, cover
from daemon.backup.manifest import RESERVED_EVENTS, Epoch, Manifest, Writer, load, whose
from daemon.backup.names import Range
from daemon.backup.restore import Listing, Restoring, fetch, holds_objects, take_letters
from daemon.backup.settling import begin_unsettled, tell_missing
from daemon.backup.shipped_log import ShippedLog
from daemon.backup.status import Progress
from daemon.backup.store import Place, Register
from daemon.eventlog.connection import close, open_writer, translate
from daemon.eventlog.epochs import begin_epoch
from daemon.lock import LOG_FILE
from domain.errors import LogDamaged

_EMPTY: Final = (
    "SELECT NOT EXISTS (SELECT 1 FROM events) AND NOT EXISTS (SELECT 1 FROM dead_letters)"
    " AND NOT EXISTS (SELECT 1 FROM tracking)"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done before the start.

    ``action`` is fresh, kept, unseen (kept, and the backup was not looked at), fetched, restored or
    taken. ``epoch`` is the epoch that began, ``position`` up to where the log is complete.
    """

    action: str
    detail: str
    position: int = 0
    epoch: int | None = None


class Local:
    """The log that is in a data directory, as far as it is compared; ``None`` where there is none.

    Raises:
        LogDamaged, NewerSchema, StorageFailed: it cannot be read.

    """

    def __init__(self, path: Path) -> None:
        with closing(ShippedLog(path)) as log:
            self.log_id, self.epoch = log.log_id, log.epoch
            self.head = log.head()
            self.newest, self.letters = log.newest()
            with log.pool.connection() as db:
                self.empty = bool(db.execute(_EMPTY).get)
        self.path = path

    def digest_at(self, position: int) -> str | None:
        """Return the digest of the chain at a position; None where there is no such event."""
        with closing(ShippedLog(self.path)) as log:
            found = log.digest_at(position)
        return None if found is None else found.hex()

    def agrees(self, position: int, digest: str) -> bool:
        """Return whether the event with a digest is at a position, or was removed."""
        with closing(ShippedLog(self.path)) as log:
            return log.agrees(position, digest)


def find_local(data: Path) -> Local | None:
    """Return the log of a data directory, None where there is none."""
    path = data / LOG_FILE
    return Local(path) if path.exists() and path.stat().st_size > 0 else None


def _holds(local: Local | None, manifest: Manifest) -> bool:
    """Return whether a directory has a log that may be gone on with.

    One that holds nothing is as good as none, unless nothing was ever lost of it.
    """
    if local is None or not local.empty:
        return local is not None
    return (local.log_id, manifest.head) == (manifest.log_id, 0)


def lost(local: Local, manifest: Manifest) -> bool:
    """Return whether the writer's log lacks what it had told the place.

    What was reported was acknowledged; and an epoch that was claimed has to begin.
    """
    return (
        local.head < manifest.head
        or local.epoch < manifest.epoch
        or local.letters < manifest.letters
    )


class _Missing(NamedTuple):
    """The segments that go on where a log ends, and what else is in the place."""

    segments: Sequence[Range]
    listing: Listing


class Recovery:
    """The start of a daemon on a data directory and a place; ``writer`` is who starts.

    ``look`` is the register of the place for the first look at it; it may be less patient.
    ``options`` are those of the command line that lead to the same settings.
    """

    def __init__(
        self,
        data: Path,
        place: Place,
        writer: Writer,
        now: int,
        progress: Progress | None = None,
        look: Register | None = None,
        mark: PlaceMark | None = None,
        options: str = "",
    ) -> None:
        self._data = data
        self._mark = mark
        self._options = options or f" --data {self._quoted}"
        self._place = place
        self._look = look or place.register
        self._writer = writer
        self._now = now
        self._progress = progress
        self._skip_letters = False

    def start(self, *, allow_empty: bool = False) -> Outcome:
        """Make the log of the data directory ready to be opened.

        Raises:
            RestoreRefused: starting would lose events, or might.
            DiskFull, StorageFailed, LogDamaged, NewerSchema: it cannot be done here.

        """
        local = find_local(self._data)
        try:
            found = load(self._look)
        except (StoreUnavailable, StoreRefused, ObjectDamaged) as error:
            if local is None or local.empty:
                return self._without(error, allow_empty=allow_empty)
            return Outcome("unseen", f"the backup was not looked at: {error.detail}")
        if found is None:
            return self._fresh(local, allow_empty=allow_empty)
        manifest, version = found
        if local is not None and _holds(local, manifest):
            return self._gone_on_with(local, manifest, version)
        try:
            return self._restore(manifest, version)
        except (StoreUnavailable, StoreRefused) as error:
            return self._without(error, allow_empty=allow_empty)

    def _fresh(self, local: Local | None, *, allow_empty: bool) -> Outcome:
        """Begin a backup, unless an empty log would begin one where there was another."""
        if local is None or local.empty:
            try:
                forgotten = holds_objects(self._place.objects)
            except (StoreUnavailable, StoreRefused) as error:
                return self._without(error, allow_empty=allow_empty)
            if self._mark is not None and self._mark.known:
                return self._without(emptied(), allow_empty=allow_empty)
            if forgotten:
                gone = ObjectMissing("it has objects, and no manifest that says what holds good")
                return self._without(gone, allow_empty=allow_empty)
        elif self._mark is not None and self._mark.known:
            return Outcome("unseen", emptied().detail)
        return Outcome("fresh", "the place has no backup yet")

    def _without(self, error: BackupError, *, allow_empty: bool) -> Outcome:
        """Begin without a backup that cannot be read, where that was asked for."""
        if allow_empty:
            return Outcome("fresh", f"begun without the backup, as asked: {error.detail}")
        raise RestoreRefused(
            f"there is no log here, and the backup cannot be read: {error.detail}",
            hint="Mend the way to the store and start again; or begin an empty log, for ever "
            f"apart from the backup: chronicled serve{self._options} --allow-empty",
        ) from None

    def _gone_on_with(self, local: Local, manifest: Manifest, version: str) -> Outcome:
        try:
            return self._compare(local, manifest, version)
        except (StoreUnavailable, StoreRefused) as error:
            # To append now would make two logs of one: the backup is known to be ahead.
            raise RestoreRefused(
                f"the log here ends at {local.newest}, the backup is ahead of it, and cannot be "
                f"read: {error.detail}",
                hint="Mend the way to the store and start again.",
            ) from None

    def take_over(self, reason: str, *, skip_letters: bool = False) -> Outcome:
        """Make this directory's log the one that the place goes on with, in a new epoch.

        With ``skip_letters`` dead letters that cannot be had are done without.

        Raises:
            RestoreRefused: the log and the backup went different ways.
            BackupError: the store does not let us.

        """
        self._skip_letters = skip_letters
        local = find_local(self._data)
        found = load(self._place.register)
        if found is None:
            if self._mark is not None:
                self._mark.clear()
            return Outcome("fresh", "the place has no backup: it is begun at the next start")
        manifest, version = found
        if local is None or not _holds(local, manifest):
            return self._restore(manifest, version, reason)
        missing = self._missing(local, manifest)
        ours = (manifest.writer.id, manifest.epoch) == (self._writer.id, local.epoch)
        if missing is None and ours and not lost(local, manifest):
            told = "this directory is the writer of the place already"
            return Outcome("kept", told, local.newest)
        return self._go_on("taken", local, manifest, version, missing, reason)

    # -- no log ---------------------------------------------------------------------------------

    def _restore(
        self, manifest: Manifest, version: str, reason: str = "no log was here"
    ) -> Outcome:
        store, skip = self._place.objects, self._skip_letters
        restoring = Restoring(
            store, manifest, self._data, progress=self._progress, skip_letters=skip
        )
        try:
            epoch = self._new_epoch(manifest, restoring.plan().position, manifest.letters)

            def finish(db: apsw.Connection, _: Any) -> None:
                begun = epoch.model_copy(update={"letters": newest_letter(db)}) if skip else epoch
                self._claim(manifest, version, begun)
                begin(db, manifest, begun, self._place.objects.url, reason, self._now)

            restoring.run(finish=finish)
        except (ObjectMissing, ObjectDamaged) as error:
            raise self._incomplete(manifest, error) from None
        return Outcome(
            "restored",
            f"restored up to position {epoch.after}; epoch {epoch.epoch} begins",
            epoch.after,
            epoch.epoch,
        )

    def _incomplete(self, manifest: Manifest, error: BackupError) -> RestoreRefused:
        if isinstance(error, LettersMissing):
            return RestoreRefused(
                f"the backup has all events, and is not whole: {error.detail}",
                hint="Go on without these dead letters: chronicled backup takeover"
                f"{self._options} --skip-letters; then start, and take a snapshot.",
            )
        return RestoreRefused(
            f"the backup is not whole: {error.detail}",
            hint=f"What there is: chronicled backup list {self._from}; an earlier moment: "
            f"chronicled backup restore {self._from} --to POSITION --into DIRECTORY (a position "
            f"before {manifest.shipped}).",
        )

    # -- a log ----------------------------------------------------------------------------------

    def _compare(self, local: Local, manifest: Manifest, version: str) -> Outcome:
        missing = self._missing(local, manifest)
        mine = manifest.writer.id == self._writer.id
        if missing is not None and not mine:
            raise RestoreRefused(
                f"the log here ends at {local.newest}, the backup at {manifest.shipped}, and "
                f"{whose(manifest)}",
                hint="If the other daemon is gone for good: "
                f"chronicled backup takeover{self._options}",
            )
        if missing is None and not (mine and lost(local, manifest)):
            told = "the log here has everything that is in the backup"
            return Outcome("kept", told, local.newest)
        reason = f"the log here ended at {local.newest}, and had got to {manifest.head}"
        return self._go_on("fetched", local, manifest, version, missing, reason)

    def _missing(self, local: Local, manifest: Manifest) -> _Missing | None:
        """Return what only the backup has, None where it has nothing more.

        Raises:
            RestoreRefused: the log here is not the beginning of it, or the backup is not whole.

        """
        self._require_same(local, manifest)
        for epoch in manifest.epochs:
            if epoch.epoch > local.epoch and local.newest > epoch.after:
                raise self._diverged(local, manifest, epoch.after)
        if local.newest >= manifest.shipped:
            if not local.agrees(manifest.shipped, manifest.digest):
                raise self._diverged(local, manifest, None)
            return None
        listing = Listing.of(self._place.objects, manifest)
        try:
            segments = cover(listing.segments, local.newest, manifest.shipped, manifest.epochs)
            self._require_prefix(local, manifest, segments)
        except (ObjectMissing, ObjectDamaged) as error:
            raise self._incomplete(manifest, error) from None
        return _Missing(segments, listing)

    def _require_same(self, local: Local, manifest: Manifest) -> None:
        """Raise unless log and backup are of one log."""
        if local.log_id != manifest.log_id:
            raise RestoreRefused(
                f"the log here is {local.log_id}, the place has a backup of {manifest.log_id}",
                hint=f"Keep the log here: give [backup] url another place. Bring the backup back: "
                f"mv {self._quoted} {self._beside('other')}, and start again.",
            )

    def _require_prefix(self, local: Local, manifest: Manifest, segments: Sequence[Range]) -> None:
        """Raise unless the first of the segments continues the log here."""
        first = segments[0]
        content = fetch(self._place.objects, first.segment)
        if first.first == local.newest + 1:
            there = read_header(content, first.segment)[0].digest_before
        else:
            found = digest_within(content, first.segment, local.newest)
            there = "none" if found is None else found.hex()
        # Without it, events before the segment were removed: the rest has to fit then.
        if there and there != local.digest_at(local.newest):
            raise self._diverged(local, manifest, None)

    def _append(
        self, db: apsw.Connection, manifest: Manifest, missing: _Missing | None, letters: int
    ) -> None:
        """Append what was shipped and the log here does not have, and dead letters after an id."""
        store, applier = self._place.objects, Applier(db, manifest.log_id)
        if missing is not None:
            sizes = [missing.listing.sizes[each.segment] for each in missing.segments]
            begin_unsettled(db, applier.position)
            for each, done in zip(missing.segments, accumulate(sizes), strict=True):
                applier.apply(fetch(store, each.segment), each.segment, manifest.shipped)
                if self._progress is not None:
                    self._progress(done, sum(sizes))
            if applier.digest.hex() != manifest.digest:
                raise ObjectDamaged("the segments do not lead to what was shipped")
        applier.settle()
        if letters < manifest.letters:
            listing = missing.listing if missing else Listing.of(store, manifest)
            take_letters(store, applier, manifest, listing, letters, skip=self._skip_letters)

    def _diverged(self, local: Local, manifest: Manifest, common: int | None) -> RestoreRefused:
        since = "" if common is None else f" They have been two since position {common}."
        return RestoreRefused(
            f"the log here (epoch {local.epoch}, head {local.newest}) and the backup (epoch "
            f"{manifest.epoch}, position {manifest.shipped}) hold different events.{since}",
            hint=f"Keep the log here: give [backup] url another place, and start. Go on with the "
            f"backup: mv {self._quoted} {self._beside('diverged')}, and start. Look at the "
            f"backup's first: chronicled backup restore {self._from} --into "
            f"{self._beside('backup')}; chronicled verify --data {self._beside('backup')}",
        )

    # -- a new epoch ----------------------------------------------------------------------------

    def _go_on(
        self,
        action: str,
        local: Local,
        manifest: Manifest,
        version: str,
        missing: _Missing | None,
        reason: str,
    ) -> Outcome:
        """Append what is missing in the log that is here, and begin an epoch in it.

        The place is claimed first: a log that was killed while it fetched is in an earlier epoch
        than its place, however much it has got, and so begins one at the next start.
        """
        position = max(local.newest, manifest.shipped)
        db = open_writer(str(local.path))
        try:
            letters = newest_letter(db)
            newest = max(letters, manifest.letters)
            if self._skip_letters:
                # Which can be had is known before the place is told how many there are.
                self._append(db, manifest, None, letters)
                newest = newest_letter(db)
            epoch = self._new_epoch(manifest, position, newest, local)
            self._claim(manifest, version, epoch)
            self._append(db, manifest, missing, letters)
            with db:
                begin(db, manifest, epoch, self._place.objects.url, reason, self._now)
                tell_missing(db, manifest.log_id)
        except (ObjectMissing, ObjectDamaged) as error:
            raise self._incomplete(manifest, error) from None
        except apsw.Error as error:
            raise translate(error) from error
        finally:
            close(db)
        detail = f"complete up to position {position}; epoch {epoch.epoch} begins"
        return Outcome(action, detail, position, epoch.epoch)

    def _new_epoch(
        self, manifest: Manifest, after: int, letters: int, local: Local | None = None
    ) -> Epoch:
        head, epoch = (local.head, local.epoch) if local else (0, 0)
        return Epoch(
            epoch=max(manifest.epoch, epoch) + 1,
            after=after,
            first=max(manifest.reserved, after, head) + 1,
            letters=letters,
            reported_head=manifest.head,
            began=self._now,
        )

    def _claim(self, manifest: Manifest, version: str, epoch: Epoch) -> None:
        """Make this daemon the writer of the place; one of several that try succeeds.

        Raises:
            RestoreRefused: another one did.

        """
        claimed = manifest.model_copy(
            update={
                "sequence": manifest.sequence + 1,
                "writer": self._writer,
                "epoch": epoch.epoch,
                "epochs": (*manifest.epochs, epoch),
                "letters": min(manifest.letters, epoch.letters),
                "reserved": epoch.first + RESERVED_EVENTS,
            }
        )
        try:
            self._place.register.swap(claimed.content(), version)
        except SwapLost:
            raise RestoreRefused(
                "the manifest changed while the backup was read: another daemon ships to this "
                "place right now",
                hint="Stop the other daemon, or give this one another [backup] url.",
            ) from None
        except StoreUnavailable:
            # The answer may have been lost on its way.
            found = load(self._place.register)
            if found is None or found[0].writer != self._writer:
                raise

    @property
    def _quoted(self) -> str:
        return shlex.quote(str(self._data))

    def _beside(self, word: str) -> str:
        return shlex.quote(f"{self._data}.{word}")

    @property
    def _from(self) -> str:
        return f"--from {shlex.quote(self._place.objects.url)}"


def newest_letter(db: apsw.Connection) -> int:
    """Return the id of the newest dead letter, 0 when there is none."""
    newest: Any = db.execute("SELECT max(dead_letter_id) FROM dead_letters").get
    return newest or 0


def begin(
    db: apsw.Connection, manifest: Manifest, epoch: Epoch, location: str, reason: str, now: int
) -> None:
    """Begin an epoch in an open log, in one transaction."""
    position = begin_epoch(
        db,
        manifest.log_id,
        epoch=epoch.epoch,
        resume_after=epoch.first - 1,
        reported_head=epoch.reported_head,
        location=location,
        reason=reason,
        now=now,
    )
    if position != epoch.first:
        raise LogDamaged(f"epoch {epoch.epoch} begins at {position}, and should at {epoch.first}")
