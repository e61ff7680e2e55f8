"""The infrastructure factory: how the `eventsourcing` library finds its recorders on the log.

Environment: ``PERSISTENCE_MODULE=daemon.eventlog``, ``APSW_DBNAME`` (a path, or ``:memory:``),
``ORIGINATOR_ID_TYPE`` (``uuid`` or ``text``), ``CREATE_TABLE`` (for the tables of tracking
recorders; those of the log are always there) and the library's ``*_RECORDER_TOPIC``. A variable
may carry the name of the application before it, as everywhere in the library.
"""

from __future__ import annotations

from typing import Final, TypeVar

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ProcessRecorder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic, strtobool

from daemon.eventlog.recorder import (
    ApswAggregateRecorder,
    ApswApplicationRecorder,
    ApswDatastore,
    ApswProcessRecorder,
    ApswRecorder,
    ApswSnapshotRecorder,
    ApswTrackingRecorder,
)

R = TypeVar("R", bound=ApswRecorder)


class ApswFactory(InfrastructureFactory[ApswTrackingRecorder]):
    """Makes the recorders of one application; `close` leaves the log."""

    APSW_DBNAME: Final = "APSW_DBNAME"
    ORIGINATOR_ID_TYPE: Final = "ORIGINATOR_ID_TYPE"
    CREATE_TABLE: Final = "CREATE_TABLE"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        path = self.env.get(self.APSW_DBNAME)
        if not path:
            keys = ", ".join(self.env.create_keys(self.APSW_DBNAME))
            raise OSError(f"no path of an event log in the environment: {keys}")
        id_type = self.env.get(self.ORIGINATOR_ID_TYPE, "uuid").lower()
        if id_type not in ("uuid", "text"):
            raise OSError(f"{self.ORIGINATOR_ID_TYPE} is {id_type!r}, not 'uuid' or 'text'")
        self.datastore = ApswDatastore(path, application=self.env.name, originator_id_type=id_type)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Return a recorder of events, or of what else an application keeps of aggregates."""
        if purpose == "events":
            return self._made(ApswAggregateRecorder)
        return ApswSnapshotRecorder(self.datastore, purpose)

    def application_recorder(self) -> ApplicationRecorder:
        """Return the recorder of an application."""
        return self._made(self._chosen(self.APPLICATION_RECORDER_TOPIC, ApswApplicationRecorder))

    def tracking_recorder(
        self, tracking_recorder_class: type[ApswTrackingRecorder] | None = None
    ) -> ApswTrackingRecorder:
        """Return a tracking recorder, of this class where one is given."""
        return self._made(
            tracking_recorder_class
            or self._chosen(self.TRACKING_RECORDER_TOPIC, ApswTrackingRecorder)
        )

    def process_recorder(self) -> ProcessRecorder:
        """Return the recorder of an application that follows others."""
        return self._made(self._chosen(self.PROCESS_RECORDER_TOPIC, ApswProcessRecorder))

    def close(self) -> None:
        """Leave the log; twice does no harm."""
        self.datastore.close()

    def _chosen(self, variable: str, default: type[R]) -> type[R]:
        """Return the recorder class that the environment names, or the default."""
        topic = self.env.get(variable)
        chosen: type[R] = resolve_topic(topic) if topic else default
        if not issubclass(chosen, default):
            raise TypeError(f"{variable} names {chosen!r}, which is no {default.__name__}")
        return chosen

    def _made(self, recorder_class: type[R]) -> R:
        recorder = recorder_class(self.datastore)
        if strtobool(self.env.get(self.CREATE_TABLE) or "yes"):
            recorder.create_table()
        return recorder
