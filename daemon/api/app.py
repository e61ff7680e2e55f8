"""The web application of one daemon: every route, around them the edge."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import cache, partial
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.dependencies.utils import get_dependant
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from daemon.api.bodies import Incoming
from daemon.api.context import Context
from daemon.api.edge import Edge
from daemon.api.guard import Guard
from daemon.api.openapi import openapi_document
from daemon.api.parameters import take_no_parameters
from daemon.api.problems import (
    allowed_methods,
    answer_error,
    answer_http_exception,
    answer_request_validation,
)
from daemon.api.routes import ROUTES
from domain.errors import ChronicledError


class PlainRoute(StarletteRoute):
    """A route without the web framework's layers; it says who it is, as those do.

    Paths that are another route's to the letter are none of its own.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods)
        others = [each.path for each in ROUTES if each.path != path and "{" not in each.path]
        mine = self.path_regex
        beside = "".join(f"(?!{re.escape(other)}$)" for other in others if mine.match(other))
        self.path_regex = re.compile(beside + mine.pattern)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether this route serves a request, and what it adds to the scope."""
        match, child_scope = super().matches(scope)
        return match, {**child_scope, "route": self}


class WayIn:
    """The ASGI app of one route that takes events in."""

    def __init__(
        self, context: Context, endpoint: Callable[[Context, Incoming], Awaitable[Response]]
    ) -> None:
        self._context = context
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; an error is the edge's to answer."""
        response = await self._endpoint(self._context, Incoming(scope, receive))
        await response(scope, receive, send)


class WaysInFirst:
    """Looks for a way in before the web framework comes to look at a request."""

    def __init__(self, app: FastAPI, ways_in: Sequence[StarletteRoute]) -> None:
        self._app = app
        self._ways_in = ways_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for route in self._ways_in:
                match = route.path_regex.match(scope["path"])
                if match is not None:
                    scope["route"], scope["path_params"] = route, match.groupdict()
                    await route.app(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def create_app(context: Context) -> Edge:
    """Return the ASGI app that serves a daemon's context."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.context = context
    app.state.document = cache(partial(openapi_document, app))
    ways_in: list[StarletteRoute] = []
    for route in ROUTES:
        if route.plain and route.method == "POST":
            serving = WayIn(context, route.endpoint)
            ways_in.append(PlainRoute(route.path, serving, methods=[route.method]))
            app.router.routes.append(ways_in[-1])
        elif route.plain:
            app.router.routes.append(PlainRoute(route.path, route.endpoint, methods=[route.method]))
        else:
            asked = get_dependant(path=route.path, call=route.endpoint).query_params
            app.add_api_route(
                route.path,
                route.endpoint,
                methods=[route.method],
                dependencies=None if asked else [Depends(take_no_parameters)],
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
        WaysInFirst(app, ways_in),
        guard=Guard(context.names),
        methods_of=partial(allowed_methods, app.routes),
        observe=context.metrics.request,
        readonly=context.readonly,
    )
