"""The states of entities between batches: remembered while few and small, else loaded again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from domain.events import RecordedEvent
from projections.seam import Batch

REMEMBERED_MAX: Final = 10_000
"""How many entities one fold remembers, at the most."""
REMEMBERED_BYTES: Final = 64 * 1024 * 1024
"""No more is remembered once the events behind the states have this many bytes."""

S = TypeVar("S")


class EntityStates(Generic[S]):
    """The states that a fold has read or written since it last forgot."""

    def __init__(self, load: Callable[[int], S | None]) -> None:
        self._load = load
        self._known: dict[int, S] = {}
        self._bytes = 0

    def before(self, batch: Batch) -> Iterable[tuple[int, S | None, list[RecordedEvent]]]:
        """Yield each entity of a batch with its state before the batch (None = new) and events."""
        known, load = self._known, self._load
        for entity, events in batch.by_entity.items():
            state = known.get(entity)
            # An entity is numbered by its first event: it is new where the batch holds that.
            if state is None and events[0].position != entity:
                state = load(entity)
            yield entity, state, events

    def end(self, entity: int) -> S | None:
        """Return the state of an entity that ends, and forget it."""
        state = self._known.pop(entity, None)
        return self._load(entity) if state is None else state

    def keep(self, states: Mapping[int, S], batch: Batch) -> None:
        """Remember the states after a batch, whose rows are written."""
        self._known.update(states)
        self._bytes += batch.size
        if len(self._known) > REMEMBERED_MAX or self._bytes > REMEMBERED_BYTES:
            self.forget()

    def forget(self) -> None:
        """Drop everything; it is loaded again when it is needed."""
        self._known.clear()
        self._bytes = 0


def advanced(
    advance: Callable[[S | None, RecordedEvent], S],
    state: S | None,
    events: Sequence[RecordedEvent],
) -> S:
    """Return the state after one event or more; ``advance`` may change the state it is given."""
    after = advance(state, events[0])
    for event in events[1:]:
        after = advance(after, event)
    return after
