"""The event log on SQLite, and with it a persistence module of the `eventsourcing` library."""
