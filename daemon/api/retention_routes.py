"""The operations of retention."""

from __future__ import annotations

from typing import Final

from daemon.api import retention, retention_shapes
from daemon.api.route import Content, Route, ok
from domain.errors import (
    Invalid,
    InvalidCursor,
    NotReady,
    QueryTimeout,
    TooLarge,
    Unavailable,
    Undecodable,
    UnsupportedMediaType,
)

RETENTION_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/api/retention",
        retention.get_plan,
        "daemon",
        ok(retention_shapes.plan, retention_shapes.PlanShape),
        (Invalid, InvalidCursor, NotReady, QueryTimeout),
    ),
    Route(
        "POST",
        "/api/retention/preview",
        retention.preview_policies,
        "daemon",
        ok(retention_shapes.plan, retention_shapes.PlanShape),
        (Undecodable, UnsupportedMediaType, TooLarge, Invalid, NotReady, QueryTimeout),
        bodies=(Content(retention_shapes.preview, retention_shapes.PreviewBody),),
        body_required=False,
    ),
    Route(
        "GET",
        "/api/retention/policies",
        retention.list_policies,
        "daemon",
        ok(retention_shapes.policies, retention_shapes.PoliciesShape),
        (NotReady, Unavailable),
    ),
)
"""Retention: what is due, what other policies would do, and the policies."""
