"""The ``rule`` of a phase: a query string in which spaces may stand as they are.

It is read as Go's ``url.ParseQuery`` does: ``+`` is a space, a pair with a ``;`` or a broken
percent escape is dropped, and keys are case-sensitive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_plus

_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_META_KEY: Final = re.compile(r"\{meta:(\w+)\}")


@dataclass(frozen=True)
class Rule:
    """A rule that was read; ``faults`` says which of its pairs are no such pairs."""

    text: str = ""
    values: dict[str, list[str]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Rule:
        """Read a rule; what cannot be read is left out and told in ``faults``."""
        values: dict[str, list[str]] = {}
        faults = []
        for pair in text.split("&"):
            if ";" in pair:
                faults.append(f"{pair!r} has a semicolon; pairs are joined by '&'")
            elif _BROKEN_ESCAPE.search(pair):
                faults.append(f"{pair!r} has a '%' that begins no escape; write '%25' for it")
            elif pair:
                key, _, value = pair.partition("=")
                values.setdefault(unquote_plus(key), []).append(unquote_plus(value))
        return cls(text, values, tuple(faults))

    def first(self, key: str) -> str:
        """Return the first value of a key, empty where there is none."""
        return self.values.get(key, [""])[0]

    @property
    def require(self) -> list[str]:
        """The keys that the parent's ``meta`` must have."""
        said = ",".join(self.values.get("require", []))
        return list(dict.fromkeys(_META_KEY.findall(said)))

    @property
    def meta(self) -> dict[str, list[str]]:
        """The lists of ``meta``, by key; parts that are no lists are left out."""
        parts = [part.partition(":") for part in self.first("meta").split("|")]
        return {key: values.split(",") for key, colon, values in parts if key and colon}
