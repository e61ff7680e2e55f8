"""The OpenAPI document: parameters as the web framework knows them, all else from the routes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from daemon.api import examples
from daemon.api.event_shapes import NewCloudEvent
from daemon.api.route import ALWAYS, Content, Errors, Route
from daemon.api.routes import ROUTES
from daemon.api.schemas import Problem
from daemon.intake.formats import FORMATS
from daemon.release import PROGRAM_VERSION
from domain.catalog import event_types

_REF: Final = "#/components/schemas/{model}"
_IN_PATH: Final = {"format": {"type": "string", "enum": sorted(FORMATS)}}
"""What may stand in the paths of plain routes."""
_PROBLEM: Final = "application/problem+json"
_ABOUT: Final = (
    "Events in; jobs, alerts and files out. Every answer says `as_of`, the log position up to "
    "which it holds; every refusal is problem details (RFC 9457) with a stable `code`. Fields, "
    "parameters and routes may be added; nothing here changes its meaning, or goes away, within "
    "a major version."
)
_DESCRIPTIONS: Final = {200: "Answered", 201: "Recorded", 202: "Accepted", 503: "Not ready"}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of every operation in `ROUTES`."""
    document = get_openapi(
        title="chronicled", version=PROGRAM_VERSION, description=_ABOUT, routes=app.routes
    )
    refs, schemas = _schemas()
    for route in ROUTES:
        known = document["paths"].setdefault(route.path, {}).get(route.method.lower(), {})
        parameters = _plain_parameters(route) if route.plain else known.get("parameters", [])
        operation: dict[str, Any] = {
            "tags": [route.tag],
            "summary": route.summary,
            "description": route.description,
            "operationId": route.operation_id,
            "parameters": parameters,
            "responses": _responses(route, refs),
        }
        if route.bodies:
            content = {body.media_type: _content(body, refs) for body in route.bodies}
            operation["requestBody"] = {"content": content, "required": route.body_required}
        document["paths"][route.path][route.method.lower()] = operation
    document["components"] = {"schemas": schemas}
    return document


def _schemas() -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return a reference for each documented shape, and the schemas they refer to."""
    contents = [content for route in ROUTES for content in (*route.answers.values(), *route.bodies)]
    shapes = {content.shape for content in contents if content.shape is not None}
    payloads = {entry.name: entry.model for entry in event_types() if entry.client}
    wanted: list[Any] = [*shapes, Problem, NewCloudEvent, *payloads.values()]
    adapters: Any = [(shape, "validation", TypeAdapter(shape)) for shape in wanted]
    found, document = TypeAdapter.json_schemas(adapters, ref_template=_REF)
    refs = {shape: schema for (shape, _), schema in found.items()}
    schemas: dict[str, Any] = document["$defs"]
    event = schemas[NewCloudEvent.__name__]
    event["properties"]["type"]["enum"] = list(payloads)
    event["properties"]["data"]["anyOf"] = [*map(refs.get, payloads.values()), {"type": "null"}]
    event["anyOf"] = [_pair(name, refs[model], schemas) for name, model in payloads.items()]
    return refs, schemas


def _pair(name: str, data: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return that an event of this type has the type's data; none where no field has to be."""
    needed = schemas[data["$ref"].rpartition("/")[2]].get("required", [])
    said = data if needed else {"anyOf": [data, {"type": "null"}]}
    pair: dict[str, Any] = {"properties": {"type": {"const": name}, "data": said}}
    return {**pair, "required": ["data"]} if needed else pair


def _plain_parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _IN_PATH[name]}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.parameters is None:
        return in_path
    schema = route.parameters.model_json_schema()
    return in_path + [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": field.pop("description", ""),
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]


def _responses(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    responses = {
        str(status): {
            "description": _DESCRIPTIONS[status],
            "content": {content.media_type: _content(content, refs)},
        }
        for status, content in route.answers.items()
    }
    return responses | _refusals((*route.errors, *ALWAYS), refs[Problem])


def _refusals(errors: Errors, schema: Any) -> dict[str, Any]:
    """Return the problem responses of some errors; those of one status share a response."""
    by_status: dict[int, list[Any]] = {}
    for error in dict.fromkeys(errors):
        by_status.setdefault(error.status, []).append(error)
    return {
        str(status): {
            "description": _listed(f"{error.title} (`{error.code}`)" for error in alike),
            "content": {
                _PROBLEM: {
                    "schema": schema,
                    "examples": {
                        error.code: {"summary": error.title, "value": examples.problem(error)}
                        for error in alike
                    },
                }
            },
        }
        for status, alike in sorted(by_status.items())
    }


def _listed(sentences: Iterable[str]) -> str:
    return "; ".join(sentences)


def _content(content: Content, refs: dict[Any, Any]) -> dict[str, Any]:
    documented: dict[str, Any] = {"example": content.example()}
    if content.shape is not None:
        documented["schema"] = refs[content.shape]
    return documented
