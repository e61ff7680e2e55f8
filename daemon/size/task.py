"""The housekeeping's task that measures."""

from __future__ import annotations

from daemon.maintenance.task import Outcome
from daemon.size.board import SizeBoard
from daemon.size.words import readable


class SizeTask:
    """Measures what everything takes; the board keeps what was found."""

    name = "size"
    summary = "Measure what tables and categories take, and how they grow."

    def __init__(self, board: SizeBoard) -> None:
        self._board = board

    def run(self, now: int) -> Outcome:  # noqa: ARG002  a measure has the time of the board's clock
        """Measure once; a daemon that stops ends it early."""
        measured = self._board.measure()
        used = sum(database.used for database in measured.databases.values())
        tables = sum(len(database.tables) for database in measured.databases.values())
        events = sum(category.events for category in measured.categories)
        return Outcome({"events": events, "tables": tables}, f"the databases hold {readable(used)}")
