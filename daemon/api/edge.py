"""The outermost layer of every request: guard, paths with ids in them, HEAD, OPTIONS, measuring.

Plain ASGI, because it stands in the way of every ingest request.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Final
from urllib.parse import quote, unquote

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.guard import Guard
from daemon.api.problems import internal_error, problem_response
from daemon.intake.secrets import mask_path
from domain.errors import ChronicledError, ReadOnly

logger = logging.getLogger(__name__)

CLIENT_GONE: Final = 499
"""The status that is measured when the client went away before an answer began."""

_FAILED: Final = 500
_HEAD: Final = "chronicled.head"

_ACTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "/api/jobs/": ("history",),
    "/api/alerts/": ("acknowledge", "resolve"),
    "/api/tasks/": (),
    "/api/workflows/": ("history",),
    "/api/queues/": ("pause", "resume", "recover", "clear"),
}
"""Collections whose member ids may contain a slash, and what may follow the id."""


class Edge:
    """An ASGI app around the routes; lets through what the guard allows, and measures it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        guard: Guard,
        methods_of: Callable[[str], list[str]],
        observe: Callable[[str, str, int, float], None],
        readonly: bool = False,
    ) -> None:
        self._app = app
        self.guard = guard
        self._methods_of = methods_of
        self._observe = observe
        self._readonly = readonly
        self._quiet_until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (or the life span of the app)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        inner = inner_scope(scope)
        answer = _Answer(send, without_body=scope["method"] == "HEAD")
        try:
            await self._serve(inner, receive, answer)
        finally:
            route = getattr(inner.get("route"), "path", "unmatched")
            seconds = (answer.started or perf_counter()) - started
            self.measure(scope["method"], scope["path"], route, answer.status, seconds)

    def measure(self, method: str, path: str, route: str, status: int, seconds: float) -> None:
        """Observe a request, and write a line about it: at debug, about a failed one at warning.

        Warnings are at most one a second: a daemon that refuses because it is overloaded must not
        be busy with saying so.
        """
        self._observe(route, method, status, seconds)
        level = logging.DEBUG
        if status >= _FAILED and perf_counter() >= self._quiet_until:
            level = logging.WARNING
            self._quiet_until = perf_counter() + 1
        if logger.isEnabledFor(level):
            fields = {
                "method": method,
                "path": mask_path(path)[:256],
                "route": route,
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
            }
            logger.log(level, "request", extra=fields)

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            self.guard.check(scope)
            if scope["method"] == "OPTIONS":
                await self._options(scope, receive, answer)
            else:
                self._refuse_change(scope)
                await self._app(scope, receive, answer)
        except Exception as error:
            response = self.problem(error, scope["method"], scope["path"])
            if not answer.started:
                await response(scope, receive, answer)
            elif not answer.ended:
                raise  # The server has to cut the connection: half an answer is no answer.

    def _refuse_change(self, scope: Scope) -> None:
        if self._readonly and scope["method"] != "GET":
            raise ReadOnly("This daemon shows a moment of the past.")

    def problem(self, error: BaseException, method: str, path: str) -> Response:
        """Return the answer to a request that failed; a fault of our own is logged."""
        if isinstance(error, ChronicledError):
            return problem_response(error)
        logger.error("a request failed: %s %s", method, mask_path(path)[:256], exc_info=error)
        return problem_response(internal_error())

    async def _options(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        methods = self._methods_of(scope["path"])
        if not methods:
            await self._app(scope, receive, answer)
            return
        allow = {"allow": ", ".join(methods)}
        await Response(status_code=204, headers=allow)(scope, receive, answer)


def inner_scope(scope: Scope) -> Scope:
    """Return the scope the routes see.

    A HEAD is a GET whose body is not sent. A member id, which may hold slashes in either spelling
    (``/`` or ``%2F``), becomes one path segment: only a literal ``/history`` at the very end is
    the action, so an id that ends in "/history" is reachable with its slash percent-encoded.
    """
    inner = dict(scope)
    if scope["method"] == "HEAD":
        inner["method"] = "GET"
        inner[_HEAD] = True
    raw = (scope.get("raw_path") or quote(scope["path"]).encode("ascii")).decode("ascii", "replace")
    for prefix, actions in _ACTIONS.items():
        if raw.startswith(prefix):
            inner["path"] = prefix + _member(raw[len(prefix) :], actions)
    return inner


def is_head(scope: Scope) -> bool:
    """Return whether only the head of the answer is asked for."""
    return _HEAD in scope


def _member(raw: str, actions: tuple[str, ...]) -> str:
    member, _, action = raw.rpartition("/")
    if not (member and action in actions):
        member, action = raw, ""
    return quote(unquote(member), safe="") + (f"/{action}" if action else "")


class _Answer:
    """The ``send`` of one request, which remembers its status and when it began."""

    def __init__(self, send: Send, *, without_body: bool) -> None:
        self._send = send
        self._without_body = without_body
        self.status = CLIENT_GONE
        self.started: float | None = None
        self.ended = False

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.started = perf_counter()
        else:
            self.ended = not message.get("more_body", False)
            if self._without_body:
                message = {**message, "body": b""}
        return self._send(message)
