"""Replay: builds the views of any moment of the log into a file of their own.

It starts from the nearest of: the file itself (a replay that was ended goes on), checkpoints, and
the moments that are there already. Only the log is read, and nothing but the file, and checkpoints
on the way, is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from daemon.replay.checkpoints import Checkpoints, new_file, remove_database, require_room
from daemon.replay.upto import LogUpto
from domain.epochs import lost_before
from domain.errors import ChronicledError, Conflict
from projections import store as storage
from projections.runner import ProjectionRunner
from projections.seam import Feed, ProjectionStatus
from projections.whole import StartFolding

BATCH_EVENTS: Final = 20_000
"""How many events one transaction takes: nobody reads meanwhile."""
WORTH_A_COPY: Final = 2_000
"""A file that is at most so many events behind another is gone on with, and not replaced by it."""

Progress = Callable[[int, int], None]
"""Called with the position that is reached, and the goal."""


class Base(NamedTuple):
    """A file with the views of another moment, from which a replay may start."""

    position: int
    path: Path


class ReplayFailed(ChronicledError):
    """A projection could not be replayed up to the goal."""

    code = "replay_failed"
    title = "The replay failed"
    hint = "`chronicled verify` shows whether the log is sound; the detail names the event."


class NotAReplay(Conflict):
    """The file is there, and is not an earlier replay of this log."""

    code = "not_a_replay"
    title = "The file is something else"
    hint = "Name a file that is not there yet, or an earlier replay of the same log."


def replay(
    log: Feed,
    path: Path,
    position: int,
    *,
    checkpoints: Checkpoints | None = None,
    bases: Sequence[Base] = (),
    leaving: bool = False,
    folding: StartFolding | None = None,
    progress: Progress | None = None,
) -> int:
    """Build the views as of a position, and return how many positions were replayed for it.

    With ``leaving`` it leaves checkpoints on the way, which a later replay can start from;
    ``folding`` starts processes that fold for it where it begins at nothing.

    Raises:
        ReplayFailed: a projection failed before the position.
        StorageFailed, DiskFull: the disk refused.

    """
    head = log.head()
    start = _begin(path, position, checkpoints, bases)
    if not path.exists():
        new_file(path).close()
    upto = LogUpto(log)
    with closing(
        ProjectionRunner(path, upto, batch_events=BATCH_EVENTS, synchronous="OFF", folding=folding)
    ) as runner:
        for goal in _legs(start, position, checkpoints, head, leaving):
            upto.end = goal
            while runner.step(0) is not None:
                if progress is not None:
                    progress(_reached(runner.status()), position)
            _check(runner.status(), goal)
            if goal < position and checkpoints is not None:
                # The replay does without it.
                with suppress(ChronicledError):
                    checkpoints.save(path, head)
    lost = log.lost_stretches()
    return position - lost_before(position, lost) - start + lost_before(start, lost)


def _begin(
    path: Path, position: int, checkpoints: Checkpoints | None, bases: Sequence[Base]
) -> int:
    """Put the nearest views there are in the place of the file, if they are nearer than it is.

    Returns the position that the replay starts at.
    """
    own = position_in(path)
    if own is None or own > position:
        remove_database(path)
        own = None
    best = max((each for each in bases if each.position <= position), default=None)
    while True:
        checkpoint = checkpoints.nearest(position) if checkpoints is not None else None
        found = max(best.position if best else 0, checkpoint.position if checkpoint else 0)
        if found <= (own or 0) + (WORTH_A_COPY if own is not None else 0):
            return own or 0
        remove_database(path)
        if best is not None and best.position == found:
            require_room(path.parent, best.path)
            shutil.copyfile(best.path, path)
            path.chmod(0o600)
            return found
        if checkpoints is not None and checkpoint and checkpoints.take(checkpoint, path):
            return found
        own = None


def _legs(
    start: int, position: int, checkpoints: Checkpoints | None, head: int, leaving: bool
) -> Iterator[int]:
    """Yield where to stop for a checkpoint on the way, and the goal."""
    if leaving and checkpoints is not None and checkpoints.bounds.count:
        spacing = checkpoints.spacing(head)
        goal = checkpoints.beyond(start, spacing)
        while checkpoints.count(goal, position) > spacing // 2:
            yield goal
            goal = checkpoints.beyond(goal, spacing)
    yield position


def _reached(statuses: Sequence[ProjectionStatus]) -> int:
    return min(max(each.position, each.built or 0) for each in statuses)


def _check(statuses: Sequence[ProjectionStatus], goal: int) -> None:
    for each in statuses:
        if each.state != "live" or each.position != goal:
            why = each.error or f"it is {each.state} at {each.position}"
            raise ReplayFailed(f"{each.name} does not reach position {goal}: {why}")


def position_in(path: Path) -> int | None:
    """Return how far the views in a file are; None where there are none that can be gone on with.

    What failed in it may have failed because of the file: it is not tried again.
    """
    if not path.exists():
        return None
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            found = storage.list_generations(db)
            if any(each.error for each in found):
                return None
            return min((each.position for each in found), default=0)
    except apsw.Error:
        return None


def check_target(path: Path, log: Feed) -> None:
    """Raise unless a replay may be written to a file: there is none, or an earlier one of the log.

    Raises:
        NotAReplay: it is something else.

    """
    if not path.exists():
        return
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            ours = db.pragma("application_id") == storage.APPLICATION_ID
            whose = storage.read_meta(db).get("log_id") if ours else None
    except apsw.Error:
        ours, whose = False, None
    if not ours:
        raise NotAReplay(f"{path} is not a replay.")
    if whose != log.log_id:
        raise NotAReplay(f"{path} is a replay of another log.")
