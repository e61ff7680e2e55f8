"""Runs a step on a directory in processes that kill themselves before their n-th system call.

``python killed_steps.py put|swap|delete ROOT`` works in ROOT/1, ROOT/2, ...: the process that works
in ROOT/n dies before its n-th call that changes or syncs anything. It ends with the first process
that came through, and writes how many did not.
"""

from __future__ import annotations

import io
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from daemon.backup.directory_store import DirectoryRegister, DirectoryStore

CHANGING = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "fcntl.flock"}
CONTENT = bytes(range(256)) * 9000
"""Several pieces of what is copied at a time."""


def step_of(name: str, root: Path) -> Callable[[], object]:
    """Return the step of a name; what it needs to be there is made."""
    store, register = DirectoryStore(root), DirectoryRegister(root)
    if name == "put":
        source = io.BytesIO(CONTENT)
        return lambda: store.put_if_absent("segments/a", source, len(CONTENT), {"number": "1"})
    if name == "delete":
        store.put_if_absent("segments/a", io.BytesIO(CONTENT), len(CONTENT), {"number": "1"})
        return lambda: store.delete("segments/a")
    version = register.swap(b"one", None)
    return lambda: register.swap(b"two", version)


def die_before(number: int) -> None:
    """Have this process kill itself before its n-th changing call."""
    calls = itertools.count(1)

    def count() -> None:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sync = os.fsync

    def counted(descriptor: int) -> None:
        count()
        sync(descriptor)

    os.fsync = counted
    sys.addaudithook(lambda event, _: count() if event in CHANGING else None)


def survives(name: str, number: int, root: Path) -> bool:
    """Return whether a process got through a step before its n-th call."""
    step = step_of(name, root)
    child = os.fork()
    if not child:
        die_before(number)
        step()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not status:
        return True
    assert os.WTERMSIG(status) == signal.SIGKILL
    return False


if __name__ == "__main__":
    top = Path(sys.argv[2])
    killed = next(n for n in itertools.count(1) if survives(sys.argv[1], n, top / str(n))) - 1
    sys.stdout.write(f"{killed}\n")
