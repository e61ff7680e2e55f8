"""The recorder suites that the `eventsourcing` library ships, on the event log.

Each suite runs on a file and in memory, with ids that are UUIDs and ids that are text. (The modules
of the suites are imported, not their classes: an imported abstract case would be collected.)
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar
from unittest import TestCase
from uuid import UUID, uuid4

from eventsourcing.tests import persistence as suites
from eventsourcing.utils import Environment

from daemon.eventlog import ApswFactory
from daemon.eventlog.recorder import (
    ApswAggregateRecorder,
    ApswApplicationRecorder,
    ApswDatastore,
    ApswProcessRecorder,
    ApswRecorder,
    ApswSnapshotRecorder,
    ApswTrackingRecorder,
)


class OnFile(TestCase):
    """Recorders on a file, with ids that are UUIDs."""

    recorder_class: ClassVar[type[ApswRecorder]]
    originator_id_type = "uuid"

    def place(self) -> str:
        """Return where the log is."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return str(Path(directory.name) / "log.db")

    def create_recorder(self) -> ApswRecorder:
        """Make a recorder on a log of its own."""
        datastore = ApswDatastore(self.place(), originator_id_type=self.originator_id_type)
        self.addCleanup(datastore.close)
        return self.recorder_class(datastore)


class InMemory(OnFile):
    """Recorders on a log in memory."""

    def place(self) -> str:
        """Return the name of a log in memory."""
        return ":memory:"


class WithTextIds(OnFile):
    """Recorders whose ids are text."""

    originator_id_type = "text"

    def new_originator_id(self) -> UUID | str:
        """Return an id that is no UUID."""
        return f"job/{uuid4()}"


class TestAggregates(OnFile, suites.AggregateRecorderTestCase):
    """Aggregate recorder."""

    recorder_class = ApswAggregateRecorder


class TestAggregatesInMemory(InMemory, TestAggregates):
    """Aggregate recorder, in memory."""


class TestAggregatesWithTextIds(WithTextIds, TestAggregates):
    """Aggregate recorder, text ids."""


class TestAggregatesInMemoryWithTextIds(WithTextIds, InMemory, TestAggregates):
    """Aggregate recorder, in memory, text ids."""


class TestSnapshots(OnFile, suites.AggregateRecorderTestCase):
    """The recorder of snapshots is an aggregate recorder too."""

    recorder_class = ApswSnapshotRecorder


class TestSnapshotsInMemory(InMemory, TestSnapshots):
    """Snapshot recorder, in memory."""


class TestSnapshotsWithTextIds(WithTextIds, TestSnapshots):
    """Snapshot recorder, text ids."""


class TestApplications(OnFile, suites.ApplicationRecorderTestCase[ApswApplicationRecorder]):
    """Application recorder, subscriptions included."""

    recorder_class = ApswApplicationRecorder

    def test_insert_subscribe(self) -> None:
        """The optional test of the suite: the log has subscriptions."""
        self.optional_test_insert_subscribe()


class TestApplicationsInMemory(InMemory, TestApplications):
    """Application recorder, in memory."""


class TestApplicationsWithTextIds(WithTextIds, TestApplications):
    """Application recorder, text ids."""


class TestApplicationsInMemoryWithTextIds(WithTextIds, InMemory, TestApplications):
    """Application recorder, in memory, text ids."""


class TestTracking(OnFile, suites.TrackingRecorderTestCase):
    """Tracking recorder."""

    recorder_class = ApswTrackingRecorder


class TestTrackingInMemory(InMemory, TestTracking):
    """Tracking recorder, in memory."""


class TestProcesses(OnFile, suites.ProcessRecorderTestCase):
    """Process recorder."""

    recorder_class = ApswProcessRecorder


class TestProcessesInMemory(InMemory, TestProcesses):
    """Process recorder, in memory."""


class TestProcessesWithTextIds(WithTextIds, TestProcesses):
    """Process recorder, text ids."""


class TestProcessesInMemoryWithTextIds(WithTextIds, InMemory, TestProcesses):
    """Process recorder, in memory, text ids."""


class TestApplicationSuiteOfProcesses(TestApplications):
    """A process recorder is an application recorder too."""

    recorder_class = ApswProcessRecorder


class TestNonInterleaving(OnFile, suites.NonInterleavingNotificationIDsBaseCase):
    """The positions of one insert stand together, whoever else inserts."""

    recorder_class = ApswApplicationRecorder
    insert_num = 10_000


class TestNonInterleavingInMemory(InMemory, TestNonInterleaving):
    """The same in memory."""


class Counted(ApswTrackingRecorder):
    """A tracking recorder of a user."""


class TestFactory(suites.InfrastructureFactoryTestCase[ApswFactory]):
    """The factory that the library finds in the package."""

    def setUp(self) -> None:
        """Point the environment at a new file."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.env = Environment("Tested", self.variables(Path(directory.name)))
        super().setUp()

    def variables(self, directory: Path) -> dict[str, str]:
        """Return the environment."""
        return {
            "PERSISTENCE_MODULE": "daemon.eventlog",
            "APSW_DBNAME": str(directory / "log.db"),
        }

    def expected_factory_class(self) -> type[ApswFactory]:
        """Return ours."""
        return ApswFactory

    def expected_aggregate_recorder_class(self) -> type[ApswAggregateRecorder]:
        """Return ours."""
        return ApswAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApswApplicationRecorder]:
        """Return ours."""
        return ApswApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[ApswTrackingRecorder]:
        """Return ours."""
        return ApswTrackingRecorder

    def tracking_recorder_subclass(self) -> type[ApswTrackingRecorder]:
        """Return a user's."""
        return Counted

    def expected_process_recorder_class(self) -> type[ApswProcessRecorder]:
        """Return ours."""
        return ApswProcessRecorder


class TestFactoryInMemory(TestFactory):
    """The factory, in memory."""

    def variables(self, directory: Path) -> dict[str, str]:
        """Return the environment."""
        return {**super().variables(directory), "APSW_DBNAME": ":memory:"}


class TestFactoryWithTextIds(TestFactory):
    """The factory, text ids."""

    def variables(self, directory: Path) -> dict[str, str]:
        """Return the environment."""
        return {**super().variables(directory), "ORIGINATOR_ID_TYPE": "text"}
