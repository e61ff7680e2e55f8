"""Servers that read a body and answer 201, for the price of what stands around a request."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, cast

import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/api/events"


async def bare(_scope: Scope, receive: Receive, send: Send) -> None:
    """Serve without any framework."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def endpoint(request: Request) -> Response:
    """Serve as a route."""
    await request.body()
    return Response(b"{}", 201)


def app_of(layer: str) -> ASGIApp:
    """Return the application with so many layers."""
    if layer == "starlette":
        return Starlette(routes=[Route(PATH, endpoint, methods=["POST"])])
    if layer == "fastapi":
        app = FastAPI()
        app.post(PATH)(endpoint)
        return app
    return bare


def main() -> None:
    """Serve on a Unix socket until the process is ended."""
    place, loop, parser, layer = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen(128)
    config = uvicorn.Config(
        app_of(layer), http=cast("Any", parser), lifespan="off", log_config=None, access_log=False
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    new_loop = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(uvicorn.Server(config).serve([listener]))


if __name__ == "__main__":
    main()
