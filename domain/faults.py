"""From what a payload model refuses to faults with a place, a code and a suggestion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import SchemaValidator

from domain.errors import (
    Fault,
    Invalid,
    ReservedType,
    TooLarge,
    UnknownField,
    UnknownType,
)
from domain.suggest import did_you_mean, shorten

FAULTS_MAX: Final = 100
"""One error names at most so many faults."""

_TEXT_MAX: Final = 400

Location = tuple[int | str, ...]


def raise_faults(faults: Sequence[Fault]) -> None:
    """Raise the error for these faults, if there are any: the kind they share, else `Invalid`."""
    if not faults:
        return
    codes = {fault.code for fault in faults}
    first, more = faults[0], len(faults) - 1
    where = "" if first.index is None else f"event {first.index}: "
    detail = f"{where}{first.detail}" + (f" (and {more} more)" if more else "")
    for kind in (UnknownType, UnknownField, ReservedType, TooLarge):
        if codes == {kind.code}:
            raise kind(detail, errors=faults)
    raise Invalid(detail, errors=faults)


def is_valid(model: type[BaseModel], payload: object) -> bool:
    """Return whether a payload fits its model."""
    return _fits(model)(payload)


@cache
def _fits(model: type[BaseModel]) -> Callable[[object], bool]:
    """Return the check of a model's fields, without the model that nobody wants, where it can be.

    A validator of the whole model, should one have such, stands around or in front of the fields.
    """
    schema: Any = model.__pydantic_core_schema__
    if schema["type"] == "model" and schema["schema"]["type"] == "model-fields":
        return SchemaValidator(schema["schema"], schema["config"]).isinstance_python
    return model.__pydantic_validator__.isinstance_python


def payload_faults(model: type[BaseModel], payload: object) -> list[Fault]:
    """Return what is wrong with a payload: an empty list when it fits its model."""
    try:
        model.__pydantic_validator__.validate_python(payload)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        return [
            _payload_fault(model, one["loc"], one["type"], one["msg"]) for one in found[:FAULTS_MAX]
        ]
    return []


def _payload_fault(model: type[BaseModel], location: Location, kind: str, message: str) -> Fault:
    pointer = "/data" + "".join(f"/{escape(part)}" for part in location)
    if kind == "extra_forbidden":
        name = str(location[-1])
        known = did_you_mean(name, fields_at(model, location[:-1]))
        detail, code = f"unknown field {shorten(name)}; {known}", UnknownField.code
    else:
        detail, code = f"{'.'.join(str(part) for part in location)}: {message}", Invalid.code
    return Fault(detail[:_TEXT_MAX], pointer=pointer[:_TEXT_MAX], code=code)


def escape(part: int | str) -> str:
    """Return one step of a JSON pointer (RFC 6901, section 3)."""
    return str(part).replace("~", "~0").replace("/", "~1")


def fields_at(model: type[BaseModel], location: Location) -> list[str]:
    """Return the field names of the model that a location inside ``model`` leads to."""
    for part in location:
        for name, field in model.model_fields.items():
            if part == (field.alias or name):
                model = next(_models_in(field.annotation), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
