"""How long an attempt may take: by phase, by kind and name, by kind, or for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from daemon.workflows.durations import parse_duration

OFF: Final = "off"


def parse_limit(text: str) -> int | None:
    """Return a limit in microseconds, None for ``off``.

    Raises:
        ValueError: it is neither off nor a duration of at least a second.

    """
    if text == OFF:
        return None
    limit = parse_duration(text)
    if limit < 1_000_000:
        raise ValueError(f"{text!r} is less than a second; {OFF!r} switches it off")
    return limit


@dataclass(frozen=True)
class OverdueLimits:
    """The limits; ``special`` has those of single phases or kinds."""

    general: int | None
    special: Mapping[str, int | None] = field(default_factory=dict)

    @classmethod
    def parse(cls, general: str, special: Mapping[str, str]) -> OverdueLimits:
        """Read the limits as they stand in the configuration.

        Raises:
            ValueError: one of them is none; the text says which.

        """
        read = {}
        for name, text in special.items():
            try:
                read[name] = parse_limit(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return cls(parse_limit(general), read)

    @property
    def active(self) -> bool:
        """Whether anything is watched at all."""
        return any(limit is not None for limit in (self.general, *self.special.values()))

    def of(self, job: Mapping[str, Any]) -> int | None:
        """Return the limit of a job, as its view shows it; None where it has none.

        The nearest counts: that of its phase, of ``kind:name``, of its kind, then that of all.
        """
        kind = job["kind"]
        if not kind:
            return None
        for name in (job["phase"], f"{kind}:{job['name']}", kind):
            if name in self.special:
                return self.special[name]
        return self.general
