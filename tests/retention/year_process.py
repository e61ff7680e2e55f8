"""A year of a daemon's work and housekeeping, under a clock of its own; killed, it goes on.

``python tests/retention/year_process.py DATA SEED DAYS JOBS_AN_HOUR`` sends the work of `Year`
hour by hour and does at the beginning of each day what the schedule does: it records what is due,
archives, purges, removes, forgets. Each finished day is one line on standard output. Started again
on the same directory it goes on in the hour of the newest event that was sent.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from year import DAY, HOUR, POLICIES, START, Year

from daemon.archive.opening import Archive, make_archive
from daemon.archive.service import ArchiveService
from daemon.backup.places import open_place
from daemon.eventlog.log import EventLog
from daemon.eventlog.truncation import Bound, Truncation
from daemon.retention.retention import Retention
from daemon.retention.summarising import Summarising
from daemon.retention.task import RetentionTask
from domain.policies import read_policies
from domain.retention import Policies
from projections.runner import ProjectionRunner
from projections.views import Views

REMEMBERED_DAYS: Final = 60
"""How long a purge is remembered in the log."""


class Site:
    """The parts of a daemon that keep house, in one process and driven by hand."""

    def __init__(self, data: Path) -> None:
        self.now = START
        data.mkdir(exist_ok=True)
        self.log = EventLog.open(data / "log.db", clock=lambda: self.now, synchronous="NORMAL")
        self.log.start()
        self.runner = ProjectionRunner(data / "views.db", self.log)
        self.views = Views(data / "views.db", log=self.log)
        self.runner.catch_up()
        self.archive = self._archive(data)
        policies = Policies(read_policies(POLICIES))
        self.retention = Retention(
            self.log, self.views, policies, archiver=self.archive.archiver, batch=100
        )
        summarising = Summarising(
            self.log,
            self.views,
            REMEMBERED_DAYS * DAY,
            alone=self.retention.alone,
            wait=self._wait,
            bound=self._bound,
        )
        self.task = RetentionTask(self.retention, summarising)
        self.truncation = Truncation(self.log, self._bound)

    def _archive(self, data: Path) -> Archive:
        place = open_place((data.parent / "archive").as_uri(), data=data)
        return make_archive(place.objects, data, None, self.log, self.views, self._wait)

    def _wait(self, position: int) -> bool:
        self.runner.catch_up()
        return self.runner.position >= position

    def _bound(self) -> Bound:
        self.runner.catch_up()
        return Bound(self.runner.position + 1)

    def keep_house(self) -> None:
        """Do what is done once a day."""
        self.runner.catch_up()
        self.task.run(self.now)
        self.runner.catch_up()
        drive(self.archive.service)
        self.truncation.run_dry()
        self.runner.catch_up()

    def close(self) -> None:
        """Close the files."""
        self.views.close()
        self.runner.close()
        self.log.close()


def say(text: str) -> None:
    """Tell who watches how far it is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def drive(service: ArchiveService) -> None:
    """Let the archive finish what was begun."""
    while service.step(0) == 0:
        pass


def main() -> None:
    """Live through the year, from where it stands."""
    data, seed, days, jobs = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    year = Year(seed, days, jobs)
    site = Site(data)
    newest = site.log.recorded_at(site.log.head())
    begin = 0 if newest is None else (newest - START) // HOUR
    for hour in range(begin, days * 24 + 1):
        site.now = START + hour * HOUR
        if hour % 24 == 0:
            site.keep_house()
            say(f"day {hour // 24} head {site.log.head()}")
        if events := year.events(hour):
            site.log.append(events)
    site.keep_house()
    site.close()
    say("end")


if __name__ == "__main__":
    main()
