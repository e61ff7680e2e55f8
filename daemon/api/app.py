"""The web application of one daemon: every route, around them the edge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

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


class PlainFirst:
    """Serves events on their way in without the web framework's layers; the app serves the rest."""

    def __init__(self, app: FastAPI, routes: Sequence[PlainRoute]) -> None:
        self._app = app
        self._routes = [route for route in routes if "POST" in (route.methods or ())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for route in self._routes:
                match, matched = route.matches(scope)
                if match is Match.FULL:
                    scope.update(matched, app=self._app)
                    await route.handle(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def create_app(context: Context) -> ASGIApp:
    """Return the ASGI app that serves a daemon's context."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.context = context
    app.state.document = cache(partial(openapi_document, app))
    plain: list[PlainRoute] = []
    for route in ROUTES:
        if route.plain:
            plain.append(PlainRoute(route.path, route.endpoint, methods=[route.method]))
            app.router.routes.append(plain[-1])
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
        PlainFirst(app, plain),
        guard=Guard(context.names),
        methods_of=partial(allowed_methods, app.routes),
        observe=context.metrics.request,
    )
