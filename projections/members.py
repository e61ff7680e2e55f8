"""The sets of tables that a runner keeps, each with the fold that writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from projections.seam import Fold
from projections.store import Generation


@dataclass
class Member:
    """A set of tables; without a fold when it is of another version than this program's."""

    generation: Generation
    fold: Fold | None

    @property
    def active(self) -> bool:
        """Whether it goes on: it fits this program and has not failed."""
        return self.fold is not None and self.generation.error is None


def find_member(members: Sequence[Member], name: str, *, live: bool) -> Member | None:
    """Return the live tables of a projection, or its build; None where there are none."""
    for member in members:
        if member.generation.name == name and member.generation.live == live:
            return member
    return None


def are_caught_up(members: Sequence[Member], names: Iterable[str], head: int) -> bool:
    """Return whether the live tables of every projection that has not failed are at the head."""
    for name in names:
        able = [each for each in members if each.active and each.generation.name == name]
        at_head = any(each.generation.live and each.generation.position >= head for each in able)
        if able and not at_head:
            return False
    return True
