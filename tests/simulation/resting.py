"""How a simulation comes to rest, and what has to hold of a daemon that has."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import apsw
from oracle import Broken
from proofs import prove, remembered

from daemon.lock import LOG_FILE
from domain.errors import ChronicledError
from domain.timestamps import MICROSECONDS, format_timestamp

if TYPE_CHECKING:
    from life import Life
    from world import World

EXPECTED: Final = (ChronicledError, apsw.Error, OSError, SystemError)
"""What a step may fail with while something is wrong."""
_ROUNDS: Final = 400
"""So many rounds over all services, an hour in all, a daemon without faults has to come to rest."""
_DAYS_AHEAD: Final = 10
"""So far ahead a clock may have been when something was redacted."""


def rest(world: World) -> None:
    """End the faults, and let the daemon do all that is left to do.

    Raises:
        Broken: it does not start, come to rest, or take what it is sent.

    """
    world.faults.heal()
    for _ in range(5):
        if world.life is not None:
            break
        world.start()
    if world.life is None:
        raise Broken("the daemon does not start although nothing is wrong any more")
    _settle(world, world.life)
    world.doubtful, world.oracle.calm = False, True
    _require_open(world, world.life)
    _settle(world, world.life)


def _settle(world: World, life: Life) -> None:
    for number in range(_ROUNDS):
        world.now += 10 * MICROSECONDS
        for service in life.services:
            with suppress(*(EXPECTED if number < _ROUNDS // 2 and world.doubtful else ())):
                world.drive(service)
        world.look()
        if number > 3 and not _unrest(world, life):
            return
    raise Broken(f"the daemon does not come to rest: {_unrest(world, life)}")


def _require_open(world: World, life: Life) -> None:
    """Require that each client is answered, and not told to wait."""
    for writer in world.writers:
        writer.send(life, format_timestamp(world.now), world.swarm.jobs)
        life.pump()
        life.log.writer.step(world.clock())
        world.look()
        if writer.client.busy:
            raise Broken("a daemon at rest does not answer")
        if writer.client.status >= 500:
            raise Broken(f"a daemon at rest answered {writer.client.status}")


def _unrest(world: World, life: Life) -> list[str]:
    """Return what is left to do."""
    head, found = life.log.head(), []
    if life.log.writer.queued_events or not life.log.health.ok:
        found.append(f"the writer: {life.log.health}")
    if life.runner.position < head or not life.runner.caught_up:
        found.append(f"the projections are at {life.runner.position} of {head}")
    failed = [each.name for each in life.runner.status() if each.state != "live"]
    if failed:
        found.append(f"not live: {failed}")
    status = life.backup.status()
    if status.shipped < head:
        found.append(f"the backup is at {status.shipped} of {head}: {status}")
    if any(each.client.busy for each in (*world.writers, *world.readers)):
        found.append("somebody waits for an answer")
    newest = life.log.position_upto(head)
    if any(follower.last < newest for follower in world.followers):
        found.append("a follower of the stream is behind")
    assert life.context.truncation is not None
    if life.log.pending_removals(outside=False) or life.log.pending_removals(outside=True):
        found.append(f"removals wait: {life.context.truncation.board}")
    if life.context.redaction is not None and life.context.redaction._pending() is not None:
        found.append("a redaction is not cleansed")
    return found


def _let_forget(world: World, life: Life) -> None:
    """Let the backup forget what was redacted: a day later, where the clock was not ahead then.

    It looks every ten minutes, and needs a snapshot of its own first.
    """
    for hours in (26, 1, 1, *(26, 1, 1) * _DAYS_AHEAD):
        world.pass_time(hours * 3600)
        _settle(world, life)
        if (left := remembered(world)) is None:
            return
    raise Broken(f"what was redacted is still in the backup: {left}")


def judge_all(world: World) -> None:
    """Stop the daemon and judge everything that is left."""
    life = world.life
    assert life is not None
    if world.operator.redacted:
        _let_forget(world, life)
    head = life.log.head()
    world.oracle.calm = False
    life.drain()
    life.stop()
    world.life = None
    recorded = world.oracle.judge(world.data / LOG_FILE, world.scratch)
    world.did.update(f"recorded {row.type}" for row in recorded.rows.values())
    world.did["recorded removals"] += len(recorded.runs)
    for follower in world.followers:
        missed = {each for each in recorded.rows if each <= head} - follower.seen
        if missed:
            raise Broken(f"a follower of the stream missed {sorted(missed)[:10]} of {head}")
    prove(world)
