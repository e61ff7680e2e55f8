"""Bugs that are planted to see that a simulation finds them.

``python tests/simulation --mutants`` plants each in turn, and simulates seed after seed until one
of them finds it. A bug is an edit of a function's text, so that one which no longer fits the code
is an error, and not a bug that is never there.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Final


@dataclass(frozen=True)
class Edit:
    """A function (``module:qualified.name``), a part of its text, and what stands there instead."""

    function: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A bug: edits of the code, or options of the world that stand for one."""

    edits: tuple[Edit, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


_WRITER: Final = "daemon.eventlog.writer:Writer"
_TRANSACTION: Final = "daemon.eventlog.transaction:Transaction"

MUTANTS: Final[Mapping[str, Mutant]] = {
    "acknowledges before the commit": Mutant(
        (
            Edit(
                f"{_WRITER}._step_group",
                "outcomes = self._commit(",
                "self.early, self.told = group, set()\n    outcomes = self._commit(",
            ),
            Edit(
                f"{_WRITER}._step_group",
                "zip(group, outcomes, strict=True)",
                "[each for each in zip(group, outcomes) if id(each[0]) not in self.told]",
            ),
            Edit(
                f"{_WRITER}._commit",
                'self._connection.execute("COMMIT")',
                "early = [e for e in zip(self.early, outcomes) if isinstance(e[0][0], Append)]; "
                "self.told |= {id(waiting) for waiting, _ in early}; "
                "[_call(waiting[1], outcome) for waiting, outcome in early]; "
                'self._end_group(); self._connection.execute("COMMIT")',
            ),
        )
    ),
    "synchronous is NORMAL": Mutant(options={"synchronous": "NORMAL"}),
    "looks for no repeats": Mutant(
        (
            Edit(
                f"{_TRANSACTION}._append_events",
                "id_, key, extensions, data,",
                "id_, sha256(key + digest).digest()[:16], extensions, data,",
            ),
        )
    ),
    "drops the last event of a full batch": Mutant(
        (
            Edit(
                f"{_TRANSACTION}.flush",
                'SQL["insert_event"], self._events)',
                'SQL["insert_event"], self._events[:-1 if len(self._events) >= 10 else None])',
            ),
        )
    ),
    "a projection forgets its position": Mutant(
        (
            Edit(
                "projections.runner:ProjectionRunner._apply_stretch",
                "store.advance(member.generation)",
                'member.generation.name == "summary" or store.advance(member.generation)',
            ),
        )
    ),
    "a refused batch leaves its first events": Mutant(
        (Edit(f"{_TRANSACTION}.append", "self.undo(mark)", "pass"),)
    ),
    "a checkpoint does not sync": Mutant(
        (
            Edit(
                "daemon.eventlog.checkpointer:Checkpointer._writable",
                '"synchronous", "FULL"',
                '"synchronous", "OFF"',
            ),
        )
    ),
    "a stream goes on one event too late": Mutant(
        (Edit("daemon.api.events:_follow", "yield _RETRY", "yield _RETRY\n    position += 1"),)
    ),
    "events go before the views are on disk": Mutant(
        (Edit("daemon.background:_removable", "context.sync_views()", "None"),)
    ),
    "a segment is told of and not stored": Mutant(
        (Edit("daemon.backup.shipper:Shipper._ship", "self._put(self._sealed)", "pass"),)
    ),
    "an object goes while the manifest speaks of it": Mutant(
        (Edit("daemon.backup.tidying:Tidying.remove", "self._ledger.change(declare)", "pass"),)
    ),
    "a redaction leaves the views as they are": Mutant(
        (
            Edit(
                "daemon.redaction.cleansing:Cleansing._cleanse",
                "rebuild_anew(context.runner, progress)",
                "pass",
            ),
        )
    ),
    "what a killed process wrote is not synced": Mutant(
        (Edit("daemon.emptying:make_durable", "renew_wal(path)", "pass"),)
    ),
    "an expected version is a least one": Mutant(
        (Edit(f"{_TRANSACTION}._append_events", "expected != version", "expected > version"),)
    ),
    "a duplicate's receipt has the next version": Mutant(
        (
            Edit(
                f"{_TRANSACTION}._append_events",
                "stream, earlier[1], True",
                "stream, earlier[1] + 1, True",
            ),
        )
    ),
    "a cursor passes over an event": Mutant(
        (Edit("daemon.api.events:_page", "bound_to, (following,)", "bound_to, (following + 1,)"),)
    ),
    "an archive lacks the job's last event": Mutant(
        (
            Edit(
                "daemon.archive.archiver:JobArchiver._mark",
                "[*own, *facts.lines]",
                "[*own, *facts.lines][:-1]",
            ),
        )
    ),
    "a snapshot has another checksum": Mutant(
        (
            Edit(
                "daemon.backup.snapshots:Snapshots._pack",
                '"raw_sha256": digest.hexdigest()',
                '"raw_sha256": digest.hexdigest()[::-1]',
            ),
        )
    ),
    "a redaction leaves the write-ahead logs": Mutant(
        (
            Edit(
                "daemon.redaction.cleansing:Cleansing._cleanse",
                '(views, context.files["log"])',
                "()",
            ),
        )
    ),
    "retention does not wait": Mutant(
        (Edit("domain.retention:Policies.due", "first.at > now", "first.base > now"),)
    ),
    "the keys of archived events are forgotten": Mutant(
        (
            Edit(
                "daemon.eventlog.removal:_remove_of",
                'db.executemany(SQL["keep_key"], keys)',
                "pass",
            ),
        )
    ),
    "the file of a result is not stored": Mutant(
        (
            Edit(
                "daemon.archive.archiver:JobArchiver._store_file",
                "self._shelf.put(name, packed)",
                "pass",
            ),
        )
    ),
    "extensions are left out": Mutant(
        (
            Edit(
                f"{_TRANSACTION}._append_events",
                "id_, key, extensions, data,",
                "id_, key, None, data,",
            ),
        )
    ),
    "a segment is not written anew without what was redacted": Mutant(
        (
            Edit(
                "daemon.backup.forgetting:Forgetter.forget",
                "due = [at for at in stale.segments.values() if at + self.forget_after <= now]",
                "due = []",
            ),
        )
    ),
    "a merged segment is taken for as new as its end": Mutant(
        (
            Edit(
                "daemon.backup.forgetting:Forgetter._segment_since",
                "(header and header.head) or range_.first",
                "range_.last",
            ),
        )
    ),
    "a restored log is not synced": Mutant(
        (Edit("daemon.backup.restore:settle", "sync(building)", "pass"),)
    ),
    "a restore does not remove and redact again": Mutant(
        (
            Edit(
                "daemon.backup.applying:Applier.settle",
                "settle_decided(self._db, self._log_id)",
                "pass",
            ),
        )
    ),
    "a restore leaves the keys of removed events": Mutant(
        (
            Edit(
                "daemon.backup.applying:Applier._append",
                'self._db.execute(SQL["take_keys"], gone)',
                "pass",
            ),
        )
    ),
    "a log goes on within what was removed": Mutant(
        (Edit("daemon.eventlog.known:Known.read", "run[1] > position", "False"),)
    ),
    "the queue is never full": Mutant(
        (
            Edit(
                f"{_WRITER}._has_room",
                "queued_events + events <= self.bounds.queue_events",
                "True",
            ),
        )
    ),
    "a stream ends after each page": Mutant(
        (Edit("daemon.api.events:_follow", "position = following", "break"),)
    ),
}
"""The first five are those that have to be found; the others are of the same kind."""


@contextmanager
def planted(name: str) -> Iterator[Mapping[str, Any]]:
    """Plant a bug while this lasts; yields options of the world."""
    mutant = MUTANTS[name] if name else Mutant()
    with ExitStack() as undo:
        for function in dict.fromkeys(edit.function for edit in mutant.edits):
            edits = [edit for edit in mutant.edits if edit.function == function]
            undo.enter_context(_edited(function, edits))
        yield mutant.options


@contextmanager
def _edited(function: str, edits: list[Edit]) -> Iterator[None]:
    """Have a function do something else, also for those who have got hold of it before."""
    module_name, _, path = function.partition(":")
    module = importlib.import_module(module_name)
    *owners, name = path.split(".")
    owner: Any = module
    for each in owners:
        owner = getattr(owner, each)
    edited = _plain(getattr(owner, name))
    text = textwrap.dedent(inspect.getsource(edited))
    for edit in edits:
        if text.count(edit.old) != 1:
            raise ValueError(f"{function} has {edit.old!r} {text.count(edit.old)} times")
        text = text.replace(edit.old, edit.new)
    made: dict[str, Any] = {}
    exec(compile(text, f"<{function}, edited>", "exec"), vars(module), made)
    code, edited.__code__ = edited.__code__, _plain(made[name]).__code__
    try:
        yield
    finally:
        edited.__code__ = code


def _plain(function: Any) -> FunctionType:
    """Return the function itself, without what wraps or binds it."""
    found = inspect.unwrap(function)
    plain = getattr(found, "__func__", found)
    assert isinstance(plain, FunctionType)
    return plain
