"""Archives, restores or purges a job in processes that kill themselves before their n-th step.

``python killed_archives.py archive|again|restore|purge ROOT STRIDE`` prepares ROOT/prepared, and
works in copies ROOT/1, ROOT/2, ...: the process that works in ROOT/n dies before step STRIDE * n:
a call that changes or syncs a file, or the beginning or the end of a transaction of the log. It
ends with the first process that came through, and writes how many did not.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archive_site import Site

from daemon.eventlog.log import EventLog

CHANGING = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}


def prepare(folder: Path, step: str) -> None:
    """Make a site with the job ``j1``; archived once, and gone on, unless it is to be archived."""
    folder.mkdir()
    with Site(folder) as site:
        site.job("j0", one=b"another job's")
        site.job("j1", one=b"GFF one" * 1000, two=b"GFF two" * 1000)
        site.project(site.log.head())
        if step != "archive":
            site.store_job("j1")
        if step == "again":
            site.truncate()
            site.archive.restorer.restore("j1", None, None, lambda *_: None)
            site.record("job.retried", "j1", {"next": "j2"})
            site.result("j1", "three.gff3", b"GFF three")
        site.project(site.log.head())


def perform(site: Site, step: str) -> None:
    """Do the step."""
    if step in ("archive", "again"):
        site.store_job("j1")
    elif step == "restore":
        site.archive.restorer.restore("j1", None, None, lambda *_: None)
    else:
        site.purge("j1")
        site.settle()


def die_before(number: int) -> None:
    """Have this process kill itself before its n-th step."""
    steps = itertools.count(1)

    def count() -> None:
        if next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            count()
            answer = call(*arguments, **more)
            if after:
                count()
            return answer

        return run

    os.fsync = counted(os.fsync)
    EventLog.work = counted(EventLog.work, after=True)  # type: ignore[method-assign]
    EventLog.append = counted(EventLog.append, after=True)  # type: ignore[method-assign]

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGING and not (event == "open" and arguments[1] == "r"):
            count()

    sys.addaudithook(heard)


def survives(step: str, number: int, folder: Path) -> bool:
    """Return whether a process got through a step before its n-th call."""
    child = os.fork()
    if not child:
        with Site(folder) as site:
            site.project(site.log.head())
            die_before(number)
            perform(site, step)
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if not status:
        return True
    assert os.WTERMSIG(status) == signal.SIGKILL
    return False


def main(step: str, top: Path, stride: int) -> None:
    """Work in one copy after another."""
    prepare(top / "prepared", step)
    for number in itertools.count(1):
        shutil.copytree(top / "prepared", top / str(number))
        if survives(step, number * stride, top / str(number)):
            sys.stdout.write(f"{number - 1}\n")
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
