"""The operations of queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from daemon.api import examples, queue_shapes, queues, schemas
from daemon.api.route import DECIDED, DECISION, LIST, READ, Content, Route, ok
from domain.errors import NotFound


def _queue_order(verb: str, endpoint: Callable[..., Any], answers: Mapping[int, Content]) -> Route:
    """Return the route by which something is done to a whole queue."""
    bodies = (Content(examples.decision, queues.QueueOrder),)
    path = f"/api/queues/{{name}}/{verb}"
    return Route(
        "POST", path, endpoint, "queues", answers, DECISION, bodies=bodies, body_required=False
    )


def _done(example: examples.Example, shape: Any) -> dict[int, Content]:
    return {status: Content(example, shape) for status in (201, 200)}


QUEUE_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/api/queues",
        queues.list_queues,
        "queues",
        ok(examples.page(queue_shapes.queue), schemas.Page[queue_shapes.QueueSummary]),
        LIST,
    ),
    Route(
        "GET",
        "/api/queues/{name}",
        queues.get_queue,
        "queues",
        ok(examples.detail(queue_shapes.queue_with_jobs), queue_shapes.QueueDetail),
        (NotFound, *READ),
    ),
    _queue_order("pause", queues.pause_queue, DECIDED),
    _queue_order("resume", queues.resume_queue, DECIDED),
    _queue_order(
        "recover",
        queues.recover_queue,
        _done(examples.detail(queue_shapes.recovery), queue_shapes.RecoveryShape),
    ),
    _queue_order(
        "clear",
        queues.clear_queue,
        _done(examples.detail(queue_shapes.clearing), queue_shapes.ClearingShape),
    ),
)
