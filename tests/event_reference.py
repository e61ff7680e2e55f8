"""The generated part of ``docs/events.md``: every event type with its fields, from the catalog.

Run as a program it renews that part of the file; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from domain.catalog import EventType, event_types, example_of, schema_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "events.md"
BEGIN = "<!-- Generated from the catalog by `make docs`; do not edit below. -->"


def reference() -> str:
    """Return the reference of every type, those of clients first."""
    lines: list[str] = []
    for client, title in ((True, "Types that clients send"), (False, "The daemon's own types")):
        lines += [f"## {title}", ""]
        for entry in event_types():
            if entry.client is client:
                lines += _type(entry)
    return "\n".join(lines)


def _type(entry: EventType) -> Iterator[str]:
    """Yield the section of one type: what it says, its fields, an example."""
    schema = schema_of(entry.name)
    yield f"### `{entry.name}`"
    yield ""
    yield entry.summary.replace("``", "`")
    if entry.class_version > 1:
        yield f"Class version {entry.class_version}; older ones are lifted when read."
    yield ""
    fields = {name: field for name, field in schema["properties"].items() if name != "extra"}
    if fields:
        yield "| field | JSON | meaning |"
        yield "|---|---|---|"
    for name, field in fields.items():
        required = " (required)" if name in schema.get("required", ()) else ""
        meaning = field.get("description", "").replace("\n", " ")
        yield f"| `{name}` | {_shape(field, schema.get('$defs', {}))}{required} | {meaning} |"
    yield ""
    if example := example_of(entry.name):
        yield from ("```json", orjson.dumps(example).decode(), "```", "")


def _shape(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return what a field holds, in words. Null is left out: any optional field takes it."""
    if "$ref" in field:
        return _shape(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in field:
        shapes = [_shape(part, definitions) for part in field["anyOf"] if part != {"type": "null"}]
        return " or ".join(shapes)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "properties" in field:
        parts = field["properties"].items()
        return "object: " + ", ".join(f"`{n}` {_shape(f, definitions)}" for n, f in parts)
    if field.get("type") == "array":
        return f"list of {_shape(field.get('items', {}), definitions)}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"object of {_shape(field['additionalProperties'], definitions)}"
    return str(field.get("type", "any")) + _bounds(field)


def _bounds(field: dict[str, Any]) -> str:
    """Return the limits of a number, where they say something."""
    least, most = field.get("minimum"), field.get("maximum")
    if most is not None and abs(most) < 2**31 - 1:
        return f" {least:g} to {most:g}"
    return f" from {least:g}" if least is not None and abs(least) < 2**31 - 1 else ""


def page(present: str) -> str:
    """Return the whole page: what stands above the mark is written by hand."""
    return present.partition(BEGIN)[0] + BEGIN + "\n\n" + reference()


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
