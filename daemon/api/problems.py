"""Errors on the wire: RFC 9457 problem details, one shape for every refusal.

Whatever goes wrong, the answer is ``application/problem+json`` with ``type``, ``title``,
``status``, ``detail``, ``code``, ``hint`` and ``errors``: what this project raises, what the web
framework raises, and what nobody foresaw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from daemon.backup.errors import StoreUnavailable
from daemon.intake.secrets import mask_path
from domain.errors import (
    ChronicledError,
    DiskFull,
    Fault,
    Invalid,
    NotFound,
    Unavailable,
    Undecodable,
)
from domain.faults import fields_at
from domain.suggest import did_you_mean, shorten

ERRORS_PATH: Final = "/docs/errors"
"""Where the page of all error codes is served; a problem's ``type`` points into it."""


@dataclass(frozen=True, slots=True)
class ParameterFault(Fault):
    """A fault whose place is a parameter of the query, the path or the header."""

    parameter: str = ""


class MethodNotAllowedError(ChronicledError):
    """The route is there, but not for this method."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"
    hint = "See the Allow header for the methods of this route, and /docs for all routes."


class NoSuchRoute(NotFound):
    """No route has this path."""

    title = "No such route"
    hint = "See /docs for all routes."


class BadRequestError(ChronicledError):
    """The web framework could not read the request."""

    code = "bad_request"
    status = 400
    title = "Bad request"
    hint = "Send a well-formed HTTP request; see /docs."


def problem_types() -> Iterator[type[ChronicledError]]:
    """Yield every error class that can be an answer, one for each code, in tree order."""
    seen: set[str] = set()
    pending: list[type[ChronicledError]] = [ChronicledError]
    while pending:
        error = pending.pop(0)
        pending.extend(error.__subclasses__())
        if error.exit_code == 1 and error.code not in seen:
            seen.add(error.code)
            yield error


def problem_document(error: ChronicledError) -> dict[str, Any]:
    """Return the problem details of an error (RFC 9457, section 3)."""
    return {
        "type": f"{ERRORS_PATH}#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "errors": [_fault_document(fault) for fault in error.errors],
        "hint": error.operator_hint,
    }


def _fault_document(fault: Fault) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if fault.index is not None:
        document["index"] = fault.index
    if isinstance(fault, ParameterFault):
        document["parameter"] = fault.parameter
    else:
        document["pointer"] = fault.pointer
    return {**document, "detail": fault.detail, "code": fault.code}


def problem_response(error: ChronicledError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer for an error, with Retry-After where trying again makes sense."""
    response = Response(
        orjson.dumps(problem_document(error)),
        status_code=error.status,
        media_type="application/problem+json",
        headers={"cache-control": "no-store", **(headers or {})},
    )
    if isinstance(error, (Unavailable, DiskFull, StoreUnavailable)):
        response.headers["retry-after"] = str(error.retry_after_seconds)
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # The rest of the body was not read; the connection cannot be used again.
        response.headers["connection"] = "close"
    return response


def internal_error() -> ChronicledError:
    """Return what is said of a fault nobody foresaw: nothing of its insides."""
    return ChronicledError("The daemon met a fault of its own; its log has the details.")


async def answer_error(_request: Request, error: Exception) -> Response:
    """Answer one of our own errors."""
    if not isinstance(error, ChronicledError):
        error = internal_error()
    return problem_response(error)


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the router raises: no such route, method not allowed."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == HTTPStatus.NOT_FOUND:
        return problem_response(
            NoSuchRoute(f"There is no route {mask_path(request.url.path)[:256]!r}.")
        )
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        path = mask_path(request.url.path)[:256]
        return problem_response(
            MethodNotAllowedError(f"{request.method} is not a method of {path!r}."),
            {"allow": ", ".join(allowed_methods(request.app.routes, request.scope["path"]))},
        )
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem_response(BadRequestError("The request could not be read."))
    return problem_response(internal_error())


def allowed_methods(routes: Sequence[Any], path: str) -> list[str]:
    """Return the methods of every route with this path; empty when there is no such route."""
    methods: set[str] = set()
    for route in routes:
        if route.path_regex.match(path):
            methods |= route.methods
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods | {"OPTIONS"}) if methods else []


async def answer_request_validation(_request: Request, error: Exception) -> Response:
    """Answer parameters that the web framework found invalid."""
    faults = error.errors() if isinstance(error, RequestValidationError) else ()
    return problem_response(invalid_parameters(faults))


def refused_parameter(parameter: str, detail: str) -> Invalid:
    """Return the error about one parameter that does not go with the others, or names nothing."""
    fault = ParameterFault(detail, code="invalid", parameter=parameter)
    return Invalid(detail, errors=[fault], hint="See /docs for the parameters.")


def invalid_parameters(faults: Iterable[Mapping[str, Any]]) -> Invalid:
    """Return pydantic's complaints about parameters as one of our own errors."""
    found = tuple(_parameter_fault(fault) for fault in faults)
    detail = "; ".join(f"{fault.parameter}: {fault.detail}" for fault in found[:3])
    return Invalid(detail, errors=found)


def _parameter_fault(fault: Mapping[str, Any]) -> ParameterFault:
    # The first part of the location says where parameters of the kind are: query, path.
    name = str(fault["loc"][1]) if len(fault["loc"]) > 1 else ""
    return ParameterFault(detail=_message(fault), parameter=name, code=_code(fault))


def invalid_body(error: ValidationError, model: type[BaseModel]) -> ChronicledError:
    """Return pydantic's complaints about a request body as one of our own errors."""
    if error.errors()[0]["type"] == "json_invalid":
        return Undecodable("The body is not JSON.")
    faults = tuple(
        Fault(
            detail=_body_message(fault, model),
            pointer="".join(f"/{_escape(str(part))}" for part in fault["loc"]),
            code=_code(fault),
        )
        for fault in error.errors(include_url=False, include_input=False)
    )
    detail = "; ".join(f"{fault.pointer or 'body'}: {fault.detail}" for fault in faults[:3])
    return Invalid(detail, errors=faults)


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _body_message(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    if fault["type"] != "extra_forbidden":
        return _message(fault)
    *place, name = fault["loc"]
    known = did_you_mean(str(name), fields_at(model, tuple(place)))
    return f"unknown field {shorten(str(name))}; {known}"


def _message(fault: Mapping[str, Any]) -> str:
    return str(fault["msg"]).removeprefix("Value error, ")


def _code(fault: Mapping[str, Any]) -> str:
    return {"extra_forbidden": "unknown_field", "missing": "missing"}.get(fault["type"], "invalid")
