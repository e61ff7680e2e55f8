"""The OpenAPI document, and it and the error codes as pages: no script, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from daemon.api.answers import JsonResponse
from daemon.api.parameters import refuse_parameters
from daemon.api.problems import problem_types

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}

_STYLE: Final = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8886; border-radius: .25rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
         border-bottom: 1px solid #8886 }
summary { cursor: pointer } details { margin: .5rem 0 }
"""


def _page(title: str, body: Iterable[str]) -> HTMLResponse:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f"{''.join(body)}</main></body></html>",
        headers=_HEADERS,
    )


async def openapi_json(request: Request) -> Response:
    """Describe every operation for programs (OpenAPI 3.1)."""
    refuse_parameters(request.scope)
    return JsonResponse(request.app.state.document())


async def docs_page(request: Request) -> Response:
    """Show every operation to people."""
    refuse_parameters(request.scope)
    document: Mapping[str, Any] = request.app.state.document()
    parts = [
        f"<p>{escape(document['info']['description'])}</p>",
        '<p><a href="/openapi.json">openapi.json</a> · <a href="/docs/errors">error codes</a></p>',
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts += _operation(method.upper(), path, operation)
    return _page("chronicled: HTTP interface", parts)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterable[str]:
    yield f"<details><summary><code>{method} {escape(path)}</code> "
    yield f"{escape(operation['summary'])}</summary>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    if operation.get("parameters"):
        yield "<table><tr><th>Parameter</th><th>In</th><th>Meaning</th></tr>"
        for parameter in operation["parameters"]:
            text = parameter.get("description", "")
            yield f"<tr><td><code>{escape(parameter['name'])}</code></td>"
            yield f"<td>{parameter['in']}</td><td>{escape(text)}</td></tr>"
        yield "</table>"
    if "requestBody" in operation:
        yield from _examples("Request", operation["requestBody"])
    for status, response in operation["responses"].items():
        yield from _examples(f"{status} {response['description']}", response)
    yield "</details>"


def _examples(title: str, holder: Mapping[str, Any]) -> Iterable[str]:
    yield f"<h4>{escape(title)}</h4>"
    for media_type, content in holder.get("content", {}).items():
        if media_type == "application/problem+json":
            continue
        yield f"<p><code>{escape(media_type)}</code></p>"
        example = content.get("example")
        if example is not None:
            yield f"<pre>{escape(_text(example))}</pre>"


def _text(example: object) -> str:
    if isinstance(example, str):
        return example
    return orjson.dumps(example, option=orjson.OPT_INDENT_2).decode()


async def errors_page(request: Request) -> Response:
    """Show every error code to people; a problem's `type` points at one of its lines."""
    refuse_parameters(request.scope)
    rows = [
        f'<tr id="{error.code}"><td><code>{error.code}</code></td><td>{error.status}</td>'
        f"<td>{escape(error.title)}</td><td>{escape(error.hint)}</td></tr>"
        for error in sorted(problem_types(), key=lambda error: (error.status, error.code))
    ]
    table = "<table><tr><th>Code</th><th>Status</th><th>Title</th><th>What to do</th></tr>"
    return _page("chronicled: error codes", [table, *rows, "</table>"])
