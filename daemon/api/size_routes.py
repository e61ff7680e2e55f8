"""The operations about sizes."""

from __future__ import annotations

from typing import Final

from daemon.api import size, size_shapes
from daemon.api.route import Route, ok
from domain.errors import StorageFailed, Unavailable

SIZE_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/api/size",
        size.get_size,
        "daemon",
        ok(size_shapes.size, size_shapes.SizeShape),
        (StorageFailed, Unavailable),
    ),
)
