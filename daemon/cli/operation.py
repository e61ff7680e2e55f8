"""Long work that a daemon does: started over its socket, and watched until it has ended."""

from __future__ import annotations

from typing import Any

import orjson

from daemon.cli.connection import Connection
from daemon.cli.failures import CommandError
from daemon.cli.progress import OnProgress


def operate(
    daemon: Connection,
    asked: dict[str, Any],
    on_progress: OnProgress,
    *,
    path: str = "/api/operations",
) -> Any:
    """Let the daemon do it, and watch until it has ended; return its result."""
    operation = daemon.post(path, asked)
    path = f"/api/operations/{operation['id']}"
    for message in daemon.events(f"{path}/stream"):
        operation = orjson.loads(message.data)
        on_progress(operation["progress"]["done"], operation["progress"]["total"])
    if operation["error"]:
        raise CommandError.of_problem(operation["error"])
    if operation["result"] is None:
        raise CommandError("The daemon is stopping", f"the {operation['kind']} has not ended")
    return operation["result"]
