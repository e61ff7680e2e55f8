"""How large everything is: what can be told at once, and the last measure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from daemon.lifecycle import Clock
from daemon.settings import SizeSettings
from daemon.size.disk import Lines, room_of
from daemon.size.figures import Measured, keep_measured, read_measured
from daemon.size.forecast import Forecast, Rates, forecast, forecast_room, rates_of
from daemon.size.guard import Disk, DiskState
from daemon.size.measure import Files, Measurement, Progress, room_by_name
from daemon.size.reserve import FILE as RESERVE_FILE
from daemon.size.reserve import Reserve
from domain.errors import NotReady

LOG_FILES: Final = ("log.db", "log.db-wal", "log.db-shm")


class SizeBoard:
    """What is known of the sizes of one data directory; from any thread.

    ``guarded`` returns what the guard saw last; without one the disk is looked at when asked.
    """

    def __init__(self, files: Files, settings: SizeSettings, clock: Clock) -> None:
        self.files = files
        self.settings = settings
        self.guarded: Callable[[], Disk] | None = None
        self._clock = clock
        self._measured: Measured | None = None
        self._read = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    @property
    def measured(self) -> Measured | None:
        """The last measure; None where there was none yet."""
        if not self._read:
            self._measured, self._read = read_measured(self.files.folder), True
        return self._measured

    def stop(self) -> None:
        """Have a measure that is at work end early."""
        self._stopping.set()

    def measure(self, progress: Progress = lambda *_: None) -> Measured:
        """Measure everything and keep what was found; one measure at a time.

        Raises:
            NotReady: one is being made already, or the daemon stops.
            StorageFailed, LogDamaged: a file cannot be read.

        """
        if not self._lock.acquire(blocking=False):
            raise NotReady("The sizes are being measured already.")
        try:

            def told(done: int, total: int) -> None:
                if self._stopping.is_set():
                    raise NotReady("The measure ended early because the daemon stops.")
                progress(done, total)

            work = Measurement(self.files, self._clock(), self.measured, told, self._rest)
            found = work.run(lambda: data_size(self.by_name()))
            self._measured = found
            keep_measured(self.files.folder, found)
            return found
        finally:
            self._lock.release()

    def _rest(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def by_name(self) -> dict[str, int]:
        """Return what each file and folder of the data directory takes now (bytes)."""
        return dict(room_by_name(self.files.folder))

    def disk(self) -> Disk:
        """Return how the disk stands.

        Raises:
            OSError: the file system does not say.

        """
        if self.guarded is not None:
            return self.guarded()
        room = room_of(self.files.folder)
        lines = Lines.of(self.settings, room.total)
        held = Reserve(self.files.folder).held
        return Disk(_state(room.free, lines), room.total, room.free, held, lines)

    def guarded_disk(self) -> Disk | None:
        """Return what the guard saw last; None where there is no guard."""
        return None if self.guarded is None else self.guarded()

    def rates(self) -> Rates | None:
        """Return how things grow, None where that is not known."""
        return None if self.measured is None else rates_of(self.measured)

    def forecasts(self, sizes: dict[str, int], disk: Disk) -> list[Forecast]:
        """Return when each line that is set is reached."""
        rates = self.rates()
        log, data = (None, None) if rates is None else rates
        found = []
        if self.settings.log_bytes:
            found.append(forecast("log_bytes", self.settings.log_bytes, log_size(sizes), log))
        if self.settings.data_bytes:
            present = data_size(sizes)
            found.append(forecast("data_bytes", self.settings.data_bytes, present, data))
        for what, line in (("disk_warn", disk.lines.warn), ("disk_refuse", disk.lines.refuse)):
            if line:
                found.append(forecast_room(what, line, disk.free, data))
        return found


def log_size(sizes: dict[str, int]) -> int:
    """Return what the log takes, with what SQLite keeps beside it."""
    return sum(sizes.get(name, 0) for name in LOG_FILES)


def data_size(sizes: dict[str, int]) -> int:
    """Return what the data directory takes, without what is only held in reserve."""
    return sum(sizes.values()) - sizes.get(RESERVE_FILE, 0)


def _state(free: int, lines: Lines) -> DiskState:
    if free < lines.refuse:
        return DiskState.REFUSING
    return DiskState.LOW if free < lines.warn else DiskState.OK
