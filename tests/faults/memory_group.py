"""A memory cgroup: the processes in it get no more memory than it has; version 1 or 2."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waiting import wait_until

ROOT = Path("/sys/fs/cgroup")
_FIRST = ROOT / "memory"


class MemoryGroup:
    """One group; made and removed by `memory_group`."""

    def __init__(self, name: str) -> None:
        """Make it."""
        self._first = _FIRST.is_dir()
        self.path = (_FIRST if self._first else ROOT) / name
        self.path.mkdir()

    def add(self, pid: int) -> None:
        """Move a process into it."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def pids(self) -> list[int]:
        """Return the processes in it."""
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def used(self) -> int:
        """Return how much memory they use that cannot be given back (bytes)."""
        names = ("rss",) if self._first else ("anon",)
        lines = (line.split() for line in (self.path / "memory.stat").read_text().splitlines())
        return sum(int(value) for name, value in lines if name in names)

    def limit(self, size: int) -> None:
        """Bound the memory (bytes)."""
        name = "memory.limit_in_bytes" if self._first else "memory.max"
        (self.path / name).write_text(str(size))

    def kills(self) -> int:
        """Return how many processes were killed for want of memory."""
        name = "memory.oom_control" if self._first else "memory.events"
        lines = (line.split() for line in (self.path / name).read_text().splitlines())
        return sum(int(value) for word, value in lines if word == "oom_kill")


@contextmanager
def memory_group(name: str) -> Iterator[MemoryGroup]:
    """Have a group for a while; what is in it at the end is killed."""
    group = MemoryGroup(name)
    try:
        yield group
    finally:
        wait_until(lambda: not _rest(group), "the group is empty")
        group.path.rmdir()


def _rest(group: MemoryGroup) -> list[int]:
    for pid in (pids := group.pids()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids
