"""A reader of Server-Sent Events for tests: every event, in the order it came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Received:
    """One event of a stream; a comment has nothing but its text."""

    id: str = ""
    kind: str = ""
    data: str = ""
    comment: str = ""


def received(response: httpx.Response, *, comments: bool = False) -> Iterator[Received]:
    """Yield the events of a stream by the rules of the specification."""
    fields: dict[str, Any] = {}
    for line in response.iter_lines():
        if line.startswith(":"):
            if comments:
                yield Received(comment=line[1:].strip())
        elif line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" in fields else value
        else:
            if "data" in fields:
                yield Received(fields.get("id", ""), fields.get("event", ""), fields["data"])
            fields = {}
