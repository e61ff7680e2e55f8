"""The gate that new events pass: shut while the disk has too little room for more."""

from __future__ import annotations

from typing import Final

from domain.errors import DiskFull

HINT: Final = (
    "Free room on the disk of the data directory (`chronicled size` says what takes it); events "
    "are taken again by themselves."
)


class Gate:
    """Whether new events are taken, as far as room goes; asked on any thread.

    What the daemon does and records itself does not pass it: alerts, retention and deletes go on.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why it is shut; None while it is open."""
        self.refusals = 0
        """How often something was refused."""

    @property
    def shut(self) -> bool:
        """Whether nothing is taken."""
        return self.reason is not None

    def check(self) -> None:
        """Return where new events are taken.

        Raises:
            DiskFull: there is too little room for them.

        """
        reason = self.reason
        if reason is not None:
            self.refusals += 1
            raise DiskFull(reason, hint=HINT)
