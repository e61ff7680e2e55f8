"""The event log on SQLite, and with it a persistence module of the `eventsourcing` library.

An application of the library records in the log with ``PERSISTENCE_MODULE=daemon.eventlog`` and
``APSW_DBNAME=PATH``; see `daemon.eventlog.factory`. The library wants to find one factory here.
"""

from __future__ import annotations

from daemon.eventlog.factory import ApswFactory

__all__ = ["ApswFactory"]
