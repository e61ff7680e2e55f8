"""The web application of one daemon: every route, around them the edge."""

from __future__ import annotations

from functools import cache, partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Scope

from daemon.api.context import Context
from daemon.api.edge import Edge
from daemon.api.guard import Guard
from daemon.api.openapi import openapi_document
from daemon.api.problems import (
    allowed_methods,
    answer_error,
    answer_http_exception,
    answer_request_validation,
)
from daemon.api.routes import ROUTES
from domain.errors import ChronicledError


class PlainRoute(StarletteRoute):
    """A route without the web framework's layers; it says who it is, as those do."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether this route serves a request, and what it adds to the scope."""
        match, child_scope = super().matches(scope)
        return match, {**child_scope, "route": self}


def create_app(context: Context) -> ASGIApp:
    """Return the ASGI app that serves a daemon's context."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.context = context
    app.state.document = cache(partial(openapi_document, app))
    for route in ROUTES:
        if route.plain:
            app.router.routes.append(PlainRoute(route.path, route.endpoint, methods=[route.method]))
        else:
            app.add_api_route(
                route.path,
                route.endpoint,
                methods=[route.method],
                response_model=None,
                response_class=Response,
            )
    for error, answer in (
        (Exception, answer_error),
        (ChronicledError, answer_error),
        (HTTPException, answer_http_exception),
        (RequestValidationError, answer_request_validation),
    ):
        app.add_exception_handler(error, answer)
    return Edge(
        app,
        guard=Guard(context.names),
        methods_of=partial(allowed_methods, app.routes),
        observe=context.metrics.request,
    )
