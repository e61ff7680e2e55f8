"""The operations of the housekeeping."""

from __future__ import annotations

from typing import Final

from daemon.api import examples, maintenance_tasks, schemas
from daemon.api.route import Route, ok
from domain.errors import NotFound, NotReady, Unavailable

MAINTENANCE_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/api/maintenance",
        maintenance_tasks.list_maintenance,
        "daemon",
        ok(
            examples.page(maintenance_tasks.task_example),
            schemas.Page[maintenance_tasks.TaskStateShape],
        ),
        (),
    ),
    Route(
        "GET",
        "/api/maintenance/{name}",
        maintenance_tasks.get_maintenance,
        "daemon",
        ok(examples.detail(maintenance_tasks.detail_example), maintenance_tasks.TaskDetail),
        (NotFound, NotReady, Unavailable),
    ),
)
