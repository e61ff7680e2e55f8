"""The application and projection suites of the `eventsourcing` library, on the event log."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import ClassVar
from unittest import TestCase
from unittest.mock import patch

import apsw
import pytest
from eventsourcing.persistence import Tracking
from eventsourcing.tests import application, projection

from daemon.eventlog.recorder import ApswDatastore, ApswTrackingRecorder


class EventCounters(ApswTrackingRecorder, projection.EventCountersView):
    """The view that the library's projection suites count events in."""

    tables = """
        CREATE TABLE IF NOT EXISTS event_counters (
            kind  TEXT PRIMARY KEY,
            count INTEGER NOT NULL
        ) STRICT
    """

    def get_created_event_counter(self) -> int:
        """Return how many aggregates were created."""
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        """Return how many events came after."""
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        """Count a created aggregate."""
        self.track(tracking, lambda db: self._increment(db, "created"))

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        """Count an event that came after."""
        self.track(tracking, lambda db: self._increment(db, "subsequent"))

    def _count(self, kind: str) -> int:
        with self.reading() as db:
            return db.execute("SELECT count FROM event_counters WHERE kind = ?", (kind,)).get or 0

    @staticmethod
    def _increment(db: apsw.Connection, kind: str) -> None:
        sql = """
            INSERT INTO event_counters VALUES (?, 1)
            ON CONFLICT (kind) DO UPDATE SET count = count + 1
        """
        db.execute(sql, (kind,))


pytestmark = pytest.mark.filterwarnings("default:'log' is deprecated")
"""One test of the library's catches this warning, which must be no error then."""


class OnFile(TestCase):
    """Points the environment at a log on a file, as a user of the library does."""

    expected_factory_topic = "daemon.eventlog.factory:ApswFactory"
    env: ClassVar[dict[str, str]] = {}
    view_class = EventCounters

    def setUp(self) -> None:
        """Set the variables of the persistence module."""
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = self.place(Path(directory.name))
        variables = patch.dict(
            os.environ, PERSISTENCE_MODULE="daemon.eventlog", APSW_DBNAME=self.path
        )
        variables.start()
        self.addCleanup(variables.stop)

    def place(self, directory: Path) -> str:
        """Return where the log is."""
        return str(directory / "log.db")

    def construct_event_counters_view(self) -> EventCounters:
        """Make the view of the suite."""
        datastore = ApswDatastore(self.path, application="eventcounters")
        self.addCleanup(datastore.close)
        view = EventCounters(datastore)
        view.create_table()
        return view


class InMemory(OnFile):
    """Points the environment at a log in memory."""

    def place(self, directory: Path) -> str:
        """Return the name of a log in memory."""
        return ":memory:"


class TestApplication(OnFile, application.ApplicationTestCase):
    """Application suite."""


class TestApplicationInMemory(InMemory, application.ApplicationTestCase):
    """Application suite, in memory."""


class TestExampleApplication(OnFile, application.ExampleApplicationTestCase):
    """Example application, with snapshots."""


class TestExampleApplicationInMemory(InMemory, application.ExampleApplicationTestCase):
    """Example application, in memory."""


class TestEventCountersView(OnFile, projection.EventCountersViewTestCase):
    """A view with tables of its own."""


class TestEventCountersViewInMemory(InMemory, projection.EventCountersViewTestCase):
    """A view with tables of its own, in memory."""


class TestEventCounters(OnFile, projection.AggregateEventCountersProjectionTestCase):
    """A projection into a view, by subscription."""


class TestEventCountersInMemory(InMemory, projection.AggregateEventCountersProjectionTestCase):
    """A projection into a view, the view in a log of its own."""


class TestEventSourcedProjection(OnFile, projection.EventSourcedProjectionTestCase):
    """A projection that records events itself, in the log of the application it follows."""


class TestEventSourcedProjectionInMemory(InMemory, projection.EventSourcedProjectionTestCase):
    """A projection that records events itself, in a log of its own."""
