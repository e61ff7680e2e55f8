"""The operator of a simulated daemon: asks for backups, rebuilds, housekeeping, redactions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from http_clients import secret_of
from oracle import Broken, Key
from proofs import prove_redactions

from daemon.archive.errors import NotArchived
from daemon.archive.marker import find_marker
from daemon.backup.errors import NoBackup
from daemon.backup.status import Kind, unwatched
from daemon.redaction.redacting import Redaction
from domain.errors import ChronicledError, Conflict, Invalid, NotFound, NotReady
from domain.lives import PURGED

if TYPE_CHECKING:
    from life import Life
    from world import World


class Operator:
    """Does one thing at a time; what it had redacted has to be gone everywhere."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.redacted: list[tuple[str, int]] = []
        """What was taken out, and the position of the event that says so."""

    def lose_beyond(self, position: int) -> None:
        """Forget the redactions that were lost with a disk."""
        self.redacted = [each for each in self.redacted if each[1] <= position]

    def act(self) -> None:
        """Do something."""
        world, life = self._world, self._world.life
        assert life is not None
        what = world.random.choice(
            ("create", "prove", "prune", "rebuild", "keep house", "keep house", "redact", "pin",
             "bring back")
        )  # fmt: skip
        world.did[f"operator {what}"] += 1
        world.note("operator", what)
        if what in ("create", "prove", "prune"):
            self._back_up(life, Kind(what))
        elif what == "rebuild":
            names = sorted(each.name for each in life.runner.status())
            life.runner.request_rebuild(world.random.choice([None, *names]))
        elif what == "keep house":
            self._keep_house(life)
        elif what == "redact":
            self._redact(life)
        elif what == "pin":
            self._pin(life)
        else:
            self._bring_back(life)

    def _back_up(self, life: Life, kind: Kind) -> None:
        try:
            life.backup.perform(kind, {}, unwatched)
        except (NotReady, NoBackup):
            return
        except ChronicledError as error:
            if self._world.oracle.calm:
                raise Broken(f"{kind} failed, and nothing is wrong: {error!r}") from error

    def _keep_house(self, life: Life) -> None:
        assert life.context.maintenance is not None
        task = self._world.random.choice(("retention", "vacuum", "size", "scrub"))
        with suppress(NotReady):
            life.context.maintenance.ask(task, "operator")

    def _redact(self, life: Life) -> None:
        """Take one of the secrets out that are in the log."""
        found = self._find_secret()
        if found is None:
            return
        key, position, pointer, secret = found
        self._world.oracle.redacted.add(key)
        assert life.context.redaction is not None
        redaction = Redaction(position, pointer, "asked for", "operator")
        try:
            done = life.context.redaction.redact(redaction, unwatched)
        except (NotFound, Conflict):
            return
        except Invalid:
            # An event that is older than a purge was acknowledged with the purge's position.
            if life.log.read(position - 1, 1)[0].type in PURGED:
                return
            raise
        finally:
            self._world.note("redacted", position)
        if done["event"] is not None:
            self.redacted.append((secret, done["event"]))
            # It was said to be gone: also out of the write-ahead logs, which a stop would remove.
            prove_redactions(self._world)

    def _find_secret(self) -> tuple[Key, int, str, str] | None:
        oracle = self._world.oracle
        for key, places in oracle.claims.items():
            found = secret_of(oracle.sent[key][0])
            if found and key not in oracle.redacted:
                return key, min(places), *found
        return None

    def _pin(self, life: Life) -> None:
        job = f"job-{self._world.random.randrange(self._world.swarm.jobs)}"
        pinned = self._world.oracle.pinned

        def answered(outcome: object) -> None:
            for receipt in getattr(outcome, "receipts", ()):
                pinned[f"job/{job}"] = receipt.position

        self._send(life, "job.pinned", job, {"reason": "asked for"}, answered)

    def _send(
        self,
        life: Life,
        type_: str,
        subject: str,
        data: dict[str, Any],
        answered: Callable[[object], None],
    ) -> None:
        from daemon.eventlog.requests import Append
        from domain.catalog import validate_payload
        from domain.events import NewEvent

        id_ = f"{type_}-{self._world.now}"
        event = NewEvent(type_, subject, "/operator", id_, validate_payload(type_, data))
        life.log.submit(Append([event]), answered)

    def _bring_back(self, life: Life) -> None:
        archive = life.context.archive
        if archive is None:
            return
        jobs = [f"job-{number}" for number in range(self._world.swarm.jobs)]
        archived = [job for job in jobs if find_marker(life.log, job) is not None]
        job = self._world.random.choice(archived or jobs)
        with suppress(NotFound, Conflict, NotArchived):
            archive.restorer.restore(job, "asked for", "operator", unwatched)
