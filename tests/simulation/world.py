"""A simulated world: one daemon after another, its clients, its operator, its disk and its store.

Everything that happens follows from the seed. A step lets one of them do something; after all
steps the faults end, the daemon comes to rest, and what has to hold is judged.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

import apsw
from disk import Connection, Disk
from faults import Faults
from http_clients import Follower, Reader, Writer
from life import Life
from operator_ import Operator
from oracle import Broken, Oracle
from place import Bucket
from resting import EXPECTED, judge_all, rest
from results import Results
from swarm import DISK_FAULTS, STORE_FAULTS, Swarm

import daemon.backup.tidying
import daemon.emptying
import daemon.eventlog.truncation
import daemon.eventlog.writer
import daemon.replay.verify
from daemon.backup.manifest import load
from daemon.config import load as load_config
from daemon.lock import LOG_FILE
from domain.errors import NotReady, QueueFull
from domain.timestamps import MICROSECONDS, format_timestamp

START: Final = 1_767_225_600 * MICROSECONDS
"""2026-01-01T00:00:00Z."""
HOUR: Final = 3600 * MICROSECONDS


class World:
    """One simulation; ``folder`` is empty, and its own."""

    def __init__(self, seed: int, folder: Path, *, synchronous: str = "FULL") -> None:
        self.seed = seed
        self.random = Random(seed)
        self.swarm = Swarm.of(self.random)
        self.faults = Faults(self.random)
        self.faults.on_kill = self._killed_inside
        self.faults.on_slow = self._is_slow
        self.now = START
        self.data = folder / "data"
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.disk = Disk(self.data, self.faults)
        self.bucket = Bucket(self.faults)
        self.oracle = Oracle()
        self.did: Counter[str] = Counter()
        self.life: Life | None = None
        self._image: dict[str, bytes] | None = None
        self._ends_by_power = False
        self.doubtful = False
        """Whether something went wrong since the daemon last came to rest."""
        self._due: dict[str, int] = {}
        self._jumped = 0
        self._trace = blake2b(digest_size=8)
        self.lives = 0
        file = folder / "chronicled.toml"
        self.results = Results(folder / "results")
        file.write_text(self.swarm.toml(synchronous, self.results.root))
        self.config = load_config(data=self.data, file=file, environment={})
        number = self.random.random
        names = range(self.swarm.clients)
        self.writers = [Writer(f"w{n}", self.oracle, Random(number()), self.results) for n in names]
        self.readers = [Reader(self.oracle, Random(number())) for _ in range(2)]
        self.followers = [Follower(self.oracle) for _ in range(2)]
        self.operator = Operator(self)
        self._undo = ExitStack()
        self._shrink()
        self.disk.beside = self._beside
        self._broken: Broken | None = None
        self._threads = set(threading.enumerate())
        self._cut = self._cut_soon = False

    def _shrink(self) -> None:
        """Make bounds small that are no settings, and let names follow from the seed."""
        knobs, names = self.swarm.knobs, Random(self.seed)
        patch = self._undo.enter_context
        patch(mock.patch.object(apsw, "Connection", Connection))
        for name in ("monotonic", "thread_time"):
            patch(mock.patch.object(time, name, self.seconds))
        patch(mock.patch.object(time, "time", lambda: self.now / MICROSECONDS))  # noqa: PT008
        patch(mock.patch.object(time, "time_ns", self.nanoseconds))
        writer, truncation = daemon.eventlog.writer, daemon.eventlog.truncation
        patch(mock.patch.object(writer, "CHECKPOINT_PAGES", knobs["checkpoint_pages"]))
        here = SimpleNamespace(start=lambda *_: None)
        patch(mock.patch.object(daemon.replay.verify, "FoldingChildren", here))
        patch(mock.patch.object(os, "open", self.disk.open))
        patch(mock.patch.object(os, "fsync", self.disk.fsync))
        patch(mock.patch.object(daemon.emptying, "renew_wal", self.disk.renew_wal))
        patch(mock.patch.object(daemon.backup.tidying, "MERGED_MIN", knobs["merged_min"]))
        patch(mock.patch.object(truncation, "ROWS_MAX", knobs["rows_max"]))
        patch(mock.patch.object(truncation, "FREE_PAGES_MIN", knobs["free_pages"]))
        patch(mock.patch.object(truncation, "TOLD_MIN", knobs["told_min"]))

        waited = threading.Event.wait

        def wait(event: threading.Event, timeout: float | None = None) -> bool:
            """Let the time pass that somebody rests; there is nobody who could end it sooner."""
            if timeout is None or event.is_set():
                return waited(event, timeout)
            self.pass_time(timeout)
            return False

        patch(mock.patch.object(threading.Event, "wait", wait))

        def uuid4() -> Any:
            import uuid

            return uuid.UUID(int=names.getrandbits(128), version=4)

        patch(mock.patch("uuid.uuid4", uuid4))

    # -- time -----------------------------------------------------------------------------------

    def clock(self) -> int:
        """Return the time; each look takes a moment."""
        self.now += 1
        return self.now

    def seconds(self) -> float:
        """Return the time that has passed (seconds), however the clock was set meanwhile."""
        return self.steady / MICROSECONDS

    @property
    def steady(self) -> int:
        """The time that has passed, in microseconds."""
        return self.now - self._jumped

    def nanoseconds(self) -> int:
        """Return the time (nanoseconds)."""
        return self.now * 1000

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * MICROSECONDS)

    @property
    def digest(self) -> str:
        """What happened, in short: the same for the same seed and code."""
        return self._trace.hexdigest()

    def note(self, *words: object) -> None:
        """Note what happens."""
        text = " ".join(map(str, words))
        self._trace.update(text.encode() + b"\n")
        logging.getLogger("simulation").debug("%d %s", self.now - START, text)

    def _is_slow(self) -> None:
        """Let a call to the disk or the store take long."""
        self.pass_time(self.random.choice((0.05, 0.5, 3, 20)))

    # -- a step ---------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """Take so many steps, come to rest, and judge."""
        for number in range(steps):
            self.step(number)
        rest(self)
        judge_all(self)

    def step(self, number: int) -> None:
        """Let somebody do something."""
        if self.life is None:
            self.start()
            return
        if self._cut_soon and self.random.random() < 0.1:
            act = self._cut_power
        elif self.random.random() < self.swarm.daring:
            act = self._go_wrong
        else:
            act = self.random.choices(*zip(*self._acts(), strict=True))[0]
        self.did[act.__name__.strip("_")] += 1
        self.note(number, act.__name__)
        self._guarded(act)

    def _acts(self) -> list[tuple[Callable[[], None], float]]:
        return [
            (self._write, 26),
            (self._read, 6),
            (self.look, 14),
            (self._commit, 16),
            (self._serve, 30),
            (self._wait, 6),
            (self.operator.act, 3),
            (self._restart, 0.4),
            (self._rest, 0.4),
        ]

    def _guarded(self, act: Callable[[], None]) -> None:
        """Do something that may fail where something is wrong, and may end the process."""
        self.oracle.calm = not self.doubtful and act != self._restart
        try:
            act()
        except (QueueFull, NotReady) as error:
            self.note("waits", type(error).__name__)
        except EXPECTED as error:
            self.note("failed", type(error).__name__)
            if not (self.doubtful or self.faults.dead):
                raise Broken(f"{act.__name__} failed, and nothing is wrong: {error!r}") from error
        if self._broken is not None:
            raise self._broken
        if self.faults.dead:
            self._bury()
        self._check_quiet(act.__name__)

    # -- clients --------------------------------------------------------------------------------

    def _write(self) -> None:
        assert self.life is not None
        free = [writer for writer in self.writers if not writer.client.busy]
        for writer in free[: self.random.randint(1, 3)]:
            back = self.random.choice((0, 0, 0, 5, 3600)) * MICROSECONDS
            writer.send(self.life, format_timestamp(self.now - back), self.swarm.jobs)
        self.life.pump()

    def _read(self) -> None:
        assert self.life is not None
        for reader in self.readers:
            if not reader.client.busy:
                reader.ask(self.life, self.swarm.jobs)
        self.look()

    def look(self) -> None:
        """Let the clients take what came."""
        life = self.life
        assert life is not None
        life.pump()
        if self.faults.dead:
            return
        for each in (*self.writers, *self.readers):
            each.client.look()
        for follower in self.followers:
            follower.look(life)
        life.pump()
        self._check_bounds(life)

    def _beside(self) -> None:
        """Let the event loop and the clients go on while the writer waits for its disk."""
        life = self.life
        if life is None or self.faults.dead or self._broken or not life.idle:
            return
        if self.random.random() < 0.3:
            try:
                self.look()
            except Broken as error:
                # It would end in SQLite.
                self._broken = error

    def _check_bounds(self, life: Life) -> None:
        """Require that what waits stays within its bounds."""
        waiting = life.log.writer.queued_events
        if waiting > self.swarm.knobs["queue_events"]:
            raise Broken(f"{waiting} events wait for the writer")
        if life.context.clients.open > len(self.followers) + 8:
            raise Broken(f"{life.context.clients.open} streams are open")

    def _check_quiet(self, act: str) -> None:
        """Require that nothing goes on when a step is over: no thread, and no transaction."""
        if others := set(threading.enumerate()) - self._threads:
            raise Broken(f"{act} began {others}")
        for connection in Connection.opened:
            if connection.is_within():
                raise Broken(f"{act} left a transaction on {connection.filename}")

    # -- the daemon -----------------------------------------------------------------------------

    def _commit(self) -> None:
        assert self.life is not None
        self.life.log.writer.step(self.clock())
        if self.random.random() < 0.7:
            self.look()

    def _rest(self) -> None:
        """End the faults for now: what fails behind this has no excuse in what went before."""
        rest(self)

    def _serve(self) -> None:
        """Let one of the services do a step: one that is due, or one that was woken."""
        assert self.life is not None
        services = self.life.services
        due = [
            service
            for service in services
            if service.woken.is_set() or self._due.get(service.name, 0) <= self.steady
        ]
        self.drive(self.random.choice(due or services))

    def drive(self, service: Any) -> None:
        """Let a service do a step."""
        service.woken.clear()
        self.did[f"service {service.name}"] += 1
        self.note("service", service.name)
        self._due[service.name] = self.steady + MICROSECONDS
        delay = service.step(self.clock())
        rest = 365 * 24 * HOUR if delay is None else round(delay * MICROSECONDS)
        self._due[service.name] = self.steady + rest

    def _wait(self) -> None:
        seconds = self.random.choice((0.01, 0.1, 1, 1, 5, 30, 60, 600, 3600, 3600, 12 * 3600))
        self.pass_time(seconds)

    def start(self) -> None:
        """Start the daemon; while something is wrong it may say that it cannot."""
        if self.random.random() < 0.2 and self.faults.armed:
            self.faults.heal()
        self.lives += 1
        self.note("start")
        try:
            self.life = Life(self.config, self.clock, self.bucket, self.pass_time)
        except EXPECTED as error:
            self.note("does not start", type(error).__name__)
            if not (self.doubtful or self.faults.dead):
                raise Broken(f"the daemon does not start: {error!r}") from error
            self.faults.heal()
        self._due.clear()
        if self.faults.dead:
            self._bury()
        elif self.life is not None:
            self.note("started", self.life.recovered.action, self.life.log.head())

    def _restart(self) -> None:
        """Stop and start, as an operator does it."""
        assert self.life is not None
        self.life.drain()
        self.look()
        if not self.faults.dead:
            self.life.stop()
        if not self.faults.dead:
            self._gone()

    def _gone(self) -> None:
        for each in (*self.writers, *self.readers):
            each.client.cut_off()
        for follower in self.followers:
            follower.cut_off()
        self.life = None

    # -- what goes wrong ------------------------------------------------------------------------

    def _go_wrong(self) -> None:
        kinds = sorted(self.swarm.kinds)
        if not kinds:
            return
        random, kind = self.random, self.random.choice(kinds)
        self.note("goes wrong:", kind)
        self.doubtful = True
        times = random.choice((1, 1, 1, 3, 30))
        if kind in DISK_FAULTS:
            word = random.choice(DISK_FAULTS[kind])
            name = random.choice(("*", "*/log.db*", "*-wal", "*/views.db*"))
            self.faults.arm(kind, word, name, skip=random.choice((0, 0, 1, 4, 20)), times=times)
        elif kind in STORE_FAULTS:
            word = random.choice(STORE_FAULTS[kind])
            self.faults.arm(kind, word, skip=random.choice((0, 0, 1, 3)), times=times)
        elif kind.endswith("inside"):
            self._ends_by_power = kind.startswith("power")
            if random.random() < 0.3:
                self.faults.arm_kill_at_sync()
            else:
                self.faults.arm_kill(random.choice((1, 3, 10, 40, 150)))
        elif kind in ("kill", "power cut"):
            self.faults.fired[kind] += 1
            self._end(power_cut=kind == "power cut")
        elif kind == "disk lost":
            self._lose_disk()
        elif kind == "client leaves":
            self.faults.fired[kind] += 1
            random.choice((*self.writers, *self.readers)).client.leave()
        else:
            self.faults.fired[kind] += 1
            jump = random.choice((60, 3600, 30 * 3600)) * MICROSECONDS
            jump = -jump if kind == "clock back" else jump
            self.oracle.clock_is_even &= jump > 0
            self.now += jump
            self._jumped += jump

    def _cut_power(self) -> None:
        """Cut the power not long after a kill: what the killed process wrote may not be durable."""
        self._cut_soon, self.doubtful = False, True
        self.faults.fired["power cut"] += 1
        self._end(power_cut=True)

    def _killed_inside(self) -> None:
        kind = "power cut inside" if self._ends_by_power else "kill inside"
        self._cut_soon = "power cut" in self.swarm.kinds and self.random.random() < 0.5
        self.faults.fired[kind] += 1
        self._end(power_cut=self._ends_by_power)

    def _end(self, *, power_cut: bool) -> None:
        """End the process here and now: what the disk has is what is left."""
        self._image, self._cut = self.disk.image(power_cut=power_cut), power_cut
        self.faults.dead = True

    def _bury(self) -> None:
        """Close the files of a process that has ended, and leave what the disk had."""
        if self.life is not None:
            self.life.abandon()
        Connection.close_all()
        assert self._image is not None
        self.disk.settle(self._image, power_cut=self._cut)
        self._image = None
        self.faults.dead = False
        self.faults.heal()
        self._gone()
        self.note("ended")
        if (self.data / LOG_FILE).exists():
            self.oracle.judge(self.data / LOG_FILE, self.scratch)

    def _lose_disk(self) -> None:
        """Take the data directory away, where there is a backup to come back from."""
        held = load(self.bucket.place(self.config.backup.url).register)
        if not (shipped := held[0].shipped if held else 0):
            return
        self.faults.fired["disk lost"] += 1
        self._end(power_cut=False)
        self._image = {}
        self.oracle.lose_beyond(shipped)
        self.operator.lose_beyond(shipped)
        for follower in self.followers:
            follower.lost(shipped)
        self.note("disk lost", shipped)

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of everything."""
        self.faults.dead = True
        if self.life is not None:
            self.life.abandon()
        self._undo.close()
        self.disk.unregister()
        shutil.rmtree(self.data, ignore_errors=True)
